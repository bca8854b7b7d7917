//! The loop of a run: step after step, and what happens at its cadences.
use std::time::Instant;

use compute::{Precision, STEPS_IN_FLIGHT, Trainer};
use inference::{LossSum, evaluate, failed};
use model::{Best, CheckpointState, Schedule};
use serde_json::json;
use stage::config::OnNan;
use stage::{Action, Failure, Result, interrupt};

use crate::batches::Batches;
use crate::bin_check::BinCheck;
use crate::checkpoint_writer::{CheckpointRequest, CheckpointWriter, WriterEvent, WriterSummary};
use crate::checkpoints::{CheckpointName, Checkpoints};
use crate::clock::Clock;
use crate::fault::Fault;
use crate::in_flight::{InFlight, InFlightStep, NotFinite};
use crate::log_line::LogLine;
use crate::observer::{RunEvent, Status, StepMetrics};
use crate::observers::Observers;
use crate::peak;
use crate::profile::Profile;
use crate::reference::{Course, Reference};
use crate::resume::{ResumePoint, restart, resume};
use crate::setup::Setup;

/// Times that `train.on_nan = "rollback"` goes back.
const ROLLBACKS: usize = 3;
/// Steps before the engine's peak is measured: the first ones are what people wait for.
const PEAK_AFTER: u64 = 10;

/// Why the loop ended.
#[derive(Debug)]
pub(crate) enum Stop {
    /// All steps are done.
    Steps,
    /// `train.max_minutes`
    Minutes,
    /// `train.until_loss`: the validation loss that reached it.
    Loss(f64),
    /// `train.patience`: the best validation before it.
    Patience(Best),
    /// A signal.
    Interrupt,
    /// The data cannot be read any more.
    Data(Failure),
}

/// What the loop begins with.
pub(crate) struct Start<'a> {
    pub setup: &'a Setup,
    pub trainer: Trainer,
    pub batches: Batches<'a>,
    pub checkpoints: Checkpoints,
    pub resumed: ResumePoint,
    /// Lines of the log of earlier parts.
    pub lines: Vec<LogLine>,
    pub observers: Observers,
    pub writer: CheckpointWriter,
    pub check: BinCheck,
}

/// What is left when all is written.
pub(crate) struct StepsSummary {
    pub writer: WriterSummary,
    /// Seconds that observers worked beside the training.
    pub observers_s: f64,
    pub profile: Profile,
    /// Steps of this part of the run.
    pub steps: u64,
}

/// What the loop carries from step to step.
pub(crate) struct Steps<'a> {
    setup: &'a Setup,
    pub trainer: Trainer,
    batches: Batches<'a>,
    checkpoints: Checkpoints,
    writer: CheckpointWriter,
    observers: Observers,
    check: BinCheck,
    /// Updates recorded, and how many were when the loop began.
    next: u64,
    first: u64,
    best: Option<Best>,
    lines: Vec<LogLine>,
    in_flight: InFlight,
    clock: Clock,
    profile: Profile,
    /// FLOP/s of a large matmul: None before it was measured, NaN where it could not be.
    peak: Option<f64>,
    rollbacks: usize,
    fault: Option<Fault>,
    course: Course,
}

impl<'a> Steps<'a> {
    pub(crate) fn new(start: Start<'a>) -> Self {
        let Start { mut batches, resumed, lines, .. } = start;
        batches.set_redrawn(resumed.redrawn);
        Steps {
            course: Course::new(
                Reference::of(&start.setup.pipeline),
                start.setup.pipeline.train.steps,
                resumed.step,
            ),
            setup: start.setup,
            trainer: start.trainer,
            batches,
            checkpoints: start.checkpoints,
            writer: start.writer,
            observers: start.observers,
            check: start.check,
            next: resumed.step,
            first: resumed.step,
            best: resumed.best,
            clock: Clock::start(lines.last().map_or(0.0, |line| line.elapsed_s)),
            lines,
            in_flight: InFlight::default(),
            profile: Profile::default(),
            peak: None,
            rollbacks: 0,
            fault: Fault::from_environment(),
        }
    }

    /// Trains until something ends it. The device has done all steps then, and the last state is being saved.
    pub(crate) fn run(&mut self) -> Result<Stop> {
        let stop = loop {
            let stop = self.advance()?;
            self.hear()?;
            let Some(stop) = stop else { continue };
            match self.land(0)? {
                None => break stop,
                Some(bad) => self.not_finite(bad)?,
            }
        };
        self.check.finish()?;
        let is_saved = self.next.is_multiple_of(self.setup.pipeline.train.checkpoint_every)
            || matches!(stop, Stop::Interrupt);
        if !is_saved {
            self.save(CheckpointName::Last, false)?;
        }
        self.take_profile(true)?;
        self.observers.trained();
        Ok(stop)
    }

