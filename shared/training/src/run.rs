//! One training run from its inputs to its final folder: the loop, and all that happens at its cadences.
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use compute::{AdamW, Decoder, EngineError, KernelTime, Precision, STEPS_IN_FLIGHT, Storage, Ticket, Trainer};
use corpus::bin::Bin;
use corpus::sampler::Sampler;
use corpus::tokenizer::Tokenizer;
use model::{Checkpoint, Config, Schedule, State, TensorTable, initial_weights, save_folder};
use serde_json::{Value, json};
use stage::config::Train;
use stage::{AtomicFile, Failure, Log, Progress, Result, Stage, Unit, interrupt};

use crate::engine::{Engine, Wanted, failed};
use crate::score::{Score, check_ids, score};
use crate::{Checkpoints, Line, Manner, RunLog, Story, samples, tell};

const BETA1: f32 = 0.9;
const BETA2: f32 = 0.95;
const EPS: f32 = 1e-8;

/// A loss scale below this helps no more: gradients overflow for another reason.
const LEAST_LOSS_SCALE: f32 = 1.0 / 1024.0;

/// A run: inputs, settings, and the folder it keeps.
pub struct Run {
    log: Log,
    folder: PathBuf,
    pipeline: stage::Pipeline,
    config: Config,
    tokenizer: Arc<Tokenizer>,
    train: Arc<Bin>,
    validation: Arc<Bin>,
    settings: Value,
    engine: Engine,
}

/// What the command line asks of a run beside its settings.
#[derive(Clone, Debug, Default)]
pub struct Manual {
    /// A folder to read shaders from.
    pub shaders: Option<PathBuf>,
    /// Keep the time of every kernel.
    pub profile: bool,
}

/// What a finished run has to show.
pub struct Ended {
    pub steps: u64,
    /// Of the last batch, nats per token.
    pub loss: f32,
    /// Of all of val.bin, each token once.
    pub validation: Score,
    pub bits_per_byte: f64,
    /// Of the whole run, earlier parts included.
    pub elapsed_s: f64,
    /// Where the GPU's time went in training steps, if it was kept.
    pub profile: Vec<KernelTime>,
    /// Steps that the profile covers.
    pub profiled_steps: u64,
}

/// What the loop carries from step to step.
struct Progressed {
    trainer: Trainer,
    run_log: RunLog,
    clock: Clock,
    last: Option<Line>,
    /// Steps that the device may still be at, the oldest first.
    in_flight: VecDeque<Flying>,
    /// Time of the kernels of training steps so far.
    profile: Vec<KernelTime>,
}

