//! One training step from top to bottom: forward, backward as its mirror, update. What a block does is in `block.rs`.
//!
//! Shapes: R rows (sequences x tokens) of a pass, d = d_model, f = d_mlp, V = vocabulary. A batch with more rows than
//! the engine wants at once is split into passes whose gradients add up, so memory does not grow with the batch.
//! The residual stream and its gradient are f32, as are weights, their gradients and the optimizer's slots; all else is kept in the
//! engine's storage precision, and matmuls read the half copies `weights_half` and `dx_half`.
use model::{Config, Group, Slots, TensorTable};

use crate::block::{
    ActivationGradients, Activations, Attend, Block, BlockWeights, Pass, attention_shape,
    rope_table,
};
use crate::kernels::{F32View, HalfView, Kernels, Result, Snapshot, Ticket, Tokens, state};
use crate::matrices::MatrixGroup;
use crate::optimizer::{Muon, Optimizer, OptimizerKind, Update};
use crate::slots::{SlotMismatch, SlotViews};

/// A model on an engine: weights and the forward pass.
pub struct Model {
    /// The engine.
    pub kernels: Box<dyn Kernels>,
    /// Sizes.
    pub config: Config,
    /// Where each tensor is in `weights`.
    pub table: TensorTable,
    /// f32, and the copy that matmuls read
    weights: F32View,
    weights_half: HalfView,
    rope_table: F32View,
    /// Of each block when backward follows, else one for all.
    pub(crate) activations: Vec<Activations>,
    /// [R, d] what the last block gives, and that normalised
    pub(crate) out: F32View,
    out_norm: HalfView,
    out_rstd: F32View,
    /// [rows of a chunk, V], rows `logits_pitch` apart: the loss goes by chunks of rows and never holds R x V
    logits: HalfView,
    pub(crate) losses: F32View,
    inputs: Tokens,
    targets: Tokens,
    positions: Tokens,
    /// Tokens of a sequence, and the rows for which there are buffers.
    pub(crate) sequence: usize,
    pub(crate) rows: usize,
}

impl Model {
    /// A model that is only evaluated, `batch` sequences of `sequence` tokens at a time.
    pub fn new(
        kernels: Box<dyn Kernels>,
        config: Config,
        weights: &[f32],
        batch: usize,
        sequence: usize,
    ) -> Result<Self> {
        let mut model = Self::build(kernels, config, batch, sequence, 1);
        model.begin(weights)?;
        Ok(model)
    }

    fn build(
        mut kernels: Box<dyn Kernels>,
        config: Config,
        batch: usize,
        sequence: usize,
        blocks: usize,
    ) -> Self {
        assert!(
            batch > 0 && (1..=config.context).contains(&sequence),
            "{batch} sequences of {sequence} tokens"
        );
        let Config { d_model: d, d_mlp: f, vocab_size: vocab, .. } = config;
        let table = TensorTable::new(&config);
        let rows = (kernels.rows_at_once((2 * f).max(config.qkv_width())) / sequence)
            .clamp(1, batch)
            * sequence;
        let (pitch, k) = (kernels.logits_pitch(vocab), &mut kernels);
        let mut activations: Vec<Activations> = Vec::with_capacity(blocks);
        for _ in 0..blocks {
            let block = Activations::allocate(&mut **k, &config, rows, activations.first());
            activations.push(block);
        }
        let weights = k.allocate("weights", table.len);
        Model {
            activations,
            weights,
            weights_half: k.half_copy("weights_half", weights),
            rope_table: k.allocate("rope_table", config.context * config.head_width()),
            out: k.allocate("out", rows * d),
            out_norm: k.allocate_stored("out_norm", rows * d),
            out_rstd: k.allocate("out_rstd", rows),
            logits: k
                .allocate_stored("logits", (k.logits_at_once() / pitch).clamp(1, rows) * pitch),
            losses: k.allocate("losses", rows),
            inputs: kernels.allocate_tokens("inputs", rows),
            targets: kernels.allocate_tokens("targets", rows),
            positions: kernels.allocate_tokens("positions", rows),
            sequence,
            rows,
            kernels,
            config,
            table,
        }
    }

