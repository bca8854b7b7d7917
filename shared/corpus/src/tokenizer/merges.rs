//! Byte pair encoding of one piece: the lowest rank first, the leftmost of equals, as crate `tokenizers` merges.
#![allow(clippy::indexing_slicing)] // indices are computed here, none is read
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Pieces of up to this many bytes look for the lowest rank by going through all pairs; longer ones keep a heap.
const SHORT: usize = 48;
const NONE: u32 = u32::MAX;

/// Merges by pair of ids, in an open hash table.
pub(super) struct Merges {
    /// Id of each byte.
    bytes: [u32; 256],
    slots: Box<[Slot]>,
    shift: u32,
}

#[derive(Clone, Copy)]
struct Slot {
    pair: u64,
    rank: u32,
    id: u32,
}

const EMPTY: Slot = Slot { pair: u64::MAX, rank: NONE, id: NONE };

/// Room for merging, kept from piece to piece.
#[derive(Default)]
pub(super) struct Room {
    /// Result of the last call.
    pub ids: Vec<u32>,
    ranks: Vec<u32>,
    next: Vec<u32>,
    previous: Vec<u32>,
    heap: BinaryHeap<Reverse<u64>>,
}

impl Merges {
    /// `merges` are (left, right, result) by ascending rank; of equal pairs the last counts.
    pub(super) fn new(bytes: [u32; 256], merges: &[(u32, u32, u32)]) -> Self {
        let size = (merges.len() * 4).next_power_of_two().max(16);
        let mut table = Merges { bytes, slots: vec![EMPTY; size].into(), shift: 64 - size.ilog2() };
        for (rank, &(left, right, id)) in merges.iter().enumerate() {
            let pair = pair(left, right);
            let mut at = table.home(pair);
            while table.slots[at].pair != pair && table.slots[at].pair != EMPTY.pair {
                at = (at + 1) & (size - 1);
            }
            table.slots[at] = Slot { pair, rank: rank as u32, id };
        }
        table
    }

    #[inline]
    fn home(&self, pair: u64) -> usize {
        (pair.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize
    }

    /// Rank and result of a pair; [`NONE`] twice where there is no merge.
    #[inline]
    fn get(&self, left: u32, right: u32) -> (u32, u32) {
        let pair = pair(left, right);
        let mut at = self.home(pair);
        loop {
            let slot = &self.slots[at];
            if slot.pair == pair || slot.pair == EMPTY.pair {
                return (slot.rank, slot.id);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    /// Leaves the ids of `piece` in `room.ids`.
    pub(super) fn merge(&self, piece: &[u8], room: &mut Room) {
        room.ids.clear();
        room.ids.extend(piece.iter().map(|&byte| self.bytes[byte as usize]));
        if piece.len() <= SHORT { self.merge_short(room) } else { self.merge_long(room) }
    }

    fn merge_short(&self, Room { ids, ranks, .. }: &mut Room) {
        ranks.clear();
        ranks.extend(ids.windows(2).map(|pair| self.get(pair[0], pair[1]).0));
        loop {
            let lowest = ranks.iter().enumerate().min_by_key(|&(_, rank)| rank);
            let Some((at, _)) = lowest.filter(|&(_, &rank)| rank != NONE) else { return };
            ids[at] = self.get(ids[at], ids[at + 1]).1;
            ids.remove(at + 1);
            ranks.remove(at);
            if at > 0 {
                ranks[at - 1] = self.get(ids[at - 1], ids[at]).0;
            }
            if at < ranks.len() {
                ranks[at] = self.get(ids[at], ids[at + 1]).0;
            }
        }
    }

    /// A list of the symbols and a heap of the pairs by (rank, place): n log n for any piece. An entry of the heap whose
    /// rank is no longer that of the pair at its place is out of date.
    fn merge_long(&self, Room { ids, ranks, next, previous, heap }: &mut Room) {
        assert!(ids.len() < NONE as usize, "a piece of 4 GiB");
        let end = ids.len() as u32;
        ranks.clear();
        ranks.extend(ids.windows(2).map(|pair| self.get(pair[0], pair[1]).0));
        ranks.push(NONE);
        next.clear();
        next.extend(1..=end);
        previous.clear();
        previous.extend((0..end).map(|place| place.wrapping_sub(1)));
        let mut entries = std::mem::take(heap).into_vec();
        entries.clear();
        entries.extend(
            ranks
                .iter()
                .enumerate()
                .filter(|&(_, &rank)| rank != NONE)
                .map(|(at, &rank)| entry(rank, at as u32)),
        );
        *heap = entries.into();
        while let Some(Reverse(top)) = heap.pop() {
            let (rank, left) = ((top >> 32) as u32, top as u32);
            if ranks[left as usize] != rank {
                continue;
            }
            let right = next[left as usize];
            let after = next[right as usize];
            ids[left as usize] = self.get(ids[left as usize], ids[right as usize]).1;
            ids[right as usize] = NONE;
            (ranks[left as usize], ranks[right as usize]) = (NONE, NONE);
            next[left as usize] = after;
            let mut renew = |place: u32, neighbour: u32| {
                let rank = self.get(ids[place as usize], ids[neighbour as usize]).0;
                ranks[place as usize] = rank;
                if rank != NONE {
                    heap.push(entry(rank, place));
                }
            };
            if after < end {
                previous[after as usize] = left;
                renew(left, after);
            }
            let before = previous[left as usize];
            if before != NONE {
                renew(before, left);
            }
        }
        ids.retain(|&id| id != NONE);
        for room in [ranks, next, previous] {
            room.clear();
            room.shrink_to(1 << 16);
        }
        heap.shrink_to(1 << 16);
    }
}

fn pair(left: u32, right: u32) -> u64 {
    u64::from(left) << 32 | u64::from(right)
}

fn entry(rank: u32, place: u32) -> Reverse<u64> {
    Reverse(u64::from(rank) << 32 | u64::from(place))
}
