//! `loss.jsonl`: one object per line, for people, plots and tests.
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use stage::{AtomicFile, Failure, Result};

/// What a line says. `loss` is of the batch that the weights after `step` updates were asked next; `val_loss` is of the
/// same weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    /// Updates done.
    pub step: u64,
    /// Nats per token.
    pub loss: f32,
    pub lr: f64,
    /// Before clipping; none where it overflowed and the update was skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grad_norm: Option<f32>,
    /// Of training alone, since the line before.
    pub tokens_per_second: f64,
    /// Seconds of the run so far, those before an interruption included.
    pub elapsed_s: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub val_loss: Option<f64>,
    /// Where the precision needs one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<f32>,
}

/// The lines of a run, in memory and on disk.
pub struct RunLog {
    path: PathBuf,
    file: File,
    pub lines: Vec<LogLine>,
    /// How many of them are on disk, and their bytes: the disk may be full for a while.
    written: usize,
    bytes: u64,
}

impl RunLog {
    /// Opens the log of a run that goes on with `step`: later lines, which will be written again, are dropped.
    pub fn open(path: &Path, step: u64) -> Result<Self> {
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            text => text.map_err(Failure::reading(path))?,
        };
        // A line cut by a crash, if only by its end, is one that will be written again.
        let whole = text.split_inclusive('\n').take_while(|line| line.ends_with('\n'));
        let lines: Vec<LogLine> = whole
            .map_while(|line| serde_json::from_str(line).ok())
            .take_while(|line: &LogLine| line.step < step)
            .collect();
        let kept: String = text.split_inclusive('\n').take(lines.len()).collect();
        if kept.len() != text.len() || text.is_empty() {
            AtomicFile::write(path, kept.as_bytes())?;
        }
        let file = OpenOptions::new().write(true).open(path).map_err(Failure::writing(path))?;
        Ok(RunLog {
            path: path.to_owned(),
            file,
            written: lines.len(),
            bytes: kept.len() as u64,
            lines,
        })
    }

    /// Adds a line and writes it, with all that could not be written before.
    pub fn append(&mut self, line: LogLine) -> Result<()> {
        self.lines.push(line);
        self.flush()
    }

    /// Writes the lines that are not on disk yet. Where that fails they stay for the next time.
    pub fn flush(&mut self) -> Result<()> {
        let mut text = Vec::new();
        for line in &self.lines[self.written..] {
            serde_json::to_writer(&mut text, line).map_err(|e| Failure::usage(e.to_string()))?;
            text.push(b'\n');
        }
        // What a failed attempt left behind goes first.
        let end = self.bytes;
        let mut write = || {
            self.file.set_len(end)?;
            self.file.seek(SeekFrom::Start(end))?;
            self.file.write_all(&text)
        };
        write().map_err(Failure::writing(&self.path))?;
        self.bytes += text.len() as u64;
        self.written = self.lines.len();
        Ok(())
    }

    /// Another handle of the file, for a thread that syncs it.
    pub fn handle(&self) -> Result<File> {
        self.file.try_clone().map_err(Failure::writing(&self.path))
    }

    /// Seconds that earlier parts of the run took.
    pub fn elapsed_s(&self) -> f64 {
        self.lines.last().map_or(0.0, |line| line.elapsed_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn going_on_leaves_no_gap_and_no_double_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("loss.jsonl");
        let line = |step| LogLine {
            step,
            loss: 2.5,
            lr: 1e-3,
            grad_norm: Some(1.0),
            tokens_per_second: 10.0,
            elapsed_s: step as f64,
            val_loss: None,
            loss_scale: None,
        };
        let mut log = RunLog::open(&path, 0).unwrap();
        for step in [0, 10, 20, 30] {
            log.append(line(step)).unwrap();
        }
        std::fs::write(&path, std::fs::read_to_string(&path).unwrap() + "{\"step\":4").unwrap();
        let mut log = RunLog::open(&path, 25).unwrap();
        assert_eq!(log.elapsed_s(), 20.0);
        log.append(line(30)).unwrap();
        let again = RunLog::open(&path, 100).unwrap();
        assert_eq!(again.lines.iter().map(|l| l.step).collect::<Vec<_>>(), [0, 10, 20, 30]);
    }
}
