//! One training run from its inputs to its final folder: what is opened, what it goes on with, and how it ends.
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use compute::{EngineError, KernelTime, Optimizer, Trainer};
use corpus::batch_sampler::BatchSampler;
use corpus::bin::Bin;
use corpus::tokenizer::Tokenizer;
use inference::{Engine, EngineOptions, LossSum, Prompts, SamplingParams, evaluate, failed};
use model::{Best, Checkpoint, Config, State, TensorTable, initial_weights, save_folder};
use serde_json::{Value, json};
use stage::{AtomicFile, Failure, Log, Result, Stage, Unit, interrupt, memory};

use crate::checkpoint_writer::{CheckpointWriter, Generator, WriterSummary};
use crate::optimizer;
use crate::peak::Peaks;
use crate::report::About;
use crate::samples::Samples;
use crate::steps::{Steps, Stop};
use crate::tensorboard::EventFile;
use crate::tuning::{Tuned, tune};
use crate::{Checkpoints, LogLine, RunLog};

/// A run: inputs, settings, and the folder it keeps.
pub struct Run {
    pub(crate) log: Log,
    pub(crate) folder: PathBuf,
    pub(crate) pipeline: stage::Pipeline,
    pub(crate) config: Config,
    tokenizer: Arc<Tokenizer>,
    pub(crate) train: Arc<Bin>,
    pub(crate) validation: Arc<Bin>,
    settings: Value,
    optimizer: Optimizer,
    pub(crate) engine: Engine,
    tune: bool,
}

/// What the command line asks of a run beside its settings.
#[derive(Clone, Debug, Default)]
pub struct TrainOptions {
    /// A folder to read shaders from.
    pub shaders: Option<PathBuf>,
    /// Keep the time of every kernel.
    pub profile: bool,
    /// Look for the best tiles first.
    pub tune: bool,
}

/// What a finished run has to show.
pub struct RunSummary {
    pub steps: u64,
    /// Why it ended before train.steps, if it did.
    pub early: Option<String>,
    /// Of the last batch, nats per token.
    pub loss: f32,
    /// Of all of val.bin, each token once.
    pub validation: LossSum,
    pub bits_per_byte: f64,
    /// Of the whole run, earlier parts included.
    pub elapsed_s: f64,
    /// What the curve says, in words.
    pub diagnosis: String,
    /// How much of the data was seen, in words.
    pub seen: String,
    /// Where the GPU's time went in training steps, if it was kept.
    pub profile: Vec<KernelTime>,
    /// Steps that the profile covers.
    pub profiled_steps: u64,
}

impl Run {
    /// What the profile's kernels are measured against.
    ///
    /// # Errors
    /// Exit code 4 when the device does not do it.
    pub fn peaks(&self) -> Result<Peaks> {
        Peaks::measure(&self.engine)
    }
}

/// Where a run goes on.
#[derive(Default)]
pub(crate) struct ResumePoint {
    pub step: u64,
    pub best: Option<Best>,
    pub redrawn: Vec<u64>,
}

