//! What probes of kernels found on a device, and what an engine that runs one is told.
use std::collections::HashMap;

use parking_lot::Mutex;

use crate::kernels::Precision;
use crate::wgsl::{CoopShape, Tiles, Variant};

/// What a device's probes found.
#[derive(Default)]
pub(super) struct Proofs {
    /// For a kernel, what it computed wrongly, if anything.
    pub(super) kernels: Mutex<HashMap<(&'static str, Variant), Option<String>>>,
    /// Precisions and head widths whose scalar kernels passed.
    pub(super) scalar: Mutex<Vec<(Precision, u32)>>,
    /// The shape of the cooperative matrices that computes.
    pub(super) shape: Mutex<Option<CoopShape>>,
    /// Lines that were told.
    pub(super) notices: Mutex<Vec<String>>,
}

impl Proofs {
    pub(super) fn shape(&self) -> Option<CoopShape> {
        *self.shape.lock()
    }
}

/// The one kernel that goes on cooperative matrices in an engine that probes it.
#[derive(Clone, Copy)]
pub(super) struct Forced {
    pub(super) kernel: &'static str,
    pub(super) coop: CoopShape,
    pub(super) tiles: Tiles,
}
