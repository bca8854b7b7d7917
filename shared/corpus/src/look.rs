//! A look at texts before a pipeline is written for them: how much there is, of which kind, how it is divided. Reads a part
//! of it.
use std::path::Path;

use serde::Serialize;
use stage::config::Fetch;
use stage::{Action, Failure, Result};

use crate::local_files::{Kind, LocalFile, LocalFiles};
use crate::splits::Validation;
use crate::stories::ParquetStories;
use crate::text_files::{BLANK_LINE, END, Mended, Separator, json_texts, separated_text};

/// Text that is read to tell the length of a story.
const ENOUGH_BYTES: u64 = 16 << 20;
/// From this number of undivided text files on, each is taken for one story.
const MANY_FILES: usize = 20;
/// Names that a column or field of stories has, the likeliest first.
const COLUMNS: [&str; 6] = ["text", "story", "content", "body", "completion", "output"];
/// What packed text is taken to be: this number of times as long.
const UNPACKED: u64 = 3;

/// What a source holds. Figures are of the training stories.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Look {
    /// Of training stories.
    pub files: usize,
    /// As the files are, packed or not.
    pub bytes: u64,
    /// `.parquet`, `.jsonl`, `.json` or `.txt`
    pub kind: &'static str,
    /// Counted, or estimated from those that were read.
    pub stories: u64,
    /// The same, bytes of text.
    pub text_bytes: u64,
    /// Counted, not estimated from a part.
    pub counted: bool,
    /// To be set as `fetch.column`, where it is not the default.
    pub column: Option<String>,
    /// To be set as `fetch.separator`, where it is not the default.
    pub separator: Option<String>,
    /// Files of validation stories; None where a share of the training stories is set aside.
    pub validation_files: Option<usize>,
    /// What was decided, for the user to see.
    pub notes: Vec<String>,
}

/// Stories and bytes of text read so far.
#[derive(Clone, Copy, Default)]
struct Read {
    stories: u64,
    bytes: u64,
    /// Of the files, as they are, that were read to their end.
    of_files: u64,
    /// Texts of these files alone.
    whole_bytes: u64,
    /// All files were read to their end.
    all: bool,
}

/// Looks at local files.
///
/// # Errors
/// Exit code 3 where there are no stories, or files that are none.
pub fn look(source: &str, files: LocalFiles, settings: &Fetch) -> Result<Look> {
    let none = |found: &str| {
        let expected = "at least two stories";
        Failure::input(Path::new(source), found, expected, "name another file, folder or glob")
    };
    let splits = files.splits(source, settings)?;
    let mut notes = splits.notes;
    let train = splits.train;
    let first = train.first().ok_or_else(|| none("no file of training stories"))?;
    let kind = first.kind;
    let (mut column, mut separator) = (None, None);
    let read = match kind {
        Kind::Parquet => {
            let name =
                column_of(settings, |name| ParquetStories::open(&first.path, name).map(drop))?;
            column = (name != settings.column).then(|| name.clone());
            parquet(&train, &name)?
        }
        Kind::JsonLines | Kind::Json => {
            let name =
                column_of(settings, |name| json(std::slice::from_ref(first), name, 1).map(drop))?;
            column = (name != settings.column).then(|| name.clone());
            json(&train, &name, ENOUGH_BYTES)?
        }
        Kind::Text => {
            let (setting, read) = text(&train, settings, &mut notes)?;
            separator = setting;
            read
        }
    };
    if read.stories == 0 {
        return Err(none("no stories in it"));
    }
    let bytes = train.iter().map(size).sum();
    let text_bytes = if read.all { read.bytes } else { estimated(&train, bytes, &read) };
    Ok(Look {
        files: train.len(),
        bytes,
        kind: kind.name(),
        stories: match read.all {
            true => read.stories,
            false => (read.stories as f64 * text_bytes as f64 / read.bytes.max(1) as f64) as u64,
        },
        text_bytes,
        counted: read.all,
        column,
        separator,
        validation_files: match splits.validation {
            Validation::Files(files) => Some(files.len()),
            Validation::Fraction(share) => {
                notes.push(format!("{share} of the stories are set aside for validation"));
                None
            }
        },
        notes,
    })
}

fn size(file: &LocalFile) -> u64 {
    std::fs::metadata(&file.path).map_or(0, |metadata| metadata.len())
}

/// Text in all files: as much to a byte as in those that were read to their end, or as much as is usual.
fn estimated(files: &[LocalFile], bytes: u64, read: &Read) -> u64 {
    if read.of_files > 0 {
        return (bytes as f64 * read.whole_bytes as f64 / read.of_files as f64) as u64;
    }
    let is_packed = |file: &LocalFile| [".gz", ".zst"].iter().any(|end| file.name.ends_with(end));
    let text = |file| if is_packed(file) { UNPACKED * size(file) } else { size(file) };
    files.iter().map(text).sum()
}

/// The first name that the stories are found under; where there is none, what is said of the one that is set.
fn column_of(settings: &Fetch, finds: impl Fn(&str) -> Result<()>) -> Result<String> {
    let set = settings.column.as_str();
    let failure = match finds(set) {
        Ok(()) => return Ok(set.to_owned()),
        Err(failure) => failure,
    };
    let found = COLUMNS.into_iter().find(|name| finds(name).is_ok());
    found.map(str::to_owned).ok_or(failure)
}

