//! Stories in plain files: JSON lines, a JSON array, and text with something between the stories; packed or not. Read as a
//! stream: memory does not grow with the file.
use std::fmt;
use std::path::Path;

use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use stage::{Action, Failure, Result};

use crate::record::{TextOf, words};
use crate::text_input::{TextInput, Values};

/// The end of a story, as the published texts write it.
pub const END: &str = "<|endoftext|>";
/// The value of `fetch.separator` for one or more lines without text.
pub const BLANK_LINE: &str = "blank-line";
/// A longer line or story is taken for a file of another kind, before it fills the memory.
const LONGEST_BYTES: usize = 64 << 20;
/// Lines between two looks at the signals.
const LINES_BETWEEN: u64 = 1 << 16;

/// What stands between the stories of a text file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Separator {
    /// This text, wherever it stands.
    Text(String),
    /// One blank line or more.
    BlankLine,
}

impl Separator {
    /// What `fetch.separator` says: `blank-line`, or any text, in which `\n` is a line end and `\t` a tab.
    pub fn of(setting: Option<&str>) -> Self {
        match setting {
            None | Some("") => Separator::Text(END.to_owned()),
            Some(BLANK_LINE) => Separator::BlankLine,
            Some(text) => {
                let text = text.replace("\\n", "\n").replace("\\t", "\t");
                Separator::Text(text.replace("\r\n", "\n"))
            }
        }
    }
}

impl fmt::Display for Separator {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Separator::Text(text) => write!(f, "{text:?}"),
            Separator::BlankLine => f.write_str("a blank line"),
        }
    }
}

/// What was mended while stories were read, to be said once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mended {
    /// Texts that began or ended with [`END`].
    pub ends: u64,
    /// Texts that had it inside, and are several stories now.
    pub divided: u64,
    /// Files that began with a byte order mark.
    pub marks: u64,
    /// Text files with line ends other than `\n`.
    pub returns: u64,
    /// A text file in which nothing stood between stories.
    pub undivided: Option<String>,
}

impl Mended {
    /// Adds the counts of another file.
    pub fn add(&mut self, other: Mended) {
        self.ends += other.ends;
        self.divided += other.divided;
        self.marks += other.marks;
        self.returns += other.returns;
        self.undivided = self.undivided.take().or(other.undivided);
    }

    /// One sentence for each thing.
    pub fn sentences(&self) -> Vec<String> {
        let said = [
            (self.ends, format!("texts had {END} at an end: it was removed")),
            (self.divided, format!("texts had {END} inside: each is several stories now")),
            (self.marks, "files began with a byte order mark: it was removed".to_owned()),
            (self.returns, "files had line ends other than \\n: they are \\n now".to_owned()),
        ];
        let counted = said.into_iter().filter(|(n, _)| *n > 0);
        counted.map(|(n, text)| format!("{} {text}", stage::count(n))).collect()
    }
}

/// Calls `each` with the stories of one text: nearly always the text as it is. Where it has [`END`], what lies between,
/// without the white space there; what is empty then is no story.
pub fn stories_of(
    text: &str,
    mended: &mut Mended,
    mut each: impl FnMut(&str) -> Result<()>,
) -> Result<()> {
    if !text.contains(END) {
        return each(text);
    }
    let stories = || text.split(END).map(str::trim).filter(|story| !story.is_empty());
    match stories().nth(1) {
        Some(_) => mended.divided += 1,
        None => mended.ends += 1,
    }
    stories().try_for_each(each)
}

/// Calls `each` with the string in `field` of every line, or of every element of an array, in order. Blank lines are skipped.
pub fn json_texts(
    path: &Path,
    field: &str,
    mended: &mut Mended,
    mut each: impl FnMut(&str) -> Result<()>,
) -> Result<()> {
    let mut input = TextInput::open(path)?;
    mended.marks += u64::from(input.had_bom);
    if input.first_byte()? == Some(b'[') {
        return array(path, field, input.into_values(LONGEST_BYTES), &mut each);
    }
    let mut line = Vec::new();
    for number in 1u64.. {
        line.clear();
        if read_piece(&mut input, b'\n', &mut line, path)? == 0 {
            break;
        }
        if line.trim_ascii().is_empty() {
            if number % LINES_BETWEEN == 0 {
                stage::interrupt::check("nothing was written")?;
            }
            continue;
        }
        let mut json = serde_json::Deserializer::from_slice(&line);
        let text = TextOf(field).deserialize(&mut json).and_then(|text| json.end().map(|()| text));
        let text = text.map_err(|error| bad_json(path, field, "line", number, &error))?;
        each(&text)?;
    }
    Ok(())
}

