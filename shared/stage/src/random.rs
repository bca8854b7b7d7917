//! Randomness as a pure function: a stream depends on (seed, purpose, index) and nothing else, so the batch of any step,
//! the order of any shard and the words of any story can be computed directly.
#![allow(clippy::indexing_slicing)] // indices are computed here, none is read
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// One stream of ChaCha8 (Bernstein 2008; 8 rounds, value-stable across platforms).
#[derive(Clone, Debug)]
pub struct Random(ChaCha8Rng);

impl Random {
    /// `purpose` keeps the streams of different uses of one seed apart; `index` is a step, story or sequence.
    pub fn new(seed: u64, purpose: &str, index: u64) -> Self {
        // FNV-1a of the purpose: a fixed, documented mapping of a short label to 64 bits.
        let label = purpose.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| {
            (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)
        });
        let mut key = [0u8; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&label.to_le_bytes());
        let mut rng = ChaCha8Rng::from_seed(key);
        rng.set_stream(index);
        Random(rng)
    }

    /// Uniform over all of 64 bits.
    pub fn u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Uniform in `0..n` (`n` > 0) without bias: Lemire's multiply and reject (arXiv 1805.10941).
    pub fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "an empty range has no element");
        let threshold = n.wrapping_neg() % n;
        loop {
            let product = u128::from(self.u64()) * u128::from(n);
            if product as u64 >= threshold {
                return (product >> 64) as u64;
            }
        }
    }

    /// Uniform in [0, 1) with 53 bits.
    pub fn unit(&mut self) -> f64 {
        (self.u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Two independent N(0, 1) values (Box and Muller 1958).
    pub fn normal_pair(&mut self) -> (f64, f64) {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * self.unit()).sin_cos();
        (radius * cos, radius * sin)
    }

    /// Fisher and Yates' shuffle.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_pure_functions_and_differ() {
        let draw = |seed, purpose, index| {
            let mut random = Random::new(seed, purpose, index);
            [random.u64(), random.u64()]
        };
        assert_eq!(draw(1, "batch", 7), draw(1, "batch", 7));
        let all =
            [draw(1, "batch", 7), draw(2, "batch", 7), draw(1, "order", 7), draw(1, "batch", 8)];
        for i in 0..4 {
            for j in 0..i {
                assert_ne!(all[i], all[j]);
            }
        }
    }

    #[test]
    fn below_is_uniform_and_normal_has_unit_variance() {
        let mut random = Random::new(3, "test", 0);
        let mut counts = [0u32; 6];
        for _ in 0..60_000 {
            counts[random.below(6) as usize] += 1;
        }
        assert!(counts.iter().all(|&c| (9_600..10_400).contains(&c)), "{counts:?}");
        let values: Vec<f64> =
            (0..50_000).flat_map(|_| <[f64; 2]>::from(random.normal_pair())).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
        assert!(
            mean.abs() < 0.02 && (variance - 1.0).abs() < 0.02,
            "mean {mean}, variance {variance}"
        );
    }

    #[test]
    fn shuffle_keeps_every_item() {
        let mut items: Vec<u32> = (0..1000).collect();
        Random::new(1, "shuffle", 0).shuffle(&mut items);
        assert_ne!(items[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        items.sort_unstable();
        assert!(items.iter().copied().eq(0..1000));
    }
}
