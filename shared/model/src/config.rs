//! The sizes of a model: a small Llama.
use serde::{Deserialize, Serialize};

/// The sizes and constants of a model: all that its tensors' shapes and its forward pass follow from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Stored")]
pub struct Config {
    /// Tokens of the vocabulary.
    pub vocab_size: usize,
    /// Transformer blocks.
    pub n_layer: usize,
    /// Query heads of a block.
    pub n_head: usize,
    /// Heads of keys and values: each serves `n_head / n_kv_head` query heads.
    pub n_kv_head: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Width of the SwiGLU MLP.
    pub d_mlp: usize,
    /// Longest sequence, tokens.
    pub context: usize,
    /// Added to the mean square in RMSNorm.
    pub rms_eps: f32,
    /// Base of RoPE's frequencies.
    pub rope_base: f32,
    /// Whether the output product uses the embedding; what is trained here always does.
    pub tied: bool,
}

/// A config as checkpoints hold it: an older one lacks the fields that are optional here.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    vocab_size: usize,
    n_layer: usize,
    n_head: usize,
    n_kv_head: Option<usize>,
    d_model: usize,
    d_mlp: usize,
    context: usize,
    rms_eps: f32,
    rope_base: f32,
    tied: Option<bool>,
}

impl From<Stored> for Config {
    fn from(stored: Stored) -> Self {
        Config {
            vocab_size: stored.vocab_size,
            n_layer: stored.n_layer,
            n_head: stored.n_head,
            n_kv_head: stored.n_kv_head.unwrap_or(stored.n_head),
            d_model: stored.d_model,
            d_mlp: stored.d_mlp,
            context: stored.context,
            rms_eps: stored.rms_eps,
            rope_base: stored.rope_base,
            tied: stored.tied.unwrap_or(true),
        }
    }
}

impl Config {
    /// That of the models trained here.
    pub const RMS_EPS: f32 = 1e-6;
    /// That of the models trained here.
    pub const ROPE_BASE: f32 = 10_000.0;

    /// The `[model]` section with the tokenizer's vocabulary.
    pub fn new(section: &stage::config::Model, vocab_size: usize) -> Self {
        Config {
            vocab_size,
            n_layer: section.n_layer as usize,
            n_head: section.n_head as usize,
            n_kv_head: section.n_kv_head.unwrap_or(section.n_head) as usize,
            d_model: section.d_model as usize,
            d_mlp: section.d_mlp as usize,
            context: section.context as usize,
            rms_eps: Self::RMS_EPS,
            rope_base: Self::ROPE_BASE,
            tied: true,
        }
    }

    /// Multiplications and additions of products and causal attention, forward and backward, for a token of a full sequence.
    pub fn training_flop_per_token(&self) -> f64 {
        let (d, f, layers) = (self.d_model as f64, self.d_mlp as f64, self.n_layer as f64);
        let attention_columns = (self.qkv_width() + self.d_model) as f64;
        let matrices = layers * (attention_columns * d + 3.0 * d * f) + self.vocab_size as f64 * d;
        // Half of the [sequence, sequence] scores exist; two products over them.
        let attention = layers * 2.0 * self.context as f64 * d;
        3.0 * (2.0 * matrices + attention)
    }

    /// Weights of such a model. None for sizes that no model has, or whose weights no memory holds: those of a damaged file.
    pub fn parameters(&self) -> Option<u64> {
        let sizes = [
            self.vocab_size,
            self.n_layer,
            self.n_head,
            self.n_kv_head,
            self.d_model,
            self.d_mlp,
            self.context,
        ];
        let [v, l, h, kv, d, f, _] = sizes.map(|size| u64::try_from(size).unwrap_or(u64::MAX));
        if sizes.contains(&0) || d % h != 0 || (d / h) % 2 != 0 || h % kv != 0 {
            return None;
        }
        // Queries and the output, keys and values.
        let attention = d.checked_add(d / h * kv)?.checked_mul(d)?.checked_mul(2)?;
        let layer = attention
            .checked_add(d.checked_mul(f)?.checked_mul(3)?)?
            .checked_add(d.checked_mul(2)?)?;
        let all = layer.checked_mul(l)?.checked_add(v.checked_mul(d)?)?.checked_add(d)?;
        (all <= 1 << 40).then_some(all)
    }

    /// Elements of a head.
    pub fn head_width(&self) -> usize {
        self.d_model / self.n_head
    }

    /// Columns of keys, and as many of values.
    pub fn kv_width(&self) -> usize {
        self.n_kv_head * self.head_width()
    }

    /// Columns of queries, keys and values.
    pub fn qkv_width(&self) -> usize {
        self.d_model + 2 * self.kv_width()
    }
}
