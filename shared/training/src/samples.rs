//! The stories a run tells along the way: `stories.jsonl`, which keeps them, and `samples.md`, which shows them.
use std::fmt::Write;
use std::path::{Path, PathBuf};

use inference::Story;
use serde::{Deserialize, Serialize};
use stage::{AtomicFile, Failure, Result};

/// The stories of one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoriesAt {
    /// Updates done.
    pub step: u64,
    pub stories: Vec<Story>,
}

/// All stories of a run, the earliest first.
pub struct Samples {
    folder: PathBuf,
    /// Says what the data is, where that matters.
    note: Option<&'static str>,
    pub told: Vec<StoriesAt>,
}

impl Samples {
    /// Those of a run that goes on with `step`: later ones will be told again.
    pub fn open(folder: &Path, note: Option<&'static str>, step: u64) -> Result<Self> {
        let path = folder.join("stories.jsonl");
        let text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            text => text.map_err(Failure::reading(&path))?,
        };
        let told = text
            .lines()
            .map_while(|line| serde_json::from_str(line).ok())
            .take_while(|told: &StoriesAt| told.step <= step)
            .collect();
        Ok(Samples { folder: folder.to_owned(), note, told })
    }

    pub fn has(&self, step: u64) -> bool {
        self.told.iter().any(|told| told.step == step)
    }

    /// Forgets what was told after `step`.
    pub fn back_to(&mut self, step: u64) {
        self.told.retain(|told| told.step <= step);
    }

    /// Writes both files.
    pub fn write(&self) -> Result<()> {
        let mut lines = String::new();
        for told in &self.told {
            lines += &serde_json::to_string(told).map_err(|e| Failure::usage(e.to_string()))?;
            lines.push('\n');
        }
        AtomicFile::write(&self.folder.join("stories.jsonl"), lines.as_bytes())?;
        AtomicFile::write(&self.folder.join("samples.md"), self.markdown().as_bytes()).map(drop)
    }

    fn markdown(&self) -> String {
        let Some((first, last)) = self.told.first().zip(self.told.last()) else {
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
        let between = self.told.get(1..self.told.len() - 1).unwrap_or_default();
        if !between.is_empty() {
            let _ = writeln!(text, "\n# The same stories along the way");
        }
        for told in between {
            let _ = writeln!(text, "\n## {}\n", capitalised(&name(told.step)));
            for (i, story) in told.stories.iter().enumerate() {
                let _ = writeln!(text, "{}. {}", i + 1, cell(story));
            }
        }
        text
    }
}

impl StoriesAt {
    /// As a list in Markdown.
    pub fn markdown(&self) -> String {
        self.stories.iter().map(|story| format!("- {}\n", cell(story))).collect()
    }
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

/// The prompt in bold, the continuation after it, fit for one cell of a table.
fn cell(story: &Story) -> String {
    let escape = |text: &str| {
        let text = text
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('|', "\\|")
            .replace('*', "\\*")
            .replace('`', "\\`");
        let visible: String = text
            .chars()
            .map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c })
            .collect();
        visible.replace('\n', "<br>")
    };
    format!(
        "**{}**{}{}",
        escape(&story.prompt),
        escape(story.continuation()),
        if story.ended { "" } else { " …" }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(step: u64) -> StoriesAt {
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
        samples.told = [0, 10, 20, 30].map(told).into();
        samples.write().unwrap();
        let again = Samples::open(folder.path(), None, 20).unwrap();
        assert_eq!(again.told, samples.told[..3]);
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
