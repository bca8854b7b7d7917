//! `train.init_from`: the model whose weights a run begins with.
use std::path::{Path, PathBuf};

use corpus::tokenizer::Tokenizer;
use inference::{LoadedModel, open_model};
use model::Config;
use serde_json::{Map, Value, json};
use stage::{Action, Failure, Result, Stage, hash_file};

/// Weights of a Hugging Face folder or a checkpoint.
pub(crate) struct InitialModel {
    pub path: PathBuf,
    /// Flat, in the layout of [`model::TensorTable`].
    pub weights: Vec<f32>,
    /// SHA-256 of its files by name: another model is another run.
    pub hashes: Value,
}

impl InitialModel {
    /// Opens what the settings name, if they name one, and checks that this run can begin with it.
    ///
    /// # Errors
    /// Exit code 2 where another setting contradicts it; 3 where it is missing or damaged, or has another shape or tokenizer.
    pub(crate) fn open(
        stage: &Stage,
        config: &Config,
        tokenizer: &Tokenizer,
    ) -> Result<Option<Self>> {
        let t = &stage.pipeline.train;
        let Some(path) = t.init_from.as_ref().filter(|path| !path.is_empty()) else {
            return Ok(None);
        };
        if t.zero_init_residual {
            let found = "train.zero_init_residual = true: train.init_from gives the weights that it would set to 0";
            return Err(Failure::usage(found).remedy("leave one of them out"));
        }
        let path = PathBuf::from(path);
        if !path.exists() {
            return Err(Failure::input(
                &path,
                "not found",
                "a Hugging Face folder, or a checkpoint",
                format_args!(
                    "name an existing one with {}",
                    Action::Set("train.init_from", "PATH")
                ),
            ));
        }
        let model = open_model(stage, Some(&path))?;
        // First: another tokenizer has another vocabulary, too.
        check_tokenizer(&model, tokenizer)?;
        check_shape(&path, &model.config, config)?;
        let mut hashes = Map::new();
        for (name, file) in model.files()? {
            hashes.insert(name, hash_file(&file)?.sha256.into());
        }
        Ok(Some(InitialModel { path, weights: model.weights, hashes: hashes.into() }))
    }
}

/// Refuses sizes that are not those of this run. The context may be another: no weight depends on it.
fn check_shape(path: &Path, found: &Config, own: &Config) -> Result<()> {
    let of = |config: &Config| {
        [
            ("model.n_layer", json!(config.n_layer)),
            ("model.n_head", json!(config.n_head)),
            ("model.n_kv_head", json!(config.n_kv_head)),
            ("model.d_model", json!(config.d_model)),
            ("model.d_mlp", json!(config.d_mlp)),
            ("the vocabulary", json!(config.vocab_size)),
            ("rms_norm_eps", json!(config.rms_eps)),
            ("rope_theta", json!(config.rope_base)),
            ("tie_word_embeddings", json!(config.tied)),
        ]
    };
    let pairs = of(found).into_iter().zip(of(own)).filter(|(found, own)| found != own);
    let (found, expected): (Vec<String>, Vec<String>) = pairs
        .map(|((key, found), (_, own))| (format!("{key} = {found}"), format!("{key} = {own}")))
        .unzip();
    if found.is_empty() {
        return Ok(());
    }
    Err(Failure::input(
        path,
        found.join(", "),
        format_args!("{}, as this run has", expected.join(", ")),
        "set the keys of [model] to the model's, or begin with another one",
    ))
}

/// Refuses a model that was trained on other ids.
fn check_tokenizer(model: &LoadedModel, own: &Tokenizer) -> Result<()> {
    let trained_with = model.tokenizer_sha256()?;
    if trained_with == own.sha256() {
        return Ok(());
    }
    let remedy = match model.path.is_dir() {
        true => format!(
            "{} takes its tokenizer: {} with it",
            Action::Set("tokenizer.from", &model.path.to_string_lossy()),
            Action::Run("tokenizer tokenize pack")
        ),
        false => "bring the tokenizer.json that it was trained with".to_owned(),
    };
    Err(Failure::input(
        own.path(),
        format_args!("its SHA-256 is {}", own.sha256()),
        format_args!("{trained_with}, that {} was trained with", model.path.display()),
        remedy,
    ))
}
