//! How a stage behaves: settings, files, messages, exit codes.
//!
//! Every executable of the pipeline opens a [`Stage`] from the command line, asks [`Work`] whether anything
//! is left to do, writes its files through [`AtomicFile`], and ends through [`main`] with an exit code.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing) // much of what it reads was written by others
)]

mod action;
mod address;
pub mod cli;
pub mod config;
mod entry;
mod failure;
mod files;
mod generated;
mod guard;
mod input;
pub mod interrupt;
mod io_advice;
mod known;
mod lock;
mod log;
mod manifest;
pub mod memory;
mod output;
mod ownership;
mod perform;
mod platform;
mod problem;
mod random;
pub mod recipe;
mod record;
mod seal;
mod shard;
pub mod shipped;
mod shown;
pub mod sweep;
mod temporary;
mod wait;

pub use action::Action;
pub use address::{Address, redact};
pub use cli::{Common, Stage};
pub use config::Pipeline;
pub use entry::{main, main_with_code};
pub use failure::{Failure, FailureKind, Result};
pub use files::{
    AtomicFile, FileRecord, WriteBehind, create_dir, hash_content, hash_file, publish_file,
    remove_if_present, sha256,
};
pub use guard::guarded;
pub use input::{
    Unchanged, bom_of_utf8, open, other_encoding, read, read_if_present, read_text, read_to_string,
    wrong_encoding,
};
pub use lock::Lock;
pub use log::{Log, LogFormat, Progress, Unit, count};
pub use manifest::{Freshness, Manifest, TokenizerRecord, Work, changed_keys, same_settings};
pub use output::{print, print_bytes};
pub use ownership::{Ownership, is_our_manifest, make_way, retire_manifest};
pub use perform::Done;
pub use platform::{ask_for_large_pages, read_at};
pub use problem::Problem;
pub use random::Random;
pub use record::{commit_recorded, forget, records_in, records_of, remember, write_recorded};
pub use seal::{seal, unseal};
pub use shard::{LISTING, REVISION, Shard, manifests};
pub use shown::shown;
pub use temporary::{Temporary, all_left_behind, sweep_left_behind};
pub use wait::Wait;

/// Name and version that manifests carry.
pub const PROGRAM: &str = concat!("bedtime ", env!("CARGO_PKG_VERSION"));
