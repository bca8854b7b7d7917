//! Matmuls: on cooperative matrices where the device has them and the shape allows it, else scalar.
use crate::gpu::dispatch::{Params, in_fours, params, word};
use crate::gpu::engine::Gpu;
use crate::gpu::plan::{USUAL_CORES, parts_of};
use crate::gpu::record::Cost;
use crate::gpu::table::{Kernel, MATMUL_NT};
use crate::kernels::View;
use crate::wgsl::{CoopShape, Tiles};

params! {
    Matmul { m: u32, n: u32, k: u32 }
    PitchedMatmul { m: u32, n: u32, k: u32, a_pitch: u32, c_pitch: u32 }
    MatmulRope { m: u32, n: u32, k: u32, turned: u32 }
    SplitMatmul { m: u32, n: u32, k: u32, a_pitch: u32, part: u32, accumulate: u32 }
}

/// Side of the tile of a product, as in lib/tile.wgsl.
const TILE: usize = 64;
/// Its k-slice.
const DEPTH: u32 = 16;

fn matmul_cost([m, n, k]: [usize; 3]) -> Cost {
    Cost { shape: Some([m, n, k]), flop: 2.0 * (m * n * k) as f64, bytes: 0.0 }
}

/// From one row to the next in a matrix, whose rows may be padded to whole vectors of four.
fn pitch(matrix: View, rows: usize, columns: usize, name: &str) -> usize {
    let pitch = matrix.len / rows.max(1);
    let whole = matrix.len == rows * pitch;
    let padded = columns.next_multiple_of(4);
    assert!(
        whole && (pitch == columns || pitch == padded),
        "{name}: {rows} rows of {columns} in {}",
        matrix.len
    );
    pitch
}

impl Gpu {
    /// The matrices and the tile for a matmul, where it can go on them: operands in fours, and `contiguous`, their rows, too. Else why not.
    fn coop_tiles(
        &mut self,
        kernel: &'static Kernel,
        shape: [usize; 3],
        contiguous: &[usize],
        operands: &[View],
    ) -> Result<(CoopShape, Tiles), String> {
        if self.plan.is_none() && self.forced.is_none() {
            return Err("there are none".into());
        }
        let [m, n, k] = shape;
        if let Some(side) = contiguous.iter().find(|side| !side.is_multiple_of(4)) {
            return Err(format!("{m} x {n} x {k}, and {side} is not a multiple of four"));
        }
        if !in_fours(operands) {
            return Err(format!("{m} x {n} x {k}, and an operand does not lie in fours"));
        }
        let found = self.proven(kernel, |plan| plan.tiles(kernel, shape));
        found.ok_or_else(|| format!("{} failed its probe", kernel.name))
    }

    /// Notes that a matmul went scalar for this reason, where the device has cooperative matrices.
    fn note_scalar(&mut self, kernel: &Kernel, shape: [usize; 3], reason: String) {
        if self.plan.is_some() {
            self.fallbacks.note(kernel.method, matmul_cost(shape).flop, reason);
        }
    }

    /// Records a matmul on cooperative matrices, if it can go on them; else says why not.
    pub(super) fn matmul_coop<P: Params>(
        &mut self,
        kernel: &'static Kernel,
        [m, n, k]: [usize; 3],
        params: P,
        contiguous: &[usize],
        operands: &[View],
        in_fours: &[View],
    ) -> Result<(), String> {
        let (coop, tiles) = self.coop_tiles(kernel, [m, n, k], contiguous, in_fours)?;
        let [rows, columns] = tiles.tile(coop).map(|side| side as usize);
        let groups = [word(n.div_ceil(columns)), word(m.div_ceil(rows)), 1];
        let variant = kernel.coop_variant(self.head_width, coop, tiles);
        self.run_variant(kernel, &variant, params, operands, groups, matmul_cost([m, n, k]));
        Ok(())
    }

    pub(super) fn matmul(
        &mut self,
        kernel: &'static Kernel,
        [m, n, k]: [usize; 3],
        a: View,
        b: View,
        c: View,
    ) {
        let name = kernel.name;
        assert_eq!(b.len, n * k, "{name} {m} x {n} x {k}");
        let [a_pitch, c_pitch] = [pitch(a, m, k, name), pitch(c, m, n, name)];
        let params = PitchedMatmul {
            m: word(m),
            n: word(n),
            k: word(k),
            a_pitch: word(a_pitch),
            c_pitch: word(c_pitch),
        };
        let operands = [a, b, c];
        let b_pitch = b.len / if kernel.name == MATMUL_NT.name { n } else { k };
        let contiguous = [a_pitch, b_pitch, c_pitch];
        if let Some(coop) = kernel.coop {
            match self.matmul_coop(coop, [m, n, k], params, &contiguous, &operands, &operands) {
                Ok(()) => return,
                Err(reason) => self.note_scalar(kernel, [m, n, k], reason),
            }
        }
        let groups = [word(n.div_ceil(TILE)), word(m.div_ceil(TILE)), 1];
        let variant = kernel.scalar_variant(self.precision, self.head_width);
        self.run_variant(kernel, &variant, params, &operands, groups, matmul_cost([m, n, k]));
    }

    /// Records `c += aᵀ b`, split along k where c has few tiles.
    pub(super) fn matmul_split(
        &mut self,
        kernel: &'static Kernel,
        [m, n, k]: [usize; 3],
        a: View,
        b: View,
        c: View,
    ) {
        let name = kernel.name;
        assert_eq!((b.len, c.len), (n * k, m * n), "{name} {m} x {n} x {k}");
        let a_pitch = pitch(a, k, m, name);
        let on_coop = kernel.coop.and_then(|coop| {
            match self.coop_tiles(coop, [m, n, k], &[a_pitch, n], &[a, b, c]) {
                Ok((shape, tiles)) => Some((coop, shape, tiles)),
                Err(reason) => {
                    self.note_scalar(kernel, [m, n, k], reason);
                    None
                }
            }
        });
        let cores = self.plan.as_ref().map_or(USUAL_CORES, |plan| plan.cores);
        let (kernel, variant, tile, depth) = match on_coop {
            Some((coop, shape, tiles)) => (
                coop,
                coop.coop_variant(self.head_width, shape, tiles),
                tiles.tile(shape).map(|side| side as usize),
                tiles.depth,
            ),
            None => {
                let variant = kernel.scalar_variant(self.precision, self.head_width);
                (kernel, variant, [TILE; 2], DEPTH)
            }
        };
        let tiles = [word(n.div_ceil(tile[1])), word(m.div_ceil(tile[0]))];
        let wanted = word(parts_of(cores, tiles[0] * tiles[1], k))
            .min(word(self.scratch().len / c.len))
            .max(1);
        let part = word(k).div_ceil(wanted).next_multiple_of(depth);
        let parts = word(k).div_ceil(part);
        let out = if parts == 1 { c } else { self.own_partials_for(parts as usize, c) };
        let accumulate = u32::from(parts == 1);
        let params = SplitMatmul {
            m: word(m),
            n: word(n),
            k: word(k),
            a_pitch: word(a_pitch),
            part,
            accumulate,
        };
        let groups = [tiles[0], tiles[1], parts];
        self.run_variant(kernel, &variant, params, &[a, b, out], groups, matmul_cost([m, n, k]));
    }
}
