//! What fetch-parquet has left in `raw/`: the files that its manifests name, and what these say of them.
use std::path::{Path, PathBuf};

use serde::Deserialize;
use stage::{Action, Failure, FileRecord, Manifest, Result};

use crate::row_groups::{ROW_GROUPS, RowGroup};

const MAKE_FETCH: Action = Action::Run("fetch");
const FETCH_AGAIN: Action = Action::RunForced("fetch");

/// `raw/` as `manifest.json` or a complete set of `manifest-i-of-n.json` describes it. "train" and "validation" are its splits.
pub struct Fetched {
    raw: PathBuf,
    manifests: Vec<Manifest>,
}

impl Fetched {
    /// Reads the manifests.
    ///
    /// # Errors
    /// Exit code 3: those of [`stage::manifests`].
    pub fn open(raw: &Path) -> Result<Self> {
        let manifests = stage::manifests(raw, "fetch-parquet", "fetch")?;
        let manifests = manifests.into_iter().map(|(_, manifest)| manifest).collect();
        Ok(Fetched { raw: raw.to_owned(), manifests })
    }

    /// Whether there are files of a split.
    pub fn has(&self, split: &str) -> bool {
        self.outputs().any(|file| is_of(split, file))
    }

    /// `<split>-*.parquet` in order; they are there with the length that the manifests say.
    ///
    /// # Errors
    /// Exit code 3: none, one missing, one of another length.
    pub fn files(&self, split: &str) -> Result<Vec<FileRecord>> {
        let mut files: Vec<FileRecord> =
            self.outputs().filter(|file| is_of(split, file)).cloned().collect();
        files.sort_by(|a, b| a.name.cmp(&b.name));
        if files.is_empty() {
            return Err(Failure::input(
                &self.raw,
                format_args!("its manifest names no {split} stories"),
                format_args!("{split}-*.parquet"),
                MAKE_FETCH,
            ));
        }
        for (i, file) in files.iter().enumerate() {
            let expected = format!("{split}-{i:05}-of-{:05}.parquet", files.len());
            if file.name != expected {
                return Err(Failure::input(
                    &self.raw,
                    format_args!("its manifests name {}", file.name),
                    expected,
                    FETCH_AGAIN,
                ));
            }
            let path = self.path(file);
            match path.metadata() {
                Ok(metadata) if metadata.is_file() && metadata.len() == file.bytes => {}
                Ok(metadata) if metadata.is_file() => {
                    return Err(Failure::input(
                        &path,
                        format_args!("{} bytes", metadata.len()),
                        format_args!("{}, as the manifest beside it says", file.bytes),
                        FETCH_AGAIN,
                    ));
                }
                _ => {
                    return Err(Failure::input(
                        &path,
                        "not found",
                        "the file that the manifest beside it names",
                        MAKE_FETCH,
                    ));
                }
            }
        }
        Ok(files)
    }

    /// Where a file of [`files`](Self::files) is.
    pub fn path(&self, file: &FileRecord) -> PathBuf {
        self.raw.join(&file.name)
    }

    /// Compares what files hash to (named by their file name) with what the manifests say.
    ///
    /// # Errors
    /// Exit code 3: another content.
    pub fn check(&self, records: &[FileRecord]) -> Result<()> {
        match records.iter().find(|record| !self.outputs().any(|output| output == *record)) {
            None => Ok(()),
            Some(record) => Err(Failure::input(
                &self.path(record),
                format_args!("its {} bytes hash to {}", record.bytes, record.sha256),
                "the content that the manifest beside it names",
                FETCH_AGAIN,
            )),
        }
    }

    /// The row groups of a file, where the manifest says them.
    pub fn row_groups(&self, file: &FileRecord) -> Option<Vec<RowGroup>> {
        let facts = self.manifests.iter().filter_map(|manifest| manifest.facts.get(ROW_GROUPS));
        let mut all = facts.filter_map(|files| files.get(&file.name));
        all.find_map(|row_groups| Vec::deserialize(row_groups).ok())
    }

    /// Whether a grammar has made the stories up.
    pub fn is_synthetic(&self) -> bool {
        self.manifests.iter().any(Manifest::is_synthetic)
    }

    fn outputs(&self) -> impl Iterator<Item = &FileRecord> {
        self.manifests.iter().flat_map(|manifest| &manifest.outputs)
    }
}

fn is_of(split: &str, file: &FileRecord) -> bool {
    file.name.strip_prefix(split).is_some_and(|rest| rest.starts_with('-'))
}

/// The paths of [`Fetched::files`].
pub fn raw_files(raw: &Path, split: &str) -> Result<Vec<PathBuf>> {
    let fetched = Fetched::open(raw)?;
    Ok(fetched.files(split)?.iter().map(|file| fetched.path(file)).collect())
}
