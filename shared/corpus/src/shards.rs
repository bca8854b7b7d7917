//! Token shards: `tokens/<split>-00003-of-00016.arrow`, one row of ids per story.
//!
//! Arrow IPC files compressed with zstd, column `ids: list<uint16>` (uint32 above 65,536 vocabulary): story borders
//! stay, and pyarrow, polars and datasets open them. The schema's metadata says what a shard was made from, the
//! footer's what is in it, so that after a kill a finished shard is known without any manifest.
use std::fs::File;
use std::io::BufReader;
use std::ops::AddAssign;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Field, UInt16Type, UInt32Type};
use arrow::error::ArrowError;
use arrow::ipc::reader::FileReader;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use stage::{
    Action, Failure, FileRecord, Manifest, Ownership, PROGRAM, Result, Shard, TokenizerRecord,
};

use crate::bin::Dtype;
use crate::shard_form::{self, Wrong};

mod ids;
mod writer;

pub use ids::{Ids, Stories};
pub use writer::{BatchEncoder, EncodedBatch, ShardWriter};

/// The split that is trained on.
pub const TRAIN: &str = "train";
/// The split that is set aside.
pub const VALIDATION: &str = "validation";
const COLUMN: &str = "ids";
const ORIGIN: &str = "bedtime.origin";
const TOTALS: &str = "bedtime.totals";
const REMAKE: Action = Action::RunAgain("tokenize");
/// Key in the settings of a job: [`ShardOrigin::inputs`] of each split, of whose files a job reads only its own.
pub const RAW: &str = "raw_sha256";

/// `train-00003-of-00016.arrow`
pub fn file_name(split: &str, index: u32, of: u32) -> String {
    format!("{split}-{index:05}-of-{of:05}.arrow")
}

/// Split, index and number of shards of a name that [`file_name`] gives.
pub fn parse_file_name(name: &str) -> Option<(&'static str, u32, u32)> {
    let split = [TRAIN, VALIDATION].into_iter().find(|split| name.starts_with(split))?;
    let (index, of) =
        name.strip_prefix(split)?.strip_prefix('-')?.strip_suffix(".arrow")?.split_once("-of-")?;
    let (index, of) = (index.parse().ok()?, of.parse().ok()?);
    (file_name(split, index, of) == name).then_some((split, index, of))
}

/// What a shard was made from. Equal origins give equal bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardOrigin {
    /// The tokenizer that made the ids.
    pub tokenizer: TokenizerRecord,
    /// `train` or `validation`.
    pub split: String,
    /// Index of the file, from 0.
    pub shard: u32,
    /// Number of files of the split.
    pub of: u32,
    /// SHA-256 of the SHA-256 of the files of the split, in order.
    pub inputs: String,
    /// The column that was read.
    pub column: String,
}

impl ShardOrigin {
    /// Shard `shard` of `of`, made of these files of the split.
    pub fn new(
        tokenizer: &TokenizerRecord,
        split: &str,
        (shard, of): (u32, u32),
        files: &[FileRecord],
        column: &str,
    ) -> Self {
        ShardOrigin {
            inputs: Self::inputs(files),
            tokenizer: tokenizer.clone(),
            split: split.to_owned(),
            shard,
            of,
            column: column.to_owned(),
        }
    }

    /// SHA-256 of the SHA-256 of files, in order.
    pub fn inputs<'a>(files: impl IntoIterator<Item = &'a FileRecord>) -> String {
        let add = |hasher: Sha256, file: &FileRecord| hasher.chain_update(&file.sha256);
        hex::encode(files.into_iter().fold(Sha256::new(), add).finalize())
    }
}

/// What is in a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Rows.
    pub stories: u64,
    /// Without EOS: that comes in with packing.
    pub tokens: u64,
    /// Of the text, as UTF-8.
    pub bytes: u64,
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.stories += other.stories;
        self.tokens += other.tokens;
        self.bytes += other.bytes;
    }
}

fn list_type(dtype: Dtype) -> DataType {
    let item = if dtype == Dtype::U16 { DataType::UInt16 } else { DataType::UInt32 };
    DataType::List(Arc::new(Field::new_list_field(item, false)))
}

