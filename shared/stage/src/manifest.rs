//! Manifests: what a result was made from, so that running a stage again does nothing when nothing changed.
//!
//! The manifest holds content hashes only: no times, no absolute paths, so its own bytes repeat. Lengths and
//! modification times live in `.NAME.stamp` beside it, which lets the usual check skip the hashing.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::known::{self, Touch};
use crate::record::{forget, remember};
use crate::seal::{SEAL, seal, unseal};
use crate::{AtomicFile, Failure, FileRecord, PROGRAM, Result, hash_file, remove_if_present};

/// Raised when the meaning of a manifest or of the files it describes changes. Format 1 had no seal; the seal of format 2
/// covered another form of the text. Both are still read.
pub(crate) const FORMAT: u32 = 3;

/// What a stage made, and from what. It is written last and makes its folder complete.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the format of manifests.
    pub format: u32,
    /// The program that made it.
    pub stage: String,
    /// Its version.
    pub program: String,
    /// What it was made from.
    pub inputs: Vec<FileRecord>,
    /// The settings that decide the result, and the SHA-256 of their JSON text.
    pub config: Value,
    /// SHA-256 of the JSON text of `config`.
    pub config_sha256: String,
    /// The output files that this manifest completes.
    pub outputs: Vec<FileRecord>,
    /// Sums over the outputs: stories, tokens, bytes, ...
    pub counts: BTreeMap<String, u64>,
    /// Hash and vocabulary of the tokenizer that made the ids, where there are ids.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<TokenizerRecord>,
    /// What else a reader of this kind of output needs to know.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, Value>,
}

/// What manifests say about the tokenizer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenizerRecord {
    /// SHA-256 of tokenizer.json.
    pub sha256: String,
    /// Tokens of its vocabulary.
    pub vocab_size: u64,
}

impl Manifest {
    /// Before the manifest at `path` goes: those of its outputs that `which` takes in, and that are there, stay known as
    /// ours. Gives them.
    pub(crate) fn remember_outputs(
        path: &Path,
        which: impl Fn(&FileRecord) -> bool,
    ) -> Result<Vec<FileRecord>> {
        let mut outputs = Manifest::read(path).map_or(Vec::new(), |old| old.outputs);
        let file = |output: &FileRecord| path.with_file_name(&output.name);
        outputs.retain(|output| which(output) && file(output).exists());
        outputs.iter().try_for_each(|output| remember(&file(output), output))?;
        Ok(outputs)
    }

    /// Whether it is the one at `path`, and no other attempt has published since.
    pub fn is_at(&self, path: &Path) -> bool {
        Manifest::read(path).is_ok_and(|there| there == *self)
    }

    /// Reads a manifest of any format so far.
    ///
    /// # Errors
    /// Exit code 3 where it is damaged, of another program or of a later format.
    pub fn read(path: &Path) -> Result<Self> {
        let text = crate::read(path)?;
        let remedy = "run the stage that makes it again with --force";
        let foreign = |error: serde_json::Error| {
            Failure::input(path, error, "a manifest of this program", remedy)
        };
        let value: Value = serde_json::from_slice(&text).map_err(foreign)?;
        let format = value.get("format").and_then(Value::as_u64).unwrap_or_default();
        if !(1..=u64::from(FORMAT)).contains(&format) {
            return Err(Failure::input(
                path,
                format_args!("manifest format {format}"),
                format_args!("format {FORMAT}"),
                remedy,
            ));
        }
        let value = match value.get(SEAL).is_none() && format == 1 {
            true => value,
            false => unseal(&text)
                .map_err(|found| Failure::input(path, found, "an undamaged manifest", remedy))?,
        };
        serde_json::from_value(value).map_err(foreign)
    }

    /// Writes it under its seal.
    pub fn write(&self, path: &Path) -> Result<FileRecord> {
        self.file(path)?.commit()
    }

