//! The pipeline file: every setting of every stage, with its default and its meaning, in one place.
//!
//! A file states only what differs from the defaults below. One macro makes the struct, the defaults and the list
//! of keys that error messages choose the nearest from.
use std::path::Path;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::{Failure, Result};

macro_rules! sections {
    ($($(#[$doc:meta])* $section:ident $name:ident { $($(#[$key_doc:meta])* $key:ident: $type:ty = $default:expr,)* })*) => {
        $($(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name { $($(#[$key_doc])* #[serde(skip_serializing_if = "skip")] pub $key: $type,)* }
        impl Default for $name {
            fn default() -> Self { $name { $($key: $default,)* } }
        })*

        /// A whole pipeline file.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Pipeline {
            /// Folder of all outputs; `out/NAME` of `NAME.toml` when not given.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub out: Option<String>,
            $($(#[$doc])* pub $section: $name,)*
        }

        /// Every key a pipeline file may hold, as `section.key`.
        pub const KEYS: &[&str] = &["out", $($(concat!(stringify!($section), ".", stringify!($key)),)*)*];
    };
}

fn skip<T: Serialize>(value: &T) -> bool {
    matches!(serde_json::to_value(value), Ok(serde_json::Value::Null))
}

sections! {
    /// Where stories come from.
    fetch Fetch {
        /// `stories:` (synthetic, embedded), `hf://datasets/OWNER/NAME[@REVISION]`, `https://...parquet`, `s3://...`,
        /// `gs://...`, or a local file, folder or glob of .parquet, .jsonl, .txt
        source: String = "stories:".into(),
        train_split: String = "train".into(),
        /// Split (or file name prefix) that validation comes from; not with validation_fraction. "" is as good as none.
        validation_split: Option<String> = None,
        /// Share of the training stories set aside for validation, chosen by a hash of their text.
        validation_fraction: Option<f64> = None,
        /// Column (parquet) or field (jsonl) that holds the text.
        column: String = "text".into(),
        /// Take at most this many training stories (`stories:` makes this many; 20,000 when not given).
        max_stories: Option<u64> = None,
        /// Take no more files or row groups than about this many training tokens need (4 bytes a token).
        max_tokens_hint: Option<u64> = None,
        /// Seed of `stories:`.
        seed: u64 = 1,
    }
    /// The byte-level BPE tokenizer.
    tokenizer Tokenizer {
        vocab_size: u32 = 8000,
        /// Training stories it is trained on.
        max_stories: u64 = 100_000,
        /// A tokenizer.json of one's own, taken instead of training one.
        file: Option<String> = None,
    }
    /// Stories to token shards.
    tokenize Tokenize {
        /// Number of output files per split.
        shards: u32 = 16,
    }
    /// Token shards to train.bin and val.bin.
    pack Pack {
        /// Seed of the order of whole stories.
        seed: u64 = 1,
        /// `shuffled` or `as-published`.
        order: Order = Order::Shuffled,
    }
    /// The model: a small Llama. The vocabulary is the tokenizer's.
    model Model {
        n_layer: u32 = 6,
        n_head: u32 = 8,
        d_model: u32 = 320,
        d_mlp: u32 = 856,
        /// Longest sequence in tokens.
        context: u32 = 512,
    }
    /// The training run.
    train Train {
        /// auto, cpu, gpu, gpu:N (`train --list-devices`)
        device: String = "auto".into(),
        /// What a GPU keeps values in: auto, f32, f16, bf16. Arithmetic is f32 with all of them.
        precision: String = "auto".into(),
        steps: u64 = 12_000,
        /// Sequences per micro-batch.
        batch: u32 = 32,
        /// Micro-batches whose gradients are averaged in one update.
        accumulate: u32 = 1,
        /// Peak learning rate; cosine decay to a tenth of it.
        lr: f64 = 6e-4,
        /// Steps of linear warm-up.
        warmup: u64 = 200,
        /// On matrices only, not on the embedding and the norms.
        weight_decay: f64 = 0.1,
        /// Largest norm of the gradient.
        clip: f64 = 1.0,
        /// Seed of initial weights and batches.
        seed: u64 = 1,
        log_every: u64 = 50,
        val_every: u64 = 500,
        /// Windows of the context's length that each validation along the way takes (0: all of val.bin).
        val_windows: u64 = 400,
        checkpoint_every: u64 = 1000,
        /// Numbered checkpoints kept beside `last` and `best`.
        keep_last: u32 = 3,
        /// Ends the run after so many minutes, earlier parts of it included; the learning rate reaches its end by then.
        max_minutes: Option<f64> = None,
        /// Ends the run at the first validation along the way with at most this loss.
        until_loss: Option<f64> = None,
        /// Where a loss is not finite: `stop`, or `rollback` to the last checkpoint and go on without that batch.
        on_nan: OnNan = OnNan::Stop,
    }
    /// Perplexity of the validation stories.
    eval Eval {
        device: String = "auto".into(),
        /// f32, f16, bf16, auto
        precision: String = "f32".into(),
        /// Tokens each window advances; the rest of the window is context only.
        stride: u32 = 256,
    }
    /// Telling stories.
    sample Sample {
        device: String = "auto".into(),
        /// f32, f16, bf16, auto; q8 on the CPU: weights and activations in eight bits
        precision: String = "f32".into(),
        /// Stories told side by side: changes nothing but the speed.
        batch: u32 = 10,
        prompts: Vec<String> = ["Once upon a time", "Lily found a big", "The little dog wanted", "On a sunny day,", "There was a kind"]
            .map(String::from).into(),
        /// A file of prompts, one a line, in place of them.
        prompts_file: Option<String> = None,
        /// Stories per prompt.
        n: u32 = 2,
        max_tokens: u32 = 120,
        /// 0 takes the likeliest token each time.
        temperature: f32 = 0.8,
        /// Each of these in place of it, one after the other, with a table of how the stories come out.
        temperatures: Vec<f32> = Vec::new(),
        /// Choose among this many likeliest tokens (0: all).
        top_k: u32 = 50,
        /// Choose among the likeliest tokens that together have this probability.
        top_p: f32 = 1.0,
        /// Choose among the tokens at least this share as likely as the likeliest (0: all).
        min_p: f32 = 0.0,
        /// Divides the logits of tokens that the story has already (1: no penalty).
        repetition_penalty: f32 = 1.0,
        seed: u64 = 1,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    Shuffled,
    AsPublished,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnNan {
    Stop,
    Rollback,
}

impl Pipeline {
    /// Reads a pipeline file, then applies `key=value` settings in order.
    pub fn load(path: &Path, settings: &[String]) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Failure::usage(format!(
                "{}: {error}\n  expected: a pipeline file\n  remedy: name one with --config pipelines/NAME.toml",
                path.display()
            ))
        })?;
        let mut table: Table = text.parse().map_err(|e| bad_toml(path, &e))?;
        reject_unknown(&table, &path.display().to_string())?;
        toml::from_str::<Pipeline>(&text).map_err(|e| bad_toml(path, &e))?; // for its line and column
        for setting in settings {
            apply(&mut table, setting)?;
        }
        let pipeline: Pipeline = table.try_into().map_err(|e: toml::de::Error| {
            Failure::usage(format!("--set {}: {}", settings.join(" --set "), e.message()))
        })?;
        pipeline
            .validate()
            .map_err(|message| Failure::usage(format!("{}: {message}", path.display())))?;
        Ok(pipeline)
    }

    /// What no type can say.
    fn validate(&self) -> Result<(), String> {
        let require = |ok: bool, message: &str| if ok { Ok(()) } else { Err(message.to_owned()) };
        let m = &self.model;
        require(
            [m.n_layer, m.n_head, m.d_model, m.d_mlp, m.context].iter().all(|&v| v > 0),
            "model: every size must be at least 1",
        )?;
        require(
            m.d_model.is_multiple_of(m.n_head),
            "model.d_model must be a multiple of model.n_head",
        )?;
        require(
            (m.d_model / m.n_head).is_multiple_of(2),
            "model.d_model / model.n_head must be even: rope turns pairs",
        )?;
        require(
            self.fetch.validation_split.as_deref().is_none_or(str::is_empty)
                || self.fetch.validation_fraction.is_none(),
            "fetch: validation_split and validation_fraction exclude each other",
        )?;
        require(
            self.fetch.validation_fraction.is_none_or(|f| f > 0.0 && f < 1.0),
            "fetch.validation_fraction must be between 0 and 1",
        )?;
        require(
            self.tokenizer.vocab_size >= 258,
            "tokenizer.vocab_size must be at least 258: 256 bytes and two special tokens",
        )?;
        require(
            (1..100_000).contains(&self.tokenize.shards),
            "tokenize.shards must be between 1 and 99999",
        )?;
        let t = &self.train;
        require(
            t.batch > 0 && t.accumulate > 0,
            "train.batch and train.accumulate must be at least 1",
        )?;
        require(
            t.log_every > 0 && t.val_every > 0 && t.checkpoint_every > 0,
            "train.log_every, val_every and checkpoint_every must be at least 1",
        )?;
        require(t.lr > 0.0 && t.lr.is_finite(), "train.lr must be positive")?;
        require(t.clip > 0.0, "train.clip must be positive")?;
        require(
            t.max_minutes.is_none_or(|minutes| minutes > 0.0),
            "train.max_minutes must be positive",
        )?;
        require(t.until_loss.is_none_or(|loss| loss > 0.0), "train.until_loss must be positive")?;
        require(t.weight_decay >= 0.0, "train.weight_decay must not be negative")?;
        require(self.eval.stride > 0, "eval.stride must be at least 1")?;
        let s = &self.sample;
        require(s.batch > 0, "sample.batch must be at least 1")?;
        for temperature in s.temperatures.iter().chain([&s.temperature]) {
            let message = format!(
                "sample.temperature = {temperature}: expected 0 (the likeliest token each time) or more"
            );
            require(*temperature >= 0.0 && temperature.is_finite(), &message)?;
        }
        require(
            s.top_p > 0.0 && s.top_p <= 1.0,
            &format!("sample.top_p = {}: expected more than 0 and at most 1 (all tokens)", s.top_p),
        )?;
        require(
            (0.0..1.0).contains(&s.min_p),
            &format!(
                "sample.min_p = {}: expected 0 (all tokens) or more, and less than 1",
                s.min_p
            ),
        )?;
        let penalty = s.repetition_penalty;
        require(
            penalty > 0.0 && penalty.is_finite(),
            &format!(
                "sample.repetition_penalty = {penalty}: expected 1 (no penalty) or more; less than 1 rewards repetition, 0 is nothing"
            ),
        )?;
        Ok(())
    }
}

fn bad_toml(path: &Path, error: &toml::de::Error) -> Failure {
    Failure::usage(format!("{}: {}", path.display(), error.to_string().trim_end()))
}

fn reject_unknown(table: &Table, place: &str) -> Result<()> {
    for (section, value) in table {
        match value {
            Value::Table(keys) => {
                keys.keys().try_for_each(|key| known(&format!("{section}.{key}"), place))?
            }
            _ => known(section, place)?,
        }
    }
    Ok(())
}

fn known(key: &str, place: &str) -> Result<()> {
    if KEYS.contains(&key) {
        return Ok(());
    }
    let distance = |candidate: &&&str| strsim::damerau_levenshtein(candidate, key);
    let nearest = KEYS.iter().min_by_key(distance).copied().unwrap_or_default();
    Err(Failure::usage(format!("{place}: unknown key {key}\n  nearest known key: {nearest}")))
}

/// `section.key=value`, the value as TOML, or as plain text where that is no TOML.
fn apply(table: &mut Table, setting: &str) -> Result<()> {
    let (key, text) = setting.split_once('=').ok_or_else(|| {
        Failure::usage(format!("--set {setting}: expected key=value, for example train.lr=3e-4"))
    })?;
    let (key, text) = (key.trim(), text.trim());
    known(key, &format!("--set {setting}"))?;
    let value = format!("value = {text}").parse::<Table>().ok().and_then(|mut t| t.remove("value"));
    let value = value.unwrap_or_else(|| Value::String(text.to_owned()));
    match key.split_once('.') {
        None => table.insert(key.to_owned(), value),
        Some((section, key)) => table
            .entry(section)
            .or_insert_with(|| Value::Table(Table::new()))
            .as_table_mut()
            .ok_or_else(|| Failure::usage(format!("{section} must be a table")))?
            .insert(key.to_owned(), value),
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, settings: &[&str]) -> Result<Pipeline> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Pipeline::load(file.path(), &settings.iter().map(|s| s.to_string()).collect::<Vec<_>>())
    }

    #[test]
    fn settings_override_the_file_and_the_file_overrides_the_defaults() {
        let pipeline = load(
            "[train]\nsteps = 7\nlr = 1e-3\n",
            &["train.steps=500", "fetch.source=/a dir/x.parquet", "pack.order=as-published"],
        )
        .unwrap();
        assert_eq!(
            (pipeline.train.steps, pipeline.train.lr, pipeline.train.batch),
            (500, 1e-3, 32)
        );
        assert_eq!(pipeline.fetch.source, "/a dir/x.parquet");
        assert_eq!(pipeline.pack.order, Order::AsPublished);
        assert_eq!(load("[sample]\nprompts = [\"A\"]", &[]).unwrap().sample.prompts, ["A"]);
    }

    #[test]
    fn unknown_keys_name_the_nearest_known_one() {
        for (text, setting) in [("[train]\nstpes = 7\n", None), ("", Some("train.stpes=7"))] {
            let error = load(text, &setting.into_iter().collect::<Vec<_>>()).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains("nearest known key: train.steps"), "{error}");
        }
    }

    #[test]
    fn wrong_types_and_values_are_usage_errors_with_a_place() {
        let error = load("[train]\nsteps = \"many\"\n", &[]).unwrap_err().to_string();
        assert!(error.contains("line 2"), "{error}");
        assert!(
            load("", &["train.steps=many"]).unwrap_err().to_string().contains("train.steps=many")
        );
        assert!(
            load("[model]\nn_head = 7\n", &[])
                .unwrap_err()
                .to_string()
                .contains("multiple of model.n_head")
        );
    }
}
