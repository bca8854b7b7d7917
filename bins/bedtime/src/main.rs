//! One program for all stages of a pipeline: runs them as make does, and cleans up after them.
mod clean;
mod doctor;
mod new;
mod programs;
mod stages;

use clap::{Parser, Subcommand};

const AFTER_HELP: &str = "\
The default pipeline is quickstart: synthetic stories and a small model,
offline, in a few minutes. --pipeline takes a file, or the name of a pipeline
that comes with the program: quickstart, tinystories-3m, tinystories-10m. Files
go to out/NAME (--out DIR). A stage does nothing if its result is up to date,
and resumes where it was stopped.

Examples:
  bedtime all
  bedtime all --pipeline tinystories-3m --set train.steps=4000
  bedtime train --pipeline my.toml -- --max-minutes 60
  bedtime sample -- --prompt 'The little dog wanted' --n 3

Exit codes: 0 done, 2 wrong usage or settings, 3 bad input,
4 may work if tried again, 130 interrupted";

/// From stories to a small language model that tells them: runs the stages of a pipeline.
#[derive(Parser)]
#[command(version, after_help = AFTER_HELP)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    #[command(flatten)]
    Stages(stages::Command),
    New(new::New),
    Doctor(doctor::Doctor),
    Clean(clean::Clean),
}

fn main() -> std::process::ExitCode {
    let Args { command } = stage::cli::parse::<Args>();
    match command {
        Command::Stages(command) => command.main(),
        Command::New(new) => stage::main("bedtime", || new.run()),
        Command::Doctor(doctor) => stage::main("bedtime", || doctor.run()),
        Command::Clean(clean) => stage::main("bedtime", || clean.run()),
    }
}
