//! A transformer block: its operations in their one order, forward and backward, and the table of what they leave behind.
//!
//! Training, evaluation and decoding on any engine go through [`Block::forward`]. The CPU's decoding in passes
//! (`cpu/decode`) is a fast path of its own, tested against it.
//!
//! Shapes: R rows of a pass, d = d_model, f = d_mlp, kv the columns of the keys, qkv = d + 2 kv. Matmuls read the half copy of weights and of dx.
use std::ops::Range;

use model::Config;

use crate::kernels::{AttentionShape, F32View, Half, HalfView, Kernels, Tokens, View, ViewOf};

/// What the values of a buffer are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Values {
    F32,
    /// In the engine's storage precision.
    Half,
}

/// A row of the table of activations, or of that of their gradients.
pub(crate) struct Buffer {
    /// Its field, and its label on a device.
    pub name: &'static str,
    /// For people.
    pub what: &'static str,
    pub values: Values,
    /// Of a row.
    pub columns: fn(&Config) -> usize,
    /// Backward needs it: each block has its own. Else all blocks share one.
    pub kept: bool,
}

impl Buffer {
    fn allocate(&self, k: &mut dyn Kernels, config: &Config, rows: usize) -> View {
        let len = rows * (self.columns)(config);
        match self.values {
            Values::F32 => *k.allocate(self.name, len),
            Values::Half => *k.allocate_stored(self.name, len),
        }
    }
}

/// A struct of views from the table of its buffers.
macro_rules! buffers {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $what:literal, $values:ident, $columns:expr, $kept:ident;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub(crate) struct $name { $(pub $field: buffers!(@view $values),)* }

        impl $name {
            const TABLE: &[Buffer] = &[$(Buffer {
                name: stringify!($field),
                what: $what,
                values: Values::$values,
                columns: $columns,
                kept: buffers!(@$kept),
            },)*];

            /// For this number of rows; what need not be kept is that of `other`, where there is one.
            pub(crate) fn allocate(
                k: &mut dyn Kernels,
                config: &Config,
                rows: usize,
                other: Option<&Self>,
            ) -> Self {
                let mut table = Self::TABLE.iter();
                $(let $field = match (table.next(), other) {
                    (Some(buffer), Some(other)) if !buffer.kept => other.$field,
                    (Some(buffer), _) => ViewOf::of(buffer.allocate(k, config, rows)),
                    (None, _) => unreachable!("the table has a row for each field"),
                };)*
                $name { $($field,)* }
            }

            /// The first rows of each.
            pub(crate) fn rows(&self, config: &Config, rows: usize) -> Self {
                let mut columns = Self::TABLE.iter().map(|buffer| (buffer.columns)(config));
                let mut len = || rows * columns.next().unwrap_or(0);
                $name { $($field: self.$field.slice(0, len()),)* }
            }

            /// Each with its row of the table, in the order of the operations.
            #[allow(dead_code)] // of one table only
            pub(crate) fn named(&self) -> impl Iterator<Item = (&'static Buffer, View)> + use<> {
                Self::TABLE.iter().zip([$(*self.$field),*])
            }
        }
    };
    (@view F32) => { F32View };
    (@view Half) => { HalfView };
    (@kept) => { true };
    (@scratch) => { false };
}

buffers! {
    /// What forward leaves behind, in the order of its operations.
    Activations {
        x: "input", F32, |c| c.d_model, kept;
        norm: "attention norm", Half, |c| c.d_model, kept;
        rstd: "1 / rms of the input", F32, |_| 1, kept;
        // Rope has turned queries and keys.
        qkv: "queries, keys and values", Half, Config::qkv_width, kept;
        attention: "attention", Half, |c| c.d_model, kept;
        // [batch, heads, sequence]
        lse: "log-sum-exp of the attention", F32, |c| c.n_head, kept;
        mid: "sum after attention", F32, |c| c.d_model, kept;
        mid_norm: "MLP norm", Half, |c| c.d_model, kept;
        mid_rstd: "1 / rms of the sum after attention", F32, |_| 1, kept;
        gate_up: "gate and up", Half, |c| 2 * c.d_mlp, kept;
        swiglu: "SwiGLU", Half, |c| c.d_mlp, kept;
        // What is added to the residual stream.
        branch: "branch", Half, |c| c.d_model, scratch;
    }
}

