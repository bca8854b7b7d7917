//! The kernels an engine has to offer, as one trait: `step.rs` and `decode.rs` know nothing else of an engine.
//!
//! Operands are [`View`]s: names for parts of buffers that live on the device. A kernel may be recorded and run
//! later; [`Kernels::download`] is what waits. Matrices are row-major. `=` and `+=` in the formulas mean what they say:
//! outputs with `+=` are added to.

/// `len` f32 values from `offset` on in a buffer of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    pub buffer: usize,
    pub offset: usize,
    pub len: usize,
}

impl View {
    /// The part of this view from `start` on, `len` values long.
    pub fn slice(self, start: usize, len: usize) -> View {
        assert!(start + len <= self.len, "{start} + {len} lies beyond a view of {}", self.len);
        View { buffer: self.buffer, offset: self.offset + start, len }
    }

    /// The part with the positions of `range`.
    pub fn range(self, range: &std::ops::Range<usize>) -> View {
        self.slice(range.start, range.len())
    }
}

/// `len` u32 values: token ids, positions, slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tokens {
    pub buffer: usize,
    pub offset: usize,
    pub len: usize,
}

impl Tokens {
    pub fn slice(self, start: usize, len: usize) -> Tokens {
        assert!(start + len <= self.len, "{start} + {len} lies beyond {} tokens", self.len);
        Tokens { buffer: self.buffer, offset: self.offset + start, len }
    }
}

/// A target that counts for nothing: its loss and its gradient are 0.
pub const NO_TARGET: u32 = u32::MAX;

/// Sizes of causal self-attention over `batch` sequences of `sequence` tokens.
/// Queries, keys and values lie in one matrix [batch * sequence, 3 * heads * width], in this order.
#[derive(Clone, Copy, Debug)]
pub struct AttentionShape {
    pub batch: usize,
    pub sequence: usize,
    pub heads: usize,
    /// Elements of one head.
    pub width: usize,
}

impl AttentionShape {
    pub fn rows(&self) -> usize {
        self.batch * self.sequence
    }
}

/// Constants of one AdamW update (Loshchilov and Hutter, arXiv 1711.05101).
#[derive(Clone, Copy, Debug)]
pub struct AdamW {
    pub learning_rate: f32,
    pub beta1: f32,
    pub beta2: f32,
    pub eps: f32,
    pub weight_decay: f32,
    /// The first `decay_len` weights decay.
    pub decay_len: usize,
    /// Largest norm of the gradient; a larger one is scaled down to it.
    pub clip: f32,
    /// Number of this update, from 1.
    pub step: u64,
}

/// What an engine computes. Each method is one kernel, and has a shader or a CPU function of the same name.
pub trait Kernels {
    /// What computes, for people and checkpoints.
    fn device(&self) -> String;

