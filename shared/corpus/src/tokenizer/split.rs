//! Where the pieces of a text begin: GPT-2's pattern
//! `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+` without a regex engine.
//!
//! 64 bytes at a time become five bit masks (letter, number, white space, U+0020, quote), one bit a byte. A piece begins
//! where the class changes, but for three things the pattern says: a space goes with what follows it, so the last
//! character of a run of white space stands apart from the run; and a quote that begins a piece may begin a contraction.
//! Characters beyond ASCII set the bits of all their bytes by the class of their code point.
#![allow(clippy::indexing_slicing)] // indices are computed here, none is read
use super::classes::{Class, Classes};

/// Bytes that one step looks at.
const BLOCK: usize = 64;
/// Blocks between two calls of the sink.
const BLOCKS: usize = 8;

/// Room for the starts of one batch: that of the piece which is still open, one a byte, and the end.
pub(super) struct Starts([usize; BLOCK * BLOCKS + 2]);

impl Default for Starts {
    fn default() -> Self {
        Starts([0; BLOCK * BLOCKS + 2])
    }
}

/// Takes pieces: `starts` are the first byte of each, and last the end of the last one.
pub(super) trait Sink {
    fn pieces(&mut self, text: &[u8], starts: &[usize]);
}

/// Bytes between two calls of a sink, at most, beyond the length of a piece that is as long as it likes.
pub(super) const BATCH_BYTES: usize = BLOCK * BLOCKS;

/// One bit a byte of a block.
#[derive(Clone, Copy, Default)]
struct Masks {
    letter: u64,
    number: u64,
    white: u64,
    /// U+0020, which is white as well.
    blank: u64,
    /// U+0027.
    quote: u64,
    /// Bytes beyond ASCII.
    wide: u64,
    /// First bytes of white space of two and of three bytes.
    white2: u64,
    white3: u64,
}

/// What the rest of the text is taken for: `\s+(?!\S)` takes a run at the end whole, as if more of it followed.
const END: Masks =
    Masks { letter: 0, number: 0, white: !0, blank: 0, quote: 0, wide: 0, white2: 0, white3: 0 };

/// Calls `sink` with all pieces of `text`, batch by batch, in order.
#[inline]
pub(super) fn split(text: &str, starts: &mut Starts, sink: &mut impl Sink) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
    {
        // SAFETY: the processor has what the function is compiled for.
        return unsafe { x86::split(text, starts, sink) };
    }
    split_by(text, starts, sink, plain_masks);
}

/// `masks` looks at ASCII only; what it says of wide bytes is not used.
#[inline(always)]
fn split_by(
    text: &str,
    starts: &mut Starts,
    sink: &mut impl Sink,
    masks: impl Fn(&[u8; BLOCK]) -> Masks,
) {
    let bytes = text.as_bytes();
    let mut walk = Walk::default();
    let look = |at: usize, walk: &mut Walk| -> Masks {
        let mut block = [b' '; BLOCK];
        let mut found = match bytes.get(at..at + BLOCK).and_then(|block| block.try_into().ok()) {
            Some(whole) => masks(whole),
            None if at >= bytes.len() => return END,
            None => {
                block[..bytes.len() - at].copy_from_slice(&bytes[at..]);
                masks(&block)
            }
        };
        if found.wide != 0 {
            walk.widen(text, at, &mut found);
        }
        found
    };
    if bytes.is_empty() {
        return;
    }
    let (mut at, mut count) = (0, 0);
    let mut this = look(0, &mut walk);
    while at < bytes.len() {
        let next = look(at + BLOCK, &mut walk);
        let mut found = walk.starts(bytes, at, &this, &next);
        if bytes.len() - at < BLOCK {
            found &= (1 << (bytes.len() - at)) - 1;
        }
        while found != 0 {
            starts.0[count] = at + found.trailing_zeros() as usize;
            count += 1;
            found &= found - 1;
        }
        (this, at) = (next, at + BLOCK);
        if at.is_multiple_of(BATCH_BYTES) && count > 1 {
            sink.pieces(bytes, &starts.0[..count]);
            starts.0[0] = starts.0[count - 1];
            count = 1;
        }
    }
    starts.0[count] = bytes.len();
    sink.pieces(bytes, &starts.0[..count + 1]);
}

