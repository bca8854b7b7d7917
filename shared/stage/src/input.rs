//! Opening and reading the user's files. Only regular files are accepted: a pipe without a writer would block, a device may
//! never end.
use std::fs::{File, FileType, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::known::Touch;
use crate::{Failure, Result, memory, platform};

/// Largest text that is read whole, such as a file of prompts, in bytes.
const LONGEST_TEXT: u64 = 64 << 20;
/// Files up to this length are read without checking the memory that is left.
const SMALL: u64 = 64 << 20;
const BOM: &[u8] = b"\xef\xbb\xbf";

/// Opens a file for reading. It never blocks, whatever its name leads to.
///
/// # Errors
/// Exit code 3 for a folder, a pipe, a socket or a device; else as [`Failure::reading`] says.
pub fn open(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    // Opening a pipe would wait for a writer. For a regular file the flag has no effect.
    platform::wait_for_nobody(&mut options);
    let file = match options.open(path) {
        Ok(file) => file,
        // Sockets cannot be opened, nor folders on Windows: what it is says more than the error.
        Err(error) => {
            return Err(match std::fs::metadata(path) {
                Ok(metadata) if !metadata.is_file() => no_file(path, metadata.file_type()),
                _ => Failure::reading(path)(error),
            });
        }
    };
    let kind = file.metadata().map_err(Failure::reading(path))?.file_type();
    if kind.is_file() { Ok(file) } else { Err(no_file(path, kind)) }
}

fn no_file(path: &Path, kind: FileType) -> Failure {
    let (found, remedy) = match platform::kind_name(kind) {
        "a folder" => ("a folder", "name a file in it"),
        "a pipe" => ("a pipe", "write its content to a file first"),
        other => (other, "name another file"),
    };
    Failure::input(path, found, "a file", remedy)
}

/// The whole content of a file, which must fit into memory.
///
/// # Errors
/// Exit code 3 for one that does not fit; else those of [`open`] and of reading.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let file = open(path)?;
    let length = file.metadata().map_err(Failure::reading(path))?.len();
    if length > SMALL && length > memory::available() {
        let available = memory::mib(memory::available());
        return Err(Failure::input(
            path,
            format_args!("{}", memory::mib(length)),
            format_args!("a file that fits into memory, of which {available} are left"),
            "name another file, or take a machine with more memory",
        ));
    }
    let mut content = Vec::new();
    let room = usize::try_from(length).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory));
    let reserved = room.and_then(|bytes| {
        content.try_reserve_exact(bytes).map_err(|_| io::ErrorKind::OutOfMemory.into())
    });
    // Bytes appended meanwhile are ignored.
    reserved
        .and_then(|()| file.take(length.max(SMALL)).read_to_end(&mut content))
        .map_err(Failure::reading(path))?;
    Ok(content)
}

/// A file as it is now. What is read from here on is consistent only if the file stays unchanged.
pub struct Unchanged {
    path: PathBuf,
    touch: Option<Touch>,
}

impl Unchanged {
    /// Takes the length, time and identity of the file.
    pub fn of(path: &Path) -> Self {
        Unchanged { path: path.to_owned(), touch: Touch::of(path) }
    }

    /// # Errors
    /// Exit code 3 when somebody wrote to the file, shortened it or replaced it.
    pub fn check(&self) -> Result<()> {
        let now = Touch::of(&self.path);
        if now == self.touch {
            return Ok(());
        }
        let bytes = |touch: Option<Touch>| match touch {
            Some(touch) => format!("{} bytes", touch.bytes),
            None => "no file".to_owned(),
        };
        Err(Failure::input(
            &self.path,
            format_args!("it changed while it was read: {} now", bytes(now)),
            format_args!("the {} of when it was opened, untouched", bytes(self.touch)),
            "let whatever writes it end, then run the same command again",
        ))
    }
}

/// The whole content of a UTF-8 file. None if there is no such file.
pub fn read_if_present(path: &Path) -> Result<Option<String>> {
    match path.try_exists() {
        Ok(false) => Ok(None),
        _ => read_to_string(path).map(Some),
    }
}

/// The whole content of a UTF-8 file.
pub fn read_to_string(path: &Path) -> Result<String> {
    String::from_utf8(read(path)?).map_err(|error| not_utf8(path, &error))
}

