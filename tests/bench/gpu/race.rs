//! Training here and in PyTorch, alternating on one card.
use std::path::Path;

use serde_json::{Value, json};

use super::figures::median;
use super::peer::{self, Peer};
use super::runs::{Bench, Case, EngineOptions};
use super::{All, LOSSES, MODES, PRECISIONS, ROUNDS, has_losses};

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
        for (mode, words) in MODES {
            self.skip_mode(case, mode, words, vocab, reason);
            for precision in PRECISIONS {
                self.skip_ratio(case, precision, mode, words, vocab, reason);
            }
        }
    }

    fn skip_mode(&mut self, case: &Case, mode: &str, words: &str, vocab: u64, reason: &str) {
        let figure = format!("{words}, {}", case.words(vocab));
        self.figures.skip(&case.key(&format!("{mode}.tokens_per_second")), &figure, reason);
        if has_losses(case) {
            self.figures.skip(
                &case.key(&format!("{mode}.val_loss")),
                &format!("{}, {figure}", LOSSES[0].1),
                reason,
            );
        }
    }

    fn skip_ratio(
        &mut self,
        case: &Case,
        precision: &str,
        mode: &str,
        words: &str,
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
        let pace = bench.pace;
        // Together with the rounds that is as many steps as ours had where losses are compared.
        let (steps, first) = (pace.last * 3 / 10, pace.last - ROUNDS * (pace.last * 3 / 10));
        let started = peer
            .and_then(|()| bench.most(if self.quick { 5.0 } else { 40.0 }, 0.0))
            .and_then(|_| Peer::start(bench, case, pace.val_windows));
        let mut peer = match started {
            Ok(peer) => peer,
            Err(reason) => return self.skip_race(case, bench.data.vocab, &reason),
        };
        // Compilation and caches; a mode that cannot run is out of the race.
        let mut theirs: Vec<(usize, Vec<Value>)> = Vec::new();
        for (index, (mode, words)) in MODES.into_iter().enumerate() {
            match bench.most(5.0, 240.0).and_then(|most| peer.steps(mode, first, false, most)) {
                Ok(_) => theirs.push((index, Vec::new())),
                Err(reason) => {
                    self.skip_mode(case, mode, words, bench.data.vocab, &reason);
                    for precision in PRECISIONS {
                        self.skip_ratio(case, precision, mode, words, bench.data.vocab, &reason);
                    }
                    // What was asked late would be answered in the place of something else.
                    if reason.starts_with("no answer") {
                        break;
                    }
                }
            }
        }
        let mut ours: Vec<(&str, Vec<f64>)> =
            PRECISIONS.map(|precision| (precision, Vec::new())).into();
        ours.retain(|(precision, _)| {
            self.figures.get(&case.key(&format!("{precision}.tokens_per_second"))).is_some()
        });
        let mut why = "no round was finished".to_owned();
        'rounds: for round in 1..=rounds {
            for (precision, rates) in &mut ours {
                let seen = bench.most(5.0, 25.0).and_then(|most| {
                    let (last, val_every) = (pace.short, 1 << 40);
                    bench.train(&EngineOptions {
                        case,
                        precision,
                        whole: false,
                        last,
                        val_every,
                        val_windows: 1,
                        most,
                        cache: warm,
                        enough: &|_| false,
                    })
                });
                match seen.map(|seen| seen.rate(case.tokens(), pace.warm)) {
                    Ok(Some((rate, _))) => rates.push(rate),
                    Ok(None) => {}
                    Err(reason) => {
                        why = reason;
                        break 'rounds;
                    }
                }
            }
            for (index, answers) in &mut theirs {
                let validate = round == rounds && has_losses(case);
                match bench
                    .most(2.0, 90.0)
                    .and_then(|most| peer.steps(MODES[*index].0, steps, validate, most))
                {
                    Ok(answer) => answers.push(answer),
                    Err(reason) => {
                        why = reason;
                        break 'rounds;
                    }
                }
            }
        }
        for (index, answers) in &theirs {
            let (mode, words) = MODES[*index];
            let rates: Vec<f64> =
                answers.iter().filter_map(|answer| answer["tokens_per_second"].as_f64()).collect();
            let Some(rate) = median(&rates) else {
                self.skip_mode(case, mode, words, bench.data.vocab, &why);
                for precision in PRECISIONS {
                    self.skip_ratio(case, precision, mode, words, bench.data.vocab, &why);
                }
                continue;
            };
            let last = answers.last().cloned().unwrap_or_default();
            let figure = format!(
                "{words}, {}, {}",
                case.words(bench.data.vocab),
                last["dtype"].as_str().unwrap_or_default()
            );
            let more = json!({ "rounds": rates, "step_ms": last["step_ms"], "memory_mib": last["memory_mib"], "parameters": last["parameters"] });
            self.figures.value(
                &case.key(&format!("{mode}.tokens_per_second")),
                &figure,
                rate,
                "tokens/s",
                more,
            );
            if has_losses(case) {
                let (key, figure) = (
                    case.key(&format!("{mode}.val_loss")),
                    format!("{} {} steps, {figure}", LOSSES[0].1, last["steps"]),
                );
                match last["val_loss"].as_f64() {
                    Some(loss) => self.figures.value(
                        &key,
                        &figure,
                        loss,
                        "nats",
                        json!({ "steps": last["steps"] }),
                    ),
                    None => self.figures.skip(&key, &figure, &why),
                }
            }
            for precision in PRECISIONS {
                let own = ours
                    .iter()
                    .find(|(name, _)| *name == precision)
                    .and_then(|(_, rates)| Some((median(rates)?, rates)));
                let figure = format!("{precision} to {words}, {}", case.words(bench.data.vocab));
                match own {
                    Some((own, all)) => {
                        let more = json!({ "ours": all, "theirs": rates });
                        self.figures.ratio(
                            &case.key(&format!("{precision}.to_{mode}")),
                            &figure,
                            own / rate,
                            more,
                        );
                    }
                    None => self.skip_ratio(
                        case,
                        precision,
                        mode,
                        words,
                        bench.data.vocab,
                        &format!("{precision} was not measured: {why}"),
                    ),
                }
            }
        }
        // A mode that was not reached after another gave no answer.
        for (mode, words) in MODES {
            let keys = self.figures.json();
            if !keys.iter().any(|row| row["key"] == case.key(&format!("{mode}.tokens_per_second")))
            {
                self.skip_mode(
                    case,
                    mode,
                    words,
                    bench.data.vocab,
                    "the mode before it gave no answer",
                );
                for precision in PRECISIONS {
                    self.skip_ratio(
                        case,
                        precision,
                        mode,
                        words,
                        bench.data.vocab,
                        "the mode before it gave no answer",
                    );
                }
            }
        }
    }
}
