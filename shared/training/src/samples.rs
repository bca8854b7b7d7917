//! The stories that a run generates along the way: `stories.jsonl`, which keeps them, and `samples.md`, which shows them.
use std::fmt::Write;
use std::path::{Path, PathBuf};

use stage::{AtomicFile, Failure, Result};

use crate::observer::RunObserver;
use crate::stories::{StoriesAt, cell};

/// All stories of a run, the earliest first.
pub(crate) struct Samples {
    folder: PathBuf,
    /// A note on the data, if it needs one.
    note: Option<&'static str>,
    pub stories: Vec<StoriesAt>,
    /// Both files are on disk.
    written: bool,
}

impl Samples {
    /// Opens the stories of a run that resumes at `step`. Later ones are dropped and generated again.
    pub(crate) fn open(folder: &Path, note: Option<&'static str>, step: u64) -> Result<Self> {
        let path = folder.join("stories.jsonl");
        let text = stage::read_if_present(&path)?.unwrap_or_default();
        let stories = text
            .lines()
            .map_while(|line| serde_json::from_str(line).ok())
            .take_while(|at: &StoriesAt| at.step <= step)
            .collect();
        Ok(Samples { folder: folder.to_owned(), note, stories, written: true })
    }

    pub(crate) fn has(&self, step: u64) -> bool {
        self.stories.iter().any(|at| at.step == step)
    }

    /// Writes both files.
    pub(crate) fn write(&self) -> Result<()> {
        let mut lines = String::new();
        for at in &self.stories {
            lines += &serde_json::to_string(at).map_err(|e| Failure::usage(e.to_string()))?;
            lines.push('\n');
        }
        AtomicFile::write(&self.folder.join("stories.jsonl"), lines.as_bytes())?;
        AtomicFile::write(&self.folder.join("samples.md"), self.markdown().as_bytes()).map(drop)
    }

    fn markdown(&self) -> String {
        let Some((first, last)) = self.stories.first().zip(self.stories.last()) else {
            return String::new();
        };
        let name = |step: u64| {
            if step == 0 {
                "before training".into()
            } else {
                format!("after {} steps", stage::count(step))
            }
        };
        let mut text = format!("# Stories {} and {}\n\n", name(first.step), name(last.step));
        if let Some(note) = self.note {
            let _ = writeln!(text, "{note}\n");
        }
        let _ = writeln!(text, "| | {} | {} |\n|---|---|---|", name(first.step), name(last.step));
        for (i, (before, now)) in first.stories.iter().zip(&last.stories).enumerate() {
            let _ = writeln!(text, "| {} | {} | {} |", i + 1, cell(before), cell(now));
        }
        let between = self.stories.get(1..self.stories.len() - 1).unwrap_or_default();
        if !between.is_empty() {
            let _ = writeln!(text, "\n# The same stories along the way");
        }
        for at in between {
            let _ = writeln!(text, "\n## {}\n", capitalised(&name(at.step)));
            for (i, story) in at.stories.iter().enumerate() {
                let _ = writeln!(text, "{}. {}", i + 1, cell(story));
            }
        }
        text
    }
}

impl RunObserver for Samples {
    fn stories(&mut self, stories: &StoriesAt) -> Result<()> {
        self.stories.push(stories.clone());
        self.written = false;
        self.flush()
    }

    fn back_to(&mut self, step: u64) -> Result<()> {
        Ok(self.stories.retain(|at| at.step <= step))
    }

    fn flush(&mut self) -> Result<()> {
        if !self.written {
            self.write()?;
            self.written = true;
        }
        Ok(())
    }
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use inference::Story;

    use super::*;

    fn stories_at(step: u64) -> StoriesAt {
        let story = Story {
            prompt: "Once".into(),
            text: format!("Once | {step}\nthe *end*"),
            tokens: vec![1],
            logprobs: None,
            ended: step > 0,
        };
        StoriesAt { step, stories: vec![story] }
    }

    #[test]
    fn what_is_kept_is_read_back_up_to_the_step_to_go_on_with() {
        let folder = tempfile::tempdir().unwrap();
        let mut samples = Samples::open(folder.path(), None, 0).unwrap();
        samples.stories = [0, 10, 20, 30].map(stories_at).into();
        samples.write().unwrap();
        let again = Samples::open(folder.path(), None, 20).unwrap();
        assert_eq!(again.stories, samples.stories[..3]);
        assert!(again.has(20) && !again.has(30));
        let text = std::fs::read_to_string(folder.path().join("samples.md")).unwrap();
        assert!(
            text.contains(
                "| 1 | **Once** \\| 0<br>the \\*end\\* … | **Once** \\| 30<br>the \\*end\\* |"
            ),
            "{text}"
        );
        assert!(text.contains("## After 10 steps\n\n1. **Once** \\| 10"), "{text}");
    }
}
