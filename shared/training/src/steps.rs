//! The loop of a run: step after step, and all that happens at its cadences.
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use compute::{KernelTime, Precision, STEPS_IN_FLIGHT, Ticket, Trainer};
use corpus::batch_sampler::BatchSampler;
use inference::{check_ids, evaluate, failed};
use model::{Best, Schedule};
use serde_json::json;
use stage::config::OnNan;
use stage::{Failure, Progress, Result, Unit, interrupt};

use crate::checkpoint_writer::{CheckpointRequest, CheckpointWriter, WriterEvent, WriterSummary};
use crate::checkpoints::CheckpointName;
use crate::report::{About, ReportSnapshot};
use crate::run::{ResumePoint, Run, finish_check};
use crate::tensorboard::EventFile;
use crate::view::{self, TerminalView};
use crate::{Checkpoints, LogLine, RunLog, peak};

/// A loss scale below this helps no more: gradients overflow for another reason.
const LEAST_LOSS_SCALE: f32 = 1.0 / 1024.0;
/// `train.on_nan = "rollback"` goes back so many times.
const ROLLBACKS: usize = 3;
/// Steps before the engine's peak is measured: the first ones are what people wait for.
const PEAK_AFTER: u64 = 10;
/// The view is drawn anew after so long.
const VIEW_EVERY: Duration = Duration::from_millis(250);
/// Things that happened, as the report lists them, at most.
const EVENTS: usize = 200;

/// Why the loop ended.
#[derive(Debug)]
pub enum Stop {
    /// All steps are done.
    Steps,
    /// `train.max_minutes`
    Minutes,
    /// `train.until_loss`: the validation loss that reached it.
    Loss(f64),
    /// A signal.
    Interrupt,
    /// The data cannot be read any more.
    Data(Failure),
}

/// A step whose report was not looked at yet.
struct InFlightStep {
    step: u64,
    ticket: Ticket,
    lr: f64,
    val_loss: Option<f64>,
}

/// A step that gave no finite loss or gradient.
struct NotFinite {
    step: u64,
    loss: f32,
    grad_norm: f32,
}

/// Time spent training, apart from time spent looking at it.
struct Clock {
    started: Instant,
    earlier_s: f64,
    training: Duration,
    tokens: u64,
}

impl Clock {
    fn elapsed_s(&self) -> f64 {
        self.earlier_s + self.started.elapsed().as_secs_f64()
    }

    /// Tokens per second of training since it was asked last.
    fn tokens_per_second(&mut self) -> f64 {
        let rate = self.tokens as f64 / self.training.as_secs_f64().max(1e-9);
        (self.training, self.tokens) = (Duration::ZERO, 0);
        rate
    }
}

/// What the loop carries from step to step.
pub struct Steps<'a> {
    run: &'a Run,
    pub trainer: Trainer,
    sampler: BatchSampler<'a>,
    pub writer: CheckpointWriter,
    checkpoints: Checkpoints,
    pub about: About,
    event_file: Arc<Mutex<Option<EventFile>>>,
    verified: Option<JoinHandle<Result<()>>>,
    /// Updates done, whether landed or not; and how many were when it began.
    next: u64,
    first: u64,
    best: Option<Best>,
    redrawn: Vec<u64>,
    rollbacks: usize,
    run_log: RunLog,
    clock: Clock,
    last: Option<LogLine>,
    /// Steps that the device may still be at, the oldest first.
    in_flight: VecDeque<InFlightStep>,
    /// Time of the kernels of training steps so far.
    profile: Vec<KernelTime>,
    progress: Progress,
    view: TerminalView,
    drawn: Instant,
    peak: Option<f64>,
    happened: Vec<String>,
    /// The log could not be written last time.
    log_owed: bool,
    fault: Option<Fault>,
}

impl<'a> Steps<'a> {
    pub fn new(
        run: &'a Run,
        trainer: Trainer,
        sampler: BatchSampler<'a>,
        resumed: ResumePoint,
        run_log: RunLog,
        writer: CheckpointWriter,
        checkpoints: Checkpoints,
        about: About,
        event_file: Arc<Mutex<Option<EventFile>>>,
        verified: JoinHandle<Result<()>>,
    ) -> Self {
        let progress = run.log.progress("train", Unit::Steps, Some(run.pipeline.train.steps));
        progress.skip(resumed.step);
        let mut view = TerminalView::new(trainer.model.kernels.bytes());
        run_log.lines.iter().for_each(|line| view.loss(line.loss));
        view.best = resumed.best.map(|best| best.val_loss);
        let clock = Clock {
            started: Instant::now(),
            earlier_s: run_log.elapsed_s(),
            training: Duration::ZERO,
            tokens: 0,
        };
        Steps {
            run,
            trainer,
            sampler,
            writer,
            checkpoints,
            about,
            event_file,
            verified: Some(verified),
            next: resumed.step,
            first: resumed.step,
            best: resumed.best,
            redrawn: resumed.redrawn,
            rollbacks: 0,
            last: run_log.lines.last().cloned(),
            run_log,
            clock,
            in_flight: VecDeque::with_capacity(STEPS_IN_FLIGHT + 1),
            profile: Vec::new(),
            progress,
            view,
            drawn: Instant::now(),
            peak: None,
            happened: Vec::new(),
            log_owed: false,
            fault: Fault::asked_for(),
        }
    }

