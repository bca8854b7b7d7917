//! What stays the same during a run.
use stage::count;

use crate::diagnosis::{Diagnosis, Seen, diagnose};
use crate::log_line::LogLine;
use crate::reference::Reference;

/// A run, as the report and the terminal describe it.
#[derive(Clone, Debug)]
pub(crate) struct RunInfo {
    pub title: String,
    /// A note on the data, if it needs one.
    pub note: Option<&'static str>,
    /// config.toml
    pub config: String,
    pub device: String,
    pub plan: String,
    pub precision: String,
    pub parameters: u64,
    pub vocab_size: usize,
    pub steps: u64,
    pub warmup: u64,
    pub peak_lr: f64,
    pub tokens_per_step: u64,
    /// Tokens of a window.
    pub context: u64,
    /// How such a run goes, where that is known.
    pub reference: Option<Reference>,
    /// Of train.bin.
    pub tokens: u64,
    pub stories: u64,
    /// Windows of an epoch, where each comes once.
    pub windows: Option<u64>,
}

impl RunInfo {
    pub(crate) fn epochs(&self, step: u64) -> f64 {
        let tokens = match self.windows {
            Some(windows) => windows * self.context,
            None => self.tokens,
        };
        (step * self.tokens_per_step) as f64 / tokens.max(1) as f64
    }

    pub(crate) fn diagnose(&self, lines: &[LogLine], step: u64) -> Diagnosis {
        let &RunInfo { vocab_size, steps, warmup, peak_lr, .. } = self;
        diagnose(&Seen { lines, vocab_size, steps, warmup, peak_lr, epochs: self.epochs(step) })
    }

    /// How much of the data was seen, in a sentence.
    pub(crate) fn seen(&self, step: u64) -> String {
        let epochs = self.epochs(step);
        if let Some(windows) = self.windows {
            return format!(
                "{} tokens, {epochs:.2} epochs of the {} windows of train.bin ({} tokens, {} stories); each window comes once an epoch",
                count(step * self.tokens_per_step),
                count(windows),
                count(self.tokens),
                count(self.stories)
            );
        }
        // A window begins anywhere with the same chance: what no window covered is e^-epochs of it.
        let covered = 100.0 * (1.0 - (-epochs).exp());
        format!(
            "{} tokens, {epochs:.2} times the {} of train.bin ({} stories); windows start at random places, so they cover about {covered:.0} % of it",
            count(step * self.tokens_per_step),
            count(self.tokens),
            count(self.stories)
        )
    }
}
