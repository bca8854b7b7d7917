//! Token shards to `train.bin` and `val.bin`: what training maps into memory.
mod tokens;

use std::path::{Path, PathBuf};

use clap::Parser;
use corpus::bin::{Dtype, sidecar};
use corpus::pack::{BUCKET_BYTES, Packer};
use corpus::shards::{ShardReader, TRAIN, Totals, VALIDATION};
use corpus::tokenizer::Tokenizer;
use parking_lot::Mutex;
use serde_json::Value;
use stage::config::{Order, Outcome};
use stage::{Failure, FileRecord, Manifest, Ownership, Progress, Stage, Unit, Work};
use tokens::{REMAKE, Tokens};

const AFTER_HELP: &str = "\
The bins are little-endian ids, uint16 (uint32 above 65,536 vocabulary), with <|endoftext|> after every story and nothing
else: numpy.memmap reads them. train.bin.json and val.bin.json say what is in them. The bins, these two and tokenizer.json
are all that train, eval-ppl and sample need on another machine. Whole stories are shuffled by --seed; the order does not
depend on shards, threads or memory. Packing takes less than 100 MB of memory, however much there is to pack.

Reads OUT/tokens (make tokenize) and OUT/tokenizer.json; writes OUT/train.bin, OUT/val.bin and their .json.

Examples:
  pack-bin --config pipelines/tinystories-10m.toml
  pack-bin --order as-published
  pack-bin --seed 2 --out out/other

Exit codes: 0 done; 2 wrong usage or settings; 3 bad input (a missing, foreign or damaged shard, another tokenizer, an id
outside the vocabulary); 4 may work if tried again (disk full); 130 interrupted, bins from before are kept.";
/// Threads that read shards: each takes memory, and more would only wait for the disk.
const DEALERS: usize = 4;
const BINS: [(&str, &str); 2] = [(TRAIN, "train.bin"), (VALIDATION, "val.bin")];

/// Packs the token shards of OUT/tokens into OUT/train.bin and OUT/val.bin.
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

/// Each short for the key of the same name in `[pack]`.
#[derive(clap::Args, serde::Serialize)]
struct Flags {
    /// Seed of the order of stories
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// shuffled or as-published
    #[arg(long, value_name = "ORDER")]
    order: Option<String>,
}

fn main() -> std::process::ExitCode {
    stage::main("pack-bin", run)
}

fn run() -> anyhow::Result<()> {
    let args = stage::cli::parse::<Args>();
    let stage = args.common.open("pack-bin", "pack", &args.flags)?;
    let tokens = args.wait.for_inputs(&stage.log, || {
        let tokens = Tokens::open(&stage.path("tokens"))?;
        let tokenizer = stage.path("tokenizer.json");
        if !tokenizer.is_file() {
            Tokenizer::load(&tokenizer)?; // its words for what is missing
        }
        Ok(tokens)
    })?;
    let settings = &stage.pipeline.pack;
    let seed = (settings.order == Order::Shuffled).then_some(settings.seed);
    let mut inputs = vec![("tokenizer.json".to_owned(), stage.path("tokenizer.json"))];
    inputs.extend(
        tokens
            .shards
            .iter()
            .map(|shard| (format!("tokens/{}", shard.name), tokens.folder.join(&shard.name))),
    );
    let work = Work {
        stage: "pack-bin",
        manifest: stage.path("pack.manifest.json"),
        inputs,
        config: stage.pipeline.deciding(Outcome::Pack).into(),
    };
    let started = std::time::Instant::now();
    let done = stage.perform(&work, None, |why| make(&stage, &work, &tokens, seed, why))?;
    let seconds = started.elapsed().as_secs_f64();
    let bytes: u64 = done.manifest.outputs.iter().map(|output| output.bytes).sum();
    let rate = match done.made {
        true => format!(" ({seconds:.1} s, {:.1} MB/s)", bytes as f64 / 1e6 / seconds),
        false => String::new(),
    };
    Ok(stage.report(&done, &(summary(&stage, &done.manifest) + &rate))?)
}

/// Packs all splits and gives their manifest.
fn make(
    stage: &Stage,
    work: &Work,
    tokens: &Tokens,
    seed: Option<u64>,
    why: &str,
) -> anyhow::Result<Manifest> {
    let owned = Ownership::of(&stage.out, stage.force, stage.log);
    for (_, bin) in BINS {
        owned.claim(bin)?;
        owned.claim_manifest(&format!("{bin}.json"))?;
    }
    owned.claim_manifest("pack.manifest.json")?;
    stage.use_threads()?;
    let (tokenizer, records) =
        rayon::join(|| Tokenizer::load(&stage.path("tokenizer.json")), || work.input_records());
    let tokenizer = tokenizer?;
    tokens.check_tokenizer(&tokenizer)?;
    let records = records?;
    tokens.check_content(&records[1..])?;
    stage.log.say(format!("packing {} shards ({why})", tokens.shards.len()));
    let mut outputs = Vec::new();
    let mut counts = Vec::new();
    for (split, bin) in BINS {
        let path = stage.path(bin);
        if !tokens.shards.iter().any(|shard| shard.name.starts_with(split)) {
            stage.log.warn(format!("no {split} stories: no {bin}"));
            stage::remove_if_present(&sidecar(&path))?;
            stage::remove_if_present(&path)?;
            continue;
        }
        let work = Work {
            stage: "pack-bin",
            manifest: sidecar(&path),
            inputs: work.inputs[..1].to_vec(),
            config: work.config.clone(),
        };
        let (manifest, sidecar) = pack(stage, tokens, &tokenizer, split, &path, seed, &work)?;
        outputs.extend(manifest.outputs);
        outputs.push(sidecar);
        counts.extend(
            manifest.counts.into_iter().map(|(name, count)| (format!("{split}_{name}"), count)),
        );
    }
    let mut manifest = work.manifest_of(records, outputs);
    manifest.counts.extend(counts);
    manifest.tokenizer = Some(tokenizer.record().clone());
    Ok(manifest)
}

