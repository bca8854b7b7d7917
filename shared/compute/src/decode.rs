//! Telling stories token by token: the forward pass over new rows only, with keys and values of earlier ones cached.
//!
//! A row is one token of one story at one position; prompts and single new tokens go the same way. The bits of a row
//! depend on its own story only, not on which others are decoded beside it.
use std::borrow::Cow;

use model::{Config, TensorTable};

use crate::EngineError;
use crate::block::{Activations, Attend, Block, BlockWeights, Pass, rope_table};
use crate::cpu::decode::Session;
pub use crate::cpu::decode::Storage;
use crate::kernels::{AttentionShape, Kernels, Result, Tokens, View};

/// A token to be read: the story's slot in the cache and the position in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    pub token: u32,
    pub slot: u32,
    pub position: u32,
}

/// A model that tells stories. Which of the two ways it goes, only its maker knows.
pub struct Decoder(Way);

enum Way {
    /// Kernel by kernel on any engine.
    Kernels(Box<Recorded>),
    /// On the CPU in passes of its own.
    Cpu(Box<Session>, Config),
}

impl Decoder {
    /// Rows read in one pass; a longer prompt takes several.
    const PROMPT_ROWS: usize = 64;

    /// A decoder of up to `slots` stories at once, on an engine.
    pub fn new(
        kernels: Box<dyn Kernels>,
        config: Config,
        weights: &[f32],
        slots: usize,
    ) -> Result<Self> {
        Ok(Decoder(Way::Kernels(Box::new(Recorded::new(kernels, config, weights, slots)?))))
    }

    /// The same on the CPU, as fast as it can: see [`cpu::decode`](crate::cpu). Its results differ from the other way's by
    /// rounding only. `threads` changes nothing but the speed; while it decodes they do nothing else.
    pub fn on_cpu(
        config: Config,
        weights: Vec<f32>,
        slots: usize,
        threads: usize,
        storage: Storage,
    ) -> Result<Self> {
        let rows = slots.max(Self::PROMPT_ROWS);
        let (needed, available) =
            (Session::bytes(&config, slots, rows, storage), stage::memory::available());
        if needed > available {
            // Each slot takes the same beside what the weights take.
            let one = Session::bytes(&config, 1, Self::PROMPT_ROWS, storage);
            let each = needed.saturating_sub(one) / (slots as u64).max(2).saturating_sub(1);
            let fit = available.saturating_sub(one) / each.max(1) + u64::from(available >= one);
            let fit = match fit {
                0 => "not even one story".to_owned(),
                _ => format!("{} stories side by side", fit.min(slots as u64)),
            };
            return Err(EngineError::OutOfMemory {
                message: format!(
                    "{slots} stories side by side need {} of memory\n  fits: {fit} into the {} that can be had",
                    stage::memory::mib(needed),
                    stage::memory::mib(available)
                ),
                needed,
                available,
            });
        }
        let session = Session::new(config, weights, slots, rows, threads, storage);
        Ok(Decoder(Way::Cpu(Box::new(session), config)))
    }

    pub fn config(&self) -> &Config {
        match &self.0 {
            Way::Kernels(recorded) => &recorded.config,
            Way::Cpu(_, config) => config,
        }
    }

    /// Reads rows into the cache without asking what comes next: a prompt but for its last token. Rows of a story are in the
    /// order of their positions.
    pub fn read(&mut self, rows: &[Row]) {
        match &mut self.0 {
            Way::Kernels(recorded) => {
                rows.chunks(recorded.rows).for_each(|rows| recorded.forward(rows))
            }
            Way::Cpu(session, _) => rows.chunks(Self::PROMPT_ROWS).for_each(|rows| {
                session.pass(rows, false);
            }),
        }
    }

    /// Reads one row per story and gives the logits of what comes next, [rows, V].
    pub fn next(&mut self, rows: &[Row]) -> Result<Cow<'_, [f32]>> {
        match &mut self.0 {
            Way::Kernels(recorded) => recorded.next(rows).map(Cow::Owned),
            Way::Cpu(session, _) => Ok(Cow::Borrowed(session.pass(rows, true))),
        }
    }

    /// Bytes of the weights that a token reads; None where the engine does not say.
    pub fn weight_bytes(&self) -> Option<usize> {
        match &self.0 {
            Way::Kernels(_) => None,
            Way::Cpu(session, _) => Some(session.weight_bytes()),
        }
    }
}

struct Recorded {
    kernels: Box<dyn Kernels>,
    config: Config,
    table: TensorTable,
    /// f32, and the copy that products read
    weights: View,
    low: View,
    rope_table: View,
    /// [slots, context, 2 d] per layer
    caches: Vec<View>,
    activations: Activations,
    logits: View,
    tokens: Tokens,
    slots: Tokens,
    positions: Tokens,
    rows: usize,
}

impl Recorded {
    fn new(
        mut kernels: Box<dyn Kernels>,
        config: Config,
        weights: &[f32],
        slots: usize,
    ) -> Result<Self> {
        let Config { d_model: d, vocab_size: vocab, n_layer, context, .. } = config;
        let table = TensorTable::new(&config);
        let rows = slots.max(Decoder::PROMPT_ROWS);
        let k = &mut kernels;
        let flat = k.allocate("weights", table.len);
        let mut decoder = Recorded {
            caches: (0..n_layer)
                .map(|_| {
                    k.allocate_stored("cache", slots.saturating_mul(context).saturating_mul(2 * d))
                })
                .collect(),
            weights: flat,
            low: k.shadow("low", flat),
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
        decoder.kernels.upload(decoder.rope_table, &rope_table(&config));
        decoder.kernels.upload(decoder.weights, weights);
        decoder.kernels.round(decoder.weights, decoder.low);
        Ok(decoder)
    }

    fn next(&mut self, rows: &[Row]) -> Result<Vec<f32>> {
        let Config { d_model: d, vocab_size: vocab, rms_eps: eps, .. } = self.config;
        self.forward(rows);
        let r = rows.len();
        let (logits, gain) =
            (self.logits.slice(0, r * vocab), self.weights.range(&self.table.final_norm));
        let Activations { x, norm, rstd, .. } = self.activations.rows(&self.config, r);
        let k = &mut self.kernels;
        k.rmsnorm_forward(d, eps, x, gain, norm, rstd);
        k.matvec_nt(r, vocab, d, norm, self.low.range(&self.table.head), logits);
        k.download(logits)
    }

    fn forward(&mut self, rows: &[Row]) {
        let Config { d_model: d, d_mlp: f, rms_eps: eps, context, .. } = self.config;
        let r = rows.len();
        let pass = Pass {
            shape: AttentionShape {
                batch: r,
                sequence: 1,
                heads: self.config.n_head,
                width: self.config.head_width(),
            },
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
                half: BlockWeights::of(self.low, layer),
                activations,
            };
            block.forward(&mut **k, &pass, Attend::Cache { context, slots, cache }, activations.x);
        }
    }
}
