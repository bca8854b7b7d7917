//! The folder of token shards, checked before anything is packed: complete, from one tokenizer and one fetch.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use corpus::shards::{self, RAW, ShardOrigin, ShardReader, TRAIN, VALIDATION};
use corpus::tokenizer::Tokenizer;
use serde_json::Value;
use stage::{Failure, FileRecord, Manifest};

/// How to fix shards that do not fit.
pub(crate) const REMAKE: &str = "run `make tokenize FORCE=1`, then `make pack`";

/// OUT/tokens as its manifests describe it: all shards, and no others.
pub(crate) struct Tokens {
    pub(crate) folder: PathBuf,
    /// Each with its path.
    pub(crate) manifests: Vec<(PathBuf, Manifest)>,
    /// In the order of the stories.
    pub(crate) shards: Vec<FileRecord>,
    /// Number of shards of each split.
    files: u32,
    /// SHA-256 of the raw files of each split.
    raw: BTreeMap<&'static str, String>,
    column: String,
}

impl Tokens {
    /// # Errors
    /// Exit code 3: a part or shard is missing, parts differ, or no manifest names a shard.
    pub(crate) fn open(folder: &Path) -> stage::Result<Self> {
        let manifests = stage::manifests(folder, "tokenize", "tokenize")?;
        let mut shards: Vec<FileRecord> =
            manifests.iter().flat_map(|(_, manifest)| manifest.outputs.clone()).collect();
        shards.sort_by(|a, b| a.name.cmp(&b.name)); // train before validation, each by index
        let Some((path, first)) = manifests.first() else {
            return Err(Failure::input(folder, "no manifest", "at least one", REMAKE));
        };
        let setting = |key: &str| first.config.pointer(key);
        let files = setting("/tokenize/shards").and_then(Value::as_u64).unwrap_or_default() as u32;
        let column =
            setting("/fetch/column").and_then(Value::as_str).unwrap_or_default().to_owned();
        let raw = [TRAIN, VALIDATION].map(|split| (split, raw_of(first, split))).into();
        for split in [TRAIN, VALIDATION] {
            if split == VALIDATION && !shards.iter().any(|shard| shard.name.starts_with(split)) {
                continue;
            }
            for index in 0..files.max(1) {
                let name = shards::file_name(split, index, files);
                if !shards.iter().any(|shard| shard.name == name) {
                    return Err(Failure::input(
                        path,
                        format_args!("no shard {name} in it"),
                        format_args!("all {files} shards"),
                        REMAKE,
                    ));
                }
                if !folder.join(&name).is_file() {
                    return Err(Failure::input(
                        &folder.join(&name),
                        "not found",
                        format_args!("all {files} {split} shards"),
                        REMAKE,
                    ));
                }
            }
        }
        for entry in std::fs::read_dir(folder).map_err(Failure::reading(folder))?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(".arrow")
                && !name.starts_with('.')
                && !shards.iter().any(|shard| shard.name == name)
            {
                let remedy = "move it away, then run `make pack` again";
                return Err(Failure::input(
                    &entry.path(),
                    "a foreign shard: no manifest here names it",
                    "only the shards of one run",
                    remedy,
                ));
            }
        }
        Ok(Tokens { folder: folder.to_owned(), manifests, shards, files, raw, column })
    }

    pub(crate) fn check_tokenizer(&self, tokenizer: &Tokenizer) -> stage::Result<()> {
        let (sha256, size) = (tokenizer.sha256(), tokenizer.vocab_size());
        for (path, manifest) in &self.manifests {
            if manifest.tokenizer.as_ref() != Some(tokenizer.record()) {
                let found = match &manifest.tokenizer {
                    Some(other) => {
                        format!(
                            "its ids come from a tokenizer with SHA-256 {} and a vocabulary of {}",
                            other.sha256, other.vocab_size
                        )
                    }
                    None => "it names no tokenizer".to_owned(),
                };
                let expected = format!(
                    "those of {}: SHA-256 {sha256}, a vocabulary of {size}",
                    tokenizer.path().display()
                );
                return Err(Failure::input(
                    path,
                    found,
                    expected,
                    format_args!("put back the tokenizer it was made with, or {REMAKE}"),
                ));
            }
        }
        Ok(())
    }

    /// `found` are the records of the shards as they are now, in order.
    pub(crate) fn check_content(&self, found: &[FileRecord]) -> stage::Result<()> {
        for (expected, found) in self.shards.iter().zip(found) {
            if expected.sha256 != found.sha256 {
                let words = format!(
                    "foreign or damaged: its {} bytes have SHA-256 {}",
                    found.bytes, found.sha256
                );
                let expected = format!(
                    "{} bytes with SHA-256 {}, as the manifest beside it says",
                    expected.bytes, expected.sha256
                );
                return Err(Failure::input(
                    &self.folder.join(found.name.trim_start_matches("tokens/")),
                    words,
                    expected,
                    REMAKE,
                ));
            }
        }
        Ok(())
    }

    /// Opens a shard and checks that it was made with this tokenizer, from the part of the stories that its name and the
    /// manifests say. So no part is missing and none is there twice.
    ///
    /// # Errors
    /// Exit code 3: another origin.
    pub(crate) fn open_shard(
        &self,
        path: &Path,
        tokenizer: &Tokenizer,
    ) -> stage::Result<ShardReader> {
        let reader = ShardReader::open(path)?;
        let origin = reader.origin();
        let wrong = |found: String, expected: String| Failure::input(path, found, expected, REMAKE);
        if origin.tokenizer != *tokenizer.record() {
            let found = format!("made with the tokenizer {}", origin.tokenizer.sha256);
            return Err(wrong(found, format!("one tokenizer: {}", tokenizer.sha256())));
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let part =
            |of: &ShardOrigin| format!("shard {} of {} of {}", of.shard + 1, of.of, of.split);
        if shards::file_name(&origin.split, origin.shard, origin.of) != name
            || origin.of != self.files
        {
            let expected = format!("the part that its name says, of {} shards", self.files);
            return Err(wrong(format!("it holds {}", part(origin)), expected));
        }
        if origin.column != self.column {
            let found = format!("made from the column {:?}", origin.column);
            return Err(wrong(found, format!("the column {:?} for all shards", self.column)));
        }
        let raw = self.raw.get(origin.split.as_str()).map_or("", String::as_str);
        if origin.inputs != raw {
            let found = format!(
                "made from other stories: its raw files have the SHA-256 {}",
                origin.inputs
            );
            return Err(wrong(found, format!("{raw}, as the manifest beside it says")));
        }
        Ok(reader)
    }
}

/// [`ShardOrigin::inputs`] of a split: of all its files, although a job reads only its share.
fn raw_of(manifest: &Manifest, split: &str) -> String {
    match manifest.config[RAW][split].as_str() {
        Some(sha256) => sha256.to_owned(),
        None => {
            let start = format!("raw/{split}-");
            ShardOrigin::inputs(
                manifest.inputs.iter().filter(|input| input.name.starts_with(&start)),
            )
        }
    }
}
