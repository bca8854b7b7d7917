//! Stories to token shards: `raw/*.parquet` and `tokenizer.json` to `tokens/<split>-*.arrow`.
use std::path::{Path, PathBuf};

use clap::Parser;
use corpus::bin::Dtype;
use corpus::encode_shards::{self, Task};
use corpus::shards::{self, Origin, TRAIN, Totals, VALIDATION};
use corpus::stories::{ParquetStories, check_raw, raw_files, raw_manifests};
use corpus::tokenizer::Tokenizer;
use rayon::prelude::*;
use stage::config::Outcome;
use stage::{FileRecord, Manifest, Ownership, Shard, Stage, Unit, Work};

const AFTER_HELP: &str = "\
Every shard is an Arrow IPC file (zstd) with one row of ids per story, made of a contiguous range of the split's row
groups. The ids are those of crate tokenizers, without special tokens; pack-bin sets the <|endoftext|>. The files do
not depend on --threads nor on --shard. Interrupted or killed, finished shards are kept and the rest is made next time.

Reads OUT/raw (make fetch) and OUT/tokenizer.json (make tokenizer); writes OUT/tokens/*.arrow and manifest.json.

Examples:
  tokenize --config pipelines/tinystories-10m.toml
  tokenize --shards 4 --threads 2
  tokenize --shard 2/8        files 1, 9, 17, ... and manifest-2-of-8.json, as one of 8 jobs; pack-bin takes the 8 manifests

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
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
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
    let (raw, tokens) = (stage.path("raw"), stage.path("tokens"));
    let shards = stage.pipeline.tokenize.shards;
    let mut splits = vec![(TRAIN, raw_files(&raw, TRAIN)?)];
    let validated = raw_manifests(&raw)?
        .iter()
        .any(|manifest| manifest.outputs.iter().any(|file| file.name.starts_with(VALIDATION)));
    if validated {
        splits.push((VALIDATION, raw_files(&raw, VALIDATION)?));
    }
    let tokenizer_path = stage.path("tokenizer.json");
    let name = |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut inputs = vec![("tokenizer.json".to_owned(), tokenizer_path.clone())];
    inputs.extend(
        splits
            .iter()
            .flat_map(|(_, files)| files)
            .map(|path| (format!("raw/{}", name(path)), path.clone())),
    );
    let manifest = tokens.join(args.shard.map_or("manifest.json".to_owned(), Shard::manifest_name));
    let config = stage.pipeline.deciding(Outcome::Tokenize).into();
    let work = Work { stage: "tokenize", manifest, inputs, config };
    let owned = Ownership::of(&tokens, stage.force, stage.log);
    let mut rates = String::new();
    let done = stage.perform(&work, args.shard, |why| {
        let (manifest, words) = make(&stage, &work, &owned, &splits, args.shard, why)?;
        rates = words;
        Ok(manifest)
    })?;
    match shards::tidy(&tokens, &owned, &done.manifest, shards, args.shard) {
        // What a kill between publishing and tidying left; a folder that cannot be written keeps it.
        Err(_) if !done.made => {}
        tidied => tidied?,
    }
    Ok(stage.report(&done, &(summary(&stage, &done.manifest) + &rates))?)
}

/// Makes the shards that are missing; gives the manifest, and words on how fast it went.
fn make(
    stage: &Stage,
    work: &Work,
    owned: &Ownership,
    splits: &[(&str, Vec<PathBuf>)],
    shard: Option<Shard>,
    why: &str,
) -> anyhow::Result<(Manifest, String)> {
    let (raw, tokens) = (stage.path("raw"), stage.path("tokens"));
    let (shards, column) = (stage.pipeline.tokenize.shards, &stage.pipeline.fetch.column);
    let tokenizer = Tokenizer::load(&stage.path("tokenizer.json"))?;
    tokenizer.check_manifest(&stage.path("tokenizer.manifest.json"))?;
    stage.use_threads()?;
    let records = work.input_records()?;
    let raw_record = |record: &FileRecord| {
        Some(FileRecord { name: record.name.strip_prefix("raw/")?.to_owned(), ..record.clone() })
    };
    let raw_records: Vec<FileRecord> = records.iter().filter_map(raw_record).collect();
    check_raw(&raw, &raw_records)?;

    let mut opened = Vec::new();
    for (split, files) in splits {
        let records: Vec<FileRecord> =
            raw_records.iter().filter(|record| record.name.starts_with(split)).cloned().collect();
        let files = files
            .iter()
            .map(|path| ParquetStories::open(path, column))
            .collect::<stage::Result<Vec<_>>>()?;
        opened.push((*split, records, files));
    }
    let mut tasks = Vec::new();
    for (split, records, files) in &opened {
        let row_groups: Vec<_> = files
            .iter()
            .flat_map(|file| (0..file.row_groups()).map(move |row_group| (file, row_group)))
            .collect();
        let bound =
            |shard: u32| (u64::from(shard) * row_groups.len() as u64 / u64::from(shards)) as usize;
        for shard in (0..shards).filter(|&file| shard.is_none_or(|job| job.makes(file))) {
            let origin = Origin::new(tokenizer.record(), split, (shard, shards), records, column);
            let path = tokens.join(shards::file_name(split, shard, shards));
            tasks.push(Task {
                path,
                origin,
                row_groups: row_groups[bound(shard)..bound(shard + 1)].to_vec(),
            });
        }
    }
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
    let recorded = if stage.force { Vec::new() } else { shards::recorded(&tokens) };
    let progress = stage.log.progress("tokenizing", Unit::Stories, Some(total));
    let kept: Vec<_> = tasks
        .par_iter()
        .map(|task| shards::finished(&task.path, &task.origin, &recorded))
        .collect();
    progress.skip(kept.iter().flatten().map(|(_, totals)| totals.stories).sum());
    let splits_of_tasks: Vec<String> = tasks.iter().map(|task| task.origin.split.clone()).collect();
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
        encode_shards::make(&missing, &tokenizer, rayon::current_num_threads(), &progress)?
            .into_iter();
    let made: Vec<Made> = kept
        .into_iter()
        .zip(splits_of_tasks)
        .filter_map(|(kept, split)| {
            let (is_kept, (record, totals)) = (kept.is_some(), kept.or_else(|| new.next())?);
            Some(Made { record, totals, split, kept: is_kept })
        })
        .collect();
    let seconds = progress.elapsed().as_secs_f64();
    progress.finish();

    let mut manifest =
        work.manifest_of(records, made.iter().map(|made| made.record.clone()).collect());
    let mut new = Totals::default();
    for (split, _) in splits {
        let mut sum = Totals::default();
        for made in made.iter().filter(|made| made.split == *split) {
            sum += made.totals;
            new += if made.kept { Totals::default() } else { made.totals };
        }
        let counts = [("stories", sum.stories), ("tokens", sum.tokens), ("bytes", sum.bytes)];
        manifest.counts.extend(counts.map(|(name, count)| (format!("{split}_{name}"), count)));
    }
    manifest.tokenizer = Some(tokenizer.record().clone());
    manifest
        .facts
        .insert("dtype".into(), Dtype::of(u64::from(tokenizer.vocab_size())).name().into());
    manifest.facts.insert("eos".into(), tokenizer.eos().into());
    if raw_manifests(&raw)?.iter().any(Manifest::is_synthetic) {
        manifest.label_synthetic();
    }
    shards::remember_old(owned, shards)?;
    let kept = made.iter().filter(|made| made.kept).count();
    let kept = if kept > 0 { format!(", {kept} shards kept") } else { String::new() };
    let rates = format!(
        "{:.1} MB/s, {} tokens/s",
        new.bytes as f64 / 1e6 / seconds,
        stage::count((new.tokens as f64 / seconds) as u64)
    );
    Ok((manifest, format!(" ({seconds:.1} s, {rates}{kept})")))
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
