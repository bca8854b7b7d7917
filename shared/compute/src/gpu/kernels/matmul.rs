//! Products: on cooperative matrices where the device has them and the shape allows it, else on scalar kernels; and sums that are split.
use super::super::device::{coop_variant, variant_of};
use super::{Cost, Gpu, Matmul, Params, in_fours, params, striding, word};
use crate::kernels::View;
use crate::wgsl::{CoopShape, Tiles};

params! {
    SplitMatmul { m: u32, n: u32, k: u32, part: u32, accumulate: u32 }
    Parts { count: u32, len: u32, unused: u32, unused_too: u32, segments: SegmentTable }
}

/// Split sums that one dispatch of reduce_partials ends.
const SEGMENTS: usize = 12;
/// For each where it begins among all of their values, its parts, and where these and its output are.
type SegmentTable = [[u32; 4]; SEGMENTS];

/// A split sum whose parts are, or will be, in the work space.
#[derive(Clone, Copy)]
pub struct Split {
    parts: u32,
    part: View,
    pub out: View,
}

/// Tiles of a product side by side below which its contraction is split, and the fewest rows of a part.
const BUSY_TILES: u32 = 256;
const LEAST_ROWS: u32 = 256;
/// Side of the tile of a product, as in lib/tile.wgsl.
const TILE: usize = 64;

fn matmul_cost([m, n, k]: [usize; 3]) -> Cost {
    Cost { shape: Some([m, n, k]), flop: 2.0 * (m * n * k) as f64, bytes: 0.0 }
}

impl Gpu {
    /// Where `parts` parts of a sum for `out` may be written; [`reduce_partials`](Self::reduce_partials) adds them up before anything else
    /// touches the buffer of `out`, many sums in one dispatch.
    pub(super) fn split(&mut self, parts: usize, out: View) -> View {
        let (len, space) = (parts * out.len, self.scratch());
        let taken = |gpu: &Self| {
            gpu.splits
                .last()
                .map_or(0, |split| (split.part.offset + split.part.len).next_multiple_of(4))
        };
        let other = |split: &Split| {
            let apart = split.out.offset + split.out.len <= out.offset
                || out.offset + out.len <= split.out.offset;
            split.out.buffer != out.buffer || !apart
        };
        if self.splits.len() == SEGMENTS
            || taken(self) + len > space.len
            || self.splits.iter().any(other)
        {
            self.reduce_partials();
        }
        let part = space.slice(taken(self), len);
        self.splits.push(Split { parts: word(parts), part, out });
        part
    }

    /// Adds the parts of all split sums to where they belong.
    pub fn reduce_partials(&mut self) {
        let splits = std::mem::take(&mut self.splits);
        let Some(first) = splits.first() else { return };
        let start = splits.iter().map(|split| split.out.offset).min().unwrap_or_default();
        let end =
            splits.iter().map(|split| split.out.offset + split.out.len).max().unwrap_or_default();
        let out = View { buffer: first.out.buffer, offset: start, len: end - start };
        let last = splits.last().map_or(first.part, |split| split.part);
        let part = View { len: last.offset + last.len, offset: 0, ..first.part };
        let mut params = Parts {
            count: word(splits.len()),
            len: 0,
            unused: 0,
            unused_too: 0,
            segments: SegmentTable::default(),
        };
        for (segment, split) in params.segments.iter_mut().zip(&splits) {
            *segment =
                [params.len, split.parts, word(split.part.offset), word(split.out.offset - start)];
            params.len += word(split.out.len);
        }
        let groups = striding(params.len as usize);
        self.run("reduce_partials", params, &[part, out], groups, 0.0);
    }

    /// The cooperative matrices and the tile for a product, where it can go on them: all operands in fours, and what is contiguous in them too.
    fn coop_for(
        &self,
        kernel: &'static str,
        [m, n, k]: [usize; 3],
        operands: &[View],
    ) -> Option<(CoopShape, Tiles)> {
        let plan = self.plan.as_ref()?;
        let contiguous = if kernel == "matmul_tn_coop" { [m, n] } else { [n, k] };
        let fits = contiguous.iter().all(|side| side.is_multiple_of(4)) && in_fours(operands);
        fits.then(|| (plan.coop, plan.tiles(kernel, [m, n, k])))
    }

    /// Records a product on cooperative matrices, if it can go on them.
    pub(super) fn matmul_coop<P: Params>(
        &mut self,
        kernel: &'static str,
        [m, n, k]: [usize; 3],
        params: P,
        operands: &[View],
        in_fours: &[View],
    ) -> bool {
        let Some((coop, tiles)) = self.coop_for(kernel, [m, n, k], in_fours) else {
            return false;
        };
        let [rows, columns] = tiles.tile(coop).map(|side| side as usize);
        let groups = [word(n.div_ceil(columns)), word(m.div_ceil(rows)), 1];
        let variant = coop_variant(kernel, self.head_width, coop, tiles);
        self.run_variant(kernel, &variant, params, operands, groups, matmul_cost([m, n, k]));
        true
    }

    pub(super) fn matmul(
        &mut self,
        kernel: &'static str,
        on_coop: &'static str,
        [m, n, k]: [usize; 3],
        a: View,
        b: View,
        c: View,
    ) {
        assert_eq!((a.len, b.len, c.len), (m * k, n * k, m * n), "{kernel} {m} x {n} x {k}");
        let params = Matmul { m: word(m), n: word(n), k: word(k) };
        if self.matmul_coop(on_coop, [m, n, k], params, &[a, b, c], &[a, b, c]) {
            return;
        }
        let groups = [word(n.div_ceil(TILE)), word(m.div_ceil(TILE)), 1];
        let variant = variant_of(kernel, self.precision, self.head_width);
        self.run_variant(kernel, &variant, params, &[a, b, c], groups, matmul_cost([m, n, k]));
    }

    /// Records `c += aᵀ b`, split along k where c has few tiles.
    pub(super) fn matmul_tn_split(&mut self, [m, n, k]: [usize; 3], a: View, b: View, c: View) {
        assert_eq!((a.len, b.len, c.len), (m * k, n * k, m * n), "matmul_tn {m} x {n} x {k}");
        let on_coop = self.coop_for("matmul_tn_coop", [m, n, k], &[a, b, c]);
        let tile =
            on_coop.map_or([TILE; 2], |(coop, tiles)| tiles.tile(coop).map(|side| side as usize));
        let tiles = [word(n.div_ceil(tile[1])), word(m.div_ceil(tile[0]))];
        let wanted = (BUSY_TILES / (tiles[0] * tiles[1]))
            .min(word(k) / LEAST_ROWS)
            .min(word(self.scratch().len / c.len))
            .max(1);
        let depth = on_coop.map_or(16, |(_, tiles)| tiles.depth);
        let part = word(k).div_ceil(wanted).next_multiple_of(depth);
        let parts = word(k).div_ceil(part);
        let out = if parts == 1 { c } else { self.split(parts as usize, c) };
        let params = SplitMatmul {
            m: word(m),
            n: word(n),
            k: word(k),
            part,
            accumulate: u32::from(parts == 1),
        };
        let groups = [tiles[0], tiles[1], parts];
        let (kernel, variant) = match on_coop {
            Some((coop, tiles)) => {
                ("matmul_tn_coop", coop_variant("matmul_tn_coop", self.head_width, coop, tiles))
            }
            None => ("matmul_tn", variant_of("matmul_tn", self.precision, self.head_width)),
        };
        self.run_variant(kernel, &variant, params, &[a, b, out], groups, matmul_cost([m, n, k]));
    }
}
