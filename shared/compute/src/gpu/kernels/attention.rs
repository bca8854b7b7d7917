//! Attention of training: on cooperative matrices where the device has them and takes heads of this width, else scalar.
use crate::gpu::dispatch::{Params, in_fours, params, word};
use crate::gpu::engine::Gpu;
use crate::gpu::pipeline::Element;
use crate::gpu::record::Cost;
use crate::gpu::table::{
    ATTENTION_BACKWARD_KEYS, ATTENTION_BACKWARD_QUERIES, ATTENTION_FORWARD, Kernel,
};
use crate::kernels::{AttentionShape, Precision, Tokens, View};
use crate::wgsl::{ATTENTION_LANES, CoopShape, Tiles, row_lanes};

params! {
    Attention { sequence: u32, heads: u32, kv_heads: u32, scale: f32 }
    AttentionBackward { sequence: u32, heads: u32, kv_heads: u32, scale: f32, turned: u32 }
}

impl Gpu {
    /// The matrices and the tiles for a kernel of attention, where it can go on them.
    fn attention_coop(
        &mut self,
        kernel: &'static Kernel,
        shape: AttentionShape,
        operands: &[View],
        matmuls: f64,
    ) -> Option<(CoopShape, Tiles)> {
        let coop = kernel.coop.filter(|_| self.plan.is_some() || self.forced.is_some())?;
        let flop = matmuls * matmul_flop(shape);
        if !in_fours(operands) {
            self.fallbacks.note(coop.name, flop, "an operand does not lie in fours".into());
            return None;
        }
        let found = self.proven(coop, |plan| plan.attention(coop, word(shape.width)));
        if found.is_none() {
            let reason = format!(
                "heads of {} do not fit its workgroup memory, or it failed its probe",
                shape.width
            );
            self.fallbacks.note(coop.name, flop, reason);
        }
        found
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
        let on = self.attention_coop(&ATTENTION_FORWARD, shape, &[qkv, out], 2.0);
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
        let all = [qkv, out, dout, table, dqkv];
        let (queries, keys) = (&ATTENTION_BACKWARD_QUERIES, &ATTENTION_BACKWARD_KEYS);
        let on_queries =
            if in_eights { self.attention_coop(queries, shape, &all, 3.0) } else { None };
        let on_keys = if in_eights { self.attention_coop(keys, shape, &all, 4.0) } else { None };
        // The first kernel leaves delta for the second.
        let delta = self.delta(lse.len);
        let for_queries = [qkv, out, lse, dout, positions, table, delta, dqkv];
        let for_keys = [qkv, lse, dout, positions, table, delta, dqkv];
        let (heads, kv_heads) = (shape.heads, shape.kv_heads);
        self.attend(queries, on_queries, shape, heads, params, &for_queries, 3.0);
        self.attend(keys, on_keys, shape, kv_heads, params, &for_keys, 4.0);
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
            None => {
                let variant = kernel.scalar_variant(self.precision, self.head_width);
                (kernel, variant, ATTENTION_LANES / row_lanes(self.head_width))
            }
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