    /// One step and what is due with it: validation before it, a checkpoint after it.
    fn advance(&mut self) -> Result<Option<Stop>> {
        let t = &self.setup.pipeline.train;
        if self.next >= t.steps {
            return Ok(Some(Stop::Steps));
        }
        if t.max_minutes.is_some_and(|minutes| self.clock.elapsed_s() >= 60.0 * minutes) {
            return Ok(Some(Stop::Minutes));
        }
        let mut val_loss = None;
        if self.next.is_multiple_of(t.val_every) {
            if let Some(bad) = self.land(0)? {
                self.not_finite(bad)?;
                return Ok(None);
            }
            match self.validate() {
                Ok(loss) => val_loss = Some(loss),
                Err(failure) => return Ok(Some(Stop::Data(failure))),
            }
        }
        if let Some(loss) = val_loss.filter(|loss| t.until_loss.is_some_and(|until| *loss <= until))
        {
            return Ok(Some(Stop::Loss(loss)));
        }
        if let Some(best) =
            self.best.filter(|best| val_loss.is_some() && self.is_patience_over(best))
        {
            return Ok(Some(Stop::Patience(best)));
        }
        if let Err(failure) = self.step(val_loss) {
            return Ok(Some(Stop::Data(failure)));
        }
        let mut bad = self.land(STEPS_IN_FLIGHT)?;
        let stop = interrupt::requested();
        let numbered = self.next.is_multiple_of(t.checkpoint_every);
        if bad.is_none() && (stop || numbered) {
            bad = self.land(0)?;
            if bad.is_none() {
                use CheckpointName::{Last, LastAndNumbered};
                self.save(if numbered { LastAndNumbered } else { Last }, numbered)?;
            }
        }
        match bad {
            Some(bad) => self.not_finite(bad).map(|()| None),
            None => Ok(stop.then_some(Stop::Interrupt)),
        }
    }

    /// Validations come every `val_every` steps: those since the best one need no count of their own.
    fn is_patience_over(&self, best: &Best) -> bool {
        let t = &self.setup.pipeline.train;
        let since = self.next.saturating_sub(best.step) / t.val_every;
        t.patience.is_some_and(|patience| since >= patience)
    }

    /// Records one step.
    fn step(&mut self, val_loss: Option<f64>) -> Result<()> {
        let t = &self.setup.pipeline.train;
        if let Some(fault) = &mut self.fault {
            fault.strike(self.next, &mut self.trainer)?;
        }
        let started = Instant::now();
        let (step, tokens) = (self.next, self.setup.tokens_per_step());
        let lr = self.learning_rate(step);
        let mut windows = Vec::new();
        self.trainer.begin();
        for micro in 0..u64::from(t.accumulate) {
            self.batches.fill(step, micro, &mut windows)?;
            self.trainer.accumulate(&windows, 1.0 / tokens as f32);
        }
        let ticket = self.trainer.update(lr as f32, t.clip as f32);
        self.in_flight.push(InFlightStep { step, ticket, lr, val_loss });
        self.clock.trained(started.elapsed(), tokens);
        self.next += 1;
        Ok(())
    }

    /// Learning rate of a step.
    fn learning_rate(&self, step: u64) -> f64 {
        let t = &self.setup.pipeline.train;
        let share = t.max_minutes.map_or(0.0, |minutes| self.clock.elapsed_s() / (60.0 * minutes));
        Schedule::new(t).learning_rate_at(step, share)
    }

    fn validate(&mut self) -> Result<f64> {
        self.take_profile(true)?;
        let (setup, windows) = (self.setup, self.setup.pipeline.train.val_windows);
        let model = &mut self.trainer.model;
        let sum: LossSum =
            evaluate(model, &setup.validation, setup.config.context, windows, |_| Ok(()))?;
        let loss = sum.loss();
        self.take_profile(false)?;
        // Before training every loss would be the best.
        if self.next > 0 && self.best.is_none_or(|best| loss < best.val_loss) {
            self.best = Some(Best { step: self.next, val_loss: loss });
            self.save(CheckpointName::Best, false)?;
        }
        Ok(loss)
    }