    /// Written, but not yet under its name.
    fn file(&self, path: &Path) -> Result<AtomicFile> {
        let value = serde_json::to_value(self)
            .map_err(|error| Failure::usage(format_args!("manifest: {error}")))?;
        let mut file = AtomicFile::create(path)?;
        file.put(seal(value).as_bytes())?;
        Ok(file)
    }

    /// Whether the stories behind it are synthetic. The label is passed from stage to stage.
    pub fn is_synthetic(&self) -> bool {
        self.facts.get("synthetic") == Some(&Value::Bool(true))
    }

    /// Labels the stories as synthetic.
    pub fn label_synthetic(&mut self) {
        self.facts.insert("synthetic".to_owned(), true.into());
    }

    /// One of the counts; 0 if it is missing.
    pub fn count(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or(0)
    }
}

fn config_hash(config: &Value) -> String {
    hex::encode(Sha256::digest(config.to_string()))
}

/// One piece of work: named inputs and settings in, one manifest and its outputs out.
pub struct Work {
    /// The program's name.
    pub stage: &'static str,
    /// Where the manifest is, or will be.
    pub manifest: PathBuf,
    /// Name in the manifest, and where the file is.
    pub inputs: Vec<(String, PathBuf)>,
    /// The settings that decide the result.
    pub config: Value,
}

/// Whether there is anything to do.
pub enum Freshness {
    /// Made from the same inputs and settings, and unchanged since.
    UpToDate(Box<Manifest>),
    /// Has to be made, with the reason.
    Stale(String),
}

/// A file as it was when its content was known to match the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamped {
    name: String,
    bytes: u64,
    modified_ns: i128,
    sha256: String,
}

impl Stamped {
    fn new(kind: &str, record: &FileRecord, touch: Touch) -> Self {
        let Touch { bytes, modified_ns, .. } = touch;
        let name = format!("{kind} {}", record.name);
        Stamped { name, bytes, modified_ns, sha256: record.sha256.clone() }
    }

    pub(crate) fn is_output(&self, record: &FileRecord) -> bool {
        self.name.strip_prefix("output ") == Some(&record.name) && self.sha256 == record.sha256
    }

    /// Whether it is untouched since.
    pub(crate) fn fits(&self, path: &Path) -> bool {
        Touch::of(path)
            .is_some_and(|touch| (touch.bytes, touch.modified_ns) == (self.bytes, self.modified_ns))
    }
}

pub(crate) fn stamp_path(manifest: &Path) -> PathBuf {
    let name = manifest.file_name().unwrap_or_default().to_string_lossy();
    manifest.with_file_name(format!(".{name}.stamp"))
}

/// The content of the stamp beside a manifest.
pub(crate) fn stamp_of(manifest: &Path) -> Vec<Stamped> {
    let stamp = crate::read(&stamp_path(manifest)).ok();
    stamp.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}

impl Work {
    /// Checks whether the result is there and up to date. A missing input is an error that names `remedy`.
    pub fn state(&self, force: bool) -> Result<Freshness> {
        if force {
            return Ok(Freshness::Stale("--force".into()));
        }
        if !self.manifest.exists() {
            return Ok(Freshness::Stale("not made yet".into()));
        }
        let manifest = match Manifest::read(&self.manifest) {
            Ok(manifest) => manifest,
            Err(_) => {
                return Ok(Freshness::Stale(
                    "its manifest is damaged or from another version".into(),
                ));
            }
        };
        if manifest.stage != self.stage {
            return Ok(Freshness::Stale(format!("its manifest was written by {}", manifest.stage)));
        }
        // Parts of two versions are never merged, so a part of another version is made again.
        if manifest.program != PROGRAM && self.is_part() {
            return Ok(Freshness::Stale(format!("it was made by {}", manifest.program)));
        }
        if manifest.config != self.config {
            return Ok(Freshness::Stale(format!(
                "settings changed: {}",
                changed_keys(&manifest.config, &self.config)
            )));
        }
        if !manifest.inputs.iter().map(|r| &r.name).eq(self.inputs.iter().map(|(name, _)| name)) {
            return Ok(Freshness::Stale("its inputs are other files".into()));
        }
        let stamp = stamp_of(&self.manifest);
        let mut rehashed = false;
        for (record, path, kind) in self.files(&manifest) {
            let Some(touch) = Touch::of(&path) else {
                return Ok(Freshness::Stale(format!("{kind} {} is missing", record.name)));
            };
            if touch.bytes != record.bytes {
                return Ok(Freshness::Stale(format!("{kind} {} has another length", record.name)));
            }
            if !stamp.contains(&Stamped::new(kind, record, touch)) {
                rehashed = true;
                if hash_file(&path)?.sha256 != record.sha256 {
                    return Ok(Freshness::Stale(format!(
                        "{kind} {} has another content",
                        record.name
                    )));
                }
            }
        }
        if rehashed {
            let _ = self.write_stamp(&manifest); // it only saves hashing: a full or read-only disk may go without
        }
        self.forget_outputs(&manifest);
        Ok(Freshness::UpToDate(Box::new(manifest)))
    }

