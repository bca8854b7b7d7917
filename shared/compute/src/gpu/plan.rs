//! How products are cut for cooperative matrices: a shipped table serves a cold start, tuning finds better tiles for single shapes.
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use super::table::Kernel;
use crate::wgsl::{CoopShape, Tiles};

/// What a workgroup may have: bytes of its memory, and invocations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkgroupLimits {
    /// Of its memory.
    pub bytes: u32,
    /// Invocations.
    pub lanes: u32,
}

impl From<&wgpu::Limits> for WorkgroupLimits {
    fn from(limits: &wgpu::Limits) -> Self {
        WorkgroupLimits {
            bytes: limits.max_compute_workgroup_storage_size,
            lanes: limits.max_compute_invocations_per_workgroup,
        }
    }
}

/// The shape of the matrices, and which tiles serve a kernel and a shape [m, n, k].
///
/// As text, for checkpoints and the cache: `coop 16x16 of 32 lanes for 40 cores; matmul_nt_coop 16384x8000x320 4x4 2x2 16; not
/// matmul_tn_coop 4x4 2x2 16`.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The cooperative matrices.
    pub coop: CoopShape,
    limits: WorkgroupLimits,
    /// Multiprocessors of the device, each of which takes a workgroup or a few at a time.
    pub cores: u32,
    /// For all shapes: what tuning tries.
    forced: Option<Tiles>,
    /// Tiles of a kernel and a shape [m, n, k]: the fastest of those that tuning tried.
    pub tuned: BTreeMap<(String, [usize; 3]), Tiles>,
    /// Kernels that failed their probe with these tiles.
    excluded: BTreeSet<(String, Tiles)>,
}

/// Tiles of a matmul to choose from, the largest first.
pub const TILES: &[Tiles] = &[
    tiles([4, 4], [2, 2], 16),
    tiles([4, 4], [2, 2], 32),
    tiles([4, 2], [2, 4], 16),
    tiles([4, 2], [2, 4], 32),
    tiles([4, 2], [2, 2], 32),
    tiles([4, 2], [2, 2], 16),
    tiles([2, 2], [2, 2], 32),
    tiles([2, 2], [2, 2], 16),
];

const fn tiles(fragments: [u32; 2], subgroups: [u32; 2], depth: u32) -> Tiles {
    Tiles { fragments, subgroups, depth }
}

/// Fewest rows of a part where a contraction is split.
const LEAST_ROWS: usize = 256;
/// Rows or columns of a tile that cost as much in operands as in multiplications, roughly.
const OPERAND_SIDE: f64 = 32.0;

/// Multiprocessors that are assumed where nothing is known; `--tune` then measures which tiles are best.
pub(super) const USUAL_CORES: u32 = 128;

/// Parts into which a contraction over k is split, where its output has this number of tiles: two workgroups for each core.
pub(super) fn parts_of(cores: u32, tiles: u32, k: usize) -> usize {
    ((2 * cores / tiles) as usize).min(k / LEAST_ROWS).max(1)
}

