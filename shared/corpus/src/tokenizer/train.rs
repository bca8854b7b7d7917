//! Training: words and their counts to merges, the same as crate `tokenizers` finds, ties included.
//!
//! The pair that occurs most is merged, of equals the one with the lower ids, until the vocabulary is full. Each pair
//! waits in a heap with the words that hold it. A pair found again after it has been queued (two merges can make the
//! same token) is queued once more with the new words, and is then merged as often as it was queued: that is what the
//! crate does, so that is what happens here.
#![allow(clippy::indexing_slicing)] // indices are computed here, none is read
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

use stage::Result;
use tokenizers::decoders::byte_level::ByteLevel as ByteLevelDecoder;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, NormalizerWrapper, TokenizerImpl};

use super::cache::fold;
use super::encoder::byte_char;

/// Merges of one training, and the tokens in the order of their ids.
pub(super) struct Trained {
    tokens: Vec<String>,
    merges: Vec<(u32, u32)>,
}

type Pair = (u32, u32);
type Pairs<V> = HashMap<Pair, V, BuildHasherDefault<PairHasher>>;

/// A hash of eight bytes in one product.
#[derive(Default)]
struct PairHasher(u64);

impl Hasher for PairHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u32(byte.into()));
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = fold(self.0 ^ u64::from(number) ^ 0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03);
    }
}

/// A pair that may be merged next. Ordered as the heap wants it: most frequent first, then lowest ids.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    count: i64,
    pair: Reverse<Pair>,
    /// Words that hold it, each once.
    words: Vec<u32>,
}

/// All words, their symbols one after the other.
struct Words {
    symbols: Vec<u32>,
    /// Where each begins, and how many symbols it has left.
    places: Vec<(usize, u32)>,
    counts: Vec<i64>,
}

/// Trains on words with their counts. `special` tokens come first, then the 256 bytes, then what merges make.
///
/// # Errors
/// 130 when interrupted.
pub(super) fn merges(
    vocab_size: usize,
    special: &[&str],
    words: Vec<(Box<[u8]>, u64)>,
) -> Result<Trained> {
    let mut tokens: Vec<String> = special.iter().map(|&token| token.to_owned()).collect();
    let mut alphabet: Vec<(char, u8)> = (0..=255).map(|byte| (byte_char(byte), byte)).collect();
    alphabet.sort_unstable();
    let mut bytes = [0; 256];
    for (c, byte) in alphabet {
        bytes[usize::from(byte)] = tokens.len() as u32;
        tokens.push(c.to_string());
    }
    let mut ids: HashMap<String, u32> = tokens.iter().cloned().zip(0..).collect();
    let mut words = Words::new(words, &bytes);
    let (mut counts, mut found) = words.pairs();
    let mut heap = BinaryHeap::with_capacity(found.len());
    let mut merges = Vec::new();
    loop {
        for (pair, words) in found.drain() {
            let count = counts[&pair];
            if count > 0 {
                heap.push(Waiting { count, pair: Reverse(pair), words });
            }
        }
        if tokens.len() >= vocab_size {
            break;
        }
        // The counts of those waiting go down as others are merged: only the top one has to be right.
        let next = loop {
            let Some(mut top) = heap.pop() else { break None };
            let count = counts[&top.pair.0];
            if top.count == count {
                break Some(top);
            }
            top.count = count;
            heap.push(top);
        };
        let Some(next) = next.filter(|next| next.count > 0) else { break };
        stage::interrupt::check("the tokenizer from before is kept")?;
        let pair = next.pair.0;
        let token = format!("{}{}", tokens[pair.0 as usize], tokens[pair.1 as usize]);
        let id = *ids.entry(token).or_insert_with_key(|token| {
            tokens.push(token.clone());
            tokens.len() as u32 - 1
        });
        merges.push(pair);
        for word in next.words {
            words.merge(word, pair, id, |pair, change| {
                *counts.entry(pair).or_default() += change;
                if change > 0 {
                    let holders: &mut Vec<u32> = found.entry(pair).or_default();
                    if holders.last() != Some(&word) {
                        holders.push(word);
                    }
                }
            });
        }
    }
    Ok(Trained { tokens, merges })
}

impl Words {
    fn new(words: Vec<(Box<[u8]>, u64)>, bytes: &[u32; 256]) -> Self {
        let mut all = Words { symbols: Vec::new(), places: Vec::new(), counts: Vec::new() };
        all.symbols.reserve_exact(words.iter().map(|(word, _)| word.len()).sum());
        for (word, count) in words {
            all.places.push((all.symbols.len(), word.len() as u32));
            all.symbols.extend(word.iter().map(|&byte| bytes[usize::from(byte)]));
            all.counts.push(count as i64);
        }
        all
    }

    /// How often each pair occurs, and in which words.
    fn pairs(&self) -> (Pairs<i64>, Pairs<Vec<u32>>) {
        let (mut counts, mut found) = (Pairs::default(), Pairs::<Vec<u32>>::default());
        for (word, (&(start, length), count)) in self.places.iter().zip(&self.counts).enumerate() {
            for pair in self.symbols[start..start + length as usize].windows(2) {
                let pair = (pair[0], pair[1]);
                *counts.entry(pair).or_default() += count;
                let holders = found.entry(pair).or_default();
                if holders.last() != Some(&(word as u32)) {
                    holders.push(word as u32);
                }
            }
        }
        (counts, found)
    }

    /// Replaces a pair in a word, from left to right, and calls `change` with what that does to the counts of pairs.
    fn merge(
        &mut self,
        word: u32,
        (left, right): Pair,
        id: u32,
        mut change: impl FnMut(Pair, i64),
    ) {
        let (start, length) = self.places[word as usize];
        let count = self.counts[word as usize];
        let symbols = &mut self.symbols[start..start + length as usize];
        let (mut from, mut to) = (0, 0);
        while from < symbols.len() {
            if symbols[from] == left && symbols.get(from + 1) == Some(&right) {
                if to > 0 {
                    change((symbols[to - 1], left), -count);
                    change((symbols[to - 1], id), count);
                }
                if let Some(&after) = symbols.get(from + 2) {
                    change((right, after), -count);
                    change((id, after), count);
                }
                symbols[to] = id;
                from += 2;
            } else {
                symbols[to] = symbols[from];
                from += 1;
            }
            to += 1;
        }
        self.places[word as usize].1 = to as u32;
    }
}

impl Trained {
    /// The text of its `tokenizer.json`, as crate `tokenizers` writes it.
    pub(super) fn to_json(&self, special: &[&str]) -> tokenizers::Result<String> {
        let vocab: Vocab = self.tokens.iter().cloned().zip(0..).collect();
        let token = |id: u32| self.tokens[id as usize].clone();
        let merges = self.merges.iter().map(|&(left, right)| (token(left), token(right))).collect();
        let model = BPE::builder().vocab_and_merges(vocab, merges).build()?;
        let mut tokenizer =
            TokenizerImpl::<BPE, NormalizerWrapper, ByteLevel, ByteLevel, ByteLevelDecoder>::new(
                model,
            );
        tokenizer.with_pre_tokenizer(Some(ByteLevel::default().add_prefix_space(false)));
        tokenizer.with_decoder(Some(ByteLevelDecoder::default()));
        tokenizer.add_special_tokens(special.iter().map(|&token| AddedToken::from(token, true)))?;
        tokenizer.to_string(true)
    }
}
