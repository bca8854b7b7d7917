//! Opens a trained model: the run's own, any Hugging Face folder, or a checkpoint.
use std::path::{Path, PathBuf};

use corpus::tokenizer::{Tokenizer, in_another_form};
use model::{Checkpoint, Config, Llama, Weights, weight_files};
use stage::{Action, Failure, Result, Stage};

use crate::engine::check_model;

/// Sizes, weights, and the files they came from.
pub struct LoadedModel {
    /// The folder or checkpoint.
    pub path: PathBuf,
    /// Sizes.
    pub config: Config,
    /// Flat, in the layout of [`model::TensorTable`].
    pub weights: Vec<f32>,
    /// The tokenizer.json that belongs to it.
    pub tokenizer: PathBuf,
    /// What ends a text, as the folder says.
    pub eos: Vec<u32>,
    /// SHA-256 of the tokenizer in training, if known.
    trained_with: Option<String>,
}

/// Opens what `--model` named, or else OUT/run/final, whose context the pipeline's must not exceed.
///
/// # Errors
/// Exit code 3: files are missing or damaged, tensors do not fit, or the model is one that is not computed here.
pub fn open_model(stage: &Stage, named: Option<&Path>) -> Result<LoadedModel> {
    let path = named.map_or_else(|| stage.path("run/final"), Path::to_owned);
    if path.is_file() {
        let Checkpoint { state, weights, .. } = Checkpoint::load(&path)?;
        let (tokenizer, trained_with) =
            (stage.path("tokenizer.json"), Some(state.tokenizer_sha256));
        return Ok(LoadedModel {
            path,
            config: state.config,
            weights,
            tokenizer,
            eos: Vec::new(),
            trained_with,
        });
    }
    let tokenizer = path.join("tokenizer.json");
    for file in [&path.join("config.json"), &tokenizer] {
        if !file.is_file() {
            let other = if file == &tokenizer { in_another_form(file) } else { None };
            return Err(other.unwrap_or_else(|| {
                Failure::input(
                    file,
                    "not found",
                    "a trained model",
                    format_args!(
                        "{}, or name another folder with {}",
                        Action::Run("train"),
                        Action::Switch("model")
                    ),
                )
            }));
        }
    }
    check_model(&path)?;
    let Llama { config, eos, .. } = Llama::read(&path)?;
    let asked = stage.pipeline.model.context as usize;
    if named.is_none() && asked > config.context {
        let expected = format!(
            "model.context of at most {}, what this model was trained with",
            config.context
        );
        return Err(Failure::input(
            &path,
            format_args!("model.context is {asked}"),
            expected,
            format_args!("set model.context to it; or {}, which trains anew", Action::Run("train")),
        ));
    }
    let weights = Weights::open(&path)?.load(&Llama::read(&path)?)?;
    Ok(LoadedModel { path, config, weights, tokenizer, eos, trained_with: None })
}

impl LoadedModel {
    /// The model's tokenizer.
    ///
    /// # Errors
    /// Exit code 3: it is damaged, has ids that the model has no row for, or is another than the checkpoint was trained with.
    pub fn tokenizer(&self) -> Result<Tokenizer> {
        let tokenizer = Tokenizer::load_with(&self.tokenizer, &self.eos)?;
        let remedy = "use the tokenizer the model was trained with";
        if tokenizer.vocab_size() as usize > self.config.vocab_size {
            let found = format!("a vocabulary of {}", tokenizer.vocab_size());
            return Err(Failure::input(
                &self.tokenizer,
                found,
                format_args!("at most the model's {}", self.config.vocab_size),
                remedy,
            ));
        }
        match &self.trained_with {
            Some(sha256) if sha256 != tokenizer.sha256() => {
                let expected = format!("{sha256}, that {} was trained with", self.path.display());
                Err(Failure::input(
                    &self.tokenizer,
                    format_args!("its SHA-256 is {}", tokenizer.sha256()),
                    expected,
                    remedy,
                ))
            }
            _ => Ok(tokenizer),
        }
    }

    /// SHA-256 of the tokenizer.json that it was trained with.
    ///
    /// # Errors
    /// Exit code 3 when the file cannot be read.
    pub fn tokenizer_sha256(&self) -> Result<String> {
        match &self.trained_with {
            Some(sha256) => Ok(sha256.clone()),
            None => Ok(stage::hash_file(&self.tokenizer)?.sha256),
        }
    }

    /// The files that decide what it computes, by the names that manifests give them.
    ///
    /// # Errors
    /// Exit code 3 when a file is missing.
    pub fn files(&self) -> Result<Vec<(String, PathBuf)>> {
        let mut paths = vec![self.path.clone()];
        if self.path.is_dir() {
            paths = weight_files(&self.path)?;
            paths.push(self.path.join("config.json"));
        }
        let name =
            |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(paths.into_iter().map(|path| (name(&path), path)).collect())
    }
}
