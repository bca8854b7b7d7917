//! SIGINT, SIGTERM, SIGHUP and SIGUSR1: the first asks the stage to finish its file or step and stop, the second ends
//! it at once. Batch systems send SIGUSR1 before a time limit, a closed terminal sends SIGHUP.
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use crate::{Failure, Result, platform};

/// A terminal, the parent program and a scheduler may each pass on the same signal. Within this time they count as one.
const SAME_SIGNAL_MS: u64 = 200;

/// When the signal to stop arrived, in milliseconds since [`install`]; [`NONE`] before that.
static REQUESTED_MS: AtomicU64 = AtomicU64::new(NONE);
const NONE: u64 = u64::MAX;
static INSTALLED: OnceLock<Instant> = OnceLock::new();
/// A second signal is passed on instead of ending this process: see [`pass_on`].
static PASSED_ON: AtomicBool = AtomicBool::new(false);

/// The signal handler: only atomics and the clock may be used here.
fn on_signal(since_installed_ms: u64) {
    let first = REQUESTED_MS.compare_exchange(
        NONE,
        since_installed_ms,
        Ordering::Relaxed,
        Ordering::Relaxed,
    );
    let is_second =
        first.is_err_and(|first| since_installed_ms.saturating_sub(first) >= SAME_SIGNAL_MS);
    if is_second && !PASSED_ON.load(Ordering::Relaxed) {
        signal_hook::low_level::exit(130);
    }
}

/// Installs the handlers once. A platform that refuses them keeps its default: the signal ends the process.
pub fn install() {
    INSTALLED.get_or_init(|| {
        let installed = Instant::now();
        for signal in platform::heard_signals() {
            let act = move || {
                let since = u64::try_from(installed.elapsed().as_millis());
                on_signal(since.unwrap_or(NONE - 1));
            };
            // SAFETY: the action reads the clock, sets an atomic or exits: each may be done in a signal handler.
            let _ = unsafe { signal_hook::low_level::register(signal, act) };
        }
        installed
    });
}

/// From now on a signal also stops the program that this one has started: `act` passes it on, and so it does the second
/// one. (On Windows the console tells both.)
pub fn pass_on(act: impl Fn(i32) + Send + 'static) -> Result<()> {
    platform::hear_signals(act)
        .map_err(|e| Failure::try_again(format_args!("signals cannot be received: {e}")))?;
    PASSED_ON.store(true, Ordering::Relaxed);
    Ok(())
}

/// True once a signal has asked the stage to stop.
pub fn requested() -> bool {
    REQUESTED_MS.load(Ordering::Relaxed) != NONE
}

/// Forgets a signal that has been handled: at a prompt, Ctrl-C ends one story and not the program.
pub fn clear() {
    REQUESTED_MS.store(NONE, Ordering::Relaxed);
}

/// Ends the stage with exit code 130 if a signal asked for it. `kept` says what is kept.
pub fn check(kept: &str) -> Result<()> {
    if requested() { Err(Failure::interrupted(kept)) } else { Ok(()) }
}
