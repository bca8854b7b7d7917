//! One training run from its inputs to its final folder: the loop, and all that happens at its cadences.
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use compute::{AdamW, Cpu, Decoder, Trainer};
use corpus::bin::Bin;
use corpus::sampler::Sampler;
use corpus::tokenizer::Tokenizer;
use model::{Checkpoint, Config, Schedule, State, TensorTable, initial_weights, save_folder};
use serde_json::{Value, json};
use stage::config::Train;
use stage::{AtomicFile, Failure, Log, Progress, Result, Stage, Unit, interrupt};

use crate::score::{Score, check_ids, score};
use crate::{Checkpoints, Line, Manner, RunLog, Story, engine, samples, tell};

const BETA1: f32 = 0.9;
const BETA2: f32 = 0.95;
const EPS: f32 = 1e-8;

/// A run: inputs, settings, and the folder it keeps.
pub struct Run {
    log: Log,
    folder: PathBuf,
    pipeline: stage::Pipeline,
    config: Config,
    tokenizer: Tokenizer,
    train: Arc<Bin>,
    validation: Arc<Bin>,
    settings: Value,
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
}

/// What the loop carries from step to step.
struct Progressed {
    trainer: Trainer<Cpu>,
    run_log: RunLog,
    clock: Clock,
    last: Option<Line>,
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
    pub fn open(stage: &Stage) -> Result<Self> {
        let t = &stage.pipeline.train;
        engine("train", &t.device, &t.precision)?; // what is refused later would have moved an old run by then
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
        Ok(Run {
            log: stage.log,
            folder,
            pipeline: stage.pipeline.clone(),
            config,
            tokenizer,
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
    pub fn set_aside_if_other(&self, force: bool) -> Result<()> {
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

    /// Trains from the newest checkpoint, or from the start, to the end.
    pub fn train(&self) -> Result<Ended> {
        let t = &self.pipeline.train;
        let checkpoints = Checkpoints::new(&self.folder, t.keep_last);
        let sampler = Sampler::new(&self.train, t.seed, t.batch as usize, self.config.context)?;
        stage::create_dir(&self.folder)?;
        self.write_settings()?;
        // The whole content is hashed beside the first steps; nothing is published before it is known to fit.
        let (train, validation) = (self.train.clone(), self.validation.clone());
        let mut verified = Some(std::thread::spawn(move || train.verify().and_then(|()| validation.verify())));

        let kernels = engine("train", &t.device, &t.precision)?;
        let before = initial_weights(&TensorTable::new(&self.config), t.seed);
        let mut trainer = Trainer::new(kernels, self.config, &before, t.batch as usize, self.config.context);
        let first = self.resume(&checkpoints, &mut trainer)?;
        let run_log = RunLog::open(&self.folder.join("loss.jsonl"), first)?;
        self.announce(first, &trainer);
        let stories_before = self.stories(&before)?;

        let clock = Clock { started: Instant::now(), earlier_s: run_log.elapsed_s(), training: Duration::ZERO, tokens: 0 };
        let mut at = Progressed { trainer, last: run_log.lines.last().cloned(), run_log, clock };
        let progress = self.log.progress("train", Unit::Steps, Some(t.steps));
        progress.skip(first);
        for step in first..t.steps {
            self.step(&mut at, &sampler, step, &progress)?;
            let done = step + 1;
            let stop = interrupt::requested();
            if stop || done.is_multiple_of(t.checkpoint_every) || done == t.steps {
                finish_check(&mut verified)?;
                checkpoints.save(&self.checkpoint(&mut at.trainer, done), done.is_multiple_of(t.checkpoint_every))?;
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
        self.finish(at, &stories_before)
    }

    /// One step of the loop, with its validation and its log line.
    fn step(&self, at: &mut Progressed, sampler: &Sampler, step: u64, progress: &Progress) -> Result<()> {
        let t = &self.pipeline.train;
        let validates = step.is_multiple_of(t.val_every);
        let val_loss = if validates { Some(self.validate(&mut at.trainer, t.val_windows)?.loss()) } else { None };
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
        at.trainer.update(AdamW {
            learning_rate: lr as f32,
            beta1: BETA1,
            beta2: BETA2,
            eps: EPS,
            weight_decay: t.weight_decay as f32,
            decay_len: at.trainer.model.table.decay_len,
            clip: t.clip as f32,
            step: step + 1,
        });
        let metrics = at.trainer.metrics(scale);
        at.clock.training += started.elapsed();
        at.clock.tokens += tokens;
        if !metrics.loss.is_finite() || !metrics.grad_norm.is_finite() {
            return Err(Failure::try_again(format!(
                "step {step}: the loss is {}, the norm of the gradient {}\n  kept: the last checkpoint in {}\n  remedy: a lower train.lr, a longer train.warmup or a smaller train.clip",
                metrics.loss,
                metrics.grad_norm,
                self.folder.display()
            )));
        }
        progress.message(format!("loss {:.3}", metrics.loss));
        progress.add(1);
        if step.is_multiple_of(t.log_every) || validates || step + 1 == t.steps {
            let line = Line {
                step,
                loss: metrics.loss,
                lr,
                grad_norm: metrics.grad_norm,
                tokens_per_second: at.clock.tokens_per_second(),
                elapsed_s: at.clock.elapsed_s(),
                val_loss,
            };
            progress.suspend(|| self.say(&line));
            at.last = Some(line.clone());
            at.run_log.append(line)?;
        }
        Ok(())
    }

    /// The whole validation, the stories and the final folder.
    fn finish(&self, mut at: Progressed, before: &[Story]) -> Result<Ended> {
        let t = &self.pipeline.train;
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
        let weights = at.trainer.model.weights();
        let after = self.stories(&weights)?;
        interrupt::check(kept)?; // a story that was cut short is not shown
        samples::write(&self.folder.join("samples.md"), t.steps, self.synthetic(), before, &after)?;
        let tokenizer = std::fs::read(self.tokenizer.path()).map_err(Failure::reading(self.tokenizer.path()))?;
        save_folder(&self.folder.join("final"), &self.config, &weights, &tokenizer, self.tokenizer.eos())?;
        let bytes = self.validation.manifest().count("bytes");
        let bits_per_byte = validation.bits_per_byte(self.validation.len(), bytes);
        Ok(Ended { steps: t.steps, loss: line.loss, validation, bits_per_byte, elapsed_s: line.elapsed_s })
    }

    fn validate(&self, trainer: &mut Trainer<Cpu>, windows: u64) -> Result<Score> {
        let stride = self.config.context;
        score(&mut trainer.model, &self.validation, stride, windows, |_| Ok(()))
    }

    /// Two stories for each prompt, told by these weights.
    fn stories(&self, weights: &[f32]) -> Result<Vec<Story>> {
        let section = &self.pipeline.sample;
        let prompts: Vec<String> = section.prompts.iter().flat_map(|p| [p.clone(), p.clone()]).collect();
        let manner = Manner::new(section);
        let mut decoder = Decoder::new(Cpu::new(), self.config, weights, manner.slots);
        tell(&mut decoder, &self.tokenizer, &prompts, manner)
    }

    fn checkpoint(&self, trainer: &mut Trainer<Cpu>, step: u64) -> Checkpoint {
        use compute::Kernels;
        let (adam_m, adam_v) = trainer.moments();
        let state = State {
            step,
            config: self.config,
            settings: self.settings.clone(),
            tokenizer_sha256: self.tokenizer.sha256().to_owned(),
            device: trainer.model.kernels.device(),
        };
        Checkpoint { state, weights: trainer.model.weights(), adam_m, adam_v }
    }

    /// Loads the newest checkpoint; returns the step to go on with.
    fn resume(&self, checkpoints: &Checkpoints, trainer: &mut Trainer<Cpu>) -> Result<u64> {
        use compute::Kernels;
        let Some(checkpoint) = checkpoints.newest(&self.log)? else { return Ok(0) };
        if checkpoint.state.settings != self.settings {
            return Err(Failure::usage(format!(
                "{}: its checkpoint was made with other settings: {}\n  remedy: --force keeps it as run.N and starts anew",
                self.folder.display(),
                stage::changed_keys(&checkpoint.state.settings, &self.settings)
            )));
        }
        let device = trainer.model.kernels.device();
        if checkpoint.state.device != device {
            self.log
                .warn(format!("the checkpoint comes from {}; on {device} the run goes on with other rounding", checkpoint.state.device));
        }
        trainer.model.set_weights(&checkpoint.weights);
        trainer.set_moments(&checkpoint.adam_m, &checkpoint.adam_v);
        Ok(checkpoint.state.step)
    }

    fn write_settings(&self) -> Result<()> {
        let settings = format!("{:#}\n", self.settings);
        AtomicFile::write(&self.folder.join("settings.json"), settings.as_bytes())?;
        let config = toml::to_string(&self.pipeline).map_err(|e| Failure::usage(e.to_string()))?;
        AtomicFile::write(&self.folder.join("config.toml"), config.as_bytes()).map(drop)
    }

    fn announce(&self, first: u64, trainer: &Trainer<Cpu>) {
        use compute::Kernels;
        let t = &self.pipeline.train;
        let tokens = u64::from(t.batch) * u64::from(t.accumulate) * self.config.context as u64;
        let parameters = TensorTable::new(&self.config).len;
        self.log.say(format!(
            "{:.2} M parameters, {} steps of {tokens} tokens over {} in train.bin, f32 on {}",
            parameters as f64 / 1e6,
            t.steps,
            self.train.len(),
            trainer.model.kernels.device()
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
            line.step, line.loss, line.lr, line.grad_norm, line.tokens_per_second
        );
        self.log.event("step", json!(line), &text);
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
