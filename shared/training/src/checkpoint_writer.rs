//! The thread that keeps a run: checkpoints, stories, pictures and the report are written beside the training.
//!
//! Jobs are done one after the other, and that order is a promise: whatever a checkpoint takes for granted (the stories told
//! before it, the best validation before it, the lines of the log) is on disk when it gets its name.
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use compute::{Decoder, Storage, TrainerSnapshot, TrainerState};
use corpus::tokenizer::Tokenizer;
use inference::{Prompts, SamplingParams, Story, failed, generate};
use model::{Checkpoint, Config, State};
use stage::{Failure, Result, interrupt};

use crate::checkpoints::{CheckpointName, Checkpoints};
use crate::pending_writes::{PendingCheckpoint, PendingWrites};
use crate::report::{self, About, ReportSnapshot};
use crate::samples::{Samples, StoriesAt};
use crate::tensorboard::EventFile;

/// Jobs that may wait: then the training waits, too, and memory does not grow.
const WAITING: usize = 2;

/// A state of the run to be kept.
pub struct CheckpointRequest {
    /// Weights, the optimizer's slots and the state of the update.
    pub snapshot: TrainerSnapshot,
    /// All else, but for `update`.
    pub state: State,
    pub name: CheckpointName,
    /// Tell the stories of this moment, too.
    pub stories: bool,
    /// loss.jsonl, which has to be on disk as far as the checkpoint goes.
    pub log: Option<File>,
}

enum Job {
    Save(Box<CheckpointRequest>),
    /// Tell the stories of these weights, after so many steps, unless they were told.
    Tell(u64, Vec<f32>),
    Report(Box<ReportSnapshot>),
    /// Forget the stories after this step.
    BackTo(u64),
    /// Try once more what is owed, and say when all before is done.
    Flush(Sender<()>),
}

/// What the training should hear of.
#[derive(Debug)]
pub enum WriterEvent {
    /// Something could not be written; it is tried again at the next save, and at the end.
    Failed { step: u64, failure: Failure },
    /// What could not be written before is written now.
    Recovered,
    /// The device is gone.
    DeviceLost(Failure),
}

/// Seconds that the thread took for each kind of work.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spent {
    pub checkpoints: f64,
    pub stories: f64,
    pub reports: f64,
}

/// The end of the thread.
pub struct WriterSummary {
    pub spent: Spent,
    /// What is still not written.
    pub owed: Option<Failure>,
}

pub struct CheckpointWriter {
    jobs: Option<SyncSender<Job>>,
    events: Receiver<WriterEvent>,
    thread: Option<JoinHandle<WriterSummary>>,
    drawing: Arc<AtomicBool>,
    /// Microseconds that the last report took.
    report_cost: Arc<AtomicU64>,
    last_report: Option<Instant>,
}

/// Reports take at most this share of a run's time, and come no faster than they are looked at.
const REPORT_SHARE: f64 = 0.003;
const REPORT_EVERY: Duration = Duration::from_secs(10);

impl CheckpointWriter {
    pub fn start(
        folder: PathBuf,
        checkpoints: Checkpoints,
        samples: Samples,
        generator: Generator,
        about: About,
        event_file: Arc<Mutex<Option<EventFile>>>,
    ) -> Self {
        let (jobs, inbox) = sync_channel(WAITING);
        let (outbox, events) = channel();
        let (drawing, report_cost) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let mut writer = WriterThread {
            owed: PendingWrites::new(checkpoints, folder.join("loss.jsonl")),
            folder,
            samples,
            generator,
            about,
            event_file,
            outbox,
            drawing: drawing.clone(),
            report_cost: report_cost.clone(),
            owed_stories: None,
            spent: Spent::default(),
        };
        let thread = std::thread::spawn(move || {
            inbox.into_iter().for_each(|job| writer.do_job(job));
            WriterSummary {
                spent: writer.spent,
                owed: writer.owed.into_failure().or(writer.owed_stories),
            }
        });
        CheckpointWriter {
            jobs: Some(jobs),
            events,
            thread: Some(thread),
            drawing,
            report_cost,
            last_report: None,
        }
    }

    pub fn save(&self, save: CheckpointRequest) {
        self.send(Job::Save(Box::new(save)));
    }

    pub fn tell(&self, step: u64, weights: Vec<f32>) {
        self.send(Job::Tell(step, weights));
    }

    pub fn back_to(&self, step: u64) {
        self.send(Job::BackTo(step));
    }

    /// Whether it is time for a new report.
    pub fn report_is_due(&self) -> bool {
        let cost = self.report_cost.load(Ordering::Relaxed) as f64 * 1e-6;
        let pause = REPORT_EVERY.max(Duration::from_secs_f64(cost / REPORT_SHARE));
        !self.drawing.load(Ordering::Relaxed)
            && self.last_report.is_none_or(|last| last.elapsed() >= pause)
    }

    pub fn report(&mut self, snapshot: ReportSnapshot) {
        self.last_report = Some(Instant::now());
        self.drawing.store(true, Ordering::Relaxed);
        self.send(Job::Report(Box::new(snapshot)));
    }

    /// Waits until all that was asked for is done, and what the disk did not take was tried once more.
    pub fn flush(&self) {
        let (done, wait) = channel();
        self.send(Job::Flush(done));
        let _ = wait.recv();
    }

