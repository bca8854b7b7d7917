//! What the data is: stories, tokenizer, token shards, packed bins, batches.
pub mod bin;
#[cfg(feature = "stories")]
pub mod grammar;
#[cfg(feature = "stories")]
pub mod stories;
pub mod sampler;
pub mod tokenizer;
