//! What the types of the settings cannot express: ranges, and keys that exclude each other.
use super::{Fetch, Model, Optimizer, Pipeline, Sample, Tokenizer, Train};
use crate::recipe::check_share;

fn require(ok: bool, message: &str) -> Result<(), String> {
    if ok { Ok(()) } else { Err(message.to_owned()) }
}

impl Pipeline {
    /// # Errors
    /// Says which setting is out of its range.
    pub(super) fn validate(&self) -> Result<(), String> {
        self.model.validate()?;
        self.fetch.validate()?;
        self.tokenizer.validate()?;
        require(
            (1..100_000).contains(&self.tokenize.shards),
            "tokenize.shards must be between 1 and 99999",
        )?;
        self.train.validate()?;
        self.train.optimizer.validate()?;
        require(self.eval.stride > 0, "eval.stride must be at least 1")?;
        self.sample.validate()
    }
}

impl Model {
    fn validate(&self) -> Result<(), String> {
        require(
            [self.n_layer, self.n_head, self.d_model, self.d_mlp, self.context]
                .iter()
                .all(|&v| v > 0),
            "model: every size must be at least 1",
        )?;
        // Beyond these, what is computed from them would overflow.
        for (key, size, most) in [
            ("n_layer", self.n_layer, 1 << 12),
            ("d_model", self.d_model, 1 << 24),
            ("d_mlp", self.d_mlp, 1 << 24),
            ("context", self.context, 1 << 24),
        ] {
            let message = format!("model.{key} = {size}: expected at most {most}");
            require(size <= most, &message)?;
        }
        require(
            self.d_model.is_multiple_of(self.n_head),
            "model.d_model must be a multiple of model.n_head",
        )?;
        let kv_heads = self.n_kv_head.unwrap_or(self.n_head);
        require(
            kv_heads > 0 && self.n_head.is_multiple_of(kv_heads),
            "model.n_head must be a multiple of model.n_kv_head",
        )?;
        require(
            (self.d_model / self.n_head).is_multiple_of(2),
            "model.d_model / model.n_head must be even: rope turns pairs",
        )?;
        Ok(())
    }
}

impl Fetch {
    fn validate(&self) -> Result<(), String> {
        require(
            self.validation_split.as_deref().is_none_or(str::is_empty)
                || self.validation_fraction.is_none(),
            "fetch: validation_split and validation_fraction exclude each other",
        )?;
        require(
            self.validation_fraction.is_none_or(|f| f > 0.0 && f < 1.0),
            "fetch.validation_fraction must be between 0 and 1",
        )?;
        require(
            self.separator.as_deref() != Some(""),
            "fetch.separator must not be empty: blank-line, or the text between two stories",
        )?;
        Ok(())
    }
}

impl Tokenizer {
    fn validate(&self) -> Result<(), String> {
        require(
            self.vocab_size >= 258,
            "tokenizer.vocab_size must be at least 258: 256 bytes and two special tokens",
        )?;
        let given = |path: &Option<String>| path.as_ref().is_some_and(|path| !path.is_empty());
        require(
            !given(&self.file) || !given(&self.from),
            "tokenizer: file and from exclude each other",
        )?;
        Ok(())
    }
}

impl Train {
    fn validate(&self) -> Result<(), String> {
        require(
            self.batch > 0 && self.accumulate > 0,
            "train.batch and train.accumulate must be at least 1",
        )?;
        // A step that never ends can be neither saved nor interrupted.
        require(
            self.accumulate <= 1 << 16,
            &format!("train.accumulate = {}: expected at most {}", self.accumulate, 1 << 16),
        )?;
        require(
            self.log_every > 0 && self.val_every > 0 && self.checkpoint_every > 0,
            "train.log_every, val_every and checkpoint_every must be at least 1",
        )?;
        require(self.lr > 0.0 && self.lr.is_finite(), "train.lr must be positive")?;
        check_share("train.final_lr_fraction", self.final_lr_fraction)?;
        check_share("train.decay_fraction", self.decay_fraction)?;
        require(self.clip > 0.0, "train.clip must be positive")?;
        require(
            self.max_minutes.is_none_or(|minutes| minutes > 0.0),
            "train.max_minutes must be positive",
        )?;
        require(
            self.until_loss.is_none_or(|loss| loss > 0.0),
            "train.until_loss must be positive",
        )?;
        require(self.patience != Some(0), "train.patience must be at least 1")?;
        Ok(())
    }
}

impl Optimizer {
    fn validate(&self) -> Result<(), String> {
        require(
            self.weight_decay >= 0.0 && self.weight_decay.is_finite(),
            &format!(
                "train.optimizer.weight_decay = {}: expected 0 (none) or more",
                self.weight_decay
            ),
        )?;
        let betas = self.betas.iter().flatten().map(|beta| ("betas", beta));
        for (key, beta) in betas.chain(self.momentum.iter().map(|beta| ("momentum", beta))) {
            require(
                (0.0..1.0).contains(beta),
                &format!("train.optimizer.{key}: {beta}: expected 0 or more, and less than 1"),
            )?;
        }
        require(
            self.eps.is_none_or(|eps| eps as f32 > 0.0 && eps.is_finite()),
            "train.optimizer.eps must be positive, and no smaller than f32 can tell from 0",
        )?;
        Ok(())
    }
}

impl Sample {
    fn validate(&self) -> Result<(), String> {
        require(self.batch > 0, "sample.batch must be at least 1")?;
        require(
            self.max_tokens <= 1 << 20,
            &format!("sample.max_tokens = {}: expected at most {}", self.max_tokens, 1 << 20),
        )?;
        for temperature in self.temperatures.iter().chain([&self.temperature]) {
            let message = format!(
                "sample.temperature = {temperature}: expected 0 (always the most likely token) or more"
            );
            require(*temperature >= 0.0 && temperature.is_finite(), &message)?;
        }
        require(
            self.top_p > 0.0 && self.top_p <= 1.0,
            &format!(
                "sample.top_p = {}: expected more than 0 and at most 1 (all tokens)",
                self.top_p
            ),
        )?;
        require(
            (0.0..1.0).contains(&self.min_p),
            &format!(
                "sample.min_p = {}: expected 0 (all tokens) or more, and less than 1",
                self.min_p
            ),
        )?;
        let penalty = self.repetition_penalty;
        require(
            penalty > 0.0 && penalty.is_finite(),
            &format!(
                "sample.repetition_penalty = {penalty}: expected more than 0: 1 is no penalty, less than 1 rewards repetition"
            ),
        )?;
        Ok(())
    }
}
