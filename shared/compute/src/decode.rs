//! Generating token by token: the forward pass over new rows only, with keys and values of earlier ones cached.
//!
//! A row is one token of one story at one position; prompts and single new tokens go the same way. The bits of a row
//! depend on its own story only, not on which others are decoded beside it.
use std::borrow::Cow;

use model::Config;

use crate::kernels::Result;

/// A token to be read: the story's slot in the cache and the position in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its id.
    pub token: u32,
    /// The story's place in the cache, from 0.
    pub slot: u32,
    /// Tokens of the story before it.
    pub position: u32,
}

/// Rows read in one pass; a longer prompt takes several.
pub(crate) const PROMPT_ROWS: usize = 64;

/// A model with its cache, on some engine.
pub trait Decode {
    /// The model's sizes.
    fn config(&self) -> &Config;
    /// Reads rows into the cache without asking what comes next: a prompt but for its last token. Rows of a story are in the
    /// order of their positions.
    fn read(&mut self, rows: &[Row]);
    /// Reads one row per story and gives the logits of what comes next, [rows, V].
    fn next(&mut self, rows: &[Row]) -> Result<Cow<'_, [f32]>>;
    /// Bytes of the weights that a token reads; None where the engine does not say.
    fn weight_bytes(&self) -> Option<usize> {
        None
    }
}
