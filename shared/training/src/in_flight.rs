//! Steps that the device may still be at: the host runs ahead of it and looks at their metrics later.
use std::collections::VecDeque;

use compute::{Metrics, Precision, Ticket, Trainer};
use inference::failed;
use stage::Result;

/// A loss scale below this helps no more: gradients overflow for another reason.
const LEAST_LOSS_SCALE: f32 = 1.0 / 1024.0;

/// A step whose metrics were not looked at yet.
#[derive(Clone, Copy)]
pub(crate) struct InFlightStep {
    pub step: u64,
    pub ticket: Ticket,
    pub lr: f64,
    pub val_loss: Option<f64>,
}

/// A step that gave no finite loss or gradient.
pub(crate) struct NotFinite {
    pub step: u64,
    pub loss: f32,
    pub grad_norm: f32,
}

impl NotFinite {
    /// What `metrics` say of a step, if they are not finite. In f16 a gradient may overflow: the update was skipped and the
    /// loss scale halved.
    pub(crate) fn check(step: u64, metrics: &Metrics, precision: Precision) -> Option<Self> {
        let overflow = precision == Precision::F16
            && metrics.loss.is_finite()
            && metrics.loss_scale >= LEAST_LOSS_SCALE;
        let Metrics { loss, grad_norm, .. } = *metrics;
        let is_fine = loss.is_finite() && (grad_norm.is_finite() || overflow);
        (!is_fine).then_some(NotFinite { step, loss, grad_norm })
    }
}

/// The oldest first.
#[derive(Default)]
pub(crate) struct InFlight(VecDeque<InFlightStep>);

impl InFlight {
    pub(crate) fn push(&mut self, step: InFlightStep) {
        self.0.push_back(step);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The oldest step, if the device has done it; waits for it where more than `most` are in flight. `scale` is one over the
    /// tokens of a step.
    pub(crate) fn next(
        &mut self,
        trainer: &mut Trainer,
        scale: f32,
        most: usize,
    ) -> Result<Option<(InFlightStep, Metrics)>> {
        let Some(&step) = self.0.front() else { return Ok(None) };
        let wait = self.0.len() > most;
        let metrics = trainer.metrics(step.ticket, scale, wait).map_err(failed)?;
        if metrics.is_some() {
            self.0.pop_front();
        }
        Ok(metrics.map(|metrics| (step, metrics)))
    }

    /// Waits for all of them and forgets what they gave.
    pub(crate) fn discard(&mut self, trainer: &mut Trainer) -> Result<()> {
        for step in std::mem::take(&mut self.0) {
            trainer.metrics(step.ticket, 1.0, true).map_err(failed)?;
        }
        Ok(())
    }
}
