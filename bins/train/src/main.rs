//! Trains a model: train.bin, val.bin and tokenizer.json to run/.
mod sweep;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use inference::{devices_as_json, list_devices};
use serde::Serialize;
use serde_json::Value;
use stage::sweep::Variant;
use stage::{FileRecord, Freshness, Shard, Stage, Work, hash_file, print};
use training::{Run, TrainOptions, profile_table};

/// Train the model on packed tokens, from the newest checkpoint if there is one.
#[derive(Parser)]
#[command(
    version,
    after_help = "\
Reads OUT/train.bin and OUT/val.bin with their .json, and OUT/tokenizer.json.
Writes OUT/run/: final/ (a Hugging Face folder), checkpoints/ (step_N, last, best), loss.jsonl, tb/ (for TensorBoard), loss.png,
report.html (open it while it trains), samples.md (stories at every checkpoint), config.toml.

Ctrl-C finishes the step, saves a checkpoint and exits; the same command resumes from there. After a crash or a power cut it
resumes from the last checkpoint. A full disk does not stop it: saving is tried again at the next checkpoint and at the end.
A run whose settings changed is kept as run.N and a new one begins.
With [[sweep]] in the pipeline, --sweep trains each variant in OUT/sweep/NAME/run and writes sweep.md, sweep.json and sweep.png.

Example:
  train --config pipelines/tinystories-3m.toml --steps 200 --lr 1e-3
  train --config pipelines/tinystories-10m.toml --device gpu --precision f16
  train --init-from out/tinystories-3m/run/final --lr 1e-4 --warmup 20

Exit codes: 0 done, 2 wrong usage or settings, 3 bad input, 4 may work if tried again, 130 interrupted"
)]
struct Args {
    #[command(flatten)]
    common: stage::Common,
    #[command(flatten)]
    flags: Flags,
    /// Print every GPU, its driver, features and limits, and what auto would do with it; then exit
    #[arg(long)]
    list_devices: bool,
    /// Train the model on made-up tokens for about a second, print tokens per second as JSON, then exit; needs no data
    #[arg(long, conflicts_with = "list_devices")]
    speed: bool,
    /// With --list-devices: as JSON
    #[arg(long, requires = "list_devices")]
    json: bool,
    /// Train every variant of the pipeline's [[sweep]] in OUT/sweep, one after the other, and print their table
    #[arg(long)]
    sweep: bool,
    /// Train the i-th of its n variants alone: a cluster's job
    #[arg(long, value_name = "I/N", conflicts_with = "sweep")]
    variant: Option<Shard>,
    /// Print the GPU time of each kernel; slows the run down
    #[arg(long)]
    profile: bool,
    /// Time the matmul tiles for a minute or two first, and keep the best for this GPU
    #[arg(long)]
    tune: bool,
    /// Start over; the existing run is kept as run.N (like --force)
    #[arg(long)]
    fresh: bool,
    /// Read the shaders from this folder, an edited copy of the project's shaders/
    #[arg(long, value_name = "DIR")]
    shaders: Option<PathBuf>,
}

/// Each flag is short for the key of the same name in `[train]` or `[train.optimizer]`.
#[derive(clap::Args, Serialize)]
struct Flags {
    /// auto, cpu, gpu or gpu:N (see --list-devices)
    #[arg(long)]
    device: Option<String>,
    /// Activation precision on a GPU: auto, f32, f16 or bf16
    #[arg(long)]
    precision: Option<String>,
    /// Updates of the weights
    #[arg(long)]
    steps: Option<u64>,
    /// Sequences per micro-batch
    #[arg(long)]
    batch: Option<u32>,
    /// Micro-batches per update
    #[arg(long)]
    accumulate: Option<u32>,
    /// Peak learning rate
    #[arg(long)]
    lr: Option<f64>,
    /// Steps of linear warm-up
    #[arg(long)]
    warmup: Option<u64>,
    /// After the warm-up: cosine, linear, or wsd (stable, then a linear decay)
    #[arg(long, value_name = "NAME")]
    schedule: Option<String>,
    /// Fraction of the peak at which the schedule ends
    #[arg(long, value_name = "SHARE")]
    final_lr_fraction: Option<f64>,
    /// Fraction of the steps after the warm-up during which wsd decays
    #[arg(long, value_name = "SHARE")]
    decay_fraction: Option<f64>,
    /// random, or epochs: every window of train.bin once before any comes again
    #[arg(long, value_name = "NAME")]
    sampling: Option<String>,
    /// none, or stories: windows begin with a story where one is near
    #[arg(long, value_name = "NAME")]
    align: Option<String>,
    /// true: the output projections of attention and MLP begin at 0
    #[arg(long, value_name = "true|false")]
    zero_init_residual: Option<bool>,
    /// Decay of the matrices (train.optimizer.weight_decay)
    #[arg(long)]
    #[serde(rename = "optimizer.weight_decay")]
    weight_decay: Option<f64>,
    /// Largest norm of the gradient
    #[arg(long)]
    clip: Option<f64>,
    /// Begin with this model's weights: a Hugging Face folder or a checkpoint
    #[arg(long, value_name = "PATH")]
    init_from: Option<String>,
    /// Seed of initial weights and batches
    #[arg(long)]
    seed: Option<u64>,
    /// Steps between lines of loss.jsonl
    #[arg(long)]
    log_every: Option<u64>,
    /// Steps between validations
    #[arg(long)]
    val_every: Option<u64>,
    /// Windows of each validation during training (0: all of val.bin)
    #[arg(long)]
    val_windows: Option<u64>,
    /// Steps between checkpoints
    #[arg(long)]
    checkpoint_every: Option<u64>,
    /// Numbered checkpoints kept
    #[arg(long)]
    keep_last: Option<u32>,
    /// End after this many minutes of training, earlier parts included; the learning rate schedule ends then
    #[arg(long, value_name = "MINUTES")]
    max_minutes: Option<f64>,
    /// End at the first validation with at most this loss
    #[arg(long, value_name = "LOSS")]
    until_loss: Option<f64>,
    /// End after this many validations in a row without a better one
    #[arg(long, value_name = "N")]
    patience: Option<u64>,
    /// On a loss that is not finite: stop, or roll back to the last checkpoint and skip that batch (at most 3 times)
    #[arg(long, value_name = "stop|rollback")]
    on_nan: Option<String>,
}