/// Packs one split. The sidecar is written after the bin, and an old one is removed before a new bin takes its name.
fn pack(
    stage: &Stage,
    tokens: &Tokens,
    tokenizer: &Tokenizer,
    split: &str,
    path: &Path,
    seed: Option<u64>,
    work: &Work,
) -> stage::Result<(Manifest, FileRecord)> {
    let count = |name: &str| {
        tokens
            .manifests
            .iter()
            .map(|(_, manifest)| manifest.count(&format!("{split}_{name}")))
            .sum::<u64>()
    };
    let dtype = Dtype::of(u64::from(tokenizer.vocab_size()));
    let expected = (count("tokens") + count("stories")) * dtype.width() as u64;
    let mut packer = Packer::create(path, dtype, tokenizer.eos(), seed, expected, BUCKET_BYTES)?;
    let progress =
        stage.log.progress(&format!("packing {split}"), Unit::Stories, Some(count("stories")));
    let names = tokens.shards.iter().filter(|shard| shard.name.starts_with(split));
    let mut sum = Totals::default();
    // One open file at a time for each thread, however many shards there are.
    let shards: Vec<(u64, PathBuf)> = names
        .map(|shard| {
            let path = tokens.folder.join(&shard.name);
            let first = sum.stories;
            sum += tokens.open_shard(&path, tokenizer)?.totals();
            Ok((first, path))
        })
        .collect::<stage::Result<_>>()?;
    let length = sum.tokens + sum.stories;
    if seed.is_none() {
        for (_, path) in shards {
            read(tokens.open_shard(&path, tokenizer)?, tokenizer, &progress, |_, ids| {
                packer.append(ids)
            })?;
        }
    } else {
        let next = Mutex::new(shards.into_iter());
        let deal = |thread: usize| {
            let Some(mut dealer) = packer.dealer().filter(|_| thread < DEALERS) else {
                return Ok(());
            };
            loop {
                let shard = next.lock().next();
                let Some((first, path)) = shard else { return dealer.end() };
                read(tokens.open_shard(&path, tokenizer)?, tokenizer, &progress, |row, ids| {
                    dealer.push(first + row, ids)
                })?;
            }
        };
        rayon::broadcast(|thread| deal(thread.index()))
            .into_iter()
            .collect::<stage::Result<()>>()?;
    }
    progress.finish();
    let sidecar = sidecar(path);
    let bin = packer.finish(|bin| {
        // Another attempt's sidecar of the same bin may stay.
        let fits = Manifest::read(&sidecar).is_ok_and(|old| old.outputs.contains(bin));
        if fits { Ok(()) } else { stage::remove_if_present(&sidecar) }
    })?;
    let mut manifest = work.manifest(vec![bin])?;
    let counts = [("stories", sum.stories), ("tokens", length), ("bytes", sum.bytes)];
    manifest.counts = counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
    manifest.tokenizer = Some(tokenizer.record().clone());
    let facts: [(&str, Value); 3] =
        [("dtype", dtype.name().into()), ("eos", tokenizer.eos().into()), ("split", split.into())];
    manifest.facts = facts.into_iter().map(|(name, fact)| (name.to_owned(), fact)).collect();
    if tokens.manifests.iter().any(|(_, manifest)| manifest.is_synthetic()) {
        manifest.label_synthetic();
    }
    let sidecar = work.publish_part(&manifest)?;
    Ok((manifest, sidecar))
}

/// Calls `each` with the row of every story and its ids as stored in a bin, after checking them all.
fn read(
    reader: ShardReader,
    tokenizer: &Tokenizer,
    progress: &Progress,
    mut each: impl FnMut(u64, &[u8]) -> stage::Result<()>,
) -> stage::Result<()> {
    let shard = reader.path().to_owned();
    reader.read_batches(|stories| {
        if let Some((row, id)) = stories.above(tokenizer.vocab_size()) {
            let expected = format!("ids below the vocabulary of {}", tokenizer.vocab_size());
            return Err(Failure::input(&shard, format_args!("the id {id}"), expected, REMAKE)
                .at(format_args!("row {row} (from 0)")));
        }
        progress.add(stories.len() as u64);
        let (bytes, width) = (stories.ids.to_bytes(), stories.ids.width());
        (stories.row..)
            .zip(stories.bounds())
            .try_for_each(|(row, (start, end))| each(row, &bytes[start * width..end * width]))
    })
}

fn summary(stage: &Stage, manifest: &Manifest) -> String {
    let words = BINS
        .iter()
        .filter(|(split, _)| manifest.count(&format!("{split}_stories")) > 0)
        .map(|(split, bin)| {
            let count = |name: &str| stage::count(manifest.count(&format!("{split}_{name}")));
            format!(
                "{} stories, {} tokens in {}",
                count("stories"),
                count("tokens"),
                stage.path(bin).display()
            )
        });
    words.collect::<Vec<_>>().join("; ")
}