    /// Hands the present state to the writer.
    fn save(&mut self, name: CheckpointName, stories: bool) -> Result<()> {
        self.check.finish()?;
        let state = self.state();
        let snapshot = self.trainer.snapshot().map_err(failed)?;
        Ok(self.writer.save(CheckpointRequest { snapshot, state, name, stories }))
    }

    /// What a checkpoint says beside tensors; `update` comes with them.
    fn state(&self) -> CheckpointState {
        let (setup, kernels) = (self.setup, &self.trainer.model.kernels);
        CheckpointState {
            step: self.next,
            config: setup.config,
            settings: setup.settings.clone(),
            tokenizer_sha256: setup.tokenizer.sha256().to_owned(),
            device: kernels.device(),
            precision: kernels.precision().name().to_owned(),
            plan: kernels.plan(),
            update: Vec::new(),
            best: self.best,
            redrawn: self.batches.redrawn().to_vec(),
        }
    }

    /// Looks at the metrics of steps that the device has done; waits until no more than `most` are in flight.
    fn land(&mut self, most: usize) -> Result<Option<NotFinite>> {
        let scale = 1.0 / self.setup.tokens_per_step() as f32;
        let precision = self.trainer.model.kernels.precision();
        loop {
            let started = Instant::now();
            let landed = self.in_flight.next(&mut self.trainer, scale, most)?;
            self.clock.trained(started.elapsed(), 0);
            let Some((InFlightStep { step, lr, val_loss, .. }, metrics)) = landed else {
                return Ok(None);
            };
            if let Some(bad) = NotFinite::check(step, &metrics, precision) {
                return Ok(Some(bad));
            }
            if !metrics.grad_norm.is_finite() {
                let loss_scale = metrics.loss_scale;
                self.observers.event(&RunEvent::new(
                    "skipped",
                    json!({ "step": step, "loss_scale": loss_scale }),
                    format!("step {step}: a gradient overflowed f16; the update was skipped, the loss scale is now {loss_scale}"),
                ));
            }
            let t = &self.setup.pipeline.train;
            if step.is_multiple_of(t.log_every) || val_loss.is_some() || step + 1 == t.steps {
                self.measure_peak(step);
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
            }
            let step = StepMetrics { loss: metrics.loss, lr };
            self.observe(|observers, status| observers.step(&step, status));
        }
    }

    /// One attempt: a GPU without free memory has no peak.
    fn measure_peak(&mut self, step: u64) {
        if self.peak.is_none() && step >= self.first + PEAK_AFTER {
            self.peak = Some(peak::measure(&self.setup.engine).unwrap_or(f64::NAN));
        }
    }

    fn log_line(&mut self, line: LogLine) {
        self.lines.push(line.clone());
        self.observe(|observers, status| observers.line(&line, status));
        if let Some((percent, verdict, text)) = self.course.look(&self.lines) {
            let step = line.step;
            let fields = json!({ "step": step, "percent": percent, "verdict": verdict });
            let text = format!("step {step}, {percent} %: {text}");
            self.observers.event(&RunEvent::new("course", fields, text));
        }
    }

    /// Calls observers with the status of the run.
    fn observe(&mut self, call: impl FnOnce(&mut Observers, &Status)) {
        let t = &self.setup.pipeline.train;
        let done = self.next - self.in_flight.len() as u64;
        let elapsed_s = self.clock.elapsed_s();
        let left =
            self.clock.seconds_for(t.steps.saturating_sub(done), done.saturating_sub(self.first));
        let limit =
            t.max_minutes.map_or(f64::INFINITY, |minutes| (60.0 * minutes - elapsed_s).max(0.0));
        let status = Status {
            step: done,
            elapsed_s,
            seconds_left: left.min(limit),
            best: self.best,
            lines: &self.lines,
            flop_per_second: self.lines.last().map_or(0.0, |line| line.tokens_per_second)
                * self.setup.config.training_flop_per_token(),
            peak: self.peak.filter(|peak| peak.is_finite()),
            device_bytes: self.trainer.model.kernels.bytes(),
        };
        call(&mut self.observers, &status);
    }

    /// Handles the events of the writer.
    fn hear(&mut self) -> Result<()> {
        for event in self.writer.events() {
            match event {
                WriterEvent::DeviceLost(failure) => return Err(failure),
                WriterEvent::Stories(stories) => self.observers.stories(&stories),
                WriterEvent::Recovered => {
                    let step = self.next;
                    let text = format!("step {step}: all is written again");
                    self.observers.event(&RunEvent::new("kept", json!({ "step": step }), text));
                }
                WriterEvent::Failed { step, failure } => {
                    self.observers.event(&RunEvent::warning(format!(
                        "step {step}: {failure}\n  the training goes on; it is tried again at the next save, and at the end"
                    )));
                }
            }
        }
        Ok(())
    }

