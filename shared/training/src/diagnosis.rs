//! Diagnoses a loss curve in words: what is seen, its usual cause, what to try.
use crate::curve::smoothed;
use crate::log_line::LogLine;

/// A run as far as it has come.
pub(crate) struct Seen<'a> {
    pub lines: &'a [LogLine],
    pub vocab_size: usize,
    /// Steps planned, and those of the warm-up.
    pub steps: u64,
    pub warmup: u64,
    pub peak_lr: f64,
    /// Tokens trained on over tokens of train.bin.
    pub epochs: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    TooEarly,
    Healthy,
    Stuck,
    Diverging,
    Spiking,
    Overfitting,
    Plateaued,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::TooEarly => "too early to say",
            Kind::Healthy => "healthy",
            Kind::Stuck => "stuck",
            Kind::Diverging => "diverging",
            Kind::Spiking => "spiking",
            Kind::Overfitting => "overfitting",
            Kind::Plateaued => "plateaued",
        }
    }
}

/// Words for a person.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Diagnosis {
    pub kind: Kind,
    /// What is seen, with figures.
    pub seen: String,
    /// What usually causes it; empty where nothing is wrong.
    pub cause: &'static str,
    /// What to try.
    pub remedy: &'static str,
}

impl std::fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{}: {}", self.kind.name(), self.seen)?;
        if !self.cause.is_empty() {
            write!(f, " Usual cause: {} Try: {}", self.cause, self.remedy)?;
        }
        Ok(())
    }
}

/// Weight of the past in the smoothed loss.
const SMOOTHING: f64 = 0.8;

/// Reads the curve. The first that fits, from the worst to the best.
pub(crate) fn diagnose(run: &Seen) -> Diagnosis {
    let losses: Vec<f64> = run.lines.iter().map(|line| f64::from(line.loss)).collect();
    let curve = smoothed(losses.iter().copied(), SMOOTHING);
    let Some((last, &now)) = run.lines.last().zip(curve.last()) else {
        return Diagnosis {
            kind: Kind::TooEarly,
            seen: "nothing is logged yet.".into(),
            cause: "",
            remedy: "",
        };
    };
    let learned = run.lines.iter().filter(|line| line.step >= run.warmup).count();
    diverging(run, &losses, &curve)
        .or_else(|| stuck(run, last.step, now))
        .or_else(|| overfitting(run, &curve))
        .or_else(|| spiking(run, &losses))
        .or_else(|| plateaued(run, &losses, now))
        .unwrap_or_else(|| match learned {
            0..4 => Diagnosis {
                kind: Kind::TooEarly,
                seen: format!(
                    "{} lines of the log, {learned} of them after the warm-up.",
                    run.lines.len()
                ),
                cause: "",
                remedy: "",
            },
            _ => Diagnosis {
                kind: Kind::Healthy,
                seen: format!(
                    "the smoothed loss fell from {:.2} to {now:.3} in {} steps.",
                    losses[0], last.step
                ),
                cause: "",
                remedy: "",
            },
        })
}

fn diverging(run: &Seen, losses: &[f64], curve: &[f64]) -> Option<Diagnosis> {
    let (lowest, &least) = curve.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1))?;
    let bar = least + (0.1 * least).max(0.3);
    // Not one spike: the last lines are all above what was reached, and so is their mean.
    let recent = &losses[losses.len().saturating_sub(4)..];
    (recent.len() == 4 && *curve.last()? > bar && recent.iter().all(|&loss| loss > bar)).then(|| Diagnosis {
        kind: Kind::Diverging,
        seen: format!("the smoothed loss was {least:.3} at step {} and is {:.3} now.", run.lines[lowest].step, curve[curve.len() - 1]),
        cause: "a learning rate that is too high for this model and batch, or a warm-up that is too short.",
        remedy: "train.lr a third of it, twice the train.warmup, train.clip = 0.5; the checkpoint `best` is from before it.",
    })
}

