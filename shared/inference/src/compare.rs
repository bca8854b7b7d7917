//! What the losses of tokens say of a model: sums by position in the context and by length of the story, and how sure they are.
use std::f64::consts::LN_2;

use rayon::prelude::*;
use stage::Random;

use crate::{LossSum, TokenLoss};

/// A story's sums.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StoryLoss {
    /// Sum of the losses, nats.
    pub nats: f64,
    /// Evaluated tokens, its end included.
    pub tokens: u64,
}

/// A sum over a range: of tokens seen before, or of a story's tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// Inclusive.
    pub from: u64,
    /// Inclusive.
    pub to: u64,
    /// Over the tokens in the range.
    pub sum: LossSum,
    /// Stories that have a token in it.
    pub stories: u64,
}

/// Sums over the tokens of one text under one model.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Over all tokens.
    pub sum: LossSum,
    /// Story by story, in the order of the text.
    pub stories: Vec<StoryLoss>,
    open: StoryLoss,
    by_position: Vec<LossSum>,
}

/// The bucket of a count: 1, 2, 3 to 4, 5 to 8, and so on in powers of two.
fn bucket(count: u64) -> usize {
    (64 - count.saturating_sub(1).leading_zeros()) as usize
}

/// Stories of up to this many tokens share a bucket.
const SHORTEST: u64 = 32;

impl Tally {
    /// Adds tokens, in order; `eos` ends a story.
    pub fn add(&mut self, tokens: &[TokenLoss], eos: u32) {
        for token in tokens {
            let nats = f64::from(token.loss);
            let at = bucket(token.seen as u64);
            if self.by_position.len() <= at {
                self.by_position.resize(at + 1, LossSum::default());
            }
            for sum in [&mut self.sum, &mut self.by_position[at]] {
                sum.nats += nats;
                sum.tokens += 1;
            }
            self.open.nats += nats;
            self.open.tokens += 1;
            if token.token == eos {
                self.stories.push(std::mem::take(&mut self.open));
            }
        }
    }

    /// Tokens after the last end of a story count as a story.
    pub fn finish(&mut self) {
        if self.open.tokens > 0 {
            self.stories.push(std::mem::take(&mut self.open));
        }
    }

    /// By tokens of its window that the model saw before the evaluated one.
    pub fn by_position(&self) -> Vec<Bucket> {
        let all = self.by_position.iter().enumerate().filter(|(_, sum)| sum.tokens > 0);
        all.map(|(i, &sum)| Bucket {
            from: if i == 0 { 1 } else { (1 << (i - 1)) + 1 },
            to: 1 << i,
            sum,
            stories: 0,
        })
        .collect()
    }

    /// By tokens of the story, its end included.
    pub fn by_length(&self) -> Vec<Bucket> {
        let mut buckets: Vec<Bucket> = Vec::new();
        let least = bucket(SHORTEST);
        for story in &self.stories {
            let i = bucket(story.tokens).max(least);
            while buckets.len() <= i - least {
                let i = buckets.len() + least;
                let from = if i == least { 1 } else { (1 << (i - 1)) + 1 };
                buckets.push(Bucket { from, to: 1 << i, sum: LossSum::default(), stories: 0 });
            }
            let bucket = &mut buckets[i - least];
            bucket.sum.nats += story.nats;
            bucket.sum.tokens += story.tokens;
            bucket.stories += 1;
        }
        buckets.retain(|bucket| bucket.stories > 0);
        buckets
    }
}

/// The middle 95 % of resamples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// 2.5 % of resamples are below.
    pub low: f64,
    /// 2.5 % of resamples are above.
    pub high: f64,
}

const RESAMPLES: usize = 1000;

