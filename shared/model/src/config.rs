//! The sizes of a model: a small Llama with tied embeddings.
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
        }
    }

    /// Weights of such a model. None for sizes that no model has, or whose weights no memory holds: those of a damaged file.
    pub fn parameters(&self) -> Option<u64> {
        let sizes = [self.vocab_size, self.n_layer, self.n_head, self.d_model, self.d_mlp, self.context];
        let [v, l, h, d, f, _] = sizes.map(|size| u64::try_from(size).unwrap_or(u64::MAX));
        if sizes.contains(&0) || d % h != 0 || (d / h) % 2 != 0 {
            return None;
        }
        let attention = d.checked_mul(d)?.checked_mul(4)?;
        let layer = attention.checked_add(d.checked_mul(f)?.checked_mul(3)?)?.checked_add(d.checked_mul(2)?)?;
        let all = layer.checked_mul(l)?.checked_add(v.checked_mul(d)?)?.checked_add(d)?;
        (all <= 1 << 40).then_some(all)
    }

    pub fn head_width(&self) -> usize {
        self.d_model / self.n_head
    }
}
