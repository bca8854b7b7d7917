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

    pub fn head_width(&self) -> usize {
        self.d_model / self.n_head
    }
}
