//! How a program starts and ends: a message on stderr and an exit code.
use std::process::ExitCode;

use crate::failure::Failure;

/// Runs a stage, reports its error on stderr and returns the exit code.
/// An error that is not a [`Failure`] is a bug in the program: exit code 1.
pub fn main(name: &str, run: impl FnOnce() -> anyhow::Result<()>) -> ExitCode {
    main_with_code(name, || run().map(|()| 0))
}

/// As [`main`], for a program whose exit code is that of another one.
pub fn main_with_code(name: &str, run: impl FnOnce() -> anyhow::Result<u8>) -> ExitCode {
    crate::platform::quiet_wayland();
    crate::interrupt::install();
    match run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let failure = error.chain().find_map(|cause| cause.downcast_ref::<Failure>());
            let code = failure.map_or(1, Failure::exit_code);
            let fields = failure.map(Failure::fields).unwrap_or_default();
            crate::log::report_error(name, code, &format!("{error:#}"), fields);
            ExitCode::from(code)
        }
    }
}