    /// Marks the result as up to date for engines that go by times, too. In a read-only folder the times stay.
    pub(crate) fn touch(&self) {
        let manifest = std::fs::File::options().write(true).open(&self.manifest);
        let _ = manifest.and_then(|file| file.set_modified(SystemTime::now()));
    }

    /// Hashes the inputs, for a manifest to be written.
    pub fn input_records(&self) -> Result<Vec<FileRecord>> {
        self.inputs
            .par_iter()
            .map(|(name, path)| Ok(FileRecord { name: name.clone(), ..hash_file(path)? }))
            .collect()
    }

    /// A manifest of this work, without counts and facts yet.
    pub fn manifest(&self, outputs: Vec<FileRecord>) -> Result<Manifest> {
        Ok(self.manifest_of(self.input_records()?, outputs))
    }

    /// Like [`manifest`](Self::manifest), for a stage that already has the records of its inputs.
    pub fn manifest_of(&self, inputs: Vec<FileRecord>, outputs: Vec<FileRecord>) -> Manifest {
        Manifest {
            format: FORMAT,
            stage: self.stage.to_owned(),
            program: PROGRAM.to_owned(),
            inputs,
            config: self.config.clone(),
            config_sha256: config_hash(&self.config),
            outputs,
            counts: BTreeMap::new(),
            tokenizer: None,
            facts: BTreeMap::new(),
        }
    }

    /// Writes the manifest, which completes the result, and its stamp. Gives the files that the one before it named and it
    /// does not: they are ours, and left over.
    ///
    /// # Errors
    /// Exit code 4: another attempt, which no lock excluded, has replaced an output. If that has
    /// published, its manifest stays.
    pub fn publish(&self, manifest: &Manifest) -> Result<Vec<FileRecord>> {
        let folder = self.manifest.parent().unwrap_or(Path::new(""));
        let check_all = || {
            let outputs = manifest.outputs.par_iter();
            outputs.try_for_each(|output| check(&folder.join(&output.name), output))
        };
        check_all()?;
        let (mut before, mut replaced) = (None, Vec::new());
        let written = manifest.file(&self.manifest)?.commit_with(|_| {
            check_all()?;
            (before, replaced) = self.take_over(manifest)?;
            Ok(())
        })?;
        // This attempt may have hung in between while another one published its own result.
        if let Err(changed) = check_all() {
            if hash_file(&self.manifest).is_ok_and(|now| now.sha256 == written.sha256) {
                match before {
                    Some(before) => AtomicFile::write(&self.manifest, &before).map(drop)?,
                    None => remove_if_present(&self.manifest)?,
                }
            }
            return Err(changed);
        }
        self.forget_outputs(manifest);
        self.write_stamp(manifest)?;
        Ok(replaced)
    }

