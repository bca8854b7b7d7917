//! `loss.jsonl`: one object per line, for people, plots and tests.
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use stage::{AtomicFile, Failure, Result};

use crate::log_line::LogLine;
use crate::observer::{RunObserver, Status};

/// The file, and what is not in it yet: the disk may be full for a while.
pub(crate) struct RunLog {
    path: PathBuf,
    file: File,
    /// Bytes of whole lines in the file.
    bytes: u64,
    pending: Vec<LogLine>,
}

impl RunLog {
    /// Opens the log of a run that resumes at `step` and returns its lines. Later lines are dropped and written again.
    pub(crate) fn open(path: &Path, step: u64) -> Result<(Self, Vec<LogLine>)> {
        let text = stage::read_if_present(path)?.unwrap_or_default();
        // A line without its end was cut by a crash and will be written again.
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
        let bytes = kept.len() as u64;
        Ok((RunLog { path: path.to_owned(), file, bytes, pending: Vec::new() }, lines))
    }
}

impl RunObserver for RunLog {
    fn line(&mut self, line: &LogLine, _: &Status) -> Result<()> {
        self.pending.push(line.clone());
        self.flush()
    }

    fn back_to(&mut self, step: u64) -> Result<()> {
        let mut pending = std::mem::take(&mut self.pending);
        pending.retain(|line| line.step < step);
        *self = RunLog::open(&self.path, step)?.0;
        self.pending = pending;
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let mut text = Vec::new();
        for line in &self.pending {
            serde_json::to_writer(&mut text, line).map_err(|e| Failure::usage(e.to_string()))?;
            text.push(b'\n');
        }
        // Removes what a failed attempt left behind.
        let end = self.bytes;
        let mut write = || {
            self.file.set_len(end)?;
            self.file.seek(SeekFrom::Start(end))?;
            self.file.write_all(&text)
        };
        write().map_err(Failure::writing(&self.path))?;
        self.bytes += text.len() as u64;
        Ok(self.pending.clear())
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
        let status = Status::default();
        let (mut log, _) = RunLog::open(&path, 0).unwrap();
        for step in [0, 10, 20, 30] {
            log.line(&line(step), &status).unwrap();
        }
        std::fs::write(&path, std::fs::read_to_string(&path).unwrap() + "{\"step\":4").unwrap();
        let steps = |lines: &[LogLine]| lines.iter().map(|line| line.step).collect::<Vec<_>>();
        let (mut log, lines) = RunLog::open(&path, 25).unwrap();
        assert_eq!(steps(&lines), [0, 10, 20]);
        log.line(&line(30), &status).unwrap();
        assert_eq!(steps(&RunLog::open(&path, 100).unwrap().1), [0, 10, 20, 30]);
        // Back to a step, with a line that the disk did not take yet.
        log.pending = vec![line(40), line(50)];
        log.back_to(45).unwrap();
        log.line(&line(45), &status).unwrap();
        assert_eq!(steps(&RunLog::open(&path, 100).unwrap().1), [0, 10, 20, 30, 40, 45]);
    }
}
