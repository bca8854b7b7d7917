//! How much of a text stands in a packed bin word for word.
//!
//! The text is indexed, not the bin: every run of [`SHORTEST`] of its tokens by its hash. The bin passes by once with a rolling
//! hash (Karp and Rabin 1987), in parts on all threads; where a hash is known the tokens are compared, and a match is followed to
//! its end. Memory depends on the text alone.
#![allow(clippy::indexing_slicing)] // indices are computed here, none is read
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};

use rayon::prelude::*;
use stage::{Result, interrupt};

use crate::bin::Bin;

/// Matches of fewer tokens are not looked for.
pub const SHORTEST: usize = 8;
/// Matches of this many tokens count as copied: about a sentence and a half.
pub const COUNTED: usize = 16;
/// Odd, with bits everywhere.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
/// Tokens of the bin read at once.
const PART: u64 = 1 << 16;

/// Of one text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Tokens of the longest match; 0 where it has fewer than [`SHORTEST`].
    pub longest: usize,
    /// Tokens inside matches of at least [`COUNTED`].
    pub tokens: usize,
}

fn hash(ids: &[u32]) -> u64 {
    ids.iter().fold(0, |hash: u64, &id| hash.wrapping_mul(FACTOR).wrapping_add(u64::from(id) + 1))
}

/// What of each text, given as ids, the bin holds.
///
/// # Errors
/// 130 when interrupted.
pub fn copied(bin: &Bin, texts: &[Vec<u32>]) -> Result<Vec<Copied>> {
    let mut places: HashMap<u64, Vec<(u32, u32)>> = HashMap::new();
    for (t, ids) in texts.iter().enumerate() {
        for (i, run) in ids.windows(SHORTEST).enumerate() {
            places.entry(hash(run)).or_default().push((t as u32, i as u32));
        }
    }
    // One bit per hash keeps nearly all of the bin away from the map.
    let bits = (places.len() * 64).next_power_of_two().max(1024);
    let mut filter = vec![0u64; bits / 64];
    let slot = |hash: u64| (hash >> 20) as usize & (bits - 1);
    for &hash in places.keys() {
        filter[slot(hash) / 64] |= 1 << (slot(hash) % 64);
    }
    // Length of the longest match that begins at each token of each text.
    let longest: Vec<Vec<AtomicU32>> =
        texts.iter().map(|ids| ids.iter().map(|_| AtomicU32::new(0)).collect()).collect();
    let oldest = (0..SHORTEST - 1).fold(1u64, |power, _| power.wrapping_mul(FACTOR));
    let starts = bin.len().saturating_sub(SHORTEST as u64 - 1);
    (0..starts.div_ceil(PART)).into_par_iter().try_for_each(|part| {
        interrupt::check("nothing was written")?;
        let first = part * PART;
        let here = (starts - first).min(PART) as usize;
        let mut ids = vec![0; here + SHORTEST - 1];
        bin.copy(first, &mut ids)?;
        let mut rolling = hash(&ids[..SHORTEST - 1]);
        for at in 0..here {
            rolling =
                rolling.wrapping_mul(FACTOR).wrapping_add(u64::from(ids[at + SHORTEST - 1]) + 1);
            if filter[slot(rolling) / 64] >> (slot(rolling) % 64) & 1 == 1
                && let Some(places) = places.get(&rolling)
            {
                let before = match at {
                    0 => token_before(bin, first)?,
                    _ => Some(ids[at - 1]),
                };
                for &(t, i) in places {
                    let (text, i) = (&texts[t as usize], i as usize);
                    // A match is followed from its first token only.
                    if i > 0 && before == Some(text[i - 1]) {
                        continue;
                    }
                    let length = common(bin, first + at as u64, &text[i..])?;
                    longest[t as usize][i].fetch_max(length as u32, Ordering::Relaxed);
                }
            }
            rolling = rolling.wrapping_sub((u64::from(ids[at]) + 1).wrapping_mul(oldest));
        }
        Ok(())
    })?;
    let of_text = |longest: Vec<AtomicU32>| {
        let mut copied = Copied::default();
        let mut covered_to = 0;
        for (i, length) in
            longest.into_iter().map(|length| length.into_inner() as usize).enumerate()
        {
            copied.longest = copied.longest.max(if length >= SHORTEST { length } else { 0 });
            if length >= COUNTED && i + length > covered_to {
                copied.tokens += i + length - covered_to.max(i);
                covered_to = i + length;
            }
        }
        copied
    };
    Ok(longest.into_iter().map(of_text).collect())
}

fn token_before(bin: &Bin, at: u64) -> Result<Option<u32>> {
    let Some(at) = at.checked_sub(1) else { return Ok(None) };
    let mut id = [0];
    bin.copy(at, &mut id)?;
    Ok(Some(id[0]))
}

/// Tokens that the bin from `at` on and `ids` begin with in common.
fn common(bin: &Bin, at: u64, ids: &[u32]) -> Result<usize> {
    let mut length = 0;
    let mut piece = [0; 32];
    loop {
        let here = (ids.len() - length).min(piece.len()).min((bin.len() - at) as usize - length);
        bin.copy(at + length as u64, &mut piece[..here])?;
        let same = piece[..here].iter().zip(&ids[length..]).take_while(|(a, b)| a == b).count();
        length += same;
        if same < here || here == 0 {
            return Ok(length);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bin::tests::write_bin;

    #[test]
    fn matches_by_hand() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train.bin");
        // A bin longer than a part, every token different for a long while.
        let id = |i: u64| ((i * 7919) % 50_021) as u32;
        let ids: Vec<u32> = (0..2 * PART + 100).map(id).collect();
        write_bin(&path, &ids, 60_000);
        let bin = Bin::open(&path).unwrap();
        let run = |from: u64, n: u64| (from..from + n).map(id).collect::<Vec<u32>>();
        let strange = |n: usize| vec![55_555u32; n];
        let texts = vec![
            run(10, 40),                                         // all of it
            [strange(3), run(100, 16), strange(2)].concat(),     // just long enough
            [strange(3), run(100, 15), strange(2)].concat(),     // one too few
            [run(200, 20), run(5_000, 30), strange(1)].concat(), // two matches side by side
            run(300, 7),                                         // too short to be looked for
            run(PART - 9, 25),                                   // across the border of two parts
            run(2 * PART + 80, 20),                              // the end of the bin
            [run(2 * PART + 80, 20), strange(9)].concat(),
            vec![],
        ];
        let found = copied(&bin, &texts).unwrap();
        let expected =
            [(40, 40), (16, 16), (15, 0), (30, 50), (0, 0), (25, 25), (20, 20), (20, 20), (0, 0)]
                .map(|(longest, tokens)| Copied { longest, tokens });
        assert_eq!(found, expected);
    }

    #[test]
    fn overlapping_matches_count_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train.bin");
        let text: Vec<u32> = (1..=40).collect();
        // Tokens 1 to 25 stand in one place, 11 to 40 in another.
        write_bin(&path, &[&text[..25], &[0], &text[10..], &[0]].concat(), 100);
        let bin = Bin::open(&path).unwrap();
        assert_eq!(copied(&bin, &[text]).unwrap(), [Copied { longest: 30, tokens: 40 }]);
    }
}