impl Plan {
    /// The table alone; none where no tile fits the device.
    pub fn shipped(
        coop: CoopShape,
        limits: impl Into<WorkgroupLimits>,
        cores: u32,
    ) -> Option<Self> {
        let plan = Plan {
            coop,
            limits: limits.into(),
            cores,
            forced: None,
            tuned: BTreeMap::new(),
            excluded: BTreeSet::new(),
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
        even && lanes <= self.limits.lanes
            && tiles.workgroup_bytes(self.coop) <= self.limits.bytes
            && tiles.depth.is_multiple_of(self.coop.side)
    }

    /// These tiles for every product.
    pub fn only(&self, tiles: Tiles) -> Self {
        Plan { forced: Some(tiles), ..self.clone() }
    }

    /// The kernel failed its probe with these tiles.
    pub fn exclude(&mut self, kernel: &Kernel, tiles: Tiles) {
        self.excluded.insert((kernel.name.to_owned(), tiles));
    }

    fn may(&self, kernel: &Kernel, tiles: &Tiles) -> bool {
        !self.excluded.contains(&(kernel.name.to_owned(), *tiles))
    }

    /// Parts into which a contraction over k is split, so that every core has some.
    pub fn parts(&self, tiles: &Tiles, [m, n, k]: [usize; 3]) -> usize {
        let [rows, columns] = tiles.tile(self.coop).map(|side| side as usize);
        parts_of(self.cores, (m.div_ceil(rows) * n.div_ceil(columns)) as u32, k)
    }

    /// How well a tile serves a shape, the larger the better: what the edges and the last wave of workgroups leave idle is lost, and a
    /// small tile brings more operands for a multiplication.
    fn merit(&self, kernel: &Kernel, tiles: &Tiles, shape: [usize; 3]) -> f64 {
        let [m, n, _] = shape;
        let [rows, columns] = tiles.tile(self.coop).map(|side| side as usize);
        let parts = if kernel.split_k { self.parts(tiles, shape) } else { 1 };
        let groups = m.div_ceil(rows) * n.div_ceil(columns) * parts;
        let cores = self.cores as usize;
        let filled =
            (m * n * parts) as f64 / (groups.div_ceil(cores) * cores * rows * columns) as f64;
        filled / (1.0 + OPERAND_SIDE * (1.0 / rows as f64 + 1.0 / columns as f64))
    }

    /// What serves a matmul of this shape; none where all tiles failed their probe: the scalar kernel does.
    pub fn tiles(&self, kernel: &Kernel, shape: [usize; 3]) -> Option<Tiles> {
        if let Some(tiles) = self.forced {
            return Some(tiles).filter(|tiles| self.may(kernel, tiles));
        }
        let tuned = self.tuned.get(&(kernel.name.to_owned(), shape)).copied();
        if let Some(tiles) = tuned.filter(|tiles| self.may(kernel, tiles)) {
            return Some(tiles);
        }
        let mut best: Option<(f64, Tiles)> = None;
        for tiles in self.candidates().into_iter().filter(|tiles| self.may(kernel, tiles)) {
            let merit = self.merit(kernel, &tiles, shape);
            if best.is_none_or(|(most, _)| merit > most) {
                best = Some((merit, tiles));
            }
        }
        best.map(|(_, tiles)| tiles)
    }

    /// What serves a kernel of attention at heads of this width.
    pub fn attention(&self, kernel: &Kernel, head_width: u32) -> Option<Tiles> {
        let mut tiles = attention_tiles(self.coop, head_width, self.limits).into_iter();
        tiles.find(|tiles| self.may(kernel, tiles))
    }

    /// What a matmul will probably need, to be compiled before the first step.
    pub fn likely(&self, kernel: &Kernel) -> Vec<Tiles> {
        let may = |tiles: &Tiles| self.may(kernel, tiles);
        if let Some(tiles) = self.forced {
            return vec![tiles].into_iter().filter(may).collect();
        }
        let tuned =
            self.tuned.iter().filter(|((of, _), _)| of == kernel.name).map(|(_, tiles)| *tiles);
        let mut likely: Vec<Tiles> = tuned.filter(may).collect();
        if likely.is_empty() {
            likely.extend(self.candidates().into_iter().find(may));
        }
        likely.sort_unstable();
        likely.dedup();
        likely
    }

    /// The same device with the choices of a text that [`Display`](fmt::Display) wrote; none where it is of other matrices or has a tile that
    /// the device does not take.
    pub fn with(&self, text: &str) -> Option<Self> {
        let mut parts = text.split("; ");
        let cores = parts.next()?.strip_prefix(&coop_text(self.coop))?;
        let cores = cores.strip_prefix(" for ")?.strip_suffix(" cores")?.parse().ok()?;
        let mut plan = Plan {
            cores,
            tuned: BTreeMap::new(),
            excluded: BTreeSet::new(),
            forced: None,
            ..self.clone()
        };
        for part in parts {
            match part.split(' ').collect::<Vec<&str>>()[..] {
                ["not", kernel, fragments, subgroups, depth] => {
                    let tiles = tiles_of([fragments, subgroups, depth])?;
                    plan.excluded.insert((kernel.to_owned(), tiles));
                }
                [kernel, shape, fragments, subgroups, depth] => {
                    let tiles = tiles_of([fragments, subgroups, depth])?;
                    if !TILES.contains(&tiles) || !plan.takes(&tiles) {
                        return None;
                    }
                    plan.tuned.insert((kernel.to_owned(), sides(shape)?), tiles);
                }
                _ => return None,
            }
        }
        (plan.cores > 0).then_some(plan)
    }
}

fn tiles_of([fragments, subgroups, depth]: [&str; 3]) -> Option<Tiles> {
    Some(tiles(sides(fragments)?, sides(subgroups)?, depth.parse().ok()?))
}

/// Fragments of a head's width that shaders/lib/attention_coop.wgsl has names for.
const HEAD_FRAGMENTS: u32 = 8;
/// Keys of a tile, and subgroups of a workgroup, the best first.
const CUTS: [(u32, u32); 4] = [(32, 4), (16, 4), (32, 2), (16, 2)];

/// How attention may be cut for such matrices, the best first: `fragments[1]` fragments of rows in a tile, `subgroups[0]` subgroups that own
/// one each.
pub fn attention_tiles(
    coop: CoopShape,
    head_width: u32,
    limits: impl Into<WorkgroupLimits>,
) -> Vec<Tiles> {
    let limits = limits.into();
    let CoopShape { side, subgroup, .. } = coop;
    let padded = head_width.next_multiple_of(side);
    if !head_width.is_multiple_of(4)
        || padded > HEAD_FRAGMENTS * side
        || !subgroup.is_multiple_of(side)
    {
        return Vec::new();
    }
    let fits = |tiles: &Tiles| {
        let (tile, own) = (tiles.fragments[1] * side, tiles.subgroups[0] * side);
        // attention_backward_keys_coop takes most: two tiles of f16, weights and their gradients, scores and theirs in f32, lse and delta.
        let staged = 2 * (2 * tile * (padded + 8) + 2 * own * (tile + 8));
        let space = 4 * (2 * own * (tile + 4)).max(side * (padded + 4));
        let bytes = staged + space + 8 * tile;
        // What a workgroup owns comes by way of its two tiles; a lane at most brings lse and delta of one row.
        own <= 2 * tile
            && tile <= tiles.lanes(coop)
            && bytes <= limits.bytes
            && tiles.lanes(coop) <= limits.lanes
    };
    let tiles = CUTS.map(|(tile, subgroups)| Tiles {
        fragments: [1, tile / side],
        subgroups: [subgroups, 1],
        depth: side,
    });
    tiles.into_iter().filter(fits).collect()
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
        write!(f, "{} for {} cores", coop_text(self.coop), self.cores)?;
        for ((kernel, [m, n, k]), tiles) in &self.tuned {
            write!(f, "; {kernel} {m}x{n}x{k} {tiles}")?;
        }
        for (kernel, tiles) in &self.excluded {
            write!(f, "; not {kernel} {tiles}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::{
        ATTENTION_BACKWARD_KEYS_COOP, ATTENTION_FORWARD_COOP, MATMUL_NT_COOP, MATMUL_TN_COOP,
    };
    use super::*;

    fn plan(side: u32, subgroup: u32, bytes: u32) -> Plan {
        Plan::shipped(
            CoopShape { side, subgroup, scalars: false },
            WorkgroupLimits { bytes, lanes: 256 },
            128,
        )
        .unwrap()
    }

    #[test]
    fn large_matmuls_have_large_tiles_and_small_ones_enough_workgroups() {
        let nvidia = plan(16, 32, 49_152);
        let tile = |kernel, shape| nvidia.tiles(kernel, shape).unwrap().tile(nvidia.coop);
        assert_eq!(tile(&MATMUL_NT_COOP, [16_384, 8000, 320]), [128, 128]);
        assert_eq!(tile(&MATMUL_NT_COOP, [16_384, 8192, 4096]), [128, 128]);
        // Three tiles of 128 columns are half a tile more than 320.
        assert_eq!(tile(&MATMUL_NT_COOP, [16_384, 320, 320]), [128, 64]);
        assert_eq!(tile(&MATMUL_NT_COOP, [512, 320, 320]), [64, 64]);
        // WebGPU's least workgroup memory still takes one with the small ones.
        assert!(!plan(8, 32, 16_384).candidates().is_empty());
    }

    #[test]
    fn a_device_with_few_cores_keeps_large_tiles_for_smaller_matmuls() {
        let shape = [1024, 512, 320];
        let rows = |cores| {
            let plan = Plan { cores, ..plan(16, 32, 49_152) };
            plan.tiles(&MATMUL_NT_COOP, shape).unwrap().tile(plan.coop)
        };
        assert_eq!((rows(16), rows(132)), ([128, 128], [64, 64]));
        let parts = |cores| {
            let plan = Plan { cores, ..plan(16, 32, 49_152) };
            plan.parts(&TILES[0], [320, 320, 16_384])
        };
        assert_eq!((parts(16), parts(40), parts(132)), (3, 8, 29));
    }

    #[test]
    fn a_tile_that_failed_its_probe_gives_way_to_the_next_and_at_last_to_the_scalar_kernel() {
        let mut plan = plan(16, 32, 49_152);
        let (shape, head) = ([16_384, 8000, 320], 40);
        let mut chosen = Vec::new();
        while let Some(tiles) = plan.tiles(&MATMUL_NT_COOP, shape) {
            assert!(!chosen.contains(&tiles) && plan.with(&plan.to_string()) == Some(plan.clone()));
            chosen.push(tiles);
            plan.exclude(&MATMUL_NT_COOP, tiles);
        }
        assert_eq!(chosen.len(), plan.candidates().len());
        assert!(plan.tiles(&MATMUL_TN_COOP, shape).is_some(), "that kernel only");
        let first = plan.attention(&ATTENTION_FORWARD_COOP, head).unwrap();
        plan.exclude(&ATTENTION_FORWARD_COOP, first);
        assert_ne!(plan.attention(&ATTENTION_FORWARD_COOP, head), Some(first));
        assert_eq!(plan.attention(&ATTENTION_BACKWARD_KEYS_COOP, head), Some(first));
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

    fn first(side: u32, subgroup: u32, bytes: u32, head_width: u32) -> Option<[u32; 2]> {
        let coop = CoopShape { side, subgroup, scalars: false };
        let limits = WorkgroupLimits { bytes, lanes: 256 };
        let tiles = attention_tiles(coop, head_width, limits).first().copied()?;
        Some([tiles.fragments[1] * side, tiles.subgroups[0]])
    }

    #[test]
    fn attention_fits_the_workgroup_memory_that_devices_have() {
        for head_width in [40, 64, 128] {
            assert_eq!(
                first(16, 32, 49_152, head_width),
                Some([32, 4]),
                "NVIDIA, heads of {head_width}"
            );
        }
        assert_eq!(first(8, 32, 32_768, 64), Some([32, 4]), "Apple");
        assert_eq!(first(8, 8, 16_384, 40), Some([16, 4]), "the least there is");
        assert_eq!(first(8, 32, 32_768, 128), None, "more fragments than there are names for");
        assert_eq!(first(16, 8, 49_152, 40), None, "a subgroup without a lane for every row");
        assert_eq!(first(16, 32, 49_152, 42), None, "not in fours");
    }
}
