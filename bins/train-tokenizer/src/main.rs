//! Stories to `tokenizer.json`: a byte-level BPE trained on the first of them, or one of the user's own.
mod stories;

use std::path::Path;

use clap::Parser;
use corpus::fetched::Fetched;
use corpus::tokenizer::{self, EOS, PAD, Tokenizer, WordCounts};
use serde_json::{Value, json};
use stage::config::Outcome;
use stage::{Failure, FileRecord, Manifest, Ownership, Stage, Unit, Work, write_recorded};
use stories::{SAMPLE, Stories};

const AFTER_HELP: &str = "\
The tokenizer is a byte-level BPE with <|endoftext|> (id 0), <|pad|> (id 1) and all 256 bytes, in the tokenizer.json that
every Hugging Face tool reads. The same stories give the same file, on any machine and with any number of threads: byte
for byte the one that the trainer of crate tokenizers makes. Memory grows with the number of distinct words, not with the
text. A tokenizer.json of your own needs a token <|endoftext|> and must encode any text; it is checked and copied.

Reads OUT/raw (make fetch); writes OUT/tokenizer.json and OUT/tokenizer.manifest.json (bytes per token among its facts).

Examples:
  train-tokenizer --config pipelines/tinystories-10m.toml
  train-tokenizer --vocab-size 4000 --max-stories 20000
  train-tokenizer --file ~/models/mine/tokenizer.json
  train-tokenizer --from out/tinystories-3m/run/final

Exit codes: 0 done; 2 wrong usage or settings; 3 bad input (no stories, no <|endoftext|>, damaged);
4 may work if tried again (disk full); 130 interrupted, the tokenizer from before is kept.";

/// Trains the tokenizer on the first stories of OUT/raw, or takes your own.
#[derive(Parser)]
#[command(version, after_help = AFTER_HELP)]
struct Args {
    #[command(flatten)]
    common: stage::Common,
    #[command(flatten)]
    flags: Flags,
    #[command(flatten)]
    wait: stage::Wait,
}

/// Each short for the key of the same name in `[tokenizer]`.
#[derive(clap::Args, serde::Serialize)]
struct Flags {
    /// Tokens, special tokens and bytes included
    #[arg(long, value_name = "N")]
    vocab_size: Option<u32>,
    /// Train on the first N stories
    #[arg(long, value_name = "N")]
    max_stories: Option<u64>,
    /// Take this tokenizer.json instead of training one
    #[arg(long, value_name = "FILE")]
    file: Option<String>,
    /// Take the tokenizer.json of the model in this folder instead of training one
    #[arg(long, value_name = "FOLDER")]
    from: Option<String>,
}

fn main() -> std::process::ExitCode {
    stage::main("train-tokenizer", run)
}

fn run() -> anyhow::Result<()> {
    let args = stage::cli::parse::<Args>();
    let stage = args.common.open("train-tokenizer", "tokenizer", &args.flags)?;
    let settings = &stage.pipeline.tokenizer;
    if settings.max_stories == 0 {
        return Err(Failure::usage("tokenizer.max_stories must be at least 1").into());
    }
    let own = settings.own();
    let wanted = if own.is_some() { SAMPLE } else { settings.max_stories };
    let stories = args.wait.for_inputs(&stage.log, || Stories::first(&stage, wanted))?;
    let mut inputs = stories.inputs();
    inputs.extend(own.iter().map(|file| ("tokenizer.file".to_owned(), file.clone())));
    let mut config = Value::from(stage.pipeline.deciding(Outcome::Tokenizer));
    if own.is_some() {
        config["tokenizer"] = json!({ "file": "own" }); // its content is an input, wherever it lies
    }
    let path = stage.path("tokenizer.json");
    let work = Work {
        stage: "train-tokenizer",
        manifest: stage.path("tokenizer.manifest.json"),
        inputs,
        config,
    };
    if let Some(own) = own.iter().find(|own| !own.is_file()) {
        let missing = || {
            let remedy =
                "name an existing one with --set tokenizer.file=FILE or tokenizer.from=FOLDER";
            Failure::input(own, "not found", "a tokenizer.json", remedy)
        };
        return Err(tokenizer::in_another_form(own).unwrap_or_else(missing).into());
    }
    let done =
        stage.perform(&work, None, |why| make(&stage, &work, &stories, own.as_deref(), why))?;
    Ok(stage.report(&done, &summary(&done.manifest, &path))?)
}

