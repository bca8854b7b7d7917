//! `loss.png` and `report.html`: a run on one page, without a network.
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use stage::{AtomicFile, Result};

use crate::log_line::LogLine;
use crate::memory_use::memory;
use crate::observer::{RunEvent, RunObserver, Status};
use crate::report_page::{ReportSnapshot, loss_chart, page};
use crate::run_info::RunInfo;
use crate::stories::StoriesAt;

/// Drawing takes at most this share of a run's time, and pages come no faster than they are looked at.
const SHARE: f64 = 0.003;
const EVERY: Duration = Duration::from_secs(10);
/// Events listed at most.
const EVENTS: usize = 200;

/// The observer: draws both files on a thread of its own.
pub(crate) struct Report {
    folder: PathBuf,
    info: RunInfo,
    stories: Vec<StoriesAt>,
    events: Vec<String>,
    drawing: Option<JoinHandle<Duration>>,
    /// When the last drawing began.
    begun: Option<Instant>,
    /// How long the last drawing took, and all of them.
    last: Duration,
    all: Duration,
}

impl Report {
    pub(crate) fn new(folder: &Path, info: RunInfo, stories: Vec<StoriesAt>) -> Self {
        Report {
            folder: folder.to_owned(),
            info,
            stories,
            events: Vec::new(),
            drawing: None,
            begun: None,
            last: Duration::ZERO,
            all: Duration::ZERO,
        }
    }

    fn is_due(&mut self) -> bool {
        if self.drawing.as_ref().is_some_and(|drawing| !drawing.is_finished()) {
            return false;
        }
        self.wait();
        let pause = EVERY.max(self.last.div_f64(SHARE));
        self.begun.is_none_or(|begun| begun.elapsed() >= pause)
    }

    fn draw(&mut self, state: &str, ended: bool, status: &Status) {
        self.wait();
        self.begun = Some(Instant::now());
        let snapshot = ReportSnapshot {
            lines: status.lines.to_vec(),
            step: status.step,
            state: state.to_owned(),
            ended,
            elapsed_s: status.elapsed_s,
            seconds_left: (!ended).then_some(status.seconds_left),
            best: status.best,
            flop_per_second: status.flop_per_second,
            peak: status.peak,
            memory: memory(status.device_bytes),
            events: self.events.clone(),
            stories: self.stories.clone(),
        };
        let (folder, info) = (self.folder.clone(), self.info.clone());
        self.drawing = Some(std::thread::spawn(move || {
            let started = Instant::now();
            // A page that cannot be drawn is no reason to stop; a full disk is reported elsewhere.
            let _ = write(&folder, &info, &snapshot);
            started.elapsed()
        }));
    }

    fn wait(&mut self) {
        if let Some(Ok(took)) = self.drawing.take().map(JoinHandle::join) {
            self.last = took;
            self.all += took;
        }
    }
}

impl RunObserver for Report {
    fn line(&mut self, _: &LogLine, status: &Status) -> Result<()> {
        if self.is_due() {
            self.draw("training", false, status);
        }
        Ok(())
    }

    fn event(&mut self, event: &RunEvent) {
        if self.events.len() < EVENTS {
            self.events.push(event.text.clone());
        }
    }

    fn stories(&mut self, stories: &StoriesAt) -> Result<()> {
        Ok(self.stories.push(stories.clone()))
    }

    fn back_to(&mut self, step: u64) -> Result<()> {
        Ok(self.stories.retain(|at| at.step <= step))
    }

    fn end(&mut self, state: &str, status: &Status) {
        self.draw(state, true, status);
        self.wait();
    }

    fn seconds_beside(&self) -> f64 {
        self.all.as_secs_f64()
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        self.wait();
    }
}

/// Writes both files into the folder of a run.
fn write(folder: &Path, info: &RunInfo, snapshot: &ReportSnapshot) -> Result<()> {
    AtomicFile::write(
        &folder.join("loss.png"),
        &loss_chart(&snapshot.lines, info.reference.as_ref()).png(1000, 600)?,
    )?;
    let page = page(info, snapshot)?.into_string();
    AtomicFile::write(&folder.join("report.html"), page.as_bytes()).map(drop)
}
