//! What concerns all stages of a pipeline together.
mod clean;

use clap::{Parser, Subcommand};

/// Looks after what the stages of a pipeline have made.
#[derive(Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Clean(clean::Clean),
}

fn main() -> std::process::ExitCode {
    stage::main("bedtime", || match Args::parse().command {
        Command::Clean(clean) => clean.run(),
    })
}
