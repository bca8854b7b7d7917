//! Stories in plain files: JSON lines, and text with `<|endoftext|>` between the stories. Read as a stream.
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde_json::Value;
use stage::{Failure, Result};

pub const SEPARATOR: &str = "<|endoftext|>";
/// A longer line or story is taken for a file of another kind, before it fills the memory.
const LONGEST_BYTES: usize = 64 << 20;

/// Calls `each` with the string in `field` of every line, in order. Blank lines are skipped.
pub fn json_lines(
    path: &Path,
    field: &str,
    mut each: impl FnMut(&str) -> Result<()>,
) -> Result<()> {
    let mut reader = open(path)?;
    let mut line = Vec::new();
    for number in 1u64.. {
        line.clear();
        if read_piece(&mut reader, b'\n', &mut line, path)? == 0 {
            break;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let bad = |found: String| {
            let expected = format!("a JSON object with a string {field:?} on every line");
            let remedy =
                "mend or remove the line, or name another field with --set fetch.column=NAME";
            Failure::input(path, format_args!("line {number}: {found}"), expected, remedy)
        };
        let value: Value =
            serde_json::from_slice(&line).map_err(|error| bad(format!("not JSON: {error}")))?;
        match value.get(field) {
            Some(Value::String(text)) => each(text)?,
            Some(other) => return Err(bad(format!("{field:?} is {other}"))),
            None => {
                let names: Vec<&str> = value
                    .as_object()
                    .into_iter()
                    .flatten()
                    .map(|(name, _)| name.as_str())
                    .collect();
                return Err(bad(format!(
                    "no field {field:?}; its fields are {}",
                    names.join(", ")
                )));
            }
        }
    }
    Ok(())
}

/// Calls `each` with every story, in order, without the white space around it. What is empty is no story.
pub fn separated_text(path: &Path, mut each: impl FnMut(&str) -> Result<()>) -> Result<()> {
    let mut reader = open(path)?;
    let (mut story, mut offset) = (Vec::new(), 0u64);
    loop {
        // The separator ends in '>', so it is whole in what has been read so far or not yet there.
        let read = read_piece(&mut reader, b'>', &mut story, path)?;
        let ended = story.ends_with(SEPARATOR.as_bytes());
        if read > 0 && !ended {
            continue;
        }
        let bytes = if ended { &story[..story.len() - SEPARATOR.len()] } else { &story[..] };
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let found = format!("byte {} is not UTF-8", offset + error.valid_up_to() as u64);
            Failure::input(path, found, "text in UTF-8", "convert the file to UTF-8")
        })?;
        if !text.trim().is_empty() {
            each(text.trim())?;
        }
        if read == 0 {
            return Ok(());
        }
        offset += story.len() as u64;
        story.clear();
    }
}

fn open(path: &Path) -> Result<BufReader<File>> {
    Ok(BufReader::with_capacity(1 << 18, File::open(path).map_err(Failure::reading(path))?))
}

/// `read_until` with an end.
fn read_piece(
    reader: &mut BufReader<File>,
    end: u8,
    piece: &mut Vec<u8>,
    path: &Path,
) -> Result<usize> {
    let room = (LONGEST_BYTES + 1).saturating_sub(piece.len());
    let read =
        reader.by_ref().take(room as u64).read_until(end, piece).map_err(Failure::reading(path))?;
    if piece.len() > LONGEST_BYTES {
        let expected =
            format!("lines of JSON (.jsonl), or stories with {SEPARATOR} between them (.txt)");
        return Err(Failure::input(
            path,
            format_args!("a line or story of more than {LONGEST_BYTES} bytes"),
            expected,
            "take a file of that kind",
        ));
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        file
    }

    #[test]
    fn text_is_cut_at_the_separator_and_nowhere_else() {
        let file = file(
            b"One > two.\n<|endoftext|>\n<|endoftext|>Two\n\nlines <b>.<|endoftext|>\n\nLast\n",
        );
        let mut stories = Vec::new();
        let keep = |text: &str| {
            stories.push(text.to_owned());
            Ok(())
        };
        separated_text(file.path(), keep).unwrap();
        assert_eq!(stories, ["One > two.", "Two\n\nlines <b>.", "Last"]);
    }

    #[test]
    fn errors_name_the_line_or_the_byte() {
        let lines = file(b"{\"text\": \"A\"}\n\n{\"story\": \"B\"}\n");
        let error = json_lines(lines.path(), "text", |_| Ok(())).unwrap_err().to_string();
        assert!(error.contains("line 3: no field \"text\"; its fields are story"), "{error}");
        let text = file(b"A<|endoftext|>B\xff");
        let error = separated_text(text.path(), |_| Ok(())).unwrap_err().to_string();
        assert!(error.contains("byte 15 is not UTF-8"), "{error}");
    }
}
