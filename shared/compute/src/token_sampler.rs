//! Which token comes next: repetition penalty, temperature, top-k, top-p, min-p, in the order that transformers applies them.
use std::cmp::Ordering;

use crate::cpu::math::{exp, max_of, sum_of};

/// How freely the next token is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenSampler {
    /// Divides the logits; 0 takes the likeliest token.
    pub temperature: f32,
    /// Only the k likeliest tokens (0, or more than there are: all).
    pub top_k: usize,
    /// Only the likeliest tokens that together reach this probability (Holtzman et al., arXiv 1904.09751).
    pub top_p: f32,
    /// Only tokens at least this share as likely as the likeliest (Nguyen et al., arXiv 2407.01082).
    pub min_p: f32,
    /// Logits of tokens that came before are divided by it, negative ones multiplied (Keskar et al., arXiv 1909.05858).
    pub repetition_penalty: f32,
}

impl TokenSampler {
    /// Nothing but a temperature.
    pub const fn plain(temperature: f32) -> Self {
        TokenSampler { temperature, top_k: 0, top_p: 1.0, min_p: 0.0, repetition_penalty: 1.0 }
    }

    /// Picks a token. `earlier` are the tokens of the story so far; `unit` is uniform in [0, 1).
    pub fn pick(&self, logits: &[f32], earlier: &[u32], unit: f64) -> u32 {
        if self.repetition_penalty != 1.0 && !earlier.is_empty() {
            let mut logits = logits.to_vec();
            let mut earlier = earlier.to_vec();
            earlier.sort_unstable();
            earlier.dedup();
            for id in earlier {
                if let Some(logit) = logits.get_mut(id as usize) {
                    *logit = if *logit > 0.0 {
                        *logit / self.repetition_penalty
                    } else {
                        *logit * self.repetition_penalty
                    };
                }
            }
            return self.pick_from(&logits, unit);
        }
        self.pick_from(logits, unit)
    }

    fn pick_from(&self, logits: &[f32], unit: f64) -> u32 {
        let best = largest(logits);
        if self.temperature == 0.0 || self.top_k == 1 {
            // Ties go to the lower id, as argmax does elsewhere.
            return logits.iter().position(|&logit| logit == best).unwrap_or(0) as u32;
        }
        let likelier = |&a: &u32, &b: &u32| {
            let (x, y) = (logits[a as usize], logits[b as usize]);
            y.partial_cmp(&x).unwrap_or(Ordering::Equal).then(a.cmp(&b))
        };
        let mut ids: Vec<u32> = match self.top_k {
            k if k > 0 && k < logits.len() => {
                let mut ids = at_least(logits, bound(logits, k));
                if ids.len() > k {
                    ids.select_nth_unstable_by(k - 1, likelier);
                    ids.truncate(k);
                }
                ids.sort_unstable_by(likelier);
                ids
            }
            _ => (0..logits.len() as u32).collect(),
        };
        let mut weights = ids.iter().map(|&id| logits[id as usize]).collect::<Vec<f32>>();
        let mut total = weights_of(&mut weights, best, self.temperature);
        if self.top_p < 1.0 {
            // What all tokens no likelier than this have together is less than what may be left out.
            let least = total * (1.0 - f64::from(self.top_p)) / logits.len() as f64;
            let mut kept: Vec<(u32, f32)> = ids
                .into_iter()
                .zip(weights)
                .filter(|&(_, weight)| f64::from(weight) >= least)
                .collect();
            kept.sort_unstable_by(|(a, _), (b, _)| likelier(a, b));
            let enough = total * f64::from(self.top_p);
            let mut sum = 0.0;
            let reaches = |&(_, weight): &(u32, f32)| {
                sum += f64::from(weight);
                sum >= enough
            };
            let last = kept.iter().position(reaches).unwrap_or(kept.len().saturating_sub(1));
            kept.truncate(last + 1);
            (ids, weights) = kept.into_iter().unzip();
            total = weights.iter().map(|&weight| f64::from(weight)).sum();
        }
        if self.min_p > 0.0 {
            // The likeliest token has weight 1.
            for weight in weights.iter_mut().filter(|weight| **weight < self.min_p) {
                *weight = 0.0;
            }
            total = weights.iter().map(|&weight| f64::from(weight)).sum();
        }
        let mut left = unit * total;
        let mut last = 0;
        for (&id, &weight) in ids.iter().zip(&weights).filter(|&(_, &weight)| weight > 0.0) {
            left -= f64::from(weight);
            last = id;
            if left < 0.0 {
                break;
            }
        }
        last
    }
}

/// Logarithm of the probability that the model itself gives a token, nats: nothing of a [`TokenSampler`] is in it.
pub fn log_probability(logits: &[f32], token: u32) -> f32 {
    let max = largest(logits);
    (f64::from(logits[token as usize] - max) - f64::from(sum_of_exp(logits, max)).ln()) as f32
}

/// A logit that at least k logits reach: the k-th largest of the largest of every 32.
fn bound(logits: &[f32], k: usize) -> f32 {
    let mut peaks: Vec<f32> = logits
        .chunks(32)
        .map(|part| part.iter().copied().fold(f32::NEG_INFINITY, f32::max))
        .collect();
    if peaks.len() <= k {
        return f32::NEG_INFINITY;
    }
    let (_, bound, _) = peaks.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
    *bound
}

fn at_least(logits: &[f32], bound: f32) -> Vec<u32> {
    // What is not a number is kept: it is no likelier than anything.
    (0..logits.len() as u32)
        .filter(|&id| logits[id as usize] >= bound || logits[id as usize].is_nan())
        .collect()
}

