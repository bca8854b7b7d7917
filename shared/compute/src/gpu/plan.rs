//! How products are cut for cooperative matrices: a shipped table serves a cold start, tuning finds better tiles for single shapes.
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use super::Device;
use crate::wgsl::{CoopShape, Tiles};

/// The shape of the matrices, and the tiles that were found best for a kernel and a shape [m, n, k]; the table serves all others.
///
/// As text, for checkpoints and the cache: `coop 16x16 of 32 lanes; matmul_nt_coop 16384x8000x320 4x4 2x2 16`.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub coop: CoopShape,
    /// What a workgroup may have of its memory, and of invocations.
    most_bytes: u32,
    most_lanes: u32,
    /// For all shapes: what tuning tries.
    forced: Option<Tiles>,
    pub tuned: BTreeMap<(String, [usize; 3]), Tiles>,
}

/// Workgroups below which a smaller tile is taken, so that every multiprocessor has some.
const BUSY_GROUPS: usize = 256;

/// All shapes that shaders/lib/accumulators_*.wgsl make possible and that are worth a try, the largest first.
pub const TILES: &[Tiles] = &[
    tiles([4, 4], [2, 2], 16),
    tiles([4, 4], [2, 2], 32),
    tiles([4, 2], [2, 4], 16),
    tiles([4, 2], [2, 4], 32),
    tiles([4, 2], [2, 2], 32),
    tiles([4, 2], [2, 2], 16),
    tiles([4, 4], [1, 2], 32),
    tiles([2, 2], [2, 2], 32),
    tiles([2, 2], [2, 2], 16),
];

const fn tiles(fragments: [u32; 2], subgroups: [u32; 2], depth: u32) -> Tiles {
    Tiles { fragments, subgroups, depth }
}

impl Plan {
    /// The table alone; none where no tile fits the device.
    pub fn shipped(coop: CoopShape, limits: &wgpu::Limits) -> Option<Self> {
        let plan = Plan {
            coop,
            most_bytes: limits.max_compute_workgroup_storage_size,
            most_lanes: limits.max_compute_invocations_per_workgroup,
            forced: None,
            tuned: BTreeMap::new(),
        };
        (!plan.candidates().is_empty()).then_some(plan)
    }

    /// The tiles that the device takes, the largest first.
    pub fn candidates(&self) -> Vec<Tiles> {
        TILES.iter().copied().filter(|tiles| self.takes(tiles)).collect()
    }

    fn takes(&self, tiles: &Tiles) -> bool {
        let lanes = tiles.lanes(self.coop);
        // Every lane brings the same number of vectors of a slice.
        let even =
            tiles.tile(self.coop).iter().all(|side| (side * tiles.depth / 4).is_multiple_of(lanes));
        even && lanes <= self.most_lanes
            && tiles.workgroup_bytes(self.coop) <= self.most_bytes
            && tiles.depth.is_multiple_of(self.coop.side)
    }

    /// These tiles for every product.
    pub fn only(&self, tiles: Tiles) -> Self {
        Plan { forced: Some(tiles), ..self.clone() }
    }

    /// What serves a product of this shape.
    pub fn tiles(&self, kernel: &str, shape: [usize; 3]) -> Tiles {
        if let Some(tiles) = self.forced {
            return tiles;
        }
        if let Some(tuned) = self.tuned.get(&(kernel.to_owned(), shape)) {
            return *tuned;
        }
        let candidates = self.candidates();
        let [m, n, k] = shape;
        let busy = |tiles: &&Tiles| {
            let [rows, columns] = tiles.tile(self.coop).map(|side| side as usize);
            // The gradient of a weight is split along k.
            let parts = if kernel == "matmul_tn_coop" { (k / BUSY_GROUPS).max(1) } else { 1 };
            m.div_ceil(rows) * n.div_ceil(columns) * parts >= BUSY_GROUPS
        };
        *candidates.iter().find(busy).or(candidates.last()).expect("a plan has a tile")
    }

    /// What a kernel will probably need, to be compiled before the first step.
    pub fn likely(&self, kernel: &str) -> Vec<Tiles> {
        let tuned = self.tuned.iter().filter(|((of, _), _)| of == kernel).map(|(_, tiles)| *tiles);
        let mut likely: Vec<Tiles> = tuned.collect();
        if let Some(tiles) = self.forced {
            return vec![tiles];
        }
        if likely.is_empty() {
            likely.push(self.candidates()[0]);
        }
        likely.sort_unstable();
        likely.dedup();
        likely
    }

    /// The same device with the choices of a text that [`Display`](fmt::Display) wrote; none where it is of other matrices or has a tile that
    /// the device does not take.
    pub fn with(&self, text: &str) -> Option<Self> {
        let mut parts = text.split("; ");
        if parts.next() != Some(&coop_text(self.coop)) {
            return None;
        }
        let mut tuned = BTreeMap::new();
        for part in parts {
            let mut words = part.split(' ');
            let mut next = || words.next();
            let (kernel, shape, fragments, subgroups, depth) =
                (next()?, sides(next()?)?, sides(next()?)?, sides(next()?)?, next()?);
            let tiles = Tiles { fragments, subgroups, depth: depth.parse().ok()? };
            if !TILES.contains(&tiles) || !self.takes(&tiles) {
                return None;
            }
            tuned.insert((kernel.to_owned(), shape), tiles);
        }
        Some(Plan { tuned, ..self.clone() })
    }
}

