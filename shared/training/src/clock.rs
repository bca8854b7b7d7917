//! Time spent training, apart from time spent looking at it.
use std::time::{Duration, Instant};

pub(crate) struct Clock {
    started: Instant,
    /// Seconds of earlier parts of the run.
    earlier_s: f64,
    training: Duration,
    tokens: u64,
}

impl Clock {
    pub(crate) fn start(earlier_s: f64) -> Self {
        Clock { started: Instant::now(), earlier_s, training: Duration::ZERO, tokens: 0 }
    }

    pub(crate) fn trained(&mut self, time: Duration, tokens: u64) {
        self.training += time;
        self.tokens += tokens;
    }

    /// Seconds of the run so far, earlier parts included.
    pub(crate) fn elapsed_s(&self) -> f64 {
        self.earlier_s + self.started.elapsed().as_secs_f64()
    }

    /// Tokens per second of training since the last call.
    pub(crate) fn tokens_per_second(&mut self) -> f64 {
        let rate = self.tokens as f64 / self.training.as_secs_f64().max(1e-9);
        (self.training, self.tokens) = (Duration::ZERO, 0);
        rate
    }

    /// Seconds that this number of steps takes, at the rate of `done` steps since the start.
    pub(crate) fn seconds_for(&self, steps: u64, done: u64) -> f64 {
        self.started.elapsed().as_secs_f64() / done.max(1) as f64 * steps as f64
    }
}