fn bad_json(path: &Path, field: &str, part: &str, n: u64, error: &serde_json::Error) -> Failure {
    let found = format!("{part} {n}: {}", words(error));
    let expected = format!("JSON objects with a string {field:?}, one a line or in one array");
    let remedy = format!(
        "mend or remove the {part}, or name another field with {}",
        Action::Set("fetch.column", "NAME")
    );
    Failure::input(path, found, expected, remedy)
}

/// The elements of a JSON array, one at a time in memory.
fn array(
    path: &Path,
    field: &str,
    mut values: Values,
    each: &mut dyn FnMut(&str) -> Result<()>,
) -> Result<()> {
    struct Elements<'a> {
        field: &'a str,
        count: &'a mut u64,
        next: &'a dyn Fn(),
        each: &'a mut dyn FnMut(&str) -> Result<()>,
        failed: &'a mut Option<Failure>,
    }
    impl<'de> Visitor<'de> for Elements<'_> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("an array")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
            while let Some(text) = elements.next_element_seed(TextOf(self.field))? {
                (self.next)();
                *self.count += 1;
                (self.each)(&text).map_err(|failure| {
                    *self.failed = Some(failure);
                    A::Error::custom("ended")
                })?;
            }
            Ok(())
        }
    }
    let (mut count, mut failed, room) = (0, None, values.room());
    let next = || room.refill();
    let mut json = serde_json::Deserializer::from_reader(&mut values);
    let elements = Elements { field, count: &mut count, next: &next, each, failed: &mut failed };
    let read = json.deserialize_seq(elements).and_then(|()| json.end());
    match (failed, read) {
        (Some(failure), _) => Err(failure),
        (None, Err(error)) if error.is_io() => {
            Err(values.failure(error.into()).unwrap_or_else(|| too_long(path)))
        }
        (None, Err(error)) => Err(bad_json(path, field, "element", count + 1, &error)),
        (None, Ok(())) => Ok(()),
    }
}

/// Calls `each` with every story, in order, without the white space around it. What is empty is no story.
pub fn separated_text(
    path: &Path,
    separator: &Separator,
    mended: &mut Mended,
    mut each: impl FnMut(&str) -> Result<()>,
) -> Result<()> {
    let mut input = TextInput::open(path)?;
    mended.marks += u64::from(input.had_bom);
    let (mut story, mut line, mut stories, mut cuts) = (Vec::new(), 1, 0u64, 0u64);
    loop {
        // A separator is whole in what has been read so far or not yet there: its last byte is looked for.
        let before = story.len();
        let last = match separator {
            Separator::Text(text) => text.as_bytes().last().copied().unwrap_or(b'\n'),
            Separator::BlankLine => b'\n',
        };
        let read = read_piece(&mut input, last, &mut story, path)?;
        let end = match separator {
            Separator::Text(text) => {
                story.ends_with(text.as_bytes()).then(|| story.len() - text.len())
            }
            Separator::BlankLine => {
                let line = story.get(before..).unwrap_or_default();
                line.trim_ascii().is_empty().then_some(before)
            }
        };
        if read > 0 && end.is_none() {
            continue;
        }
        // Blank lines before the first story divide nothing.
        cuts += u64::from(read > 0 && (before > 0 || *separator != Separator::BlankLine));
        let bytes = end.and_then(|end| story.get(..end)).unwrap_or(&story);
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let (good, _) = bytes.split_at(error.valid_up_to());
            let line = line + count(good);
            let place = good.rsplit(|&byte| byte == b'\n').next().map_or(0, <[u8]>::len);
            Failure::input(path, "not UTF-8", "text in UTF-8", "convert the file to UTF-8")
                .at(format_args!("line {line}, byte {} of it", place + 1))
        })?;
        if !text.trim().is_empty() {
            stories += 1;
            each(text.trim())?;
        } else if line % LINES_BETWEEN == 0 {
            stage::interrupt::check("nothing was written")?;
        }
        if read == 0 {
            mended.returns += u64::from(input.had_returns());
            if stories == 1 && cuts == 0 {
                mended.undivided.get_or_insert_with(|| {
                    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
                });
            }
            return Ok(());
        }
        line += count(&story);
        story.clear();
    }
}

