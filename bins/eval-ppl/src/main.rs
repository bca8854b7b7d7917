//! Evaluates trained models on val.bin: loss, perplexity and bits per byte of stories that they were not trained on.
mod evaluate;
mod report;
mod sources;
mod stories;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use corpus::bin::Bin;
use corpus::tokenizer::Tokenizer;
use inference::{LoadedModel, open_model};
use serde::Serialize;
use serde_json::Value;
use stage::config::Outcome;
use stage::{Failure, Ownership, Stage, Work, print, write_recorded};

use evaluate::{check_vocabulary, engine, evaluate_all, print_logits};
use stories::Evaluation;

/// Measure loss, perplexity and bits per byte on the validation stories, and on any text.
#[derive(Parser)]
#[command(
    version,
    after_help = "\
Reads OUT/run/final and OUT/val.bin with its .json. Writes OUT/eval.json and prints it; tables go to stderr.

Every token is evaluated once. Perplexity e^loss is the number of equally likely tokens the
model hesitates between at each place, on average. Bits per byte do not depend on the
tokenizer, so they compare models with different ones: a model with another tokenizer than
val.bin's evaluates the same stories in its own tokens. Intervals are the middle 95 % of 1,000
bootstrap samples of the stories, the same samples for every model.

With --stories each model continues the validation stories from their first sentence, with the
settings of [sample], and answers questions about real stories and sentences. The table has a
column of real stories beside the models'. It is printed and written to OUT/stories.json.

