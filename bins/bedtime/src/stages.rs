//! `bedtime all`, `bedtime data` and the single stages: what make does, on machines without make.
use std::ffi::OsString;
use std::process::ExitCode;

use serde_json::json;
use stage::config::STAGES;
use stage::{Stage, interrupt, print};

use crate::programs::{Program, Running, shell_words};

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// All stages, from stories to a model that tells them
    All(Several),
    /// The four data stages: fetch, tokenizer, tokenize, pack
    Data(Several),
    /// raw/: stories as verified parquet
    Fetch(One),
    /// tokenizer.json: byte-level BPE
    Tokenizer(One),
    /// tokens/: stories as ids
    Tokenize(One),
    /// train.bin and val.bin
    Pack(One),
    /// run/: the model
    Train(One),
    /// eval.json: loss, perplexity, bits per byte
    Eval(One),
    /// Stories on stdout
    Sample(One),
}

#[derive(clap::Args)]
pub(crate) struct Several {
    #[command(flatten)]
    common: stage::Common,
    /// Only print the commands
    #[arg(long)]
    dry_run: bool,
}

#[derive(clap::Args)]
pub(crate) struct One {
    #[command(flatten)]
    several: Several,
    /// Flags of the stage itself: bedtime sample -- --prompt 'Lily found a big' (`bedtime sample -- --help` lists them)
    #[arg(last = true, value_name = "FLAGS")]
    flags: Vec<OsString>,
}

/// The programs of all stages, in their order.
pub(crate) fn all() -> impl Iterator<Item = &'static str> {
    STAGES.iter().map(|(_, program)| *program)
}

/// The stages before training.
fn data() -> impl Iterator<Item = &'static str> {
    all().take_while(|program| *program != "train")
}

impl Command {
    pub(crate) fn main(self) -> ExitCode {
        stage::main_with_code("bedtime", || self.run())
    }

    fn run(self) -> anyhow::Result<u8> {
        let is_all = matches!(self, Command::All(_));
        let (programs, options) = match self {
            Command::All(several) => (all().collect(), several.alone()),
            Command::Data(several) => (data().collect(), several.alone()),
            Command::Fetch(one) => (vec!["fetch-parquet"], one),
            Command::Tokenizer(one) => (vec!["train-tokenizer"], one),
            Command::Tokenize(one) => (vec!["tokenize"], one),
            Command::Pack(one) => (vec!["pack-bin"], one),
            Command::Train(one) => (vec!["train"], one),
            Command::Eval(one) => (vec!["eval-ppl"], one),
            Command::Sample(one) => (vec!["sample"], one),
        };
        // Wrong settings and a missing program are reported before the first stage works for hours.
        let stage = options.several.common.open("bedtime", "fetch", &json!({}))?;
        let programs = programs
            .into_iter()
            .map(|name| Program::find(name, options.arguments(name)))
            .collect::<stage::Result<Vec<_>>>()?;
        if options.several.dry_run {
            let lines: Vec<String> = programs.iter().map(|program| program.line() + "\n").collect();
            print(&lines.concat())?;
            return Ok(0);
        }
        let running = Running::new()?;
        for program in &programs {
            interrupt::check("every stage that has ended")?;
            match program.run(&running)? {
                0 => {}
                code => return Ok(code), // the stage has said why
            }
        }
        if is_all {
            say_what_was_made(&stage, &options.arguments("sample"));
        }
        Ok(0)
    }
}

impl Several {
    fn alone(self) -> One {
        One { several: self, flags: Vec::new() }
    }
}

impl One {
    /// As in the Makefile: `sample` never makes a model anew.
    fn arguments(&self, program: &str) -> Vec<OsString> {
        let stage::Common { config, settings, out, force, threads, log } = &self.several.common;
        let mut arguments: Vec<OsString> = vec!["--config".into(), config.into()];
        if let Some(out) = out {
            arguments.extend(["--out".into(), out.into()]);
        }
        for setting in settings {
            arguments.extend(["--set".into(), setting.into()]);
        }
        if *force && program != "sample" {
            arguments.push("--force".into());
        }
        if let Some(threads) = threads {
            arguments.extend(["--threads".into(), threads.to_string().into()]);
        }
        if *log == stage::LogFormat::Json {
            arguments.extend(["--log".into(), "json".into()]);
        }
        arguments.extend(self.flags.iter().cloned());
        arguments
    }
}

fn say_what_was_made(stage: &Stage, options: &[OsString]) {
    for (name, what) in [
        ("run/final", "the model, as a Hugging Face folder"),
        ("eval.json", "its perplexity"),
        ("run/samples.md", "ten stories before and after training, side by side"),
    ] {
        stage.log.say(format!("made {}: {what}", stage.path(name).display()));
    }
    stage.log.say(format!(
        "next: bedtime sample {} -- --prompt 'The little dog wanted'",
        shell_words(options)
    ));
}
