//! A trained model and prompts to stories.
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use compute::Decoder;
use corpus::tokenizer::Tokenizer;
use serde::Serialize;
use stage::interrupt;
use training::{Engine, Manner, Wanted, check_model, failed, open_model, print, tell};

/// Tell stories.
#[derive(Parser)]
#[command(
    version,
    after_help = "\
Reads OUT/run/final and prints stories on stdout.

Examples:
  sample --prompt 'Lily found a big' --n 3
  sample --temperature 0 --json > stories.jsonl

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
    /// One JSON object per story: prompt, text, tokens, ended
    #[arg(long)]
    json: bool,
}

/// Each flag is short for the key of the same name in [sample].
#[derive(clap::Args, Serialize)]
struct Flags {
    /// auto, cpu, gpu or gpu:N (see train --list-devices)
    #[arg(long)]
    device: Option<String>,
    /// What a GPU keeps values in: f32, f16, bf16 or auto
    #[arg(long)]
    precision: Option<String>,
    /// How a story begins (repeatable)
    #[arg(long = "prompt", value_name = "TEXT")]
    prompts: Option<Vec<String>>,
    /// Stories per prompt
    #[arg(long)]
    n: Option<u32>,
    /// Longest continuation
    #[arg(long)]
    max_tokens: Option<u32>,
    /// 0 takes the likeliest token each time; higher is freer
    #[arg(long)]
    temperature: Option<f32>,
    /// Choose among this many likeliest tokens (0: all)
    #[arg(long)]
    top_k: Option<u32>,
    /// Choose among the likeliest tokens that together have this probability
    #[arg(long)]
    top_p: Option<f32>,
    /// The same seed tells the same stories
    #[arg(long)]
    seed: Option<u64>,
}

fn main() -> ExitCode {
    stage::main("sample", run)
}

fn run() -> anyhow::Result<()> {
    let Args { common, flags, model: folder, json } = Args::parse();
    let stage = common.open("sample", "sample", &flags)?;
    stage.use_threads()?;
    let folder = folder.unwrap_or_else(|| stage.path("run/final"));
    let (config, weights) = open_model(&stage.pipeline, &folder)?;
    check_model(&folder)?;
    let tokenizer = Tokenizer::load(&folder.join("tokenizer.json"))?;
    let section = &stage.pipeline.sample;
    let manner = Manner::new(section);
    let prompts: Vec<String> = section.prompts.iter().flat_map(|prompt| vec![prompt.clone(); section.n as usize]).collect();
    let wanted = Wanted {
        section: "sample",
        device: &section.device,
        precision: &section.precision,
        shaders: None,
        profile: false,
        head_width: config.head_width(),
    };
    let engine = Engine::open(&wanted, &stage.log)?;
    let mut decoder = Decoder::new(engine.kernels()?, config, &weights, manner.slots).map_err(failed)?;
    let stories = tell(&mut decoder, &tokenizer, &prompts, manner)?;
    interrupt::check("no story was printed")?;

    for story in &stories {
        let text = if json { serde_json::to_string(story)? } else { format!("{}{}\n", story.text, if story.ended { "" } else { " …" }) };
        if !print(&format!("{text}\n"))? {
            break;
        }
    }
    Ok(())
}
