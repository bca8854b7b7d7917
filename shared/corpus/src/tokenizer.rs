//! The tokenizer: byte-level BPE in the `tokenizer.json` of Hugging Face, trained here or brought along.
//!
//! Crate `tokenizers` is the definition: it reads the file, decodes ids, and encodes for every tokenizer that is not
//! plain byte-level BPE with the GPT-2 pattern. For those that are, the `encoder` of this project gives the same ids
//! at the speed of memory: `split` finds the pieces, `cache` knows their ids, `merges` makes those it does not
//! know, `added` looks for special tokens. `words` and [`train`] make a tokenizer from stories.
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use stage::{Action, Failure, Manifest, Result, TokenizerRecord, guarded};
use tokenizers::ModelWrapper;
use tokenizers::models::bpe::BPE;

mod added;
mod cache;
mod classes;
mod encoder;
mod foreign;
mod merges;
mod split;
mod train;
mod words;

pub use encoder::{Id, Scratch};
pub use words::{Counter, WordCounts};

use encoder::Encoder;

/// Ends every story. Id 0 of a tokenizer trained here.
pub const EOS: &str = "<|endoftext|>";
/// Fills sequences up. Id 1 of a tokenizer trained here; nothing in this project pads.
pub const PAD: &str = "<|pad|>";
const OWN_FILE: Action = Action::Set("tokenizer.file", "FILE");
/// Text that a tokenizer has to survive: several scripts, controls, a combining mark, an emoji of four code points.
const PROBE: &str = "Once upon a time, it's \"so\" 3.14!\n\n\tna\u{ef}ve cafe\u{301} \u{4f60}\u{597d} \u{1f469}\u{200d}\u{1f680}\u{0}\u{fffd}";

/// A `tokenizer.json` that has an EOS and encodes any text.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// Of this project, where the tokenizer is one that it knows. Made with the first text: many only ask for the EOS.
    fast: OnceLock<Option<Encoder>>,
    json: Box<[u8]>,
    path: PathBuf,
    record: TokenizerRecord,
    /// What ends a text; the first is set behind every story.
    ends: Vec<u32>,
    prefix: Vec<u32>,
}

impl Tokenizer {
    /// Reads and checks a `tokenizer.json` of the Hugging Face format.
    ///
    /// # Errors
    /// Exit code 3: missing, not a tokenizer, without `<|endoftext|>`, or not a function of the text alone.
    pub fn load(path: &Path) -> Result<Self> {
        Self::load_with(path, &[])
    }

    /// As [`load`](Self::load) for a model from elsewhere, whose own `ends` of a text go before `<|endoftext|>`.
    ///
    /// # Errors
    /// Those of [`load`](Self::load).
    pub fn load_with(path: &Path, ends: &[u32]) -> Result<Self> {
        if !path.is_file() {
            return Err(in_another_form(path).unwrap_or_else(|| {
                Failure::input(
                    path,
                    "not found",
                    "a tokenizer",
                    format_args!("{}, or name your own with {OWN_FILE}", Action::Run("tokenizer")),
                )
            }));
        }
        let bytes = std::fs::metadata(path).map_err(Failure::reading(path))?.len();
        if bytes > foreign::MOST_BYTES {
            return Err(Failure::input(
                path,
                format_args!("{bytes} bytes"),
                format_args!("a tokenizer.json of at most {} bytes", foreign::MOST_BYTES),
                "name another file",
            ));
        }
        Self::from_json_with(path, &stage::read(path)?, ends)
    }

    /// Like [`load`](Self::load), from the content that `path` has or will have.
    pub fn from_json(path: &Path, json: &[u8]) -> Result<Self> {
        Self::from_json_with(path, json, &[])
    }

