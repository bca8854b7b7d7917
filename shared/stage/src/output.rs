//! Results on stdout.
use std::io::{ErrorKind, IsTerminal, Write};

use crate::{Failure, Result};

/// Prints a result. A reader that leaves early, as `head` does, has had enough: false.
///
/// On a terminal, what would steer it is written out: prompts, names and stories are text of others.
///
/// # Errors
/// Exit code 4 when stdout cannot be written: a full disk behind it.
pub fn print(text: &str) -> Result<bool> {
    match std::io::stdout().is_terminal() {
        true => print_bytes(crate::shown(text).as_bytes()),
        false => print_bytes(text.as_bytes()),
    }
}

/// As [`print()`], for a result that is no text.
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

/// What the stage made is whole by then: only its words are lost.
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
