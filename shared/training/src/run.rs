//! One training run from its inputs to its final folder: how it begins and how it ends.
use std::path::Path;
use std::time::Duration;

use compute::{KernelTime, Model, Trainer};
use indicatif::HumanDuration;
use inference::{LossSum, evaluate, failed};
use model::{TensorTable, save_folder};
use serde_json::{Value, json};
use stage::{Failure, Result, Stage, Unit, interrupt};

use crate::batches::Batches;
use crate::bin_check::BinCheck;
use crate::checkpoint_writer::CheckpointWriter;
use crate::checkpoints::Checkpoints;
use crate::first_weights::first_weights;
use crate::observers::Observers;
use crate::open_trainer::{check_memory, open_trainer};
use crate::peak::Peaks;
use crate::report::Report;
use crate::resume::{lock, resume, set_aside_if_other, without_stories};
use crate::run_info::RunInfo;
use crate::run_log::RunLog;
use crate::samples::Samples;
use crate::setup::{Setup, TrainOptions};
use crate::speed;
use crate::steps::{Start, Steps, StepsSummary, Stop};
use crate::tensorboard::TensorBoard;
use crate::tuning::{Tuned, tune};
use crate::view::TerminalView;

/// What an end after the last step leaves.
const KEPT: &str =
    "all steps are done and saved; run the same command for the validation and the stories";

/// A run of less arithmetic takes seconds: nobody asks how many.
const LONG_FLOP: f64 = 1e12;

/// A run: inputs, settings, and the folder it keeps.
pub struct Run {
    setup: Setup,
    tune: bool,
    profile: bool,
}

/// The results of a finished run.
pub struct RunSummary {
    /// Steps done.
    pub steps: u64,
    /// Why it ended before train.steps, if it did.
    pub early: Option<String>,
    /// Of the last batch, nats per token.
    pub loss: f32,
    /// Of all of val.bin, each token once.
    pub validation: LossSum,
    /// Of the text of val.bin.
    pub bits_per_byte: f64,
    /// Of the whole run, earlier parts included.
    pub elapsed_s: f64,
    /// What the curve says, in words.
    pub diagnosis: String,
    /// The part of the data that was seen, in words.
    pub seen: String,
    /// GPU time of the training steps, with --profile.
    pub profile: Vec<KernelTime>,
    /// Steps that the profile covers.
    pub profiled_steps: u64,
}

impl Run {
    /// Opens the inputs and checks that they belong together.
    pub fn open(stage: &Stage, options: &TrainOptions) -> Result<Self> {
        let &TrainOptions { tune, profile, .. } = options;
        Ok(Run { setup: Setup::open(stage, options)?, tune, profile })
    }

    /// The settings that decide the result: those of the weights, and when to end. A run may be resumed with another end.
    pub fn deciding_settings(&self) -> &Value {
        &self.setup.deciding_settings
    }

    /// OUT/run.
    pub fn folder(&self) -> &Path {
        &self.setup.folder
    }

    /// What the profile's kernels are measured against.
    ///
    /// # Errors
    /// Exit code 4 when the device does not do it.
    pub fn peaks(&self) -> Result<Peaks> {
        Peaks::measure(&self.setup.engine)
    }

