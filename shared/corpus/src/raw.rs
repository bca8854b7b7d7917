//! The folder `raw/`: names of its files, what an interrupted fetch left that can be kept, and what may go in the end.
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stage::{
    AtomicFile, Failure, FileRecord, Log, Manifest, Ownership, REVISION, Result, Shard, hash_file,
    remove_if_present, retire_manifest, sweep_left_behind,
};

use crate::remote::hub::Commit;
use crate::row_groups::RowGroup;
use crate::text_files::Mended;

/// The split that is trained on.
pub const TRAIN: &str = "train";
/// The split that is set aside.
pub const VALIDATION: &str = "validation";
/// Fact of a manifest: the branch that was resolved to its [`REVISION`].
pub const BRANCH: &str = "branch";
/// Records of the files made so far, gone once the manifest has them all.
const PARTS: &str = ".parts";

/// `<split>-00003-of-00016.parquet`
pub fn file_name(split: &str, index: usize, of: usize) -> String {
    format!("{split}-{index:05}-of-{of:05}.parquet")
}

/// What has been made of one part of the source, remembered until all parts are.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Made {
    /// Its files.
    pub outputs: Vec<FileRecord>,
    /// What of it is trained on.
    pub train: Count,
    /// What of it is set aside.
    pub validation: Count,
    /// Names of outputs that hold the source's bytes.
    #[serde(default)]
    pub copies: Vec<String>,
    /// What was mended on the way.
    #[serde(default)]
    pub mended: Mended,
    /// Of each output.
    #[serde(default)]
    pub row_groups: BTreeMap<String, Vec<RowGroup>>,
    /// The smallest and the largest hash of a story, where a share of the stories goes to validation.
    #[serde(default)]
    pub hashes: Option<(u64, u64)>,
}

impl Made {
    /// Joins two parts.
    pub fn add(&mut self, other: Made) {
        self.outputs.extend(other.outputs);
        self.train.add(other.train);
        self.validation.add(other.validation);
        self.copies.extend(other.copies);
        self.mended.add(other.mended);
        self.row_groups.extend(other.row_groups);
        let both = self.hashes.into_iter().chain(other.hashes);
        self.hashes = both.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
    }
}

/// Stories, and bytes of their text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Whole stories.
    pub stories: u64,
    /// UTF-8 bytes of their text.
    pub bytes: u64,
}

impl Count {
    /// Adds both figures.
    pub fn add(&mut self, other: Count) {
        self.stories += other.stories;
        self.bytes += other.bytes;
    }
}

/// Sealed on disk: its counts go into the manifest.
#[derive(Serialize, Deserialize)]
struct Record {
    /// Settings and source of the part: another value makes the record worthless.
    of: Value,
    made: Made,
}

impl Record {
    fn read(path: &Path) -> Option<Self> {
        // Once more: whose it is must not hang on a single read that fails.
        let text = stage::read(path).or_else(|_| stage::read(path)).ok()?;
        serde_json::from_value(stage::unseal(&text).ok()?).ok()
    }
}

/// `raw/`: its files, and the records of those made so far.
pub struct RawFolder {
    path: PathBuf,
    shard: Option<Shard>,
    /// As the folder was before anything in it was changed.
    owned: Ownership,
    unpublished: Once,
}

impl RawFolder {
    /// With `force` what is in the way is set aside.
    pub fn new(path: PathBuf, shard: Option<Shard>, force: bool, log: Log) -> Self {
        let parts = fs::read_dir(path.join(PARTS)).into_iter().flatten().flatten();
        let parts = parts.filter_map(|entry| Record::read(&entry.path()));
        let outputs = parts.flat_map(|record| record.made.outputs);
        let owned = Ownership::of(&path, force, log).with(outputs);
        RawFolder { path, shard, owned, unpublished: Once::new() }
    }

    /// Before a file of this run gets the name.
    ///
    /// # Errors
    /// Exit code 3: something that is not ours has it.
    pub fn claim(&self, output: &str) -> Result<()> {
        self.owned.claim(output)
    }

    /// The same for the manifest.
    pub fn claim_manifest(&self) -> Result<()> {
        let manifest = self.manifest();
        self.owned.claim_manifest(&manifest.file_name().unwrap_or_default().to_string_lossy())
    }