    /// A buffer of `len` zeros. All are allocated before the first step.
    fn allocate(&mut self, label: &'static str, len: usize) -> View;
    fn allocate_tokens(&mut self, label: &'static str, len: usize) -> Tokens;
    fn upload(&mut self, to: View, values: &[f32]);
    fn upload_tokens(&mut self, to: Tokens, values: &[u32]);
    /// Waits for all that was asked before, then copies out.
    fn download(&mut self, from: View) -> Vec<f32>;
    /// `out = value`
    fn fill(&mut self, out: View, value: f32);
    /// Rows that one pass through the step should have at most: more are split into passes whose gradients add up.
    fn rows_at_once(&self) -> usize;

    /// `out[r, :] = table[tokens[r], :]`, out [rows, width]
    fn embedding_forward(&mut self, width: usize, tokens: Tokens, table: View, out: View);
    /// `dtable[tokens[r], :] += dout[r, :]`, rows in order: the same bits every time
    fn embedding_backward(&mut self, width: usize, tokens: Tokens, dout: View, dtable: View);

    /// `rstd[r] = 1 / sqrt(mean(x[r]²) + eps)`, `out[r] = x[r] * rstd[r] * gain` (Zhang and Sennrich, arXiv 1910.07467)
    fn rmsnorm_forward(&mut self, width: usize, eps: f32, x: View, gain: View, out: View, rstd: View);
    /// `dx[r] += rstd (g - x * rstd² * mean(g * x))` with `g = dout[r] * gain`; `dgain += sum_r dout[r] * x[r] * rstd[r]`
    fn rmsnorm_backward(&mut self, width: usize, x: View, gain: View, rstd: View, dout: View, dx: View, dgain: View);

    /// `c[m, n] = a[m, k] b[n, k]ᵀ`: a layer's output, its weight being [outputs, inputs]
    fn matmul_nt(&mut self, m: usize, n: usize, k: usize, a: View, b: View, c: View);
    /// `c[m, n] = a[m, k] b[k, n]`: the gradient of a layer's input
    fn matmul_nn(&mut self, m: usize, n: usize, k: usize, a: View, b: View, c: View);
    /// `c[m, n] += a[k, m]ᵀ b[k, n]`: the gradient of a layer's weight
    fn matmul_tn(&mut self, m: usize, n: usize, k: usize, a: View, b: View, c: View);
    /// As [`matmul_nt`](Self::matmul_nt) for few rows (decoding): one dot product per output, so the bits of a row do
    /// not depend on how many rows there are.
    fn matvec_nt(&mut self, m: usize, n: usize, k: usize, a: View, b: View, c: View);

    /// Turns queries and keys in place by their positions, halves of a head paired (Su et al., arXiv 2104.09864, in the
    /// rotate-half form of Llama). `positions` [rows], `table` [positions, width]: cosines, then sines.
    fn rope_forward(&mut self, shape: AttentionShape, positions: Tokens, table: View, qkv: View);
    /// Turns the gradients of queries and keys back.
    fn rope_backward(&mut self, shape: AttentionShape, positions: Tokens, table: View, dqkv: View);

    /// `out = softmax(q kᵀ / sqrt(width), causal) v`, out [rows, heads * width]; `lse` [batch, heads, sequence] keeps
    /// the logarithm of each row's sum, from which backward recomputes the weights (Dao, arXiv 2307.08691)
    fn attention_forward(&mut self, shape: AttentionShape, qkv: View, out: View, lse: View);
    /// `dqkv =` the gradients of queries, keys and values
    fn attention_backward(&mut self, shape: AttentionShape, qkv: View, out: View, lse: View, dout: View, dqkv: View);

    /// `out = silu(gate) * up`, gate_up [rows, 2 width] (Shazeer, arXiv 2002.05202)
    fn swiglu_forward(&mut self, width: usize, gate_up: View, out: View);
    /// `dgate_up =` the gradients of both halves
    fn swiglu_backward(&mut self, width: usize, gate_up: View, dout: View, dgate_up: View);

    /// `out = x + branch`
    fn residual_forward(&mut self, x: View, branch: View, out: View);

    /// `losses[r] = logsumexp(logits[r]) - logits[r, targets[r]]`
    fn cross_entropy_forward(&mut self, vocab: usize, logits: View, targets: Tokens, losses: View);
    /// The losses, and in place of the logits their gradients: `logits[r] = scale * (softmax(logits[r]) - onehot)`
    fn cross_entropy_backward(&mut self, vocab: usize, scale: f32, logits: View, targets: Tokens, losses: View);

    /// `total[0] += sum(values)`
    fn sum(&mut self, values: View, total: View);
    /// `norm[0] = sqrt(sum(gradients²))`
    fn grad_norm(&mut self, gradients: View, norm: View);
    /// One update of all weights and moments, the gradient scaled by `min(1, clip / (norm + 1e-6))`
    fn adamw(&mut self, constants: AdamW, weights: View, gradients: View, m: View, v: View, norm: View);

    /// Copies keys and values of `qkv` [rows, 3 d] to `cache` [slots, context, 2 d] at each row's slot and position.
    fn cache_append(&mut self, shape: AttentionShape, context: usize, slots: Tokens, positions: Tokens, qkv: View, cache: View);
    /// Attention of each row's query over positions 0 to its own in its slot of the cache; out [rows, d].
    fn attention_decode(
        &mut self,
        shape: AttentionShape,
        context: usize,
        slots: Tokens,
        positions: Tokens,
        qkv: View,
        cache: View,
        out: View,
    );
}