buffers! {
    /// Gradients of activations: backward goes through one block after the other, so all share these.
    ActivationGradients {
        // Of a normalised or an attention output.
        dbranch: "gradient of a branch", Half, |c| c.d_model, scratch;
        dqkv: "gradient of queries, keys and values", Half, Config::qkv_width, scratch;
        dgate_up: "gradient of gate and up", Half, |c| 2 * c.d_mlp, scratch;
        dswiglu: "gradient of the SwiGLU", Half, |c| c.d_mlp, scratch;
    }
}

/// Where the weights of a block, their half copy, or their gradients, are.
#[derive(Clone, Copy)]
pub(crate) struct BlockWeights<K> {
    attention_norm: ViewOf<K>,
    qkv: ViewOf<K>,
    attention_out: ViewOf<K>,
    mlp_norm: ViewOf<K>,
    gate_up: ViewOf<K>,
    down: ViewOf<K>,
}

impl<K> BlockWeights<K> {
    pub(crate) fn of(flat: ViewOf<K>, layer: &model::Layer) -> Self {
        let part = |range: &Range<usize>| flat.range(range);
        BlockWeights {
            attention_norm: part(&layer.attention_norm),
            qkv: part(&layer.qkv),
            attention_out: part(&layer.attention_out),
            mlp_norm: part(&layer.mlp_norm),
            gate_up: part(&layer.gate_up),
            down: part(&layer.down),
        }
    }
}

/// Sizes of the attention of `batch` sequences.
pub(crate) fn attention_shape(config: &Config, batch: usize, sequence: usize) -> AttentionShape {
    AttentionShape {
        batch,
        sequence,
        heads: config.n_head,
        kv_heads: config.n_kv_head,
        width: config.head_width(),
    }
}

/// The rows that go through the blocks together.
#[derive(Clone, Copy)]
pub(crate) struct Pass {
    pub shape: AttentionShape,
    pub positions: Tokens,
    pub rope_table: F32View,
}

/// What the queries of a pass attend to.
#[derive(Clone, Copy)]
pub(crate) enum Attend {
    /// To the rows before them in their own sequence, all in this pass. Matmuls go with their epilogues.
    Sequence,
    /// To all that their slot's cache has, [slots, context, 2 kv]. The rows are few, and each output is one dot product: the
    /// bits of a row do not depend on the rows beside it.
    Cache { context: usize, slots: Tokens, cache: HalfView },
}

/// A block with all that its operations read and write.
#[derive(Clone, Copy)]
pub(crate) struct Block {
    pub d: usize,
    pub f: usize,
    pub eps: f32,
    /// f32, and the copy that matmuls read.
    pub weights: BlockWeights<f32>,
    pub half: BlockWeights<Half>,
    /// Cut to the rows of the pass.
    pub activations: Activations,
}

impl Block {
    /// From `activations.x` to `out` [R, d].
    pub(crate) fn forward(&self, k: &mut dyn Kernels, pass: &Pass, attend: Attend, out: F32View) {
        let Block { d, f, eps, weights: w, half, activations: a } = *self;
        k.rmsnorm_forward(d, eps, a.x, w.attention_norm, a.norm, a.rstd);
        self.qkv_forward(k, pass, attend);
        self.attention_forward(k, pass, attend);
        let rows = pass.shape.rows();
        residual(k, attend, [rows, d, d], a.attention, half.attention_out, a.x, a.branch, a.mid);
        k.rmsnorm_forward(d, eps, a.mid, w.mlp_norm, a.mid_norm, a.mid_rstd);
        self.swiglu_forward(k, pass, attend);
        residual(k, attend, [rows, d, f], a.swiglu, half.down, a.mid, a.branch, out);
    }

    fn qkv_forward(&self, k: &mut dyn Kernels, pass: &Pass, attend: Attend) {
        let Block { d, half, activations: a, .. } = *self;
        let Pass { shape, positions, rope_table } = *pass;
        match attend {
            Attend::Sequence => {
                k.matmul_nt_rope(shape, d, a.norm, half.qkv, positions, rope_table, a.qkv);
            }
            Attend::Cache { .. } => {
                k.matvec_nt(shape.rows(), shape.qkv_columns(), d, a.norm, half.qkv, a.qkv);
                k.rope_forward(shape, positions, rope_table, a.qkv);
            }
        }
    }