/// What one block leaves for the next.
#[derive(Default)]
struct Walk {
    /// Class of the byte before the block, in bit 0 of each.
    letter: u64,
    number: u64,
    white: u64,
    blank: u64,
    other: u64,
    /// Starts that a contraction took from the block, and gave it.
    clear: u64,
    set: u64,
    /// Bytes of a character that began in the block before, and its class.
    rest: u32,
    rest_class: u8,
}

impl Walk {
    /// One bit where a piece begins.
    #[inline(always)]
    fn starts(&mut self, text: &[u8], at: usize, this: &Masks, next: &Masks) -> u64 {
        let other = !(this.letter | this.number | this.white);
        let same = this.letter & (this.letter << 1 | self.letter)
            | this.number & (this.number << 1 | self.number)
            | this.white & (this.white << 1 | self.white)
            | other & (other << 1 | self.other);
        let joined = !this.white & (this.blank << 1 | self.blank);
        // White space before something else, by the first byte of the character.
        let before = |bytes: u32| !this.white >> bytes | !next.white << (64 - bytes);
        let mut last = this.white & !this.wide & before(1);
        if this.white & this.wide != 0 {
            last |= this.white2 & before(2) | this.white3 & before(3);
        }
        let mut starts = !same & !joined | last;
        let (clear, set) = (std::mem::take(&mut self.clear), std::mem::take(&mut self.set));
        let mut quotes = this.quote & starts;
        if quotes != 0 {
            self.contractions(text, at, &mut quotes, &mut starts);
        }
        self.letter = this.letter >> 63;
        self.number = this.number >> 63;
        self.white = this.white >> 63;
        self.blank = this.blank >> 63;
        self.other = other >> 63;
        starts & !clear | set
    }

    /// Each quote that begins a piece: a contraction takes its letters from what follows.
    #[inline(always)]
    fn contractions(&mut self, text: &[u8], at: usize, quotes: &mut u64, starts: &mut u64) {
        let (mut clear, mut set) = (0u128, 0u128);
        while *quotes != 0 {
            let bit = quotes.trailing_zeros();
            *quotes &= *quotes - 1;
            let quote = at + bit as usize;
            let letters = match (text.get(quote + 1), text.get(quote + 2)) {
                (Some(b's' | b't' | b'm' | b'd'), _) => 1,
                (Some(b'r' | b'v'), Some(b'e')) | (Some(b'l'), Some(b'l')) => 2,
                _ => continue,
            };
            clear |= 1 << (bit + 1);
            set |= 1 << (bit + 1 + letters);
        }
        *starts = *starts & !(clear as u64) | set as u64;
        (self.clear, self.set) = ((clear >> 64) as u64, (set >> 64) as u64);
    }

    /// Sets the bits of characters beyond ASCII.
    fn widen(&mut self, text: &str, at: usize, masks: &mut Masks) {
        let classes = Classes::get();
        let wide = masks.wide;
        for mask in [&mut masks.letter, &mut masks.number, &mut masks.white] {
            *mask &= !wide;
        }
        let mut give = |class: u8, bits: u64| match class {
            1 => masks.letter |= bits,
            2 => masks.number |= bits,
            3 => masks.white |= bits,
            _ => {}
        };
        let mut left = wide;
        if self.rest > 0 {
            let bits = (1 << self.rest) - 1;
            give(self.rest_class, bits);
            left &= !bits;
            self.rest = 0;
        }
        let (mut white2, mut white3) = (0, 0);
        while left != 0 {
            let bit = left.trailing_zeros();
            // `bit` is the first byte of a character: the bytes of those before it are gone from `left`.
            let Some(c) = text[at + bit as usize..].chars().next() else { break };
            let length = c.len_utf8() as u32;
            let bits = ((1 << length) - 1) << bit;
            let class = classes.of(c);
            give(class as u8, bits);
            if class == Class::White {
                *(if length == 2 { &mut white2 } else { &mut white3 }) |= 1 << bit;
            }
            left &= !bits;
            self.rest = (bit + length).saturating_sub(64);
            self.rest_class = class as u8;
        }
        (masks.white2, masks.white3) = (white2, white3);
    }
}

