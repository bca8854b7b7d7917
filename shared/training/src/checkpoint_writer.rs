//! The thread that writes checkpoints and generates stories beside the training.
//!
//! Jobs are done one after the other, and that order is a promise: what a checkpoint takes for granted (the stories generated
//! before it, the best validation before it, the lines of the log) is on disk when it gets its name.
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;

use compute::{Decoder, Storage, TrainerSnapshot, TrainerState};
use corpus::tokenizer::Tokenizer;
use inference::{Prompts, SamplingParams, Story, failed, generate};
use model::{Checkpoint, CheckpointState, Config};
use stage::{Failure, Result, interrupt};

use crate::checkpoints::{CheckpointName, Checkpoints};
use crate::observer::RunObserver;
use crate::pending_writes::{PendingCheckpoint, PendingWrites};
use crate::samples::Samples;
use crate::stories::StoriesAt;

/// Jobs that may wait: then the training waits, too, and memory does not grow.
const WAITING: usize = 2;

/// A state of the run to be written.
pub(crate) struct CheckpointRequest {
    /// Weights, the optimizer's slots and the state of the update.
    pub snapshot: TrainerSnapshot,
    /// All else, but for `update`.
    pub state: CheckpointState,
    pub name: CheckpointName,
    /// Generate the stories of this checkpoint, too.
    pub stories: bool,
}

enum Job {
    Save(Box<CheckpointRequest>),
    /// Generate the stories of these weights, which have this number of updates, unless they are there.
    Generate(u64, Vec<f32>),
    /// Forget the stories after this step.
    BackTo(u64),
    /// Try pending writes once more, and answer when all jobs before are done.
    Flush(Sender<()>),
}

/// What the training gets to know.
#[derive(Debug)]
pub(crate) enum WriterEvent {
    Stories(StoriesAt),
    /// Something could not be written; it is tried again at the next save, and at the end.
    Failed {
        step: u64,
        failure: Failure,
    },
    /// What could not be written before is written now.
    Recovered,
    DeviceLost(Failure),
}

/// Seconds that the thread took for each kind of work.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    pub checkpoints: f64,
    pub stories: f64,
}

/// The end of the thread.
pub(crate) struct WriterSummary {
    pub spent: Spent,
    /// Why something is still not written.
    pub pending: Option<Failure>,
}

pub(crate) struct CheckpointWriter {
    jobs: Option<SyncSender<Job>>,
    events: Receiver<WriterEvent>,
    thread: Option<JoinHandle<WriterSummary>>,
}

impl CheckpointWriter {
    /// Starts the thread for a run in `folder`.
    pub(crate) fn start(
        folder: &Path,
        checkpoints: Checkpoints,
        samples: Samples,
        generator: Generator,
    ) -> Self {
        let (jobs, inbox) = sync_channel(WAITING);
        let (outbox, events) = channel();
        let mut writer = WriterThread {
            pending: PendingWrites::new(checkpoints, folder.join("loss.jsonl")),
            pending_stories: None,
            samples,
            generator,
            outbox,
            spent: Spent::default(),
        };
        let thread = std::thread::spawn(move || {
            inbox.into_iter().for_each(|job| writer.do_job(job));
            WriterSummary {
                spent: writer.spent,
                pending: writer.pending.into_failure().or(writer.pending_stories),
            }
        });
        CheckpointWriter { jobs: Some(jobs), events, thread: Some(thread) }
    }

    pub(crate) fn save(&self, request: CheckpointRequest) {
        self.send(Job::Save(Box::new(request)));
    }

    pub(crate) fn generate(&self, step: u64, weights: Vec<f32>) {
        self.send(Job::Generate(step, weights));
    }

    pub(crate) fn back_to(&self, step: u64) {
        self.send(Job::BackTo(step));
    }

    /// Waits until all jobs are done and pending writes were tried once more.
    pub(crate) fn flush(&self) {
        let (done, wait) = channel();
        self.send(Job::Flush(done));
        let _ = wait.recv();
    }

