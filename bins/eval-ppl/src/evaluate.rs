//! Everything that is evaluated under every model.
use std::path::PathBuf;

use compute::Model;
use corpus::bin::Bin;
use corpus::tokenizer::Tokenizer;
use inference::{Engine, Ids, LoadedModel, Tally, bootstrap, evaluate_each, failed};
use serde_json::Value;
use stage::{Failure, Progress, Stage, Unit, interrupt};

use crate::report::{self, Evaluated};
use crate::sources::{Text, is_own};

/// Windows per batch; the engine may split it.
const BATCH: usize = 16;
/// Longest window: some models declare contexts that do not fit into memory.
const LONGEST: usize = 4096;

/// What is kept when the evaluation is interrupted.
pub(crate) const KEPT: &str = "nothing was written; run the same command again";

/// The parts of eval.json that cover all models.
pub(crate) fn evaluate_all(
    stage: &Stage,
    loaded: &[LoadedModel],
    tokenizers: &[Tokenizer],
    bin: Option<&Bin>,
    texts: &[PathBuf],
) -> anyhow::Result<Value> {
    let mut results = Vec::new();
    let mut bytes_of_stories = None;
    for (loaded, tokenizer) in loaded.iter().zip(tokenizers) {
        let (result, bytes) = evaluate_model(stage, loaded, tokenizer, bin, texts)?;
        bytes_of_stories = bytes_of_stories.or(bytes);
        results.push(result);
    }
    add_intervals(&mut results, bytes_of_stories);

    Ok(report::to_json(&results))
}

pub(crate) fn engine(stage: &Stage, loaded: &LoadedModel) -> stage::Result<Engine> {
    Engine::for_evaluation(&stage.pipeline.eval, loaded.config.head_width(), &stage.log)
}

pub(crate) fn check_vocabulary(
    bin: &Bin,
    loaded: &LoadedModel,
    tokenizer: &Tokenizer,
) -> stage::Result<()> {
    if is_own(bin, tokenizer) && tokenizer.vocab_size() != bin.vocab_size() {
        let found = format!("ids of a vocabulary of {}", bin.vocab_size());
        let expected =
            format!("the model's {} ({})", loaded.config.vocab_size, loaded.path.display());
        return Err(Failure::input(
            bin.path(),
            found,
            expected,
            "evaluate the model on data made with its own tokenizer",
        ));
    }
    Ok(())
}

/// Evaluates everything under one model. Also returns the bytes of the stories if they had to be decoded.
fn evaluate_model(
    stage: &Stage,
    loaded: &LoadedModel,
    tokenizer: &Tokenizer,
    bin: Option<&Bin>,
    texts: &[PathBuf],
) -> stage::Result<(report::Result, Option<Vec<u64>>)> {
    let decoded = match bin {
        Some(bin) if !is_own(bin, tokenizer) => Some(in_own_tokens(stage, bin, loaded, tokenizer)?),
        _ => None,
    };
    let texts = texts
        .iter()
        .map(|path| Ok((path, Text::of_file(path, tokenizer)?)))
        .collect::<stage::Result<Vec<_>>>()?;
    let stories: Option<&dyn Ids> =
        decoded.as_ref().map(|text| text as &dyn Ids).or(bin.map(|bin| bin as &dyn Ids));
    let all = || stories.into_iter().chain(texts.iter().map(|(_, text)| text as &dyn Ids));

    let longest = all().map(|ids| ids.len()).max().unwrap_or(2);
    let wanted = (loaded.config.context as u64).min(longest.saturating_sub(1)).max(1) as usize;
    let sequence = wanted.min(LONGEST);
    if sequence < wanted {
        stage.log.say(format!(
            "{}: windows of {sequence} tokens, not of its context's {wanted}",
            loaded.path.display()
        ));
    }
    let stride = (stage.pipeline.eval.stride as usize).min(sequence);
    let engine = engine(stage, loaded)?;
    let mut model = Model::new(engine.kernels()?, loaded.config, &loaded.weights, BATCH, sequence)
        .map_err(failed)?;
    let progress =
        stage.log.progress("evaluate", Unit::Tokens, Some(all().map(|ids| ids.len() - 1).sum()));
    let mut tally = |ids: &dyn Ids, eos| tally(&mut model, ids, stride, eos, &progress);
    let evaluated = |text: &Text, tally: Tally| Evaluated {
        bytes: text.bytes.iter().sum(),
        tokens: tally.sum.tokens,
        tally,
    };
    let stories = match (bin, &decoded) {
        (_, Some(text)) => Some(evaluated(text, tally(text, tokenizer.eos())?)),
        (Some(bin), None) => Some(Evaluated {
            tally: tally(bin, bin.eos())?,
            bytes: bin.manifest().count("bytes"),
            tokens: bin.len(),
        }),
        (None, None) => None,
    };
    let mut of_texts = Vec::new();
    for (path, text) in &texts {
        of_texts.push((path.display().to_string(), evaluated(text, tally(text, tokenizer.eos())?)));
    }
    let seconds = progress.elapsed().as_secs_f64();
    progress.finish();
    let tokens: u64 = stories
        .iter()
        .chain(of_texts.iter().map(|(_, evaluated)| evaluated))
        .map(|evaluated| evaluated.tally.sum.tokens)
        .sum();
    stage.log.say(format!("{}: {:.0} tokens/s", loaded.path.display(), tokens as f64 / seconds));
    let result = report::Result {
        model: loaded.path.display().to_string(),
        context: sequence,
        stride,
        precision: engine.precision().name(),
        stories,
        intervals: None,
        texts: of_texts,
    };
    Ok((result, decoded.map(|text| text.bytes)))
}

