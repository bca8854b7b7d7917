//! Ids of the pieces seen so far, shared by all threads: reading takes no lock, and what one thread merged is warm for
//! the others. Nothing is ever changed or thrown out; a full cache takes no more, so its memory is bounded. What is in
//! it decides how fast a piece is encoded, never what its ids are.
#![allow(clippy::indexing_slicing)] // indices are computed here, none is read
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use memmap2::MmapMut;

/// Longest piece of the cache of short pieces: with its length it is a key of 16 bytes.
pub(super) const SHORT: usize = 15;
/// Longest piece of the cache of long pieces.
pub(super) const LONG: usize = 160;

const SHORT_SLOTS: usize = 1 << 18;
const LONG_SLOTS: usize = 1 << 17;
/// 64-bit words of long pieces and their ids.
const LONG_WORDS: usize = 1 << 20;
/// Slots looked at before a piece counts as absent.
const PROBES: usize = 8;
/// Slots that may be taken: above this, probing gets long.
const FULL: usize = SHORT_SLOTS / 2;

/// A piece of up to [`SHORT`] bytes: zero-padded, the length in the last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key(pub u64, pub u64);

impl Key {
    /// From the 16 bytes at the piece's start, of which the first `length` are the piece.
    #[inline(always)]
    pub(super) fn new(sixteen: [u8; 16], length: usize) -> Self {
        const KEEP: [[u64; 2]; SHORT + 1] = {
            let mut keep = [[0; 2]; SHORT + 1];
            let mut length = 1;
            while length <= SHORT {
                let ones = u128::MAX >> (128 - 8 * length);
                keep[length] = [ones as u64, (ones >> 64) as u64];
                length += 1;
            }
            keep
        };
        let number = u128::from_le_bytes(sixteen);
        let keep = KEEP[length];
        Key(number as u64 & keep[0], (number >> 64) as u64 & keep[1] | (length as u64) << 56)
    }

    pub(super) fn of(piece: &[u8]) -> Self {
        let mut sixteen = [0; 16];
        sixteen[..piece.len()].copy_from_slice(piece);
        Key::new(sixteen, piece.len())
    }

    #[inline(always)]
    pub(super) fn hash(self) -> u64 {
        fold(self.0 ^ 0x9e37_79b9_7f4a_7c15, self.1 ^ 0xd1b5_4a32_d192_ed03)
    }

    /// The piece.
    pub(super) fn bytes(self) -> ([u8; 16], usize) {
        let bytes = (u128::from(self.0) | u128::from(self.1) << 64).to_le_bytes();
        (bytes, bytes[15] as usize)
    }
}

/// Both halves of a 128-bit product.
#[inline(always)]
pub(super) fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// Up to seven ids of 16 bits or three of 32, and in the last 16 bits how many.
pub(super) type Packed = [u64; 2];

/// Ids that an entry has room for.
pub(super) const fn room(narrow: bool) -> usize {
    if narrow { 7 } else { 3 }
}

/// None where an entry has no room for them.
pub(super) fn pack(ids: &[u32], narrow: bool) -> Option<Packed> {
    let bits = if narrow { 16 } else { 32 };
    let all = ids.iter().rev().fold(0u128, |all, &id| all << bits | u128::from(id));
    (1..=room(narrow))
        .contains(&ids.len())
        .then_some([all as u64, (all >> 64) as u64 | (ids.len() as u64) << 48])
}

/// Claimed by a thread that is writing it: no ids yet.
const BUSY: u64 = 1;

/// Half a cache line. All zeros are a free slot.
#[repr(C, align(32))]
struct Slot {
    key: [AtomicU64; 2],
    /// The second is 0 in a free slot; written last, read first.
    ids: [AtomicU64; 2],
}

/// Pieces of up to [`SHORT`] bytes.
pub(super) struct ShortCache {
    /// Zeros that are only given memory once they are written, in large pages where there are such: a text looks at all
    /// places in turn, and finding one among thousands of small pages takes longer than reading it.
    memory: MmapMut,
    first: usize,
    taken: AtomicUsize,
}

const LARGE_PAGE: usize = 2 << 20;

impl ShortCache {
    /// None where there is no memory for it.
    pub(super) fn new() -> Option<Self> {
        let mut memory = MmapMut::map_anon(SHORT_SLOTS * size_of::<Slot>() + LARGE_PAGE).ok()?;
        stage::ask_for_large_pages(&mut memory);
        let first = memory.as_ptr().align_offset(LARGE_PAGE);
        assert!(first <= LARGE_PAGE);
        Some(ShortCache { memory, first, taken: AtomicUsize::new(0) })
    }

    #[inline(always)]
    fn slot(&self, at: usize) -> &Slot {
        // SAFETY: `first` aligns the slots, all of which lie in `memory`; zeros are a slot, and atomics may be shared.
        unsafe { &*self.memory.as_ptr().add(self.first).cast::<Slot>().add(at % SHORT_SLOTS) }
    }