/// A text as people and editors write it, without its byte order mark and with `\n` as line end.
///
/// # Errors
/// Exit code 3 for what is not UTF-8, or longer than 64 MiB.
pub fn read_text(path: &Path) -> Result<String> {
    let mut content = Vec::new();
    let mut file = open(path)?.take(LONGEST_TEXT + 1);
    file.read_to_end(&mut content).map_err(Failure::reading(path))?;
    if content.len() as u64 > LONGEST_TEXT {
        let found = format!("more than {LONGEST_TEXT} bytes");
        return Err(Failure::input(path, found, "a text", "name another file"));
    }
    if let Some(found) = other_encoding(&content) {
        return Err(wrong_encoding(path, found));
    }
    let text = String::from_utf8(content).map_err(|error| not_utf8(path, &error))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    Ok(text.replace("\r\n", "\n"))
}

/// Length of the UTF-8 byte order mark at the start of the bytes, or 0.
pub fn bom_of_utf8(start: &[u8]) -> usize {
    if start.starts_with(BOM) { BOM.len() } else { 0 }
}

/// The encoding of a text that begins with these bytes, if it is not UTF-8.
pub fn other_encoding(start: &[u8]) -> Option<&'static str> {
    match start {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => Some("UTF-32"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some("UTF-16"),
        [a, b, c, d, ..] => match [a, b, c, d].map(|byte| *byte == 0) {
            [true, false, true, false] | [false, true, false, true] => {
                Some("UTF-16 without a byte order mark")
            }
            _ => None,
        },
        _ => None,
    }
}

/// The error for a text in another encoding than UTF-8.
pub fn wrong_encoding(path: &Path, found: &str) -> Failure {
    let from = found.split(' ').next().unwrap_or(found);
    let remedy = format!("convert it: iconv -f {from} -t UTF-8 FILE > NEW");
    Failure::input(path, format_args!("text in {found}"), "text in UTF-8", remedy)
}

fn not_utf8(path: &Path, error: &std::string::FromUtf8Error) -> Failure {
    let found = format!("byte {} is not UTF-8", error.utf8_error().valid_up_to());
    Failure::input(path, found, "text in UTF-8", "convert the file to UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn what_is_no_file_is_named_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for (path, kind) in [
            (pipe.as_path(), "a pipe"),
            (&socket, "a socket"),
            (folder.path(), "a folder"),
            (Path::new("/dev/zero"), "a device"),
            (Path::new("/dev/null"), "a device"),
        ] {
            for error in [open(path).unwrap_err(), read(path).unwrap_err()] {
                let words = format!("{}: {kind}\n  expected: a file", path.display());
                assert!(error.to_string().starts_with(&words), "{error}");
                assert_eq!(error.exit_code(), 3);
            }
        }
        assert!(open(&folder.path().join("x")).unwrap_err().to_string().contains("not found"));
    }

    /// Without blocks on the disk, as a damaged or hostile file system shows them.
    #[cfg(unix)]
    #[test]
    fn what_no_memory_holds_is_refused_before_it_is_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(4 << 40).unwrap();
        let error = read(file.path()).unwrap_err();
        assert!(error.to_string().contains("4096 GiB") && error.exit_code() == 3, "{error}");
    }

    #[test]
    fn a_file_that_changes_while_it_is_read_is_found_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        std::fs::write(&path, "One. Two.").unwrap();
        let before = Unchanged::of(&path);
        before.check().unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_len(4).unwrap();
        let error = before.check().unwrap_err();
        assert!(error.to_string().contains("4 bytes now\n  expected: the 9 bytes"), "{error}");
        assert_eq!(error.exit_code(), 3);
        std::fs::remove_file(&path).unwrap();
        assert!(before.check().unwrap_err().to_string().contains("no file now"));
    }

    #[test]
    fn texts_are_read_as_editors_write_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        let read_back = |content: &[u8]| {
            std::fs::write(&path, content).unwrap();
            read_text(&path)
        };
        assert_eq!(read_back(b"\xef\xbb\xbfOne\r\nTwo\n").unwrap(), "One\nTwo\n");
        assert_eq!(read_back(b"").unwrap(), "");
        for (content, words) in [
            (&b"\xff\xfeO\0n\0"[..], "UTF-16"),
            (b"\0O\0n", "UTF-16 without"),
            (b"\xff\xfe\0\0", "UTF-32"),
            (b"One \xff", "byte 4 is not UTF-8"),
        ] {
            let error = read_back(content).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
