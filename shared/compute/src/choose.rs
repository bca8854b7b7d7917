//! Which token comes next: temperature, top-k, top-p.
use std::cmp::Ordering;

/// How freely the next token is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// Divides the logits; 0 takes the likeliest token.
    pub temperature: f32,
    /// Only the k likeliest tokens (0: all).
    pub top_k: usize,
    /// Only the likeliest tokens that together reach this probability (Holtzman et al., arXiv 1904.09751).
    pub top_p: f32,
}

impl Choice {
    /// Picks a token. `unit` is uniform in [0, 1).
    pub fn pick(&self, logits: &[f32], unit: f64) -> u32 {
        // Ties go to the lower id, as argmax does elsewhere.
        let likelier = |&a: &usize, &b: &usize| logits[b].partial_cmp(&logits[a]).unwrap_or(Ordering::Equal).then(a.cmp(&b));
        let mut ids: Vec<usize> = (0..logits.len()).collect();
        if self.temperature == 0.0 {
            return ids.into_iter().min_by(likelier).unwrap_or(0) as u32;
        }
        if self.top_k > 0 && self.top_k < ids.len() {
            ids.select_nth_unstable_by(self.top_k - 1, likelier);
            ids.truncate(self.top_k);
        }
        ids.sort_unstable_by(likelier);
        let Some(&first) = ids.first() else { return 0 };
        let weight = |&id: &usize| (f64::from(logits[id] - logits[first]) / f64::from(self.temperature)).exp();
        let mut weights: Vec<f64> = ids.iter().map(weight).collect();
        if self.top_p < 1.0 {
            let enough = weights.iter().sum::<f64>() * f64::from(self.top_p);
            let mut sum = 0.0;
            let reaches = |weight: &f64| {
                sum += weight;
                sum >= enough
            };
            let last = weights.iter().position(reaches).unwrap_or(weights.len() - 1);
            weights.truncate(last + 1);
        }
        let mut left = unit * weights.iter().sum::<f64>();
        for (&id, weight) in ids.iter().zip(&weights) {
            left -= weight;
            if left < 0.0 {
                return id as u32;
            }
        }
        ids[weights.len() - 1] as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 5] = [1.0, 3.0, 2.0, 3.0, -1.0];

    fn share(choice: Choice) -> [f64; 5] {
        let mut counts = [0.0; 5];
        for i in 0..10_000 {
            counts[choice.pick(&LOGITS, (f64::from(i) + 0.5) / 10_000.0) as usize] += 1e-4;
        }
        counts
    }

    #[test]
    fn zero_temperature_takes_the_likeliest_and_ties_the_lower_id() {
        assert_eq!(Choice { temperature: 0.0, top_k: 0, top_p: 1.0 }.pick(&LOGITS, 0.99), 1);
    }

    #[test]
    fn shares_are_those_of_the_softmax_over_what_is_kept() {
        let total: f64 = LOGITS.iter().map(|&l| f64::from(l).exp()).sum();
        let all = share(Choice { temperature: 1.0, top_k: 0, top_p: 1.0 });
        for (found, logit) in all.iter().zip(LOGITS) {
            assert!((found - f64::from(logit).exp() / total).abs() < 1e-3, "{all:?}");
        }
        let two = share(Choice { temperature: 1.0, top_k: 2, top_p: 1.0 });
        assert!((two[1] - 0.5).abs() < 1e-3 && (two[3] - 0.5).abs() < 1e-3, "{two:?}");
        // 1 and 3 together have 0.75 of the weight; 0.8 needs 2 as well.
        let nucleus = share(Choice { temperature: 1.0, top_k: 0, top_p: 0.8 });
        assert!(nucleus[2] > 0.1 && nucleus[0] == 0.0 && nucleus[4] == 0.0, "{nucleus:?}");
        let hot = share(Choice { temperature: 100.0, top_k: 0, top_p: 1.0 });
        assert!(hot.iter().all(|s| (s - 0.2).abs() < 0.02), "{hot:?}");
    }
}