    /// Just before the manifest gets its name: what has that name, and those of its files that stay and that the new one
    /// does not name. Another attempt may have published since this one began: whose its files are must stay known.
    fn take_over(&self, manifest: &Manifest) -> Result<(Option<Vec<u8>>, Vec<FileRecord>)> {
        let left = |old: &FileRecord| manifest.outputs.iter().all(|new| new.name != old.name);
        loop {
            let before = crate::read(&self.manifest).ok();
            let replaced = Manifest::remember_outputs(&self.manifest, left)?;
            if crate::read(&self.manifest).ok() == before {
                return Ok((before, replaced));
            }
        }
    }

    /// Whether this is one job of several, with the manifest `manifest-i-of-n.json`.
    fn is_part(&self) -> bool {
        let name = self.manifest.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("manifest-")
    }

    /// Removes the records of the outputs, which the manifest names now. Records that a kill or a read-only disk leaves do no
    /// harm. A job keeps its records: engines remove its manifest to run it again, and complete files are then still known.
    fn forget_outputs(&self, manifest: &Manifest) {
        if self.is_part() {
            return;
        }
        let folder = self.manifest.parent().unwrap_or(Path::new(""));
        manifest.outputs.iter().for_each(|output| drop(forget(&folder.join(&output.name))));
    }

    /// The same for a manifest that is itself an output: the records stay until it is published.
    pub fn publish_part(&self, manifest: &Manifest) -> Result<FileRecord> {
        let record = manifest.write(&self.manifest)?;
        self.write_stamp(manifest)?;
        Ok(record)
    }

    fn files<'a>(
        &'a self,
        manifest: &'a Manifest,
    ) -> impl Iterator<Item = (&'a FileRecord, PathBuf, &'static str)> {
        let folder = self.manifest.parent().unwrap_or(Path::new(""));
        let inputs = manifest
            .inputs
            .iter()
            .zip(&self.inputs)
            .map(|(r, (_, path))| (r, path.clone(), "input"));
        inputs.chain(manifest.outputs.iter().map(move |r| (r, folder.join(&r.name), "output")))
    }

    /// Only of files whose content is known. That of a file which another attempt has put there is not.
    fn write_stamp(&self, manifest: &Manifest) -> Result<()> {
        let stamps: Vec<Stamped> = self
            .files(manifest)
            .filter_map(|(record, path, kind)| {
                Some(Stamped::new(kind, record, known::still(&path, &record.sha256)?))
            })
            .collect();
        let text =
            serde_json::to_vec(&stamps).map_err(|e| Failure::usage(format_args!("stamp: {e}")))?;
        AtomicFile::write(&stamp_path(&self.manifest), &text).map(drop)
    }
}