    /// Fills what never changes, and the weights.
    fn begin(&mut self, weights: &[f32]) -> Result<()> {
        self.kernels.allocated()?;
        self.kernels.upload(*self.rope_table, &rope_table(&self.config));
        let positions: Vec<u32> = (0..self.rows).map(|row| (row % self.sequence) as u32).collect();
        self.kernels.upload_tokens(self.positions, &positions);
        self.set_weights(weights);
        Ok(())
    }

    /// Takes weights in the layout of the tensor table.
    pub fn set_weights(&mut self, weights: &[f32]) {
        self.kernels.upload(*self.weights, weights);
        self.kernels.round(self.weights, self.weights_half);
    }

    /// The weights, flat. Waits for the device.
    pub fn weights(&mut self) -> Result<Vec<f32>> {
        self.kernels.download(*self.weights)
    }

    /// Tokens of a sequence.
    pub fn sequence(&self) -> usize {
        self.sequence
    }

    /// Sequences that one pass takes.
    pub fn sequences_at_once(&self) -> usize {
        self.rows / self.sequence
    }

    /// The loss of each row. `inputs[rows]` and `targets[rows]`; rows with [`NO_TARGET`](crate::NO_TARGET) count 0.
    pub fn losses(&mut self, inputs: &[u32], targets: &[u32]) -> Result<Vec<f32>> {
        let mut losses = Vec::with_capacity(inputs.len());
        for (inputs, targets) in inputs.chunks(self.rows).zip(targets.chunks(self.rows)) {
            let pass = self.upload(inputs, targets);
            let normed = self.forward(pass);
            let Config { d_model: d, vocab_size: vocab, .. } = self.config;
            let (head, losses_of) =
                (self.weights_half.range(&self.table.head), self.losses.slice(0, inputs.len()));
            self.kernels.head_loss_forward(
                vocab,
                d,
                normed,
                head,
                self.logits,
                self.targets.slice(0, inputs.len()),
                losses_of,
            );
            losses.extend(self.kernels.download(*losses_of)?);
        }
        Ok(losses)
    }

    /// The logits of each row, [rows, V]: for tests and tools that can hold them.
    pub fn logits(&mut self, inputs: &[u32]) -> Result<Vec<f32>> {
        let vocab = self.config.vocab_size;
        let pitch = self.kernels.logits_pitch(vocab);
        let mut all = Vec::with_capacity(inputs.len() * vocab);
        for inputs in inputs.chunks(self.rows) {
            let pass = self.upload(inputs, inputs);
            let normed = self.forward(pass);
            for (start, rows) in self.chunks(pass) {
                let logits = self.logits_of(normed, start, rows);
                let rows = self.kernels.download(*logits)?;
                all.extend(rows.chunks_exact(pitch).flat_map(|row| &row[..vocab]));
            }
        }
        Ok(all)
    }

    fn upload(&mut self, inputs: &[u32], targets: &[u32]) -> Pass {
        let rows = inputs.len();
        assert!(
            rows > 0
                && rows.is_multiple_of(self.sequence)
                && rows <= self.rows
                && targets.len() == rows,
            "a pass of {rows} rows"
        );
        self.kernels.upload_tokens(self.inputs.slice(0, rows), inputs);
        self.kernels.upload_tokens(self.targets.slice(0, rows), targets);
        Pass {
            shape: attention_shape(&self.config, rows / self.sequence, self.sequence),
            positions: self.positions.slice(0, rows),
            rope_table: self.rope_table,
        }
    }

    /// Chunks of rows whose logits are held at once: first row and number.
    fn chunks(&self, pass: Pass) -> impl Iterator<Item = (usize, usize)> + use<> {
        let most = self.logits.len / self.kernels.logits_pitch(self.config.vocab_size);
        let rows = pass.shape.rows();
        (0..rows).step_by(most).map(move |start| (start, most.min(rows - start)))
    }