    /// Ends the run, or goes back to the last checkpoint and on without the batch.
    fn not_finite(&mut self, bad: NotFinite) -> Result<()> {
        let step = bad.step;
        self.in_flight.discard(&mut self.trainer)?;
        let first = self.first_not_finite(step)?;
        let what = format!(
            "step {step}: the loss is {}, the norm of the gradient {}; not finite first: {first}",
            bad.loss, bad.grad_norm
        );
        self.writer.flush();
        self.hear()?;
        let on = self.setup.pipeline.train.on_nan;
        if on == OnNan::Stop || self.rollbacks == ROLLBACKS {
            let failure = Failure::try_again(what);
            let failure = match on {
                OnNan::Stop => failure,
                OnNan::Rollback => failure
                    .note("tried", format_args!("{ROLLBACKS} times to go on without such a batch")),
            };
            return Err(failure
                .kept(format_args!("the last checkpoint in {}", self.setup.folder.display()))
                .remedy(format_args!(
                    "a lower train.lr, a longer train.warmup or a smaller train.clip; {} skips single batches",
                    Action::Option("on-nan", "rollback")
                )));
        }
        self.rollbacks += 1;
        let to = self.go_back(step)?;
        let text = format!(
            "{what}\n  back to step {to}, and on without that batch ({} of {ROLLBACKS})",
            self.rollbacks
        );
        let fields = json!({ "step": step, "back_to": to, "first": first });
        Ok(self.observers.event(&RunEvent::new("rollback", fields, text)))
    }

    /// What was not finite first in a step, in words.
    fn first_not_finite(&mut self, step: u64) -> Result<String> {
        let mut windows = Vec::new();
        for micro in 0..u64::from(self.setup.pipeline.train.accumulate) {
            self.batches.fill(step, micro, &mut windows)?;
            if let Some(first) = self.trainer.first_not_finite(&windows).map_err(failed)? {
                return Ok(first);
            }
        }
        Ok("nothing that can be found now that the updates after it are done".into())
    }

    /// Goes on from the newest checkpoint, or from the start, without the batch of `step`. Gives where that is.
    fn go_back(&mut self, step: u64) -> Result<u64> {
        let resumed = resume(self.setup, &self.checkpoints, &mut self.trainer)?;
        if resumed.step == 0 {
            restart(self.setup, &mut self.trainer);
        }
        (self.next, self.best) = (resumed.step, resumed.best);
        self.batches.redraw(step);
        self.lines.retain(|line| line.step < resumed.step);
        self.writer.back_to(resumed.step);
        self.observers.back_to(resumed.step)?;
        Ok(resumed.step)
    }

    /// Takes what the engine kept of its kernels' time since the last call; only steps `count`.
    fn take_profile(&mut self, count: bool) -> Result<()> {
        let rows = self.trainer.model.kernels.profile().map_err(failed)?;
        if count {
            self.profile.add(rows);
        }
        Ok(())
    }

    /// Updates done.
    pub(crate) fn done(&self) -> u64 {
        self.next
    }

    pub(crate) fn lines(&self) -> &[LogLine] {
        &self.lines
    }

    /// Generates the stories of these weights, beside what follows.
    pub(crate) fn generate(&self, weights: Vec<f32>) {
        self.writer.generate(self.next, weights);
    }

    /// Logs the loss of the whole validation, with the figures of the last step.
    pub(crate) fn log_validation(&mut self, val_loss: f64) -> Result<LogLine> {
        let last = self.lines.last().cloned().ok_or_else(|| {
            Failure::usage("the run ended before its first step: nothing to finish")
        })?;
        let line = LogLine {
            step: self.next,
            elapsed_s: self.clock.elapsed_s(),
            val_loss: Some(val_loss),
            lr: self.learning_rate(self.next),
            ..last
        };
        self.log_line(line.clone());
        Ok(line)
    }

    /// Waits for all that is being written, then shows the end.
    pub(crate) fn end(mut self, state: &str) -> Result<StepsSummary> {
        self.observers.flush()?;
        self.writer.flush();
        self.hear()?;
        self.observe(|observers, status| observers.end(state, status));
        Ok(StepsSummary {
            observers_s: self.observers.seconds_beside(),
            steps: self.next - self.first,
            profile: self.profile,
            writer: self.writer.finish()?,
        })
    }
}
