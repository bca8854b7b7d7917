//! The checkpoints of a run: numbered ones, `last`, `best`, and the way back to the newest whole one.
use std::path::{Path, PathBuf};

use model::Checkpoint;
use stage::{Failure, Log, Result, create_dir, remove_if_present};

#[derive(Clone)]
pub struct Checkpoints {
    folder: PathBuf,
    keep_last: usize,
}

impl Checkpoints {
    pub fn new(run: &Path, keep_last: u32) -> Self {
        Checkpoints { folder: run.join("checkpoints"), keep_last: keep_last as usize }
    }

    /// Saves as `last`; with `numbered` also as `step_NNNNNNNN`, of which the newest `keep_last` stay.
    pub fn save(&self, checkpoint: &Checkpoint, numbered: bool) -> Result<PathBuf> {
        create_dir(&self.folder)?;
        let last = self.folder.join("last.safetensors");
        checkpoint.save(&last)?;
        if numbered {
            let path = self.folder.join(format!("step_{:08}.safetensors", checkpoint.state.step));
            // The same bytes under two names: `last` is only ever replaced, never written in place.
            remove_if_present(&path)?;
            if std::fs::hard_link(&last, &path).is_err() {
                checkpoint.save(&path)?;
            }
            let mut all = self.numbered()?;
            all.truncate(all.len().saturating_sub(self.keep_last));
            all.iter().try_for_each(|old| remove_if_present(old))?;
        }
        Ok(last)
    }

    /// Saves as `best`.
    pub fn save_best(&self, checkpoint: &Checkpoint) -> Result<()> {
        create_dir(&self.folder)?;
        checkpoint.save(&self.folder.join("best.safetensors"))
    }

    /// The newest checkpoint that is whole, `best` where there is no other. A damaged one is reported, set aside, and the one before is taken.
    pub fn newest(&self, log: &Log) -> Result<Option<Checkpoint>> {
        let last = self.folder.join("last.safetensors");
        let best = self.folder.join("best.safetensors");
        let there = |path: PathBuf| path.exists().then_some(path);
        let candidates = there(last).into_iter().chain(self.numbered()?.into_iter().rev()).chain(there(best));
        for path in candidates {
            match Checkpoint::load(&path) {
                Ok(checkpoint) => return Ok(Some(checkpoint)),
                Err(error) => {
                    log.warn(format!("{error}"));
                    let aside = path.with_extension("damaged");
                    std::fs::rename(&path, &aside).map_err(Failure::writing(&aside))?;
                    log.warn(format!("set aside as {}", aside.display()));
                }
            }
        }
        Ok(None)
    }

    /// Numbered checkpoints, oldest first.
    pub(crate) fn numbered(&self) -> Result<Vec<PathBuf>> {
        let entries = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(Failure::reading(&self.folder))?,
        };
        let is_numbered = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("step_") && name.ends_with(".safetensors")
        };
        let mut paths: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|e| e.path())).filter(is_numbered).collect();
        paths.sort();
        Ok(paths)
    }
}

/// The step in a numbered checkpoint's name.
pub(crate) fn step_of(path: &Path) -> Option<u64> {
    path.file_stem()?.to_str()?.strip_prefix("step_")?.parse().ok()
}
