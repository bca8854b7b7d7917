//! Telling stories token by token: the forward pass over new rows only, with keys and values of earlier ones cached.
//!
//! A row is one token of one story at one position; prompts and single new tokens go the same way. The bits of a row
//! depend on its own story only, not on which others are decoded beside it.
use model::{Config, TensorTable};

use crate::kernels::{AttentionShape, Kernels, Tokens, View};
use crate::step::{LayerWeights, rope_table};

/// A token to be read: the story's slot in the cache and the position in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    pub token: u32,
    pub slot: u32,
    pub position: u32,
}

pub struct Decoder<K> {
    kernels: K,
    config: Config,
    table: TensorTable,
    weights: View,
    rope_table: View,
    /// [slots, context, 2 d] per layer
    caches: Vec<View>,
    x: View,
    norm: View,
    rstd: View,
    qkv: View,
    attention: View,
    branch: View,
    mid: View,
    gate_up: View,
    swiglu: View,
    logits: View,
    tokens: Tokens,
    slots: Tokens,
    positions: Tokens,
    rows: usize,
}

impl<K: Kernels> Decoder<K> {
    /// Rows read in one pass; a longer prompt takes several.
    const PROMPT_ROWS: usize = 64;

    /// A decoder of up to `slots` stories at once.
    pub fn new(mut kernels: K, config: Config, weights: &[f32], slots: usize) -> Self {
        let Config { d_model: d, d_mlp: f, vocab_size: vocab, n_layer, context, .. } = config;
        let table = TensorTable::new(&config);
        let rows = slots.max(Self::PROMPT_ROWS);
        let mut k = |label, len| kernels.allocate(label, len);
        let mut decoder = Decoder {
            caches: (0..n_layer).map(|_| k("cache", slots * context * 2 * d)).collect(),
            weights: k("weights", table.len),
            rope_table: k("rope_table", context * config.head_width()),
            x: k("x", rows * d),
            norm: k("norm", rows * d),
            rstd: k("rstd", rows),
            qkv: k("qkv", rows * 3 * d),
            attention: k("attention", rows * d),
            branch: k("branch", rows * d),
            mid: k("mid", rows * d),
            gate_up: k("gate_up", rows * 2 * f),
            swiglu: k("swiglu", rows * f),
            logits: k("logits", slots * vocab),
            tokens: kernels.allocate_tokens("tokens", rows),
            slots: kernels.allocate_tokens("slots", rows),
            positions: kernels.allocate_tokens("positions", rows),
            rows,
            kernels,
            config,
            table,
        };
        decoder.kernels.upload(decoder.rope_table, &rope_table(&config));
        decoder.kernels.upload(decoder.weights, weights);
        decoder
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Reads rows into the cache without asking what comes next: a prompt but for its last token.
    pub fn read(&mut self, rows: &[Row]) {
        for rows in rows.chunks(self.rows) {
            self.forward(rows);
        }
    }

    /// Reads one row per story and gives the logits of what comes next, [rows, V].
    pub fn next(&mut self, rows: &[Row]) -> Vec<f32> {
        let Config { d_model: d, vocab_size: vocab, rms_eps: eps, .. } = self.config;
        self.forward(rows);
        let r = rows.len();
        let (x, norm, logits) = (self.x.slice(0, r * d), self.norm.slice(0, r * d), self.logits.slice(0, r * vocab));
        let k = &mut self.kernels;
        k.rmsnorm_forward(d, eps, x, self.weights.range(&self.table.final_norm), norm, self.rstd.slice(0, r));
        k.matvec_nt(r, vocab, d, norm, self.weights.range(&self.table.embedding), logits);
        k.download(logits)
    }

    fn forward(&mut self, rows: &[Row]) {
        let Config { d_model: d, d_mlp: f, rms_eps: eps, context, .. } = self.config;
        let r = rows.len();
        let shape = AttentionShape { batch: r, sequence: 1, heads: self.config.n_head, width: self.config.head_width() };
        let (tokens, slots, positions) = (self.tokens.slice(0, r), self.slots.slice(0, r), self.positions.slice(0, r));
        let [x, norm, branch, mid, attention] = [self.x, self.norm, self.branch, self.mid, self.attention].map(|v| v.slice(0, r * d));
        let (rstd, qkv) = (self.rstd.slice(0, r), self.qkv.slice(0, r * 3 * d));
        let (gate_up, swiglu) = (self.gate_up.slice(0, r * 2 * f), self.swiglu.slice(0, r * f));
        let k = &mut self.kernels;
        for (to, value) in [(tokens, (|row| row.token) as fn(&Row) -> u32), (slots, |row| row.slot), (positions, |row| row.position)] {
            k.upload_tokens(to, &rows.iter().map(value).collect::<Vec<u32>>());
        }

        k.embedding_forward(d, tokens, self.weights.range(&self.table.embedding), x);
        for (layer, &cache) in self.table.layers.iter().zip(&self.caches) {
            let w = LayerWeights::of(self.weights, layer);
            k.rmsnorm_forward(d, eps, x, w.attention_norm, norm, rstd);
            k.matvec_nt(r, 3 * d, d, norm, w.qkv, qkv);
            k.rope_forward(shape, positions, self.rope_table, qkv);
            k.cache_append(shape, context, slots, positions, qkv, cache);
            k.attention_decode(shape, context, slots, positions, qkv, cache, attention);
            k.matvec_nt(r, d, d, attention, w.attention_out, branch);
            k.residual_forward(x, branch, mid);
            k.rmsnorm_forward(d, eps, mid, w.mlp_norm, norm, rstd);
            k.matvec_nt(r, 2 * f, d, norm, w.gate_up, gate_up);
            k.swiglu_forward(f, gate_up, swiglu);
            k.matvec_nt(r, d, f, swiglu, w.down, branch);
            k.residual_forward(mid, branch, x);
        }
    }
}
