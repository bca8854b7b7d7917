//! Attention of training: on cooperative matrices where the device has them and takes heads of this width, else scalar.
use crate::gpu::dispatch::{Params, in_fours, params, word};
use crate::gpu::engine::Gpu;
use crate::gpu::pipeline::Element;
use crate::gpu::plan::attention_tiles;
use crate::gpu::record::Cost;
use crate::gpu::table::{
    ATTENTION_BACKWARD_KEYS, ATTENTION_BACKWARD_QUERIES, ATTENTION_FORWARD, Kernel,
};
use crate::kernels::{AttentionShape, Precision, Tokens, View};
use crate::wgsl::{CoopShape, Tiles};

params! {
    Attention { sequence: u32, heads: u32, kv_heads: u32, scale: f32 }
    AttentionBackward { sequence: u32, heads: u32, kv_heads: u32, scale: f32, turned: u32 }
}

/// Queries (or keys) that a workgroup of the scalar kernels owns, one an invocation.
const SCALAR_OWN: u32 = 64;

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

    pub(super) fn attend_forward(
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
            kv_heads: word(shape.kv_heads),
            scale: scale(shape),
        };
        let on = self.attention_coop(shape, &[qkv, out]);
        let heads = shape.heads;
        self.attend(&ATTENTION_FORWARD, on, shape, heads, params, &[qkv, out, lse], 2.0);
    }

    /// `rope`: positions and table by which the gradients of queries and keys are turned back.
    #[allow(clippy::too_many_arguments)] // the operands of its formula
    pub(super) fn attend_backward(
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
        let params = AttentionBackward {
            sequence: word(shape.sequence),
            heads: word(shape.heads),
            kv_heads: word(shape.kv_heads),
            scale: scale(shape),
            turned: u32::from(rope.is_some()),
        };
        // Four elements of half a head turn together.
        let in_eights = rope.is_none() || shape.width.is_multiple_of(8);
        let on = self.attention_coop(shape, &[qkv, out, dout, table, dqkv]).filter(|_| in_eights);
        // On cooperative matrices the first kernel leaves delta for the second; else each computes it.
        let delta = on.map(|_| self.delta(lse.len));
        let operands = |first: &[View]| -> Vec<View> {
            first
                .iter()
                .copied()
                .chain([dout, positions, table])
                .chain(delta)
                .chain([dqkv])
                .collect()
        };
        let for_queries = operands(&[qkv, out, lse]);
        let for_keys =
            if on.is_some() { operands(&[qkv, lse]) } else { operands(&[qkv, out, lse]) };
        let (heads, kv_heads) = (shape.heads, shape.kv_heads);
        self.attend(&ATTENTION_BACKWARD_QUERIES, on, shape, heads, params, &for_queries, 3.0);
        self.attend(&ATTENTION_BACKWARD_KEYS, on, shape, kv_heads, params, &for_keys, 4.0);
    }

    /// Records one of its kernels, on cooperative matrices or scalar: a row of workgroups for each of `heads` of each
    /// sequence. `matmuls` of the causal half are computed.
    #[allow(clippy::too_many_arguments)] // of three kernels that differ in all of these
    fn attend<P: Params>(
        &mut self,
        kernel: &'static Kernel,
        on: Option<(CoopShape, Tiles)>,
        shape: AttentionShape,
        heads: usize,
        params: P,
        operands: &[View],
        matmuls: f64,
    ) {
        let (kernel, variant, own) = match kernel.coop.zip(on) {
            Some((coop, (matrices, tiles))) => {
                (coop, coop.coop_variant(self.head_width, matrices, tiles), tiles.tile(matrices)[0])
            }
            None => (kernel, kernel.scalar_variant(self.precision, self.head_width), SCALAR_OWN),
        };
        let groups = [word(shape.sequence).div_ceil(own), word(shape.batch * heads), 1];
        let cost = Cost { flop: matmuls * matmul_flop(shape), ..Cost::default() };
        self.run_variant(kernel, &variant, params, operands, groups, cost);
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

/// Multiplications and additions of one matmul of the causal half.
fn matmul_flop(AttentionShape { batch, sequence, heads, width, .. }: AttentionShape) -> f64 {
    let pairs = sequence as f64 * (sequence as f64 + 1.0) / 2.0;
    2.0 * (batch * heads * width) as f64 * pairs
}
