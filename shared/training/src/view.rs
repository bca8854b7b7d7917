//! What a person at a terminal sees of a run: a few lines under the progress bar, in whatever width there is.
use indicatif::HumanBytes;

use crate::LogLine;
use crate::curve::{Smooth, sparkline};

/// What a step's loss keeps of those before it, in the view.
const SMOOTHING: f64 = 0.98;
/// Smoothed losses that the sparkline is drawn from: all of the run, ever more coarsely.
const KEPT: usize = 400;

/// The state of the view.
pub struct TerminalView {
    smooth: Smooth,
    curve: Vec<f64>,
    /// A value of `curve` for so many steps.
    every: u64,
    steps: u64,
    pub last: Option<LogLine>,
    pub validation: Option<(u64, f64)>,
    pub best: Option<f64>,
    /// Share of the measured peak, 0 to 1.
    pub share_of_peak: Option<f64>,
    pub device_bytes: u64,
    pub epochs: f64,
}

impl TerminalView {
    pub fn new(device_bytes: u64) -> Self {
        TerminalView {
            smooth: Smooth::new(SMOOTHING),
            curve: Vec::new(),
            every: 1,
            steps: 0,
            last: None,
            validation: None,
            best: None,
            share_of_peak: None,
            device_bytes,
            epochs: 0.0,
        }
    }

    pub fn loss(&mut self, loss: f32) {
        let smoothed = self.smooth.add(f64::from(loss));
        if self.steps.is_multiple_of(self.every) {
            self.curve.push(smoothed);
        }
        self.steps += 1;
        if self.curve.len() == KEPT {
            let mut place = 0;
            self.curve.retain(|_| {
                place += 1;
                place % 2 == 1
            });
            self.every *= 2;
        }
    }

    /// Lines of at most `width` columns.
    pub fn lines(&self, loss: f32, lr: f64, width: usize) -> Vec<String> {
        let mut first =
            vec![format!("loss {loss:.3}"), format!("smoothed {:.3}", self.smooth.value())];
        if let Some((step, loss)) = self.validation {
            first.push(format!("validation {loss:.3} at step {}", stage::count(step)));
        }
        first.extend(self.best.map(|best| format!("best {best:.3}")));
        let mut second = vec![format!("lr {lr:.2e}")];
        if let Some(line) = &self.last {
            second.push(
                line.grad_norm.map_or("norm overflowed".into(), |norm| format!("norm {norm:.2}")),
            );
            second.extend(line.loss_scale.map(|scale| format!("loss scale {scale}")));
            second.push(format!("{} tokens/s", stage::count(line.tokens_per_second as u64)));
        }
        second.extend(self.share_of_peak.map(|share| format!("{:.0} % of peak", 100.0 * share)));
        second.push(memory(self.device_bytes));
        second.push(format!("data seen {:.2} times", self.epochs));
        let mut lines = wrapped(&first, width);
        lines.extend(wrapped(&second, width));
        lines.push(sparkline(&self.curve, width.min(120)));
        lines
    }
}

/// Fields side by side, in as many lines as they need.
fn wrapped(fields: &[String], width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for field in fields {
        match lines
            .last_mut()
            .filter(|line| line.chars().count() + 3 + field.chars().count() <= width)
        {
            Some(line) => {
                line.push_str(" · ");
                line.push_str(field);
            }
            None => lines.push(field.chars().take(width).collect()),
        }
    }
    lines
}

/// What the process and the engine's buffers take.
pub fn memory(device_bytes: u64) -> String {
    let process = memory_stats::memory_stats().map(|stats| stats.physical_mem as u64);
    match process {
        Some(process) => {
            format!("memory {} (buffers {})", HumanBytes(process), HumanBytes(device_bytes))
        }
        None => format!("buffers {}", HumanBytes(device_bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let mut view = TerminalView::new(1 << 30);
        (0..5000).for_each(|step| view.loss(9.0 - step as f32 / 1000.0));
        view.validation = Some((12_000, 2.345));
        view.best = Some(2.3);
        view.share_of_peak = Some(0.5);
        for width in [1, 20, 80, 200] {
            let lines = view.lines(4.0, 6e-4, width);
            assert!(lines.iter().all(|line| line.chars().count() <= width), "{width}: {lines:?}");
        }
        assert!(view.lines(4.0, 6e-4, 200).len() == 3 && view.lines(4.0, 6e-4, 40).len() > 4);
        assert!(view.curve.len() < KEPT);
        assert!(
            view.lines(4.0, 6e-4, 80)
                .last()
                .is_some_and(|line| line.starts_with('█') && line.ends_with('▁'))
        );
    }
}
