//! The checkpoints of a run: numbered ones, `last`, `best`, and how the newest intact one is found.
use std::path::{Path, PathBuf};

use model::Checkpoint;
use stage::{
    Failure, FailureKind, Log, Result, Temporary, create_dir, publish_file, remove_if_present,
};

/// What a checkpoint is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CheckpointName {
    Last,
    LastAndNumbered,
    /// Written late: a newer `last` exists.
    Numbered,
    Best,
}

#[derive(Clone)]
pub(crate) struct Checkpoints {
    folder: PathBuf,
    keep_last: usize,
}

impl Checkpoints {
    pub(crate) fn new(run: &Path, keep_last: u32) -> Self {
        Checkpoints { folder: run.join("checkpoints"), keep_last: keep_last as usize }
    }

    /// Numbered checkpoints to keep.
    pub(crate) fn keep_last(&self) -> usize {
        self.keep_last
    }

    /// Numbered checkpoints are called `step_NNNNNNNN`; the newest `keep_last` of them stay. The numbered one
    /// is written before `last`: a run killed between the two resumes from it.
    pub(crate) fn save(&self, checkpoint: &Checkpoint, name: CheckpointName) -> Result<()> {
        create_dir(&self.folder)?;
        let path = match name {
            CheckpointName::Last => return checkpoint.save(&self.folder.join("last.safetensors")),
            CheckpointName::Best => return checkpoint.save(&self.folder.join("best.safetensors")),
            CheckpointName::LastAndNumbered | CheckpointName::Numbered => {
                self.folder.join(numbered_name(checkpoint.state.step))
            }
        };
        checkpoint.save(&path)?;
        if name == CheckpointName::LastAndNumbered {
            self.make_last(&path, checkpoint)?;
        }
        let mut all = self.numbered()?;
        all.truncate(all.len().saturating_sub(self.keep_last));
        all.iter().try_for_each(|old| remove_if_present(old))
    }

    /// The checkpoint of this file as `last`: the same bytes under two names, of which either is only ever replaced, never
    /// written in place.
    fn make_last(&self, path: &Path, checkpoint: &Checkpoint) -> Result<()> {
        let last = self.folder.join("last.safetensors");
        match Temporary::link(path, &last).and_then(|link| Ok((link, path.metadata()?.len()))) {
            Ok((link, bytes)) => publish_file(link, &last, bytes),
            Err(_) => checkpoint.save(&last),
        }
    }

    /// The newest intact checkpoint; `best` if there is no other. A damaged one is reported and set aside, and the one before
    /// it is used. An unreadable one is skipped and left in place: the disk may recover.
    pub(crate) fn newest(&self, log: &Log) -> Result<Option<Checkpoint>> {
        self.take_up_set_aside(log)?;
        let last = self.folder.join("last.safetensors");
        let mut unreadable = None;
        let mut newest = if last.exists() { self.load(&last, log, &mut unreadable)? } else { None };
        for path in self.numbered()?.into_iter().rev() {
            // `last` is as new as any numbered one, unless a kill came between the two.
            if newest
                .as_ref()
                .is_some_and(|last| step_of(&path).is_none_or(|step| step <= last.state.step))
            {
                break;
            }
            if let Some(checkpoint) = self.load(&path, log, &mut unreadable)? {
                self.make_last(&path, &checkpoint)?;
                newest = Some(checkpoint);
                break;
            }
        }
        let best = self.folder.join("best.safetensors");
        if newest.is_none() && best.exists() {
            newest = self.load(&best, log, &mut unreadable)?;
        }
        match (newest, unreadable) {
            (None, Some(error)) => Err(error),
            (newest, _) => Ok(newest),
        }
    }

    /// None if it is damaged, which sets it aside, or `unreadable`.
    fn load(
        &self,
        path: &Path,
        log: &Log,
        unreadable: &mut Option<Failure>,
    ) -> Result<Option<Checkpoint>> {
        match Checkpoint::load(path) {
            Ok(checkpoint) => Ok(Some(checkpoint)),
            Err(error @ Failure { kind: FailureKind::TryAgain, .. }) => {
                log.warn(format!("{error}"));
                *unreadable = Some(error);
                Ok(None)
            }
            Err(error) => {
                log.warn(format!("{error}"));
                let aside = path.with_extension("damaged");
                std::fs::rename(path, &aside).map_err(Failure::writing(&aside))?;
                log.warn(format!("set aside as {}", aside.display()));
                Ok(None)
            }
        }
    }

    /// Version 0.1 set whole checkpoints aside as damaged. Those get a name back: their own, or where a newer one has
    /// it by now, that of their step. What is damaged stays where it is.
    fn take_up_set_aside(&self, log: &Log) -> Result<()> {
        for aside in self.names(|name| name.ends_with(".damaged"))? {
            let Ok(checkpoint) = Checkpoint::load(&aside) else { continue };
            let own = aside.with_extension("safetensors");
            let numbered = self.folder.join(numbered_name(checkpoint.state.step));
            let is_best = aside.file_stem().is_some_and(|stem| stem == "best");
            let free = [Some(own), (!is_best).then_some(numbered)]
                .into_iter()
                .flatten()
                .find(|path| !path.exists());
            let Some(path) = free else { continue };
            std::fs::rename(&aside, &path).map_err(Failure::writing(&path))?;
            log.say(format!(
                "{} is whole after all: taken up again as {}",
                aside.display(),
                path.display()
            ));
        }
        Ok(())
    }

    /// Numbered checkpoints, oldest first.
    pub(crate) fn numbered(&self) -> Result<Vec<PathBuf>> {
        self.names(|name| name.starts_with("step_") && name.ends_with(".safetensors"))
    }

    /// Sorted paths of the files whose name is `wanted`; none if there is no folder.
    fn names(&self, wanted: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>> {
        let entries = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(Failure::reading(&self.folder))?,
        };
        let is_wanted =
            |path: &PathBuf| wanted(&path.file_name().unwrap_or_default().to_string_lossy());
        let mut paths: Vec<PathBuf> =
            entries.filter_map(|entry| entry.ok().map(|e| e.path())).filter(is_wanted).collect();
        paths.sort();
        Ok(paths)
    }
}

fn numbered_name(step: u64) -> String {
    format!("step_{step:08}.safetensors")
}

/// The step in a numbered checkpoint's name.
pub(crate) fn step_of(path: &Path) -> Option<u64> {
    path.file_stem()?.to_str()?.strip_prefix("step_")?.parse().ok()
}