fn parquet(files: &[LocalFile], column: &str) -> Result<Read> {
    let mut read = Read { all: true, ..Read::default() };
    for file in files {
        let stories = ParquetStories::open(&file.path, column)?;
        read.stories += stories.stories();
        let groups = 0..stories.row_groups();
        read.bytes += groups.map(|group| stories.text_bytes_in(group)).sum::<u64>();
    }
    Ok(read)
}

fn json(files: &[LocalFile], field: &str, enough: u64) -> Result<Read> {
    each_file(files, enough, |path, each| json_texts(path, field, &mut Mended::default(), each))
}

/// The separator to be set, and what it finds.
fn text(
    files: &[LocalFile],
    settings: &Fetch,
    notes: &mut Vec<String>,
) -> Result<(Option<String>, Read)> {
    let with = |setting: Option<&str>| {
        let separator = Separator::of(setting);
        each_file(files, ENOUGH_BYTES, |path, each| {
            separated_text(path, &separator, &mut Mended::default(), each)
        })
    };
    let read = with(settings.separator.as_deref())?;
    let is_divided = read.stories > files.len() as u64;
    if settings.separator.is_some() || is_divided {
        return Ok((None, read));
    }
    if files.len() >= MANY_FILES {
        notes.push(format!(
            "no {END} in these files: each is one story ({} divides them at blank lines)",
            Action::Option("separator", BLANK_LINE)
        ));
        return Ok((None, read));
    }
    let lines = with(Some(BLANK_LINE))?;
    if lines.stories > files.len() as u64 {
        notes.push(format!("no {END} in these files: blank lines divide the stories"));
        return Ok((Some(BLANK_LINE.to_owned()), lines));
    }
    notes.push(format!("neither {END} nor blank lines divide these files: each is one story"));
    Ok((None, read))
}

/// Reads file after file until there is enough.
fn each_file(
    files: &[LocalFile],
    enough: u64,
    texts: impl Fn(&Path, &mut dyn FnMut(&str) -> Result<()>) -> Result<()>,
) -> Result<Read> {
    let mut read = Read::default();
    for file in files {
        let before = read.bytes;
        let mut has_enough = false;
        let done = texts(&file.path, &mut |text| {
            read.stories += 1;
            read.bytes += text.len() as u64;
            has_enough = read.bytes >= enough;
            if has_enough { Err(Failure::interrupted("enough")) } else { Ok(()) }
        });
        if has_enough {
            return Ok(read);
        }
        done?;
        read.of_files += size(file);
        read.whole_bytes += read.bytes - before;
    }
    Ok(Read { all: true, ..read })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn looked(files: &[(&str, String)]) -> Result<Look> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let files = LocalFiles::list(folder.path(), "stories")?;
        look("here", files, &Fetch::default())
    }

    #[test]
    fn stories_are_counted_and_their_separator_is_found() {
        let story = "Once upon a time there was a cat.\nIt sat.";
        let marked = [story; 5].join("<|endoftext|>");
        let look = looked(&[("a.txt", marked.clone()), ("valid.txt", marked)]).unwrap();
        assert_eq!((look.files, look.stories, look.counted), (1, 5, true));
        assert_eq!((look.separator, look.validation_files), (None, Some(1)));
        assert_eq!(look.text_bytes, 5 * story.len() as u64);

        let look = looked(&[("a.txt", [story; 7].join("\n\n"))]).unwrap();
        assert_eq!((look.stories, look.separator.as_deref()), (7, Some(BLANK_LINE)));
        assert!(look.notes.iter().any(|note| note.contains("blank lines")), "{:?}", look.notes);

        let names: Vec<String> = (0..MANY_FILES).map(|i| format!("{i:02}.txt")).collect();
        let many: Vec<_> = names.iter().map(|name| (&**name, [story; 3].join("\n\n"))).collect();
        let look = looked(&many).unwrap();
        assert_eq!((look.stories, look.separator), (MANY_FILES as u64, None));
    }

    #[test]
    fn the_column_is_found_by_its_usual_names() {
        let lines = |name: &str| format!("{{\"id\": 1, \"{name}\": \"A cat sat.\"}}\n").repeat(4);
        let look = looked(&[("a.jsonl", lines("story"))]).unwrap();
        assert_eq!((look.stories, look.column.as_deref(), look.kind), (4, Some("story"), ".jsonl"));
        assert_eq!(looked(&[("a.jsonl", lines("text"))]).unwrap().column, None);
        let error = looked(&[("a.jsonl", lines("words"))]).unwrap_err();
        assert_eq!(error.exit_code(), 3);
        assert!(error.to_string().contains("words"), "{error}");
    }

    #[test]
    fn of_much_text_a_part_is_read() {
        let story = "A cat sat on a mat, and that was that. ".repeat(500);
        let text = format!("{story}<|endoftext|>\n").repeat(1500);
        let look = looked(&[("a.txt", text.clone())]).unwrap();
        assert!(!look.counted && look.text_bytes == text.len() as u64);
        assert!(look.stories.abs_diff(1500) < 10, "{}", look.stories);
    }

    #[test]
    fn what_has_no_stories_is_told() {
        for files in [&[][..], &[("a.csv", "1,2".into())], &[("a.txt", " \n".into())]] {
            assert_eq!(looked(files).unwrap_err().exit_code(), 3);
        }
    }
}
