//! The sizes of a model: a small Llama.
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub vocab_size: usize,
    pub n_layer: usize,
    pub n_head: usize,
    pub d_model: usize,
    pub d_mlp: usize,
    /// Longest sequence, tokens.
    pub context: usize,
    pub rms_eps: f32,
    pub rope_base: f32,
    /// Whether the output product uses the embedding; what is trained here always does.
    #[serde(default = "tied")]
    pub tied: bool,
}

fn tied() -> bool {
    true
}

impl Config {
    pub const RMS_EPS: f32 = 1e-6;
    pub const ROPE_BASE: f32 = 10_000.0;

    /// The `[model]` section with the tokenizer's vocabulary.
    pub fn new(section: &stage::config::Model, vocab_size: usize) -> Self {
        Config {
            vocab_size,
            n_layer: section.n_layer as usize,
            n_head: section.n_head as usize,
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
        let matrices = layers * (4.0 * d * d + 3.0 * d * f) + self.vocab_size as f64 * d;
        // Half of the [sequence, sequence] scores exist; two products over them.
        let attention = layers * 2.0 * self.context as f64 * d;
        3.0 * (2.0 * matrices + attention)
    }

    /// Weights of such a model. None for sizes that no model has, or whose weights no memory holds: those of a damaged file.
    pub fn parameters(&self) -> Option<u64> {
        let sizes =
            [self.vocab_size, self.n_layer, self.n_head, self.d_model, self.d_mlp, self.context];
        let [v, l, h, d, f, _] = sizes.map(|size| u64::try_from(size).unwrap_or(u64::MAX));
        if sizes.contains(&0) || d % h != 0 || (d / h) % 2 != 0 {
            return None;
        }
        let attention = d.checked_mul(d)?.checked_mul(4)?;
        let layer = attention
            .checked_add(d.checked_mul(f)?.checked_mul(3)?)?
            .checked_add(d.checked_mul(2)?)?;
        let all = layer.checked_mul(l)?.checked_add(v.checked_mul(d)?)?.checked_add(d)?;
        (all <= 1 << 40).then_some(all)
    }

    pub fn head_width(&self) -> usize {
        self.d_model / self.n_head
    }
}
