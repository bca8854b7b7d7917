//! What an engine cannot do, with what to do about it.
use stage::{Action, Problem};

pub(crate) const CPU: Action = Action::Option("device", "cpu");
pub(crate) const LIST_DEVICES: Action = Action::Switch("list-devices");

/// The variant says what kind of trouble it is, the problem what was found, what was expected, and the remedy.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EngineError {
    /// There is no such GPU, or none that can be used.
    #[error("{0}")]
    NoDevice(Box<Problem>),
    /// The GPU lacks what was asked of it.
    #[error("{0}")]
    Unsupported(Box<Problem>),
    /// A shader does not compile.
    #[error("{0}")]
    Shader(Box<Problem>),
    /// The GPU computed the probe's product wrongly.
    #[error("{0}")]
    Probe(Box<Problem>),
    /// The buffers do not fit.
    #[error("{problem}")]
    OutOfMemory {
        /// What to say of it.
        problem: Box<Problem>,
        /// Bytes asked for in all.
        needed: u64,
        /// Bytes that could be had.
        available: u64,
    },
    /// The GPU went away: reset, unplugged, driver restarted, machine slept.
    #[error("{0}")]
    DeviceLost(Box<Problem>),
}

impl EngineError {
    /// What to say of it.
    pub fn problem(&self) -> &Problem {
        match self {
            EngineError::NoDevice(problem)
            | EngineError::Unsupported(problem)
            | EngineError::Shader(problem)
            | EngineError::Probe(problem)
            | EngineError::OutOfMemory { problem, .. }
            | EngineError::DeviceLost(problem) => problem,
        }
    }
}

impl From<EngineError> for Box<Problem> {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::NoDevice(problem)
            | EngineError::Unsupported(problem)
            | EngineError::Shader(problem)
            | EngineError::Probe(problem)
            | EngineError::OutOfMemory { problem, .. }
            | EngineError::DeviceLost(problem) => problem,
        }
    }
}
