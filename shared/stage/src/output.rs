//! Results on stdout.
use std::io::{ErrorKind, IsTerminal, Write};

use crate::{Failure, Result};

/// Prints a result. Returns false when the reader has left early, as `head` does.
///
/// On a terminal, control characters are escaped: prompts, names and stories are untrusted text.
///
/// # Errors
/// Exit code 4 when stdout cannot be written: a full disk behind it.
pub fn print(text: &str) -> Result<bool> {
    match std::io::stdout().is_terminal() {
        true => print_bytes(crate::shown(text).as_bytes()),
        false => print_bytes(text.as_bytes()),
    }
}

/// As [`print()`], for a binary result.
///
/// # Errors
/// Those of [`print()`].
pub fn print_bytes(bytes: &[u8]) -> Result<bool> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(unwritable(&error)),
        Ok(()) => Ok(true),
    }
}

/// What the stage made is complete by then: only its output is lost.
fn unwritable(error: &std::io::Error) -> Failure {
    let found = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "no space where its output goes".to_owned()
        }
        _ => error.to_string(),
    };
    Failure::try_again(found)
        .at("stdout")
        .expected("a terminal, a pipe or a file with room")
        .kept("every file already under its final name")
        .remedy("free space or send the output elsewhere, then run the same command again")
}