/// Reads one shard, batch by batch.
pub struct ShardReader {
    reader: FileReader<BufReader<File>>,
    path: PathBuf,
    origin: ShardOrigin,
    totals: Totals,
}

impl ShardReader {
    /// Reads what the shard says about itself.
    ///
    /// # Errors
    /// Exit code 3: missing, damaged, or no token shard.
    pub fn open(path: &Path) -> Result<Self> {
        if !path.is_file() {
            return Err(Failure::input(path, "not found", "a token shard", REMAKE));
        }
        let mut file = stage::open(path)?;
        shard_form::check(&mut file).map_err(|wrong| match wrong {
            Wrong::Io(error) => Failure::reading(path)(error),
            Wrong::Form(found) => damaged(path, found),
        })?;
        let reader = FileReader::try_new(BufReader::with_capacity(1 << 16, file), None)
            .map_err(|error| reading(path, error))?;
        let schema = reader.schema();
        let origin: Option<ShardOrigin> =
            schema.metadata().get(ORIGIN).and_then(|text| serde_json::from_str(text).ok());
        let totals: Option<Totals> =
            reader.custom_metadata().get(TOTALS).and_then(|text| serde_json::from_str(text).ok());
        let (Some(origin), Some(totals)) = (origin, totals) else {
            return Err(damaged(path, format_args!("no {ORIGIN} and {TOTALS} in its metadata")));
        };
        let expected = list_type(Dtype::of(origin.tokenizer.vocab_size));
        match schema.fields().first() {
            Some(field) if field.name() == COLUMN && *field.data_type() == expected => {}
            _ => return Err(damaged(path, format_args!("its columns are {:?}", schema.fields()))),
        }
        Ok(ShardReader { reader, path: path.to_owned(), origin, totals })
    }

    /// What it was made from.
    pub fn origin(&self) -> &ShardOrigin {
        &self.origin
    }

    /// What its metadata says is in it.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Calls `each` with the row (from 0) and the ids of every story in order. An error of `each` ends it.
    pub fn read(self, mut each: impl FnMut(u64, &[u32]) -> Result<()>) -> Result<()> {
        let mut ids = Vec::new();
        self.read_batches(|stories| {
            for (row, (start, end)) in (stories.row..).zip(stories.bounds()) {
                ids.clear();
                // Arrow has checked that the offsets rise and lie within the ids.
                match stories.ids {
                    Ids::U16(all) => {
                        let own = all.get(start..end).unwrap_or_default();
                        ids.extend(own.iter().map(|&id| u32::from(id)));
                    }
                    Ids::U32(all) => {
                        ids.extend_from_slice(all.get(start..end).unwrap_or_default());
                    }
                }
                each(row, &ids)?;
            }
            Ok(())
        })
    }

    /// Like [`read`](Self::read), many stories at a time, their ids as they lie in the file.
    pub fn read_batches(self, mut each: impl FnMut(Stories) -> Result<()>) -> Result<()> {
        let mut row = 0;
        for batch in self.reader {
            let batch = batch.map_err(|error| match error {
                error @ ArrowError::IoError(..) => reading(&self.path, error),
                error => damaged(&self.path, format_args!("{error} (from row {row})")),
            })?;
            let lists = batch.column(0).as_list::<i32>();
            let ids = match lists.values().data_type() {
                DataType::UInt16 => Ids::U16(lists.values().as_primitive::<UInt16Type>().values()),
                _ => Ids::U32(lists.values().as_primitive::<UInt32Type>().values()),
            };
            each(Stories { row, offsets: lists.value_offsets(), ids })?;
            row += lists.len() as u64;
        }
        if row != self.totals.stories {
            let found = format!("{row} stories where its footer says {}", self.totals.stories);
            return Err(damaged(&self.path, found));
        }
        Ok(())
    }
}