impl Progressed {
    /// Takes what the engine kept of its kernels' time since the last call; only steps `count`.
    fn take_profile(&mut self, count: bool) -> Result<()> {
        for row in self.trainer.model.kernels.profile().map_err(failed)? {
            match self.profile.iter_mut().find(|sum| sum.kernel == row.kernel) {
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
}

/// A step whose report was not looked at yet.
struct Flying {
    step: u64,
    ticket: Ticket,
    lr: f64,
    val_loss: Option<f64>,
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

impl Run {
    /// Opens the inputs and checks that they belong together.
    pub fn open(stage: &Stage, manual: &Manual) -> Result<Self> {
        let t = &stage.pipeline.train;
        if t.steps == 0 {
            return Err(Failure::usage("train.steps = 0: expected at least 1"));
        }
        let tokenizer = Tokenizer::load(&stage.path("tokenizer.json"))?;
        let train = Bin::open(&stage.path("train.bin"), &stage.log)?;
        let validation = Bin::open(&stage.path("val.bin"), &stage.log)?;
        for bin in [&train, &validation] {
            let made_with = bin.manifest().tokenizer.as_ref();
            if made_with != Some(tokenizer.record()) {
                let found = made_with.map_or("no tokenizer".into(), |t| {
                    format!("ids of tokenizer {} with a vocabulary of {}", short(&t.sha256), t.vocab_size)
                });
                let own = tokenizer.record();
                let expected =
                    format!("ids of {}: {} with a vocabulary of {}", tokenizer.path().display(), short(&own.sha256), own.vocab_size);
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
            "weight_decay": t.weight_decay, "clip": t.clip, "seed": t.seed, "precision": t.precision,
            "train_bin_sha256": train.manifest().outputs.first().map(|o| &o.sha256),
            "tokenizer_sha256": tokenizer.sha256(),
        });
        let folder = stage.path("run");
        // Before anything is written: what is refused later would have moved an old run by then.
        let wanted = Wanted {
            section: "train",
            device: &t.device,
            precision: &t.precision,
            shaders: manual.shaders.as_deref(),
            profile: manual.profile,
            head_width: config.head_width(),
        };
        let engine = Engine::open(&wanted, &stage.log)?;
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
        })
    }

    /// The settings that decide the weights.
    pub fn settings(&self) -> &Value {
        &self.settings
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// An old run made with other settings moves to `run.N`; so does any old run with `force`.
    fn set_aside_if_other(&self, force: bool) -> Result<()> {
        let path = self.folder.join("settings.json");
        let old: Option<Value> = std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let why = match old {
            _ if !self.folder.exists() => return Ok(()),
            _ if force => "--force".to_owned(),
            None => return Ok(()),
            Some(old) if old == self.settings => return Ok(()),
            Some(old) => format!("settings changed: {}", stage::changed_keys(&old, &self.settings)),
        };
        let aside = (1..).map(|n| self.folder.with_extension(n.to_string())).find(|path| !path.exists());
        let aside = aside.ok_or_else(|| Failure::usage("no free name run.N"))?;
        std::fs::rename(&self.folder, &aside).map_err(Failure::writing(&aside))?;
        self.log.say(format!("{why}: the old run is kept as {}", aside.display()));
        Ok(())
    }

    /// Trains from the newest checkpoint, or from the start, to the end. With `anew`, or where settings changed, an old run
    /// is set aside first, once it is sure that the new one can begin.
    pub fn train(&self, anew: bool) -> Result<Ended> {
        let t = &self.pipeline.train;
        let checkpoints = Checkpoints::new(&self.folder, t.keep_last);
        let sampler = Sampler::new(&self.train, t.seed, t.batch as usize, self.config.context)?;
        let before = initial_weights(&TensorTable::new(&self.config), t.seed);
        let mut trainer = self.trainer(&before)?;
        self.set_aside_if_other(anew)?;
        stage::create_dir(&self.folder)?;
        self.write_settings()?;
        // The whole content is hashed beside the first steps; nothing is published before it is known to fit.
        let (train, validation) = (self.train.clone(), self.validation.clone());
        let mut verified = Some(std::thread::spawn(move || train.verify().and_then(|()| validation.verify())));

        let first = self.resume(&checkpoints, &mut trainer)?;
        let run_log = RunLog::open(&self.folder.join("loss.jsonl"), first)?;
        self.announce(first, &trainer);
        // The CPU tells the stories; where a GPU trains, beside it.
        let teller = self.teller();
        let stories_before = match self.engine.is_gpu() {
            false => Told::Now(teller.tell(&before)?),
            true => Told::Beside(std::thread::spawn(move || teller.tell(&before))),
        };

        let clock = Clock { started: Instant::now(), earlier_s: run_log.elapsed_s(), training: Duration::ZERO, tokens: 0 };
        let mut at = Progressed {
            trainer,
            last: run_log.lines.last().cloned(),
            run_log,
            clock,
            in_flight: VecDeque::with_capacity(STEPS_IN_FLIGHT + 1),
            profile: Vec::new(),
        };
        let progress = self.log.progress("train", Unit::Steps, Some(t.steps));
        progress.skip(first);
        for step in first..t.steps {
            self.step(&mut at, &sampler, step, &progress)?;
            let done = step + 1;
            let stop = interrupt::requested();
            if stop || done.is_multiple_of(t.checkpoint_every) || done == t.steps {
                self.land(&mut at, 0, &progress)?;
                finish_check(&mut verified)?;
                checkpoints.save(&self.checkpoint(&mut at.trainer, done)?, done.is_multiple_of(t.checkpoint_every))?;
            }
            if stop && done < t.steps {
                return Err(Failure::Interrupted(format!(
                    "step {done} of {} is saved in {}; run the same command to go on",
                    t.steps,
                    self.folder.display()
                )));
            }
        }
        progress.finish();
        finish_check(&mut verified)?;
        let stories_before = stories_before.wait()?;
        self.finish(at, first, &stories_before)
    }

    /// The trainer, or what to do where it does not fit into the device's memory.
    fn trainer(&self, weights: &[f32]) -> Result<Trainer> {
        let t = &self.pipeline.train;
        let with = |batch: u32| {
            let kernels = self.engine.kernels().map_err(Err)?;
            Trainer::new(kernels, self.config, weights, batch as usize, self.config.context).map_err(Ok)
        };
        let error = match with(t.batch) {
            Ok(trainer) => return Ok(trainer),
            Err(Err(failure)) => return Err(failure),
            Err(Ok(error)) => error,
        };
        let EngineError::OutOfMemory { message, needed, available } = &error else { return Err(failed(error)) };
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
            let batch = (1..=fits.min(t.batch)).rev().find(|batch| t.batch.is_multiple_of(*batch)).unwrap_or(1);
            format!("train.batch={batch} train.accumulate={} does the same step in parts", t.accumulate * (t.batch / batch))
        };
        Err(Failure::try_again(format!(
            "the GPU's memory does not suffice: {what}\n  needed: {} MiB for train.batch = {} of {} tokens ({} MiB, and {:.1} MiB per sequence)\n  fits: {}\n  remedy: {remedy}",
            needed >> 20,
            t.batch,
            self.config.context,
            one >> 20,
            per_sequence / (1 << 20) as f64,
            if *available < one { "not even a batch of 1".to_owned() } else { format!("a batch of {}", fits.min(t.batch)) }
        )))
    }

    /// One step of the loop, with its validation and its log line.
    fn step(&self, at: &mut Progressed, sampler: &Sampler, step: u64, progress: &Progress) -> Result<()> {
        let t = &self.pipeline.train;
        let validates = step.is_multiple_of(t.val_every);
        let mut val_loss = None;
        if validates {
            self.land(at, 0, progress)?;
            at.take_profile(true)?;
            val_loss = Some(self.validate(&mut at.trainer, t.val_windows)?.loss());
            at.take_profile(false)?;
        }
        let started = Instant::now();
        let tokens = u64::from(t.batch) * u64::from(t.accumulate) * self.config.context as u64;
        let scale = 1.0 / tokens as f32;
        let lr = schedule(t).learning_rate(step);
        let mut windows = Vec::new();
        at.trainer.begin();
        for micro in 0..u64::from(t.accumulate) {
            sampler.batch(step, micro, &mut windows);
            check_ids(&self.train, &windows, self.config.vocab_size)?;
            at.trainer.accumulate(&windows, scale);
        }
        let ticket = at.trainer.update(AdamW {
            learning_rate: lr as f32,
            beta1: BETA1,
            beta2: BETA2,
            eps: EPS,
            weight_decay: t.weight_decay as f32,
            decay_len: at.trainer.model.table.decay_len,
            clip: t.clip as f32,
        });
        at.in_flight.push_back(Flying { step, ticket, lr, val_loss });
        at.clock.training += started.elapsed();
        at.clock.tokens += tokens;
        self.land(at, STEPS_IN_FLIGHT, progress)
    }

    /// Looks at the reports of steps that the device has done; waits until no more than `most` are under way.
    fn land(&self, at: &mut Progressed, most: usize, progress: &Progress) -> Result<()> {
        let t = &self.pipeline.train;
        let tokens = u64::from(t.batch) * u64::from(t.accumulate) * self.config.context as u64;
        while let Some(&Flying { step, ticket, lr, val_loss }) = at.in_flight.front() {
            let started = Instant::now();
            let wait = at.in_flight.len() > most;
            let metrics = at.trainer.metrics(ticket, 1.0 / tokens as f32, wait).map_err(failed)?;
            at.clock.training += started.elapsed();
            let Some(metrics) = metrics else { return Ok(()) };
            at.in_flight.pop_front();
            let precision = at.trainer.model.kernels.precision();
            // In f16 a gradient may overflow: the update was skipped and the loss scale halved. Anything else is the end.
            let overflow = precision == Precision::F16 && metrics.loss.is_finite() && metrics.loss_scale >= LEAST_LOSS_SCALE;
            if !metrics.loss.is_finite() || !(metrics.grad_norm.is_finite() || overflow) {
                return Err(Failure::try_again(format!(
                    "step {step}: the loss is {}, the norm of the gradient {}\n  kept: the last checkpoint in {}\n  remedy: a lower train.lr, a longer train.warmup or a smaller train.clip",
                    metrics.loss,
                    metrics.grad_norm,
                    self.folder.display()
                )));
            }
            if !metrics.grad_norm.is_finite() {
                let note =
                    format!("step {step}: a gradient overflowed f16; the update was skipped, the loss scale is now {}", metrics.loss_scale);
                progress.suspend(|| self.log.event("skipped", json!({ "step": step, "loss_scale": metrics.loss_scale }), &note));
            }
            progress.message(format!("loss {:.3}", metrics.loss));
            progress.add(1);
            if step.is_multiple_of(t.log_every) || val_loss.is_some() || step + 1 == t.steps {
                let line = Line {
                    step,
                    loss: metrics.loss,
                    lr,
                    grad_norm: Some(metrics.grad_norm).filter(|norm| norm.is_finite()),
                    tokens_per_second: at.clock.tokens_per_second(),
                    elapsed_s: at.clock.elapsed_s(),
                    val_loss,
                    loss_scale: (precision == Precision::F16).then_some(metrics.loss_scale),
                };
                progress.suspend(|| self.say(&line));
                at.last = Some(line.clone());
                at.run_log.append(line)?;
            }
        }
        Ok(())
    }

    /// The whole validation, the stories and the final folder.
    fn finish(&self, mut at: Progressed, first: u64, before: &[Story]) -> Result<Ended> {
        let t = &self.pipeline.train;
        at.take_profile(true)?;
        let kept = "all steps are done and saved; run the same command for the validation and the stories";
        let validation = score(&mut at.trainer.model, &self.validation, self.config.context, 0, |_| interrupt::check(kept))?;
        let last = at.last.ok_or_else(|| Failure::usage("train.steps = 0: expected at least 1"))?;
        let line = Line {
            step: t.steps,
            elapsed_s: at.clock.elapsed_s(),
            val_loss: Some(validation.loss()),
            lr: schedule(t).learning_rate(t.steps),
            ..last
        };
        self.say(&line);
        at.run_log.append(line.clone())?;
        let weights = at.trainer.model.weights().map_err(failed)?;
        let after = self.teller().tell(&weights)?;
        interrupt::check(kept)?; // a story that was cut short is not shown
        samples::write(&self.folder.join("samples.md"), t.steps, self.synthetic(), before, &after)?;
        let tokenizer = std::fs::read(self.tokenizer.path()).map_err(Failure::reading(self.tokenizer.path()))?;
        save_folder(&self.folder.join("final"), &self.config, &weights, &tokenizer, self.tokenizer.eos())?;
        let bytes = self.validation.manifest().count("bytes");
        let bits_per_byte = validation.bits_per_byte(self.validation.len(), bytes);
        Ok(Ended {
            steps: t.steps,
            loss: line.loss,
            validation,
            bits_per_byte,
            elapsed_s: line.elapsed_s,
            profile: at.profile,
            profiled_steps: t.steps - first,
        })
    }

    fn validate(&self, trainer: &mut Trainer, windows: u64) -> Result<Score> {
        let stride = self.config.context;
        score(&mut trainer.model, &self.validation, stride, windows, |_| Ok(()))
    }

    /// Tells two stories for each prompt.
    fn teller(&self) -> Teller {
        let section = &self.pipeline.sample;
        let prompts = section.prompts.iter().flat_map(|p| [p.clone(), p.clone()]).collect();
        Teller { prompts, manner: Manner::new(section), config: self.config, tokenizer: self.tokenizer.clone() }
    }

    fn checkpoint(&self, trainer: &mut Trainer, step: u64) -> Result<Checkpoint> {
        let (adam_m, adam_v) = trainer.moments().map_err(failed)?;
        let mut update = trainer.state().map_err(failed)?;
        update[compute::state::LOSS] = 0.0; // of the last step alone, and perhaps not finite
        update[compute::state::GRAD_NORM] = 0.0;
        let state = State {
            step,
            config: self.config,
            settings: self.settings.clone(),
            tokenizer_sha256: self.tokenizer.sha256().to_owned(),
            device: trainer.model.kernels.device(),
            precision: trainer.model.kernels.precision().name().to_owned(),
            update,
        };
        Ok(Checkpoint { state, weights: trainer.model.weights().map_err(failed)?, adam_m, adam_v })
    }

    /// Loads the newest checkpoint; returns the step to go on with.
    fn resume(&self, checkpoints: &Checkpoints, trainer: &mut Trainer) -> Result<u64> {
        let Some(checkpoint) = checkpoints.newest(&self.log)? else { return Ok(0) };
        if checkpoint.state.settings != self.settings {
            return Err(Failure::usage(format!(
                "{}: its checkpoint was made with other settings: {}\n  remedy: --force keeps it as run.N and starts anew",
                self.folder.display(),
                stage::changed_keys(&checkpoint.state.settings, &self.settings)
            )));
        }
        let (device, precision) = (trainer.model.kernels.device(), trainer.model.kernels.precision());
        let state = checkpoint.state;
        if state.device != device || state.precision != precision.name() {
            self.log.warn(format!(
                "the checkpoint comes from {}, in {}; on {device}, in {precision}, the run goes on with other rounding",
                state.device, state.precision
            ));
        }
        trainer.model.set_weights(&checkpoint.weights);
        trainer.set_moments(&checkpoint.adam_m, &checkpoint.adam_v);
        if state.update.len() == compute::state::LEN {
            let mut update = state.update;
            if state.precision != precision.name() {
                update[compute::state::LOSS_SCALE] = precision.initial_loss_scale();
                update[compute::state::GOOD_STEPS] = 0.0;
            }
            trainer.set_state(&update);
        }
        Ok(state.step)
    }

    fn write_settings(&self) -> Result<()> {
        let settings = format!("{:#}\n", self.settings);
        AtomicFile::write(&self.folder.join("settings.json"), settings.as_bytes())?;
        let config = toml::to_string(&self.pipeline).map_err(|e| Failure::usage(e.to_string()))?;
        AtomicFile::write(&self.folder.join("config.toml"), config.as_bytes()).map(drop)
    }

    fn announce(&self, first: u64, trainer: &Trainer) {
        let t = &self.pipeline.train;
        let tokens = u64::from(t.batch) * u64::from(t.accumulate) * self.config.context as u64;
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

    fn say(&self, line: &Line) {
        let validation = line.val_loss.map_or(String::new(), |loss| format!(", validation {loss:.4}"));
        let text = format!(
            "step {}: loss {:.4}{validation}, lr {:.2e}, norm {:.2}, {:.0} tokens/s",
            line.step,
            line.loss,
            line.lr,
            line.grad_norm.unwrap_or(f32::INFINITY),
            line.tokens_per_second
        );
        self.log.event("step", json!(line), &text);
    }
}

/// Tells the stories of samples.md, on the CPU.
struct Teller {
    prompts: Vec<String>,
    manner: Manner,
    config: Config,
    tokenizer: Arc<Tokenizer>,
}

impl Teller {
    fn tell(&self, weights: &[f32]) -> Result<Vec<Story>> {
        // One thread: others may be at work for the run itself, and a team that has to wait for one of them loses more.
        let mut decoder = Decoder::on_cpu(self.config, weights.to_vec(), self.manner.slots, 1, Storage::F32);
        tell(&mut decoder, &self.tokenizer, &self.prompts, self.manner)
    }
}

/// Stories that are there, or being told on another thread.
enum Told {
    Now(Vec<Story>),
    Beside(JoinHandle<Result<Vec<Story>>>),
}

impl Told {
    fn wait(self) -> Result<Vec<Story>> {
        match self {
            Told::Now(stories) => Ok(stories),
            Told::Beside(thread) => {
                thread.join().unwrap_or_else(|_| Err(Failure::try_again("the thread that tells the first stories failed")))
            }
        }
    }
}

fn schedule(t: &Train) -> Schedule {
    Schedule { peak: t.lr, warmup: t.warmup, steps: t.steps }
}

fn short(sha256: &str) -> &str {
    sha256.get(..12).unwrap_or(sha256)
}

/// Waits for the check of the bin's hash, once.
fn finish_check(verified: &mut Option<JoinHandle<Result<()>>>) -> Result<()> {
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