#[multiversion::multiversion(targets("x86_64+avx512f", "x86_64+avx2+fma"))]
fn largest(logits: &[f32]) -> f32 {
    max_of(logits)
}

#[multiversion::multiversion(targets("x86_64+avx512f", "x86_64+avx2+fma"))]
fn sum_of_exp(logits: &[f32], max: f32) -> f32 {
    sum_of([logits], |[logit]| exp(logit - max))
}

/// `values = e^((values - best) / temperature)`, and their sum.
#[multiversion::multiversion(targets("x86_64+avx512f", "x86_64+avx2+fma"))]
fn weights_of(values: &mut [f32], best: f32, temperature: f32) -> f64 {
    values.iter_mut().for_each(|value| *value = exp((*value - best) / temperature));
    values.iter().map(|&value| f64::from(value)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 5] = [1.0, 3.0, 2.0, 3.0, -1.0];

    fn share_after(sampler: TokenSampler, earlier: &[u32]) -> [f64; 5] {
        let mut counts = [0.0; 5];
        for i in 0..10_000 {
            counts[sampler.pick(&LOGITS, earlier, (f64::from(i) + 0.5) / 10_000.0) as usize] +=
                1e-4;
        }
        counts
    }

    fn share(sampler: TokenSampler) -> [f64; 5] {
        share_after(sampler, &[])
    }

    #[test]
    fn zero_temperature_takes_the_likeliest_and_ties_the_lower_id() {
        assert_eq!(TokenSampler::plain(0.0).pick(&LOGITS, &[], 0.99), 1);
        assert_eq!(
            TokenSampler { top_k: 1, ..TokenSampler::plain(2.0) }.pick(&LOGITS, &[], 0.99),
            1
        );
        assert_eq!(TokenSampler::plain(1e-6).pick(&LOGITS, &[], 0.25), 1);
    }

    #[test]
    fn shares_are_those_of_the_softmax_over_what_is_kept() {
        let total: f64 = LOGITS.iter().map(|&l| f64::from(l).exp()).sum();
        let all = share(TokenSampler::plain(1.0));
        for (found, logit) in all.iter().zip(LOGITS) {
            assert!((found - f64::from(logit).exp() / total).abs() < 1e-3, "{all:?}");
        }
        for top_k in [5, 6, 1_000_000] {
            assert_eq!(share(TokenSampler { top_k, ..TokenSampler::plain(1.0) }), all);
        }
        let two = share(TokenSampler { top_k: 2, ..TokenSampler::plain(1.0) });
        assert!((two[1] - 0.5).abs() < 1e-3 && (two[3] - 0.5).abs() < 1e-3, "{two:?}");
        // 1 and 3 together have 0.75 of the weight; 0.8 needs 2 as well.
        let nucleus = share(TokenSampler { top_p: 0.8, ..TokenSampler::plain(1.0) });
        assert!(nucleus[2] > 0.1 && nucleus[0] == 0.0 && nucleus[4] == 0.0, "{nucleus:?}");
        let hot = share(TokenSampler::plain(100.0));
        assert!(hot.iter().all(|s| (s - 0.2).abs() < 0.02), "{hot:?}");
        // Token 2 is e^-1 = 0.37 as likely as the likeliest, token 0 e^-2 = 0.14.
        let near = share(TokenSampler { min_p: 0.3, ..TokenSampler::plain(1.0) });
        assert!(near[2] > 0.1 && near[0] == 0.0 && near[4] == 0.0, "{near:?}");
        let nearer = share(TokenSampler { min_p: 0.4, ..TokenSampler::plain(1.0) });
        assert!((nearer[1] - 0.5).abs() < 1e-3 && nearer[2] == 0.0, "{nearer:?}");
    }

    #[test]
    fn what_came_before_is_less_likely() {
        // By 3: 3 becomes 1, -1 becomes -3, each once however often it came.
        let penalised = TokenSampler { repetition_penalty: 3.0, ..TokenSampler::plain(1.0) };
        let found = share_after(penalised, &[1, 4, 1, 1, 4]);
        let logits: [f64; 5] = [1.0, 1.0, 2.0, 3.0, -3.0];
        let total: f64 = logits.iter().map(|l| l.exp()).sum();
        for (found, logit) in found.iter().zip(logits) {
            assert!((found - logit.exp() / total).abs() < 1e-3, "{found}");
        }
        assert_eq!(TokenSampler { temperature: 0.0, ..penalised }.pick(&LOGITS, &[1], 0.5), 3);
    }

    #[test]
    fn top_k_of_many_is_that_of_a_sort() {
        let logits: Vec<f32> =
            (0..8000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 20) as f32 / 256.0).collect();
        let mut ids: Vec<u32> = (0..8000).collect();
        ids.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b)));
        for k in [2, 50, 249, 250, 251, 7999] {
            let sampler = TokenSampler { top_k: k, ..TokenSampler::plain(1e6) };
            let mut found: Vec<u32> = (0..4 * k)
                .map(|i| sampler.pick(&logits, &[], (i as f64 + 0.5) / (4 * k) as f64))
                .collect();
            found.sort_unstable();
            found.dedup();
            let mut expected = ids[..k].to_vec();
            expected.sort_unstable();
            assert!(found == expected, "top {k}");
        }
    }

    #[test]
    fn log_probabilities_are_those_of_the_model() {
        let total: f64 = LOGITS.iter().map(|&l| f64::from(l).exp()).sum();
        for (token, logit) in LOGITS.iter().enumerate() {
            assert!(
                (f64::from(log_probability(&LOGITS, token as u32))
                    - (f64::from(*logit) - total.ln()))
                .abs()
                    < 1e-6
            );
        }
    }
}