    /// Which share of the source is made here, where it is not all.
    pub fn shard(&self) -> Option<Shard> {
        self.shard
    }

    /// Whether only a share of the source is made here.
    pub fn is_shard(&self) -> bool {
        self.shard.is_some()
    }

    /// The commit that another job of the same set has fetched from with these settings.
    pub fn commit_of_others(&self, config: &Value) -> Option<Commit> {
        let own = self.shard?;
        let others = Shard::in_folder(&self.path).into_iter();
        let others = others.filter(|other| other.of == own.of && other.index != own.index);
        let manifests =
            others.filter_map(|other| Manifest::read(&self.path(&other.manifest_name())).ok());
        manifests.filter(|manifest| manifest.config == *config).find_map(|manifest| {
            let fact = |name: &str| manifest.facts.get(name)?.as_str().map(str::to_owned);
            Some(Commit { branch: fact(BRANCH)?, commit: fact(REVISION)? })
        })
    }

    /// Where a file of this name is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Where the manifest is: that of the shard, where this is one.
    pub fn manifest(&self) -> PathBuf {
        self.path(&match self.shard {
            None => "manifest.json".to_owned(),
            Some(shard) => shard.manifest_name(),
        })
    }

    /// Where the bytes of a source file arrive that is not kept as it is.
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.path.join(PARTS).join(format!("{name}.source"))
    }

    /// Apart from other shards' at work in the same folder.
    pub fn scratch_of_shard(&self, index: usize) -> PathBuf {
        self.scratch(&format!("limit-{index:05}-{}", self.shard.map_or(0, |shard| shard.index)))
    }

    fn record_path(&self, output: &str) -> PathBuf {
        self.path.join(PARTS).join(format!("{output}.json"))
    }

    /// What an earlier, unfinished run made of the same part, if it is still there with the same bytes.
    pub fn kept(&self, output: &str, of: &Value) -> Option<Made> {
        let record = Record::read(&self.record_path(output))?;
        let whole =
            |file: &FileRecord| hash_file(&self.path(&file.name)).is_ok_and(|found| found == *file);
        (record.of == *of && record.made.outputs.iter().all(whole)).then_some(record.made)
    }

    /// Records what was made of a part, so that a later run keeps it.
    pub fn remember(&self, output: &str, of: &Value, made: &Made) -> Result<()> {
        let record = serde_json::to_value(Record { of: of.clone(), made: made.clone() });
        let text = stage::seal(record.map_err(|error| Failure::usage(error.to_string()))?);
        AtomicFile::write(&self.record_path(output), text.as_bytes()).map(drop)
    }

    /// Before the first new file gets its name: manifests that would then describe files that are no longer theirs go.
    pub fn unpublish(&self) -> Result<()> {
        let mut result = Ok(());
        self.unpublished.call_once(|| result = self.remove_manifests());
        result
    }

    /// All but those of the other shards.
    fn remove_manifests(&self) -> Result<()> {
        for name in self.names() {
            let shard = Shard::of_manifest_name(&name);
            let sibling = |own: Shard| {
                shard.is_some_and(|other| other.of == own.of && other.index != own.index)
            };
            if (name == "manifest.json" || shard.is_some()) && !self.shard.is_some_and(sibling) {
                retire_manifest(&self.path(&name), &[])?;
            }
        }
        Ok(())
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.path).into_iter().flatten();
        entries
            .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    /// What a kill between publishing and tidying left. The manifest is up to date, so nothing of it is needed; a folder
    /// that cannot be written keeps it. What others make is theirs to tidy: which files these are, only a plan knows.
    pub fn tidy_up_to_date(&self, manifest: &Manifest) {
        if self.is_shard() {
            return;
        }
        let files: Vec<(&str, usize)> = manifest
            .outputs
            .iter()
            .filter_map(|output| parse_file_name(&output.name))
            .map(|(split, _, of)| (split, of))
            .collect();
        let _ = self.tidy(manifest, &[], &files);
    }

    /// After the manifest is published: files of earlier fetches and the memory of this one go. A shard leaves alone
    /// what the other shards may have made, and one without a file leaves everything. It keeps the memory of its own files:
    /// engines remove its manifest to have it run again, and what is whole is then still known. `replaced` is what the
    /// manifest before it named. Nothing is removed by an attempt after which another one has published.
    pub fn tidy(
        &self,
        manifest: &Manifest,
        replaced: &[FileRecord],
        files: &[(&str, usize)],
    ) -> Result<()> {
        let empty = self.is_shard() && manifest.outputs.is_empty();
        if empty || !manifest.is_at(&self.manifest()) {
            return Ok(());
        }
        let owned = self.owned.clone().with(replaced.iter().cloned());
        for name in self.names() {
            let Some((split, _, of)) = parse_file_name(&name) else { continue };
            let ours = manifest.outputs.iter().any(|file| file.name == name);
            let others = self.shard.is_some() && files.contains(&(split, of));
            if ours && !self.is_shard() {
                stage::forget(&self.path(&name))?;
            } else if !ours && !others {
                owned.remove(&name)?;
            }
        }
        let parts = self.path.join(PARTS);
        for entry in fs::read_dir(&parts).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let output = name.strip_suffix(".json").and_then(parse_file_name);
            let output = output.filter(|_| Record::read(&entry.path()).is_some());
            if output
                .is_some_and(|(split, _, of)| self.shard.is_none() || !files.contains(&(split, of)))
            {
                remove_if_present(&entry.path())?;
            }
        }
        if self.shard.is_none() {
            sweep_left_behind(&self.path);
            sweep_left_behind(&parts);
        }
        let _ = fs::remove_dir(&parts); // another shard may still need it
        Ok(())
    }
}

