//! Opening an engine: its kernels are compiled and probed before it is trusted.
use std::sync::Arc;

use stage::{Action, Problem};

use super::device::Device;
use super::engine::Gpu;
use super::probe;
use crate::EngineError;
use crate::kernels::{Kernels, Precision, Result};

impl Gpu {
    /// An engine for heads of `head_width` elements. Compiles all kernels and checks the products with a probe.
    pub fn open(
        device: &Arc<Device>,
        precision: Precision,
        head_width: usize,
    ) -> Result<Box<dyn Kernels>> {
        Ok(Box::new(Self::new(device, precision, head_width)?))
    }

    fn new(device: &Arc<Device>, precision: Precision, head_width: usize) -> Result<Self> {
        if !device.adapter.supports(precision) {
            let has: Vec<&str> = [Precision::F32, Precision::F16, Precision::Bf16]
                .into_iter()
                .filter(|&p| device.adapter.supports(p))
                .map(Precision::name)
                .collect();
            return Err(EngineError::Unsupported(
                Problem::new(format_args!("it cannot keep values in {precision}"))
                    .at(device.adapter.name())
                    .expected(format_args!("one of {}", has.join(", ")))
                    .remedy(format_args!(
                        "{}, or one of those",
                        Action::Option("precision", "auto")
                    ))
                    .into(),
            ));
        }
        let head_width = head_width as u32;
        device.prepare(precision, head_width)?;
        // On an engine of its own: what the probe takes is given back.
        device.probed(precision, head_width, || {
            probe::probe(&mut Self::bare(device, precision, head_width))
        })?;
        Ok(Self::bare(device, precision, head_width))
    }
}
