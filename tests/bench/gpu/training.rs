//! Speed, losses and memory of training.
use std::path::Path;

use serde_json::{Value, json};

use super::runs::{Bench, Case, EngineOptions, Seen};
use super::{All, PEAKS, has_losses};

const TRAINING: [(&str, &str); 3] = [
    ("tokens_per_second", "training"),
    ("step_ms", "training step"),
    ("share_of_peak", "training, share of the large product's rate"),
];
pub(super) const LOSSES: [(&str, &str); 3] = [
    ("val_loss", "validation loss after"),
    ("skipped_updates", "updates skipped"),
    ("memory_mib", "memory of the engine's buffers"),
];

impl All {
    pub(super) fn skip_training(&mut self, case: &Case, precision: &str, vocab: u64, reason: &str) {
        for (what, figure) in
            TRAINING.iter().chain(if has_losses(case) { &LOSSES[..] } else { &[] })
        {
            self.figures.skip(
                &case.key(&format!("{precision}.{what}")),
                &format!("{figure}, {}, {precision}", case.words(vocab)),
                reason,
            );
        }
    }

    pub(super) fn training(&mut self, bench: &Bench, case: &Case, precision: &str, warm: &Path) {
        let (losses, pace) = (has_losses(case), bench.pace);
        let (last, seconds) = if losses { (pace.last, 75.0) } else { (pace.short, 20.0) };
        let (val_every, val_windows) =
            if losses { (pace.last, pace.val_windows) } else { (1 << 40, 1) };
        let seen = bench.most(3.0, seconds).and_then(|most| {
            bench.train(&EngineOptions {
                case,
                precision,
                whole: false,
                last,
                val_every,
                val_windows,
                most,
                cache: warm,
                enough: &|_| false,
            })
        });
        let rate = seen.and_then(|seen| {
            let steps = seen.lines.last().and_then(|(line, _)| line["step"].as_u64()).unwrap_or(0);
            let rate = seen
                .rate(case.tokens(), pace.warm)
                .ok_or_else(|| format!("only {steps} steps in the time it was given"))?;
            Ok((seen, steps, rate))
        });
        let (seen, steps, (rate, windows)) = match rate {
            Ok(rate) => rate,
            Err(reason) => return self.skip_training(case, precision, bench.data.vocab, &reason),
        };
        let words = case.words(bench.data.vocab);
        let name = |figure: &str| format!("{figure}, {words}, {precision}");
        let key = |what: &str| case.key(&format!("{precision}.{what}"));
        let figures = &mut self.figures;
        let more = json!({ "steps": steps, "windows": windows, "skipped_updates": seen.skipped });
        figures.value(&key("tokens_per_second"), &name(TRAINING[0].1), rate, "tokens/s", more);
        figures.value(
            &key("step_ms"),
            &name(TRAINING[1].1),
            1e3 * case.tokens() as f64 / rate,
            "ms",
            Value::Null,
        );
        let flop = rate * case.config(bench.data.vocab).training_flop_per_token();
        match figures.get(PEAKS[0].0) {
            Some(peak) => figures.value(
                &key("share_of_peak"),
                &name(TRAINING[2].1),
                flop / peak / 1e10,
                "%",
                json!({ "tflop_per_second": flop / 1e12 }),
            ),
            None => figures.skip(
                &key("share_of_peak"),
                &name(TRAINING[2].1),
                "the large product was not measured",
            ),
        }
        if losses {
            self.losses(bench, case, precision, &seen, steps);
        }
    }

    /// What is compared where the run is long enough.
    fn losses(&mut self, bench: &Bench, case: &Case, precision: &str, seen: &Seen, steps: u64) {
        let (pace, words) = (bench.pace, case.words(bench.data.vocab));
        let name = |figure: &str| format!("{figure}, {words}, {precision}");
        let key = |what: &str| case.key(&format!("{precision}.{what}"));
        let figures = &mut self.figures;
        match seen.val_loss(pace.last) {
            Some(loss) => {
                let more = json!({ "windows": pace.val_windows, "before": seen.val_loss(0), "steps": pace.last });
                figures.value(
                    &key("val_loss"),
                    &name(&format!("{} {} steps", LOSSES[0].1, pace.last)),
                    loss,
                    "nats",
                    more,
                );
            }
            None => figures.skip(
                &key("val_loss"),
                &name(LOSSES[0].1),
                &format!("only {steps} of {} steps in the time it was given", pace.last),
            ),
        }
        figures.value(
            &key("skipped_updates"),
            &name(LOSSES[1].1),
            seen.skipped as f64,
            "updates",
            Value::Null,
        );
        self.memory(&key("memory_mib"), &name(LOSSES[2].1), seen);
    }

    fn memory(&mut self, key: &str, figure: &str, seen: &Seen) {
        match seen.buffers_mib {
            Some(mib) => self.figures.value(
                key,
                figure,
                mib,
                "MiB",
                json!({ "in_use_on_the_card_mib": seen.card_mib }),
            ),
            None => self.figures.skip(key, figure, "train did not say"),
        }
    }
}
