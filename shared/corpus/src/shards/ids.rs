//! Some stories of a shard, as they lie in a record batch.
use std::borrow::Cow;

/// Some stories of a shard: the row of the first, and where each begins and ends in `ids`.
pub struct Stories<'a> {
    /// Row of the first story in the shard.
    pub row: u64,
    pub(super) offsets: &'a [i32],
    /// The ids of all of them, without EOS.
    pub ids: Ids<'a>,
}

/// Ids as they lie in a record batch.
#[derive(Clone, Copy)]
pub enum Ids<'a> {
    /// Of a vocabulary of at most 65,536.
    U16(&'a [u16]),
    /// Of a larger one.
    U32(&'a [u32]),
}

impl<'a> Ids<'a> {
    /// Bytes per id.
    pub fn width(self) -> usize {
        match self {
            Ids::U16(_) => 2,
            Ids::U32(_) => 4,
        }
    }

    /// As they lie in a bin: little-endian.
    pub fn to_bytes(self) -> Cow<'a, [u8]> {
        match self {
            Ids::U16(ids) if cfg!(target_endian = "little") => {
                Cow::Borrowed(bytemuck::cast_slice(ids))
            }
            Ids::U32(ids) if cfg!(target_endian = "little") => {
                Cow::Borrowed(bytemuck::cast_slice(ids))
            }
            Ids::U16(ids) => ids.iter().flat_map(|id| id.to_le_bytes()).collect(),
            Ids::U32(ids) => ids.iter().flat_map(|id| id.to_le_bytes()).collect(),
        }
    }
}

/// Goes through all of them first: a loop without an exit is many times faster, and none is above in a good shard.
fn first_above<T: Copy>(ids: &[T], above: impl Fn(T) -> bool) -> Option<(usize, T)> {
    let any = ids.iter().fold(false, |any, &id| any | above(id));
    any.then(|| ids.iter().copied().enumerate().find(|&(_, id)| above(id))).flatten()
}

impl Stories<'_> {
    /// Stories.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first id that is not below `vocab_size`, and its row.
    pub fn above(&self, vocab_size: u32) -> Option<(u64, u32)> {
        let place = match self.ids {
            Ids::U16(ids) => first_above(ids, |id| u32::from(id) >= vocab_size)
                .map(|(at, id)| (at, u32::from(id))),
            Ids::U32(ids) => first_above(ids, |id| id >= vocab_size),
        };
        place.map(|(at, id)| {
            (self.row + self.offsets.partition_point(|&start| start as usize <= at) as u64 - 1, id)
        })
    }

    /// First id of each story, and the end.
    pub fn bounds(&self) -> impl Iterator<Item = (usize, usize)> {
        let starts = self.offsets.iter().map(|&start| start as usize);
        starts.clone().zip(starts.skip(1))
    }
}
