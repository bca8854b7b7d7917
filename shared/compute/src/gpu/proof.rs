//! Which kernels are trusted: each computes a probe at the very tiles it is used with, before it is used. One that fails gives way to
//! the next tiles, and at last to the scalar kernel of the same method.
use std::sync::Arc;

use stage::Action;

use super::device::Device;
use super::engine::Gpu;
use super::plan::Plan;
use super::probe;
use super::proofs::Forced;
use super::table::{Kernel, MATMUL_NT_COOP};
use crate::error::{CPU, EngineError, LIST_DEVICES};
use crate::kernels::{Precision, Result};
use crate::wgsl::{CoopShape, Tiles};

impl Device {
    /// Tells, in one line, that something is done in another way than usual.
    pub(super) fn notice(&self, text: String) {
        if let Some(log) = &self.options.log {
            log.warn(&text);
        }
        self.proofs.notices.lock().push(text);
    }

    /// What was told so far.
    pub fn notices(&self) -> Vec<String> {
        self.proofs.notices.lock().clone()
    }

    /// What the kernel computes wrongly at these tiles of the plan, if anything; and whether that is news.
    pub(super) fn proof(
        self: &Arc<Self>,
        kernel: &'static Kernel,
        head_width: u32,
        plan: &Plan,
        tiles: Tiles,
    ) -> Result<(Option<String>, bool)> {
        if self.options.unprobed {
            return Ok((None, false));
        }
        let of = (kernel.name, kernel.coop_variant(head_width, plan.coop, tiles));
        let known = || self.proofs.kernels.lock();
        if let Some(found) = known().get(&of) {
            return Ok((found.clone(), false));
        }
        let mut gpu = Gpu::bare(self, Precision::F16, head_width);
        gpu.forced = Some(Forced { kernel: kernel.name, coop: plan.coop, tiles });
        let found = match probe::coop(&mut gpu, kernel, tiles.tile(plan.coop)) {
            Ok(()) => None,
            Err(EngineError::Probe(what)) => Some(what.headline()),
            Err(error) => return Err(error),
        };
        known().insert(of, found.clone());
        Ok((found, true))
    }

    /// Finds out which of the shapes that the adapter may have computes, the plan's own first, and whether any does.
    pub(super) fn settle_shape(self: &Arc<Self>, head_width: u32) -> Result<()> {
        let Some(current) = self.plan(Precision::F16) else { return Ok(()) };
        if self.options.unprobed || self.proofs.shape() == Some(current.coop) {
            return Ok(());
        }
        let others = self.plans().filter(|plan| plan.coop != current.coop);
        let mut wrong = Vec::new();
        for plan in [current.clone()].into_iter().chain(others.collect::<Vec<Plan>>()) {
            // The small ones compile fast; a driver that fails at a large one alone has the others.
            for tiles in plan.candidates().into_iter().rev() {
                let (found, _) = self.proof(&MATMUL_NT_COOP, head_width, &plan, tiles)?;
                let Some(what) = found else {
                    *self.proofs.shape.lock() = Some(plan.coop);
                    if plan.coop != current.coop {
                        self.set_plan(Some(plan));
                    }
                    return Ok(());
                };
                wrong.push(format!("with {} lanes a subgroup {what}", plan.coop.subgroup));
            }
        }
        self.set_plan(None);
        self.notice(format!(
            "{}: its cooperative matrices fail their probe, the scalar kernels compute instead: {}",
            self.adapter.name(),
            wrong.first().map_or("", String::as_str)
        ));
        Ok(())
    }

    /// Runs the probe of the scalar kernels unless it was passed before.
    pub(super) fn prove_scalar(
        self: &Arc<Self>,
        precision: Precision,
        head_width: u32,
    ) -> Result<()> {
        let of = (precision, head_width);
        let passed = || self.proofs.scalar.lock();
        if self.options.unprobed || passed().contains(&of) {
            return Ok(());
        }
        let another_precision = match precision {
            Precision::F32 => String::new(),
            _ => format!("another precision ({}), ", Action::Option("precision", "f32")),
        };
        let mut gpu = Gpu::bare(self, precision, head_width);
        gpu.plan = None;
        probe::scalar(&mut gpu, head_width).map_err(|error| match error {
            EngineError::Probe(what) => EngineError::Probe(
                what.at(self.adapter.name())
                    .note("precision", precision)
                    .expected("what the CPU engine computes")
                    .remedy(format_args!(
                        "update the driver; until then {another_precision}another GPU ({LIST_DEVICES}) or {CPU}"
                    ))
                    .into(),
            ),
            error => error,
        })?;
        passed().push(of);
        Ok(())
    }
}

impl Gpu {
    /// The tiles that serve a kernel on cooperative matrices, of those that `choose` takes of the plan one after the other the first that
    /// passes its probe.
    pub(super) fn proven(
        &mut self,
        kernel: &'static Kernel,
        choose: impl Fn(&Plan) -> Option<Tiles>,
    ) -> Option<(CoopShape, Tiles)> {
        if let Some(Forced { kernel: only, coop, tiles }) = self.forced {
            return (only == kernel.name).then_some((coop, tiles));
        }
        loop {
            let plan = self.plan.as_mut()?;
            let tiles = choose(plan)?;
            let (what, news) = match self.device.proof(kernel, self.head_width, plan, tiles) {
                Ok((None, _)) => return Some((plan.coop, tiles)),
                Ok((Some(what), news)) => (what, news),
                Err(error) => {
                    self.trouble.get_or_insert(error);
                    return None;
                }
            };
            plan.exclude(kernel, tiles);
            self.device.exclude(kernel, tiles);
            if news {
                let instead = choose(plan)
                    .map_or("the scalar kernel".into(), |tiles| format!("tiles of {tiles}"));
                self.device.notice(format!(
                    "{}: {} fails its probe with tiles of {tiles}, instead {instead}: {what}",
                    self.device.adapter.name(),
                    kernel.name
                ));
            }
        }
    }
}
