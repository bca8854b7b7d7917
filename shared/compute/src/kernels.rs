//! The kernels an engine has to offer, its memory and its queue, as traits: the step, the block and decoding know
//! nothing else of an engine.
//!
//! Operands are [`View`]s: names for parts of buffers that live on the device. A kernel may be recorded and run
//! later; [`Memory::download`] is what waits. Matrices are row-major. `=` and `+=` in the formulas mean what they say:
//! outputs with `+=` are added to.
//!
//! An engine computes in f32 and keeps what the step saves for later, operands of matmuls above all, in a storage
//! precision of its own ([`Memory::allocate_stored`]): f32, or two bytes. Weights, gradients, optimizer slots and
//! the residual stream are f32 everywhere; matmuls read a half copy of what they need of these ([`Memory::half_copy`]).
mod views;

use crate::EngineError;
use crate::elementwise::{self, Elementwise};
use crate::optimizer::Update;

pub use views::{F32View, Half, HalfView, Tokens, View, ViewOf};

/// What an engine returns.
pub type Result<T, E = EngineError> = std::result::Result<T, E>;

/// A target that counts for nothing: its loss and its gradient are 0.
pub const NO_TARGET: u32 = u32::MAX;

/// Sizes of causal self-attention over `batch` sequences of `sequence` tokens.
/// Queries, keys and values lie in one matrix [batch * sequence, (heads + 2 kv_heads) * width], in this order.
#[derive(Clone, Copy, Debug)]
pub struct AttentionShape {
    /// Sequences.
    pub batch: usize,
    /// Tokens of a sequence.
    pub sequence: usize,
    /// Heads of queries, keys and values.
    pub heads: usize,
    /// Heads of keys and values: each serves a group of `heads / kv_heads` query heads that lie side by side (Ainslie et al.,
    /// arXiv 2305.13245).
    pub kv_heads: usize,
    /// Elements of one head.
    pub width: usize,
}

impl AttentionShape {
    /// Tokens of all sequences.
    pub fn rows(&self) -> usize {
        self.batch * self.sequence
    }

    /// Query heads of a head of keys and values.
    pub fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// Columns of queries, and of the output: d.
    pub fn query_columns(&self) -> usize {
        self.heads * self.width
    }

    /// Columns of keys and values, and of a row of the cache.
    pub fn kv_columns(&self) -> usize {
        2 * self.kv_heads * self.width
    }

    /// Columns of queries, keys and values.
    pub fn qkv_columns(&self) -> usize {
        self.query_columns() + self.kv_columns()
    }

    /// Columns that rope turns, the first ones: queries and keys.
    pub fn turned_columns(&self) -> usize {
        (self.heads + self.kv_heads) * self.width
    }
}

/// Where the state of a step is: its report, and what moves from update to update. All f32, in a view of [`state::LEN`].
///
/// It lives on the device, so that no update waits for the host to look at a loss.
pub mod state {
    /// Sum of the losses of the step's tokens, nats.
    pub const LOSS: usize = 0;
    /// Norm of the gradient, unscaled, before clipping. Not finite: the update was skipped.
    pub const GRAD_NORM: usize = 1;
    /// What gradients are multiplied by until the update, so that small ones survive in f16.
    pub const LOSS_SCALE: usize = 2;
    /// Updates since the scale last changed.
    pub const GOOD_STEPS: usize = 3;
    /// Updates skipped since the run began.
    pub const SKIPPED: usize = 4;
    /// The optimizer's beta1 and beta2 to the power of the updates done.
    pub const BETA1_POWER: usize = 5;
    /// See [`BETA1_POWER`].
    pub const BETA2_POWER: usize = 6;
    /// What the update multiplies gradients by: clipping over loss scale; 0 skips it.
    pub const FACTOR: usize = 7;
    /// Number of values.
    pub const LEN: usize = 8;
}

/// A report that [`Queue::submit`] promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(pub u64);

/// Reports that may be outstanding: how far the host runs ahead of the device.
pub const STEPS_IN_FLIGHT: usize = 3;

