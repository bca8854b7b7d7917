//! Text to ids for byte-level BPE with the GPT-2 pattern, identical to crate `tokenizers` and some hundred times faster:
//! split without a regex engine, look every piece up, merge only those never seen before.
#![allow(clippy::indexing_slicing)] // indices are computed here, none is read
use std::collections::HashMap;

use serde::Deserialize;
use tokenizers::models::bpe::BPE;
use tokenizers::{ModelWrapper, PostProcessorWrapper, PreTokenizerWrapper};

use super::added::{Added, Part};
use super::cache::{Key, LONG, LongCache, Packed, SHORT, ShortCache, pack};
use super::merges::{Merges, Room};
use super::split::{BATCH_BYTES, Sink, Starts, split};

/// Ids that are written at once, wanted or not: the room that a buffer needs behind the last id.
const SPARE: usize = 8;

/// An id in a buffer: `u32`, or `u16` where every id of the vocabulary fits.
pub trait Id: Copy + Send + Sync + 'static {
    /// Narrow ids only go into buffers of a vocabulary that has no others.
    const NARROW: bool;
    /// The id; its upper bits go where it is narrow.
    fn from_u32(id: u32) -> Self;
    /// Writes `SPARE` ids, of which those packed come first.
    ///
    /// # Safety
    /// `to` has room for `SPARE` ids.
    unsafe fn put(to: *mut Self, packed: Packed, narrow: bool);
}

impl Id for u16 {
    const NARROW: bool = true;

    fn from_u32(id: u32) -> Self {
        id as u16
    }

    #[inline(always)]
    unsafe fn put(to: *mut u16, packed: Packed, _: bool) {
        // SAFETY: 16 bytes, for which the caller has room.
        unsafe { to.cast::<Packed>().write_unaligned(packed.map(u64::to_le)) }
    }
}

impl Id for u32 {
    const NARROW: bool = false;

    fn from_u32(id: u32) -> Self {
        id
    }

    #[inline(always)]
    unsafe fn put(to: *mut u32, packed: Packed, narrow: bool) {
        let ids: [u32; SPARE] =
            match narrow {
                true => std::array::from_fn(|i| (packed[i / 4] >> (i % 4 * 16)) as u16 as u32),
                false => std::array::from_fn(|i| {
                    if i < 4 { (packed[i / 2] >> (i % 2 * 32)) as u32 } else { 0 }
                }),
            };
        // SAFETY: 32 bytes, for which the caller has room.
        unsafe { to.cast::<[u32; SPARE]>().write_unaligned(ids) }
    }
}

/// The encoder of one tokenizer. Shared between threads as it is.
pub(super) struct Encoder {
    merges: Merges,
    /// With `ignore_merges`: tokens that are whole pieces.
    whole: Option<HashMap<Vec<u8>, u32>>,
    added: Added,
    /// Every id fits 16 bits.
    narrow: bool,
    short: ShortCache,
    long: LongCache,
}

/// What one thread needs to encode, kept from text to text.
pub struct Scratch {
    starts: Starts,
    /// Key and hash of the pieces of a batch; the hash of a long one is [`LONG_PIECE`].
    looked: Box<[(Key, u64)]>,
    room: Room,
}

const LONG_PIECE: u64 = u64::MAX;

impl Default for Scratch {
    fn default() -> Self {
        Scratch {
            starts: Starts::default(),
            looked: vec![(Key(0, 0), 0); BATCH_BYTES + 2].into(),
            room: Room::default(),
        }
    }
}

/// The part of a `tokenizer.json` that crate `tokenizers` does not give out.
#[derive(Deserialize)]
struct File<M> {
    model: Model<M>,
}

#[derive(Deserialize)]
struct Model<M> {
    merges: Vec<M>,
}