    fn from_json_with(path: &Path, json: &[u8], ends: &[u32]) -> Result<Self> {
        let remedy =
            &format!("{}, or name another with {OWN_FILE}", Action::RunForced("tokenizer"));
        let unreadable = |error: &dyn std::fmt::Display| {
            Failure::input(
                path,
                format_args!("cannot be read: {error}"),
                "a tokenizer.json of Hugging Face tokenizers",
                remedy,
            )
        };
        // What is no JSON, or no UTF-8 or Unicode within it, makes the crate panic in places.
        let value: serde_json::Value =
            serde_json::from_slice(json).map_err(|error| unreadable(&error))?;
        foreign::check(&value)
            .map_err(|unfit| Failure::input(path, unfit.found, unfit.expected, remedy))?;
        let read = guarded(|| tokenizers::Tokenizer::from_bytes(json));
        let mut inner =
            read.map_err(|panic| unreadable(&panic))?.map_err(|error| unreadable(&error))?;
        // A story is one sequence of any length: what a file says about cutting and filling is for other uses.
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|error| Failure::input(path, error, "a usable tokenizer", remedy))?;
        if let ModelWrapper::BPE(BPE { dropout: Some(dropout), .. }) = inner.get_model()
            && *dropout > 0.0
        {
            return Err(Failure::input(
                path,
                format_args!("its BPE dropout is {dropout}"),
                "one encoding for one text",
                "set model.dropout to null in it",
            ));
        }
        let mut ends: Vec<u32> =
            ends.iter().copied().filter(|&id| inner.id_to_token(id).is_some()).collect();
        if ends.is_empty() {
            ends.extend(inner.token_to_id(EOS));
        }
        if ends.is_empty() {
            let found = format!("no token {EOS} among its {}", inner.get_vocab_size(true));
            return Err(Failure::input(
                path,
                found,
                format_args!("{EOS}, which ends every story"),
                format_args!("add {EOS} to its added_tokens, or {remedy}"),
            ));
        }
        // Ids may have holes, so the highest one decides how many rows an embedding needs.
        let vocab_size =
            inner.get_vocab(true).into_values().max().map_or(0, |id| u64::from(id) + 1);
        if vocab_size > foreign::MOST_IDS {
            return Err(Failure::input(
                path,
                format_args!("the id {}", vocab_size - 1),
                format_args!("ids below {}: each has a row in the embedding", foreign::MOST_IDS),
                remedy,
            ));
        }
        let record = TokenizerRecord { sha256: stage::sha256(json), vocab_size };
        let (path, json) = (path.to_owned(), json.into());
        let prefix = guarded(|| inner.encode("", true).map(|ids| ids.get_ids().to_vec()))
            .map_err(|panic| {
                Failure::input(
                    &path,
                    format_args!("a post_processor that fails: {panic}"),
                    "one that only names tokens that are there",
                    remedy,
                )
            })?
            .unwrap_or_default();
        let tokenizer =
            Tokenizer { inner, fast: OnceLock::new(), json, path, record, ends, prefix };
        tokenizer.encode_by_crate(PROBE)?;
        Ok(tokenizer)
    }

    /// Compares the tokenizer with the manifest that train-tokenizer left beside it, where there is one.
    ///
    /// # Errors
    /// Exit code 3 when its content is another than the manifest says.
    pub fn check_manifest(&self, manifest: &Path) -> Result<()> {
        let wanted =
            Manifest::read(manifest).ok().filter(|manifest| manifest.stage == "train-tokenizer");
        match wanted.and_then(|manifest| manifest.tokenizer).filter(|wanted| *wanted != self.record)
        {
            None => Ok(()),
            Some(wanted) => Err(Failure::input(
                &self.path,
                format_args!("damaged or another one: its SHA-256 is {}", self.record.sha256),
                format_args!("{}, as {} says", wanted.sha256, manifest.display()),
                format_args!(
                    "{}, or name one of your own with {OWN_FILE}",
                    Action::Run("tokenizer")
                ),
            )),
        }
    }

    /// What is set behind every story: the first of [`ends`](Self::ends).
    pub fn eos(&self) -> u32 {
        self.ends.first().copied().unwrap_or_default()
    }

    /// Ids that end a text: those of the model's folder, else `<|endoftext|>`. There is at least one.
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// What the tokenizer itself puts around a text, as `<s>`: none of those trained here does.
    pub fn prefix(&self) -> &[u32] {
        &self.prefix
    }

    /// The content of the file.
    pub fn json(&self) -> &[u8] {
        &self.json
    }

    /// Highest id plus one.
    pub fn vocab_size(&self) -> u32 {
        self.record.vocab_size as u32
    }

    /// SHA-256 of the file.
    pub fn sha256(&self) -> &str {
        &self.record.sha256
    }

    /// What manifests carry.
    pub fn record(&self) -> &TokenizerRecord {
        &self.record
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the encoder of this project encodes for it; if not, crate `tokenizers` does, with the same ids.
    pub fn is_fast(&self) -> bool {
        self.fast().is_some()
    }

    fn fast(&self) -> Option<&Encoder> {
        self.fast.get_or_init(|| Encoder::new(&self.inner, &self.json)).as_ref()
    }

    /// Ids of a text: those of crate `tokenizers`, without special tokens around them.
    ///
    /// # Errors
    /// Exit code 3 when the model has no token for something in the text and no token for the unknown.
    pub fn try_encode(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        self.append(text, &mut Scratch::default(), &mut ids)?;
        Ok(ids)
    }

    /// Appends the ids of a text to `ids`: `u32`, or `u16` for a vocabulary of at most 65,536. `scratch` belongs to one
    /// thread and is the same for all its texts.
    ///
    /// # Errors
    /// Those of [`try_encode`](Self::try_encode).
    pub fn append<T: Id>(&self, text: &str, scratch: &mut Scratch, ids: &mut Vec<T>) -> Result<()> {
        match self.fast() {
            Some(fast) if fast.encode(text, scratch, ids) => Ok(()),
            _ => Ok(ids.extend(self.encode_by_crate(text)?.into_iter().map(T::from_u32))),
        }
    }

    fn encode_by_crate(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = guarded(|| self.inner.encode_fast(text, false));
        let encoding = encoding.unwrap_or_else(|panic| Err(panic.into()));
        encoding.map(|encoding| encoding.get_ids().to_vec()).map_err(|error| {
            let start: String = text.chars().take(40).collect();
            let remedy = "take a byte-level tokenizer, or one with a token for the unknown";
            Failure::input(
                &self.path,
                format_args!("cannot encode {start:?}: {error}"),
                "ids for any text",
                remedy,
            )
        })
    }

    /// [`try_encode`](Self::try_encode) for prompts. A tokenizer that passed the probe of `load` encodes any text.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        self.try_encode(text).unwrap_or_default()
    }

    /// Text of ids, without special tokens. Bytes that are no UTF-8 become U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        guarded(|| self.inner.decode(ids, true).unwrap_or_default()).unwrap_or_default()
    }
}

