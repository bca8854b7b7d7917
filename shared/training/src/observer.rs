//! What watches a run: the terminal, loss.jsonl, TensorBoard, the report, the stories. None of them knows another.
use model::Best;
use serde_json::Value;
use stage::Result;

use crate::log_line::LogLine;
use crate::stories::StoriesAt;

/// One that watches a run. Each overrides what it cares about.
///
/// # Errors
/// Those of the disk. The run goes on without what could not be written and calls [`RunObserver::flush`] later, but for
/// [`RunObserver::back_to`], whose error ends the run.
pub(crate) trait RunObserver: Send {
    /// The device finished a step.
    fn step(&mut self, _step: &StepMetrics, _status: &Status) {}

    /// A line for the log; `status.lines` ends with it.
    fn line(&mut self, _line: &LogLine, _status: &Status) -> Result<()> {
        Ok(())
    }

    /// Something happened that a person should know.
    fn event(&mut self, _event: &RunEvent) {}

    /// Stories of a checkpoint were generated.
    fn stories(&mut self, _stories: &StoriesAt) -> Result<()> {
        Ok(())
    }

    /// The run goes back to `step`. What was observed after it happens again.
    fn back_to(&mut self, _step: u64) -> Result<()> {
        Ok(())
    }

    /// Writes what could not be written before.
    fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    /// The last step is done; validation and stories may follow.
    fn trained(&mut self) {}

    /// Nothing follows. `state` says how the run ended.
    fn end(&mut self, _state: &str, _status: &Status) {}

    /// Seconds of work on a thread of its own.
    fn seconds_beside(&self) -> f64 {
        0.0
    }
}

/// What a step gave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StepMetrics {
    pub loss: f32,
    pub lr: f64,
}

/// Where a run is.
#[derive(Clone, Copy, Default)]
pub(crate) struct Status<'a> {
    /// Updates that the device has done.
    pub step: u64,
    pub elapsed_s: f64,
    pub seconds_left: f64,
    pub best: Option<Best>,
    /// All lines of the log so far.
    pub lines: &'a [LogLine],
    /// FLOP/s of the training, and of a large matmul on the same engine where that was measured.
    pub flop_per_second: f64,
    pub peak: Option<f64>,
    /// The engine's buffers.
    pub device_bytes: u64,
}

/// Something that happened along the way.
pub(crate) struct RunEvent {
    /// Its name in JSON logs.
    pub name: &'static str,
    pub fields: Value,
    pub text: String,
    pub is_warning: bool,
}

impl RunEvent {
    pub(crate) fn new(name: &'static str, fields: Value, text: String) -> Self {
        RunEvent { name, fields, text, is_warning: false }
    }

    pub(crate) fn warning(text: String) -> Self {
        RunEvent { name: "warning", fields: Value::Null, text, is_warning: true }
    }
}
