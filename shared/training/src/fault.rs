//! A planted fault, for tests: `BEDTIME_FAULT=nan@STEP` or `nan@STEPxTIMES` puts a NaN into the weights.
use compute::Trainer;
use inference::failed;
use stage::Result;

pub(crate) struct Fault {
    step: u64,
    times: u64,
}

impl Fault {
    pub(crate) fn from_environment() -> Option<Self> {
        let text = std::env::var("BEDTIME_FAULT").ok()?;
        let (step, times) =
            text.strip_prefix("nan@").map(|rest| rest.split_once('x').unwrap_or((rest, "1")))?;
        Some(Fault { step: step.parse().ok()?, times: times.parse().ok()? })
    }

    pub(crate) fn strike(&mut self, step: u64, trainer: &mut Trainer) -> Result<()> {
        if step == self.step && self.times > 0 {
            self.times -= 1;
            let mut weights = trainer.model.weights().map_err(failed)?;
            let tensors = &trainer.model.table.tensors;
            let last = tensors.iter().rfind(|tensor| tensor.name.contains("down_proj"));
            if let Some(weight) = weights.get_mut(last.map_or(0, |tensor| tensor.offset)) {
                *weight = f32::NAN;
            }
            trainer.model.set_weights(&weights);
        }
        Ok(())
    }
}