    /// Trains until something ends it. All steps have landed then, and the last state is being saved.
    pub fn run(&mut self) -> Result<Stop> {
        let t = &self.run.pipeline.train;
        let stop = loop {
            if self.next >= t.steps {
                break Stop::Steps;
            }
            if t.max_minutes.is_some_and(|minutes| self.elapsed_s() >= 60.0 * minutes) {
                break Stop::Minutes;
            }
            let mut val_loss = None;
            if self.next.is_multiple_of(t.val_every) {
                if let Some(bad) = self.land(0)? {
                    self.not_finite(bad)?;
                    continue;
                }
                match self.validate() {
                    Ok(loss) => val_loss = Some(loss),
                    Err(failure) => break Stop::Data(failure),
                }
            }
            if let Some(loss) =
                val_loss.filter(|loss| t.until_loss.is_some_and(|until| *loss <= until))
            {
                break Stop::Loss(loss);
            }
            if let Err(failure) = self.step(val_loss) {
                break Stop::Data(failure);
            }
            let mut bad = self.land(STEPS_IN_FLIGHT)?;
            let stop = interrupt::requested();
            if bad.is_none() && (stop || self.next.is_multiple_of(t.checkpoint_every)) {
                bad = self.land(0)?;
                if bad.is_none() {
                    let numbered = self.next.is_multiple_of(t.checkpoint_every);
                    self.save(
                        if numbered {
                            CheckpointName::LastAndNumbered
                        } else {
                            CheckpointName::Last
                        },
                        numbered,
                    )?;
                }
            }
            if let Some(bad) = bad {
                self.not_finite(bad)?;
            } else if stop {
                break Stop::Interrupt;
            }
            self.hear()?;
        };
        if let Some(bad) = self.land(0)? {
            self.not_finite(bad)?;
            return self.run();
        }
        finish_check(&mut self.verified)?;
        if !matches!(stop, Stop::Interrupt) && !self.next.is_multiple_of(t.checkpoint_every) {
            self.save(CheckpointName::Last, false)?;
        }
        self.take_profile(true)?;
        self.progress.clear();
        Ok(stop)
    }

    /// Records one step.
    fn step(&mut self, val_loss: Option<f64>) -> Result<()> {
        let t = &self.run.pipeline.train;
        if let Some(fault) = &mut self.fault {
            fault.strike(self.next, &mut self.trainer)?;
        }
        let started = Instant::now();
        let (step, tokens) = (self.next, self.run.tokens_per_step());
        let lr = self.learning_rate(step);
        let mut windows = Vec::new();
        self.trainer.begin();
        for micro in 0..u64::from(t.accumulate) {
            self.batch(step, micro, &mut windows)?;
            self.trainer.accumulate(&windows, 1.0 / tokens as f32);
        }
        let ticket = self.trainer.update(lr as f32, t.clip as f32);
        self.in_flight.push_back(InFlightStep { step, ticket, lr, val_loss });
        self.clock.training += started.elapsed();
        self.clock.tokens += tokens;
        self.next += 1;
        Ok(())
    }

    /// The windows of a micro-batch. Those of a step that was taken out come from further on in its stream.
    fn batch(&self, step: u64, micro: u64, windows: &mut Vec<u32>) -> Result<()> {
        let times = self.redrawn.iter().filter(|&&redrawn| redrawn == step).count() as u64;
        self.sampler.batch(
            step,
            micro + times * u64::from(self.run.pipeline.train.accumulate),
            windows,
        )?;
        check_ids(self.run.train.path(), windows, self.run.config.vocab_size)
    }

    /// Learning rate of a step.
    pub fn learning_rate(&self, step: u64) -> f64 {
        let t = &self.run.pipeline.train;
        let share = t.max_minutes.map_or(0.0, |minutes| self.elapsed_s() / (60.0 * minutes));
        Schedule { peak: t.lr, warmup: t.warmup, steps: t.steps }.learning_rate_at(step, share)
    }