    fn logits_of(&mut self, normed: HalfView, start: usize, rows: usize) -> HalfView {
        let Config { d_model: d, vocab_size: vocab, .. } = self.config;
        let pitch = self.kernels.logits_pitch(vocab);
        let (logits, head) =
            (self.logits.slice(0, rows * pitch), self.weights_half.range(&self.table.head));
        self.kernels.matmul_nt(rows, vocab, d, normed.slice(start * d, rows * d), head, logits);
        logits
    }

    /// Block `l` for this number of rows, and where its output goes.
    fn block(&self, l: usize, rows: usize) -> (Block, F32View) {
        let Config { d_model: d, d_mlp: f, rms_eps: eps, n_layer, .. } = self.config;
        let of = |l: usize| &self.activations[l % self.activations.len()];
        let layer = &self.table.layers[l];
        let block = Block {
            d,
            f,
            eps,
            weights: BlockWeights::of(self.weights, layer),
            half: BlockWeights::of(self.weights_half, layer),
            activations: of(l).rows(&self.config, rows),
        };
        let next = if l + 1 < n_layer { of(l + 1).x } else { self.out };
        (block, next.slice(0, rows * d))
    }

    /// Tokens to the normalised output of the last block, [R, d].
    fn forward(&mut self, pass: Pass) -> HalfView {
        let (rows, Config { d_model: d, rms_eps: eps, .. }) = (pass.shape.rows(), self.config);
        let (out, out_norm) = (self.out.slice(0, rows * d), self.out_norm.slice(0, rows * d));
        let embedding = self.weights.range(&self.table.embedding);
        let first = self.block(0, rows).0.activations.x;
        self.kernels.embedding_forward(d, self.inputs.slice(0, rows), embedding, first);
        for l in 0..self.config.n_layer {
            let (block, next) = self.block(l, rows);
            block.forward(&mut *self.kernels, &pass, Attend::Sequence, next);
        }
        let gain = self.weights.range(&self.table.final_norm);
        self.kernels.rmsnorm_forward(d, eps, out, gain, out_norm, self.out_rstd.slice(0, rows));
        out_norm
    }
}

/// A model in training: gradients and the optimizer's slots beside the weights, all flat and of one layout.
pub struct Trainer {
    /// Weights and the forward pass.
    pub model: Model,
    optimizer: Optimizer,
    matrices: Vec<MatrixGroup>,
    gradients: F32View,
    slots: SlotViews,
    /// See [`state`]
    state: F32View,
    /// The gradient of the residual stream [R, d], f32 and as matmuls read it
    dx: F32View,
    dx_half: HalfView,
    scratch: ActivationGradients,
}

/// Values of scratch that an update needs at least: for one matrix.
fn scratch_of(kind: OptimizerKind, matrices: &[MatrixGroup]) -> usize {
    let of = |group: &MatrixGroup| {
        let (short, long) = group.sides();
        Muon::scratch(short, long)
    };
    match kind.rule().momentum {
        None => 0,
        Some(_) => matrices.iter().map(of).max().unwrap_or(0),
    }
}

/// What a step says of itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Metrics {
    /// Mean cross entropy over the tokens of the step, nats.
    pub loss: f32,
    /// Norm of the gradient before clipping. Where it is not finite, the update was skipped.
    pub grad_norm: f32,
    /// Loss scale after the step, and updates skipped so far.
    pub loss_scale: f32,
    /// Updates skipped so far, since their gradient was not finite.
    pub skipped: u64,
}

/// All that a checkpoint keeps of a trainer.
pub struct TrainerState {
    /// Flat, in the layout of the tensor table.
    pub weights: Vec<f32>,
    /// The optimizer's, by name.
    pub slots: Slots,
    /// What else moves from update to update: see [`state`].
    pub update: Vec<f32>,
}

/// A [`TrainerState`] on its way from the device.
pub struct TrainerSnapshot {
    copies: Box<dyn Snapshot>,
    slots: &'static [&'static str],
}

impl TrainerSnapshot {
    /// Waits for it, on any thread, while the engine goes on.
    pub fn wait(self) -> Result<TrainerState> {
        let mut copies = self.copies.wait()?.into_iter();
        let weights = copies.next().unwrap_or_default();
        let slots = SlotViews::named(self.slots, &mut copies);
        Ok(TrainerState { weights, slots, update: copies.next().unwrap_or_default() })
    }
}

