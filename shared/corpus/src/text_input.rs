//! A text file as a stream of bytes in UTF-8: opened, unpacked, without its byte order mark, every line end a `\n`.
use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;
use stage::{Failure, Result};
use zstd::stream::read::Decoder;

const BUFFER: usize = 1 << 18;

/// The bytes of a text file. How it is packed is told by its first bytes, not by its name.
pub(crate) struct TextInput {
    path: PathBuf,
    packed: Option<&'static str>,
    reader: BufReader<Lines<Box<dyn Read>>>,
    /// It began with a byte order mark.
    pub had_bom: bool,
}

impl TextInput {
    /// # Errors
    /// Exit code 3 for what is no file, cannot be unpacked, or is in UTF-16.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let mut file = BufReader::with_capacity(BUFFER, stage::open(path)?);
        let first = file.fill_buf().map_err(Failure::reading(path))?;
        let packed = match first {
            [0x1f, 0x8b, ..] => Some("gzip"),
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some("zstd"),
            _ => None,
        };
        let mut unpacked: Box<dyn Read> = match packed {
            Some("gzip") => Box::new(MultiGzDecoder::new(file)),
            Some(_) => Box::new(Decoder::with_buffer(file).map_err(Failure::reading(path))?),
            None => Box::new(file),
        };
        let mut start = Vec::new();
        unpacked
            .by_ref()
            .take(4)
            .read_to_end(&mut start)
            .map_err(|error| reading(path, packed, error))?;
        if let Some(encoding) = stage::other_encoding(&start) {
            return Err(stage::wrong_encoding(path, encoding));
        }
        let bom = stage::bom_of_utf8(&start);
        start.drain(..bom);
        let lines = Lines {
            inner: Box::new(Cursor::new(start).chain(unpacked)) as Box<dyn Read>,
            after_return: false,
            changed: false,
        };
        let reader = BufReader::with_capacity(BUFFER, lines);
        Ok(TextInput { path: path.to_owned(), packed, reader, had_bom: bom > 0 })
    }

    /// Whether line ends of another kind were met so far.
    pub(crate) fn had_returns(&self) -> bool {
        self.reader.get_ref().changed
    }

    /// The first byte that is no white space, which stays to be read.
    pub(crate) fn first_byte(&mut self) -> Result<Option<u8>> {
        loop {
            let (path, packed) = (&self.path, self.packed);
            let buffer = self.reader.fill_buf().map_err(|error| reading(path, packed, error))?;
            if buffer.is_empty() {
                return Ok(None);
            }
            let blank = buffer.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            match buffer.get(blank) {
                Some(&byte) => return Ok(Some(byte)),
                None => {
                    stage::interrupt::check("nothing was written")?;
                    let all = buffer.len();
                    self.reader.consume(all);
                }
            }
        }
    }

    /// Appends to `piece` up to and with the next `end`, at most `most` bytes in all. Returns the number read.
    pub(crate) fn read_until(
        &mut self,
        end: u8,
        piece: &mut Vec<u8>,
        most: usize,
    ) -> Result<usize> {
        let room = (most + 1).saturating_sub(piece.len());
        let read = self.reader.by_ref().take(room as u64).read_until(end, piece);
        read.map_err(|error| reading(&self.path, self.packed, error))
    }

    /// All of it, for a reader that takes one value after the other and limits the bytes of each.
    pub(crate) fn into_values(self, most: usize) -> Values {
        Values { input: self, room: Room { left: Rc::new(Cell::new(most)), most } }
    }
}

/// The unpackers' errors have no code of the operating system.
fn reading(path: &Path, packed: Option<&str>, error: io::Error) -> Failure {
    match packed {
        Some(packed) if error.raw_os_error().is_none() => Failure::input(
            path,
            format_args!("its {packed} cannot be unpacked: {error}"),
            "a whole, undamaged file",
            "download it or write it again",
        ),
        _ => Failure::reading(path)(error),
    }
}

/// How many bytes may still be read of one value.
#[derive(Clone)]
pub(crate) struct Room {
    left: Rc<Cell<usize>>,
    most: usize,
}

impl Room {
    /// A value is read: the next one has as much room.
    pub(crate) fn refill(&self) {
        self.left.set(self.most);
    }
}

/// Bytes of values, each of which may be only so long.
pub(crate) struct Values {
    input: TextInput,
    room: Room,
}

impl Values {
    pub(crate) fn room(&self) -> Room {
        self.room.clone()
    }

    /// What to say of an error that this gave while it was read; None where a value was too long.
    pub(crate) fn failure(&self, error: io::Error) -> Option<Failure> {
        let (path, packed) = (&self.input.path, self.input.packed);
        (self.room.left.get() > 0).then(|| reading(path, packed, error))
    }
}

impl Read for Values {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = self.room.left.get();
        if left == 0 && !into.is_empty() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let read = self.input.reader.by_ref().take(left as u64).read(into)?;
        self.room.left.set(left - read);
        Ok(read)
    }
}

/// `\r\n` and `\r` become `\n`, as everywhere where files are opened as text.
struct Lines<R> {
    inner: R,
    after_return: bool,
    changed: bool,
}

impl<R: Read> Read for Lines<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.inner.read(into)?;
            let bytes = into.get_mut(..read).unwrap_or_default();
            if read == 0 || (!self.after_return && !bytes.contains(&b'\r')) {
                return Ok(read);
            }
            self.changed = true;
            let mut kept = 0;
            let bytes = Cell::from_mut(bytes).as_slice_of_cells();
            let mut places = bytes.iter();
            for byte in bytes.iter().map(Cell::get) {
                let second_half = byte == b'\n' && self.after_return;
                self.after_return = byte == b'\r';
                if !second_half && let Some(place) = places.next() {
                    place.set(if byte == b'\r' { b'\n' } else { byte });
                    kept += 1;
                }
            }
            if kept > 0 {
                return Ok(kept);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_end_becomes_one_wherever_the_pieces_end() {
        let text = b"a\r\nb\rc\n\r\n\rd\r";
        for piece in 1..=text.len() {
            let inner = BufReader::with_capacity(piece, &text[..]);
            let mut lines = Lines { inner, after_return: false, changed: false };
            let mut read = Vec::new();
            lines.read_to_end(&mut read).unwrap();
            assert_eq!(read, b"a\nb\nc\n\n\nd\n", "pieces of {piece}");
            assert!(lines.changed);
        }
    }
}