/// Which kernels compute, for checkpoints: their text, and how products are cut.
pub(super) fn text(device: &Device, plan: Option<&Plan>) -> String {
    let checks = if device.options.checks { ", bounds checks" } else { "" };
    let products = plan.map_or(SCALAR.to_owned(), Plan::to_string);
    format!("shaders {}{checks}; {products}", device.shaders)
}

/// Products without cooperative matrices.
const SCALAR: &str = "scalar tiles of 64";

impl Device {
    /// Takes the plan that [`Kernels::plan`](crate::Kernels::plan) told earlier, for engines opened from now on; false where the device cannot.
    pub fn take_plan(&self, told: &str) -> bool {
        let Some((shaders, products)) = told.split_once("; ") else { return false };
        if text(self, None).split_once("; ").is_none_or(|(own, _)| own != shaders) {
            return false;
        }
        if products == SCALAR {
            self.set_plan(None);
            return true;
        }
        let taken = self.shipped_plan().and_then(|plan| plan.with(products));
        let possible = taken.is_some();
        if possible {
            self.set_plan(taken);
        }
        possible
    }

    /// The table of tiles, where the device has cooperative matrices that may be used.
    pub fn shipped_plan(&self) -> Option<Plan> {
        self.coop.and_then(|coop| Plan::shipped(coop, &self.limits))
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
        // A file that says something else is as good as none.
        Some(kept.and_then(|text| shipped.with(text.trim_end())).unwrap_or(shipped))
    }

    /// Keeps a plan for the next start; where.
    ///
    /// # Errors
    /// What the file system says.
    pub fn keep_plan(&self, plan: &Plan) -> std::io::Result<Option<PathBuf>> {
        let Some(path) = self.tuned_file() else { return Ok(None) };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let partial = path.with_extension(format!("{}.partial", std::process::id()));
        std::fs::write(&partial, format!("{plan}\n"))?;
        std::fs::rename(&partial, &path)?;
        Ok(Some(path))
    }
}

fn coop_text(CoopShape { side, subgroup, .. }: CoopShape) -> String {
    format!("coop {side}x{side} of {subgroup} lanes")
}

/// `16384x8000x320`
fn sides<T: FromStr, const N: usize>(text: &str) -> Option<[T; N]> {
    let sides: Option<Vec<T>> = text.split('x').map(|side| side.parse().ok()).collect();
    sides?.try_into().ok()
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&coop_text(self.coop))?;
        for ((kernel, [m, n, k]), Tiles { fragments: [fm, fn_], subgroups: [sm, sn], depth }) in
            &self.tuned
        {
            write!(f, "; {kernel} {m}x{n}x{k} {fm}x{fn_} {sm}x{sn} {depth}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(side: u32, subgroup: u32, bytes: u32) -> Plan {
        let limits =
            wgpu::Limits { max_compute_workgroup_storage_size: bytes, ..wgpu::Limits::defaults() };
        Plan::shipped(CoopShape { side, subgroup, scalars: false }, &limits).unwrap()
    }

    #[test]
    fn large_products_have_large_tiles_and_small_ones_enough_workgroups() {
        let nvidia = plan(16, 32, 49_152);
        assert_eq!(
            nvidia.tiles("matmul_nt_coop", [16_384, 8000, 320]).tile(nvidia.coop),
            [128, 128]
        );
        assert_eq!(
            nvidia.tiles("matmul_tn_coop", [960, 320, 16_384]).tile(nvidia.coop),
            [128, 128]
        );
        assert!(nvidia.tiles("matmul_nt_coop", [512, 320, 320]).tile(nvidia.coop)[0] < 128);
        // WebGPU's least workgroup memory still takes one with the small ones.
        assert!(!plan(8, 32, 16_384).candidates().is_empty());
    }

    #[test]
    fn a_plan_survives_being_text_and_another_device_refuses_it() {
        let mut tuned = plan(16, 32, 49_152);
        tuned
            .tuned
            .insert(("matmul_nt_coop".into(), [16_384, 8000, 320]), tiles([4, 2], [2, 2], 32));
        assert_eq!(plan(16, 32, 49_152).with(&tuned.to_string()), Some(tuned.clone()));
        assert_eq!(plan(8, 32, 49_152).with(&tuned.to_string()), None);
        assert_eq!(
            plan(16, 32, 32_768).with(&tuned.to_string()),
            None,
            "the tile needs more memory"
        );
        assert_eq!(plan(16, 32, 49_152).with(&tuned.to_string().replace("2x2 32", "2x2 31")), None);
    }
}
