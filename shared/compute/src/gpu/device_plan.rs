//! The plan of a device: which one it begins with, takes from a checkpoint, and keeps.
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::cache::replace_file;
use super::device::Device;
use super::plan::Plan;
use crate::wgsl::CoopShape;

/// Matmuls without cooperative matrices.
const SCALAR: &str = "scalar tiles of 64";

impl Device {
    /// Which kernels compute, for checkpoints: their text, and how products are cut.
    pub(super) fn plan_text(&self, plan: Option<&Plan>) -> String {
        let checks = if self.options.checks { ", bounds checks" } else { "" };
        let products = plan.map_or(SCALAR.to_owned(), Plan::to_string);
        format!("shaders {}{checks}; {products}", self.shaders)
    }

    /// Takes the plan that [`Kernels::plan`](crate::Kernels::plan) told earlier, for engines opened from now on; false where the device cannot.
    pub fn take_plan(&self, told: &str) -> bool {
        let Some((shaders, products)) = told.split_once("; ") else { return false };
        if self.plan_text(None).split_once("; ").is_none_or(|(own, _)| own != shaders) {
            return false;
        }
        if products == SCALAR {
            self.set_plan(None);
            return true;
        }
        let taken = self.plans().find_map(|plan| plan.with(products));
        let possible = taken.is_some();
        if possible {
            self.set_plan(taken);
        }
        possible
    }

    /// The table of tiles for cooperative matrices of this shape.
    pub(super) fn plan_for(&self, shape: CoopShape) -> Option<Plan> {
        Plan::shipped(shape, &self.limits, self.adapter.cores())
    }

    /// The same for each shape that the adapter may have, the likeliest first.
    pub(super) fn plans(&self) -> impl Iterator<Item = Plan> {
        self.shapes.iter().filter_map(|&shape| self.plan_for(shape))
    }

    /// The table of tiles, where the device has cooperative matrices that may be used.
    pub fn shipped_plan(&self) -> Option<Plan> {
        match self.proofs.shape() {
            Some(shape) => self.plan_for(shape),
            None => self.plans().next(),
        }
    }

    /// Where what tuning found is kept: another adapter, driver or version of the program has another file.
    fn tuned_file(&self) -> Option<PathBuf> {
        let folder = self.options.cache.as_ref()?;
        let key = format!("{} {} {}", self.adapter.name(), self.shaders, env!("CARGO_PKG_VERSION"));
        let digest = Sha256::digest(key.as_bytes());
        let digits: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        Some(folder.join(format!("tiles-{digits}.txt")))
    }

    /// The plan that tuning kept, else the shipped one.
    pub(super) fn kept_plan(&self) -> Option<Plan> {
        let shipped = self.shipped_plan()?;
        let kept = self.tuned_file().and_then(|path| std::fs::read_to_string(path).ok());
        // A file that says something else is ignored.
        let kept = kept.and_then(|text| self.plans().find_map(|plan| plan.with(text.trim_end())));
        Some(kept.unwrap_or(shipped))
    }

    /// Keeps a plan for the next start; where.
    ///
    /// # Errors
    /// What the file system says.
    pub fn keep_plan(&self, plan: &Plan) -> std::io::Result<Option<PathBuf>> {
        let Some(path) = self.tuned_file() else { return Ok(None) };
        replace_file(&path, format!("{plan}\n").as_bytes())?;
        Ok(Some(path))
    }
}
