//! A trained model and val.bin to eval.json: how well it foresees stories it has not read.
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use compute::Model;
use corpus::bin::Bin;
use serde::Serialize;
use serde_json::json;
use stage::{AtomicFile, Failure, State, Unit, Work, interrupt};
use training::{Engine, Wanted, check_model, failed, open_model, print, score};

/// Measure loss, perplexity and bits per byte on the validation stories.
#[derive(Parser)]
#[command(
    version,
    after_help = "\
Reads OUT/run/final and OUT/val.bin with its .json. Writes OUT/eval.json and prints it.

Perplexity e^loss is the number of equally likely tokens the model hesitates between at each place, on average.
Bits per byte do not depend on the tokenizer, so they compare models with different ones.

Example:
  eval-ppl --config pipelines/quickstart.toml --stride 128

Exit codes: 0 done, 2 wrong usage or settings, 3 bad input, 4 may work if tried again, 130 interrupted"
)]
struct Args {
    #[command(flatten)]
    common: stage::Common,
    #[command(flatten)]
    flags: Flags,
    /// Folder of the model [default: OUT/run/final]
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
}

/// Each flag is short for the key of the same name in [eval].
#[derive(clap::Args, Serialize)]
struct Flags {
    /// auto, cpu, gpu or gpu:N (see train --list-devices)
    #[arg(long)]
    device: Option<String>,
    /// What a GPU keeps values in: f32, f16, bf16 or auto
    #[arg(long)]
    precision: Option<String>,
    /// Tokens each window advances: smaller gives every token more context, and takes longer
    #[arg(long)]
    stride: Option<u32>,
}

/// Windows per batch: the engine takes as many at once as it likes.
const BATCH: usize = 16;

fn main() -> ExitCode {
    stage::main("eval-ppl", run)
}

fn run() -> anyhow::Result<()> {
    let Args { common, flags, model: folder } = Args::parse();
    let stage = common.open("eval-ppl", "eval", &flags)?;
    stage.use_threads()?;
    let folder = folder.unwrap_or_else(|| stage.path("run/final"));
    let section = &stage.pipeline.eval;
    let bin = Bin::open(&stage.path("val.bin"), &stage.log)?;
    let (config, weights) = open_model(&stage.pipeline, &folder)?;
    let wanted = Wanted {
        section: "eval",
        device: &section.device,
        precision: &section.precision,
        shaders: None,
        profile: false,
        head_width: config.head_width(),
    };
    let engine = Engine::open(&wanted, &stage.log)?;
    if config.vocab_size != bin.vocab_size() as usize {
        let found = format!("ids of a vocabulary of {}", bin.vocab_size());
        let expected = format!("the model's {} ({})", config.vocab_size, folder.display());
        return Err(Failure::input(bin.path(), found, expected, "evaluate the model on data made with its own tokenizer").into());
    }
    let inputs = [
        ("model.safetensors", folder.join("model.safetensors")),
        ("config.json", folder.join("config.json")),
        ("val.bin", stage.path("val.bin")),
    ];
    let stride = section.stride.min(config.context as u32);
    let work = Work {
        stage: "eval-ppl",
        manifest: stage.path("eval.manifest.json"),
        inputs: inputs.map(|(name, path)| (name.to_owned(), path)).into(),
        config: json!({ "stride": stride, "precision": engine.precision().name() }),
    };
    if let State::UpToDate(_) = work.state(stage.force)? {
        stage.log.say("up to date");
        print(&stage::read_to_string(&stage.path("eval.json"))?)?;
        return Ok(());
    }
    bin.verify()?;
    check_model(&folder)?;

    let sequence = config.context.min(usize::try_from(bin.len())?.saturating_sub(1)).max(1);
    let mut model = Model::new(engine.kernels()?, config, &weights, BATCH, sequence).map_err(failed)?;
    let progress = stage.log.progress("evaluate", Unit::Tokens, Some(bin.len() - 1));
    let score = score(&mut model, &bin, stride as usize, 0, |tokens| {
        progress.add(tokens);
        interrupt::check("nothing was written; run the same command again")
    })?;
    let seconds = progress.elapsed().as_secs_f64();
    progress.finish();
    let bytes = bin.manifest().count("bytes");
    let result = json!({
        "loss": score.loss(),
        "perplexity": score.perplexity(),
        "bits_per_byte": score.bits_per_byte(bin.len(), bytes),
        "tokens": score.tokens,
        "bytes": bytes,
        "stories": bin.manifest().count("stories"),
        "context": sequence,
        "stride": stride,
        "precision": engine.precision().name(),
    });
    let text = format!("{result:#}\n");
    let record = AtomicFile::write(&stage.path("eval.json"), text.as_bytes())?;
    work.publish(&work.manifest(vec![record])?)?;
    print(&text)?;
    stage.log.say(format!(
        "perplexity {:.2}: at each token the model hesitates between about {:.0} equally likely ones; {:.4} bits per byte ({:.0} tokens/s)",
        score.perplexity(),
        score.perplexity(),
        score.bits_per_byte(bin.len(), bytes),
        score.tokens as f64 / seconds
    ));
    Ok(())
}