    /// Trains from the newest checkpoint, or from the start, to the end. With `anew`, or where settings changed, an old run
    /// is set aside first, once it is sure that the new one can begin.
    pub fn train(&self, anew: bool) -> Result<RunSummary> {
        let setup = &self.setup;
        let checkpoints = Checkpoints::new(&setup.folder, setup.pipeline.train.keep_last);
        let batches = Batches::new(setup)?;
        check_memory(setup)?;
        let is_new = anew || !setup.folder.join("loss.jsonl").exists();
        let measured = if is_new { self.measured_rate() } else { None };
        let initial = first_weights(setup);
        if self.tune {
            self.tune(&batches, &initial)?;
        }
        let mut trainer = open_trainer(setup, &initial)?;
        let _lock = lock(setup)?;
        set_aside_if_other(setup, anew)?;
        stage::create_dir(&setup.folder)?;
        setup.write_settings()?;
        let check = BinCheck::start(setup);

        let resumed = resume(setup, &checkpoints, &mut trainer)?;
        let first = resumed.step;
        let (log, lines) = RunLog::open(&setup.folder.join("loss.jsonl"), first)?;
        self.announce(first, &trainer);
        if let Some(rate) = lines.last().map(|line| line.tokens_per_second).or(measured) {
            self.say_what_to_expect(first, rate);
        }
        let samples = Samples::open(&setup.folder, setup.synthetic(), first)?;
        if !samples.stories.is_empty() {
            samples.write()?; // a kill may have come between the two files
        }
        let without_stories = without_stories(&checkpoints, &samples, first)?;
        let info = setup.info(&trainer)?;
        let observers = Observers::new(vec![
            Box::new(TerminalView::new(setup.log, info.clone(), first, &lines)),
            Box::new(TensorBoard::open(&setup.folder.join("tb"), first)?),
            Box::new(log),
            Box::new(Report::new(&setup.folder, info.clone(), samples.stories.clone())),
        ]);
        let writer =
            CheckpointWriter::start(&setup.folder, checkpoints.clone(), samples, setup.generator());
        writer.generate(0, initial);
        without_stories.into_iter().for_each(|(step, weights)| writer.generate(step, weights));

        let mut steps = Steps::new(Start {
            setup,
            trainer,
            batches,
            checkpoints,
            resumed,
            lines,
            observers,
            writer,
            check,
        });
        match steps.run()? {
            Stop::Interrupt => Err(self.interrupted(steps)),
            Stop::Data(failure) => Err(self.stopped(steps, failure)),
            stop => self.finish(steps, stop, &info),
        }
    }

    fn tune(&self, batches: &Batches, weights: &[f32]) -> Result<()> {
        let setup = &self.setup;
        let mut windows = Vec::new();
        batches.fill(0, 0, &mut windows)?;
        let batch = setup.pipeline.train.batch as usize;
        tune(&setup.engine, &Tuned { config: setup.config, weights, batch, windows }, &setup.log)
    }

    /// The end after a signal: the step is saved, or what could not be is named.
    fn interrupted(&self, steps: Steps) -> Failure {
        let step = steps.done();
        match steps.end("interrupted") {
            Err(failure) => failure,
            Ok(StepsSummary { writer, .. }) => match writer.pending {
                None => Failure::interrupted(format_args!(
                    "step {step} of {} is saved in {}; run the same command to go on",
                    self.setup.pipeline.train.steps,
                    self.setup.folder.display()
                )),
                Some(failure) => Failure::try_again(format_args!(
                    "interrupted at step {step}; not all of it could be saved: {failure}"
                )),
            },
        }
    }

    /// The end where the data cannot be read: says whether the last step is saved.
    fn stopped(&self, steps: Steps, failure: Failure) -> Failure {
        let (step, log) = (steps.done(), &self.setup.log);
        match steps.end("interrupted").map(|ended| ended.writer.pending) {
            Ok(None) => {
                log.say(format!("step {step} of {} is saved", self.setup.pipeline.train.steps));
            }
            Ok(Some(pending)) | Err(pending) => {
                log.warn(format!("step {step} could not be saved: {pending}"));
            }
        }
        failure
    }

    /// The whole validation, the stories and the final folder.
    fn finish(&self, mut steps: Steps, stop: Stop, info: &RunInfo) -> Result<RunSummary> {
        let setup = &self.setup;
        let done = steps.done();
        let weights = steps.trainer.model.weights().map_err(failed)?;
        steps.generate(weights.clone());
        let validation = self.validate(&mut steps.trainer.model)?;
        let line = steps.log_validation(validation.loss())?;
        let early = match stop {
            Stop::Minutes => setup
                .pipeline
                .train
                .max_minutes
                .map(|minutes| format!("{minutes} minutes are over (train.max_minutes)")),
            Stop::Loss(loss) => {
                Some(format!("the validation loss {loss:.4} has reached train.until_loss"))
            }
            Stop::Patience(best) => Some(format!(
                "no validation after step {} was better than its {:.4} (train.patience); the checkpoint `best` has it",
                best.step, best.val_loss
            )),
            Stop::Steps | Stop::Interrupt | Stop::Data(_) => None,
        };
        let state = early.as_ref().map_or("finished".to_owned(), |why| format!("finished: {why}"));
        let diagnosis = info.diagnose(steps.lines(), done).to_string();
        let StepsSummary { writer, observers_s, profile, steps } = steps.end(&state)?;
        interrupt::check(KEPT)?; // stories that were cut short are not kept
        if let Some(failure) = writer.pending {
            return Err(failure);
        }
        let (checkpoints_s, stories_s) = (writer.spent.checkpoints, writer.spent.stories);
        setup.log.event(
            "beside",
            json!({ "checkpoints_s": checkpoints_s, "stories_s": stories_s, "reports_s": observers_s }),
            &format!(
                "beside the training, on other threads: checkpoints {checkpoints_s:.1} s, stories {stories_s:.1} s, pictures and report {observers_s:.1} s"
            ),
        );
        self.save_final(&weights)?;
        let bytes = setup.validation.manifest().count("bytes");
        Ok(RunSummary {
            steps: done,
            early,
            loss: line.loss,
            validation,
            bits_per_byte: validation.bits_per_byte(setup.validation.len(), bytes),
            elapsed_s: line.elapsed_s,
            diagnosis,
            seen: info.seen(done),
            profile: profile.into_rows(),
            profiled_steps: steps,
        })
    }