/// What is recorded of the shards in a folder: in its manifests of this version, whole or of jobs, and beside the
/// shards. The manifests of the jobs beside `job` name no shard of it.
pub fn recorded(folder: &Path, job: Option<Shard>) -> Vec<FileRecord> {
    let manifests = Shard::in_folder(folder)
        .into_iter()
        .map(Shard::manifest_name)
        .filter(|name| !job.is_some_and(|job| job.is_beside_manifest(name)))
        .chain(["manifest.json".to_owned()]);
    let outputs = manifests
        .filter_map(|name| Manifest::read(&folder.join(name)).ok())
        .filter(|manifest| manifest.program == PROGRAM)
        .flat_map(|manifest| manifest.outputs);
    outputs.chain(stage::records_in(folder)).collect()
}

/// A shard that was finished before: its file is as one of the records says, and was made from the same.
pub fn finished(
    path: &Path,
    origin: &ShardOrigin,
    recorded: &[FileRecord],
) -> Option<(FileRecord, Totals)> {
    let name = path.file_name()?.to_str()?;
    let bytes = path.metadata().ok()?.len();
    if !recorded.iter().any(|record| record.name == name && record.bytes == bytes) {
        return None;
    }
    let record = stage::hash_file(path).ok().filter(|record| recorded.contains(record))?;
    let reader = ShardReader::open(path).ok()?; // only now: Arrow does not expect damaged files
    (*reader.origin() == *origin).then_some((record, reader.totals))
}

/// Before a manifest is published: our shards that it does not name, and that [`tidy`] will remove, stay known as ours.
pub fn remember_old(owned: &Ownership, of: u32) -> Result<()> {
    owned.remember(|name| parse_file_name(name).is_some_and(|(_, _, other)| other != of))
}

/// Once `manifest` is published: removes those of our shards that are of another number of shards than `of`, and the
/// manifests of other runs: those of jobs; and after a `job` only those that say something else of its shards. A job
/// without a shard removes nothing, nor does an attempt after which another one has published.
pub fn tidy(
    folder: &Path,
    owned: &Ownership,
    manifest: &Manifest,
    of: u32,
    job: Option<Shard>,
) -> Result<()> {
    let own = job.map_or("manifest.json".to_owned(), Shard::manifest_name);
    if job.is_some() && manifest.outputs.is_empty() || !manifest.is_at(&folder.join(own)) {
        return Ok(());
    }
    let stale = |name: &str| {
        Manifest::read(&folder.join(name))
            .map_or(true, |old| !manifest.outputs.iter().all(|o| old.outputs.contains(o)))
    };
    let conflicts = |other: &Shard| {
        Manifest::read(&folder.join(other.manifest_name())).map_or(true, |old| {
            let differs = |output: &FileRecord| {
                old.outputs.iter().any(|other| other.name == output.name && other != output)
            };
            old.config != manifest.config || manifest.outputs.iter().any(differs)
        })
    };
    let jobs = Shard::in_folder(folder)
        .into_iter()
        .filter(|other| job.is_none_or(|job| job.of != other.of && conflicts(other)))
        .map(Shard::manifest_name);
    for name in
        jobs.chain((job.is_some() && stale("manifest.json")).then(|| "manifest.json".to_owned()))
    {
        stage::retire_manifest(&folder.join(&name), &manifest.outputs)?;
    }
    for entry in std::fs::read_dir(folder).map_err(Failure::reading(folder))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if parse_file_name(&name).is_some_and(|(_, _, other)| other != of) {
            owned.remove(&name)?;
        }
        // That of a shard of another job may be there before the shard has its name.
        let recorded = name.strip_prefix('.').and_then(|name| name.strip_suffix(".record"));
        let left = |(_, _, other)| job.is_none() || other != of;
        if recorded.is_some_and(|shard| {
            parse_file_name(shard).is_some_and(left) && !folder.join(shard).exists()
        }) {
            stage::remove_if_present(&entry.path())?;
        }
    }
    Ok(())
}

fn reading(path: &Path, error: ArrowError) -> Failure {
    match error {
        // Decompression fails with an I/O error, too, but with none of the system's.
        ArrowError::IoError(_, error) if error.raw_os_error().is_some() => {
            Failure::reading(path)(error)
        }
        error => damaged(path, error),
    }
}

