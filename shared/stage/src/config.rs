//! The pipeline file: every setting of every stage, with its default and its meaning, in one place.
//!
//! A file states only what differs from the defaults below. Each key says which results it decides: a result is made again
//! when one of its keys changes. One macro makes the structs, the defaults, the marks, the list of stages, and the list of
//! keys from which error messages suggest the nearest.
#[macro_use]
mod macros;
mod deciding;
mod validate;
mod whole_u64;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::recipe::{Align, LrSchedule, Sampling};
use crate::sweep::{Variant, variants};
use crate::{Address, Failure, Result};

/// Renamed keys: the old name and the new one.
const MOVED: &[(&str, &str)] = &[("train.weight_decay", "train.optimizer.weight_decay")];

fn skip<T: Serialize>(value: &T) -> bool {
    matches!(serde_json::to_value(value), Ok(serde_json::Value::Null))
}

sections! {
    /// Where stories come from.
    fetch Fetch of "fetch-parquet": Fetch {
        /// `stories:` (synthetic, embedded), `hf://datasets/OWNER/NAME[@REVISION]`, `https://...parquet`, `s3://...`,
        /// `gs://...`, or a local file, folder or glob of .parquet, .jsonl, .json, .txt (the last three also as .gz or .zst)
        source: Address = "stories:".into() => decides(Fetch),
        /// Split (or file name prefix) of the training stories.
        train_split: String = "train".into() => decides(Fetch),
        /// Split (or file name prefix) of the validation stories; excludes validation_fraction. "" means none.
        validation_split: Option<String> = None => decides(Fetch),
        /// Fraction of the training stories held out for validation, chosen by a hash of their text.
        validation_fraction: Option<f64> = None => decides(Fetch),
        /// Column (parquet) or field (jsonl, json) that holds the text.
        column: String = "text".into() => decides(Fetch, Tokenizer, Tokenize),
        /// Take at most this many training stories (`stories:` makes this many; 20,000 when not given).
        max_stories: Option<u64> = None => decides(Fetch),
        /// Take only as many files or row groups as this many training tokens need (at 4 bytes per token).
        max_tokens_hint: Option<u64> = None => decides(Fetch),
        /// What stands between the stories of a .txt file: `blank-line`, or any text, in which `\n` is a line end
        /// (`<|endoftext|>` when not given).
        separator: Option<String> = None => decides(Fetch),
        /// Seed of `stories:`.
        #[serde(with = "whole_u64")]
        seed: u64 = 1 => decides(Fetch),
    }
    /// The byte-level BPE tokenizer.
    tokenizer Tokenizer of "train-tokenizer": Tokenizer {
        /// Size of the vocabulary, including the 256 bytes and the end-of-story token.
        vocab_size: u32 = 8000 => decides(Tokenizer),
        /// Training stories it is trained on.
        max_stories: u64 = 100_000 => decides(Tokenizer),
        /// An existing tokenizer.json to use instead of training one.
        file: Option<String> = None => decides(Tokenizer),
        /// Use the tokenizer of the model in this folder instead of training one.
        from: Option<String> = None => decides(Tokenizer),
    }
    /// Stories to token shards.
    tokenize Tokenize of "tokenize": Tokenize {
        /// Number of output files per split.
        shards: u32 = 16 => decides(Tokenize),
    }
    /// Token shards to train.bin and val.bin.
    pack Pack of "pack-bin": Pack {
        /// `shuffled` or `as-published`.
        order: Order = Order::Shuffled => decides(Pack),
        /// Seed of the order of whole stories.
        #[serde(with = "whole_u64")]
        seed: u64 = 1 => decides(Pack),
    }
    /// The model: a small Llama. The vocabulary is the tokenizer's.
    model Model {
        /// Transformer blocks.
        n_layer: u32 = 6 => decides(Train, Resume),
        /// Attention heads. d_model / n_head must be a whole, even number.
        n_head: u32 = 8 => decides(Train, Resume),
        /// Heads of keys and values, each for n_head / n_kv_head query heads; n_head when not given.
        n_kv_head: Option<u32> = None => decides(Train, Resume),
        /// Width of the residual stream.
        d_model: u32 = 320 => decides(Train, Resume),
        /// Width of the SwiGLU MLP.
        d_mlp: u32 = 856 => decides(Train, Resume),
        /// Longest sequence in tokens.
        context: u32 = 512 => decides(Train, Resume),
    }
    /// The training run.
    train Train of "train": Train, Resume {
        /// auto, cpu, gpu, gpu:N (`train --list-devices`)
        device: String = "auto".into() => free,
        /// Precision in which a GPU stores values: auto, f32, f16, bf16. Arithmetic is always f32.
        precision: String = "auto".into() => decides(Train, Resume),
        /// Updates of the weights.
        steps: u64 = 12_000 => decides(Train, Resume),
        /// Sequences per micro-batch.
        batch: u32 = 32 => decides(Train, Resume),
        /// Micro-batches whose gradients are averaged in one update.
        accumulate: u32 = 1 => decides(Train, Resume),
        /// Peak learning rate.
        lr: f64 = 6e-4 => decides(Train, Resume),
        /// Steps of linear warm-up.
        warmup: u64 = 200 => decides(Train, Resume),
        /// What follows the warm-up: `cosine`, `linear`, or `wsd` (stable, then a linear decay)
        schedule: LrSchedule = LrSchedule::Cosine => decides(Train, Resume),
        /// Fraction of the peak learning rate at which each schedule ends.
        final_lr_fraction: f64 = 0.1 => decides(Train, Resume),
        /// Fraction of the steps after the warm-up during which `wsd` decays.
        decay_fraction: f64 = 0.2 => decides(Train, Resume),
        /// Which windows of train.bin make a batch: `random`, or `epochs` (each window once an epoch)
        sampling: Sampling = Sampling::Random => decides(Train, Resume),
        /// Where windows begin: `none` (anywhere), or `stories` (with a story, where one begins within a context)
        align: Align = Align::None => decides(Train, Resume),
        /// The output projections of attention and MLP begin at 0, so that each block begins as the identity.
        zero_init_residual: bool = false => decides(Train, Resume),
        /// Largest norm of the gradient.
        clip: f64 = 1.0 => decides(Train, Resume),
        /// Begin with the weights of this model, a Hugging Face folder or a checkpoint, of this shape and tokenizer.
        init_from: Option<String> = None => decides(Train, Resume),
        /// Seed of initial weights and batches.
        #[serde(with = "whole_u64")]
        seed: u64 = 1 => decides(Train, Resume),
        /// Steps between two log lines.
        log_every: u64 = 50 => free,
        /// Steps between two validations during training.
        val_every: u64 = 500 => free,
        /// Windows of one context length in each validation during training (0: all of val.bin).
        val_windows: u64 = 400 => free,
        /// Steps between two numbered checkpoints.
        checkpoint_every: u64 = 1000 => free,
        /// Numbered checkpoints kept beside `last` and `best`.
        keep_last: u32 = 3 => free,
        /// Ends the run after this number of minutes, earlier parts included. The learning rate schedule ends with it.
        max_minutes: Option<f64> = None => decides(Train),
        /// Ends the run at the first validation with at most this loss.
        until_loss: Option<f64> = None => decides(Train),
        /// Ends the run after this number of validations along the way in a row without a better one.
        patience: Option<u64> = None => decides(Train),
        /// When a loss is not finite: `stop`, or `rollback` to the last checkpoint and skip that batch.
        on_nan: OnNan = OnNan::Stop => free,
        /// What updates the weights: see [train.optimizer].
        optimizer: Optimizer = Optimizer::default() => section,
    }
    /// Perplexity of the validation stories.
    eval Eval of "eval-ppl": Eval {
        /// auto, cpu, gpu, gpu:N (`train --list-devices`)
        device: String = "auto".into() => free,
        /// Tokens each window advances; the rest of the window is context only.
        stride: u32 = 256 => decides(Eval),
        /// f32, f16, bf16, auto
        precision: String = "f32".into() => decides(Eval),
    }
    /// Generating stories.
    sample Sample of "sample": Stories {
        /// auto, cpu, gpu, gpu:N (`train --list-devices`)
        device: String = "auto".into() => free,
        /// f32, f16, bf16, auto; q8 on the CPU: weights and activations in eight bits
        precision: String = "f32".into() => free,
        /// Stories generated in parallel. Changes only the speed.
        batch: u32 = 10 => free,
        /// What stories begin with.
        prompts: Vec<String> = ["Once upon a time", "Lily found a big", "The little dog wanted", "On a sunny day,", "There was a kind"]
            .map(String::from).into() => free,
        /// A file of prompts, one per line, instead of `prompts`.
        prompts_file: Option<String> = None => free,
        /// Stories per prompt.
        n: u32 = 2 => free,
        /// Maximum number of tokens after the prompt.
        max_tokens: u32 = 120 => decides(Stories),
        /// 0 always takes the most likely token.
        temperature: f32 = 0.8 => decides(Stories),
        /// Generates at each of these temperatures in turn, and prints a table that compares the stories.
        temperatures: Vec<f32> = Vec::new() => free,
        /// Samples from this many most likely tokens (0: all).
        top_k: u32 = 50 => decides(Stories),
        /// Samples from the most likely tokens that together have this probability.
        top_p: f32 = 1.0 => decides(Stories),
        /// Samples from tokens at least this fraction as likely as the most likely one (0: all).
        min_p: f32 = 0.0 => decides(Stories),
        /// Divides the logits of tokens already in the story (1: no penalty).
        repetition_penalty: f32 = 1.0 => decides(Stories),
        /// Seed of the sampling.
        #[serde(with = "whole_u64")]
        seed: u64 = 1 => decides(Stories),
    }
    [train.optimizer]
    /// What updates the weights.
    Optimizer {
        /// adamw, or muon (for the matrices of the layers; AdamW for embedding and norms)
        kind: String = "adamw".into() => decides(Train, Resume),
        /// Decay rates of AdamW's running means. Default: the optimizer's own ([0.9, 0.95]).
        betas: Option<[f64; 2]> = None => decides(Train, Resume),
        /// Added to the divisor. Default: the optimizer's own (1e-8).
        eps: Option<f64> = None => decides(Train, Resume),
        /// Applies to matrices only, not to the embedding and the norms.
        weight_decay: f64 = 0.1 => decides(Train, Resume),
        /// Muon: decay rate of the running mean of gradients. Default: 0.95.
        momentum: Option<f64> = None => decides(Train, Resume),
        /// Muon: weights decay only where the update shrinks them as well.
        cautious_decay: bool = false => decides(Train, Resume),
    }
}

