//! SIGINT and SIGTERM: the first asks the stage to finish its file or step and stop, the second ends it at once.
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use crate::{Failure, Result};

static REQUESTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Installs the handlers once. A platform that refuses them keeps its default: the signal ends the process.
pub fn install() {
    REQUESTED.get_or_init(|| {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
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