    /// What happened since the last call.
    pub(crate) fn events(&self) -> Vec<WriterEvent> {
        self.events.try_iter().collect()
    }

    /// Waits for the last job.
    pub(crate) fn finish(mut self) -> Result<WriterSummary> {
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
    /// However a run ends, what it asked to write is written.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the thread owns.
struct WriterThread {
    pending: PendingWrites,
    pending_stories: Option<Failure>,
    samples: Samples,
    generator: Generator,
    outbox: Sender<WriterEvent>,
    spent: Spent,
}

impl WriterThread {
    fn do_job(&mut self, job: Job) {
        match job {
            Job::Save(request) => {
                let started = Instant::now();
                let (step, stories) = (request.state.step, request.stories);
                let weights = self.save(*request);
                self.spent.checkpoints += started.elapsed().as_secs_f64();
                if let Some(weights) = weights.filter(|_| stories) {
                    self.generate(step, &weights);
                }
            }
            Job::Generate(step, weights) => self.generate(step, &weights),
            Job::BackTo(step) => {
                let _ = self.samples.back_to(step); // only memory
                self.pending.back_to(step);
            }
            Job::Flush(done) => {
                let pending = self.is_pending();
                self.write_stories();
                self.pending.retry();
                self.say_if_recovered(pending);
                let _ = done.send(());
            }
        }
    }

    /// Writes a checkpoint; gives its weights back.
    fn save(&mut self, request: CheckpointRequest) -> Option<Vec<f32>> {
        let CheckpointRequest { snapshot, mut state, name, .. } = request;
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
        let pending = self.is_pending();
        self.write_stories();
        let (weights, failure) = self.pending.save(PendingCheckpoint { checkpoint, name });
        match failure {
            Some(failure) => self.say(WriterEvent::Failed { step, failure }),
            None => self.say_if_recovered(pending),
        }
        Some(weights)
    }

    fn is_pending(&self) -> bool {
        !self.pending.is_empty() || self.pending_stories.is_some()
    }

    /// Tries once more to write stories that the disk did not take.
    fn write_stories(&mut self) {
        if self.pending_stories.is_some() {
            self.pending_stories = self.samples.flush().err();
        }
    }

    fn say_if_recovered(&self, pending: bool) {
        if pending && !self.is_pending() {
            self.say(WriterEvent::Recovered);
        }
    }

    fn generate(&mut self, step: u64, weights: &[f32]) {
        if self.samples.has(step) {
            return;
        }
        let started = Instant::now();
        let stories = self.generator.generate(weights);
        // A story that was cut short is not kept: the run that goes on generates it.
        if interrupt::requested() {
            return;
        }
        match stories {
            Ok(stories) => {
                let stories = StoriesAt { step, stories };
                self.pending_stories = self.samples.stories(&stories).err();
                self.say(WriterEvent::Stories(stories));
            }
            Err(failure) => self.pending_stories = Some(failure),
        }
        if let Some(failure) = self.pending_stories.clone() {
            self.say(WriterEvent::Failed { step, failure });
        }
        self.spent.stories += started.elapsed().as_secs_f64();
    }

    fn say(&self, event: WriterEvent) {
        let _ = self.outbox.send(event);
    }
}

/// Generates the stories of samples.md, on the CPU.
pub(crate) struct Generator {
    pub prompts: Prompts,
    pub params: SamplingParams,
    pub config: Config,
    pub tokenizer: Arc<Tokenizer>,
}

impl Generator {
    fn generate(&self, weights: &[f32]) -> Result<Vec<Story>> {
        // One thread: the training needs the others, and a team that has to wait for one of them loses more.
        let slots = self.params.slots.min(self.prompts.len()).max(1);
        let mut decoder = Decoder::on_cpu(self.config, weights.to_vec(), slots, 1, Storage::F32)
            .map_err(failed)?;
        generate(&mut decoder, &self.tokenizer, &self.prompts, self.params)
    }
}
