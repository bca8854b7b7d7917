//! SIGINT, SIGTERM, SIGHUP and SIGUSR1: the first asks the stage to finish its file or step and stop, the second ends
//! it at once. Batch systems send SIGUSR1 before a time limit, a closed terminal sends SIGHUP.
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use crate::{Failure, Result};

static REQUESTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

#[cfg(unix)]
const SIGNALS: &[i32] = {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
    &[SIGINT, SIGTERM, SIGHUP, SIGUSR1]
};
#[cfg(not(unix))]
const SIGNALS: &[i32] = &[signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM];

/// SIGHUP stays ignored where `nohup` made it so. (A script's `&` ignores SIGINT, which its user may well send.)
#[cfg(unix)]
fn is_left_alone(signal: i32) -> bool {
    if signal != signal_hook::consts::SIGHUP {
        return false;
    }
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: asks for the present action of a signal; `action` is large enough, and all zeros are one.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

#[cfg(not(unix))]
fn is_left_alone(_signal: i32) -> bool {
    false
}

/// Installs the handlers once. A platform that refuses them keeps its default: the signal ends the process.
pub fn install() {
    REQUESTED.get_or_init(|| {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in SIGNALS.iter().copied() {
            if is_left_alone(signal) {
                continue;
            }
            // Order matters: the shutdown handler reads the flag before the next one sets it.
            let _ = signal_hook::flag::register_conditional_shutdown(signal, 130, flag.clone());
            let _ = signal_hook::flag::register(signal, flag.clone());
        }
        flag
    });
}

/// True once a signal asked for the end.
pub fn requested() -> bool {
    REQUESTED.get().is_some_and(|flag| flag.load(Ordering::Relaxed))
}

/// Forgets a signal that has been answered: a person at a prompt ended one story, not the program.
pub fn clear() {
    if let Some(flag) = REQUESTED.get() {
        flag.store(false, Ordering::Relaxed);
    }
}

/// Ends the stage with exit code 130 if a signal asked for it; `kept` says what stays.
pub fn check(kept: &str) -> Result<()> {
    if requested() { Err(Failure::Interrupted(kept.to_owned())) } else { Ok(()) }
}
