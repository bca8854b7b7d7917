//! Kernels that went scalar though the device has cooperative matrices: told after the first step, with their share of it.
use std::collections::BTreeMap;

/// Of a step's multiplications and additions: what is below is not worth a line.
const WORTH_TELLING: f64 = 0.01;

/// What was noted in the first step.
#[derive(Default)]
pub(super) struct Fallbacks {
    flop: f64,
    /// For a method and why it went scalar, multiplications and additions.
    noted: BTreeMap<(&'static str, String), f64>,
    told: bool,
}

impl Fallbacks {
    /// Multiplications and additions of any dispatch.
    pub(super) fn add(&mut self, flop: f64) {
        if !self.told {
            self.flop += flop;
        }
    }

    pub(super) fn note(&mut self, method: &'static str, flop: f64, reason: String) {
        if !self.told {
            *self.noted.entry((method, reason)).or_default() += flop;
        }
    }

    /// Ends the first step: a line for each of them that matters. Nothing after later steps.
    pub(super) fn end_step(&mut self) -> Vec<String> {
        self.told = true;
        let total = self.flop;
        let matters = |flop: f64| flop > WORTH_TELLING * total;
        std::mem::take(&mut self.noted)
            .into_iter()
            .filter(|(_, flop)| matters(*flop))
            .map(|((method, reason), flop)| {
                format!(
                    "{method} does not go on cooperative matrices, {:.0} % of a step's arithmetic: {reason}",
                    100.0 * flop / total
                )
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matters_is_told_once_with_its_share() {
        let mut fallbacks = Fallbacks::default();
        for flop in [900.0, 90.0, 10.0] {
            fallbacks.add(flop);
        }
        for _ in 0..2 {
            fallbacks.note("matmul_nt", 45.0, "320 x 33".into());
        }
        fallbacks.note("matmul_tn", 10.0, "small".into());
        let told = fallbacks.end_step();
        assert_eq!(
            told,
            ["matmul_nt does not go on cooperative matrices, 9 % of a step's arithmetic: 320 x 33"]
        );
        fallbacks.note("matmul_nt", 45.0, "320 x 33".into());
        assert!(fallbacks.end_step().is_empty());
    }
}
