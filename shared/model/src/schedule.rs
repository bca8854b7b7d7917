//! The learning rate: linear warm-up, then a cosine down to a tenth of the peak.

/// Warm-up from peak / warmup to `peak`, then half a cosine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// Largest learning rate.
    pub peak: f64,
    /// Steps of warm-up.
    pub warmup: u64,
    /// Steps in all.
    pub steps: u64,
}

impl Schedule {
    /// The last learning rate over the peak.
    pub const FINAL_SHARE: f64 = 0.1;

    /// Learning rate of `step`, counted from 0. The first step already learns: it has peak / warmup, not 0.
    pub fn learning_rate(&self, step: u64) -> f64 {
        self.learning_rate_at(step, 0.0)
    }

    /// Where time is limited, too: `share` of it has passed, and whichever ends first ends the cosine.
    pub fn learning_rate_at(&self, step: u64, share: f64) -> f64 {
        if step < self.warmup {
            return self.peak * (step + 1) as f64 / self.warmup as f64;
        }
        let span = self.steps.saturating_sub(self.warmup).max(1) as f64;
        let progress = ((step - self.warmup) as f64 / span).max(share).min(1.0);
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * progress).cos());
        self.peak * (Self::FINAL_SHARE + (1.0 - Self::FINAL_SHARE) * cosine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_to_the_peak_and_falls_to_a_tenth() {
        let schedule = Schedule { peak: 6e-4, warmup: 200, steps: 12_000 };
        assert!((schedule.learning_rate(0) - 3e-6).abs() < 1e-12);
        assert_eq!(schedule.learning_rate(199), 6e-4);
        assert_eq!(schedule.learning_rate(200), 6e-4);
        assert!((schedule.learning_rate(6_100) - 3.3e-4).abs() < 1e-9);
        assert!((schedule.learning_rate(11_999) - 6e-5).abs() < 1e-9);
        // A run of limited time is at its end when the time is, however many steps are left.
        assert!((schedule.learning_rate_at(500, 1.0) - 6e-5).abs() < 1e-12);
        assert_eq!(schedule.learning_rate_at(6_100, 0.2), schedule.learning_rate(6_100));
        assert_eq!(schedule.learning_rate_at(100, 0.9), schedule.learning_rate(100));
        assert_eq!(Schedule { peak: 1.0, warmup: 0, steps: 0 }.learning_rate(0), 1.0);
    }
}
