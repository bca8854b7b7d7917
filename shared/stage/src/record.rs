//! `.NAME.record` beside NAME: what a file is, written before the file gets its name and kept until a manifest names it. After
//! a kill in between, it is still known that the file is ours.
use std::fs;
use std::path::{Path, PathBuf};

use crate::{AtomicFile, Failure, FileRecord, Result, remove_if_present};

/// Records for one name, from attempts that were killed one after another.
const MOST: usize = 8;
const ENDING: &str = ".record";

fn record_path(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}{ENDING}"))
}

/// The content of a record file: one record, as 0.1 wrote it, or several.
pub fn records_of(path: &Path) -> Vec<FileRecord> {
    let Ok(text) = crate::read(path) else { return Vec::new() };
    serde_json::from_slice(&text)
        .or_else(|_| serde_json::from_slice(&text).map(|one| vec![one]))
        .unwrap_or_default()
}

/// Notes that the file at this path is, or is about to be, what `record` says.
pub fn remember(path: &Path, record: &FileRecord) -> Result<()> {
    let path = record_path(path);
    let mut all = records_of(&path);
    if all.contains(record) {
        return Ok(());
    }
    all.insert(0, record.clone());
    all.truncate(MOST);
    let text = serde_json::to_vec(&all).map_err(|error| Failure::usage(error.to_string()))?;
    AtomicFile::write(&path, &text).map(drop)
}

/// Removes the record: a manifest names the file now, or it is gone.
pub fn forget(path: &Path) -> Result<()> {
    remove_if_present(&record_path(path))
}

/// All records in a folder.
pub fn records_in(folder: &Path) -> Vec<FileRecord> {
    let is_record = |path: &PathBuf| {
        path.file_name().is_some_and(|name| {
            let name = name.to_string_lossy();
            name.starts_with('.') && name.ends_with(ENDING)
        })
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(is_record).flat_map(|path| records_of(&path)).collect()
}

/// [`AtomicFile::commit`] of a file that a manifest will name.
pub fn commit_recorded(file: AtomicFile) -> Result<FileRecord> {
    let path = file.path().to_owned();
    let record = file.commit_with(|record| remember(&path, record))?;
    // Another attempt, which ran while this one hung, may have removed the record before the file had its name.
    remember(&path, &record)?;
    Ok(record)
}

/// [`AtomicFile::write`] of a file that a manifest will name.
pub fn write_recorded(path: &Path, content: &[u8]) -> Result<FileRecord> {
    let mut file = AtomicFile::create(path)?;
    file.put(content)?;
    commit_recorded(file)
}
