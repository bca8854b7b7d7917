//! Opening an engine: its kernels are compiled, and the scalar ones probed, before it is trusted.
use std::sync::Arc;

use stage::{Action, Problem};

use super::device::Device;
use super::engine::Gpu;
use crate::EngineError;
use crate::kernels::{Kernels, Precision, Result};

impl Gpu {
    /// An engine for heads of `head_width` elements. Compiles all kernels and probes the scalar ones; those on cooperative matrices
    /// are probed when a shape first asks for their tiles.
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
        if precision == Precision::F16 {
            device.settle_shape(head_width)?;
        }
        device.prepare(precision, head_width)?;
        device.prove_scalar(precision, head_width)?;
        Ok(Self::bare(device, precision, head_width))
    }
}
