//! `--wait SECONDS`: waiting for inputs from another machine, which a network file system may show late.
use std::time::{Duration, Instant};

use crate::{FailureKind, Log, Result, interrupt};

/// How often a waiting stage checks again.
const POLL: Duration = Duration::from_millis(250);

/// The option of stages that read what other stages have made.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Wait {
    /// Wait up to this number of seconds for inputs that are not there yet: a network file system may show them late
    #[arg(long = "wait", value_name = "SECONDS", default_value_t = 0)]
    seconds: u32,
}

impl Wait {
    /// Checks until the inputs are there and valid, or time is up.
    ///
    /// # Errors
    /// Those of the last look; 130 when interrupted.
    pub fn for_inputs<T>(self, log: &Log, mut look: impl FnMut() -> Result<T>) -> Result<T> {
        let until = Instant::now() + Duration::from_secs(self.seconds.into());
        let mut told = false;
        loop {
            match look() {
                Err(error) if error.kind == FailureKind::BadInput && Instant::now() < until => {
                    if !told {
                        let text = error.to_string();
                        let first = text.lines().next().unwrap_or_default();
                        log.say(format!("waiting up to {} s: {first}", self.seconds));
                    }
                    told = true;
                }
                result => return result,
            }
            interrupt::check("it was still waiting for its inputs")?;
            std::thread::sleep(POLL);
        }
    }
}