    fn validate(&mut self) -> Result<f64> {
        self.take_profile(true)?;
        let windows = self.run.pipeline.train.val_windows;
        let loss = evaluate(
            &mut self.trainer.model,
            &self.run.validation,
            self.run.config.context,
            windows,
            |_| Ok(()),
        )?
        .loss();
        self.take_profile(false)?;
        self.view.validation = Some((self.next, loss));
        // Before training every loss would be the best.
        if self.next > 0 && self.best.is_none_or(|best| loss < best.val_loss) {
            self.best = Some(Best { step: self.next, val_loss: loss });
            self.view.best = Some(loss);
            self.save(CheckpointName::Best, false)?;
        }
        Ok(loss)
    }

    /// Hands the state of this moment to the writer.
    fn save(&mut self, name: CheckpointName, stories: bool) -> Result<()> {
        finish_check(&mut self.verified)?;
        let state = self.run.state(&self.trainer, self.next, self.best, &self.redrawn);
        let snapshot = self.trainer.snapshot().map_err(failed)?;
        self.writer.save(CheckpointRequest {
            snapshot,
            state,
            name,
            stories,
            log: Some(self.run_log.handle()?),
        });
        Ok(())
    }

    /// Looks at the reports of steps that the device has done; waits until no more than `most` are under way.
    fn land(&mut self, most: usize) -> Result<Option<NotFinite>> {
        let t = &self.run.pipeline.train;
        while let Some(&InFlightStep { step, ticket, lr, val_loss }) = self.in_flight.front() {
            let started = Instant::now();
            let wait = self.in_flight.len() > most;
            let metrics = self
                .trainer
                .metrics(ticket, 1.0 / self.run.tokens_per_step() as f32, wait)
                .map_err(failed)?;
            self.clock.training += started.elapsed();
            let Some(metrics) = metrics else { return Ok(None) };
            self.in_flight.pop_front();
            let precision = self.trainer.model.kernels.precision();
            // In f16 a gradient may overflow: the update was skipped and the loss scale halved. Anything else is the end.
            let overflow = precision == Precision::F16
                && metrics.loss.is_finite()
                && metrics.loss_scale >= LEAST_LOSS_SCALE;
            if !metrics.loss.is_finite() || !(metrics.grad_norm.is_finite() || overflow) {
                return Ok(Some(NotFinite {
                    step,
                    loss: metrics.loss,
                    grad_norm: metrics.grad_norm,
                }));
            }
            if !metrics.grad_norm.is_finite() {
                let note = format!(
                    "step {step}: a gradient overflowed f16; the update was skipped, the loss scale is now {}",
                    metrics.loss_scale
                );
                self.tell(
                    "skipped",
                    json!({ "step": step, "loss_scale": metrics.loss_scale }),
                    note,
                );
            }
            self.view.loss(metrics.loss);
            self.progress.note(format!("loss {:.3}", metrics.loss));
            self.progress.add(1);
            if step.is_multiple_of(t.log_every) || val_loss.is_some() || step + 1 == t.steps {
                let line = LogLine {
                    step,
                    loss: metrics.loss,
                    lr,
                    grad_norm: Some(metrics.grad_norm).filter(|norm| norm.is_finite()),
                    tokens_per_second: self.clock.tokens_per_second(),
                    elapsed_s: self.clock.elapsed_s(),
                    val_loss,
                    loss_scale: (precision == Precision::F16).then_some(metrics.loss_scale),
                };
                self.log_line(line);
                if self.peak.is_none() && step >= self.first + PEAK_AFTER {
                    // One attempt: a GPU whose memory is full goes without.
                    self.peak = Some(peak::measure(&self.run.engine).unwrap_or(f64::NAN));
                }
                if self.writer.report_is_due() {
                    let snapshot = self.snapshot("training".into(), false);
                    self.writer.report(snapshot);
                }
            }
            self.draw(metrics.loss, lr);
        }
        Ok(None)
    }

    fn draw(&mut self, loss: f32, lr: f64) {
        if !self.progress.is_live() || self.drawn.elapsed() < VIEW_EVERY {
            return;
        }
        self.drawn = Instant::now();
        self.view.last = self.last.clone();
        self.view.epochs = self.about.epochs(self.next);
        self.view.share_of_peak = self.share_of_peak();
        let view = &self.view;
        self.progress.panel(|width| view.lines(loss, lr, width));
    }

    /// FLOP/s of the training, of the last line.
    fn flop_per_second(&self) -> f64 {
        self.last.as_ref().map_or(0.0, |line| line.tokens_per_second)
            * self.run.config.training_flop_per_token()
    }