    /// What happened since this was asked last.
    pub fn events(&self) -> impl Iterator<Item = WriterEvent> + '_ {
        self.events.try_iter()
    }

    /// Waits for the last job.
    pub fn finish(mut self) -> Result<WriterSummary> {
        self.jobs = None;
        let ended = self.thread.take().map(JoinHandle::join);
        let ended = ended.and_then(std::result::Result::ok);
        ended.ok_or_else(|| {
            Failure::try_again("the thread that writes checkpoints and stories failed")
        })
    }

    fn send(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(job); // a thread that is gone is found by `finish`
        }
    }
}

impl Drop for CheckpointWriter {
    /// However a run ends, what it asked to keep is kept.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The thread's own.
struct WriterThread {
    folder: PathBuf,
    samples: Samples,
    generator: Generator,
    about: About,
    event_file: Arc<Mutex<Option<EventFile>>>,
    outbox: Sender<WriterEvent>,
    drawing: Arc<AtomicBool>,
    report_cost: Arc<AtomicU64>,
    /// What the disk did not take.
    owed: PendingWrites,
    owed_stories: Option<Failure>,
    spent: Spent,
}

impl WriterThread {
    fn do_job(&mut self, job: Job) {
        let started = Instant::now();
        let seconds = || started.elapsed().as_secs_f64();
        match job {
            Job::Save(save) => {
                let (step, stories) = (save.state.step, save.stories);
                let weights = self.save(*save);
                self.spent.checkpoints += seconds();
                if let Some(weights) = weights.filter(|_| stories) {
                    self.tell(step, &weights);
                }
            }
            Job::Tell(step, weights) => self.tell(step, &weights),
            Job::Report(snapshot) => {
                // Not being able to draw is no reason to stop, and a full disk tells elsewhere.
                let _ = report::write(&self.folder, &self.about, &snapshot, &self.samples.told);
                self.report_cost.store((seconds() * 1e6) as u64, Ordering::Relaxed);
                self.drawing.store(false, Ordering::Relaxed);
                self.spent.reports += seconds();
            }
            Job::BackTo(step) => {
                self.samples.back_to(step);
                self.owed.back_to(step);
            }
            Job::Flush(done) => {
                let owed = self.owes();
                self.write_stories();
                self.owed.pay();
                self.say_if_kept(owed);
                let _ = done.send(());
            }
        }
    }

    /// Writes a checkpoint; gives its weights back.
    fn save(&mut self, save: CheckpointRequest) -> Option<Vec<f32>> {
        let CheckpointRequest { snapshot, mut state, name, log, .. } = save;
        let step = state.step;
        let TrainerState { weights, slots, update } = match snapshot.wait() {
            Ok(trainer) => trainer,
            Err(error) => {
                self.say(WriterEvent::DeviceLost(failed(error)));
                return None;
            }
        };
        state.update = update;
        state.update[compute::state::LOSS] = 0.0; // of the last step alone, and perhaps not finite
        state.update[compute::state::GRAD_NORM] = 0.0;
        let checkpoint = Checkpoint { state, weights, slots };
        let owed = self.owes();
        self.write_stories();
        let (weights, failure) = self.owed.save(PendingCheckpoint { checkpoint, name, log });
        match failure {
            Some(failure) => self.say(WriterEvent::Failed { step, failure }),
            None => self.say_if_kept(owed),
        }
        Some(weights)
    }

    fn owes(&self) -> bool {
        !self.owed.is_empty() || self.owed_stories.is_some()
    }

    /// Tries once more to write stories that the disk did not take.
    fn write_stories(&mut self) {
        if self.owed_stories.is_some() {
            self.owed_stories = self.samples.write().err();
        }
    }

    fn say_if_kept(&self, owed: bool) {
        if owed && !self.owes() {
            self.say(WriterEvent::Recovered);
        }
    }

    fn tell(&mut self, step: u64, weights: &[f32]) {
        let started = Instant::now();
        if !self.samples.has(step) {
            let stories = self.generator.tell(weights);
            // A story that was cut short is not kept: the run that goes on tells it.
            if interrupt::requested() {
                return;
            }
            match stories {
                Ok(stories) => {
                    let told = StoriesAt { step, stories };
                    if let Some(events) =
                        self.event_file.lock().unwrap_or_else(PoisonError::into_inner).as_mut()
                    {
                        let _ = events.text(step, "stories", &told.markdown());
                    }
                    self.samples.told.push(told);
                    self.owed_stories = self.samples.write().err();
                }
                Err(failure) => self.owed_stories = Some(failure),
            }
            if let Some(failure) = self.owed_stories.clone() {
                self.say(WriterEvent::Failed { step, failure });
            }
        }
        self.spent.stories += started.elapsed().as_secs_f64();
    }

    fn say(&self, event: WriterEvent) {
        let _ = self.outbox.send(event);
    }
}

/// Tells the stories of samples.md, on the CPU.
pub struct Generator {
    pub prompts: Prompts,
    pub params: SamplingParams,
    pub config: Config,
    pub tokenizer: Arc<Tokenizer>,
}

impl Generator {
    fn tell(&self, weights: &[f32]) -> Result<Vec<Story>> {
        // One thread: others are at work for the training, and a team that has to wait for one of them loses more.
        let slots = self.params.slots.min(self.prompts.len()).max(1);
        let mut decoder = Decoder::on_cpu(self.config, weights.to_vec(), slots, 1, Storage::F32)
            .map_err(failed)?;
        generate(&mut decoder, &self.tokenizer, &self.prompts, self.params)
    }
}