const FINAL: [&str; 5] = [
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
];

fn main() -> ExitCode {
    stage::main("train", run)
}

fn run() -> anyhow::Result<()> {
    let args = stage::cli::parse::<Args>();
    let Args {
        common,
        flags,
        list_devices: list,
        json,
        sweep,
        variant,
        speed,
        profile,
        tune,
        fresh,
        shaders,
    } = args;
    if list {
        print(&if json { format!("{:#}\n", devices_as_json()) } else { list_devices() })?;
        return Ok(());
    }
    let stage = common.open("train", "train", &flags)?;
    stage.use_threads_and_this_one()?;
    if speed {
        print(&format!("{:#}\n", serde_json::to_value(training::speed(&stage)?)?))?;
        return Ok(());
    }
    let options = TrainOptions { shaders, run: None, profile, tune };
    if !sweep && variant.is_none() {
        return train(&stage, &options, fresh);
    }
    let open = |variant: &Variant| {
        let mut own = common.open_with("train", "train", &flags, variant.assignments())?;
        own.pipeline.sweep.clear(); // the run's own file is that of the variant
        Ok(own)
    };
    sweep::sweep(&stage, &common.config, variant, open, |own, run| {
        train(own, &TrainOptions { run: Some(run), ..options.clone() }, fresh)
    })
}

/// Trains one run, unless it is up to date.
fn train(stage: &Stage, options: &TrainOptions, fresh: bool) -> anyhow::Result<()> {
    let run = Run::open(stage, options)?;
    let inputs =
        ["train.bin", "val.bin", "tokenizer.json"].map(|name| (name.to_owned(), stage.path(name)));
    let work = Work {
        stage: "train",
        manifest: run.folder().join("manifest.json"),
        inputs: inputs.into(),
        config: run.deciding_settings().clone(),
    };
    let anew = stage.force || fresh;
    if let Freshness::UpToDate(manifest) = work.state(anew)? {
        stage.log.say(format!(
            "up to date: {} steps, {}",
            manifest.count("steps"),
            run.folder().join("final").display()
        ));
        return Ok(());
    }
    let ended = run.train(anew)?;

    let record = |name: &str| -> stage::Result<FileRecord> {
        let name = PathBuf::from("final").join(name);
        Ok(FileRecord {
            name: name.to_string_lossy().into_owned(),
            ..hash_file(&run.folder().join(&name))?
        })
    };
    let mut manifest =
        work.manifest(FINAL.iter().map(|name| record(name)).collect::<stage::Result<_>>()?)?;
    manifest.counts.insert("steps".into(), ended.steps);
    let facts = [
        ("val_loss", ended.validation.loss()),
        ("val_perplexity", ended.validation.perplexity()),
        ("val_bits_per_byte", ended.bits_per_byte),
    ];
    manifest.facts.extend(facts.map(|(name, value)| (name.to_owned(), Value::from(value))));
    work.publish(&manifest)?;
    if options.profile {
        print(&profile_table(&ended.profile, ended.profiled_steps, run.peaks()?))?;
    }
    if let Some(why) = &ended.early {
        stage.log.say(format!("ended before train.steps: {why}"));
    }
    stage.log.say(format!(
        "{} steps in {:.0} s: loss {:.4}, validation {:.4} (perplexity {:.2}, {:.4} bits per byte)",
        ended.steps,
        ended.elapsed_s,
        ended.loss,
        ended.validation.loss(),
        ended.validation.perplexity(),
        ended.bits_per_byte
    ));
    stage.log.say(format!(
        "model: {}; stories along the way: {}; curves: {}",
        run.folder().join("final").display(),
        run.folder().join("samples.md").display(),
        run.folder().join("report.html").display()
    ));
    stage.log.say(format!("data seen: {}", ended.seen));
    stage.log.say(format!("the curve: {}", ended.diagnosis));
    Ok(())
}