    fn share_of_peak(&self) -> Option<f64> {
        self.peak.filter(|peak| peak.is_finite()).map(|peak| self.flop_per_second() / peak)
    }

    /// Says a line, keeps it and writes it. A disk that is full gets it later.
    pub fn log_line(&mut self, line: LogLine) {
        let validation =
            line.val_loss.map_or(String::new(), |loss| format!(", validation {loss:.4}"));
        let text = format!(
            "step {}: loss {:.4}{validation}, lr {:.2e}, norm {:.2}, {:.0} tokens/s",
            line.step,
            line.loss,
            line.lr,
            line.grad_norm.unwrap_or(f32::INFINITY),
            line.tokens_per_second
        );
        // At a terminal the view shows the rest.
        if !self.progress.is_live() || line.val_loss.is_some() {
            self.progress.suspend(|| self.run.log.event("step", json!(line), &text));
        }
        if let Some(file) = self.event_file.lock().unwrap_or_else(PoisonError::into_inner).as_mut()
        {
            let _ = file.line(&line); // whoever looks at it looks at loss.jsonl, too
        }
        self.last = Some(line.clone());
        let written = self.run_log.append(line);
        if let Err(failure) = &written
            && !self.log_owed
        {
            self.warn(format!(
                "{failure}\n  the training goes on; what could not be written is tried again"
            ));
        }
        self.log_owed = written.is_err();
    }

    /// Says something that the report should list, too.
    fn tell(&mut self, event: &str, fields: serde_json::Value, text: String) {
        self.progress.suspend(|| self.run.log.event(event, fields, &text));
        self.remember(text);
    }

    fn warn(&mut self, text: String) {
        self.progress.suspend(|| self.run.log.warn(&text));
        self.remember(text);
    }

    fn remember(&mut self, text: String) {
        if self.happened.len() < EVENTS {
            self.happened.push(text);
        }
    }

    /// Hears what the writer has to say.
    fn hear(&mut self) -> Result<()> {
        let events: Vec<WriterEvent> = self.writer.events().collect();
        for event in events {
            match event {
                WriterEvent::DeviceLost(failure) => return Err(failure),
                WriterEvent::Recovered => {
                    let step = self.next;
                    self.tell(
                        "kept",
                        json!({ "step": step }),
                        format!("step {step}: all is written again"),
                    );
                }
                WriterEvent::Failed { step, failure } => {
                    self.warn(format!(
                        "step {step}: {failure}\n  the training goes on; it is tried again at the next save, and at the end"
                    ));
                }
            }
        }
        Ok(())
    }

    /// Ends the run, or goes back to the last checkpoint and on without the batch.
    fn not_finite(&mut self, bad: NotFinite) -> Result<()> {
        let NotFinite { step, loss, grad_norm } = bad;
        for flying in std::mem::take(&mut self.in_flight) {
            self.trainer.metrics(flying.ticket, 1.0, true).map_err(failed)?;
        }
        let mut windows = Vec::new();
        let mut first = None;
        for micro in 0..u64::from(self.run.pipeline.train.accumulate) {
            self.batch(step, micro, &mut windows)?;
            first = first.or(self.trainer.first_not_finite(&windows).map_err(failed)?);
        }
        let first = first.unwrap_or_else(|| {
            "nothing that can be found now that the updates after it are done".into()
        });
        let what = format!(
            "step {step}: the loss is {loss}, the norm of the gradient {grad_norm}; not finite first: {first}"
        );
        self.writer.flush();
        self.hear()?;
        let on = self.run.pipeline.train.on_nan;
        if on == OnNan::Stop || self.rollbacks == ROLLBACKS {
            let tried = if on == OnNan::Stop {
                String::new()
            } else {
                format!("\n  tried: {ROLLBACKS} times to go on without such a batch")
            };
            let remedy = "a lower train.lr, a longer train.warmup or a smaller train.clip; --on-nan rollback skips single batches";
            let folder = self.run.folder.display();
            return Err(Failure::try_again(format!(
                "{what}{tried}\n  kept: the last checkpoint in {folder}\n  remedy: {remedy}"
            )));
        }
        self.rollbacks += 1;
        let resumed = match self.run.resume(&self.checkpoints, &mut self.trainer)? {
            checkpoint if checkpoint.step > 0 => checkpoint,
            start => {
                self.run.restart(&mut self.trainer);
                start
            }
        };
        (self.next, self.best) = (resumed.step, resumed.best);
        self.view.best = resumed.best.map(|best| best.val_loss);
        self.redrawn.push(step);
        self.run_log = RunLog::open(&self.run.folder.join("loss.jsonl"), resumed.step)?;
        self.last = self.run_log.lines.last().cloned();
        self.writer.back_to(resumed.step);
        self.progress.set_done(resumed.step);
        let text = format!(
            "{what}\n  back to step {}, and on without that batch ({} of {ROLLBACKS})",
            resumed.step, self.rollbacks
        );
        self.tell(
            "rollback",
            json!({ "step": step, "back_to": resumed.step, "first": first }),
            text,
        );
        let mut file = self.event_file.lock().unwrap_or_else(PoisonError::into_inner);
        *file = EventFile::create(&self.run.folder.join("tb"), resumed.step).ok();
        Ok(())
    }

