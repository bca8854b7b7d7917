//! Texts that a tokenizer has to survive, and crate `tokenizers` as the oracle of what is right.
#![allow(dead_code)] // each test binary uses its share
use std::fs;
use std::path::{Path, PathBuf};

use corpus::stories::ParquetStories;
use corpus::tokenizer::{EOS, PAD, Tokenizer};
use stage::Random;
use tokenizers::decoders::byte_level::ByteLevel as ByteLevelDecoder;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, NormalizerWrapper, TokenizerImpl};

/// `BEDTIME_LONG=1` (`make test-long`) runs what takes minutes.
pub(crate) fn long() -> bool {
    std::env::var_os("BEDTIME_LONG").is_some()
}

/// The folder of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Real stories, where somebody put them: `BEDTIME_STORIES`, or `../shared/data/tinystories` beside the project.
pub(crate) fn real_stories() -> Option<Vec<String>> {
    let beside = || root().join("../shared/data/tinystories");
    let folder = std::env::var_os("BEDTIME_STORIES").map_or_else(beside, PathBuf::from);
    let Ok(entries) = fs::read_dir(&folder) else {
        eprintln!("SKIPPED: no real stories in {}", folder.display());
        return None;
    };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "parquet"));
    files.sort();
    let mut texts = Vec::new();
    for file in files {
        let stories = ParquetStories::open(&file, "text").unwrap();
        for row_group in 0..stories.row_groups() {
            stories.read(row_group, |text| Ok(texts.push(text.to_owned()))).unwrap();
        }
    }
    Some(texts)
}

/// Synthetic stories, which are always there.
pub(crate) fn made_up(n: u64) -> Vec<String> {
    (0..n).map(|index| grammar::story(1, index)).collect()
}

/// Every text file of the project itself.
pub(crate) fn own_files() -> Vec<String> {
    fn below(folder: &Path, texts: &mut Vec<String>) {
        let mut entries: Vec<PathBuf> =
            fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()).collect();
        entries.sort();
        for path in entries {
            if path.is_dir() {
                below(&path, texts);
            } else if let Ok(text) = fs::read_to_string(&path) {
                texts.push(text);
            }
        }
    }
    let mut texts = Vec::new();
    for folder in ["bins", "shared", "tests", "pipelines"] {
        below(&root().join(folder), &mut texts);
    }
    texts.extend(
        ["README.md", "Makefile", "Cargo.toml", "Cargo.lock"]
            .map(|name| fs::read_to_string(root().join(name)).unwrap()),
    );
    texts
}

/// White space of Unicode, by name of the code points.
const WHITE: &str = "\t\n\u{b}\u{c}\r \u{85}\u{a0}\u{1680}\u{2000}\u{2001}\u{2002}\u{2003}\u{2004}\u{2005}\u{2006}\u{2007}\u{2008}\u{2009}\
    \u{200a}\u{2028}\u{2029}\u{202f}\u{205f}\u{3000}";
/// Looks like white space and is none, or the other way round.
const NEARLY_WHITE: &str =
    "\u{1c}\u{1d}\u{1e}\u{1f}\u{180e}\u{200b}\u{200c}\u{200d}\u{2060}\u{feff}";

/// Hard Unicode, each with letters, digits, spaces, quotes and ends of text on all sides.
pub(crate) fn hard() -> Vec<String> {
    let mut texts: Vec<String> = [
        "",
        " ",
        "'",
        "\0",
        "e\u{301}\u{323} o\u{308}\u{304} \u{1e69} s\u{323}\u{307} \u{301}alone",
        "👩‍🚀🏳️‍🌈👨‍👩‍👧‍👦 👍🏽🇩🇪🇫🇷 1️⃣ ☺️",
        "한국어 문장입니다. 각 각\u{1100}\u{1161}\u{11a8} 123개",
        "اللغة العربية ١٢٣ السّلامُ \u{202e}عربي עברית\u{202c}",
        "ภาษาไทยไม่มีช่องว่าง กำ น้ำ ๑๒๓",
        "日本語の文章、ひらがなカタカナ。１２３ 你好，世界",
        "हिन्दी में क्षत्रिय १२३ বাংলা தமிழ்",
        "\u{d7ff}\u{e000}\u{fffd}\u{ffff}\u{10000}\u{10ffff}\u{fdd0}\u{1fffe}",
        "don't I'll we've you're he'd I'm it's DON'T I'LL 'Tis 's's's ''s '''re 're've'll'd'm't x'y 'sa 're1 'r 'v 'l 'le",
        "'\u{2019}s don\u{2019}t \u{2bc}s don\u{2bc}t 's\u{301} 'll\u{e9} '\u{17f}",
        " 's  's\n's\u{a0}'s\u{3000}'s\t's 1's é's !'s ''s",
        "²³¼½¾ ⅷ Ⅳ ①② ０９ ৪ 𝟘𝟙 ௧௨ 一二三 \u{1d7ce}a",
        "\u{1}\u{2}\u{7}\u{8}\u{1b}[0m\u{7f}\u{80}\u{9f}\u{ad}",
        "a  b   c    d     \n\n\n  e\r\n\r\n f\t\tg \u{a0} h \u{3000}\u{3000} i",
        "<|endoftext|> a<|endoftext|>b <|endoftext|><|pad|> <|endoftext|  <|pad|>\n\n<|endoftext|>",
        "x = y+1; // comment\n\tif (a != b) { return 3.14e-5; }",
    ]
    .map(str::to_owned)
    .into();
    let ends = ["", " ", "a", "1", "!", "'", "é", "'s", "\n", "  ", "語"];
    for c in
        WHITE.chars().chain(NEARLY_WHITE.chars()).chain("'éß語ก가ا٣½ⅷ₂😀\u{301}\u{200d}".chars())
    {
        for before in ends {
            for after in ends {
                texts.extend(
                    [1, 2, 3].map(|n| format!("{before}{}{after}", c.to_string().repeat(n))),
                );
            }
        }
    }
    for c in ["a", "é", "語", "😀", "1", "!", " ", "\n", "\u{a0}", "\u{3000}", "'s", "ab", "<|"]
    {
        // Lengths around blocks, batches and the borders of the caches.
        for length in (0..200).chain([255, 256, 257, 511, 512, 513, 1023, 1024, 1025, 4000]) {
            texts.push(c.repeat(length));
            texts.push(format!("{}b", c.repeat(length)));
            texts.push(format!(" {}  ", c.repeat(length)));
        }
    }
    texts
}