impl Trainer {
    /// A trainer for `batch` sequences of `sequence` tokens, before its first update.
    ///
    /// # Errors
    /// Where the engine has not the memory.
    pub fn new(
        kernels: Box<dyn Kernels>,
        config: Config,
        optimizer: Optimizer,
        weights: &[f32],
        batch: usize,
        sequence: usize,
    ) -> Result<Self> {
        let mut model = Model::build(kernels, config, batch, sequence, config.n_layer);
        let (rows, len, d) = (model.rows, model.table.len, config.d_model);
        let k = &mut model.kernels;
        let dx = k.allocate("dx", rows * d);
        let matrices = MatrixGroup::all(&model.table);
        k.reserve_scratch(scratch_of(optimizer.kind, &matrices));
        let mut trainer = Trainer {
            optimizer,
            matrices,
            gradients: k.allocate("gradients", len),
            slots: SlotViews::allocate(&mut **k, optimizer.kind, len),
            state: k.allocate("state", state::LEN),
            dx,
            dx_half: k.half_copy("dx_half", dx),
            scratch: ActivationGradients::allocate(&mut **k, &config, rows, None),
            model,
        };
        trainer.model.begin(weights)?;
        trainer.forget();
        Ok(trainer)
    }

    /// Slots and state as before the first update.
    pub fn forget(&mut self) {
        self.slots.clear(&mut *self.model.kernels);
        let mut first = [0.0; state::LEN];
        first[state::LOSS_SCALE] = self.model.kernels.precision().initial_loss_scale();
        (first[state::BETA1_POWER], first[state::BETA2_POWER]) = (1.0, 1.0);
        self.set_state(&first);
    }

    /// What the optimizer keeps beside the weights.
    pub fn slots(&mut self) -> Result<Slots> {
        self.slots.download(&mut *self.model.kernels)
    }

    /// # Errors
    /// Says how the names differ where these are the slots of another optimizer.
    pub fn set_slots(&mut self, slots: &Slots) -> Result<(), SlotMismatch> {
        self.slots.upload(&mut *self.model.kernels, slots)
    }

    /// All that a checkpoint keeps, without waiting for the device.
    pub fn snapshot(&mut self) -> Result<TrainerSnapshot> {
        let views = [&[self.model.weights], self.slots.views(), &[self.state]].concat();
        let copies = self.model.kernels.snapshot(&views)?;
        Ok(TrainerSnapshot { copies, slots: self.slots.names() })
    }

    /// What else moves from update to update: see [`state`].
    pub fn state(&mut self) -> Result<Vec<f32>> {
        self.model.kernels.download(*self.state)
    }

    /// Puts back what [`state`](Self::state) gave.
    pub fn set_state(&mut self, state: &[f32]) {
        self.model.kernels.upload(*self.state, state);
    }

    /// The sum so far, multiplied by the loss scale.
    pub fn gradients(&mut self) -> Result<Vec<f32>> {
        self.model.kernels.download(*self.gradients)
    }

    /// Replaces the sum so far, multiplied by the loss scale.
    pub fn set_gradients(&mut self, gradients: &[f32]) {
        self.model.kernels.upload(*self.gradients, gradients);
    }

    /// Starts a step: nothing summed yet.
    pub fn begin(&mut self) {
        self.model.kernels.fill(self.gradients, 0.0);
        self.model.kernels.fill(self.state.slice(state::LOSS, 1), 0.0);
    }

    /// Adds a micro-batch: `windows` [sequences, sequence + 1], each token the target of the one before it.
    /// `scale` is 1 / tokens of the whole step, so that gradients add up to those of the mean loss.
    pub fn accumulate(&mut self, windows: &[u32], scale: f32) {
        let (window, at_once) = (self.model.sequence + 1, self.model.sequences_at_once());
        let (mut inputs, mut targets) = (Vec::new(), Vec::new());
        for windows in windows.chunks(at_once * window) {
            inputs.clear();
            targets.clear();
            for window in windows.chunks_exact(window) {
                inputs.extend_from_slice(&window[..window.len() - 1]);
                targets.extend_from_slice(&window[1..]);
            }
            let pass = self.model.upload(&inputs, &targets);
            self.model.forward(pass);
            self.backward(pass, scale);
        }
    }