impl Run {
    /// Opens the inputs and checks that they belong together.
    pub fn open(stage: &Stage, options: &TrainOptions) -> Result<Self> {
        let t = &stage.pipeline.train;
        if t.steps == 0 {
            return Err(Failure::usage("train.steps = 0: expected at least 1"));
        }
        let tokenizer = Tokenizer::load(&stage.path("tokenizer.json"))?;
        let train = Bin::open(&stage.path("train.bin"))?;
        let validation = Bin::open(&stage.path("val.bin"))?;
        for bin in [&train, &validation] {
            let made_with = bin.manifest().tokenizer.as_ref();
            if made_with != Some(tokenizer.record()) {
                let found = made_with.map_or("no tokenizer".into(), |t| {
                    format!(
                        "ids of tokenizer {} with a vocabulary of {}",
                        short(&t.sha256),
                        t.vocab_size
                    )
                });
                let own = tokenizer.record();
                let expected = format!(
                    "ids of {}: {} with a vocabulary of {}",
                    tokenizer.path().display(),
                    short(&own.sha256),
                    own.vocab_size
                );
                return Err(Failure::input(
                    bin.path(),
                    found,
                    expected,
                    "run `make tokenize pack`, or bring the tokenizer.json that made it",
                ));
            }
        }
        let config = Config::new(&stage.pipeline.model, tokenizer.vocab_size() as usize);
        let settings = json!({
            "model": stage.pipeline.model,
            "vocab_size": config.vocab_size,
            "steps": t.steps, "batch": t.batch, "accumulate": t.accumulate, "lr": t.lr, "warmup": t.warmup,
            "optimizer": optimizer::settings(&t.optimizer)?, "clip": t.clip, "seed": t.seed, "precision": t.precision,
            "train_bin_sha256": train.manifest().outputs.first().map(|o| &o.sha256),
            "tokenizer_sha256": tokenizer.sha256(),
        });
        let folder = stage.path("run");
        // Before anything is written: what is refused later would have moved an old run by then.
        let engine = EngineOptions {
            section: "train",
            device: &t.device,
            precision: &t.precision,
            shaders: options.shaders.as_deref(),
            profile: options.profile,
            head_width: config.head_width(),
        };
        let engine = Engine::open(&engine, &stage.log)?;
        Ok(Run {
            engine,
            log: stage.log,
            folder,
            pipeline: stage.pipeline.clone(),
            config,
            tokenizer: Arc::new(tokenizer),
            train: Arc::new(train),
            validation: Arc::new(validation),
            settings,
            optimizer: optimizer::optimizer(&t.optimizer)?,
            tune: options.tune,
        })
    }