    /// Asks for the line of a piece that is looked up soon.
    #[inline(always)]
    pub(super) fn prefetch(&self, hash: u64) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: every processor of this kind has it, and it changes nothing.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(self.slot(hash as usize)).cast());
        }
        let _ = hash;
    }

    #[inline(always)]
    pub(super) fn get(&self, key: Key, hash: u64) -> Option<Packed> {
        let home = hash as usize;
        for probe in 0..PROBES {
            let slot = self.slot(home + probe);
            let last = slot.ids[1].load(Acquire);
            if slot.key[0].load(Relaxed) == key.0
                && slot.key[1].load(Relaxed) == key.1
                && last >> 48 != 0
            {
                return Some([slot.ids[0].load(Relaxed), last]);
            }
            if last == 0 {
                return None;
            }
        }
        None
    }

    /// Remembers the ids of a piece, if there is room. Two threads may do so at once: then it is there twice.
    pub(super) fn put(&self, key: Key, hash: u64, ids: Packed) {
        if self.taken.load(Relaxed) >= FULL {
            return;
        }
        for probe in 0..PROBES {
            let slot = self.slot(hash as usize + probe);
            if slot.ids[1].compare_exchange(0, BUSY, Acquire, Relaxed).is_ok() {
                self.taken.fetch_add(1, Relaxed);
                slot.key[0].store(key.0, Relaxed);
                slot.key[1].store(key.1, Relaxed);
                slot.ids[0].store(ids[0], Relaxed);
                slot.ids[1].store(ids[1], Release);
                return;
            }
        }
    }
}

/// Pieces above [`SHORT`] and up to [`LONG`] bytes: slots that point into one array of words.
pub(super) struct LongCache {
    /// The upper half of the hash, and the place of the entry plus one. 0: free.
    slots: Box<[AtomicU64]>,
    /// Of each entry: bytes and ids of it in one word, its bytes, its ids two a word.
    words: Box<[AtomicU64]>,
    used: AtomicUsize,
}

impl LongCache {
    pub(super) fn new() -> Self {
        LongCache { slots: zeros(LONG_SLOTS), words: zeros(LONG_WORDS), used: AtomicUsize::new(0) }
    }

    pub(super) fn hash(piece: &[u8]) -> u64 {
        let mut hash = piece.len() as u64;
        words(piece).for_each(|word| {
            hash = fold(hash ^ word ^ 0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03)
        });
        hash
    }

    /// Appends the ids of the piece, if they are known.
    pub(super) fn get(&self, piece: &[u8], hash: u64, mut push: impl FnMut(u32)) -> bool {
        for probe in 0..PROBES {
            let slot = self.slots[(hash as usize + probe) % LONG_SLOTS].load(Acquire);
            if slot == 0 {
                return false;
            }
            if slot >> 32 != hash >> 32 {
                continue;
            }
            let entry = &self.words[slot as u32 as usize - 1..];
            let head = entry[0].load(Relaxed);
            let (bytes, ids) = (head as u32 as usize, (head >> 32) as usize);
            let key = &entry[1..1 + bytes.div_ceil(8)];
            if bytes == piece.len()
                && key.iter().zip(words(piece)).all(|(key, word)| key.load(Relaxed) == word)
            {
                for i in 0..ids {
                    push((entry[1 + key.len() + i / 2].load(Relaxed) >> (i % 2 * 32)) as u32);
                }
                return true;
            }
        }
        false
    }

    /// Remembers the ids of a piece, if there is room.
    pub(super) fn put(&self, piece: &[u8], hash: u64, ids: &[u32]) {
        let bytes = piece.len().div_ceil(8);
        let length = 1 + bytes + ids.len().div_ceil(2);
        let free = (0..PROBES)
            .map(|probe| &self.slots[(hash as usize + probe) % LONG_SLOTS])
            .find(|slot| slot.load(Relaxed) == 0);
        let Some(slot) = free.filter(|_| self.used.load(Relaxed) + length <= LONG_WORDS) else {
            return;
        };
        let start = self.used.fetch_add(length, Relaxed);
        let Some(entry) = self.words.get(start..start + length) else { return };
        entry[0].store(piece.len() as u64 | (ids.len() as u64) << 32, Relaxed);
        entry[1..].iter().zip(words(piece)).for_each(|(word, value)| word.store(value, Relaxed));
        let pairs = ids
            .chunks(2)
            .map(|pair| u64::from(pair[0]) | u64::from(*pair.get(1).unwrap_or(&0)) << 32);
        entry[1 + bytes..].iter().zip(pairs).for_each(|(word, value)| word.store(value, Relaxed));
        // Taken by another thread in the meantime: the entry is lost, not the ids.
        let _ = slot.compare_exchange(0, hash >> 32 << 32 | (start as u64 + 1), Release, Relaxed);
    }
}

/// Eight bytes at a time, the last zero-padded.
fn words(piece: &[u8]) -> impl Iterator<Item = u64> + '_ {
    piece.chunks(8).map(|eight| {
        let mut word = [0; 8];
        word[..eight.len()].copy_from_slice(eight);
        u64::from_le_bytes(word)
    })
}

/// Zeros that are only given memory once they are written.
fn zeros(count: usize) -> Box<[AtomicU64]> {
    let zeros = Box::into_raw(vec![0u64; count].into_boxed_slice());
    // SAFETY: an atomic has the size, the alignment and the values of its number.
    unsafe { Box::from_raw(zeros as *mut [AtomicU64]) }
}