/// What values are stored as; arithmetic is f32 with all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 8 bits of exponent, 23 of fraction.
    F32,
    /// 5 bits of exponent, 10 of fraction: needs a loss scale.
    F16,
    /// 8 bits of exponent, 7 of fraction: the range of f32.
    Bf16,
}

impl Precision {
    /// As settings and checkpoints spell it.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::F16 => "f16",
            Precision::Bf16 => "bf16",
        }
    }

    /// Bytes of a value.
    pub fn bytes(self) -> usize {
        if self == Precision::F32 { 4 } else { 2 }
    }

    /// The loss scale that a run begins with; only f16 moves it.
    pub fn initial_loss_scale(self) -> f32 {
        if self == Precision::F16 { 65_536.0 } else { 1.0 }
    }
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Good steps after which the loss scale doubles.
pub const GROWTH_INTERVAL: u32 = 2000;

/// What was made and handed to a device so far: tests hold the loop to its budget by these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Buffers.
    pub buffers: u64,
    /// Bind groups.
    pub bind_groups: u64,
    /// Dispatches.
    pub dispatches: u64,
    /// Barriers between them, each of which waits for all that runs.
    pub barriers: u64,
    /// Command buffers.
    pub submits: u64,
}

/// A row of the profile.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct KernelTime {
    /// Its entry point.
    pub kernel: String,
    /// m, n and k of a matmul.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shape: Option<[usize; 3]>,
    /// Dispatches of it.
    pub calls: u64,
    /// Time on the device.
    pub seconds: f64,
    /// Multiplications and additions of the matmuls in it.
    pub flop: f64,
    /// Bytes of its operands, each counted once.
    pub bytes: f64,
}

/// Copies that the device was asked for, on their way to the host.
pub trait Snapshot: Send {
    /// Waits for them, on any thread, while the engine goes on.
    fn wait(self: Box<Self>) -> Result<Vec<Vec<f32>>>;
}

