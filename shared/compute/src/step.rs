//! One training step from top to bottom: forward, backward as its mirror, update. One kernel a line.
//!
//! Shapes: R rows (sequences x tokens) of a pass, d = d_model, f = d_mlp, V = vocabulary. A batch with more rows than
//! the engine wants at once is split into passes whose gradients add up, so memory does not grow with the batch.
//! The residual stream and its gradient are f32, as are weights, their gradients and the optimizer's slots; all else is kept in the
//! engine's storage precision, and products read the rounded copies `low` of weights and `dx_low` of dx.
use model::{Config, Group, Slots, TensorTable};

use crate::kernels::{AttentionShape, Kernels, Result, Snapshot, Ticket, Tokens, View, state};
use crate::optimizer::{Optimizer, Update};
use crate::slots::SlotViews;

/// What a layer's backward needs of its forward.
#[derive(Clone, Copy)]
struct Layer {
    /// [R, d] what comes in, f32
    x: View,
    /// [R, d] that, normalised, and [R] 1 / its root mean square
    norm: View,
    rstd: View,
    /// [R, 3 d] queries, keys, values; rope has turned the first two
    qkv: View,
    /// [R, d], and [batch, heads, sequence]
    attention: View,
    lse: View,
    /// [R, d] after attention, f32, and that normalised
    mid: View,
    mid_norm: View,
    mid_rstd: View,
    /// [R, 2 f] gate and up, and [R, f] their SwiGLU
    gate_up: View,
    swiglu: View,
}

/// Where the weights of a layer, or their gradients, are.
#[derive(Clone, Copy)]
pub(crate) struct LayerWeights {
    pub attention_norm: View,
    pub qkv: View,
    pub attention_out: View,
    pub mlp_norm: View,
    pub gate_up: View,
    pub down: View,
}

impl LayerWeights {
    pub(crate) fn of(flat: View, layer: &model::Layer) -> Self {
        LayerWeights {
            attention_norm: flat.range(&layer.attention_norm),
            qkv: flat.range(&layer.qkv),
            attention_out: flat.range(&layer.attention_out),
            mlp_norm: flat.range(&layer.mlp_norm),
            gate_up: flat.range(&layer.gate_up),
            down: flat.range(&layer.down),
        }
    }
}

/// The rows of one pass.
#[derive(Clone, Copy)]
struct Pass {
    rows: usize,
    shape: AttentionShape,
}

