//! The learning rate: linear warm-up, then one of three ways down to a share of the peak.
use std::f64::consts::PI;

use stage::config::Train;
use stage::recipe::LrSchedule;

/// Warm-up from peak / warmup to `peak`, then down to a share of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// The way down.
    pub kind: LrSchedule,
    /// Largest learning rate.
    pub peak: f64,
    /// Steps of warm-up.
    pub warmup: u64,
    /// Steps in all.
    pub steps: u64,
    /// Share of the peak at the end.
    pub final_fraction: f64,
    /// Share of the steps after the warm-up in which `wsd` decays.
    pub decay_fraction: f64,
}

impl Schedule {
    /// The schedule that the settings ask for.
    pub fn new(train: &Train) -> Self {
        Schedule {
            kind: train.schedule,
            peak: train.lr,
            warmup: train.warmup,
            steps: train.steps,
            final_fraction: train.final_lr_fraction,
            decay_fraction: train.decay_fraction,
        }
    }

    /// Learning rate of `step`, counted from 0. The first step already learns: it has peak / warmup, not 0.
    pub fn learning_rate(&self, step: u64) -> f64 {
        self.learning_rate_at(step, 0.0)
    }

    /// Where time is limited, too: `share` of it has passed, and whichever ends first ends the schedule.
    pub fn learning_rate_at(&self, step: u64, share: f64) -> f64 {
        if step < self.warmup {
            return self.peak * (step + 1) as f64 / self.warmup as f64;
        }
        let span = self.steps.saturating_sub(self.warmup).max(1) as f64;
        let progress = ((step - self.warmup) as f64 / span).max(share).min(1.0);
        self.peak * (self.final_fraction + (1.0 - self.final_fraction) * self.height(progress))
    }

    /// From 1, where the warm-up ends, to 0 at the end.
    fn height(&self, progress: f64) -> f64 {
        match self.kind {
            LrSchedule::Cosine => 0.5 * (1.0 + (PI * progress).cos()),
            LrSchedule::Linear => 1.0 - progress,
            LrSchedule::Wsd if progress <= 1.0 - self.decay_fraction => 1.0,
            LrSchedule::Wsd => (1.0 - progress) / self.decay_fraction,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn house() -> Schedule {
        Schedule::new(&Train::default())
    }

    #[test]
    fn rises_to_the_peak_and_falls_to_a_tenth() {
        let schedule = house();
        assert!((schedule.learning_rate(0) - 3e-6).abs() < 1e-12);
        assert_eq!(schedule.learning_rate(199), 6e-4);
        assert_eq!(schedule.learning_rate(200), 6e-4);
        assert!((schedule.learning_rate(6_100) - 3.3e-4).abs() < 1e-9);
        assert!((schedule.learning_rate(11_999) - 6e-5).abs() < 1e-9);
        // A run of limited time is at its end when the time is, however many steps are left.
        assert!((schedule.learning_rate_at(500, 1.0) - 6e-5).abs() < 1e-12);
        assert_eq!(schedule.learning_rate_at(6_100, 0.2), schedule.learning_rate(6_100));
        assert_eq!(schedule.learning_rate_at(100, 0.9), schedule.learning_rate(100));
        let empty = Schedule { peak: 1.0, warmup: 0, steps: 0, ..house() };
        assert_eq!(empty.learning_rate(0), 1.0);
    }

    /// The learning rate of 0.2 to the bit: runs that began with it go on as they began.
    #[test]
    fn the_cosine_has_the_bits_it_had() {
        for step in 200..12_000 {
            let progress = (step - 200) as f64 / 11_800.0;
            let cosine = 0.5 * (1.0 + (PI * progress).cos());
            let expected: f64 = 6e-4 * (0.1 + (1.0 - 0.1) * cosine);
            assert_eq!(house().learning_rate(step).to_bits(), expected.to_bits(), "step {step}");
        }
    }

    /// Each schedule is its closed form, at every step and for every end.
    #[test]
    fn each_schedule_is_its_closed_form() {
        for final_fraction in [0.0, 0.1, 1.0] {
            let of = |kind| Schedule {
                kind,
                peak: 2e-3,
                warmup: 10,
                steps: 110,
                final_fraction,
                decay_fraction: 0.3,
            };
            for step in 0..=130 {
                let past = (step as f64 - 10.0).min(100.0);
                let down = 1.0 - final_fraction;
                let expected = [
                    (LrSchedule::Cosine, 1.0 - down * (PI * past / 200.0).sin().powi(2)),
                    (LrSchedule::Linear, 1.0 - down * past / 100.0),
                    (LrSchedule::Wsd, 1.0 - down * (past - 70.0).max(0.0) / 30.0),
                ];
                for (kind, height) in expected {
                    let height = if step < 10 { (step + 1) as f64 / 10.0 } else { height };
                    let found = of(kind).learning_rate(step);
                    assert!(
                        (found - 2e-3 * height).abs() < 1e-15,
                        "{kind:?} at {step}, end {final_fraction}: {found}, expected {}",
                        2e-3 * height
                    );
                }
            }
        }
    }

    #[test]
    fn a_decay_of_nothing_or_of_all_steps_is_what_it_says() {
        let of = |decay_fraction| Schedule { kind: LrSchedule::Wsd, decay_fraction, ..house() };
        let linear = Schedule { kind: LrSchedule::Linear, ..house() };
        for step in [0, 199, 200, 5_000, 11_999, 12_000, 20_000] {
            assert_eq!(of(1.0).learning_rate(step), linear.learning_rate(step), "step {step}");
            let constant = of(0.0).learning_rate(step);
            assert!(step < 200 || constant == 6e-4, "step {step}: {constant}");
        }
    }

    /// `train.max_minutes` ends every schedule.
    #[test]
    fn limited_time_ends_every_schedule() {
        for kind in [LrSchedule::Cosine, LrSchedule::Linear, LrSchedule::Wsd] {
            let schedule = Schedule { kind, ..house() };
            assert!((schedule.learning_rate_at(300, 1.0) - 6e-5).abs() < 1e-12, "{kind:?}");
            let half = schedule.learning_rate_at(6_100, 0.0);
            assert!((schedule.learning_rate_at(300, 0.5) - half).abs() < 1e-12, "{kind:?}");
        }
    }
}