    /// The run as the report shows it.
    pub fn snapshot(&self, state: String, ended: bool) -> ReportSnapshot {
        let t = &self.run.pipeline.train;
        let done = self.next - self.in_flight.len() as u64;
        let rate = self.clock.started.elapsed().as_secs_f64()
            / (done.saturating_sub(self.first)).max(1) as f64;
        let left = rate * t.steps.saturating_sub(done) as f64;
        let left = t
            .max_minutes
            .map_or(left, |minutes| left.min((60.0 * minutes - self.elapsed_s()).max(0.0)));
        ReportSnapshot {
            lines: self.run_log.lines.clone(),
            step: done,
            state,
            ended,
            elapsed_s: self.elapsed_s(),
            seconds_left: (!ended).then_some(left),
            best: self.best,
            flop_per_second: self.flop_per_second(),
            peak: self.peak.filter(|peak| peak.is_finite()),
            memory: view::memory(self.trainer.model.kernels.bytes()),
            events: self.happened.clone(),
        }
    }

    /// Takes what the engine kept of its kernels' time since the last call; only steps `count`.
    fn take_profile(&mut self, count: bool) -> Result<()> {
        for row in self.trainer.model.kernels.profile().map_err(failed)? {
            match self
                .profile
                .iter_mut()
                .find(|sum| sum.kernel == row.kernel && sum.shape == row.shape)
            {
                _ if !count => {}
                Some(sum) => {
                    sum.calls += row.calls;
                    sum.seconds += row.seconds;
                    sum.flop += row.flop;
                    sum.bytes += row.bytes;
                }
                None => self.profile.push(row),
            }
        }
        self.profile.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        Ok(())
    }

    /// Updates done.
    pub fn done(&self) -> u64 {
        self.next
    }

    pub fn last(&self) -> Option<LogLine> {
        self.last.clone()
    }

    pub fn lines(&self) -> &[LogLine] {
        &self.run_log.lines
    }

    /// Of the run so far, earlier parts included.
    pub fn elapsed_s(&self) -> f64 {
        self.clock.elapsed_s()
    }

    pub fn profile(&mut self) -> Vec<KernelTime> {
        std::mem::take(&mut self.profile)
    }

    /// The end after a signal: the step that is saved, or owed.
    pub fn interrupted(mut self) -> Result<(u64, WriterSummary)> {
        let snapshot = self.snapshot("interrupted".into(), true);
        self.writer.report(snapshot);
        let step = self.next;
        Ok((step, self.end()?))
    }

    /// Waits for all that is being written.
    pub fn end(mut self) -> Result<WriterSummary> {
        self.run_log.flush()?;
        self.writer.flush();
        self.hear()?;
        let Steps { writer, progress, .. } = self;
        progress.finish();
        writer.finish()
    }
}

/// For tests of what happens then: `BEDTIME_FAULT=nan@STEP` or `nan@STEPxTIMES` puts a NaN into the weights.
struct Fault {
    step: u64,
    times: u64,
}

impl Fault {
    fn asked_for() -> Option<Self> {
        let text = std::env::var("BEDTIME_FAULT").ok()?;
        let (step, times) =
            text.strip_prefix("nan@").map(|rest| rest.split_once('x').unwrap_or((rest, "1")))?;
        Some(Fault { step: step.parse().ok()?, times: times.parse().ok()? })
    }

    fn strike(&mut self, step: u64, trainer: &mut Trainer) -> Result<()> {
        if step == self.step && self.times > 0 {
            self.times -= 1;
            let mut weights = trainer.model.weights().map_err(failed)?;
            let last = trainer
                .model
                .table
                .tensors
                .iter()
                .rfind(|tensor| tensor.name.contains("down_proj"));
            weights[last.map_or(0, |tensor| tensor.offset)] = f32::NAN;
            trainer.model.set_weights(&weights);
        }
        Ok(())
    }
}
