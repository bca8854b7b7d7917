//! How often each piece occurs: what a tokenizer is trained on. Counted by many threads, each in a small table of its
//! own that it empties into one of all when it is full, so memory grows with the different words and not with the text.
#![allow(clippy::indexing_slicing)] // indices are computed here, none is read
use std::collections::HashMap;

use parking_lot::{Mutex, MutexGuard};

use super::cache::{Key, LongCache, SHORT};
use super::split::{Sink, Starts, split};

/// Different short pieces that one thread keeps for itself, and slots for them.
const LOCAL_WORDS: usize = 1 << 15;
const LOCAL_SLOTS: usize = 1 << 16;
/// Bytes of long pieces that one thread keeps for itself.
const LOCAL_LONG_BYTES: usize = 1 << 20;
/// Parts of the table of all, so that threads seldom wait for one another.
const PARTS: usize = 64;

type Words = HashMap<Box<[u8]>, u64>;

/// The table of all threads.
pub struct WordCounts {
    parts: [Mutex<Words>; PARTS],
}

impl Default for WordCounts {
    fn default() -> Self {
        WordCounts { parts: std::array::from_fn(|_| Mutex::default()) }
    }
}

impl WordCounts {
    /// A counter for one thread. What it has counted is in here once it is dropped.
    pub fn counter(&self) -> Counter<'_> {
        let short = vec![(Key(0, 0), 0); LOCAL_SLOTS];
        Counter {
            starts: Starts::default(),
            tables: Tables { all: self, short, words: 0, long: Words::new(), long_bytes: 0 },
        }
    }

    /// All words with their counts, sorted: the same for any number of threads.
    pub fn into_sorted(self) -> Vec<(Box<[u8]>, u64)> {
        let parts = self.parts.into_iter().flat_map(|part| part.into_inner());
        let mut words: Vec<_> = parts.collect();
        words.sort_unstable();
        words
    }

    fn part(&self, hash: u64) -> MutexGuard<'_, Words> {
        self.parts[(hash >> 32) as usize % PARTS].lock()
    }

    fn add(&self, piece: &[u8], hash: u64, count: u64) {
        let mut words = self.part(hash);
        match words.get_mut(piece) {
            Some(found) => *found += count,
            None => drop(words.insert(piece.into(), count)),
        }
    }
}

/// Counts the pieces of one text after the other.
pub struct Counter<'a> {
    starts: Starts,
    tables: Tables<'a>,
}

struct Tables<'a> {
    all: &'a WordCounts,
    /// Short pieces and how often they came since the table was emptied; 0: a free slot.
    short: Vec<(Key, u64)>,
    words: usize,
    long: Words,
    long_bytes: usize,
}

impl Counter<'_> {
    /// Counts the words of a text.
    pub fn add(&mut self, text: &str) {
        split(text, &mut self.starts, &mut self.tables);
    }
}

impl Drop for Tables<'_> {
    fn drop(&mut self) {
        self.empty();
    }
}

impl Sink for Tables<'_> {
    #[inline(always)]
    fn pieces(&mut self, text: &[u8], starts: &[usize]) {
        if self.words >= LOCAL_WORDS || self.long_bytes >= LOCAL_LONG_BYTES {
            self.empty();
        }
        for piece in starts.windows(2) {
            let (start, end) = (piece[0], piece[1]);
            if end - start > SHORT {
                self.count_long(&text[start..end]);
                continue;
            }
            let key = match text
                .get(start..start + 16)
                .and_then(|bytes| <[u8; 16]>::try_from(bytes).ok())
            {
                Some(sixteen) => Key::new(sixteen, end - start),
                None => Key::of(&text[start..end]),
            };
            let mut at = key.hash() as usize % LOCAL_SLOTS;
            loop {
                let slot = &mut self.short[at];
                if slot.0 == key && slot.1 > 0 {
                    slot.1 += 1;
                    break;
                }
                if slot.1 == 0 {
                    *slot = (key, 1);
                    self.words += 1;
                    break;
                }
                at = (at + 1) % LOCAL_SLOTS;
            }
        }
    }
}

impl Tables<'_> {
    #[inline(never)]
    fn count_long(&mut self, piece: &[u8]) {
        match self.long.get_mut(piece) {
            Some(count) => *count += 1,
            None => {
                self.long.insert(piece.into(), 1);
                self.long_bytes += piece.len();
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn empty(&mut self) {
        for (key, count) in self.short.iter_mut().filter(|(_, count)| *count > 0) {
            let (bytes, length) = key.bytes();
            self.all.add(&bytes[..length], key.hash(), std::mem::take(count));
        }
        for (piece, count) in self.long.drain() {
            self.all.add(&piece, LongCache::hash(&piece), count);
        }
        (self.words, self.long_bytes) = (0, 0);
    }
}
