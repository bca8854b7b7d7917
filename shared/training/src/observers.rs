//! All observers of a run, called in order.
use stage::{Failure, Result};

use crate::log_line::LogLine;
use crate::observer::{RunEvent, RunObserver, Status, StepMetrics};
use crate::stories::StoriesAt;

pub(crate) struct Observers {
    all: Vec<Box<dyn RunObserver>>,
    /// Something is not written, and that was said.
    behind: bool,
}

impl Observers {
    pub(crate) fn new(all: Vec<Box<dyn RunObserver>>) -> Self {
        Observers { all, behind: false }
    }

    pub(crate) fn step(&mut self, step: &StepMetrics, status: &Status) {
        self.all.iter_mut().for_each(|observer| observer.step(step, status));
    }

    /// A disk that is full gets the line later.
    pub(crate) fn line(&mut self, line: &LogLine, status: &Status) {
        let failures: Vec<Failure> =
            self.all.iter_mut().filter_map(|observer| observer.line(line, status).err()).collect();
        self.say_once(failures);
    }

    pub(crate) fn event(&mut self, event: &RunEvent) {
        self.all.iter_mut().for_each(|observer| observer.event(event));
    }

    pub(crate) fn stories(&mut self, stories: &StoriesAt) {
        let failures: Vec<Failure> =
            self.all.iter_mut().filter_map(|observer| observer.stories(stories).err()).collect();
        if !failures.is_empty() {
            self.say_once(failures);
        }
    }

    pub(crate) fn back_to(&mut self, step: u64) -> Result<()> {
        self.all.iter_mut().try_for_each(|observer| observer.back_to(step))
    }

    pub(crate) fn flush(&mut self) -> Result<()> {
        self.all.iter_mut().try_for_each(|observer| observer.flush())
    }

    pub(crate) fn trained(&mut self) {
        self.all.iter_mut().for_each(|observer| observer.trained());
    }

    pub(crate) fn end(&mut self, state: &str, status: &Status) {
        self.all.iter_mut().for_each(|observer| observer.end(state, status));
    }

    pub(crate) fn seconds_beside(&self) -> f64 {
        self.all.iter().map(|observer| observer.seconds_beside()).sum()
    }

    fn say_once(&mut self, failures: Vec<Failure>) {
        if let Some(failure) = failures.first().filter(|_| !self.behind) {
            self.event(&RunEvent::warning(format!(
                "{failure}\n  the training goes on; what could not be written is tried again"
            )));
        }
        self.behind = !failures.is_empty();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::Mutex;

    use super::*;

    /// Writes down what it is told; its disk takes a line only where `takes` says so.
    struct Recorder {
        takes: fn(u64) -> bool,
        told: Arc<Mutex<Vec<String>>>,
    }

    impl RunObserver for Recorder {
        fn line(&mut self, line: &LogLine, _: &Status) -> Result<()> {
            self.told.lock().unwrap().push(format!("line {}", line.step));
            if (self.takes)(line.step) { Ok(()) } else { Err(Failure::try_again("full")) }
        }

        fn event(&mut self, event: &RunEvent) {
            self.told.lock().unwrap().push(event.text.lines().next().unwrap_or_default().into());
        }
    }

    #[test]
    fn a_full_disk_is_said_once_each_time_and_keeps_no_line_from_the_other_observers() {
        let told = Arc::<Mutex<Vec<String>>>::default();
        let recorder = |takes| Box::new(Recorder { takes, told: told.clone() });
        let mut observers = Observers::new(vec![
            recorder(|step| step != 2 && step != 3 && step != 5),
            recorder(|_| true),
        ]);
        for step in 1..6 {
            let line = LogLine {
                step,
                loss: 1.0,
                lr: 1.0,
                grad_norm: None,
                tokens_per_second: 1.0,
                elapsed_s: 1.0,
                val_loss: None,
                loss_scale: None,
            };
            observers.line(&line, &Status::default());
        }
        let told = told.lock().unwrap().clone();
        let count = |text: &str| told.iter().filter(|told| *told == text).count();
        assert!((1..6).all(|step| count(&format!("line {step}")) == 2), "{told:?}");
        assert_eq!(count("full"), 2 * 2, "{told:?}"); // two observers, two times that it began
    }
}