/// The validation stories for a model with another tokenizer.
fn in_own_tokens(
    stage: &Stage,
    bin: &Bin,
    loaded: &LoadedModel,
    tokenizer: &Tokenizer,
) -> stage::Result<Text> {
    let path = stage.path("tokenizer.json");
    let made_with = Tokenizer::load(&path)?;
    if !is_own(bin, &made_with) {
        let expected = format!(
            "the one that {} was made with, to decode its stories for {}",
            bin.path().display(),
            loaded.path.display()
        );
        return Err(Failure::input(
            &path,
            "another tokenizer",
            expected,
            "bring that tokenizer.json, or run `make tokenize pack`",
        ));
    }
    stage.log.say(format!(
        "{}: its tokenizer is not that of val.bin, so the stories are encoded with its own",
        loaded.path.display()
    ));
    Text::of_bin(bin, &made_with, tokenizer)
}

fn tally(
    model: &mut Model,
    ids: &dyn Ids,
    stride: usize,
    eos: u32,
    progress: &Progress,
) -> stage::Result<Tally> {
    let mut tally = Tally::default();
    evaluate_each(model, ids, stride, 0, |tokens| {
        tally.add(tokens, eos);
        progress.add(tokens.len() as u64);
        interrupt::check(KEPT)
    })?;
    tally.finish();
    Ok(tally)
}

/// Intervals of every model over the same resampled stories, of the validation set or else of the first text.
fn add_intervals(results: &mut [report::Result], bytes: Option<Vec<u64>>) {
    let all: Option<Vec<&Evaluated>> = results.iter().map(report::Result::main).collect();
    let Some(all) = all.filter(|all| !all.is_empty()) else { return };
    // The end of a bin's first story may be its first token, which is not evaluated.
    let stories = all.iter().map(|evaluated| evaluated.tally.stories.len()).min().unwrap_or(0);
    if stories < 2 {
        return; // one story gives no interval
    }
    let last = |len: usize| len - stories..len;
    let nats = |evaluated: &&Evaluated| {
        let all = &evaluated.tally.stories;
        all[last(all.len())].iter().map(|story| story.nats).collect::<Vec<f64>>()
    };
    let bytes: Vec<f64> = match bytes {
        Some(bytes) => {
            bytes[bytes.len().saturating_sub(stories)..].iter().map(|&bytes| bytes as f64).collect()
        }
        // The stories were not decoded: bytes are divided in proportion to tokens.
        None => {
            let (evaluated, all) = (all[0], &all[0].tally.stories);
            let per_token = evaluated.bytes as f64 / evaluated.tokens as f64;
            all[last(all.len())].iter().map(|story| story.tokens as f64 * per_token).collect()
        }
    };
    let nats: Vec<Vec<f64>> = all.iter().map(nats).collect();
    let intervals = bootstrap(&nats, &bytes);
    results
        .iter_mut()
        .zip(intervals)
        .for_each(|(result, interval)| result.intervals = Some(interval));
}

/// For comparisons with other programs (tests/golden/check_hf.py).
pub(crate) fn print_logits(
    engine: &Engine,
    loaded: &LoadedModel,
    bin: &Bin,
    windows: usize,
) -> anyhow::Result<()> {
    let context = loaded.config.context;
    let mut model = Model::new(engine.kernels()?, loaded.config, &loaded.weights, 1, context)
        .map_err(failed)?;
    let mut window = vec![0; context];
    for start in (0..bin.len().saturating_sub(context as u64)).step_by(context).take(windows) {
        bin.copy(start, &mut window)?;
        let bytes: Vec<u8> =
            model.logits(&window).map_err(failed)?.into_iter().flat_map(f32::to_le_bytes).collect();
        interrupt::check(KEPT)?;
        if !stage::print_bytes(&bytes)? {
            break;
        }
    }
    Ok(())
}
