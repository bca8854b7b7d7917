//! Generates stories from a trained model and prompts.
mod export;
mod interactive;
mod lines;
mod printer;
mod quality;
mod rate;
mod ready_model;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use inference::{GenerationEvent, Prompts, SamplingParams, generate_each};
use printer::Printer;
use ready_model::ReadyModel;
use serde::Serialize;
use stage::{Failure, Result, Stage, interrupt};

/// Tell stories.
#[derive(Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    after_help = "\
Reads OUT/run/final and prints stories to stdout in order, on a terminal word by word.

Examples:
  sample --prompt 'Lily found a big' --n 3
  sample --interactive
  sample --temperature 0 --json > stories.jsonl
  sample --temperatures 0.5,0.8,1.2 --n 1        stories at three temperatures and a table of quality figures
  sample --quality --n 20                        the table alone
  sample --rate --model A --against B            rate stories of two models without knowing whose they are
  sample export --type q8_0 bedtime.gguf

Exit codes: 0 done, 2 wrong usage or settings, 3 bad input, 4 may work if tried again, 130 interrupted"
)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    common: stage::Common,
    #[command(flatten)]
    flags: Flags,
    /// The model: a folder of any LlamaForCausalLM, or a checkpoint [default: OUT/run/final]
    #[arg(long, value_name = "MODEL")]
    model: Option<PathBuf>,
    /// One JSON object per story: prompt, text, tokens, logprobs (of the model itself, nats), ended
    #[arg(long, conflicts_with_all = ["interactive", "rate"])]
    json: bool,
    /// Ask for prompts, with history, and tell one story (or --n) for each
    #[arg(long, conflicts_with_all = ["quality", "rate"])]
    interactive: bool,
    /// Print a table of quality figures: endings, length, variety, text copied from OUT/train.bin
    #[arg(long)]
    quality: bool,
    /// Show stories of --model and --against in mixed order and ask for grammar, coherence and fun, 0 to 5 each
    #[arg(long, requires = "against", conflicts_with = "quality")]
    rate: bool,
    /// The other model of --rate
    #[arg(long, value_name = "MODEL", requires = "rate")]
    against: Option<PathBuf>,
    /// File of the ratings; rated stories are not shown again [default: OUT/ratings.jsonl]
    #[arg(long, value_name = "FILE", requires = "rate")]
    ratings: Option<PathBuf>,
}

#[derive(clap::Subcommand)]
enum Command {
    Export(export::Export),
}

/// Each flag is short for the key of the same name in `[sample]`.
#[derive(clap::Args, Serialize)]
struct Flags {
    /// auto, cpu, gpu or gpu:N (see train --list-devices)
    #[arg(long)]
    device: Option<String>,
    /// Activation precision on a GPU: f32, f16, bf16 or auto; q8 on the CPU: 8-bit weights, more than twice as fast
    #[arg(long)]
    precision: Option<String>,
    /// Stories generated in parallel; changes only the speed
    #[arg(long)]
    batch: Option<u32>,
    /// How a story begins (repeatable)
    #[arg(long = "prompt", value_name = "TEXT", conflicts_with = "prompts_file")]
    prompts: Option<Vec<String>>,
    /// Prompts from a file, one a line
    #[arg(long = "prompts", value_name = "FILE")]
    prompts_file: Option<String>,
    /// Stories per prompt
    #[arg(long)]
    n: Option<u32>,
    /// Longest continuation
    #[arg(long)]
    max_tokens: Option<u32>,
    /// 0 always takes the most likely token; higher values are more varied
    #[arg(long, value_parser = finite, allow_negative_numbers = true)]
    temperature: Option<f32>,
    /// Stories at each of these temperatures, and a table of quality figures
    #[arg(long, value_parser = finite, allow_negative_numbers = true, value_delimiter = ',', value_name = "LIST")]
    temperatures: Option<Vec<f32>>,
    /// Sample from this many most likely tokens (0: all)
    #[arg(long)]
    top_k: Option<u32>,
    /// Sample from the most likely tokens that together have this probability
    #[arg(long, value_parser = finite, allow_negative_numbers = true)]
    top_p: Option<f32>,
    /// Sample from tokens at least this fraction as likely as the most likely one
    #[arg(long, value_parser = finite, allow_negative_numbers = true)]
    min_p: Option<f32>,
    /// Make tokens that are already in the story less likely (1: no penalty; 1.1 is mild)
    #[arg(long, value_parser = finite, allow_negative_numbers = true)]
    repetition_penalty: Option<f32>,
    /// The same seed gives the same stories
    #[arg(long)]
    seed: Option<u64>,
}

