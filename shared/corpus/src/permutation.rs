//! The order of an epoch: a permutation of any number of items, any place of which can be had directly, without memory.
use stage::Random;

/// Rounds: 4 to 6 for each bit of a number of items make it as good as a shuffle.
const ROUNDS: usize = 128;

/// A permutation of `0..len`, a pure function of (seed, purpose, index): the swap-or-not shuffle (Hoang, Morris and Rogaway,
/// arXiv 1208.1176).
pub(crate) struct Permutation {
    len: u64,
    /// Of each round: what pairs the items, and what decides which pairs swap.
    rounds: Vec<(u64, u64)>,
}

impl Permutation {
    pub(crate) fn new(len: u64, seed: u64, purpose: &str, index: u64) -> Self {
        let mut random = Random::new(seed, purpose, index);
        let rounds = (0..ROUNDS).map(|_| (random.below(len), random.u64())).collect();
        Permutation { len, rounds }
    }

    /// The item at `place`, which is less than `len`.
    pub(crate) fn at(&self, place: u64) -> u64 {
        let mut item = place;
        for &(key, salt) in &self.rounds {
            // key - item modulo len: the item's partner, whose partner it is.
            let partner = if key >= item { key - item } else { self.len - (item - key) };
            if mixed(salt ^ item.max(partner)) & 1 == 1 {
                item = partner;
            }
        }
        item
    }
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014): every bit of the result depends on every bit of `x`.
fn mixed(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_comes_once_for_any_length() {
        for len in (1..=70).chain([127, 128, 129, 1000, 65_537]) {
            for index in 0..3 {
                let order = Permutation::new(len, 1, "test", index);
                let mut items: Vec<u64> = (0..len).map(|place| order.at(place)).collect();
                items.sort_unstable();
                assert!(items.into_iter().eq(0..len), "{len}, {index}");
            }
        }
        // The largest length there can be.
        let order = Permutation::new(u64::MAX, 1, "test", 0);
        assert_ne!(order.at(u64::MAX - 1), order.at(0));
    }

    #[test]
    fn it_is_a_pure_function_and_seeds_and_indices_differ() {
        let of = |seed, index| {
            let order = Permutation::new(1000, seed, "test", index);
            (0..20).map(|place| order.at(place)).collect::<Vec<_>>()
        };
        assert_eq!(of(1, 0), of(1, 0));
        assert_ne!(of(1, 0), of(2, 0));
        assert_ne!(of(1, 0), of(1, 1));
    }

    /// Over many indices each item is as often at each place, and each pair of neighbours as often side by side.
    #[test]
    fn orders_are_uniform() {
        const LEN: usize = 6;
        const ORDERS: u64 = 30_000;
        let (mut places, mut pairs) = ([[0u32; LEN]; LEN], [[0u32; LEN]; LEN]);
        for index in 0..ORDERS {
            let order = Permutation::new(LEN as u64, 7, "test", index);
            let items: Vec<usize> = (0..LEN as u64).map(|place| order.at(place) as usize).collect();
            items.iter().enumerate().for_each(|(place, &item)| places[place][item] += 1);
            items.windows(2).for_each(|pair| pairs[pair[0]][pair[1]] += 1);
        }
        // 5,000 each, with a standard deviation of 65: five of them.
        assert!(places.iter().flatten().all(|count| (4_675..5_325).contains(count)), "{places:?}");
        for (a, row) in pairs.iter().enumerate() {
            for (b, count) in row.iter().enumerate() {
                assert!(a == b || (4_675..5_325).contains(count), "{a} before {b}: {count}");
            }
        }
    }

    /// As a shuffle has: one fixed point on average, and neighbours that land far apart.
    #[test]
    fn long_orders_have_the_figures_of_a_shuffle() {
        let len = 10_000u64;
        let (mut fixed, mut distance) = (0, 0.0);
        for index in 0..20 {
            let order = Permutation::new(len, 3, "test", index);
            let items: Vec<u64> = (0..len).map(|place| order.at(place)).collect();
            fixed += items.iter().zip(0..).filter(|(item, place)| **item == *place).count();
            distance += items.windows(2).map(|w| w[0].abs_diff(w[1]) as f64).sum::<f64>();
        }
        assert!((5..=40).contains(&fixed), "{fixed} fixed points in 20 orders, 20 expected");
        let mean = distance / (20.0 * (len - 1) as f64) / len as f64;
        assert!((mean - 1.0 / 3.0).abs() < 0.005, "{mean}, a third expected");
    }
}
