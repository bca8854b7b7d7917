//! A line of `loss.jsonl`.
use serde::{Deserialize, Serialize};

/// What a line says. `loss` is that of the weights after `step` updates on the next batch; `val_loss` is that of the same
/// weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LogLine {
    /// Updates done.
    pub step: u64,
    /// Nats per token.
    pub loss: f32,
    pub lr: f64,
    /// Before clipping; none where it overflowed and the update was skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grad_norm: Option<f32>,
    /// Of training alone, since the line before.
    pub tokens_per_second: f64,
    /// Seconds of the run so far, those before an interruption included.
    pub elapsed_s: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub val_loss: Option<f64>,
    /// Where the precision needs one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<f32>,
}