impl Encoder {
    /// None where the tokenizer is not plain byte-level BPE with the GPT-2 pattern. `json` is what it was read from.
    pub(super) fn new(tokenizer: &tokenizers::Tokenizer, json: &[u8]) -> Option<Self> {
        let pattern = match tokenizer.get_pre_tokenizer() {
            Some(PreTokenizerWrapper::ByteLevel(level)) => {
                level.use_regex && !level.add_prefix_space
            }
            _ => false,
        };
        let no_ids_added = matches!(
            tokenizer.get_post_processor(),
            None | Some(PostProcessorWrapper::ByteLevel(_))
        );
        let ModelWrapper::BPE(bpe) = tokenizer.get_model() else { return None };
        if !pattern || !no_ids_added || tokenizer.get_normalizer().is_some() || !is_plain(bpe) {
            return None;
        }
        let vocab = bpe.get_vocab();
        let id = |token: &str| vocab.get(token).copied();
        let mut bytes = [0; 256];
        for (byte, id_of_byte) in bytes.iter_mut().enumerate() {
            *id_of_byte = id(byte_char(byte as u8).encode_utf8(&mut [0; 4]))?;
        }
        let mut distinct: Vec<u32> = vocab.values().copied().collect();
        distinct.sort_unstable();
        distinct.dedup();
        let highest = tokenizer.get_vocab(true).into_values().max()?;
        if distinct.len() != vocab.len() || highest == u32::MAX {
            return None;
        }
        let merges = merges_of(json)?.into_iter();
        let merges: Option<Vec<_>> =
            merges.map(|(a, b)| Some((id(&a)?, id(&b)?, id(&format!("{a}{b}"))?))).collect();
        let whole = bpe.ignore_merges.then(|| {
            vocab.iter().filter_map(|(token, id)| Some((token_bytes(token)?, *id))).collect()
        });
        Some(Encoder {
            merges: Merges::new(bytes, &merges?),
            whole,
            added: Added::new(tokenizer)?,
            narrow: highest <= u32::from(u16::MAX),
            short: ShortCache::new()?,
            long: LongCache::new(),
        })
    }

    /// Appends the ids of a text. False, with nothing appended, for a text with an added token whose rules are left to
    /// crate `tokenizers`. Panics if ids of this vocabulary do not fit `T`.
    pub(super) fn encode<T: Id>(
        &self,
        text: &str,
        scratch: &mut Scratch,
        ids: &mut Vec<T>,
    ) -> bool {
        assert!(self.narrow || !T::NARROW, "ids above 65,535 do not fit 16 bits");
        let before = ids.len();
        let done = self.added.parts(text, &mut |part| match part {
            Part::Text(text) => self.encode_plain(text, scratch, ids),
            Part::Token(id) => ids.push(T::from_u32(id)),
        });
        if !done {
            ids.truncate(before);
        }
        done
    }

    /// Without a look for added tokens.
    fn encode_plain<T: Id>(&self, text: &str, scratch: &mut Scratch, ids: &mut Vec<T>) {
        let Scratch { starts, looked, room } = scratch;
        match self.narrow {
            true => {
                split(text, starts, &mut Pieces::<T, true> { encoder: self, looked, room, ids })
            }
            false => {
                split(text, starts, &mut Pieces::<T, false> { encoder: self, looked, room, ids })
            }
        }
    }

    /// Leaves the ids of a piece in `room`.
    fn merge(&self, piece: &[u8], room: &mut Room) {
        if let Some(&id) = self.whole.as_ref().and_then(|whole| whole.get(piece)) {
            room.ids.clear();
            room.ids.push(id);
        } else {
            self.merges.merge(piece, room);
        }
    }

    #[cold]
    #[inline(never)]
    fn merge_short<T: Id>(&self, piece: &[u8], hash: u64, room: &mut Room, ids: &mut Vec<T>) {
        self.merge(piece, room);
        if let Some(packed) = pack(&room.ids, self.narrow) {
            self.short.put(Key::of(piece), hash, packed);
        }
        ids.extend(room.ids.iter().map(|&id| T::from_u32(id)));
    }

    #[inline(never)]
    fn long_piece<T: Id>(&self, piece: &[u8], room: &mut Room, ids: &mut Vec<T>) {
        let hash = if piece.len() <= LONG { LongCache::hash(piece) } else { 0 };
        if piece.len() <= LONG && self.long.get(piece, hash, |id| ids.push(T::from_u32(id))) {
            return;
        }
        self.merge(piece, room);
        if piece.len() <= LONG {
            self.long.put(piece, hash, &room.ids);
        }
        ids.extend(room.ids.iter().map(|&id| T::from_u32(id)));
    }
}