/// Paired bootstrap over stories (Efron 1979; Koehn 2004 for pairs): stories are drawn with replacement, the same for every
/// model. `models[model][story]` are the nats of each story, `bytes` its length. Gives, for every model, the interval of
/// its bits per byte, and of their difference to the first model's.
pub fn bootstrap(models: &[Vec<f64>], bytes: &[f64]) -> Vec<(Interval, Interval)> {
    assert!(
        models.iter().all(|nats| nats.len() == bytes.len()),
        "every model has the same stories"
    );
    let n = bytes.len() as u64;
    if n == 0 {
        return vec![
            (
                Interval { low: f64::NAN, high: f64::NAN },
                Interval { low: f64::NAN, high: f64::NAN }
            );
            models.len()
        ];
    }
    let resample = |index: u64| {
        let mut random = Random::new(1, "bootstrap", index);
        let mut sums = vec![0.0; models.len()];
        let mut length = 0.0;
        for _ in 0..n {
            let story = random.below(n) as usize;
            length += bytes[story];
            sums.iter_mut().zip(models).for_each(|(sum, nats)| *sum += nats[story]);
        }
        sums.iter().map(|sum| sum / length / LN_2).collect::<Vec<f64>>()
    };
    let resamples: Vec<Vec<f64>> = (0..RESAMPLES as u64).into_par_iter().map(resample).collect();
    let interval = |value: &dyn Fn(&[f64]) -> f64| {
        let mut values: Vec<f64> = resamples.iter().map(|sample| value(sample)).collect();
        values.sort_by(f64::total_cmp);
        Interval { low: values[RESAMPLES / 40], high: values[RESAMPLES - 1 - RESAMPLES / 40] }
    };
    (0..models.len())
        .map(|m| (interval(&|sample| sample[m]), interval(&|sample| sample[m] - sample[0])))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_go_to_their_story_and_their_buckets() {
        let mut tally = Tally::default();
        let token = |token, seen, loss| TokenLoss { token, seen, loss };
        tally.add(&[token(5, 1, 1.0), token(6, 2, 2.0), token(0, 3, 3.0), token(7, 4, 4.0)], 0);
        tally.add(&[token(8, 5, 5.0)], 0);
        tally.finish();
        assert_eq!(tally.sum, LossSum { nats: 15.0, tokens: 5 });
        assert_eq!(
            tally.stories,
            [StoryLoss { nats: 6.0, tokens: 3 }, StoryLoss { nats: 9.0, tokens: 2 }]
        );
        let positions: Vec<_> =
            tally.by_position().iter().map(|b| (b.from, b.to, b.sum.nats)).collect();
        assert_eq!(positions, [(1, 1, 1.0), (2, 2, 2.0), (3, 4, 7.0), (5, 8, 5.0)]);
        let mut long = tally.clone();
        long.add(&vec![token(9, 9, 0.5); 40], 0);
        long.finish();
        let lengths: Vec<_> =
            long.by_length().iter().map(|b| (b.from, b.to, b.stories, b.sum.tokens)).collect();
        assert_eq!(lengths, [(1, 32, 2, 5), (33, 64, 1, 40)]);
    }

    #[test]
    fn intervals_are_as_wide_as_theory_says_and_pairs_make_them_narrow() {
        // 400 stories of 100 bytes: nats with standard deviation 10, the second model always 1 nat better.
        let mut random = Random::new(7, "test", 0);
        let first: Vec<f64> = (0..400).map(|_| 100.0 + 10.0 * random.normal_pair().0).collect();
        let second: Vec<f64> = first.iter().map(|nats| nats - 1.0).collect();
        let found = bootstrap(&[first.clone(), second.clone()], &[100.0; 400]);
        let mean = first.iter().sum::<f64>() / 400.0 / 100.0 / LN_2;
        let half = 1.96 * 10.0 / 20.0 / 100.0 / LN_2; // 1.96 sigma / sqrt(n), in bits per byte
        let Interval { low, high } = found[0].0;
        assert!(
            (low - (mean - half)).abs() < 0.2 * half && (high - (mean + half)).abs() < 0.2 * half,
            "{found:?} {mean} {half}"
        );
        let difference = -0.01 / LN_2;
        assert!(
            (found[1].1.low - difference).abs() < 1e-9
                && (found[1].1.high - difference).abs() < 1e-9,
            "{found:?}"
        );
        assert_eq!(found[0].1, Interval { low: 0.0, high: 0.0 });
        assert_eq!(
            found,
            bootstrap(&[first, second], &[100.0; 400]),
            "the same seed, the same intervals"
        );
    }
}