/// The masks without instructions of any one processor: a class a byte, eight at a time gathered to bits.
fn plain_masks(block: &[u8; BLOCK]) -> Masks {
    const LETTER: u8 = 1;
    const NUMBER: u8 = 2;
    const WHITE: u8 = 4;
    const BLANK: u8 = 8;
    const QUOTE: u8 = 16;
    const WIDE: u8 = 32;
    const CLASS: [u8; 256] = {
        let mut class = [0; 256];
        let mut byte = 0;
        while byte < 256 {
            class[byte] = match byte as u8 {
                b'a'..=b'z' | b'A'..=b'Z' => LETTER,
                b'0'..=b'9' => NUMBER,
                b' ' => WHITE | BLANK,
                b'\t'..=b'\r' => WHITE,
                b'\'' => QUOTE,
                0x80.. => WIDE,
                _ => 0,
            };
            byte += 1;
        }
        class
    };
    let mut masks = Masks::default();
    for (i, eight) in block.chunks_exact(8).enumerate() {
        let classes = u64::from_le_bytes(std::array::from_fn(|j| CLASS[eight[j] as usize]));
        // Bit k of every byte to eight bits in a row: the product moves byte j's bit to bit 56 + j.
        let gather = |class: u8| {
            let bits = (classes >> class.trailing_zeros()) & 0x0101_0101_0101_0101;
            (bits.wrapping_mul(0x0102_0408_1020_4080) >> 56) << (8 * i)
        };
        masks.letter |= gather(LETTER);
        masks.number |= gather(NUMBER);
        masks.white |= gather(WHITE);
        masks.blank |= gather(BLANK);
        masks.quote |= gather(QUOTE);
        masks.wide |= gather(WIDE);
    }
    masks
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{BLOCK, Masks, Sink, Starts, split_by};

    #[target_feature(enable = "avx2,bmi1,bmi2")]
    pub(super) fn split(text: &str, starts: &mut Starts, sink: &mut impl Sink) {
        split_by(text, starts, sink, |block| masks(block));
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn masks(block: &[u8; BLOCK]) -> Masks {
        // SAFETY: both loads lie in the 64 bytes; they need no alignment.
        let bytes = unsafe { [0, 32].map(|at| _mm256_loadu_si256(block.as_ptr().add(at).cast())) };
        let lower = bytes.map(|half| _mm256_or_si256(half, _mm256_set1_epi8(0x20)));
        let blank = equal(bytes, b' ');
        Masks {
            letter: between(lower, b'a', b'z'),
            number: between(bytes, b'0', b'9'),
            white: blank | between(bytes, b'\t', b'\r'),
            blank,
            quote: equal(bytes, b'\''),
            wide: bits(bytes),
            white2: 0,
            white3: 0,
        }
    }

    /// The top bit of every byte.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn bits(bytes: [__m256i; 2]) -> u64 {
        let [low, high] = bytes.map(|half| _mm256_movemask_epi8(half) as u32);
        u64::from(low) | u64::from(high) << 32
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn equal(bytes: [__m256i; 2], byte: u8) -> u64 {
        bits(bytes.map(|half| _mm256_cmpeq_epi8(half, _mm256_set1_epi8(byte as i8))))
    }

    /// Bytes from `first` to `last`, both ASCII: shifted so that `last` is the greatest signed byte.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn between(bytes: [__m256i; 2], first: u8, last: u8) -> u64 {
        let (shift, below) =
            (_mm256_set1_epi8((127 - last) as i8), _mm256_set1_epi8((126 - (last - first)) as i8));
        bits(bytes.map(|half| _mm256_cmpgt_epi8(_mm256_add_epi8(half, shift), below)))
    }
}