    /// The loss on all of val.bin.
    fn validate(&self, model: &mut Model) -> Result<LossSum> {
        let (validation, context) = (&self.setup.validation, self.setup.config.context);
        let tokens = validation.len().saturating_sub(1);
        let progress = self.setup.log.progress("validate", Unit::Tokens, Some(tokens));
        let sum = evaluate(model, validation, context, 0, |tokens| {
            progress.add(tokens);
            interrupt::check(KEPT)
        })?;
        progress.finish();
        Ok(sum)
    }

    fn save_final(&self, weights: &[f32]) -> Result<()> {
        let Setup { folder, config, tokenizer, .. } = &self.setup;
        let json = stage::read(tokenizer.path())?;
        save_folder(&folder.join("final"), config, weights, &json, tokenizer.ends()).map(drop)
    }

    /// Tokens per second, where the run is long enough to be worth a second of waiting. What is measured fails again, with
    /// better words, where the run begins.
    fn measured_rate(&self) -> Option<f64> {
        let Setup { pipeline, config, .. } = &self.setup;
        let tokens = (pipeline.train.steps as f64) * self.setup.tokens_per_step() as f64;
        let is_long = tokens * config.training_flop_per_token() > LONG_FLOP;
        let measure = is_long && !self.profile;
        let Setup { engine, optimizer, .. } = &self.setup;
        measure.then(|| {
            speed::tokens_per_second(engine, *config, *optimizer, pipeline.train.batch).ok()
        })?
    }

    fn say_what_to_expect(&self, first: u64, tokens_per_second: f64) {
        let t = &self.setup.pipeline.train;
        let tokens = t.steps.saturating_sub(first) as f64 * self.setup.tokens_per_step() as f64;
        let most = t.max_minutes.map_or(f64::INFINITY, |minutes| 60.0 * minutes);
        let seconds = (tokens / tokens_per_second.max(1e-9)).min(most).min(1e9);
        self.setup.log.event(
            "expected",
            json!({ "tokens_per_second": tokens_per_second, "seconds": seconds }),
            &format!(
                "expected: {} tokens/s, {} of training, validations not counted",
                stage::count(tokens_per_second as u64),
                HumanDuration(Duration::from_secs_f64(seconds.max(0.0)))
            ),
        );
    }

    fn announce(&self, first: u64, trainer: &Trainer) {
        let (t, tokens) = (&self.setup.pipeline.train, self.setup.tokens_per_step());
        let parameters = TensorTable::new(&self.setup.config).len;
        self.setup.log.say(format!(
            "{:.2} M parameters, {} steps of {tokens} tokens over {} in train.bin, {} on {}, {} MiB",
            parameters as f64 / 1e6,
            t.steps,
            self.setup.train.len(),
            trainer.model.kernels.precision(),
            trainer.model.kernels.device(),
            trainer.model.kernels.bytes() >> 20
        ));
        if let Some(note) = self.setup.synthetic() {
            self.setup.log.say(note);
        }
        if let Some(model) = self.setup.initial.as_ref().filter(|_| first == 0) {
            self.setup.log.say(format!("begins with the weights of {}", model.path.display()));
        }
        if first > 0 {
            self.setup.log.say(format!("going on with step {first}"));
        }
    }
}
