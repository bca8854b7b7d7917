//! Stories in: from the Hub, the web, a bucket, this disk or the embedded grammar, to `raw/*.parquet`.
use clap::Parser;
use corpus::fetch::{Fetcher, require_stories};
use corpus::look::look;
use corpus::plan::FetchPlan;
use corpus::raw::{BRANCH, RawFolder};
use corpus::remote::{Cancel, hub};
use corpus::row_groups::ROW_GROUPS;
use corpus::source::Source;
use serde_json::{Value, json};
use stage::config::Outcome;
use stage::{Failure, LISTING, Manifest, Pipeline, REVISION, Shard, Stage, Work};

const AFTER_HELP: &str = "\
Sources:
  stories:                               synthetic stories from the built-in grammar, no network
  hf://datasets/OWNER/NAME[@REVISION]    a dataset of the Hugging Face Hub (HF_ENDPOINT, HF_TOKEN)
  https://HOST/FILE.parquet              one file
  s3://BUCKET/PATH  gs://BUCKET/PATH     an object, or all below a prefix (AWS_*, GOOGLE_* in the environment)
  FILE, FOLDER or 'GLOB'                 .parquet; .jsonl (a field of each line), .json (of each element of an array);
                                         .txt (<|endoftext|> between stories, or --separator); these also as .gz or .zst;
                                         a folder means all such files below it

Parquet files that are taken whole are kept byte for byte. Everything else (jsonl, txt, stories:, a limit, a validation
fraction, texts with <|endoftext|> in them) is written as parquet with one column `text`, without empty stories.
<|endoftext|> at either end of a text is removed; inside, it splits the text. Byte order marks are removed; line ends of
.txt become \n. If a fraction of two or more stories is held out for validation, each side gets at least one.
Validation stories: --validation-split, else --validation-fraction, else the source's own split called validation, valid,
val, dev or eval, else 0.01 of the stories, chosen by a hash of their text. Files and folders are known by these words
anywhere in their names (TinyStoriesV2-GPT4-valid.txt, validation/0.parquet). What is called validation or test is never
used for training unless --train-split names it, or --source names that one file.

Examples:
  fetch-parquet                                                     20,000 synthetic stories to out/quickstart/raw
  fetch-parquet --config pipelines/tinystories-10m.toml             the whole of TinyStories
  fetch-parquet --source hf://datasets/roneneldan/TinyStories --max-stories 50000
  fetch-parquet --source ~/stories --validation-fraction 0.05 --out out/mine
  fetch-parquet --shard 2/8                                         the second of 8 jobs that fetch together

--shard auto takes I and N from the array of Slurm (SLURM_ARRAY_TASK_ID, _MIN, _COUNT, _STEP) or the indexed job of Kubernetes
(JOB_COMPLETION_INDEX, and JOB_COMPLETIONS, which its manifest has to set).
A branch on the Hub is resolved once: the manifest records the commit, and later jobs take the same one.

Run again, it says \"up to date\", or goes on where it was interrupted; --force fetches a remote source anew.

