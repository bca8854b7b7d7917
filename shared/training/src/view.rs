//! What a person at a terminal sees of a run: the progress bar, a few lines under it in whatever width there is, and what
//! happened. Without a terminal: plain lines.
use std::time::{Duration, Instant};

use serde_json::json;
use stage::{Log, Progress, Result, Unit};

use crate::curve::{Smooth, sparkline};
use crate::log_line::LogLine;
use crate::memory_use::memory;
use crate::observer::{RunEvent, RunObserver, Status, StepMetrics};
use crate::run_info::RunInfo;

/// Weight of the past in the smoothed loss.
const SMOOTHING: f64 = 0.98;
/// Points of the sparkline at most: it covers the whole run, more and more coarsely.
const KEPT: usize = 400;
/// Pause between two drawings.
const EVERY: Duration = Duration::from_millis(250);

/// The observer.
pub(crate) struct TerminalView {
    log: Log,
    progress: Progress,
    info: RunInfo,
    curve: LossCurve,
    drawn: Instant,
}

impl TerminalView {
    /// For a run that resumes at `step`, after these lines.
    pub(crate) fn new(log: Log, info: RunInfo, step: u64, lines: &[LogLine]) -> Self {
        let progress = log.progress("train", Unit::Steps, Some(info.steps));
        progress.skip(step);
        let mut curve = LossCurve::default();
        lines.iter().for_each(|line| curve.add(line.loss));
        TerminalView { log, progress, info, curve, drawn: Instant::now() }
    }
}

impl RunObserver for TerminalView {
    fn step(&mut self, step: &StepMetrics, status: &Status) {
        self.curve.add(step.loss);
        let rate = status.lines.last().map_or(f64::NAN, |line| line.tokens_per_second);
        let figures = [
            ("step", status.step as f64),
            ("loss", f64::from(step.loss)),
            ("lr", step.lr),
            ("tokens_per_second", rate),
        ];
        self.progress.note(format!("loss {:.3}", step.loss), &figures);
        self.progress.add(1);
        if self.progress.is_live() && self.drawn.elapsed() >= EVERY {
            self.drawn = Instant::now();
            let (curve, epochs) = (&self.curve, self.info.epochs(status.step));
            self.progress.panel(|width| panel(curve, step, status, epochs, width));
        }
    }

    fn line(&mut self, line: &LogLine, _: &Status) -> Result<()> {
        let validation =
            line.val_loss.map_or(String::new(), |loss| format!(", validation {loss:.4}"));
        let text = format!(
            "step {}: loss {:.4}{validation}, lr {:.2e}, norm {:.2}, {:.0} tokens/s",
            line.step,
            line.loss,
            line.lr,
            line.grad_norm.unwrap_or(f32::INFINITY),
            line.tokens_per_second
        );
        // At a terminal the panel shows the rest.
        if !self.progress.is_live() || line.val_loss.is_some() {
            self.progress.suspend(|| self.log.event("step", json!(line), &text));
        }
        Ok(())
    }

    fn event(&mut self, event: &RunEvent) {
        self.progress.suspend(|| match event.is_warning {
            true => self.log.warn(&event.text),
            false => self.log.event(event.name, event.fields.clone(), &event.text),
        });
    }

    fn back_to(&mut self, step: u64) -> Result<()> {
        Ok(self.progress.set_done(step))
    }

    fn trained(&mut self) {
        self.progress.clear();
    }
}

/// Smoothed losses, thinned out as they become many.
struct LossCurve {
    smooth: Smooth,
    losses: Vec<f64>,
    /// Steps for a value of `losses`.
    every: u64,
    steps: u64,
}

impl Default for LossCurve {
    fn default() -> Self {
        LossCurve { smooth: Smooth::new(SMOOTHING), losses: Vec::new(), every: 1, steps: 0 }
    }
}

impl LossCurve {
    fn add(&mut self, loss: f32) {
        let smoothed = self.smooth.add(f64::from(loss));
        if self.steps.is_multiple_of(self.every) {
            self.losses.push(smoothed);
        }
        self.steps += 1;
        if self.losses.len() == KEPT {
            let mut index = 0;
            self.losses.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            self.every *= 2;
        }
    }
}

/// Lines of at most `width` columns.
fn panel(
    curve: &LossCurve,
    step: &StepMetrics,
    status: &Status,
    epochs: f64,
    width: usize,
) -> Vec<String> {
    let mut first =
        vec![format!("loss {:.3}", step.loss), format!("smoothed {:.3}", curve.smooth.value())];
    let validation = status.lines.iter().rev().find_map(|line| Some((line.step, line.val_loss?)));
    if let Some((step, loss)) = validation {
        first.push(format!("validation {loss:.3} at step {}", stage::count(step)));
    }
    first.extend(status.best.map(|best| format!("best {:.3}", best.val_loss)));
    let mut second = vec![format!("lr {:.2e}", step.lr)];
    if let Some(line) = status.lines.last() {
        second.push(
            line.grad_norm.map_or("norm overflowed".into(), |norm| format!("norm {norm:.2}")),
        );
        second.extend(line.loss_scale.map(|scale| format!("loss scale {scale}")));
        second.push(format!("{} tokens/s", stage::count(line.tokens_per_second as u64)));
    }
    let share = status.peak.map(|peak| status.flop_per_second / peak);
    second.extend(share.map(|share| format!("{:.0} % of peak", 100.0 * share)));
    second.push(memory(status.device_bytes));
    second.push(format!("data seen {epochs:.2} times"));
    let mut lines = wrapped(&first, width);
    lines.extend(wrapped(&second, width));
    lines.push(sparkline(&curve.losses, width.min(120)));
    lines
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

#[cfg(test)]
mod tests {
    use model::Best;

    use super::*;

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let mut curve = LossCurve::default();
        (0..5000).for_each(|step| curve.add(9.0 - step as f32 / 1000.0));
        let line = LogLine {
            step: 12_000,
            loss: 4.0,
            lr: 6e-4,
            grad_norm: Some(1.0),
            tokens_per_second: 100.0,
            elapsed_s: 1.0,
            val_loss: Some(2.345),
            loss_scale: None,
        };
        let status = Status {
            best: Some(Best { step: 12_000, val_loss: 2.3 }),
            lines: &[line],
            flop_per_second: 1.0,
            peak: Some(2.0),
            device_bytes: 1 << 30,
            ..Status::default()
        };
        let step = StepMetrics { loss: 4.0, lr: 6e-4 };
        let lines = |width| panel(&curve, &step, &status, 0.5, width);
        for width in [1, 20, 80, 200] {
            let lines = lines(width);
            assert!(lines.iter().all(|line| line.chars().count() <= width), "{width}: {lines:?}");
        }
        assert!(lines(200).len() == 3 && lines(40).len() > 4);
        assert!(
            lines(200)[0].contains("validation 2.345 at step 12")
                && lines(200)[1].contains("50 % of peak")
        );
        assert!(curve.losses.len() < KEPT);
        assert!(lines(80).last().is_some_and(|line| line.starts_with('█') && line.ends_with('▁')));
    }
}
