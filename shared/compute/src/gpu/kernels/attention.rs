//! Attention of training: on cooperative matrices where the device has them and takes heads of this width, else on scalar kernels.
use super::super::device::{coop_variant, variant_of};
use super::{Cost, Element, Gpu, Params, Precision, in_fours, params, word};
use crate::kernels::{AttentionShape, Tokens, View};
use crate::wgsl::{CoopShape, Tiles, Variant};

params! {
    Attention { sequence: u32, heads: u32, scale: f32 }
    AttentionBackward { sequence: u32, heads: u32, scale: f32, turned: u32 }
}

/// Buffers of its own, made when first needed.
#[derive(Default)]
pub struct Space {
    /// dout . out of each row and head, between the two kernels of backward on cooperative matrices.
    delta: Option<View>,
    /// What is bound for positions and table where nothing is turned.
    unturned: Option<(View, View)>,
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

impl Gpu {
    fn attention_coop(
        &self,
        shape: AttentionShape,
        operands: &[View],
    ) -> Option<(CoopShape, Tiles)> {
        let coop = self.plan.as_ref()?.coop;
        let tiles =
            attention_tiles(coop, word(shape.width), &self.device.limits).first().copied()?;
        in_fours(operands).then_some((coop, tiles))
    }

    pub(super) fn attention_forward_on_device(
        &mut self,
        shape: AttentionShape,
        qkv: View,
        out: View,
        lse: View,
    ) {
        self.head_width_is(shape);
        let params = Attention {
            sequence: word(shape.sequence),
            heads: word(shape.heads),
            scale: scale(shape),
        };
        let (operands, flop) = ([qkv, out, lse], 2.0 * matmul_flop(shape));
        match self.attention_coop(shape, &[qkv, out]) {
            Some(on) => {
                self.attend("attention_forward_coop", Some(on), shape, params, &operands, flop)
            }
            None => self.attend("attention_forward", None, shape, params, &operands, flop),
        }
    }

    /// `rope`: positions and table by which the gradients of queries and keys are turned back.
    #[allow(clippy::too_many_arguments)] // the operands of its formula
    pub(super) fn attention_backward_on_device(
        &mut self,
        shape: AttentionShape,
        qkv: View,
        out: View,
        lse: View,
        dout: View,
        rope: Option<(Tokens, View)>,
        dqkv: View,
    ) {
        self.head_width_is(shape);
        let (positions, table) = match rope {
            Some((positions, table)) => (self.ids(positions), table),
            None => self.unturned(),
        };
        let turned = u32::from(rope.is_some());
        let params = AttentionBackward {
            sequence: word(shape.sequence),
            heads: word(shape.heads),
            scale: scale(shape),
            turned,
        };
        let flop = matmul_flop(shape);
        // Four elements of half a head turn together.
        let in_eights = rope.is_none() || shape.width.is_multiple_of(8);
        match self.attention_coop(shape, &[qkv, out, dout, table, dqkv]).filter(|_| in_eights) {
            Some(on) => {
                let delta = self.delta(lse.len);
                let operands = [qkv, out, lse, dout, positions, table, delta, dqkv];
                self.attend(
                    "attention_backward_queries_coop",
                    Some(on),
                    shape,
                    params,
                    &operands,
                    3.0 * flop,
                );
                let operands = [qkv, lse, dout, positions, table, delta, dqkv];
                self.attend(
                    "attention_backward_keys_coop",
                    Some(on),
                    shape,
                    params,
                    &operands,
                    4.0 * flop,
                );
            }
            None => {
                let operands = [qkv, out, lse, dout, positions, table, dqkv];
                self.attend(
                    "attention_backward_queries",
                    None,
                    shape,
                    params,
                    &operands,
                    3.0 * flop,
                );
                self.attend("attention_backward_keys", None, shape, params, &operands, 4.0 * flop);
            }
        }
    }

    /// Records one of its kernels: a row of workgroups for each head of each sequence.
    fn attend<P: Params>(
        &mut self,
        kernel: &'static str,
        on: Option<(CoopShape, Tiles)>,
        shape: AttentionShape,
        params: P,
        operands: &[View],
        flop: f64,
    ) {
        let (variant, own): (Variant, u32) = match on {
            Some((coop, tiles)) => {
                (coop_variant(kernel, self.head_width, coop, tiles), tiles.tile(coop)[0])
            }
            None => (variant_of(kernel, self.precision, self.head_width), 64),
        };
        let groups = [word(shape.sequence).div_ceil(own), word(shape.batch * shape.heads), 1];
        self.run_variant(
            kernel,
            &variant,
            params,
            operands,
            groups,
            Cost { flop, ..Cost::default() },
        );
    }

    fn delta(&mut self, len: usize) -> View {
        let view = match self.attention.delta {
            Some(view) if view.len >= len => view,
            _ => self.create("delta", Element::Value(Precision::F32), len),
        };
        self.attention.delta = Some(view);
        view.slice(0, len)
    }

    fn unturned(&mut self) -> (View, View) {
        let views = match self.attention.unturned {
            Some(views) => views,
            None => (
                self.create("no positions", Element::U32, 4),
                self.create("no table", Element::Value(Precision::F32), 4),
            ),
        };
        self.attention.unturned = Some(views);
        views
    }
}

fn scale(shape: AttentionShape) -> f32 {
    1.0 / (shape.width as f32).sqrt()
}

/// Multiplications and additions of one product of the causal half.
fn matmul_flop(AttentionShape { batch, sequence, heads, width }: AttentionShape) -> f64 {
    let pairs = sequence as f64 * (sequence as f64 + 1.0) / 2.0;
    2.0 * (batch * heads * width) as f64 * pairs
}

#[cfg(test)]
mod tests {
    use super::*;

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
