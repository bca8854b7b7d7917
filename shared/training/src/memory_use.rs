//! How much memory a run takes, in words.
use indicatif::HumanBytes;

/// What the process and the engine's buffers take.
pub(crate) fn memory(device_bytes: u64) -> String {
    let process = memory_stats::memory_stats().map(|stats| stats.physical_mem as u64);
    match process {
        Some(process) => {
            format!("memory {} (buffers {})", HumanBytes(process), HumanBytes(device_bytes))
        }
        None => format!("buffers {}", HumanBytes(device_bytes)),
    }
}