/// Makes tokenizer.json and gives its manifest.
fn make(
    stage: &Stage,
    work: &Work,
    stories: &Stories,
    own: Option<&Path>,
    why: &str,
) -> anyhow::Result<Manifest> {
    let (settings, path) = (&stage.pipeline.tokenizer, stage.path("tokenizer.json"));
    let owned = Ownership::of(&stage.out, stage.force, stage.log);
    owned.claim("tokenizer.json")?;
    owned.claim_manifest("tokenizer.manifest.json")?;
    stage.use_threads()?;
    let records = work.input_records()?;
    let raw = records.iter().filter_map(|record| {
        Some(FileRecord { name: record.name.strip_prefix("raw/")?.into(), ..record.clone() })
    });
    Fetched::open(&stage.path("raw"))?.check(&raw.collect::<Vec<_>>())?;

    let (mut count, mut bytes) = (0, 0);
    let json = match own {
        Some(own) => {
            stage.log.say(format!("taking {} ({why})", own.display()));
            stage::read(own)?
        }
        None => {
            stage.log.say(format!(
                "training {} tokens on {} stories ({why})",
                settings.vocab_size,
                stage::count(stories.total())
            ));
            let progress = stage.log.progress("reading", Unit::Stories, Some(stories.total()));
            let words = WordCounts::default();
            bytes = stories.count(&words, &progress)?;
            count = stories.total();
            progress.finish();
            tokenizer::train_on_words(settings.vocab_size, words)?.into_bytes()
        }
    };
    let tokenizer = Tokenizer::from_json(own.unwrap_or(&path), &json)?;
    let size = tokenizer.vocab_size();
    if own.is_none() && size < settings.vocab_size {
        let words = format!(
            "the stories hold only enough for {size} of {} tokens; the model takes {size}",
            settings.vocab_size
        );
        stage.log.warn(words);
    }
    let (sample_bytes, sample_tokens) = check_sample(stage, stories, &tokenizer, own.is_some())?;

    stage::interrupt::check("the tokenizer from before is kept")?;
    let output = write_recorded(&path, &json)?;
    let mut manifest = work.manifest_of(records, vec![output]);
    if own.is_none() {
        manifest.counts.extend([("stories".to_owned(), count), ("bytes".to_owned(), bytes)]);
    }
    let per_token = sample_bytes as f64 / sample_tokens.max(1) as f64;
    manifest.facts.insert("bytes_per_token".into(), json!((per_token * 1e4).round() / 1e4));
    manifest.facts.insert("eos".into(), tokenizer.eos().into());
    manifest.tokenizer = Some(tokenizer.record().clone());
    Ok(manifest)
}

/// Enough of long stories.
const SAMPLE_BYTES: u64 = 32 << 20;

/// Encodes the sample and looks whether it comes back. Returns its bytes and tokens.
fn check_sample(
    stage: &Stage,
    stories: &Stories,
    tokenizer: &Tokenizer,
    own: bool,
) -> stage::Result<(u64, u64)> {
    let (mut bytes, mut tokens, mut changed) = (0, 0, None);
    stories.sample(|text| {
        stage::interrupt::check("the tokenizer from before is kept")?;
        let ids = tokenizer.try_encode(text)?;
        (bytes, tokens) = (bytes + text.len() as u64, tokens + ids.len() as u64);
        let special = [EOS, PAD].iter().any(|token| text.contains(token)); // decoding leaves these out
        if changed.is_none() && !special && tokenizer.decode(&ids) != text {
            changed = Some(text.chars().take(60).collect::<String>());
        }
        Ok(bytes < SAMPLE_BYTES)
    })?;
    match changed {
        Some(start) if own => {
            stage.log.warn(format!(
                "{}: the story {start:?}... does not come back as it was",
                tokenizer.path().display()
            ));
            Ok((bytes, tokens))
        }
        Some(start) => {
            let found = format!("the story {start:?}... does not come back as it was");
            Err(Failure::input(
                tokenizer.path(),
                found,
                "decode(encode(text)) == text",
                "report this: a byte-level tokenizer loses nothing",
            ))
        }
        None => Ok((bytes, tokens)),
    }
}

fn summary(manifest: &Manifest, path: &Path) -> String {
    let size = manifest.tokenizer.as_ref().map_or(0, |tokenizer| tokenizer.vocab_size);
    let per_token = manifest
        .facts
        .get("bytes_per_token")
        .and_then(serde_json::Value::as_f64)
        .unwrap_or_default();
    let from = match manifest.count("stories") {
        0 => "from a file".to_owned(),
        stories => format!(
            "from {} stories ({:.1} MB)",
            stage::count(stories),
            manifest.count("bytes") as f64 / 1e6
        ),
    };
    format!(
        "{} tokens {from}, {per_token:.2} bytes per token, in {}",
        stage::count(size),
        path.display()
    )
}
