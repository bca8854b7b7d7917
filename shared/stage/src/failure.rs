//! What can go wrong, in words a person can act on, and the exit code each kind has.
use std::fmt::Display;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::process::ExitCode;

pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// Why a stage ended without its result. The variant decides the exit code.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    /// 2: the command line or the pipeline file is wrong, or the output cannot be written there.
    #[error("{0}")]
    Usage(String),
    /// 3: an input is missing, damaged or does not fit.
    #[error("{0}")]
    BadInput(String),
    /// 4: the same command may work later: network, disk full, device lost.
    #[error("{0}")]
    TryAgain(String),
    /// 130: stopped by a signal; everything finished is kept.
    #[error("interrupted: {0}")]
    Interrupted(String),
}

impl Failure {
    pub fn usage(message: impl Into<String>) -> Self {
        Failure::Usage(message.into())
    }

    /// A bad input file: which one, what was found (with row, line or byte), what was expected, what to do.
    pub fn input(
        file: &Path,
        found: impl Display,
        expected: impl Display,
        remedy: impl Display,
    ) -> Self {
        Failure::BadInput(format!(
            "{}: {found}\n  expected: {expected}\n  remedy: {remedy}",
            file.display()
        ))
    }

    pub fn try_again(message: impl Into<String>) -> Self {
        Failure::TryAgain(message.into())
    }

    /// For `map_err`: an I/O error while reading `path`.
    pub fn reading(path: &Path) -> impl FnOnce(io::Error) -> Failure + '_ {
        move |error| match error.kind() {
            ErrorKind::NotFound => Failure::input(
                path,
                "not found",
                "an existing file",
                "check the path, or run the stage that makes it",
            ),
            ErrorKind::PermissionDenied => Failure::input(
                path,
                "permission denied",
                "a readable file",
                "change its permissions",
            ),
            ErrorKind::UnexpectedEof | ErrorKind::InvalidData => {
                Failure::input(path, error, "a whole file", "run the stage that makes it again")
            }
            _ => Failure::TryAgain(format!(
                "{}: reading failed: {error}\n  remedy: check the disk, then run the same command again",
                path.display()
            )),
        }
    }

    /// For `map_err`: an I/O error while writing `path`.
    pub fn writing(path: &Path) -> impl FnOnce(io::Error) -> Failure + '_ {
        move |error| {
            let name = path.display();
            match error.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Failure::TryAgain(format!(
                    "{name}: the disk is full\n  kept: every file already under its final name\n  remedy: free space or set another folder (--out DIR), then run the same command again"
                )),
                ErrorKind::PermissionDenied
                | ErrorKind::ReadOnlyFilesystem
                | ErrorKind::NotADirectory
                | ErrorKind::IsADirectory
                | ErrorKind::AlreadyExists => Failure::Usage(format!(
                    "{name}: cannot be written: {error}\n  expected: a folder this user may write to\n  remedy: set another one with --out DIR"
                )),
                _ => Failure::TryAgain(format!(
                    "{name}: writing failed: {error}\n  remedy: check the disk, then run the same command again"
                )),
            }
        }
    }

    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Usage(_) => 2,
            Failure::BadInput(_) => 3,
            Failure::TryAgain(_) => 4,
            Failure::Interrupted(_) => 130,
        }
    }
}

/// On a machine without a desktop Vulkan's drivers ask libwayland, which then writes an error to stderr that is none.
fn quiet_wayland() {
    if cfg!(target_os = "linux") && std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // SAFETY: the first thing that a program does: there is no other thread yet that could read the environment.
        unsafe { std::env::set_var("XDG_RUNTIME_DIR", std::env::temp_dir()) };
    }
}

/// Runs a stage and turns its end into words on stderr and an exit code.
/// An error that is no [`Failure`] is a fault of the program: exit code 1.
pub fn main(name: &str, run: impl FnOnce() -> anyhow::Result<()>) -> ExitCode {
    quiet_wayland();
    crate::interrupt::install();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = error
                .chain()
                .find_map(|cause| cause.downcast_ref::<Failure>())
                .map_or(1, Failure::exit_code);
            crate::log::report_error(name, code, &format!("{error:#}"));
            ExitCode::from(code)
        }
    }
}