fn stuck(run: &Seen, step: u64, now: f64) -> Option<Diagnosis> {
    let uniform = (run.vocab_size as f64).ln();
    (step >= (2 * run.warmup).max(100) && now > uniform - 0.5).then(|| Diagnosis {
        kind: Kind::Stuck,
        seen: format!("after {step} steps the loss is {now:.3}, and ln(V) = {uniform:.3} is what guessing gives."),
        cause: "a learning rate that is far too low (or so high that everything saturates), or data that is noise: a train.bin of another tokenizer.",
        remedy: "train.lr three times as high, then a tenth of it; look at a few decoded tokens of train.bin.",
    })
}

fn overfitting(run: &Seen, curve: &[f64]) -> Option<Diagnosis> {
    // The last validation takes all of val.bin, those before a part of it: they do not compare.
    let along = |(i, line): (usize, &LogLine)| {
        line.val_loss.filter(|_| line.step < run.steps).map(|loss| (i, loss))
    };
    let validations: Vec<(usize, f64)> = run.lines.iter().enumerate().filter_map(along).collect();
    let &(at, best) = validations.iter().min_by(|a, b| a.1.total_cmp(&b.1))?;
    let [.., (_, before), (_, now)] = validations[..] else { return None };
    let bar = best + (0.01 * best).max(0.02);
    (validations.len() >= 4 && before > bar && now > bar && curve.last()? < &curve[at]).then(|| Diagnosis {
        kind: Kind::Overfitting,
        seen: format!(
            "the validation loss was {best:.3} at step {} and is {now:.3} now, while the training loss still falls; the data was seen {:.1} times.",
            run.lines[at].step, run.epochs
        ),
        cause: "more passes over the data than it has to teach this model.",
        remedy: "more stories, fewer train.steps, a smaller model or more train.optimizer.weight_decay; the checkpoint `best` is from before it.",
    })
}

fn spiking(run: &Seen, losses: &[f64]) -> Option<Diagnosis> {
    const BEFORE: usize = 10;
    let median = |values: &mut Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let is_spike = |i: usize| {
        let before = &losses[i - BEFORE..i];
        let middle = median(&mut before.to_vec());
        let spread = median(&mut before.iter().map(|loss| (loss - middle).abs()).collect());
        losses[i] > middle + (8.0 * spread).max(0.08 * middle)
    };
    let first = losses.len().saturating_sub(60).max(BEFORE);
    let spikes: Vec<u64> = (first..losses.len())
        .filter(|&i| run.lines[i].step >= 2 * run.warmup && is_spike(i))
        .map(|i| run.lines[i].step)
        .collect();
    (spikes.len() >= 2).then(|| Diagnosis {
        kind: Kind::Spiking,
        seen: format!("{} sudden rises among the last lines, the newest at step {}.", spikes.len(), spikes[spikes.len() - 1]),
        cause: "single batches with huge gradients: a learning rate at the edge, or odd stories in the data.",
        remedy: "train.clip = 0.5, train.lr two thirds of it, a larger batch (train.accumulate); look at grad_norm at those steps.",
    })
}

