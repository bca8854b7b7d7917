//! What the data is: stories, tokenizer, token shards, packed bins, batches.
#[cfg(feature = "stories")]
pub mod grammar;
#[cfg(feature = "stories")]
pub mod stories;