/// The order of whole stories in a bin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// A permutation that `pack.seed` decides.
    Shuffled,
    /// That of the source.
    AsPublished,
}

/// What `train` does when a loss is not finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnNan {
    /// Ends the run; the last checkpoint is kept.
    Stop,
    /// Goes back to the last checkpoint and skips that batch.
    Rollback,
}

impl Tokenizer {
    /// The tokenizer.json that is taken instead of training one.
    pub fn own(&self) -> Option<PathBuf> {
        let given = |path: &Option<String>| {
            path.as_ref().filter(|path| !path.is_empty()).map(PathBuf::from)
        };
        given(&self.file).or_else(|| given(&self.from).map(|folder| folder.join("tokenizer.json")))
    }
}

impl Pipeline {
    /// Reads a pipeline file, or a shipped pipeline by its name, then applies `key=value` settings in order.
    pub fn load(path: &Path, settings: &[String]) -> Result<Self> {
        let (path, text) = crate::shipped::read(path)?;
        let path = path.as_path();
        let mut table: Table = text.parse().map_err(|e| bad_toml(path, &e))?;
        reject_unknown(&table).map_err(|failure| failure.file(path))?;
        toml::from_str::<Pipeline>(&text).map_err(|e| bad_toml(path, &e))?; // for its line and column
        for setting in settings {
            apply(&mut table, setting)?;
        }
        let pipeline: Pipeline = table.try_into().map_err(|e: toml::de::Error| {
            Failure::usage(e.message()).at(format_args!("--set {}", settings.join(" --set ")))
        })?;
        pipeline.validate().map_err(|message| Failure::usage(message).file(path))?;
        Ok(pipeline)
    }