fn damaged(path: &Path, found: impl std::fmt::Display) -> Failure {
    Failure::input(path, found, "an undamaged token shard", REMAKE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(vocab_size: u64) -> ShardOrigin {
        let tokenizer = TokenizerRecord { sha256: "0".repeat(64), vocab_size };
        ShardOrigin::new(&tokenizer, TRAIN, (0, 1), &[], "text")
    }

    fn write(path: &Path, vocab_size: u64, stories: &[Vec<u32>]) -> FileRecord {
        let mut writer = ShardWriter::create(path, &origin(vocab_size)).unwrap();
        stories.iter().for_each(|ids| writer.push(ids, 7).unwrap());
        writer.finish().unwrap().0
    }

    #[test]
    fn stories_come_back_in_both_dtypes_and_in_bounded_batches() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.arrow");
        let mut stories: Vec<Vec<u32>> =
            (0..2500).map(|i| (0..i % 7).map(|j| i * 20 + j).collect()).collect();
        stories.push((0..60_000).collect());
        for vocab_size in [65_536, 65_537] {
            let record = write(&path, vocab_size, &stories);
            assert_eq!(record, stage::hash_file(&path).unwrap());
            assert_eq!(record, write(&path, vocab_size, &stories), "the same stories, other bytes");
            let reader = ShardReader::open(&path).unwrap();
            assert_eq!(reader.origin(), &origin(vocab_size));
            assert_eq!((reader.totals().stories, reader.totals().bytes), (2501, 2501 * 7));
            assert!(reader.reader.num_batches() >= 3);
            let mut read = Vec::new();
            reader
                .read(|row, ids| {
                    assert_eq!(row, read.len() as u64);
                    read.push(ids.to_vec());
                    Ok(())
                })
                .unwrap();
            assert_eq!(read, stories);
        }
        write(&path, 500, &[]);
        ShardReader::open(&path).unwrap().read(|_, _| unreachable!("an empty shard")).unwrap();
    }

    #[test]
    fn a_finished_shard_is_known_by_its_record_and_only_while_it_is_as_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(file_name(TRAIN, 0, 1));
        let record = write(&path, 500, &[vec![1, 2, 3], vec![4]]);
        let known = |origin: &ShardOrigin| finished(&path, origin, &recorded(folder.path(), None));
        let totals = Totals { stories: 2, tokens: 4, bytes: 14 };
        assert_eq!(known(&origin(500)), Some((record.clone(), totals)));
        assert_eq!(known(&origin(501)), None);
        let good = std::fs::read(&path).unwrap();
        for offset in (0..good.len()).step_by(5) {
            let mut bad = good.clone();
            bad[offset] ^= 0x10;
            std::fs::write(&path, &bad).unwrap();
            assert_eq!(known(&origin(500)), None, "byte {offset}");
        }
        std::fs::write(&path, &good[..good.len() / 2]).unwrap();
        assert_eq!(known(&origin(500)), None);
        assert_eq!(ShardReader::open(&path).map(drop).unwrap_err().exit_code(), 3);
        std::fs::write(&path, &good).unwrap();
        let work = stage::Work {
            stage: "tokenize",
            manifest: folder.path().join("manifest.json"),
            inputs: vec![],
            config: 1.into(),
        };
        let manifest = work.manifest(vec![record.clone()]).unwrap();
        stage::forget(&path).unwrap();
        assert_eq!(known(&origin(500)), None, "its record is gone and no manifest is there");
        work.publish(&manifest).unwrap();
        assert_eq!(known(&origin(500)), Some((record, totals)));
    }

    #[test]
    fn names_tell_split_index_and_number() {
        assert_eq!(parse_file_name("validation-00003-of-00016.arrow"), Some((VALIDATION, 3, 16)));
        for other in [
            "train-3-of-16.arrow",
            "train-00003-of-00016.parquet",
            "test-00003-of-00016.arrow",
            "train-00003.arrow",
        ] {
            assert_eq!(parse_file_name(other), None, "{other}");
        }
    }
}