    fn attention_forward(&self, k: &mut dyn Kernels, pass: &Pass, attend: Attend) {
        let Activations { qkv, attention, lse, .. } = self.activations;
        let Pass { shape, positions, .. } = *pass;
        match attend {
            Attend::Sequence => k.attention_forward(shape, qkv, attention, lse),
            Attend::Cache { context, slots, cache } => {
                k.cache_append(shape, context, slots, positions, qkv, cache);
                k.attention_decode(shape, context, slots, positions, qkv, cache, attention);
            }
        }
    }

    fn swiglu_forward(&self, k: &mut dyn Kernels, pass: &Pass, attend: Attend) {
        let Block { d, f, half, activations: a, .. } = *self;
        let rows = pass.shape.rows();
        match attend {
            Attend::Sequence => {
                k.matmul_nt_swiglu(rows, f, d, a.mid_norm, half.gate_up, a.gate_up, a.swiglu);
            }
            Attend::Cache { .. } => {
                k.matvec_nt(rows, 2 * f, d, a.mid_norm, half.gate_up, a.gate_up);
                k.swiglu_forward(f, a.gate_up, a.swiglu);
            }
        }
    }

    /// The mirror of [`forward`](Self::forward) over sequences: from `dx`, the gradient of its output, to that of its input, in
    /// place, with `dx_half`, its half copy. Gradients of the weights are added to `g`.
    pub(crate) fn backward(
        &self,
        k: &mut dyn Kernels,
        pass: &Pass,
        g: BlockWeights<f32>,
        scratch: &ActivationGradients,
        dx: F32View,
        dx_half: HalfView,
    ) {
        let Block { d, f, weights: w, half, activations: a, .. } = *self;
        let ActivationGradients { dbranch, dqkv, dgate_up, dswiglu } = *scratch;
        let Pass { shape, positions, rope_table } = *pass;
        let rows = shape.rows();
        // The gradient of a weight comes after that of its input, which has to wait for the kernel before it: it waits for nothing then,
        // and both run side by side.
        k.matmul_nn_swiglu(rows, f, d, dx_half, half.down, a.gate_up, dswiglu, dgate_up);
        k.matmul_tn(d, f, rows, dx_half, a.swiglu, g.down);
        k.matmul_nn(rows, d, 2 * f, dgate_up, half.gate_up, dbranch);
        k.matmul_tn(2 * f, d, rows, dgate_up, a.mid_norm, g.gate_up);
        k.rmsnorm_backward(d, a.mid, w.mlp_norm, a.mid_rstd, dbranch, dx, dx_half, g.mlp_norm);
        k.matmul_nn(rows, d, d, dx_half, half.attention_out, dbranch);
        k.matmul_tn(d, d, rows, dx_half, a.attention, g.attention_out);
        let (out, lse) = (a.attention, a.lse);
        k.attention_backward_rope(shape, a.qkv, out, lse, dbranch, positions, rope_table, dqkv);
        k.matmul_nn(rows, d, shape.qkv_columns(), dqkv, half.qkv, dbranch);
        k.matmul_tn(shape.qkv_columns(), d, rows, dqkv, a.norm, g.qkv);
        let gain = g.attention_norm;
        k.rmsnorm_backward(d, a.x, w.attention_norm, a.rstd, dbranch, dx, dx_half, gain);
    }
}

/// `out[m, n] = x + a bᵀ`
#[allow(clippy::too_many_arguments)] // as the kernels that it chooses between
fn residual(
    k: &mut dyn Kernels,
    attend: Attend,
    [m, n, inputs]: [usize; 3],
    a: HalfView,
    b: HalfView,
    x: F32View,
    branch: HalfView,
    out: F32View,
) {
    match attend {
        Attend::Sequence => k.matmul_nt_residual(m, n, inputs, a, b, x, branch, out),
        Attend::Cache { .. } => {
            k.matvec_nt(m, n, inputs, a, b, branch);
            k.residual_forward(x, branch, out);
        }
    }
}

/// cos and sin of position * base^(-2 i / width), [positions, width]: cosines, then sines. Computed in f64.
pub(crate) fn rope_table(config: &Config) -> Vec<f32> {
    let (base, width) = (f64::from(config.rope_base), config.head_width());
    let mut table = Vec::with_capacity(config.context * width);
    for position in 0..config.context {
        let angle = |i: usize| position as f64 * base.powf(-2.0 * i as f64 / width as f64);
        table.extend((0..width / 2).map(|i| angle(i).cos() as f32));
        table.extend((0..width / 2).map(|i| angle(i).sin() as f32));
    }
    table
}