/// A model on an engine: weights and the forward pass.
pub struct Model {
    pub kernels: Box<dyn Kernels>,
    pub config: Config,
    pub table: TensorTable,
    /// f32, and the copy that products read
    weights: View,
    low: View,
    rope_table: View,
    /// One for each layer when backward follows, else one for all.
    layers: Vec<Layer>,
    /// [R, d] what the last layer gives, that normalised, and what a branch adds to the residual stream
    out: View,
    out_norm: View,
    out_rstd: View,
    branch: View,
    /// [rows of a chunk, V]: the loss goes by chunks of rows and never holds R x V
    logits: View,
    losses: View,
    inputs: Tokens,
    targets: Tokens,
    positions: Tokens,
    /// Tokens of a sequence, and the rows for which there are buffers.
    sequence: usize,
    rows: usize,
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
        layers: usize,
    ) -> Self {
        assert!(
            batch > 0 && (1..=config.context).contains(&sequence),
            "{batch} sequences of {sequence} tokens"
        );
        let Config { d_model: d, d_mlp: f, vocab_size: vocab, n_head, .. } = config;
        let table = TensorTable::new(&config);
        let rows = (kernels.rows_at_once((2 * f).max(3 * d)) / sequence).clamp(1, batch) * sequence;
        let k = &mut kernels;
        let layers = (0..layers).map(|_| Layer {
            x: k.allocate("x", rows * d),
            norm: k.allocate_stored("norm", rows * d),
            rstd: k.allocate("rstd", rows),
            qkv: k.allocate_stored("qkv", rows * 3 * d),
            attention: k.allocate_stored("attention", rows * d),
            lse: k.allocate("lse", rows * n_head),
            mid: k.allocate("mid", rows * d),
            mid_norm: k.allocate_stored("mid_norm", rows * d),
            mid_rstd: k.allocate("mid_rstd", rows),
            gate_up: k.allocate_stored("gate_up", rows * 2 * f),
            swiglu: k.allocate_stored("swiglu", rows * f),
        });
        let layers = layers.collect();
        let weights = k.allocate("weights", table.len);
        Model {
            layers,
            weights,
            low: k.shadow("low", weights),
            rope_table: k.allocate("rope_table", config.context * config.head_width()),
            out: k.allocate("out", rows * d),
            out_norm: k.allocate_stored("out_norm", rows * d),
            out_rstd: k.allocate("out_rstd", rows),
            branch: k.allocate_stored("branch", rows * d),
            logits: k
                .allocate_stored("logits", (k.logits_at_once() / vocab).clamp(1, rows) * vocab),
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
        self.kernels.upload(self.rope_table, &rope_table(&self.config));
        let positions: Vec<u32> = (0..self.rows).map(|row| (row % self.sequence) as u32).collect();
        self.kernels.upload_tokens(self.positions, &positions);
        self.set_weights(weights);
        Ok(())
    }

    pub fn set_weights(&mut self, weights: &[f32]) {
        self.kernels.upload(self.weights, weights);
        self.kernels.round(self.weights, self.low);
    }

    pub fn weights(&mut self) -> Result<Vec<f32>> {
        self.kernels.download(self.weights)
    }

    /// Tokens of a sequence.
    pub fn sequence(&self) -> usize {
        self.sequence
    }

    /// Sequences that one pass takes.
    pub fn sequences_at_once(&self) -> usize {
        self.rows / self.sequence
    }

    /// The loss of each row. `inputs` and `targets` [rows]; rows with [`NO_TARGET`](crate::NO_TARGET) count 0.
    pub fn losses(&mut self, inputs: &[u32], targets: &[u32]) -> Result<Vec<f32>> {
        let mut losses = Vec::with_capacity(inputs.len());
        for (inputs, targets) in inputs.chunks(self.rows).zip(targets.chunks(self.rows)) {
            let pass = self.upload(inputs, targets);
            let normed = self.forward(pass);
            let Config { d_model: d, vocab_size: vocab, .. } = self.config;
            let (head, losses_of) =
                (self.low.range(&self.table.head), self.losses.slice(0, pass.rows));
            self.kernels.head_loss_forward(
                vocab,
                d,
                normed,
                head,
                self.logits,
                self.targets.slice(0, pass.rows),
                losses_of,
            );
            losses.extend(self.kernels.download(losses_of)?);
        }
        Ok(losses)
    }

    /// The logits of each row, [rows, V]: for tests and tools that can hold them.
    pub fn logits(&mut self, inputs: &[u32]) -> Result<Vec<f32>> {
        let mut all = Vec::with_capacity(inputs.len() * self.config.vocab_size);
        for inputs in inputs.chunks(self.rows) {
            let pass = self.upload(inputs, inputs);
            let normed = self.forward(pass);
            for (start, rows) in self.chunks(pass) {
                let logits = self.logits_of(normed, start, rows);
                all.extend(self.kernels.download(logits)?);
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
        let Config { n_head: heads, .. } = self.config;
        Pass {
            rows,
            shape: AttentionShape {
                batch: rows / self.sequence,
                sequence: self.sequence,
                heads,
                width: self.config.head_width(),
            },
        }
    }

    /// Chunks of rows whose logits are held at once: first row and number.
    fn chunks(&self, pass: Pass) -> impl Iterator<Item = (usize, usize)> + use<> {
        let most = self.logits.len / self.config.vocab_size;
        (0..pass.rows).step_by(most).map(move |start| (start, most.min(pass.rows - start)))
    }

    fn logits_of(&mut self, normed: View, start: usize, rows: usize) -> View {
        let Config { d_model: d, vocab_size: vocab, .. } = self.config;
        let (logits, head) = (self.logits.slice(0, rows * vocab), self.low.range(&self.table.head));
        self.kernels.matmul_nt(rows, vocab, d, normed.slice(start * d, rows * d), head, logits);
        logits
    }

    /// What layer `l` keeps, cut to the rows of the pass, and where its output goes.
    fn layer(&self, l: usize, Pass { rows, .. }: Pass) -> (Layer, View) {
        let Config { d_model: d, d_mlp: f, n_head, n_layer, .. } = self.config;
        let at = |l: usize| &self.layers[l % self.layers.len()];
        let a = at(l);
        let layer = Layer {
            x: a.x.slice(0, rows * d),
            norm: a.norm.slice(0, rows * d),
            rstd: a.rstd.slice(0, rows),
            qkv: a.qkv.slice(0, rows * 3 * d),
            attention: a.attention.slice(0, rows * d),
            lse: a.lse.slice(0, rows * n_head),
            mid: a.mid.slice(0, rows * d),
            mid_norm: a.mid_norm.slice(0, rows * d),
            mid_rstd: a.mid_rstd.slice(0, rows),
            gate_up: a.gate_up.slice(0, rows * 2 * f),
            swiglu: a.swiglu.slice(0, rows * f),
        };
        let next = if l + 1 < n_layer { at(l + 1).x } else { self.out };
        (layer, next.slice(0, rows * d))
    }

    fn layer_weights(&self, flat: View, l: usize) -> LayerWeights {
        LayerWeights::of(flat, &self.table.layers[l])
    }

    /// Tokens to the normalised output of the last layer, [R, d].
    fn forward(&mut self, pass: Pass) -> View {
        let Config { d_model: d, d_mlp: f, rms_eps: eps, .. } = self.config;
        let Pass { rows, shape } = pass;
        let (inputs, positions, rope) =
            (self.inputs.slice(0, rows), self.positions.slice(0, rows), self.rope_table);
        let (branch, out) = (self.branch.slice(0, rows * d), self.out.slice(0, rows * d));
        let (out_norm, out_rstd) = (self.out_norm.slice(0, rows * d), self.out_rstd.slice(0, rows));

        self.kernels.embedding_forward(
            d,
            inputs,
            self.weights.range(&self.table.embedding),
            self.layer(0, pass).0.x,
        );
        for l in 0..self.config.n_layer {
            let (w, low) = (self.layer_weights(self.weights, l), self.layer_weights(self.low, l));
            let (a, next) = self.layer(l, pass);
            let k = &mut self.kernels;
            k.rmsnorm_forward(d, eps, a.x, w.attention_norm, a.norm, a.rstd);
            k.matmul_nt_rope(shape, d, a.norm, low.qkv, positions, rope, a.qkv);
            k.attention_forward(shape, a.qkv, a.attention, a.lse);
            k.matmul_nt_residual(rows, d, d, a.attention, low.attention_out, a.x, branch, a.mid);
            k.rmsnorm_forward(d, eps, a.mid, w.mlp_norm, a.mid_norm, a.mid_rstd);
            k.matmul_nt_swiglu(rows, f, d, a.mid_norm, low.gate_up, a.gate_up, a.swiglu);
            k.matmul_nt_residual(rows, d, f, a.swiglu, low.down, a.mid, branch, next);
        }
        self.kernels.rmsnorm_forward(
            d,
            eps,
            out,
            self.weights.range(&self.table.final_norm),
            out_norm,
            out_rstd,
        );
        out_norm
    }
}

/// A model in training: gradients and the optimizer's slots beside the weights, all flat and of one layout.
pub struct Trainer {
    pub model: Model,
    optimizer: Optimizer,
    gradients: View,
    slots: SlotViews,
    /// See [`state`]
    state: View,
    /// Gradients of the residual stream [R, d], f32 and as products read it, of a normalised or attention output [R, d], of qkv [R, 3 d],
    /// of gate and up [R, 2 f], of SwiGLU [R, f]
    dx: View,
    dx_low: View,
    dbranch: View,
    dqkv: View,
    dgate_up: View,
    dswiglu: View,
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
    pub skipped: u64,
}

/// All that a checkpoint keeps of a trainer.
pub struct TrainerState {
    /// Flat, in the layout of the tensor table.
    pub weights: Vec<f32>,
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
    pub fn new(
        kernels: Box<dyn Kernels>,
        config: Config,
        optimizer: Optimizer,
        weights: &[f32],
        batch: usize,
        sequence: usize,
    ) -> Result<Self> {
        let mut model = Model::build(kernels, config, batch, sequence, config.n_layer);
        let (rows, len, Config { d_model: d, d_mlp: f, .. }) =
            (model.rows, model.table.len, config);
        let k = &mut model.kernels;
        let dx = k.allocate("dx", rows * d);
        let mut trainer = Trainer {
            optimizer,
            gradients: k.allocate("gradients", len),
            slots: SlotViews::allocate(&mut **k, optimizer.kind, len),
            state: k.allocate("state", state::LEN),
            dx,
            dx_low: k.shadow("dx_low", dx),
            dbranch: k.allocate_stored("dbranch", rows * d),
            dqkv: k.allocate_stored("dqkv", rows * 3 * d),
            dgate_up: k.allocate_stored("dgate_up", rows * 2 * f),
            dswiglu: k.allocate_stored("dswiglu", rows * f),
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
    pub fn set_slots(&mut self, slots: &Slots) -> std::result::Result<(), String> {
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
        self.model.kernels.download(self.state)
    }

    pub fn set_state(&mut self, state: &[f32]) {
        self.model.kernels.upload(self.state, state);
    }

    /// The sum so far, multiplied by the loss scale.
    pub fn gradients(&mut self) -> Result<Vec<f32>> {
        self.model.kernels.download(self.gradients)
    }

    pub fn set_gradients(&mut self, gradients: &[f32]) {
        self.model.kernels.upload(self.gradients, gradients);
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
        };
        let (k, norm) = (&mut self.model.kernels, self.state.slice(state::GRAD_NORM, 1));
        k.grad_norm(self.gradients, norm);
        k.loss_scale_update(&update, self.state);
        k.optimizer_update(
            &update,
            self.state,
            self.model.weights,
            self.model.low,
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

    /// Computes the step of `windows` once more and names the first values in it that are not finite, in the order in which
    /// they are computed: weights, activations, losses, gradients. None where all are finite. The gradients are overwritten.
    pub fn first_not_finite(&mut self, windows: &[u32]) -> Result<Option<String>> {
        let broken = |values: &[f32]| !values.iter().all(|value| value.is_finite());
        let weights = self.model.weights()?;
        if let Some(tensor) =
            self.model.table.tensors.iter().find(|tensor| broken(&weights[tensor.range()]))
        {
            return Ok(Some(format!("the weights {}", tensor.name)));
        }
        let (window, rows) = (
            self.model.sequence + 1,
            windows.len() / (self.model.sequence + 1) * self.model.sequence,
        );
        self.begin();
        for windows in windows.chunks(self.model.sequences_at_once() * window) {
            self.accumulate(windows, 1.0 / rows as f32);
            // What the pass left behind.
            let rows = windows.len() / window * self.model.sequence;
            for l in 0..self.model.config.n_layer {
                let a = self.model.layers[l];
                let activations = [
                    ("input", a.x),
                    ("attention norm", a.norm),
                    ("queries, keys and values", a.qkv),
                    ("attention", a.attention),
                    ("sum after attention", a.mid),
                    ("MLP norm", a.mid_norm),
                    ("gate and up", a.gate_up),
                    ("SwiGLU", a.swiglu),
                ];
                for (name, view) in activations {
                    let of_rows = view.slice(0, view.len / self.model.rows * rows);
                    if broken(&self.model.kernels.download(of_rows)?) {
                        return Ok(Some(format!("the activations of layer {l}: {name}")));
                    }
                }
            }
            let d = self.model.config.d_model;
            for (name, view) in [
                ("output", self.model.out.slice(0, rows * d)),
                ("losses", self.model.losses.slice(0, rows)),
            ] {
                if broken(&self.model.kernels.download(view)?) {
                    return Ok(Some(format!("the {name} of the model")));
                }
            }
        }
        let gradients = self.gradients()?;
        // Backward goes from the last layer to the first; the embedding, which is the output product too, comes last.
        let table = &self.model.table;
        let mut order: Vec<&model::Tensor> = table.tensors.iter().collect();
        let place = |tensor: &model::Tensor| {
            let layer =
                tensor.name.split('.').nth(2).and_then(|number| number.parse::<usize>().ok());
            let embedding = table.embedding.contains(&tensor.offset);
            (embedding, layer.map_or(0, |layer| table.layers.len() - layer))
        };
        order.sort_by_key(|tensor| place(tensor));
        Ok(order
            .into_iter()
            .find(|tensor| broken(&gradients[tensor.range()]))
            .map(|tensor| format!("the gradient of {}", tensor.name)))
    }

    /// The mirror of `Model::forward`, from the loss up to the embedding.
    fn backward(&mut self, pass: Pass, scale: f32) {
        let Config { d_model: d, d_mlp: f, vocab_size: vocab, .. } = self.model.config;
        let Pass { rows, shape } = pass;
        let m = &mut self.model;
        let (inputs, positions, rope) =
            (m.inputs.slice(0, rows), m.positions.slice(0, rows), m.rope_table);
        let (head, final_norm) = (m.table.head.clone(), m.table.final_norm.clone());
        let (low_head, g_head, g_embedding) = (
            m.low.range(&head),
            self.gradients.range(&head),
            self.gradients.range(&m.table.embedding),
        );
        let (out, out_norm, out_rstd) =
            (m.out.slice(0, rows * d), m.out_norm.slice(0, rows * d), m.out_rstd.slice(0, rows));
        let [dx, dx_low, dbranch] =
            [self.dx, self.dx_low, self.dbranch].map(|view| view.slice(0, rows * d));
        let (dqkv, dgate_up, dswiglu) = (
            self.dqkv.slice(0, rows * 3 * d),
            self.dgate_up.slice(0, rows * 2 * f),
            self.dswiglu.slice(0, rows * f),
        );

        for (start, rows) in m.chunks(pass) {
            let (normed, dnormed) =
                (out_norm.slice(start * d, rows * d), dbranch.slice(start * d, rows * d));
            let logits = m.logits_of(out_norm, start, rows);
            let (targets, losses) = (m.targets.slice(start, rows), m.losses.slice(start, rows));
            m.kernels.cross_entropy_backward(vocab, scale, self.state, logits, targets, losses);
            m.kernels.matmul_nn(rows, d, vocab, logits, low_head, dnormed);
            m.kernels.matmul_tn(vocab, d, rows, logits, normed, g_head);
        }
        m.kernels.sum(m.losses.slice(0, rows), self.state.slice(state::LOSS, 1));
        m.kernels.fill(dx, 0.0);
        m.kernels.rmsnorm_backward(
            d,
            out,
            m.weights.range(&final_norm),
            out_rstd,
            dbranch,
            dx,
            dx_low,
            self.gradients.range(&final_norm),
        );
        for l in (0..m.config.n_layer).rev() {
            let (w, low, g) = (
                m.layer_weights(m.weights, l),
                m.layer_weights(m.low, l),
                m.layer_weights(self.gradients, l),
            );
            let (a, _) = m.layer(l, pass);
            let k = &mut m.kernels;
            k.matmul_tn(d, f, rows, dx_low, a.swiglu, g.down);
            k.matmul_nn_swiglu(rows, f, d, dx_low, low.down, a.gate_up, dswiglu, dgate_up);
            k.matmul_nn(rows, d, 2 * f, dgate_up, low.gate_up, dbranch);
            k.matmul_tn(2 * f, d, rows, dgate_up, a.mid_norm, g.gate_up);
            k.rmsnorm_backward(d, a.mid, w.mlp_norm, a.mid_rstd, dbranch, dx, dx_low, g.mlp_norm);
            k.matmul_nn(rows, d, d, dx_low, low.attention_out, dbranch);
            k.matmul_tn(d, d, rows, dx_low, a.attention, g.attention_out);
            k.attention_backward_rope(
                shape,
                a.qkv,
                a.attention,
                a.lse,
                dbranch,
                positions,
                rope,
                dqkv,
            );
            k.matmul_nn(rows, d, 3 * d, dqkv, low.qkv, dbranch);
            k.matmul_tn(3 * d, d, rows, dqkv, a.norm, g.qkv);
            k.rmsnorm_backward(
                d,
                a.x,
                w.attention_norm,
                a.rstd,
                dbranch,
                dx,
                dx_low,
                g.attention_norm,
            );
        }
        m.kernels.embedding_backward(d, inputs, dx, g_embedding);
    }
}