Environment: http_proxy, https_proxy, no_proxy; BEDTIME_RETRIES (5: tries in a row before giving up, at most 100);
BEDTIME_RETRY_BASE_MS (500: first pause between tries, doubled each time; a server's Retry-After counts instead);
BEDTIME_STALL_S (60: a try ends after this many seconds below 1 KiB per second);
BEDTIME_UNANNOUNCED_GIB (64: size limit for a file whose length the server does not announce).

Limits: a file must have its announced length; a listing (of a bucket, too) has at most 8 MiB per page, 1,000 pages and
100,000 files; a request follows at most 10 redirects. Passwords and signatures in addresses are shown as ***, and never
written down.

Exit codes: 0 done; 2 wrong usage or settings; 3 bad input (no such file, HTTP 404, damaged, wrong hash, no column, nulls);
4 may work if tried again (network, HTTP 429 or 5xx, disk full); 130 interrupted, finished files are kept.";

/// Fetches stories into OUT/raw as parquet, with a manifest.
#[derive(Parser)]
#[command(version, after_help = AFTER_HELP)]
struct Args {
    #[command(flatten)]
    common: stage::Common,
    #[command(flatten)]
    flags: Flags,
    /// Make only part I of N, all of about the same number of bytes, and manifest-I-of-N.json
    #[arg(long, value_name = "I/N|auto")]
    shard: Option<Shard>,
    /// Only look at a local source: print files, bytes, stories, column and separator as JSON; writes nothing
    #[arg(long)]
    look: bool,
    #[command(flatten)]
    wait: stage::Wait,
}

/// Each short for the key of the same name in `[fetch]`.
#[derive(clap::Args, serde::Serialize)]
struct Flags {
    /// Where the stories come from (see below)
    #[arg(long, value_name = "SOURCE")]
    source: Option<String>,
    /// Split of the training stories, or a word in or prefix of their file names
    #[arg(long, value_name = "NAME")]
    train_split: Option<String>,
    /// The same for the validation stories ("": none)
    #[arg(long, value_name = "NAME")]
    validation_split: Option<String>,
    /// Fraction of the training stories held out for validation, by a hash of their text
    #[arg(long, value_name = "SHARE")]
    validation_fraction: Option<f64>,
    /// Column (parquet) or field (jsonl, json) of the text
    #[arg(long, value_name = "NAME")]
    column: Option<String>,
    /// What stands between the stories of a .txt file: blank-line, or any text (\\n is a line end) [default: <|endoftext|>]
    #[arg(long, value_name = "TEXT")]
    separator: Option<String>,
    /// Take the first N training stories; only the files and row groups that hold them are fetched
    #[arg(long, value_name = "N")]
    max_stories: Option<u64>,
    /// Take about as many row groups as hold N tokens (4 bytes each)
    #[arg(long, value_name = "N")]
    max_tokens_hint: Option<u64>,
    /// Seed of stories:
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

fn main() -> std::process::ExitCode {
    stage::main("fetch-parquet", run)
}

fn run() -> anyhow::Result<()> {
    let args = stage::cli::parse::<Args>();
    let stage = args.common.open("fetch-parquet", "fetch", &args.flags)?;
    let settings = &stage.pipeline.fetch;
    if settings.max_stories == Some(0) || settings.max_tokens_hint == Some(0) {
        return Err(Failure::usage(
            "fetch.max_stories and fetch.max_tokens_hint must be at least 1",
        )
        .into());
    }
    let source = args.wait.for_inputs(&stage.log, || Source::parse(settings.source.reveal()))?;
    if args.look {
        let Source::Local(files) = source else {
            let message = "--look: expected a file, a folder or a glob as --source";
            return Err(Failure::usage(message).into());
        };
        let look = look(&settings.source.to_string(), files, settings)?;
        stage::print(&format!("{:#}\n", serde_json::to_value(look)?))?;
        return Ok(());
    }
    let raw = RawFolder::new(stage.path("raw"), args.shard, stage.force, stage.log);
    if source.lies_in(&stage.path("raw")) {
        return Err(Failure::usage("the folder that this stage writes to")
            .at(format_args!("fetch.source {:?}", settings.source))
            .remedy("set another --out DIR")
            .into());
    }
    let work = Work {
        stage: "fetch-parquet",
        manifest: raw.manifest(),
        inputs: source.inputs(),
        config: config(&source, &stage.pipeline),
    };
    let mut planned = Vec::new();
    let done = stage.perform(&work, args.shard, |why| {
        stage.log.say(format!("fetching {} ({why})", settings.source));
        let (manifest, files) = make(&stage, &work, source, &raw)?;
        planned = files;
        if !manifest.outputs.is_empty() {
            raw.unpublish()?;
        }
        Ok(manifest)
    })?;
    if done.made {
        raw.tidy(&done.manifest, &done.replaced, &planned)?;
    } else {
        raw.tidy_up_to_date(&done.manifest);
        stage.log.say("up to date");
    }
    stage::print(&summary(&stage, &done.manifest))?;
    Ok(())
}

/// Makes the files of OUT/raw; gives their manifest, and the names that the plan has for all jobs.
fn make(
    stage: &Stage,
    work: &Work,
    source: Source,
    raw: &RawFolder,
) -> anyhow::Result<(Manifest, Vec<(&'static str, usize)>)> {
    let settings = &stage.pipeline.fetch;
    let synthetic = source == Source::Synthetic;
    if synthetic {
        stage.log.say("synthetic stories: a grammar makes them up, they are no text by people");
    }

    raw.claim_manifest()?;
    stage.use_threads()?;
    let label = source.label(&settings.source);
    let local = matches!(source, Source::Local(_));
    let cancel = Cancel::default();
    let known = if stage.force { None } else { raw.commit_of_others(&work.config) };
    let plan = FetchPlan::new(source, settings, raw, known, stage.log, &cancel)?;
    let threads = stage
        .threads
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let fetcher = Fetcher {
        raw,
        settings,
        config: &work.config,
        force: stage.force,
        threads,
        log: stage.log,
        cancel,
    };
    let mut made = fetcher.run(&plan)?;
    let row_groups = std::mem::take(&mut made.row_groups);
    require_stories(&made, &plan, raw, &settings.source.to_string())?;
    let mut manifest = work.manifest(made.outputs)?;
    let copied = |output: &&stage::FileRecord| local && made.copies.contains(&output.name);
    if let Some(output) = manifest
        .outputs
        .iter()
        .filter(copied)
        .find(|output| !manifest.inputs.iter().any(|input| input.sha256 == output.sha256))
    {
        return Err(Failure::try_again("its source changed while it was copied")
            .file(&output.name)
            .remedy("run the same command again")
            .into());
    }
    let counts = [("train_stories", made.train.stories), ("train_bytes", made.train.bytes)];
    let more = [
        ("validation_stories", made.validation.stories),
        ("validation_bytes", made.validation.bytes),
    ];
    manifest.counts =
        counts.into_iter().chain(more).map(|(name, count)| (name.to_owned(), count)).collect();
    manifest.facts.insert("source".into(), label.into());
    manifest.facts.insert(ROW_GROUPS.into(), json!(row_groups));
    if let Some(hub::Commit { branch, commit }) = &plan.commit {
        if branch != commit {
            stage.log.say(format!("{branch} is the commit {commit}"));
        }
        manifest.facts.insert(BRANCH.into(), branch.as_str().into());
        manifest.facts.insert(REVISION.into(), commit.as_str().into());
    }
    if raw.is_shard() {
        manifest.facts.insert(LISTING.into(), plan.listing.as_str().into());
    }
    if synthetic {
        manifest.label_synthetic();
    }
    Ok((manifest, plan.files))
}

/// What decides the result. Local sources are their files, wherever these lie.
fn config(source: &Source, pipeline: &Pipeline) -> Value {
    let mut config = Value::from(pipeline.deciding_flat(Outcome::Fetch));
    config["source"] = source.label(&pipeline.fetch.source).into();
    config
}

fn summary(stage: &Stage, manifest: &Manifest) -> String {
    let mut text = String::new();
    let synthetic = if manifest.is_synthetic() { " (synthetic)" } else { "" };
    for split in ["train", "validation"] {
        let files = manifest.outputs.iter().filter(|output| output.name.starts_with(split)).count();
        let (stories, bytes) = (
            manifest.count(&format!("{split}_stories")),
            manifest.count(&format!("{split}_bytes")),
        );
        let folder = stage.path("raw");
        text += &format!(
            "{split}: {stories} stories{synthetic}, {bytes} bytes of text, {files} file(s) in {}\n",
            folder.display()
        );
    }
    text
}