    /// The settings that decide the result: those of the weights, and when to end. A run goes on with another end.
    pub fn settings(&self) -> Value {
        let mut settings = self.settings.clone();
        settings["until_loss"] = json!(self.pipeline.train.until_loss);
        settings["max_minutes"] = json!(self.pipeline.train.max_minutes);
        settings
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// An old run made with other settings moves to `run.N`; so does any old run with `force`.
    fn set_aside_if_other(&self, force: bool) -> Result<()> {
        let path = self.folder.join("settings.json");
        let old: Option<Value> =
            std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let old = old.map(optimizer::up_to_date);
        let why = match old {
            _ if !self.folder.exists() => return Ok(()),
            _ if force => "--force".to_owned(),
            None => return Ok(()),
            Some(old) if old == self.settings => return Ok(()),
            Some(old) => format!("settings changed: {}", stage::changed_keys(&old, &self.settings)),
        };
        let aside =
            (1..).map(|n| self.folder.with_extension(n.to_string())).find(|path| !path.exists());
        let aside = aside.ok_or_else(|| Failure::usage("no free name run.N"))?;
        std::fs::rename(&self.folder, &aside).map_err(Failure::writing(&aside))?;
        self.log.say(format!("{why}: the old run is kept as {}", aside.display()));
        Ok(())
    }

    /// Trains from the newest checkpoint, or from the start, to the end. With `anew`, or where settings changed, an old run
    /// is set aside first, once it is sure that the new one can begin.
    pub fn train(&self, anew: bool) -> Result<RunSummary> {
        let t = &self.pipeline.train;
        let checkpoints = Checkpoints::new(&self.folder, t.keep_last);
        let sampler =
            BatchSampler::new(&self.train, t.seed, t.batch as usize, self.config.context)?;
        self.check_memory()?;
        let before = initial_weights(&TensorTable::new(&self.config), t.seed);
        if self.tune {
            let mut windows = Vec::new();
            sampler.batch(0, 0, &mut windows)?;
            tune(
                &self.engine,
                &Tuned { config: self.config, weights: &before, batch: t.batch as usize, windows },
                &self.log,
            )?;
        }
        let mut trainer = self.trainer(&before)?;
        let _lock = self.lock()?;
        self.set_aside_if_other(anew)?;
        stage::create_dir(&self.folder)?;
        self.write_settings()?;
        // The whole content is hashed beside the first steps; nothing is published before it is known to fit.
        let (train, validation) = (self.train.clone(), self.validation.clone());
        let verified =
            std::thread::spawn(move || train.verify().and_then(|()| validation.verify()));

        let resumed = self.resume(&checkpoints, &mut trainer)?;
        let first = resumed.step;
        let run_log = RunLog::open(&self.folder.join("loss.jsonl"), first)?;
        self.announce(first, &trainer);
        let samples = Samples::open(&self.folder, self.synthetic(), first)?;
        if !samples.told.is_empty() {
            samples.write()?; // a kill may have come between the two files
        }
        let untold = self.untold(&checkpoints, &samples, first)?;
        let events = Arc::new(Mutex::new(Some(EventFile::create(&self.folder.join("tb"), first)?)));
        let about = self.about(&trainer)?;
        let writer = CheckpointWriter::start(
            self.folder.clone(),
            checkpoints.clone(),
            samples,
            self.generator(),
            about.clone(),
            events.clone(),
        );
        let mut told_before = vec![(0, before)];
        told_before.extend(untold);
        told_before.into_iter().for_each(|(step, weights)| writer.tell(step, weights));

        let mut steps = Steps::new(
            self,
            trainer,
            sampler,
            resumed,
            run_log,
            writer,
            checkpoints,
            about,
            events,
            verified,
        );
        let stop = steps.run()?;
        if let Stop::Data(failure) = stop {
            let (step, kept) = steps.interrupted()?;
            match kept.owed {
                None => self.log.say(format!("step {step} of {} is saved", t.steps)),
                Some(owed) => self.log.warn(format!("step {step} could not be saved: {owed}")),
            }
            return Err(failure);
        }
        if let Stop::Interrupt = stop {
            let (step, kept) = steps.interrupted()?;
            return Err(match kept.owed {
                None => Failure::Interrupted(format!(
                    "step {step} of {} is saved in {}; run the same command to go on",
                    t.steps,
                    self.folder.display()
                )),
                Some(failure) => Failure::try_again(format!(
                    "interrupted at step {step}; not all of it could be saved: {failure}"
                )),
            });
        }
        self.finish(steps, first, stop)
    }

    /// Two trainings would write over one another: the second is refused for as long as this is held.
    fn lock(&self) -> Result<std::fs::File> {
        let path = self.folder.with_file_name(".train.lock");
        let file = std::fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(Failure::writing(&path))?;
        match file.try_lock() {
            Err(std::fs::TryLockError::WouldBlock) => Err(Failure::try_again(format!(
                "{}: another train is at work in it\n  remedy: wait until it ends, or give this one a folder of its own with --out DIR",
                self.folder.display()
            ))),
            // Some network disks know no locks: then nobody is refused.
            _ => Ok(file),
        }
    }

    /// Refuses what is taken before the engine says what it needs: the weights, and the ids of a batch.
    fn check_memory(&self) -> Result<()> {
        let (t, available) = (&self.pipeline.train, memory::available());
        let parameters = self.config.parameters().unwrap_or(u64::MAX);
        let weights = parameters.saturating_mul(4);
        if weights > available {
            let count = match parameters {
                u64::MAX => "more parameters than can be counted".to_owned(),
                _ => format!("{parameters} parameters, which are {}", memory::mib(weights)),
            };
            return Err(Failure::try_again(format!(
                "model.d_model = {}, model.d_mlp = {}, model.n_layer = {} make {count}; {} of memory can be had\n  remedy: a smaller model, or a machine with more memory",
                self.config.d_model,
                self.config.d_mlp,
                self.config.n_layer,
                memory::mib(available)
            )));
        }
        // Windows as they are drawn, and as inputs and targets.
        let sequence = 4 * 3 * (self.config.context as u64 + 1);
        let left = available - weights;
        if sequence.saturating_mul(u64::from(t.batch)) <= left {
            return Ok(());
        }
        Err(Failure::try_again(format!(
            "train.batch = {}: the tokens of a batch alone need {}; {} of memory can be had\n  fits: a batch of {}\n  remedy: a smaller train.batch; train.accumulate does the same step in parts",
            t.batch,
            memory::mib(sequence.saturating_mul(u64::from(t.batch))),
            memory::mib(left),
            (left / sequence).max(1)
        )))
    }

    /// The trainer, or what to do where it does not fit into the device's memory.
    fn trainer(&self, weights: &[f32]) -> Result<Trainer> {
        let t = &self.pipeline.train;
        let with = |batch: u32| {
            let kernels = self.engine.kernels().map_err(Err)?;
            Trainer::new(
                kernels,
                self.config,
                self.optimizer,
                weights,
                batch as usize,
                self.config.context,
            )
            .map_err(Ok)
        };
        let error = match with(t.batch) {
            Ok(trainer) => return Ok(trainer),
            Err(Err(failure)) => return Err(failure),
            Err(Ok(error)) => error,
        };
        let EngineError::OutOfMemory { message, needed, available } = &error else {
            return Err(failed(error));
        };
        let what = message.lines().next().unwrap_or_default();
        // Memory is a part that stays and a part per sequence: two sizes tell both.
        let one = match with(1) {
            Ok(trainer) => trainer.model.kernels.bytes(),
            Err(Ok(EngineError::OutOfMemory { needed, .. })) => needed,
            Err(Ok(error)) => return Err(failed(error)),
            Err(Err(failure)) => return Err(failure),
        };
        let per_sequence = needed.saturating_sub(one) as f64 / f64::from(t.batch.max(2) - 1);
        let fits = ((available.saturating_sub(one)) as f64 / per_sequence.max(1.0)) as u32 + 1;
        let remedy = if *available < one {
            "a smaller model or model.context, a precision of two bytes, or --device cpu".to_owned()
        } else {
            // The largest part of the batch that fits; what is left goes into accumulation.
            let batch = (1..=fits.min(t.batch))
                .rev()
                .find(|batch| t.batch.is_multiple_of(*batch))
                .unwrap_or(1);
            format!(
                "train.batch={batch} train.accumulate={} does the same step in parts",
                t.accumulate * (t.batch / batch)
            )
        };
        Err(Failure::try_again(format!(
            "the memory does not suffice: {what}\n  needed: {} MiB for train.batch = {} of {} tokens ({} MiB, and {:.1} MiB per sequence)\n  fits: {}\n  remedy: {remedy}",
            needed >> 20,
            t.batch,
            self.config.context,
            one >> 20,
            per_sequence / (1 << 20) as f64,
            if *available < one {
                "not even a batch of 1".to_owned()
            } else {
                format!("a batch of {}", fits.min(t.batch))
            }
        )))
    }

    /// The whole validation, the stories and the final folder.
    fn finish(&self, mut at: Steps, first: u64, stop: Stop) -> Result<RunSummary> {
        let t = &self.pipeline.train;
        let done = at.done();
        let kept =
            "all steps are done and saved; run the same command for the validation and the stories";
        let weights = at.trainer.model.weights().map_err(failed)?;
        at.writer.tell(done, weights.clone());
        let progress = self.log.progress(
            "validate",
            Unit::Tokens,
            Some(self.validation.len().saturating_sub(1)),
        );
        let validation =
            evaluate(&mut at.trainer.model, &self.validation, self.config.context, 0, |tokens| {
                progress.add(tokens);
                interrupt::check(kept)
            })?;
        progress.finish();
        let last = at.last().ok_or_else(|| {
            Failure::usage("the run ended before its first step: nothing to finish")
        })?;
        let line = LogLine {
            step: done,
            elapsed_s: at.elapsed_s(),
            val_loss: Some(validation.loss()),
            lr: at.learning_rate(done),
            ..last
        };
        at.log_line(line.clone());
        let early = match stop {
            Stop::Minutes => t
                .max_minutes
                .map(|minutes| format!("{minutes} minutes are over (train.max_minutes)")),
            Stop::Loss(loss) => {
                Some(format!("the validation loss {loss:.4} has reached train.until_loss"))
            }
            Stop::Steps | Stop::Interrupt | Stop::Data(_) => None,
        };
        let state = early.as_ref().map_or("finished".to_owned(), |why| format!("finished: {why}"));
        let snapshot = at.snapshot(state, true);
        at.writer.report(snapshot);
        let (diagnosis, seen) =
            (at.about.diagnose(at.lines(), done).to_string(), at.about.seen(done));
        let profile = at.profile();
        let WriterSummary { spent, owed } = at.end()?;
        interrupt::check(kept)?; // stories that were cut short are not kept
        if let Some(failure) = owed {
            return Err(failure);
        }
        self.log.event(
            "beside",
            json!({ "checkpoints_s": spent.checkpoints, "stories_s": spent.stories, "reports_s": spent.reports }),
            &format!(
                "beside the training, on another thread: checkpoints {:.1} s, stories {:.1} s, pictures and report {:.1} s",
                spent.checkpoints, spent.stories, spent.reports
            ),
        );
        let tokenizer = std::fs::read(self.tokenizer.path())
            .map_err(Failure::reading(self.tokenizer.path()))?;
        save_folder(
            &self.folder.join("final"),
            &self.config,
            &weights,
            &tokenizer,
            self.tokenizer.ends(),
        )?;
        let bytes = self.validation.manifest().count("bytes");
        let bits_per_byte = validation.bits_per_byte(self.validation.len(), bytes);
        Ok(RunSummary {
            steps: done,
            early,
            loss: line.loss,
            validation,
            bits_per_byte,
            elapsed_s: line.elapsed_s,
            diagnosis,
            seen,
            profile,
            profiled_steps: done - first,
        })
    }

    /// Numbered checkpoints whose stories were not told: an end that came too soon.
    fn untold(
        &self,
        checkpoints: &Checkpoints,
        samples: &Samples,
        first: u64,
    ) -> Result<Vec<(u64, Vec<f32>)>> {
        let numbered = checkpoints
            .numbered()?
            .into_iter()
            .filter_map(|path| Some((crate::checkpoints::step_of(&path)?, path)));
        let untold = numbered.filter(|(step, _)| *step <= first && !samples.has(*step));
        // One that is damaged is found when it is needed.
        Ok(untold
            .filter_map(|(step, path)| Some((step, Checkpoint::load(&path).ok()?.weights)))
            .collect())
    }

    /// What the report says of a run all along.
    fn about(&self, trainer: &Trainer) -> Result<About> {
        let t = &self.pipeline.train;
        let kernels = &trainer.model.kernels;
        let manifest = self.train.manifest();
        Ok(About {
            title: self
                .folder
                .parent()
                .and_then(Path::file_name)
                .map_or("run".into(), |name| name.to_string_lossy().into_owned()),
            note: self.synthetic(),
            config: self.config_text()?,
            device: kernels.device(),
            plan: kernels.plan(),
            precision: kernels.precision().to_string(),
            parameters: trainer.model.table.len as u64,
            vocab_size: self.config.vocab_size,
            steps: t.steps,
            warmup: t.warmup,
            peak_lr: t.lr,
            tokens_per_step: self.tokens_per_step(),
            tokens: self.train.len(),
            stories: manifest.count("stories"),
        })
    }

    /// Tokens whose loss makes one update.
    pub(crate) fn tokens_per_step(&self) -> u64 {
        let t = &self.pipeline.train;
        u64::from(t.batch) * u64::from(t.accumulate) * self.config.context as u64
    }

    /// Tells two stories for each prompt.
    fn generator(&self) -> Generator {
        let section = &self.pipeline.sample;
        let prompts = Prompts::new(section.prompts.clone(), 2);
        Generator {
            prompts,
            params: SamplingParams::new(section),
            config: self.config,
            tokenizer: self.tokenizer.clone(),
        }
    }

    /// What a checkpoint says beside tensors; `update` comes with them.
    pub(crate) fn state(
        &self,
        trainer: &Trainer,
        step: u64,
        best: Option<Best>,
        redrawn: &[u64],
    ) -> State {
        let kernels = &trainer.model.kernels;
        State {
            step,
            config: self.config,
            settings: self.settings.clone(),
            tokenizer_sha256: self.tokenizer.sha256().to_owned(),
            device: kernels.device(),
            precision: kernels.precision().name().to_owned(),
            plan: kernels.plan(),
            update: Vec::new(),
            best,
            redrawn: redrawn.to_vec(),
        }
    }

    /// Loads the newest checkpoint, if there is one.
    pub(crate) fn resume(
        &self,
        checkpoints: &Checkpoints,
        trainer: &mut Trainer,
    ) -> Result<ResumePoint> {
        let Some(checkpoint) = checkpoints.newest(&self.log)? else {
            return Ok(ResumePoint::default());
        };
        let settings = optimizer::up_to_date(checkpoint.state.settings.clone());
        if !stage::same_settings(&settings, &self.settings) {
            return Err(Failure::usage(format!(
                "{}: its checkpoint was made with other settings: {}\n  remedy: --fresh keeps it as run.N and starts anew",
                self.folder.display(),
                stage::changed_keys(&settings, &self.settings)
            )));
        }
        let (device, precision, plan) = (
            trainer.model.kernels.device(),
            trainer.model.kernels.precision(),
            trainer.model.kernels.plan(),
        );
        let state = checkpoint.state;
        if state.device != device || state.precision != precision.name() {
            self.log.warn(format!(
                "the checkpoint comes from {}, in {}; on {device}, in {precision}, the run goes on with other rounding",
                state.device, state.precision
            ));
        } else if state.plan != plan && self.engine.take_plan(&state.plan) {
            // Other tiles give other bits: the run keeps those it began with.
            *trainer = self.trainer(&checkpoint.weights)?;
            self.log.say(format!("kernels: those of the checkpoint ({})", state.plan));
        } else if state.plan != plan {
            self.log.warn(format!(
                "the checkpoint was made with other kernels ({}), which cannot be had: with {plan} the run goes on with other rounding",
                state.plan
            ));
        }
        trainer.model.set_weights(&checkpoint.weights);
        let other = |found| {
            Failure::input(
                &self.folder,
                format!("a checkpoint with {found}"),
                "a checkpoint of this optimizer",
                "start anew with --fresh, which keeps the old run as run.N",
            )
        };
        trainer.set_slots(&checkpoint.slots).map_err(other)?;
        if state.update.len() == compute::state::LEN {
            let mut update = state.update;
            if state.precision != precision.name() {
                update[compute::state::LOSS_SCALE] = precision.initial_loss_scale();
                update[compute::state::GOOD_STEPS] = 0.0;
            }
            trainer.set_state(&update);
        }
        Ok(ResumePoint { step: state.step, best: state.best, redrawn: state.redrawn })
    }

    /// The state before the first step.
    pub(crate) fn restart(&self, trainer: &mut Trainer) {
        trainer.model.set_weights(&initial_weights(&trainer.model.table, self.pipeline.train.seed));
        trainer.forget();
    }

    fn config_text(&self) -> Result<String> {
        toml::to_string(&self.pipeline).map_err(|e| Failure::usage(e.to_string()))
    }

    fn write_settings(&self) -> Result<()> {
        let settings = format!("{:#}\n", self.settings);
        AtomicFile::write(&self.folder.join("settings.json"), settings.as_bytes())?;
        AtomicFile::write(&self.folder.join("config.toml"), self.config_text()?.as_bytes())
            .map(drop)
    }

    fn announce(&self, first: u64, trainer: &Trainer) {
        let (t, tokens) = (&self.pipeline.train, self.tokens_per_step());
        let parameters = TensorTable::new(&self.config).len;
        self.log.say(format!(
            "{:.2} M parameters, {} steps of {tokens} tokens over {} in train.bin, {} on {}, {} MiB",
            parameters as f64 / 1e6,
            t.steps,
            self.train.len(),
            trainer.model.kernels.precision(),
            trainer.model.kernels.device(),
            trainer.model.kernels.bytes() >> 20
        ));
        if let Some(note) = self.synthetic() {
            self.log.say(note);
        }
        if first > 0 {
            self.log.say(format!("going on with step {first}"));
        }
    }

    /// A label for runs on stories that nobody wrote.
    fn synthetic(&self) -> Option<&'static str> {
        self.train
            .manifest()
            .is_synthetic()
            .then_some("The stories of this run are synthetic, made by the program's own grammar (`stories:`).")
    }
}

fn short(sha256: &str) -> &str {
    sha256.get(..12).unwrap_or(sha256)
}

/// Waits for the check of the bin's hash, once.
pub(crate) fn finish_check(verified: &mut Option<JoinHandle<Result<()>>>) -> Result<()> {
    match verified.take().map(JoinHandle::join) {
        None => Ok(()),
        Some(result) => match result {
            Ok(Err(Failure::Interrupted(_))) => Err(Failure::Interrupted(
                "train.bin and val.bin were still being checked, so nothing new is saved; run the same command to go on".into(),
            )),
            Ok(result) => result,
            Err(_) => Err(Failure::try_again("the thread that checks train.bin failed")),
        },
    }
}
