//! Decoding kernel by kernel, on any engine.
use std::borrow::Cow;

use model::{Config, TensorTable};

use crate::block::{Activations, Attend, Block, BlockWeights, Pass, attention_shape, rope_table};
use crate::decode::{Decode, PROMPT_ROWS, Row};
use crate::kernels::{F32View, HalfView, Kernels, Result, Tokens};

/// A model with its cache on an engine.
pub(crate) struct KernelDecoder {
    kernels: Box<dyn Kernels>,
    config: Config,
    table: TensorTable,
    /// f32, and the copy that matmuls read
    weights: F32View,
    weights_half: HalfView,
    rope_table: F32View,
    /// [slots, context, keys and values] per layer
    caches: Vec<HalfView>,
    activations: Activations,
    logits: HalfView,
    tokens: Tokens,
    slots: Tokens,
    positions: Tokens,
    rows: usize,
}

impl KernelDecoder {
    pub(crate) fn new(
        mut kernels: Box<dyn Kernels>,
        config: Config,
        weights: &[f32],
        slots: usize,
    ) -> Result<Self> {
        let Config { vocab_size: vocab, n_layer, context, .. } = config;
        let table = TensorTable::new(&config);
        let rows = slots.max(PROMPT_ROWS);
        let k = &mut kernels;
        let flat = k.allocate("weights", table.len);
        let mut decoder = KernelDecoder {
            caches: (0..n_layer)
                .map(|_| {
                    let columns = 2 * config.kv_width();
                    k.allocate_stored(
                        "cache",
                        slots.saturating_mul(context).saturating_mul(columns),
                    )
                })
                .collect(),
            weights: flat,
            weights_half: k.half_copy("weights_half", flat),
            rope_table: k.allocate("rope_table", context * config.head_width()),
            activations: Activations::allocate(&mut **k, &config, rows, None),
            logits: k.allocate_stored("logits", slots * vocab),
            tokens: kernels.allocate_tokens("tokens", rows),
            slots: kernels.allocate_tokens("slots", rows),
            positions: kernels.allocate_tokens("positions", rows),
            rows,
            kernels,
            config,
            table,
        };
        decoder.kernels.allocated()?;
        decoder.kernels.upload(*decoder.rope_table, &rope_table(&config));
        decoder.kernels.upload(*decoder.weights, weights);
        decoder.kernels.round(decoder.weights, decoder.weights_half);
        Ok(decoder)
    }

    fn forward(&mut self, rows: &[Row]) {
        let Config { d_model: d, d_mlp: f, rms_eps: eps, context, .. } = self.config;
        let r = rows.len();
        let pass = Pass {
            shape: attention_shape(&self.config, r, 1),
            positions: self.positions.slice(0, r),
            rope_table: self.rope_table,
        };
        let (tokens, slots) = (self.tokens.slice(0, r), self.slots.slice(0, r));
        let activations = self.activations.rows(&self.config, r);
        let k = &mut self.kernels;
        for (to, value) in [
            (tokens, (|row| row.token) as fn(&Row) -> u32),
            (slots, |row| row.slot),
            (pass.positions, |row| row.position),
        ] {
            k.upload_tokens(to, &rows.iter().map(value).collect::<Vec<u32>>());
        }

        k.embedding_forward(d, tokens, self.weights.range(&self.table.embedding), activations.x);
        for (layer, &cache) in self.table.layers.iter().zip(&self.caches) {
            let block = Block {
                d,
                f,
                eps,
                weights: BlockWeights::of(self.weights, layer),
                half: BlockWeights::of(self.weights_half, layer),
                activations,
            };
            block.forward(&mut **k, &pass, Attend::Cache { context, slots, cache }, activations.x);
        }
    }
}

impl Decode for KernelDecoder {
    fn config(&self) -> &Config {
        &self.config
    }

    fn read(&mut self, rows: &[Row]) {
        rows.chunks(self.rows).for_each(|rows| self.forward(rows));
    }

    fn next(&mut self, rows: &[Row]) -> Result<Cow<'_, [f32]>> {
        let Config { d_model: d, vocab_size: vocab, rms_eps: eps, .. } = self.config;
        self.forward(rows);
        let r = rows.len();
        let (logits, gain) =
            (self.logits.slice(0, r * vocab), self.weights.range(&self.table.final_norm));
        let Activations { x, norm, rstd, .. } = self.activations.rows(&self.config, r);
        let k = &mut self.kernels;
        k.rmsnorm_forward(d, eps, x, gain, norm, rstd);
        k.matvec_nt(r, vocab, d, norm, self.weights_half.range(&self.table.head), logits);
        k.download(*logits).map(Cow::Owned)
    }
}