    /// Ends a step: the norm of the gradient, which is scaled down to `clip` where it is larger, and one update of all weights.
    /// Does not wait for the device.
    pub fn update(&mut self, learning_rate: f32, clip: f32) -> Ticket {
        let update = Update {
            optimizer: self.optimizer,
            learning_rate,
            decay_len: self.model.table.len_of(Group::Matrix),
            clip,
            matrices: &self.matrices,
        };
        let (k, norm) = (&mut self.model.kernels, self.state.slice(state::GRAD_NORM, 1));
        k.grad_norm(self.gradients, norm);
        k.loss_scale_update(&update, self.state);
        k.optimizer_update(
            &update,
            self.state,
            self.model.weights,
            self.model.weights_half,
            self.gradients,
            self.slots.views(),
        );
        k.submit(self.state)
    }

    /// What the oldest step that was not asked for says of itself: None while the device is not there yet, unless `wait`.
    /// `scale` as in [`accumulate`](Self::accumulate).
    pub fn metrics(&mut self, ticket: Ticket, scale: f32, wait: bool) -> Result<Option<Metrics>> {
        let report = self.model.kernels.collect(ticket, wait)?;
        Ok(report.map(|report| Metrics {
            loss: report[state::LOSS] * scale,
            grad_norm: report[state::GRAD_NORM],
            loss_scale: report[state::LOSS_SCALE],
            skipped: report[state::SKIPPED] as u64,
        }))
    }

    /// The mirror of `Model::forward`, from the loss up to the embedding.
    fn backward(&mut self, pass: Pass, scale: f32) {
        let (rows, d) = (pass.shape.rows(), self.model.config.d_model);
        self.head_backward(pass, scale);
        let m = &mut self.model;
        let [dx, out] = [self.dx, m.out].map(|view| view.slice(0, rows * d));
        let dx_half = self.dx_half.slice(0, rows * d);
        let scratch = self.scratch.rows(&m.config, rows);
        let (rstd, final_norm) = (m.out_rstd.slice(0, rows), &m.table.final_norm);
        let (gain, dgain) = (m.weights.range(final_norm), self.gradients.range(final_norm));
        m.kernels.fill(dx, 0.0);
        m.kernels.rmsnorm_backward(d, out, gain, rstd, scratch.dbranch, dx, dx_half, dgain);
        for l in (0..m.config.n_layer).rev() {
            let (block, _) = m.block(l, rows);
            let gradients = BlockWeights::of(self.gradients, &m.table.layers[l]);
            block.backward(&mut *m.kernels, &pass, gradients, &scratch, dx, dx_half);
        }
        let gradient = self.gradients.range(&m.table.embedding);
        m.kernels.embedding_backward(d, m.inputs.slice(0, rows), dx, gradient);
    }

    /// The losses, the gradient of the head, and that of its input in `dbranch`.
    fn head_backward(&mut self, pass: Pass, scale: f32) {
        let m = &mut self.model;
        let (rows, Config { d_model: d, vocab_size: vocab, .. }) = (pass.shape.rows(), m.config);
        let (head, dhead) =
            (m.weights_half.range(&m.table.head), self.gradients.range(&m.table.head));
        for (start, rows) in m.chunks(pass) {
            let [normed, dnormed] =
                [m.out_norm, self.scratch.dbranch].map(|view| view.slice(start * d, rows * d));
            let logits = m.logits_of(m.out_norm, start, rows);
            let (targets, losses) = (m.targets.slice(start, rows), m.losses.slice(start, rows));
            m.kernels.cross_entropy_backward(vocab, scale, self.state, logits, targets, losses);
            m.kernels.matmul_nn(rows, d, vocab, logits, head, dnormed);
            m.kernels.matmul_tn(vocab, d, rows, logits, normed, dhead);
        }
        m.kernels.sum(m.losses.slice(0, rows), self.state.slice(state::LOSS, 1));
    }
}