/// What to say of a tokenizer.json that is missing where there is a tokenizer in another form.
pub fn in_another_form(path: &Path) -> Option<Failure> {
    let names = [&["tokenizer.model"][..], &["vocab.json", "merges.txt"]]
        .into_iter()
        .find(|names| names.iter().all(|name| path.with_file_name(name).is_file()))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new(".")).display();
    Some(Failure::input(
        path,
        format_args!("not found, but {}", names.join(" and ")),
        "a tokenizer.json",
        format_args!(
            "convert it with Python: from transformers import AutoTokenizer; \
             AutoTokenizer.from_pretrained(\"{folder}\").save_pretrained(\"{folder}\")"
        ),
    ))
}

/// Trains a byte-level BPE on counted words and returns the text of its `tokenizer.json`: special tokens [`EOS`] and
/// [`PAD`], the 256 bytes, then merges up to `vocab_size` tokens. Equal words with equal counts give equal bytes, those
/// that the trainer of crate `tokenizers` gives.
///
/// # Errors
/// 130 when interrupted.
pub fn train_on_words(vocab_size: u32, words: WordCounts) -> Result<String> {
    let trained = train::merges(vocab_size as usize, &[EOS, PAD], words.into_sorted())?;
    trained
        .to_json(&[EOS, PAD])
        .map_err(|error| Failure::bad_input(format_args!("training the tokenizer failed: {error}")))
}