fn count(text: &[u8]) -> u64 {
    text.iter().filter(|&&byte| byte == b'\n').count() as u64
}

/// `read_until` with a limit.
fn read_piece(input: &mut TextInput, end: u8, piece: &mut Vec<u8>, path: &Path) -> Result<usize> {
    let read = input.read_until(end, piece, LONGEST_BYTES)?;
    if piece.len() > LONGEST_BYTES { Err(too_long(path)) } else { Ok(read) }
}

fn too_long(path: &Path) -> Failure {
    Failure::input(
        path,
        format_args!("a line or story of more than {LONGEST_BYTES} bytes"),
        format_args!(
            "JSON objects, one a line or in one array, or stories with {END} between them"
        ),
        format_args!(
            "take a file of that kind, or say what stands between its stories with {}",
            Action::Set("fetch.separator", "TEXT")
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(content: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        file
    }

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(content).unwrap();
        packer.finish().unwrap()
    }

    fn zstd(content: &[u8]) -> Vec<u8> {
        zstd::encode_all(content, 1).unwrap()
    }

    fn text_stories(content: &[u8], separator: Option<&str>) -> (Result<Vec<String>>, Mended) {
        let (mut stories, mut mended) = (Vec::new(), Mended::default());
        let separator = Separator::of(separator);
        let keep = |text: &str| Ok(stories.push(text.to_owned()));
        let read = separated_text(file(content).path(), &separator, &mut mended, keep);
        (read.map(|()| stories), mended)
    }

    fn json_stories(content: &[u8]) -> Result<Vec<String>> {
        let (mut stories, mut mended) = (Vec::new(), Mended::default());
        let keep = |text: &str| Ok(stories.push(text.to_owned()));
        json_texts(file(content).path(), "text", &mut mended, keep).map(|()| stories)
    }

    #[test]
    fn text_is_cut_at_the_separator_and_nowhere_else() {
        let text =
            b"One > two.\n<|endoftext|>\n<|endoftext|>Two\n\nlines <b>.<|endoftext|>\n\nLast\n";
        let expected = ["One > two.", "Two\n\nlines <b>.", "Last"];
        for content in
            [text.to_vec(), gzip(text), zstd(text), [gzip(&text[..20]), gzip(&text[20..])].concat()]
        {
            assert_eq!(text_stories(&content, None).0.unwrap(), expected);
        }
        let cases: [(&str, &[u8], &[&str]); 6] = [
            ("blank-line", b"\nOne\nline.\n\n \t\nTwo.\n\n", &["One\nline.", "Two."]),
            ("blank-line", b"One\r\nline.\r\n\r\nTwo.", &["One\nline.", "Two."]),
            ("\\n\\n", b"One.\r\n\r\nTwo.", &["One.", "Two."]),
            ("---", b"One-two.---Two.-----", &["One-two.", "Two.", "--"]),
            ("||", b"a|||b||", &["a", "|b"]),
            ("###", b"One <|endoftext|> two.###Two.", &["One <|endoftext|> two.", "Two."]),
        ];
        for (separator, content, expected) in cases {
            let (stories, mended) = text_stories(content, Some(separator));
            assert_eq!(stories.unwrap(), expected, "{separator}");
            assert_eq!(mended.undivided, None, "{separator}");
        }
    }

    #[test]
    fn what_editors_leave_is_mended_and_counted() {
        let (stories, mended) =
            text_stories(b"\xef\xbb\xbfOne\r\nline.<|endoftext|>\r\nTwo.", None);
        assert_eq!(stories.unwrap(), ["One\nline.", "Two."]);
        assert_eq!((mended.marks, mended.returns, &mended.undivided), (1, 1, &None));
        assert_eq!(mended.sentences().len(), 2);
        let (stories, mended) = text_stories(b"One.\n\nTwo.", None);
        assert_eq!(stories.unwrap().len(), 1);
        assert!(mended.undivided.is_some());
        assert_eq!(text_stories(b"One.<|endoftext|>\n", None).1, Mended::default());
        assert_eq!(json_stories(b"\xef\xbb\xbf{\"text\": \"A\"}\r\n").unwrap(), ["A"]);
    }

    #[test]
    fn an_end_of_text_in_a_text_is_an_end() {
        let mut mended = Mended::default();
        let mut of = |text: &str| {
            let mut stories = Vec::new();
            stories_of(text, &mut mended, |story| Ok(stories.push(story.to_owned()))).unwrap();
            stories
        };
        assert_eq!(of(" One. "), [" One. "]);
        assert_eq!(of("One.\n<|endoftext|>"), ["One."]);
        assert_eq!(of("<|endoftext|>One.<|endoftext|>\n"), ["One."]);
        assert_eq!(of("One.<|endoftext|> Two."), ["One.", "Two."]);
        assert_eq!(of("<|endoftext|>"), [""; 0]);
        assert_eq!((mended.ends, mended.divided), (3, 1));
    }

    #[test]
    fn json_is_read_as_lines_and_as_an_array() {
        let lines = b"{\"text\": \"A\"}\n\n{\"id\": [1, {}], \"text\": \"B\\n\"}";
        let list = b" [ {\"text\": \"A\"},\n{\"id\": [1, {}], \"text\": \"B\\n\"}]\n";
        for content in [&lines[..], list, b"{\"text\":\"A\"}\r\n{\"text\":\"B\\n\"}\r\n"] {
            for content in [content.to_vec(), gzip(content), zstd(content)] {
                assert_eq!(json_stories(&content).unwrap(), ["A", "B\n"]);
            }
        }
        assert_eq!(json_stories(b"[]").unwrap(), [""; 0]);
        let enough = |_: &str| Err(Failure::usage("enough"));
        let path = file(b"[{\"text\": \"A\"}, nonsense");
        let ended = json_texts(path.path(), "text", &mut Mended::default(), enough);
        assert_eq!(ended.unwrap_err().to_string(), "enough");
    }

    #[test]
    fn errors_name_the_line_the_element_or_the_byte() {
        let cases: [(&[u8], &str); 12] = [
            (
                b"{\"text\": \"A\"}\n\n{\"story\": \"B\"}\n",
                "line 3: no field \"text\"; its fields are story",
            ),
            (b"{\"text\": 7}", "line 1: invalid type: integer `7`, expected a string in \"text\""),
            (b"{\"text\": null}", "line 1: invalid type: null"),
            (b"\"A\"", "line 1: invalid type: string \"A\", expected an object"),
            (b"{\"text\": \"A\", \"text\": \"B\"}", "line 1: the field \"text\" twice"),
            (b"{\"text\": \"A\"} {\"text\": \"B\"}", "line 1: not JSON: trailing characters"),
            (b"{\"text\": \"A\"}\n{\"text\": \n", "line 2: not JSON"),
            (
                b"[{\"text\": \"A\"}, {\"story\": 1}]",
                "element 2: no field \"text\"; its fields are story",
            ),
            (b"[{\"text\": \"A\"}", "element 2: not JSON"),
            (b"[{\"text\": \"A\"}] x", "element 2: not JSON: trailing characters"),
            (b"{\"text\": \"\xff\"}", "line 1: not JSON: invalid unicode"),
            (b"\xff\xfe{\0\"\0", "text in UTF-16"),
        ];
        for (content, words) in cases {
            let error = json_stories(content).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
            assert_eq!(error.exit_code(), 3);
        }
        let error = text_stories(b"A\n<|endoftext|>\nB\xff", None).0.unwrap_err().to_string();
        assert!(error.contains("line 3, byte 2 of it: not UTF-8"), "{error}");
    }

    #[test]
    fn what_does_not_end_is_refused_before_it_fills_the_memory() {
        let endless = vec![b'x'; LONGEST_BYTES + (1 << 20)];
        assert!(
            text_stories(&zstd(&endless), None).0.unwrap_err().to_string().contains("more than")
        );
        assert!(json_stories(&zstd(&endless)).unwrap_err().to_string().contains("more than"));
        let one = [b"[{\"text\": \"", &endless[..], b"\"}]"].concat();
        assert!(json_stories(&gzip(&one)).unwrap_err().to_string().contains("more than"));
        let lines = "{\"text\": \"A\"}\n".repeat(1000);
        for packed in [gzip(lines.as_bytes()), zstd(lines.as_bytes())] {
            let cut = json_stories(&packed[..packed.len() - 9]).unwrap_err();
            assert!(cut.to_string().contains("cannot be unpacked"), "{cut}");
            assert_eq!(cut.exit_code(), 3);
        }
    }
}
