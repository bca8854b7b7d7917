//! What an engine cannot do, with what to do about it.

/// Each message says what was found, what was expected, and the remedy.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EngineError {
    /// There is no such GPU, or none that can be used.
    #[error("{0}")]
    NoDevice(String),
    /// The GPU lacks what was asked of it.
    #[error("{0}")]
    Unsupported(String),
    /// A shader does not compile.
    #[error("{0}")]
    Shader(String),
    /// The GPU computed the probe's product wrongly.
    #[error("{0}")]
    Probe(String),
    /// The buffers do not fit: bytes asked for in all, and bytes that could be had.
    #[error("{message}")]
    OutOfMemory { message: String, needed: u64, available: u64 },
    /// The GPU went away: reset, unplugged, driver restarted, machine slept.
    #[error("{0}")]
    DeviceLost(String),
}