fn plateaued(run: &Seen, losses: &[f64], now: f64) -> Option<Diagnosis> {
    let last = run.lines.last()?;
    let quarter = losses.len() / 4;
    let tail = last.step as f64 > 0.8 * run.steps as f64 || last.lr < 0.25 * run.peak_lr;
    if quarter < 16 || tail || last.step < 5 * run.warmup {
        return None; // too short to tell, or the learning rate is about to end it anyway
    }
    // Not the mean: one spike would look like a plateau.
    let median = |values: &[f64]| {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    };
    let recent = &losses[losses.len() - quarter..];
    let (before, after) = (median(&recent[..quarter / 2]), median(&recent[quarter / 2..]));
    let gap = run.lines.iter().rev().find_map(|line| line.val_loss).map_or(0.0, |loss| loss - now);
    (before - after < 0.003 * before).then(|| Diagnosis {
        kind: Kind::Plateaued,
        seen: format!(
            "over the last quarter of the steps the median loss went from {before:.3} to {after:.3}; validation is {gap:+.3} from it."
        ),
        cause: match gap > 0.1 {
            true => "the limit of the data: validation is well above training.",
            false => "the limit of the model or of the learning rate: training and validation stand together.",
        },
        remedy: match gap > 0.1 {
            true => "more stories, or a smaller model.",
            false => "a wider or deeper model, a higher train.lr, or fewer train.steps so that the learning rate falls earlier.",
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(step: u64, loss: f64, val_loss: Option<f64>) -> LogLine {
        LogLine {
            step,
            loss: loss as f32,
            lr: 6e-4,
            grad_norm: Some(1.0),
            tokens_per_second: 1e4,
            elapsed_s: step as f64,
            val_loss,
            loss_scale: None,
        }
    }

    /// `loss` at every tenth step and `validation` at every hundredth, with the noise of a batch.
    fn kind(until: u64, loss: impl Fn(f64) -> f64, validation: impl Fn(f64) -> f64) -> Diagnosis {
        let noise = |step: u64| 0.02 * ((step * 7919 % 101) as f64 / 50.0 - 1.0);
        let at = |step: u64| {
            line(
                step,
                loss(step as f64) + noise(step),
                step.is_multiple_of(100).then(|| validation(step as f64)),
            )
        };
        let lines: Vec<LogLine> = (0..until).step_by(10).map(at).collect();
        diagnose(&Seen {
            lines: &lines,
            vocab_size: 8000,
            steps: 2000,
            warmup: 50,
            peak_lr: 6e-4,
            epochs: 3.0,
        })
    }

    /// How a run goes that goes well: from ln(8000) down to 1.5, ever more slowly.
    fn falling(step: f64) -> f64 {
        1.5 + 7.49 * (1.0 + step / 60.0).powf(-1.2)
    }

    #[test]
    fn tells_runs_apart() {
        assert_eq!(kind(1200, falling, |s| falling(s) + 0.02).kind, Kind::Healthy);
        assert_eq!(kind(2000, falling, |s| falling(s) + 0.02).kind, Kind::Healthy);
        assert_eq!(kind(60, falling, falling).kind, Kind::TooEarly);
        assert_eq!(kind(300, |_| 8.9, |_| 8.9).kind, Kind::Stuck);
        let diverging =
            |s: f64| if s < 600.0 { falling(s) } else { falling(600.0) + (s - 600.0) / 150.0 };
        assert_eq!(kind(900, diverging, diverging).kind, Kind::Diverging);
        let spiking = |s: f64| falling(s) + if s == 700.0 || s == 900.0 { 3.0 } else { 0.0 };
        assert_eq!(kind(1200, spiking, falling).kind, Kind::Spiking);
        let one_spike = |s: f64| falling(s) + if s == 1190.0 { 3.0 } else { 0.0 };
        assert_eq!(kind(1200, one_spike, falling).kind, Kind::Healthy);
        let rising = |s: f64| falling(s) + 0.1 + (s - 500.0).max(0.0) / 1000.0;
        assert_eq!(kind(1300, falling, rising).kind, Kind::Overfitting);
        let flat = |s: f64| falling(s).max(2.2);
        let limit_of_model = kind(1300, flat, |s| flat(s) + 0.01);
        assert_eq!(limit_of_model.kind, Kind::Plateaued);
        let limit_of_data = kind(1300, flat, |s| flat(s) + 0.4);
        assert_eq!(limit_of_data.kind, Kind::Plateaued);
        assert!(limit_of_data.cause.contains("data") && limit_of_model.cause.contains("model"));
    }

    #[test]
    fn says_cause_and_remedy_where_something_is_wrong() {
        let text = kind(300, |_| 8.9, |_| 8.9).to_string();
        assert!(
            text.starts_with("stuck: after 290 steps")
                && text.contains("ln(V) = 8.987")
                && text.contains("Try: train.lr"),
            "{text}"
        );
        assert!(!kind(1200, falling, falling).to_string().contains("Try"));
        let none = diagnose(&Seen {
            lines: &[],
            vocab_size: 10,
            steps: 5,
            warmup: 0,
            peak_lr: 1.0,
            epochs: 0.0,
        });
        assert_eq!(none.kind, Kind::TooEarly);
    }
}