/// The memory of an engine.
pub trait Memory {
    /// The storage precision.
    fn precision(&self) -> Precision;
    /// A buffer of `len` f32 zeros. All are allocated before the first step.
    fn allocate(&mut self, label: &'static str, len: usize) -> F32View;
    /// A buffer of `len` zeros in the storage precision.
    fn allocate_stored(&mut self, label: &'static str, len: usize) -> HalfView;
    /// A buffer of `len` tokens, all 0.
    fn allocate_tokens(&mut self, label: &'static str, len: usize) -> Tokens;
    /// A place for the half copy of an f32 view, in the storage precision; `x` itself where that is f32.
    fn half_copy(&mut self, label: &'static str, x: F32View) -> HalfView {
        if self.precision() == Precision::F32 {
            HalfView::of(*x)
        } else {
            self.allocate_stored(label, x.len)
        }
    }
    /// Asks for scratch of at least this number of f32 values, before the first step.
    fn reserve_scratch(&mut self, _len: usize) {}
    /// Whether all buffers asked for could be had.
    fn allocated(&mut self) -> Result<()>;
    /// Bytes of all buffers asked for.
    fn bytes(&self) -> u64;
    /// Copies values to the device, rounded to what the view is stored in.
    fn upload(&mut self, to: View, values: &[f32]);
    /// Copies tokens to the device.
    fn upload_tokens(&mut self, to: Tokens, values: &[u32]);
    /// Waits for all that was asked before, then copies out.
    fn download(&mut self, from: View) -> Result<Vec<f32>>;
    /// Copies f32 views as they are after all that was asked before; does not wait for the device.
    fn snapshot(&mut self, views: &[F32View]) -> Result<Box<dyn Snapshot>>;
}

/// What an engine was asked for and has not done yet.
pub trait Queue {
    /// Hands all that was asked before to the device, with a copy of `report`, at most [`state::LEN`] values, to be
    /// collected later. At most [`STEPS_IN_FLIGHT`] may be outstanding.
    fn submit(&mut self, report: F32View) -> Ticket;
    /// The report of the oldest ticket: None while the device is not there yet, unless `wait`.
    fn collect(&mut self, ticket: Ticket, wait: bool) -> Result<Option<Vec<f32>>>;
    /// What was made and handed over so far; 0 where the engine does not count.
    fn counts(&self) -> Counts {
        Counts::default()
    }
    /// Where the time went since it was asked last, kernel by kernel; empty unless the engine was made to keep it.
    fn profile(&mut self) -> Result<Vec<KernelTime>> {
        Ok(Vec::new())
    }
}

/// What an engine computes. Each method is one kernel, and has a shader or a CPU function of the same name; those with a
/// body are fused of others, which an engine may do better.
pub trait Kernels: Memory + Queue {
    /// What computes, for people and checkpoints: other devices and drivers give other bits.
    fn device(&self) -> String;
    /// Which kernels compute, where one device can do it in several ways: others give other bits.
    fn plan(&self) -> String;
    /// Rows that one pass through the step should have at most, its widest matrix having `widest` columns: more are split
    /// into passes whose gradients add up.
    fn rows_at_once(&self, widest: usize) -> usize;
    /// Values of logits that should be held at once.
    fn logits_at_once(&self) -> usize;
    /// From one row of logits to the next, no less than `vocab`: what is between rows is the engine's own.
    fn logits_pitch(&self, vocab: usize) -> usize {
        vocab
    }
    /// `out = value`
    fn fill(&mut self, out: F32View, value: f32);
    /// `half = x`, rounded; nothing where both are the same.
    fn round(&mut self, x: F32View, half: HalfView);

    // A matmul with its epilogue, fused: an engine may go through its output once less. Views said to be scratch
    // hold what then need not be stored.

    /// `qkv = a bᵀ` [rows, qkv], queries and keys turned as by [`rope_forward`](Self::rope_forward); `k` columns of a
    #[allow(clippy::too_many_arguments)] // two kernels' operands
    fn matmul_nt_rope(
        &mut self,
        shape: AttentionShape,
        k: usize,
        a: HalfView,
        b: HalfView,
        positions: Tokens,
        table: F32View,
        qkv: HalfView,
    ) {
        self.matmul_nt(shape.rows(), shape.qkv_columns(), k, a, b, qkv);
        self.rope_forward(shape, positions, table, qkv);
    }
    /// `out[m, n] = x + a bᵀ`; `branch` [m, n] is scratch
    #[allow(clippy::too_many_arguments)]
    fn matmul_nt_residual(
        &mut self,
        m: usize,
        n: usize,
        k: usize,
        a: HalfView,
        b: HalfView,
        x: F32View,
        branch: HalfView,
        out: F32View,
    ) {
        self.matmul_nt(m, n, k, a, b, branch);
        self.residual_forward(x, branch, out);
    }
    /// `gate_up[m, 2 width] = a bᵀ`, `out = silu(gate) * up`
    #[allow(clippy::too_many_arguments)]
    fn matmul_nt_swiglu(
        &mut self,
        m: usize,
        width: usize,
        k: usize,
        a: HalfView,
        b: HalfView,
        gate_up: HalfView,
        out: HalfView,
    ) {
        self.matmul_nt(m, 2 * width, k, a, b, gate_up);
        self.swiglu_forward(width, gate_up, out);
    }
    /// `dgate_up =` the gradients of both halves, that of the SwiGLU being `a[m, k] b[k, width]`; `dout` [m, width] is scratch
    #[allow(clippy::too_many_arguments)]
    fn matmul_nn_swiglu(
        &mut self,
        m: usize,
        width: usize,
        k: usize,
        a: HalfView,
        b: HalfView,
        gate_up: HalfView,
        dout: HalfView,
        dgate_up: HalfView,
    ) {
        self.matmul_nn(m, width, k, a, b, dout);
        self.swiglu_backward(width, gate_up, dout, dgate_up);
    }
    /// [`attention_backward`](Self::attention_backward), then [`rope_backward`](Self::rope_backward)
    #[allow(clippy::too_many_arguments)]
    fn attention_backward_rope(
        &mut self,
        shape: AttentionShape,
        qkv: HalfView,
        out: HalfView,
        lse: F32View,
        dout: HalfView,
        positions: Tokens,
        table: F32View,
        dqkv: HalfView,
    ) {
        self.attention_backward(shape, qkv, out, lse, dout, dqkv);
        self.rope_backward(shape, positions, table, dqkv);
    }

    /// `out[r, :] = table[tokens[r], :]`, out [rows, width]
    fn embedding_forward(&mut self, width: usize, tokens: Tokens, table: F32View, out: F32View);
    /// `dtable[tokens[r], :] += dout[r, :]`, rows in order: the same bits every time
    fn embedding_backward(&mut self, width: usize, tokens: Tokens, dout: F32View, dtable: F32View);

    /// `rstd[r] = 1 / sqrt(mean(x[r]²) + eps)`, `out[r] = x[r] * rstd[r] * gain` (Zhang and Sennrich, arXiv 1910.07467)
    fn rmsnorm_forward(
        &mut self,
        width: usize,
        eps: f32,
        x: F32View,
        gain: F32View,
        out: HalfView,
        rstd: F32View,
    );
    /// `dx[r] += rstd (g - x * rstd² * mean(g * x))` with `g = dout[r] * gain`, and `dx_half`, its half copy ([`half_copy`](Memory::half_copy));
    /// `dgain += sum_r dout[r] * x[r] * rstd[r]`
    #[allow(clippy::too_many_arguments)] // the operands of its formula
    fn rmsnorm_backward(
        &mut self,
        width: usize,
        x: F32View,
        gain: F32View,
        rstd: F32View,
        dout: HalfView,
        dx: F32View,
        dx_half: HalfView,
        dgain: F32View,
    );

    // Rows of logits, c of the first and a of the others, lie [`logits_pitch`](Self::logits_pitch) apart.

    /// `c[m, n] = a[m, k] b[n, k]ᵀ`: a layer's output, its weight being [outputs, inputs]
    fn matmul_nt(&mut self, m: usize, n: usize, k: usize, a: HalfView, b: HalfView, c: HalfView);
    /// `c[m, n] = a[m, k] b[k, n]`: the gradient of a layer's input
    fn matmul_nn(&mut self, m: usize, n: usize, k: usize, a: HalfView, b: HalfView, c: HalfView);
    /// `c[m, n] += a[k, m]ᵀ b[k, n]`: the gradient of a layer's weight
    fn matmul_tn(&mut self, m: usize, n: usize, k: usize, a: HalfView, b: HalfView, c: F32View);
    /// As [`matmul_nt`](Self::matmul_nt) for few rows (decoding): one dot product per output, so the bits of a row do
    /// not depend on how many rows there are.
    fn matvec_nt(&mut self, m: usize, n: usize, k: usize, a: HalfView, b: HalfView, c: HalfView);

    /// Turns queries and keys in place by their positions, halves of a head paired (Su et al., arXiv 2104.09864, in the
    /// rotate-half form of Llama). `positions[rows]`, `table[positions, width]`: cosines, then sines.
    fn rope_forward(
        &mut self,
        shape: AttentionShape,
        positions: Tokens,
        table: F32View,
        qkv: HalfView,
    );
    /// Turns the gradients of queries and keys back.
    fn rope_backward(
        &mut self,
        shape: AttentionShape,
        positions: Tokens,
        table: F32View,
        dqkv: HalfView,
    );

    /// `out = softmax(q kᵀ / sqrt(width), causal) v`, out [rows, heads * width]; `lse` [batch, heads, sequence] keeps
    /// the logarithm of each row's sum, from which backward recomputes the weights (Dao, arXiv 2307.08691)
    fn attention_forward(
        &mut self,
        shape: AttentionShape,
        qkv: HalfView,
        out: HalfView,
        lse: F32View,
    );
    /// `dqkv =` the gradients of queries, keys and values; those of a group's keys and values are the sums over its query heads
    fn attention_backward(
        &mut self,
        shape: AttentionShape,
        qkv: HalfView,
        out: HalfView,
        lse: F32View,
        dout: HalfView,
        dqkv: HalfView,
    );

    /// `out = silu(gate) * up`, gate_up [rows, 2 width] (Shazeer, arXiv 2002.05202)
    fn swiglu_forward(&mut self, width: usize, gate_up: HalfView, out: HalfView);
    /// `dgate_up =` the gradients of both halves
    fn swiglu_backward(
        &mut self,
        width: usize,
        gate_up: HalfView,
        dout: HalfView,
        dgate_up: HalfView,
    );

    /// What an element-wise kernel computes; `inputs` and `out` are of one length.
    fn elementwise(&mut self, kernel: &'static Elementwise, inputs: &[View], out: View);
    /// `out = x + branch`
    fn residual_forward(&mut self, x: F32View, branch: HalfView, out: F32View) {
        self.elementwise(&elementwise::RESIDUAL_FORWARD, &[*x, *branch], *out);
    }

    /// `losses[r] = logsumexp(logits[r]) - logits[r, targets[r]]`
    fn cross_entropy_forward(
        &mut self,
        vocab: usize,
        logits: HalfView,
        targets: Tokens,
        losses: F32View,
    );
    /// The losses, and in place of the logits their gradients, multiplied by the loss scale of `state`:
    /// `logits[r] = scale * loss_scale * (softmax(logits[r]) - onehot)`
    fn cross_entropy_backward(
        &mut self,
        vocab: usize,
        scale: f32,
        state: F32View,
        logits: HalfView,
        targets: Tokens,
        losses: F32View,
    );

    /// `losses[r] = logsumexp(x[r] headᵀ) - x[r] head[targets[r]]`, x [rows, d], head [vocab, d]: what scoring needs of the
    /// head. `logits` is scratch for some rows of it; an engine may do without.
    fn head_loss_forward(
        &mut self,
        vocab: usize,
        d: usize,
        x: HalfView,
        head: HalfView,
        logits: HalfView,
        targets: Tokens,
        losses: F32View,
    ) {
        let pitch = self.logits_pitch(vocab);
        let most = logits.len / pitch;
        for start in (0..losses.len).step_by(most) {
            let rows = most.min(losses.len - start);
            let logits = logits.slice(0, rows * pitch);
            self.matmul_nt(rows, vocab, d, x.slice(start * d, rows * d), head, logits);
            self.cross_entropy_forward(
                vocab,
                logits,
                targets.slice(start, rows),
                losses.slice(start, rows),
            );
        }
    }

    /// `total[0] += sum(values)`
    fn sum(&mut self, values: F32View, total: F32View);
    /// `norm[0] = sqrt(sum(gradients²))`
    fn grad_norm(&mut self, gradients: F32View, norm: F32View);
    /// Decides over the update from the norm in `state`, which it unscales: `factor = min(1, clip / (norm + 1e-6)) /
    /// loss_scale`, or 0 where the norm is not finite. In f16 the scale is halved then, and doubled after
    /// [`GROWTH_INTERVAL`] good steps (Micikevicius et al., arXiv 1710.03740).
    fn loss_scale_update(&mut self, update: &Update, state: F32View);
    /// One update of all weights and of the optimizer's slots by gradients times the factor of `state`, and of the
    /// weights' half copy. Nothing where the factor is 0.
    fn optimizer_update(
        &mut self,
        update: &Update,
        state: F32View,
        weights: F32View,
        weights_half: HalfView,
        gradients: F32View,
        slots: &[F32View],
    );

    /// Copies keys and values of `qkv` to `cache` [slots, context, keys and values] at each row's slot and position.
    fn cache_append(
        &mut self,
        shape: AttentionShape,
        context: usize,
        slots: Tokens,
        positions: Tokens,
        qkv: HalfView,
        cache: HalfView,
    );
    /// Attention of each row's query over positions 0 to its own in its slot of the cache; out [rows, d].
    fn attention_decode(
        &mut self,
        shape: AttentionShape,
        context: usize,
        slots: Tokens,
        positions: Tokens,
        qkv: HalfView,
        cache: HalfView,
        out: HalfView,
    );
}
