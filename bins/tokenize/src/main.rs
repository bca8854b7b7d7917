//! Stories to token shards: `raw/*.parquet` and `tokenizer.json` to `tokens/<split>-*.arrow`.
mod splits;

use std::path::Path;

use clap::Parser;
use corpus::bin::Dtype;
use corpus::encode_shards::{self, Task};
use corpus::shards::{self, ShardOrigin, TRAIN, Totals, VALIDATION};
use corpus::tokenizer::Tokenizer;
use rayon::prelude::*;
use serde_json::Value;
use splits::{Opened, Splits};
use stage::config::Outcome;
use stage::{FileRecord, Manifest, Ownership, Shard, Stage, Unit, Work};

const AFTER_HELP: &str = "\
Every shard is an Arrow IPC file (zstd) with one row of ids per story, made of a contiguous range of the split's row
groups. The ids are those of crate tokenizers, without special tokens; pack-bin adds <|endoftext|>. The files do not
depend on --threads or --shard. A job reads only the row groups of its own shards, and compares these with the
manifest of OUT/raw. After an interrupt or a kill, finished shards are kept and the next run makes the rest.

Reads OUT/raw (make fetch) and OUT/tokenizer.json (make tokenizer); writes OUT/tokens/*.arrow and manifest.json.

Examples:
  tokenize --config pipelines/tinystories-10m.toml
  tokenize --shards 4 --threads 2
  tokenize --shard 2/8        files 1, 9, 17, ... and manifest-2-of-8.json, as one of 8 jobs; pack-bin takes the 8 manifests

--shard auto takes I and N from the array of Slurm (SLURM_ARRAY_TASK_ID, _MIN, _COUNT, _STEP) or the indexed job of Kubernetes
(JOB_COMPLETION_INDEX, and JOB_COMPLETIONS, which its manifest has to set).

Exit codes: 0 done; 2 wrong usage or settings; 3 bad input (missing or damaged stories or tokenizer);
4 may work if tried again (disk full); 130 interrupted, finished shards are kept.";

/// Turns the stories of OUT/raw into shards of token ids in OUT/tokens.
#[derive(Parser)]
#[command(version, after_help = AFTER_HELP)]
struct Args {
    #[command(flatten)]
    common: stage::Common,
    #[command(flatten)]
    flags: Flags,
    /// Make only the files whose index is I-1 modulo N, and manifest-I-of-N.json
    #[arg(long, value_name = "I/N|auto")]
    shard: Option<Shard>,
    #[command(flatten)]
    wait: stage::Wait,
}

/// Each short for the key of the same name in `[tokenize]`.
#[derive(clap::Args, serde::Serialize)]
struct Flags {
    /// Number of output files per split
    #[arg(long, value_name = "N")]
    shards: Option<u32>,
}

fn main() -> std::process::ExitCode {
    stage::main("tokenize", run)
}

fn run() -> anyhow::Result<()> {
    let args = stage::cli::parse::<Args>();
    let stage = args.common.open("tokenize", "tokenize", &args.flags)?;
    let tokens = stage.path("tokens");
    let shards = stage.pipeline.tokenize.shards;
    let splits = args.wait.for_inputs(&stage.log, || {
        let splits = Splits::open(&stage.path("raw"))?;
        let tokenizer = stage.path("tokenizer.json");
        if !tokenizer.is_file() {
            Tokenizer::load(&tokenizer)?; // its words for what is missing
        }
        Ok(splits)
    })?;
    let mut inputs = vec![("tokenizer.json".to_owned(), stage.path("tokenizer.json"))];
    if args.shard.is_none() {
        let files = splits.files.iter().flat_map(|(_, files)| files);
        inputs.extend(files.map(|file| (format!("raw/{}", file.name), splits.fetched.path(file))));
    }
    let manifest = tokens.join(args.shard.map_or("manifest.json".to_owned(), Shard::manifest_name));
    let mut config = Value::from(stage.pipeline.deciding(Outcome::Tokenize));
    if args.shard.is_some() {
        // A job reads only its share of these files, but all jobs must have the same files.
        for (split, files) in &splits.files {
            config[shards::RAW][split] = ShardOrigin::inputs(files).into();
        }
    }
    let work = Work { stage: "tokenize", manifest, inputs, config };
    let owned = Ownership::of_part(&tokens, args.shard, stage.force, stage.log);
    let mut rates = String::new();
    let done = stage.perform(&work, args.shard, |why| {
        let (manifest, words) = make(&stage, &work, &owned, &splits, args.shard, why)?;
        rates = words;
        Ok(manifest)
    })?;
    let owned = owned.with(done.replaced.clone());
    match shards::tidy(&tokens, &owned, &done.manifest, shards, args.shard) {
        // What a kill between publishing and tidying left behind; in a read-only folder it stays.
        Err(_) if !done.made => {}
        tidied => tidied?,
    }
    Ok(stage.report(&done, &(summary(&stage, &done.manifest) + &rates))?)
}

/// Makes the missing shards. Returns the manifest, and a text on the speed.
fn make(
    stage: &Stage,
    work: &Work,
    owned: &Ownership,
    splits: &Splits,
    shard: Option<Shard>,
    why: &str,
) -> anyhow::Result<(Manifest, String)> {
    let tokens = stage.path("tokens");
    let (shards, column) = (stage.pipeline.tokenize.shards, &stage.pipeline.fetch.column);
    let tokenizer = Tokenizer::load(&stage.path("tokenizer.json"))?;
    tokenizer.check_manifest(&stage.path("tokenizer.manifest.json"))?;
    stage.use_threads()?;
    let records = work.input_records()?;
    let raw_record = |record: &FileRecord| {
        Some(FileRecord { name: record.name.strip_prefix("raw/")?.to_owned(), ..record.clone() })
    };
    splits.fetched.check(&records.iter().filter_map(raw_record).collect::<Vec<_>>())?;
    let opened = splits.files.iter().map(|(split, files)| {
        Opened::new(&splits.fetched, (*split, files.as_slice()), shards, shard, column)
    });
    let opened = opened.collect::<stage::Result<Vec<_>>>()?;
    let tasks: Vec<Task> =
        opened.iter().flat_map(|split| split.tasks(tokenizer.record(), column, &tokens)).collect();
    let total = tasks.iter().map(Task::stories).sum();
    stage.log.say(format!(
        "tokenizing {} stories into {} shards ({why})",
        stage::count(total),
        tasks.len()
    ));
    if !tokenizer.is_fast() {
        stage.log.say("not a byte-level BPE with the GPT-2 pattern: encoding with crate tokenizers, which is slower");
    }
    stage::create_dir(&tokens)?;
    let (made, seconds) = encode(stage, work, owned, shard, &tokenizer, tasks)?;

    let mut manifest =
        work.manifest_of(records, made.iter().map(|made| made.record.clone()).collect());
    for (split, _) in &splits.files {
        let sum = sum_of(made.iter().filter(|made| made.split == *split));
        let counts = [("stories", sum.stories), ("tokens", sum.tokens), ("bytes", sum.bytes)];
        manifest.counts.extend(counts.map(|(name, count)| (format!("{split}_{name}"), count)));
    }
    manifest.tokenizer = Some(tokenizer.record().clone());
    manifest
        .facts
        .insert("dtype".into(), Dtype::of(u64::from(tokenizer.vocab_size())).name().into());
    manifest.facts.insert("eos".into(), tokenizer.eos().into());
    if splits.fetched.is_synthetic() {
        manifest.label_synthetic();
    }
    shards::remember_old(owned, shards)?;
    Ok((manifest, rates(&made, seconds)))
}

/// Encodes the tasks whose shards are missing. Returns all shards in order, and the seconds it took.
fn encode(
    stage: &Stage,
    work: &Work,
    owned: &Ownership,
    shard: Option<Shard>,
    tokenizer: &Tokenizer,
    tasks: Vec<Task>,
) -> anyhow::Result<(Vec<Made>, f64)> {
    let tokens = stage.path("tokens");
    let recorded = if stage.force { Vec::new() } else { shards::recorded(&tokens, shard) };
    let total = tasks.iter().map(Task::stories).sum();
    let progress = stage.log.progress("tokenizing", Unit::Stories, Some(total));
    let kept: Vec<_> = tasks
        .par_iter()
        .map(|task| shards::finished(&task.path, &task.origin, &recorded))
        .collect();
    progress.skip(kept.iter().flatten().map(|(_, totals)| totals.stories).sum());
    let splits: Vec<String> = tasks.iter().map(|task| task.origin.split.clone()).collect();
    let missing: Vec<Task> = tasks
        .into_iter()
        .zip(&kept)
        .filter(|(_, kept)| kept.is_none())
        .map(|(task, _)| task)
        .collect();
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    missing.iter().try_for_each(|task| owned.claim(&name(&task.path)))?;
    owned.claim_manifest(&name(&work.manifest))?;
    let mut new =
        encode_shards::make(&missing, tokenizer, rayon::current_num_threads(), &progress)?
            .into_iter();
    let made = kept
        .into_iter()
        .zip(splits)
        .filter_map(|(kept, split)| {
            let (is_kept, (record, totals)) = (kept.is_some(), kept.or_else(|| new.next())?);
            Some(Made { record, totals, split, kept: is_kept })
        })
        .collect();
    let seconds = progress.elapsed().as_secs_f64();
    progress.finish();
    Ok((made, seconds))
}

fn sum_of<'a>(made: impl Iterator<Item = &'a Made>) -> Totals {
    made.fold(Totals::default(), |mut sum, made| {
        sum += made.totals;
        sum
    })
}

/// A text on the speed and on what was kept.
fn rates(made: &[Made], seconds: f64) -> String {
    let new = sum_of(made.iter().filter(|made| !made.kept));
    let kept = made.iter().filter(|made| made.kept).count();
    let kept = if kept > 0 { format!(", {kept} shards kept") } else { String::new() };
    let rates = format!(
        "{:.1} MB/s, {} tokens/s",
        new.bytes as f64 / 1e6 / seconds,
        stage::count((new.tokens as f64 / seconds) as u64)
    );
    format!(" ({seconds:.1} s, {rates}{kept})")
}

fn summary(stage: &Stage, manifest: &Manifest) -> String {
    let sum = |name: &str| {
        [TRAIN, VALIDATION]
            .iter()
            .map(|split| manifest.count(&format!("{split}_{name}")))
            .sum::<u64>()
    };
    let (stories, tokens) = (stage::count(sum("stories")), stage::count(sum("tokens")));
    let (shards, folder) = (manifest.outputs.len(), stage.path("tokens"));
    format!(
        "{stories} stories, {tokens} tokens, {:.1} MB of text in {shards} shards in {}",
        sum("bytes") as f64 / 1e6,
        folder.display()
    )
}

/// One shard, made now or kept.
struct Made {
    record: FileRecord,
    totals: Totals,
    split: String,
    kept: bool,
}
