//! What a run is made of: its inputs, its settings, its engine and its folder.
use std::path::{Path, PathBuf};
use std::sync::Arc;

use compute::{Optimizer, Trainer};
use corpus::batch_sampler::BatchSampler;
use corpus::bin::Bin;
use corpus::tokenizer::Tokenizer;
use inference::{Engine, EngineOptions, Prompts, SamplingParams};
use model::Config;
use serde_json::{Map, Value, json};
use stage::config::Outcome;
use stage::recipe::Sampling;
use stage::{Action, AtomicFile, Failure, Log, Result, Stage};

use crate::checkpoint_writer::Generator;
use crate::initial_model::InitialModel;
use crate::optimizer;
use crate::reference::Reference;
use crate::run_info::RunInfo;

/// What the command line asks of a run beside its settings.
#[derive(Clone, Debug, Default)]
pub struct TrainOptions {
    /// A folder to read shaders from.
    pub shaders: Option<PathBuf>,
    /// The folder of the run, where it is not OUT/run.
    pub run: Option<PathBuf>,
    /// Keep the time of every kernel.
    pub profile: bool,
    /// Look for the best tiles first.
    pub tune: bool,
}

pub(crate) struct Setup {
    pub log: Log,
    pub folder: PathBuf,
    pub pipeline: stage::Pipeline,
    pub config: Config,
    pub tokenizer: Arc<Tokenizer>,
    pub train: Arc<Bin>,
    pub validation: Arc<Bin>,
    /// The settings that decide the weights.
    pub settings: Value,
    /// The settings that decide the result: those, and when to end. A run may be resumed with another end.
    pub deciding_settings: Value,
    pub optimizer: Optimizer,
    /// What the run begins with, where it is not drawn.
    pub initial: Option<InitialModel>,
    pub engine: Engine,
}

impl Setup {
    /// Opens the inputs and checks that they belong together.
    pub(crate) fn open(stage: &Stage, options: &TrainOptions) -> Result<Self> {
        let t = &stage.pipeline.train;
        if t.steps == 0 {
            return Err(Failure::usage("train.steps = 0: expected at least 1"));
        }
        let tokenizer = Tokenizer::load(&stage.path("tokenizer.json"))?;
        let train = Bin::open(&stage.path("train.bin"))?;
        let validation = Bin::open(&stage.path("val.bin"))?;
        for bin in [&train, &validation] {
            check_tokenizer(bin, &tokenizer)?;
        }
        let config = Config::new(&stage.pipeline.model, tokenizer.vocab_size() as usize);
        let initial = InitialModel::open(stage, &config, &tokenizer)?;
        let [settings, deciding_settings] =
            [Outcome::Resume, Outcome::Train].map(|outcome| stage.pipeline.deciding_flat(outcome));
        let inputs = [
            ("optimizer", optimizer::settings(&t.optimizer)?),
            ("vocab_size", config.vocab_size.into()),
            ("train_bin_sha256", json!(train.manifest().outputs.first().map(|o| &o.sha256))),
            ("tokenizer_sha256", tokenizer.sha256().into()),
        ];
        let with_inputs = |mut settings: Map<String, Value>| {
            settings.extend(inputs.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
            if let Some(model) = &initial {
                settings.insert("init_from".into(), model.hashes.clone()); // wherever it lies
            }
            Value::Object(settings)
        };
        let folder = options.run.clone().unwrap_or_else(|| stage.path("run"));
        // Before anything is written: a refusal must not move an old run.
        let engine = EngineOptions {
            section: "train",
            device: &t.device,
            precision: &t.precision,
            shaders: options.shaders.as_deref(),
            profile: options.profile,
            head_width: config.head_width(),
        };
        let engine = Engine::open(&engine, &stage.log)?;
        Ok(Setup {
            engine,
            log: stage.log,
            folder,
            pipeline: stage.pipeline.clone(),
            config,
            tokenizer: Arc::new(tokenizer),
            train: Arc::new(train),
            validation: Arc::new(validation),
            settings: with_inputs(settings),
            deciding_settings: with_inputs(deciding_settings),
            optimizer: optimizer::optimizer(&t.optimizer)?,
            initial,
        })
    }

    /// What stays the same during the run.
    pub(crate) fn info(&self, trainer: &Trainer) -> Result<RunInfo> {
        let t = &self.pipeline.train;
        let kernels = &trainer.model.kernels;
        let manifest = self.train.manifest();
        Ok(RunInfo {
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
            reference: Reference::of(&self.pipeline),
            tokens: self.train.len(),
            stories: manifest.count("stories"),
            context: self.config.context as u64,
            windows: (t.sampling == Sampling::Epochs)
                .then(|| BatchSampler::windows_of_an_epoch(&self.train, self.config.context)),
        })
    }

    /// Tokens whose loss makes one update.
    pub(crate) fn tokens_per_step(&self) -> u64 {
        let t = &self.pipeline.train;
        u64::from(t.batch) * u64::from(t.accumulate) * self.config.context as u64
    }

    /// Generates two stories for each prompt.
    pub(crate) fn generator(&self) -> Generator {
        let section = &self.pipeline.sample;
        let prompts = Prompts::new(section.prompts.clone(), 2);
        Generator {
            prompts,
            params: SamplingParams::new(section),
            config: self.config,
            tokenizer: self.tokenizer.clone(),
        }
    }

    fn config_text(&self) -> Result<String> {
        toml::to_string(&self.pipeline).map_err(|e| Failure::usage(e.to_string()))
    }

    pub(crate) fn write_settings(&self) -> Result<()> {
        let settings = format!("{:#}\n", self.settings);
        AtomicFile::write(&self.folder.join("settings.json"), settings.as_bytes())?;
        AtomicFile::write(&self.folder.join("config.toml"), self.config_text()?.as_bytes())
            .map(drop)
    }

    /// A label for runs on stories that nobody wrote.
    pub(crate) fn synthetic(&self) -> Option<&'static str> {
        self.train
            .manifest()
            .is_synthetic()
            .then_some("The stories of this run are synthetic, made by the program's own grammar (`stories:`).")
    }
}

/// Refuses a bin of another tokenizer.
fn check_tokenizer(bin: &Bin, tokenizer: &Tokenizer) -> Result<()> {
    let made_with = bin.manifest().tokenizer.as_ref();
    if made_with != Some(tokenizer.record()) {
        let found = made_with.map_or("no tokenizer".into(), |t| {
            format!("ids of tokenizer {} with a vocabulary of {}", short(&t.sha256), t.vocab_size)
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
            format_args!(
                "{}, or bring the tokenizer.json that made it",
                Action::Run("tokenize pack")
            ),
        ));
    }
    Ok(())
}

fn short(sha256: &str) -> &str {
    sha256.get(..12).unwrap_or(sha256)
}
