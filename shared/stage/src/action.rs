//! What a user can do about a problem, as data. The libraries below the programs name settings and stages; only this file
//! knows how a user types them.
use std::fmt::{self, Display};

/// Displays as part of a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action<'a> {
    /// Run a stage, by its target.
    Run(&'a str),
    /// Run the same stage once more.
    RunAgain(&'a str),
    /// Run it although it says that it is up to date.
    RunForced(&'a str),
    /// One part of a stage's work, by its program: part, of how many.
    RunPart(&'a str, u32, u32),
    /// Give a setting, by its key, another value.
    Set(&'a str, &'a str),
    /// Give a program's option a value.
    Option(&'a str, &'a str),
    /// An option without a value.
    Switch(&'a str),
}

impl Display for Action<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Action::Run(target) => write!(f, "run `make {target}`"),
            Action::RunAgain(target) => write!(f, "run `make {target}` again"),
            Action::RunForced(target) => write!(f, "run `make {target} FORCE=1`"),
            Action::RunPart(program, part, of) => write!(f, "run {program} --shard {part}/{of}"),
            Action::Set(key, value) => write!(f, "--set {key}={value}"),
            Action::Option(name, value) => write!(f, "--{name} {value}"),
            Action::Switch(name) => write!(f, "--{name}"),
        }
    }
}