fn parse_file_name(name: &str) -> Option<(&'static str, usize, usize)> {
    let split = [TRAIN, VALIDATION].into_iter().find(|split| name.starts_with(split))?;
    let (index, of) = name
        .strip_prefix(split)?
        .strip_prefix('-')?
        .strip_suffix(".parquet")?
        .split_once("-of-")?;
    (index.len() == 5 && of.len() == 5).then_some((split, index.parse().ok()?, of.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use stage::LogFormat;

    use super::*;

    #[test]
    fn shards_and_file_names_are_read_back() {
        assert_eq!("2/8".parse(), Ok(Shard { index: 2, of: 8 }));
        for wrong in ["0/2", "3/2", "1", "a/b"] {
            assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
        }
        assert_eq!(parse_file_name(&file_name(TRAIN, 3, 16)), Some((TRAIN, 3, 16)));
        assert_eq!(parse_file_name("train-notes.parquet"), None);
    }

    #[test]
    fn a_new_fetch_leaves_what_it_did_not_make_itself_alone() {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::new("fetch-parquet", LogFormat::Text);
        let at = |name: &str| folder.path().join(name);
        for name in ["train-00001-of-00002.parquet", "train-00000-of-00008.parquet", "mine.parquet"]
        {
            fs::write(at(name), "x").unwrap();
        }
        let made = |name: &str, output: &str| {
            let output = stage::write_recorded(&at(output), b"x").unwrap();
            let work = stage::Work {
                stage: "fetch-parquet",
                manifest: at(name),
                inputs: vec![],
                config: Value::Null,
            };
            work.manifest(vec![output]).unwrap().write(&at(name)).unwrap();
        };
        made("manifest.json", "train-00000-of-00009.parquet");
        made("manifest-2-of-2.json", "validation-00001-of-00002.parquet");
        let raw =
            RawFolder::new(folder.path().to_owned(), Some(Shard { index: 1, of: 2 }), false, log);
        raw.unpublish().unwrap();
        let work = stage::Work {
            stage: "fetch-parquet",
            manifest: raw.manifest(),
            inputs: vec![],
            config: Value::Null,
        };
        let own = stage::write_recorded(&at("train-00000-of-00002.parquet"), b"x").unwrap();
        let manifest = work.manifest(vec![own]).unwrap();
        manifest.write(&raw.manifest()).unwrap();
        raw.tidy(&manifest, &[], &[(TRAIN, 2), (VALIDATION, 2)]).unwrap();
        let mut names = raw.names();
        names.retain(|name| !name.starts_with('.'));
        names.sort();
        let kept = [
            "manifest-1-of-2.json",
            "manifest-2-of-2.json",
            "mine.parquet",
            "train-00000-of-00002.parquet",
            "train-00000-of-00008.parquet",
            "train-00001-of-00002.parquet",
            "validation-00001-of-00002.parquet",
        ];
        assert_eq!(names, kept);
    }
}