    /// The variants of `[[sweep]]`.
    ///
    /// # Errors
    /// Exit code 2 where a key is none of a training run's, or has no value.
    pub fn variants(&self) -> Result<Vec<Variant>> {
        variants(&self.sweep, KEYS)
    }
}

fn bad_toml(path: &Path, error: &toml::de::Error) -> Failure {
    let text = error.to_string();
    let text = text.trim_end();
    let failure = Failure::usage(text).file(path);
    // TOML integers are signed 64-bit.
    match error.message().contains("too large") || error.message().contains("overflow") {
        true => failure.remedy("write a number above 9223372036854775807 as a string"),
        false => failure,
    }
}

fn reject_unknown(table: &Table) -> Result<()> {
    for (section, value) in table.iter().filter(|(section, _)| *section != "sweep") {
        known_below(section, value)?;
    }
    Ok(())
}

/// The keys of a table, and those of the tables in it.
fn known_below(name: &str, value: &Value) -> Result<()> {
    match value {
        Value::Table(keys) => {
            keys.iter().try_for_each(|(key, value)| known_below(&format!("{name}.{key}"), value))
        }
        _ => known(name),
    }
}

fn known(key: &str) -> Result<()> {
    if KEYS.contains(&key) {
        return Ok(());
    }
    if let Some((_, now)) = MOVED.iter().find(|(moved, _)| *moved == key) {
        return Err(Failure::usage(format_args!("{key} is called {now} now")));
    }
    let distance = |candidate: &&&str| strsim::damerau_levenshtein(candidate, key);
    let nearest = KEYS.iter().min_by_key(distance).copied().unwrap_or_default();
    Err(Failure::usage(format_args!("unknown key {key}")).note("nearest known key", nearest))
}