/// Settings travel as TOML text, which has no number for these.
fn finite(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ => Err("expected a number".to_owned()),
    }
}

fn main() -> ExitCode {
    stage::main("sample", run)
}

fn run() -> anyhow::Result<()> {
    let args = stage::cli::parse::<Args>();
    if let Some(Command::Export(export)) = args.command {
        return export.run();
    }
    let stage = args.common.open("sample", "sample", &args.flags)?;
    stage.use_threads()?;
    let section = &stage.pipeline.sample;
    let mut params = SamplingParams::new(section);
    params.logprobs = args.json;
    if let (true, Some(against)) = (args.rate, &args.against) {
        let prompts = prompts(&stage, section.n)?;
        let ratings = args.ratings.unwrap_or_else(|| stage.path("ratings.jsonl"));
        return Ok(rate::run(
            &stage,
            [args.model.as_deref(), Some(against)],
            &prompts,
            params,
            &ratings,
        )?);
    }
    let prompts = prompts(&stage, section.n)?;
    let stories = if args.interactive { section.n as usize } else { prompts.len() };
    let mut model = ReadyModel::open(&stage, args.model.as_deref(), stories)?;
    if args.interactive {
        return Ok(interactive::run(&mut model, &stage, args.flags.n.unwrap_or(1), params)?);
    }
    model.warn_of_long(&stage, prompts.texts())?;
    if args.quality || !section.temperatures.is_empty() {
        return Ok(quality::run(&mut model, &stage, &prompts, params, args.json, args.quality)?);
    }
    let mut printer = Printer::new(&model.tokenizer, args.json);
    let (mut stories, mut tokens) = (0, 0);
    let started = Instant::now();
    generate_each(&mut model.decoder, &model.tokenizer, &prompts, 0, params, |event| {
        if let GenerationEvent::Finished { story, .. } = &event {
            (stories, tokens) = (stories + 1, tokens + story.tokens.len());
        }
        printer.on_event(event)
    })?;
    printer.finish()?;
    interrupt::check(&format!("{stories} of {} stories were told", prompts.len()))?;
    let seconds = started.elapsed().as_secs_f64();
    stage.log.say(format!(
        "{stories} stories, {tokens} tokens in {seconds:.2} s ({:.0} tokens/s)",
        tokens as f64 / seconds
    ));
    Ok(())
}

/// Every prompt, repeated for each of its stories.
fn prompts(stage: &Stage, n: u32) -> Result<Prompts> {
    let section = &stage.pipeline.sample;
    let prompts = match &section.prompts_file {
        None => section.prompts.clone(),
        Some(file) => read_prompts(Path::new(file))?,
    };
    Ok(Prompts::new(prompts, n as usize))
}

/// One prompt per line; empty lines are ignored.
fn read_prompts(path: &Path) -> Result<Vec<String>> {
    let bytes = stage::read(path)?;
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count() + 1;
        Failure::input(
            path,
            "no UTF-8",
            "UTF-8 text, one prompt a line",
            "convert it: iconv -f LATIN1 -t UTF-8",
        )
        .at(format_args!("line {line}, byte {}", error.valid_up_to()))
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let prompts: Vec<String> =
        text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect();
    if prompts.is_empty() {
        return Err(Failure::input(
            path,
            "no prompt in it",
            "one prompt a line",
            "write some, or use --prompt",
        ));
    }
    Ok(prompts)
}