Examples:
  eval-ppl --config pipelines/quickstart.toml --stride 128
  eval-ppl --stories 200
  eval-ppl --stories 200 --pairs blimp/*.jsonl --reference ~/bigger-model
  eval-ppl --text news.txt --text poems.txt
  eval-ppl --model out/a/run/final --model out/b/run/final --model ~/llama-folder

Exit codes: 0 done, 2 wrong usage or settings, 3 bad input, 4 may work if tried again, 130 interrupted"
)]
struct Args {
    #[command(flatten)]
    common: stage::Common,
    #[command(flatten)]
    flags: Flags,
    /// A model: a folder of any LlamaForCausalLM, or a checkpoint (repeatable; the first is what others are compared with)
    /// [default: OUT/run/final]
    #[arg(long = "model", value_name = "MODEL")]
    models: Vec<PathBuf>,
    /// Other text to evaluate, in UTF-8, <|endoftext|> between stories (repeatable)
    #[arg(long = "text", value_name = "FILE")]
    texts: Vec<PathBuf>,
    /// Evaluate the stories that the models tell, this many of each
    #[arg(long, value_name = "N", conflicts_with_all = ["texts", "logits"], value_parser = clap::value_parser!(u32).range(2..=100_000))]
    stories: Option<u32>,
    /// With --stories: more pairs of a right and a wrong sentence, JSON lines as BLiMP has them (repeatable)
    #[arg(long, value_name = "FILE", requires = "stories", num_args = 1..)]
    pairs: Vec<PathBuf>,
    /// With --stories: a bigger model, whose bits per byte of each story are given
    #[arg(long, value_name = "MODEL", requires = "stories")]
    reference: Option<PathBuf>,
    /// Only print the logits of the first N windows of val.bin, raw little-endian f32 [N, context, vocabulary]
    #[arg(long, value_name = "N")]
    logits: Option<usize>,
}

/// Each flag is short for the key of the same name in `[eval]`.
#[derive(clap::Args, Serialize)]
struct Flags {
    /// auto, cpu, gpu or gpu:N (see train --list-devices)
    #[arg(long)]
    device: Option<String>,
    /// Activation precision on a GPU: f32, f16, bf16 or auto
    #[arg(long)]
    precision: Option<String>,
    /// Tokens that each window advances: smaller values give each token more context and take longer
    #[arg(long)]
    stride: Option<u32>,
}

fn main() -> ExitCode {
    stage::main("eval-ppl", run)
}

fn run() -> anyhow::Result<()> {
    let Args { common, flags, models, texts, stories, pairs, reference, logits } =
        stage::cli::parse::<Args>();
    let stage = common.open("eval-ppl", "eval", &flags)?;
    stage.use_threads()?;
    let path = stage.path("val.bin");
    let bin = if texts.is_empty() || path.exists() { Some(Bin::open(&path)?) } else { None };
    let named: Vec<Option<&Path>> = if models.is_empty() {
        vec![None]
    } else {
        models.iter().map(|path| Some(path.as_path())).collect()
    };
    let loaded = named
        .iter()
        .map(|path| open_model(&stage, *path))
        .collect::<stage::Result<Vec<LoadedModel>>>()?;
    let first = loaded.first().context("there is a model")?;
    let engine = engine(&stage, first)?;
    if let (Some(windows), Some(bin)) = (logits, &bin) {
        return print_logits(&engine, first, bin, windows);
    }

    let mut config = Value::from(stage.pipeline.deciding_flat(Outcome::Eval));
    config["precision"] = engine.precision().name().into(); // what auto came to
    let work = Work {
        stage: "eval-ppl",
        manifest: stage.path("eval.manifest.json"),
        inputs: inputs(&stage, &loaded, &texts, bin.is_some())?,
        config,
    };
    // Models that do not fit are refused before anything is looked up or evaluated.
    let tokenizers =
        loaded.iter().map(LoadedModel::tokenizer).collect::<stage::Result<Vec<Tokenizer>>>()?;
    if let Some(stories) = stories {
        let reference =
            reference.as_deref().map(|path| open_model(&stage, Some(path))).transpose()?;
        let evaluation = Evaluation {
            stage: &stage,
            models: &loaded,
            tokenizers: &tokenizers,
            reference: reference.as_ref(),
            pairs: &pairs,
            stories: stories as usize,
        };
        let val = bin.as_ref().context("there is a val.bin")?;
        return evaluate_stories(&evaluation, val, engine.precision().name());
    }
    if let Some(bin) = &bin {
        loaded
            .iter()
            .zip(&tokenizers)
            .try_for_each(|(loaded, tokenizer)| check_vocabulary(bin, loaded, tokenizer))?;
    }
    let done = stage.perform(&work, None, |_| {
        let owned = Ownership::of(&stage.out, stage.force, stage.log);
        owned.claim("eval.json")?;
        owned.claim_manifest("eval.manifest.json")?;
        bin.as_ref().map_or(Ok(()), Bin::verify)?;
        let json = evaluate_all(&stage, &loaded, &tokenizers, bin.as_ref(), &texts)?;
        let record = write_recorded(&stage.path("eval.json"), format!("{json:#}\n").as_bytes())?;
        Ok(work.manifest(vec![record])?)
    })?;
    let text = stage::read_to_string(&stage.path("eval.json"))?;
    print(&text)?;
    if !done.made {
        stage.log.say("up to date");
        return Ok(());
    }
    let json: Value = serde_json::from_str(&text)
        .map_err(Into::into)
        .map_err(Failure::reading(&stage.path("eval.json")))?;
    stage.log.say(format!("\n{}", report::tables(&json)));
    stage.log.say(explained(&json));
    Ok(())
}

/// `--stories`: writes stories.json and prints its table.
fn evaluate_stories(evaluation: &Evaluation, val: &Bin, precision: &str) -> anyhow::Result<()> {
    let stage = evaluation.stage;
    let mut files = inputs(stage, evaluation.models, evaluation.pairs, true)?;
    files.push(("OUT/tokenizer.json".into(), stage.path("tokenizer.json")));
    let train = stage.path("train.bin");
    if train.is_file() {
        files.push(("train.bin".into(), train));
    }
    if let Some(judge) = evaluation.reference {
        let own = judge.files()?.into_iter();
        files.extend(own.map(|(name, path)| (format!("reference/{name}"), path)));
        files.push(("reference/tokenizer.json".into(), judge.tokenizer.clone()));
    }
    let mut config = Value::from(stage.pipeline.deciding(Outcome::Stories));
    config["stories"] = evaluation.stories.into();
    config["precision"] = precision.into(); // what auto came to
    let work = Work {
        stage: "eval-ppl",
        manifest: stage.path("stories.manifest.json"),
        inputs: files,
        config,
    };
    let done = stage.perform(&work, None, |_| {
        let owned = Ownership::of(&stage.out, stage.force, stage.log);
        owned.claim("stories.json")?;
        owned.claim_manifest("stories.manifest.json")?;
        val.verify()?;
        let json = evaluation.run(val)?;
        let record = write_recorded(&stage.path("stories.json"), format!("{json:#}\n").as_bytes())?;
        Ok(work.manifest(vec![record])?)
    })?;
    let path = stage.path("stories.json");
    let json: Value = serde_json::from_str(&stage::read_to_string(&path)?)
        .map_err(Into::into)
        .map_err(Failure::reading(&path))?;
    print(&stories::table(&json))?;
    if !done.made {
        stage.log.say("up to date");
    }
    Ok(())
}

fn explained(json: &Value) -> String {
    let number = |key: &str| json[key].as_f64().unwrap_or(f64::NAN);
    format!(
        "perplexity {:.2}: at each token the model hesitates between about {:.0} equally likely ones; {:.4} bits per byte",
        number("perplexity"),
        number("perplexity"),
        number("bits_per_byte")
    )
}

/// Named files in; with several models each name begins with the model's number.
fn inputs(
    stage: &Stage,
    loaded: &[LoadedModel],
    texts: &[PathBuf],
    bin: bool,
) -> stage::Result<Vec<(String, PathBuf)>> {
    let mut inputs = Vec::new();
    for (i, model) in loaded.iter().enumerate() {
        let mut files = model.files()?;
        if loaded.len() > 1 || !texts.is_empty() {
            files.push(("tokenizer.json".into(), model.tokenizer.clone()));
        }
        let prefix = if loaded.len() > 1 { format!("{}/", i + 1) } else { String::new() };
        inputs.extend(files.into_iter().map(|(name, path)| (format!("{prefix}{name}"), path)));
    }
    if bin {
        inputs.push(("val.bin".into(), stage.path("val.bin")));
    }
    inputs.extend(
        texts.iter().enumerate().map(|(i, path)| (format!("text {}", i + 1), path.clone())),
    );
    Ok(inputs)
}
