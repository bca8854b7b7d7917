//! Who owns a file. Ours are the files that one of our manifests or records names, with the content it states. Anything else
//! in a stage's folder belongs to somebody: it stays, or is set aside with `--force`.
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::manifest::{Stamped, stamp_of, stamp_path};
use crate::record::{forget, records_in, remember};
use crate::{Failure, FileRecord, Log, Manifest, Result, Shard, hash_file, remove_if_present};

/// What is ours in one folder, before a stage changes anything there.
#[derive(Clone, Debug)]
pub struct Ownership {
    folder: PathBuf,
    part: Option<Shard>,
    /// By manifests, and by records beside the files or kept elsewhere.
    named: Vec<FileRecord>,
    records: Vec<FileRecord>,
    stamps: Vec<Stamped>,
    force: bool,
    log: Log,
}

impl Ownership {
    /// Reads the manifests and records of a folder. With `force`, what is in the way is set aside.
    pub fn of(folder: &Path, force: bool, log: Log) -> Self {
        Self::of_part(folder, None, force, log)
    }

    /// The same for one job, which ignores the manifests of the other jobs of its set.
    pub fn of_part(folder: &Path, part: Option<Shard>, force: bool, log: Log) -> Self {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let (mut named, mut stamps) = (Vec::new(), Vec::new());
        let concerns = |name: &String| {
            is_manifest(name) && !part.is_some_and(|part| part.is_beside_manifest(name))
        };
        for path in names.filter(concerns).map(|name| folder.join(name)) {
            if let Ok(manifest) = Manifest::read(&path) {
                named.extend(manifest.outputs);
                stamps.extend(stamp_of(&path));
            }
        }
        let records = records_in(folder);
        Ownership { folder: folder.to_owned(), part, named, records, stamps, force, log }
    }

    /// Adds records that are kept elsewhere.
    pub fn with(mut self, records: impl IntoIterator<Item = FileRecord>) -> Self {
        self.records.extend(records);
        self
    }

    /// Whether a file of the folder is ours.
    pub fn is_ours(&self, name: &str) -> bool {
        let path = self.folder.join(name);
        let Ok(metadata) = fs::metadata(&path) else { return false };
        let fits = |record: &&FileRecord| record.name == name && record.bytes == metadata.len();
        let fitting: Vec<&FileRecord> = self.all().filter(fits).collect();
        let stamped = |record: &&FileRecord| {
            self.stamps.iter().any(|stamp| stamp.is_output(record) && stamp.fits(&path))
        };
        metadata.is_file()
            && !fitting.is_empty()
            && (fitting.iter().any(stamped)
                || hash_file(&path).is_ok_and(|found| fitting.contains(&&found)))
    }

    fn all(&self) -> impl Iterator<Item = &FileRecord> {
        self.named.iter().chain(&self.records)
    }

    /// To be called before a stage gives this name to a file of its own.
    ///
    /// # Errors
    /// Exit code 3: something else has the name.
    pub fn claim(&self, name: &str) -> Result<()> {
        let path = self.folder.join(name);
        if is_free(&path)? || self.is_ours(name) || self.now().is_ours(name) {
            return Ok(());
        }
        make_way(&path, self.force, &self.log)
    }

    /// Whether a manifest names it.
    fn is_named(&self, name: &str) -> bool {
        self.named.iter().any(|record| record.name == name)
    }

    /// Another attempt, which no lock kept away, may have made something since.
    fn now(&self) -> Self {
        Self::of_part(&self.folder, self.part, self.force, self.log)
    }

    /// The same for a manifest's name. Its seal identifies a manifest.
    pub fn claim_manifest(&self, name: &str) -> Result<()> {
        let path = self.folder.join(name);
        if is_free(&path)? || is_our_manifest(&path) {
            return Ok(());
        }
        make_way(&path, self.force, &self.log)
    }

    /// To be called before their manifest is removed: the files that `which` accepts stay known as ours.
    pub fn remember(&self, which: impl Fn(&str) -> bool) -> Result<()> {
        let there = |record: &&FileRecord| {
            which(&record.name) && self.folder.join(&record.name).symlink_metadata().is_ok()
        };
        let mut records = self.all().filter(there);
        records.try_for_each(|record| remember(&self.folder.join(&record.name), record))
    }

    /// Removes a file if it is ours and left over: no manifest names it now, be it of another attempt.
    pub fn remove(&self, name: &str) -> Result<()> {
        if self.is_ours(name) && !self.now().is_named(name) {
            remove_if_present(&self.folder.join(name))?;
            forget(&self.folder.join(name))?;
        }
        Ok(())
    }
}

/// Removes one of our manifests with its stamp. The files that it names and `kept` does not name stay known as ours.
pub fn retire_manifest(path: &Path, kept: &[FileRecord]) -> Result<()> {
    if !is_our_manifest(path) {
        return Ok(());
    }
    Manifest::remember_outputs(path, |output| !kept.contains(output))?;
    remove_if_present(path)?;
    remove_if_present(&stamp_path(path))
}