/// Takes pieces from the splitter.
struct Pieces<'a, T, const NARROW: bool> {
    encoder: &'a Encoder,
    looked: &'a mut [(Key, u64)],
    room: &'a mut Room,
    ids: &'a mut Vec<T>,
}

impl<T: Id, const NARROW: bool> Sink for Pieces<'_, T, NARROW> {
    #[inline(always)]
    fn pieces(&mut self, text: &[u8], starts: &[usize]) {
        // First all keys, so that the cache's lines are on their way long before they are looked at.
        let pieces = starts.len() - 1;
        for (piece, looked) in starts.windows(2).zip(self.looked.iter_mut()) {
            let (start, length) = (piece[0], piece[1] - piece[0]);
            if length > SHORT {
                looked.1 = LONG_PIECE;
                continue;
            }
            let key = match text
                .get(start..start + 16)
                .and_then(|bytes| <[u8; 16]>::try_from(bytes).ok())
            {
                Some(sixteen) => Key::new(sixteen, length),
                None => Key::of(&text[start..start + length]),
            };
            *looked = (key, key.hash() >> 1);
            self.encoder.short.prefetch(looked.1);
        }
        // A piece has no more ids than bytes.
        let all = BATCH_BYTES + SHORT + SPARE;
        self.ids.reserve(all);
        let mut length = self.ids.len();
        for (piece, &(key, hash)) in starts.windows(2).zip(&self.looked[..pieces]) {
            if hash != LONG_PIECE
                && let Some(packed) = self.encoder.short.get(key, hash)
            {
                // SAFETY: `reserve` made room for the ids of all short pieces of the batch and for SPARE more;
                // those that are packed are written, so the length may count them.
                unsafe { T::put(self.ids.as_mut_ptr().add(length), packed, NARROW) };
                length += (packed[1] >> 48) as usize;
                continue;
            }
            // SAFETY: as many ids as `length` counts have been written.
            unsafe { self.ids.set_len(length) };
            match hash {
                LONG_PIECE => {
                    self.encoder.long_piece(&text[piece[0]..piece[1]], self.room, self.ids)
                }
                hash => {
                    self.encoder.merge_short(&text[piece[0]..piece[1]], hash, self.room, self.ids)
                }
            }
            self.ids.reserve(all);
            length = self.ids.len();
        }
        // SAFETY: as above.
        unsafe { self.ids.set_len(length) };
    }
}

/// What else the model's settings could ask for than merging pairs of bytes.
fn is_plain(bpe: &BPE) -> bool {
    let none = |text: &Option<String>| text.as_deref().is_none_or(str::is_empty);
    bpe.dropout.is_none_or(|dropout| dropout == 0.0)
        && none(&bpe.continuing_subword_prefix)
        && none(&bpe.end_of_word_suffix)
}

/// Pairs of tokens by rank: `["a", "b"]`, or in older files `"a b"`.
fn merges_of(json: &[u8]) -> Option<Vec<(String, String)>> {
    if let Ok(file) = serde_json::from_slice::<File<(String, String)>>(json) {
        return Some(file.model.merges);
    }
    let lines = serde_json::from_slice::<File<String>>(json).ok()?.model.merges.into_iter();
    let pairs = lines.filter(|line| !line.starts_with("#version"));
    pairs.map(|line| line.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned()))).collect()
}

/// The character that stands for a byte in a token: itself where it can be printed, else one from U+0100 on.
pub(super) fn byte_char(byte: u8) -> char {
    let printed = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..);
    match printed(&byte) {
        true => char::from(byte),
        false => char::from_u32(0x100 + (0..byte).filter(|before| !printed(before)).count() as u32)
            .unwrap_or_default(),
    }
}

/// The bytes that a token of the vocabulary stands for; None if it is not made of such characters.
fn token_bytes(token: &str) -> Option<Vec<u8>> {
    token.chars().map(|c| (0..=255).find(|&byte| byte_char(byte) == c)).collect()
}
