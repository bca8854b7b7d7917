//! What an optimizer keeps beside the weights, on an engine.
use model::Slots;

use crate::kernels::{F32View, Kernels, Result};
use crate::optimizer::OptimizerKind;

/// Slots of another optimizer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the optimizer slots {found:?}, where this run's optimizer keeps {expected:?}")]
pub struct SlotMismatch {
    /// Names of those that came.
    pub found: Vec<String>,
    /// Names of those of this optimizer.
    pub expected: &'static [&'static str],
}

/// The slots of an optimizer on an engine.
pub(crate) struct SlotViews {
    names: &'static [&'static str],
    views: Vec<F32View>,
}

impl SlotViews {
    pub(crate) fn allocate(kernels: &mut dyn Kernels, kind: OptimizerKind, len: usize) -> Self {
        let names = kind.rule().slots;
        SlotViews { names, views: names.iter().map(|name| kernels.allocate(name, len)).collect() }
    }

    /// In the order of the rule's names.
    pub(crate) fn views(&self) -> &[F32View] {
        &self.views
    }

    /// What was copied out of [`views`](Self::views).
    pub(crate) fn named(names: &[&str], values: impl IntoIterator<Item = Vec<f32>>) -> Slots {
        names.iter().map(|name| name.to_string()).zip(values).collect()
    }

    pub(crate) fn names(&self) -> &'static [&'static str] {
        self.names
    }

    pub(crate) fn clear(&self, kernels: &mut dyn Kernels) {
        self.views.iter().for_each(|view| kernels.fill(*view, 0.0));
    }

    pub(crate) fn download(&self, kernels: &mut dyn Kernels) -> Result<Slots> {
        let values: Result<Vec<Vec<f32>>> =
            self.views.iter().map(|view| kernels.download(**view)).collect();
        Ok(Self::named(self.names, values?))
    }

    /// The error says which names there are, and which there should be.
    pub(crate) fn upload(
        &self,
        kernels: &mut dyn Kernels,
        slots: &Slots,
    ) -> Result<(), SlotMismatch> {
        if !slots.keys().eq(self.names.iter()) {
            let found = slots.keys().cloned().collect();
            return Err(SlotMismatch { found, expected: self.names });
        }
        self.views.iter().zip(slots.values()).for_each(|(view, slot)| kernels.upload(**view, slot));
        Ok(())
    }
}