fn is_manifest(name: &str) -> bool {
    name == "manifest.json"
        || name.ends_with(".manifest.json")
        || Shard::of_manifest_name(name).is_some()
}

/// Whether it is a manifest of ours, even if damaged.
pub fn is_our_manifest(path: &Path) -> bool {
    let is_file = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file());
    let text = if is_file { crate::read(path).ok() } else { None };
    text.is_some_and(|text| {
        let said = |words: &[u8]| text.windows(words.len()).any(|window| window == words);
        text.is_empty() || said(b"\"bedtime ") && said(b"\"stage\"") || Manifest::read(path).is_ok()
    })
}

fn is_free(path: &Path) -> Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(false),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(error) => Err(Failure::writing(path)(error)),
    }
}

/// Handles a foreign file with the name of a file to be written: with `force` it is set aside as NAME.N.
///
/// # Errors
/// Exit code 3 without `force`.
pub fn make_way(path: &Path, force: bool, log: &Log) -> Result<()> {
    if is_free(path)? {
        return Ok(());
    }
    if !force {
        return Err(Failure::input(
            path,
            "in the way: no manifest beside it names it with this content",
            "nothing there, or a file that this program made",
            "move it away, or set it aside as NAME.N with --force",
        ));
    }
    let numbered = |n: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{n}"));
        PathBuf::from(name)
    };
    let aside = (1..u32::MAX).map(numbered).find(|path| fs::symlink_metadata(path).is_err());
    let aside = aside.ok_or_else(|| Failure::usage("no free name to set it aside"))?;
    fs::rename(path, &aside).map_err(Failure::writing(&aside))?;
    log.warn(format!("{} was in the way: set aside as {}", path.display(), aside.display()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LogFormat, Work, write_recorded};

    /// Two attempts that no lock kept apart: what the manifest of the first names, and that of the second does not.
    #[test]
    fn what_a_manifest_named_that_another_one_replaced_stays_ours() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let publish = |outputs: &[&str]| {
            let outputs = outputs.iter().map(|name| write_recorded(&at(name), b"1").unwrap());
            let work = Work {
                stage: "test",
                manifest: at("manifest.json"),
                inputs: vec![],
                config: serde_json::Value::Null,
            };
            work.publish(&work.manifest(outputs.collect()).unwrap()).unwrap()
        };
        let before = Ownership::of(folder.path(), false, Log::new("test", LogFormat::Text));
        publish(&["common", "first"]);
        let replaced = publish(&["common", "second"]);
        assert_eq!(replaced.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(), ["first"]);
        assert!(before.now().is_ours("first") && !at(".common.record").exists());
        let second = publish(&["common", "first"]);
        let before = before.with(replaced).with(second);
        before.remove("first").unwrap();
        assert!(at("first").exists(), "a manifest names it again");
        before.remove("second").unwrap();
        assert!(!at("second").exists());
        let before = before.with(publish(&["common", "second"]));
        before.remove("first").unwrap();
        assert!(!at("first").exists() && !at(".first.record").exists());
        assert!(at("second").exists() && at("common").exists());
    }

    #[test]
    fn ours_is_what_is_named_with_its_content_and_all_else_stays_or_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let log = Log::new("test", LogFormat::Text);
        let own = |force| Ownership::of(folder.path(), force, log);
        let work = Work {
            stage: "test",
            manifest: at("x.manifest.json"),
            inputs: vec![],
            config: serde_json::Value::Null,
        };
        let named = write_recorded(&at("named"), b"1").unwrap();
        assert!(own(false).is_ours("named") && at(".named.record").exists(), "by its record");
        work.publish(&work.manifest(vec![named]).unwrap()).unwrap();
        assert!(own(false).is_ours("named") && !at(".named.record").exists(), "by the manifest");
        fs::write(at("named"), "2").unwrap();
        fs::write(at("named.1"), "older").unwrap();
        fs::write(at("foreign"), "3").unwrap();
        for name in ["named", "foreign"] {
            let error = own(false).claim(name).unwrap_err();
            assert_eq!(error.exit_code(), 3);
            assert!(error.to_string().contains("--force"), "{error}");
            own(false).remove(name).unwrap();
            assert!(at(name).exists());
            own(true).claim(name).unwrap();
        }
        assert_eq!(fs::read(at("named.1")).unwrap(), b"older");
        assert_eq!(fs::read(at("named.2")).unwrap(), b"2");
        assert_eq!(fs::read(at("foreign.1")).unwrap(), b"3");
        own(false).claim("free").unwrap();
        own(false).claim_manifest("x.manifest.json").unwrap();
        let whole = fs::read(at("x.manifest.json")).unwrap();
        fs::write(at("x.manifest.json"), &whole[..whole.len() / 2]).unwrap();
        own(false).claim_manifest("x.manifest.json").unwrap();
        fs::write(at("x.manifest.json"), "{\"my\": \"manifest\"}").unwrap();
        assert_eq!(own(false).claim_manifest("x.manifest.json").unwrap_err().exit_code(), 3);
    }
}
