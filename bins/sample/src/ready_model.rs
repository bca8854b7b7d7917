//! The model that a command generates with.
use std::path::{Path, PathBuf};

use compute::Decoder;
use corpus::tokenizer::Tokenizer;
use inference::{Engine, EngineOptions, LoadedModel, open_model};
use stage::{Result, Stage};

/// A model ready to generate.
pub(crate) struct ReadyModel {
    pub decoder: Decoder,
    pub tokenizer: Tokenizer,
    /// The files that made it.
    pub files: Vec<(String, PathBuf)>,
}

impl ReadyModel {
    /// The model, ready for up to `stories` stories in parallel, limited by sample.batch.
    pub(crate) fn open(stage: &Stage, named: Option<&Path>, stories: usize) -> Result<Self> {
        let section = &stage.pipeline.sample;
        let slots = (section.batch as usize).min(stories).max(1);
        let loaded = open_model(stage, named)?;
        let (tokenizer, files) = (loaded.tokenizer()?, loaded.files()?);
        let LoadedModel { config, weights, .. } = loaded;
        let options = EngineOptions {
            section: "sample",
            device: &section.device,
            precision: &section.precision,
            shaders: None,
            profile: false,
            head_width: config.head_width(),
        };
        let decoder = Engine::open(&options, &stage.log)?.decoder(config, weights, slots)?;
        Ok(ReadyModel { decoder, tokenizer, files })
    }

    /// Warns when the model will not see the whole prompt.
    pub(crate) fn warn_of_long(&self, stage: &Stage, prompts: &[String]) -> Result<()> {
        let context = self.decoder.config().context;
        // No token is shorter than a byte.
        for prompt in prompts.iter().filter(|prompt| prompt.len() > context) {
            let tokens = self.tokenizer.try_encode(prompt)?.len();
            if tokens > context {
                let start: String = prompt.chars().take(30).collect();
                stage.log.warn(format!("the prompt {start:?}... has {tokens} tokens; the model sees the last {context}, its context"));
                break;
            }
        }
        Ok(())
    }
}
