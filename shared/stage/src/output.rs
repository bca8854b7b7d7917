//! Results on stdout.
use std::io::{ErrorKind, Write};

use crate::{Failure, Result};

/// Prints a result. A reader that leaves early, as `head` does, has had enough: false.
///
/// # Errors
/// Exit code 4 when stdout cannot be written: a full disk behind it.
pub fn print(text: &str) -> Result<bool> {
    print_bytes(text.as_bytes())
}

/// As [`print`], for a result that is no text.
///
/// # Errors
/// Those of [`print`].
pub fn print_bytes(bytes: &[u8]) -> Result<bool> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::try_again(format!("stdout cannot be written: {error}"))),
        Ok(()) => Ok(true),
    }
}
