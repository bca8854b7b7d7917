//! How products are cut for cooperative matrices: a shipped table serves a cold start, tuning finds better tiles for single shapes.
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::table::Kernel;
use crate::wgsl::{CoopShape, Tiles};

/// The shape of the matrices, and the tiles that were found best for a kernel and a shape [m, n, k]; the table serves all others.
///
/// As text, for checkpoints and the cache: `coop 16x16 of 32 lanes; matmul_nt_coop 16384x8000x320 4x4 2x2 16`.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The cooperative matrices.
    pub coop: CoopShape,
    /// What a workgroup may have of its memory, and of invocations.
    most_bytes: u32,
    most_lanes: u32,
    /// For all shapes: what tuning tries.
    forced: Option<Tiles>,
    /// Tiles of a kernel and a shape [m, n, k].
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
    pub fn tiles(&self, kernel: &Kernel, shape: [usize; 3]) -> Tiles {
        if let Some(tiles) = self.forced {
            return tiles;
        }
        if let Some(tuned) = self.tuned.get(&(kernel.name.to_owned(), shape)) {
            return *tuned;
        }
        let candidates = self.candidates();
        let [m, n, k] = shape;
        let busy = |tiles: &&Tiles| {
            let [rows, columns] = tiles.tile(self.coop).map(|side| side as usize);
            // The gradient of a weight is split along k.
            let parts = if kernel.split_k { (k / BUSY_GROUPS).max(1) } else { 1 };
            m.div_ceil(rows) * n.div_ceil(columns) * parts >= BUSY_GROUPS
        };
        *candidates.iter().find(busy).or(candidates.last()).expect("a plan has a tile")
    }

    /// What a kernel will probably need, to be compiled before the first step.
    pub fn likely(&self, kernel: &Kernel) -> Vec<Tiles> {
        let tuned =
            self.tuned.iter().filter(|((of, _), _)| of == kernel.name).map(|(_, tiles)| *tiles);
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

/// Fragments of a head's width that shaders/lib/attention_coop.wgsl has names for.
const HEAD_FRAGMENTS: u32 = 8;
/// Keys of a tile, and subgroups of a workgroup, the best first.
const CUTS: [(u32, u32); 4] = [(32, 4), (16, 4), (32, 2), (16, 2)];

/// How attention may be cut for such matrices, the best first: `fragments[1]` fragments of rows in a tile, `subgroups[0]` subgroups that own
/// one each.
pub fn attention_tiles(coop: CoopShape, head_width: u32, limits: &wgpu::Limits) -> Vec<Tiles> {
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
            && bytes <= limits.max_compute_workgroup_storage_size
            && tiles.lanes(coop) <= limits.max_compute_invocations_per_workgroup
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
    use super::super::table::{MATMUL_NT_COOP, MATMUL_TN_COOP};
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
            nvidia.tiles(&MATMUL_NT_COOP, [16_384, 8000, 320]).tile(nvidia.coop),
            [128, 128]
        );
        assert_eq!(nvidia.tiles(&MATMUL_TN_COOP, [960, 320, 16_384]).tile(nvidia.coop), [128, 128]);
        assert!(nvidia.tiles(&MATMUL_NT_COOP, [512, 320, 320]).tile(nvidia.coop)[0] < 128);
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

    fn first(side: u32, subgroup: u32, bytes: u32, head_width: u32) -> Option<[u32; 2]> {
        let limits =
            wgpu::Limits { max_compute_workgroup_storage_size: bytes, ..wgpu::Limits::defaults() };
        let tiles =
            attention_tiles(CoopShape { side, subgroup, scalars: false }, head_width, &limits)
                .first()
                .copied()?;
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