/// [`train_on_words`] of the words of texts: `feed` calls what it is given with every one.
///
/// # Errors
/// Those of `feed`; 130 when interrupted.
pub fn train(
    vocab_size: u32,
    feed: impl FnOnce(&mut dyn FnMut(&str) -> Result<()>) -> Result<()>,
) -> Result<String> {
    let words = WordCounts::default();
    let mut counter = words.counter();
    feed(&mut |text| Ok(counter.add(text)))?;
    drop(counter);
    train_on_words(vocab_size, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(i: usize) -> String {
        let names = ["Lily", "Tom", "Ben", "Mia", "Zo\u{eb}"];
        format!(
            "Once upon a time, {} had {i} red balls.\n\"It's mine!\" said {}.",
            names[i % 5],
            names[i * 3 % 5]
        )
    }

    fn trained(vocab_size: u32) -> String {
        train(vocab_size, |each| (0..300).try_for_each(|i| each(&text(i)))).unwrap()
    }

    fn load(json: &str) -> Result<Tokenizer> {
        Tokenizer::from_json(Path::new("tokenizer.json"), json.as_bytes())
    }

    #[test]
    fn training_repeats_and_what_is_encoded_comes_back() {
        let json = trained(400);
        assert!(json == trained(400), "two runs, two tokenizers");
        let tokenizer = load(&json).unwrap();
        assert_eq!((tokenizer.eos(), tokenizer.vocab_size()), (0, 400));
        assert_eq!(tokenizer.inner.token_to_id(PAD), Some(1));
        let every_char: String =
            (0..0x3000).chain([0x1f469, 0x10ffff]).filter_map(char::from_u32).collect();
        for text in [PROBE, "", " ", "\r\n\t ", &every_char, &text(7)] {
            assert_eq!(tokenizer.decode(&tokenizer.encode(text)), text);
        }
        assert_eq!(tokenizer.encode("a<|endoftext|>b").iter().filter(|&&id| id == 0).count(), 1);
        assert_eq!(tokenizer.decode(&[0, tokenizer.encode("a")[0], 1]), "a");
    }

    #[test]
    fn a_text_too_small_gives_fewer_tokens_and_never_fewer_than_the_bytes() {
        let tiny = train(5000, |each| each("to be or not to be")).unwrap();
        let size = load(&tiny).unwrap().vocab_size();
        assert!((259..300).contains(&size), "{size}");
        assert_eq!(load(&train(300, |_| Ok(())).unwrap()).unwrap().vocab_size(), 258);
    }

    #[test]
    fn what_cannot_be_used_is_refused_and_cutting_is_ignored() {
        let json = trained(300);
        let no_eos = load(&json.replace(EOS, "<|other|>")).map(drop).unwrap_err();
        assert!(
            no_eos.exit_code() == 3
                && no_eos.to_string().contains("no token <|endoftext|> among its 300"),
            "{no_eos}"
        );
        assert!(
            load(&json.replace("\"dropout\": null", "\"dropout\": 0.1"))
                .map(drop)
                .unwrap_err()
                .to_string()
                .contains("dropout is 0.1")
        );
        assert_eq!(load("{}").map(drop).unwrap_err().exit_code(), 3);
        let cut = r#""truncation": {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}"#;
        let cut = load(&json.replace("\"truncation\": null", cut)).unwrap();
        assert_eq!(cut.encode(&text(1)), load(&json).unwrap().encode(&text(1)));
        let words = r#"{"version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null,
            "decoder": null, "truncation": null, "padding": null, "model": {"type": "WordLevel", "vocab": {"<|endoftext|>": 0, "a": 1}, "unk_token": "<unk>"}}"#;
        assert!(load(words).map(drop).unwrap_err().to_string().contains("cannot encode"));
    }
}
