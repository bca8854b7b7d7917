//! What the data is: stories, tokenizer, token shards, packed bins, batches.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing) // much of what it reads was written by others
)]

pub mod batch_sampler;
pub mod bin;
pub mod copies;
#[cfg(all(feature = "stories", feature = "shards"))]
pub mod encode_shards;
#[cfg(feature = "remote")]
pub mod fetch;
#[cfg(feature = "stories")]
pub mod fetched;
#[cfg(feature = "stories")]
mod footer;
#[cfg(feature = "remote")]
pub mod local_files;
#[cfg(feature = "remote")]
pub mod look;
pub mod pack;
#[cfg(feature = "stories")]
mod parquet_form;
mod permutation;
#[cfg(feature = "remote")]
pub mod plan;
#[cfg(feature = "remote")]
pub mod raw;
#[cfg(feature = "stories")]
pub mod reading;
#[cfg(feature = "texts")]
mod record;
#[cfg(feature = "remote")]
pub mod remote;
#[cfg(feature = "stories")]
pub mod rewrite;
#[cfg(feature = "stories")]
pub mod row_groups;
#[cfg(feature = "shards")]
mod shard_form;
#[cfg(feature = "shards")]
pub mod shards;
#[cfg(feature = "remote")]
pub mod source;
#[cfg(feature = "remote")]
pub mod splits;
#[cfg(feature = "stories")]
pub mod stories;
#[cfg(feature = "texts")]
pub mod text_files;
#[cfg(feature = "texts")]
mod text_input;
pub mod tokenizer;