/// `section.key=value`. The value is TOML; what does not parse as TOML is plain text.
fn apply(table: &mut Table, setting: &str) -> Result<()> {
    let (key, text) = setting.split_once('=').ok_or_else(|| {
        Failure::usage("no key=value")
            .at(format_args!("--set {setting}"))
            .expected("key=value, for example train.lr=3e-4")
    })?;
    let (key, text) = (key.trim(), text.trim());
    known(key).map_err(|failure| failure.at(format_args!("--set {setting}")))?;
    let value = format!("value = {text}").parse::<Table>().ok().and_then(|mut t| t.remove("value"));
    let value = value.unwrap_or_else(|| Value::String(text.to_owned()));
    let (sections, key) = key.rsplit_once('.').map_or((None, key), |(s, key)| (Some(s), key));
    let mut place = table;
    for section in sections.iter().flat_map(|sections| sections.split('.')) {
        place = place
            .entry(section)
            .or_insert_with(|| Value::Table(Table::new()))
            .as_table_mut()
            .ok_or_else(|| Failure::usage(format_args!("{section} must be a table")))?;
    }
    place.insert(key.to_owned(), value);
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
        assert_eq!(pipeline.fetch.source.reveal(), "/a dir/x.parquet");
        assert_eq!(pipeline.pack.order, Order::AsPublished);
        assert_eq!(load("[sample]\nprompts = [\"A\"]", &[]).unwrap().sample.prompts, ["A"]);
    }

    #[test]
    fn a_seed_is_any_number_of_64_bits() {
        let most = u64::MAX.to_string();
        for (text, setting) in [
            ("", Some(format!("train.seed={most}"))),
            ("", Some(format!("train.seed=\"{most}\""))),
            (&*format!("[train]\nseed = \"{most}\"\n"), None),
        ] {
            let settings: Vec<&str> = setting.iter().map(String::as_str).collect();
            let pipeline = load(text, &settings).unwrap();
            assert_eq!(pipeline.train.seed, u64::MAX);
            let again: Pipeline = toml::from_str(&toml::to_string(&pipeline).unwrap()).unwrap();
            assert_eq!(again, pipeline, "a run's own file can be read again");
            let json = serde_json::to_value(&pipeline).unwrap();
            assert_eq!(serde_json::from_value::<Pipeline>(json).unwrap(), pipeline);
        }
        assert_eq!(load("[sample]\nseed = 0", &["pack.seed=9"]).unwrap().pack.seed, 9);
        for wrong in ["-1", "18446744073709551616", "1.5", "one", ""] {
            let error = load("", &[&format!("train.seed={wrong}")]).unwrap_err().to_string();
            assert!(error.contains("2^64 - 1"), "{error}");
        }
        let error = load("[train]\nseed = 18446744073709551615\n", &[]).unwrap_err().to_string();
        assert!(error.contains("as a string"), "{error}");
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
    fn a_section_within_a_section_is_set_as_any_other() {
        let pipeline = load(
            "[train.optimizer]\nweight_decay = 0.2\n",
            &["train.optimizer.betas=[0.9, 0.99]", "train.steps=7"],
        )
        .unwrap();
        let Optimizer { kind, betas, eps, weight_decay, .. } = pipeline.train.optimizer;
        assert_eq!((kind.as_str(), betas, eps), ("adamw", Some([0.9, 0.99]), None));
        assert_eq!((weight_decay, pipeline.train.steps), (0.2, 7));
        for (text, setting, says) in [
            ("[train.optimizer]\nbeta = 1\n", None, "train.optimizer.betas"),
            ("", Some("train.optimizer.wight_decay=1"), "train.optimizer.weight_decay"),
            ("", Some("train.optimizer.betas=[0.9, 1.0]"), "betas: 1: expected"),
            ("", Some("train.optimizer.betas=[0.9]"), "betas"),
            ("", Some("train.optimizer.momentum=1.0"), "momentum: 1: expected"),
            ("", Some("train.optimizer.eps=1e-60"), "train.optimizer.eps"),
            ("", Some("train.optimizer.weight_decay=inf"), "train.optimizer.weight_decay = inf"),
            ("[train]\noptimizer = \"lion\"\n", None, "optimizer = \"lion\""),
        ] {
            let error = load(text, &setting.into_iter().collect::<Vec<_>>()).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(says), "{text} {setting:?}: {error}");
        }
    }

    #[test]
    fn keys_that_moved_say_where_to() {
        for (text, setting) in
            [("[train]\nweight_decay = 0\n", None), ("", Some("train.weight_decay=0"))]
        {
            let error = load(text, &setting.into_iter().collect::<Vec<_>>()).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            let text = error.to_string();
            assert!(
                text.ends_with("train.weight_decay is called train.optimizer.weight_decay now"),
                "{text}"
            );
        }
    }

    #[test]
    fn wrong_types_and_values_are_usage_errors_with_a_place() {
        let error = load("[train]\nsteps = \"many\"\n", &[]).unwrap_err().to_string();
        assert!(error.contains("line 2"), "{error}");
        assert!(
            load("", &["train.steps=many"]).unwrap_err().to_string().contains("train.steps=many")
        );
        for (setting, says) in [
            ("model.n_head=7", "multiple of model.n_head"),
            ("model.n_kv_head=3", "multiple of model.n_kv_head"),
            ("model.n_kv_head=0", "multiple of model.n_kv_head"),
        ] {
            let error = load("", &[setting]).unwrap_err().to_string();
            assert!(error.contains(says), "{setting}: {error}");
        }
    }
}