/// Whether an output is still what was made. Another attempt may be about to write the same bytes.
fn check(path: &Path, output: &FileRecord) -> Result<()> {
    let is_right = || {
        known::still(path, &output.sha256).is_some()
            || hash_file(path).is_ok_and(|found| found.sha256 == output.sha256)
    };
    for _ in 0..20 {
        if is_right() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(Failure::try_again("another attempt has changed it while this one was running")
        .file(path)
        .remedy("run the same command again"))
}

/// `a, b.c`: the keys in which two settings differ.
pub fn changed_keys(old: &Value, new: &Value) -> String {
    fn walk(prefix: &str, old: &Value, new: &Value, out: &mut Vec<String>) {
        match (old, new) {
            (Value::Object(a), Value::Object(b)) => {
                let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
                for key in keys {
                    let path =
                        if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                    walk(
                        &path,
                        a.get(key).unwrap_or(&Value::Null),
                        b.get(key).unwrap_or(&Value::Null),
                        out,
                    );
                }
            }
            _ if old != new => out.push(format!("{prefix} {old} -> {new}")),
            _ => {}
        }
    }
    let mut out = Vec::new();
    walk("", old, new, &mut out);
    out.join(", ")
}

/// Whether two settings are equal up to the last bits of a number: 0.1 stored numbers with that error.
pub fn same_settings(old: &Value, new: &Value) -> bool {
    match (old, new) {
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, value)| b.get(key).is_some_and(|other| same_settings(value, other)))
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_settings(a, b))
        }
        (Value::Number(a), Value::Number(b)) if a.is_f64() && b.is_f64() => {
            let (a, b) = (a.as_f64().unwrap_or_default(), b.as_f64().unwrap_or_default());
            a == b || (a - b).abs() <= 4.0 * f64::EPSILON * a.abs()
        }
        _ => old == new,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn settings_are_the_same_up_to_the_last_bits_of_a_number() {
        let settings = |lr: f64, steps: u64| json!({ "train": { "lr": lr, "betas": [0.9, lr] }, "steps": steps });
        let next = f64::from_bits(6e-4f64.to_bits() + 1);
        assert!(same_settings(&settings(6e-4, 8), &settings(next, 8)));
        assert!(!same_settings(&settings(6e-4, 8), &settings(6.000001e-4, 8)));
        assert!(!same_settings(&settings(6e-4, 8), &settings(6e-4, 9)));
        assert!(
            !same_settings(&settings(6e-4, 8), &json!({ "steps": 8 }))
                && !same_settings(&1.into(), &1.0.into())
        );
    }

    #[test]
    fn a_manifest_with_any_byte_changed_is_refused_or_says_the_same_and_format_1_is_still_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("manifest.json");
        let work = Work {
            stage: "test",
            manifest: path.clone(),
            inputs: vec![],
            config: json!({ "lr": 0.1 + 0.2, "seed": 7 }),
        };
        let mut manifest = work.manifest(vec![]).unwrap();
        manifest.counts.insert("tokens".into(), 12_345);
        manifest.facts.insert("loss".into(), json!(1.0 / 3.0));
        manifest.write(&path).unwrap();
        let (good, read) = (std::fs::read(&path).unwrap(), Manifest::read(&path).unwrap());
        for (at, bit) in (0..good.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            std::fs::write(&path, &bad).unwrap();
            assert!(
                Manifest::read(&path).map_or(true, |other| other == read),
                "byte {at}, bit {bit}"
            );
        }
        let old = json!({ "format": 1, "stage": "test", "program": "bedtime", "inputs": [], "config": 1,
            "config_sha256": config_hash(&1.into()), "outputs": [], "counts": {} });
        std::fs::write(&path, old.to_string()).unwrap();
        assert_eq!(Manifest::read(&path).unwrap().format, 1);
        std::fs::write(&path, old.to_string().replace("\"format\":1", "\"format\":2")).unwrap();
        assert!(Manifest::read(&path).unwrap_err().to_string().contains("no sha256"));
    }

    #[test]
    fn a_result_is_up_to_date_until_an_input_an_output_or_a_setting_changes() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("in"), "input").unwrap();
        let work = |lr: f64| Work {
            stage: "test",
            manifest: at("manifest.json"),
            inputs: vec![("in".into(), at("in"))],
            config: json!({ "lr": lr }),
        };
        let stale = |work: &Work| match work.state(false).unwrap() {
            Freshness::Stale(why) => why,
            Freshness::UpToDate(_) => "up to date".into(),
        };
        assert_eq!(stale(&work(1.0)), "not made yet");
        let output = AtomicFile::write(&at("out"), b"output").unwrap();
        let manifest = work(1.0).manifest(vec![output]).unwrap();
        work(1.0).publish(&manifest).unwrap();
        assert_eq!(stale(&work(1.0)), "up to date");
        assert_eq!(stale(&work(2.0)), "settings changed: lr 1.0 -> 2.0");

        // Same content written again: only the time differs, so the content decides.
        std::fs::write(at("in"), "input").unwrap();
        assert_eq!(stale(&work(1.0)), "up to date");
        std::fs::write(at("in"), "INPUT").unwrap();
        assert_eq!(stale(&work(1.0)), "input in has another content");
        std::fs::write(at("in"), "input").unwrap();
        std::fs::remove_file(at("out")).unwrap();
        assert_eq!(stale(&work(1.0)), "output out is missing");
    }
}
