//! Training here and in PyTorch, alternating on one card.
use std::path::Path;

use serde_json::{Value, json};

use super::figures::median;
use super::peer::{self, Peer};
use super::runs::{Bench, Case, EngineOptions};
use super::training::LOSSES;
use super::{All, MODES, PRECISIONS, ROUNDS, has_losses};

/// Its key, and what it is.
type Mode = (&'static str, &'static str);

/// Speeds of ours, by precision.
type Ours = Vec<(&'static str, Vec<f64>)>;

/// Answers of PyTorch, by mode.
type Theirs = Vec<(Mode, Vec<Value>)>;

impl All {
    /// Whether there is a PyTorch to race; what is said of it goes into the JSON.
    pub(super) fn find_peer(&mut self, bench: &Bench) -> Result<(), String> {
        let found =
            bench.most(5.0, 60.0).and_then(|_| peer::probe(&bench.python, bench.folder()))?;
        self.peer = found.clone();
        match (&bench.peer_device, found["gpu"].as_str()) {
            (None, None) => Err(format!(
                "PyTorch {} of {} sees no GPU",
                found["torch"].as_str().unwrap_or_default(),
                bench.python
            )),
            _ => Ok(()),
        }
    }

    pub(super) fn skip_race(&mut self, case: &Case, vocab: u64, reason: &str) {
        for mode in MODES {
            self.skip_mode(case, mode, vocab, reason);
        }
    }

    /// A mode with its ratios.
    fn skip_mode(&mut self, case: &Case, mode: Mode, vocab: u64, reason: &str) {
        let (name, words) = mode;
        let figure = format!("{words}, {}", case.words(vocab));
        self.figures.skip(&case.key(&format!("{name}.tokens_per_second")), &figure, reason);
        if has_losses(case) {
            self.figures.skip(
                &case.key(&format!("{name}.val_loss")),
                &format!("{}, {figure}", LOSSES[0].1),
                reason,
            );
        }
        for precision in PRECISIONS {
            self.skip_ratio(case, precision, mode, vocab, reason);
        }
    }

    fn skip_ratio(
        &mut self,
        case: &Case,
        precision: &str,
        (mode, words): Mode,
        vocab: u64,
        reason: &str,
    ) {
        let figure = format!("{precision} to {words}, {}", case.words(vocab));
        self.figures.skip_ratio(&case.key(&format!("{precision}.to_{mode}")), &figure, reason);
    }

    /// Ours and PyTorch's in alternation, medians of the rounds. PyTorch waits on the card while ours computes, and the other way.
    pub(super) fn race(
        &mut self,
        bench: &Bench,
        case: &Case,
        peer: Result<(), String>,
        rounds: u64,
        warm: &Path,
    ) {
        let started = peer
            .and_then(|()| bench.most(if self.quick { 5.0 } else { 40.0 }, 0.0))
            .and_then(|_| Peer::start(bench, case, bench.pace.val_windows));
        let mut peer = match started {
            Ok(peer) => peer,
            Err(reason) => return self.skip_race(case, bench.data.vocab, &reason),
        };
        let mut theirs = self.warm_up(bench, case, &mut peer);
        let mut ours: Ours = PRECISIONS.map(|precision| (precision, Vec::new())).into();
        ours.retain(|(precision, _)| {
            self.figures.get(&case.key(&format!("{precision}.tokens_per_second"))).is_some()
        });
        let ended = (1..=rounds).try_for_each(|round| {
            our_round(bench, case, warm, &mut ours)?;
            their_round(bench, &mut peer, round == rounds && has_losses(case), &mut theirs)
        });
        let why = ended.err().unwrap_or_else(|| "no round was finished".to_owned());
        for (mode, answers) in &theirs {
            self.report_mode(bench, case, *mode, answers, &ours, &why);
        }
        self.skip_unreached(bench, case);
    }

    /// Compilation and caches; a mode that cannot run is out of the race.
    fn warm_up(&mut self, bench: &Bench, case: &Case, peer: &mut Peer) -> Theirs {
        // Together with the rounds that is as many steps as ours had where losses are compared.
        let first = bench.pace.last - ROUNDS * steps_of_a_round(bench);
        let mut theirs = Vec::new();
        for mode in MODES {
            match bench.most(5.0, 240.0).and_then(|most| peer.steps(mode.0, first, false, most)) {
                Ok(_) => theirs.push((mode, Vec::new())),
                Err(reason) => {
                    self.skip_mode(case, mode, bench.data.vocab, &reason);
                    // What was asked late would be answered in the place of something else.
                    if reason.starts_with("no answer") {
                        break;
                    }
                }
            }
        }
        theirs
    }

    /// The figures of a mode, and ours to it.
    fn report_mode(
        &mut self,
        bench: &Bench,
        case: &Case,
        mode: Mode,
        answers: &[Value],
        ours: &Ours,
        why: &str,
    ) {
        let ((name, words), vocab) = (mode, bench.data.vocab);
        let rates: Vec<f64> =
            answers.iter().filter_map(|answer| answer["tokens_per_second"].as_f64()).collect();
        let Some(rate) = median(&rates) else {
            return self.skip_mode(case, mode, vocab, why);
        };
        let last = answers.last().cloned().unwrap_or_default();
        let dtype = last["dtype"].as_str().unwrap_or_default();
        let figure = format!("{words}, {}, {dtype}", case.words(vocab));
        let more = json!({ "rounds": rates, "step_ms": last["step_ms"], "memory_mib": last["memory_mib"], "parameters": last["parameters"] });
        self.figures.value(
            &case.key(&format!("{name}.tokens_per_second")),
            &figure,
            rate,
            "tokens/s",
            more,
        );
        if has_losses(case) {
            let key = case.key(&format!("{name}.val_loss"));
            let figure = format!("{} {} steps, {figure}", LOSSES[0].1, last["steps"]);
            let more = json!({ "steps": last["steps"] });
            match last["val_loss"].as_f64() {
                Some(loss) => self.figures.value(&key, &figure, loss, "nats", more),
                None => self.figures.skip(&key, &figure, why),
            }
        }
        for precision in PRECISIONS {
            let own = ours
                .iter()
                .find(|(name, _)| *name == precision)
                .and_then(|(_, rates)| Some((median(rates)?, rates)));
            let Some((own, all)) = own else {
                let reason = format!("{precision} was not measured: {why}");
                self.skip_ratio(case, precision, mode, vocab, &reason);
                continue;
            };
            self.figures.ratio(
                &case.key(&format!("{precision}.to_{name}")),
                &format!("{precision} to {words}, {}", case.words(vocab)),
                own / rate,
                json!({ "ours": all, "theirs": rates }),
            );
        }
    }

    /// A mode that was not reached after another gave no answer.
    fn skip_unreached(&mut self, bench: &Bench, case: &Case) {
        for mode in MODES {
            let key = case.key(&format!("{}.tokens_per_second", mode.0));
            if !self.figures.json().iter().any(|row| row["key"] == key) {
                let reason = "the mode before it gave no answer";
                self.skip_mode(case, mode, bench.data.vocab, reason);
            }
        }
    }
}

fn steps_of_a_round(bench: &Bench) -> u64 {
    bench.pace.last * 3 / 10
}

/// One run of ours in each precision.
fn our_round(bench: &Bench, case: &Case, warm: &Path, ours: &mut Ours) -> Result<(), String> {
    for (precision, rates) in ours {
        let most = bench.most(5.0, 25.0)?;
        let seen = bench.train(&EngineOptions {
            case,
            precision,
            whole: false,
            last: bench.pace.short,
            val_every: 1 << 40,
            val_windows: 1,
            most,
            cache: warm,
            enough: &|_| false,
        })?;
        rates.extend(seen.rate(case.tokens(), bench.pace.warm).map(|(rate, _)| rate));
    }
    Ok(())
}

/// One answer of PyTorch in each mode.
fn their_round(
    bench: &Bench,
    peer: &mut Peer,
    validate: bool,
    theirs: &mut Theirs,
) -> Result<(), String> {
    for ((mode, _), answers) in theirs {
        let most = bench.most(2.0, 90.0)?;
        answers.push(peer.steps(mode, steps_of_a_round(bench), validate, most)?);
    }
    Ok(())
}