/// Pieces of a megabyte: what must not take the square of it.
pub(crate) fn very_long() -> Vec<String> {
    let mut random = Random::new(7, "long", 0);
    let letters: String = (0..1 << 20).map(|_| char::from(b'a' + random.below(26) as u8)).collect();
    let han: String =
        (0..1 << 18).filter_map(|_| char::from_u32(0x4e00 + random.below(0x5000) as u32)).collect();
    vec![
        "a".repeat(1 << 20),
        "ab".repeat(1 << 19),
        "!".repeat(1 << 20),
        " ".repeat(1 << 20),
        "\n".repeat(1 << 20),
        letters,
        han,
    ]
}

/// A random string: of few kinds of characters, so that the borders between them are many.
pub(crate) fn random_text(seed: u64, index: u64) -> String {
    let mut random = Random::new(seed, "text", index);
    let kinds = random.below(6);
    let length = match random.below(10) {
        0..=5 => random.below(24),
        6..=8 => random.below(100),
        _ => random.below(700),
    };
    let mut text = String::new();
    for _ in 0..length {
        match (kinds, random.below(16)) {
            (_, 0) => text.push(' '),
            (0, 1..=4) => text.push(char::from(random.below(128) as u8)),
            (0 | 1, 5) => text.push_str(
                ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'"][random.below(8) as usize],
            ),
            (0 | 1, 6) => text.push(WHITE.chars().nth(random.below(25) as usize).unwrap()),
            (1 | 2, 7..=9) => text.extend(char::from_u32(random.below(0x11_0000) as u32)),
            (2, 10..) => text.extend(char::from_u32(random.below(0x3100) as u32)),
            (3, 1..=8) => text.push(char::from(b"stmdrevl' \n1!"[random.below(13) as usize])),
            (3, 9..) => text.push_str(
                ["<|endoftext|>", "<|pad|>", "<|", "|>", "a", "é", "\u{a0}"]
                    [random.below(7) as usize],
            ),
            (4, 1..) => text.push(char::from(b'a' + random.below(3) as u8)),
            (_, _) => text.push(char::from(b'a' + random.below(26) as u8)),
        }
    }
    text
}

/// Trains with this project.
pub(crate) fn train(vocab_size: u32, texts: &[String]) -> String {
    corpus::tokenizer::train(vocab_size, |each| texts.iter().try_for_each(|text| each(text)))
        .unwrap()
}

/// Trains with crate `tokenizers`.
pub(crate) fn train_by_crate(vocab_size: u32, texts: &[String]) -> String {
    let mut trainer = BpeTrainer::builder()
        .vocab_size(vocab_size as usize)
        .special_tokens([EOS, PAD].map(|token| AddedToken::from(token, true)).into())
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .show_progress(false)
        .build();
    let mut tokenizer =
        TokenizerImpl::<BPE, NormalizerWrapper, ByteLevel, ByteLevel, ByteLevelDecoder>::new(
            BPE::default(),
        );
    tokenizer.with_pre_tokenizer(Some(ByteLevel::default().add_prefix_space(false)));
    tokenizer.with_decoder(Some(ByteLevelDecoder::default()));
    tokenizer.train(&mut trainer, texts.iter()).unwrap();
    tokenizer.to_string(true).unwrap()
}

/// The encoder of this project beside the crate's, for one tokenizer.
pub(crate) struct Pair {
    pub own: Tokenizer,
    pub oracle: tokenizers::Tokenizer,
}

impl Pair {
    pub(crate) fn new(json: &str) -> Self {
        let own = Tokenizer::from_json(Path::new("tokenizer.json"), json.as_bytes()).unwrap();
        Pair { own, oracle: tokenizers::Tokenizer::from_bytes(json).unwrap() }
    }

    /// Ids as crate `tokenizers` has them, and the text comes back.
    pub(crate) fn check(&self, text: &str, scratch: &mut corpus::tokenizer::Scratch) {
        let expected = self.oracle.encode_fast(text, false).unwrap();
        let mut ids = vec![7u32; 3];
        self.own.append(text, scratch, &mut ids).unwrap();
        let shown: String = text.chars().take(300).collect();
        assert!(
            ids[..3] == [7; 3] && &ids[3..] == expected.get_ids(),
            "{shown:?}\n own   {:?}\n crate {:?}",
            &ids[3..],
            expected.get_ids()
        );
        assert_eq!(
            self.oracle.decode(&ids[3..], false).unwrap(),
            text,
            "it does not come back: {shown:?}"
        );
        if self.own.vocab_size() <= 1 << 16 {
            let mut narrow: Vec<u16> = Vec::new();
            self.own.append(text, scratch, &mut narrow).unwrap();
            assert!(
                narrow.iter().map(|&id| u32::from(id)).eq(ids[3..].iter().copied()),
                "16 bits, {shown:?}"
            );
        }
    }
}
