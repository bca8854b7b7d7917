//! The form of a token shard, looked at before Arrow reads it: Arrow's reader takes lengths in a file at their word, and
//! a damaged one makes it panic or ask for any amount of memory.
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use arrow::ipc::reader::read_footer_length;
use arrow::ipc::{
    BodyCompressionMethod, CompressionType, Endianness, Field, Footer, Int, RecordBatch, Type,
};
use arrow::ipc::{root_as_footer, root_as_message};

/// Footer length and magic, at the end.
const TRAILER: u64 = 10;
/// What stands before the metadata of a message: continuation marker and length.
const PREFIX: usize = 8;
/// Before a compressed buffer: its length once decompressed, or -1 where it is not compressed.
const NOT_COMPRESSED: i64 = -1;
/// Bytes of ids in one record batch, at most: a quarter of the longest story that tokenize takes.
const MOST_BYTES: i64 = 1 << 29;

pub(crate) enum Wrong {
    Io(io::Error),
    Form(String),
}

impl From<io::Error> for Wrong {
    fn from(error: io::Error) -> Self {
        Wrong::Io(error)
    }
}

impl From<String> for Wrong {
    fn from(found: String) -> Self {
        Wrong::Form(found)
    }
}

fn require(ok: bool, found: impl FnOnce() -> String) -> Result<(), Wrong> {
    if ok { Ok(()) } else { Err(Wrong::Form(found())) }
}

/// Footer, schema and the place and lengths of everything in every record batch. What lies in the batches is not read.
pub(crate) fn check(file: &mut File) -> Result<(), Wrong> {
    let length = file.seek(SeekFrom::End(0))?;
    require(length >= TRAILER, || format!("{length} bytes"))?;
    let mut trailer = [0; TRAILER as usize];
    read_at(file, length - TRAILER, &mut trailer)?;
    let footer_length = read_footer_length(trailer).map_err(|error| error.to_string())?;
    let end = length - TRAILER;
    require(footer_length as u64 <= end, || {
        format!("a footer of {footer_length} bytes in {length}")
    })?;
    let mut bytes = vec![0; footer_length];
    read_at(file, end - footer_length as u64, &mut bytes)?;
    let footer =
        root_as_footer(&bytes).map_err(|error| format!("a footer that cannot be read: {error}"))?;
    let width = id_width(&footer)
        .ok_or_else(|| "another schema than ids: list<uint16 or uint32>".to_owned())?;
    require(footer.dictionaries().is_none_or(|all| all.is_empty()), || "dictionaries".to_owned())?;
    let mut metadata = Vec::new();
    for (number, block) in footer.recordBatches().into_iter().flatten().enumerate() {
        let (start, before_body, body) =
            (block.offset(), i64::from(block.metaDataLength()), block.bodyLength());
        let batch_end = start.checked_add(before_body).and_then(|at| at.checked_add(body));
        let inside = start >= 0
            && before_body > PREFIX as i64
            && body >= 0
            && batch_end.is_some_and(|at| at as u64 <= length);
        require(inside, || {
            format!(
                "record batch {number} at byte {start}, {before_body} + {body} bytes, in a file of {length}"
            )
        })?;
        metadata.resize(before_body as usize, 0);
        read_at(file, start as u64, &mut metadata)?;
        check_batch(file, &metadata, (start + before_body) as u64, body, width).map_err(
            |wrong| match wrong {
                Wrong::Form(found) => Wrong::Form(format!("record batch {number}: {found}")),
                error => error,
            },
        )?;
    }
    file.seek(SeekFrom::Start(0))?;
    Ok(())
}

fn read_at(file: &mut File, at: u64, bytes: &mut [u8]) -> io::Result<()> {
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(bytes)
}

/// Bytes per id of a schema with one column, a list of unsigned integers of 16 or 32 bits; None for any other.
fn id_width(footer: &Footer) -> Option<i64> {
    let schema = footer.schema().filter(|schema| schema.endianness() == Endianness::Little)?;
    let lists = only(schema.fields()?)?;
    lists.type_as_list()?;
    let ids = only(lists.children()?)?;
    let plain = |field: &Field| field.dictionary().is_none() && field.name().is_some();
    let int: Int = ids.type_as_int().filter(|int| !int.is_signed())?;
    let known = plain(&lists)
        && plain(&ids)
        && lists.type_type() == Type::List
        && matches!(int.bitWidth(), 16 | 32);
    known.then(|| i64::from(int.bitWidth() / 8))
}

fn only<'a>(
    fields: flatbuffers::Vector<'a, flatbuffers::ForwardsUOffset<Field<'a>>>,
) -> Option<Field<'a>> {
    (fields.len() == 1).then(|| fields.get(0))
}

fn check_batch(
    file: &mut File,
    metadata: &[u8],
    body_start: u64,
    body: i64,
    width: i64,
) -> Result<(), Wrong> {
    let (prefix, message) = metadata.split_at_checked(PREFIX).unwrap_or_default();
    require(prefix.starts_with(&[0xff; 4]), || "no message".to_owned())?;
    let message = root_as_message(message)
        .map_err(|error| format!("a message that cannot be read: {error}"))?;
    let batch: RecordBatch =
        message.header_as_record_batch().ok_or_else(|| "no record batch".to_owned())?;
    let compressed = match batch.compression() {
        None => false,
        Some(how)
            if how.codec() == CompressionType::ZSTD
                && how.method() == BodyCompressionMethod::BUFFER =>
        {
            true
        }
        Some(how) => return Err(Wrong::Form(format!("compression {:?}", how.codec()))),
    };
    let (nodes, buffers) = (batch.nodes().unwrap_or_default(), batch.buffers().unwrap_or_default());
    require(nodes.len() == 2 && buffers.len() == 4, || {
        format!("{} nodes, {} buffers", nodes.len(), buffers.len())
    })?;
    let (stories, ids) = (nodes.get(0).length(), nodes.get(1).length());
    let bounded = stories == batch.length()
        && (0..=MOST_BYTES / 4).contains(&stories)
        && (0..=MOST_BYTES / width).contains(&ids);
    require(bounded, || format!("{stories} stories, {ids} ids"))?;
    require(nodes.iter().all(|node| node.null_count() == 0), || "nulls".to_owned())?;
    // Validity and offsets of the stories, validity and values of the ids.
    let lengths = [0, (stories + 1) * 4, 0, ids * width];
    for (i, (buffer, expected)) in buffers.iter().zip(lengths).enumerate() {
        let (at, length) = (buffer.offset(), buffer.length());
        let inside =
            at >= 0 && length >= 0 && at.checked_add(length).is_some_and(|end| end <= body);
        require(inside, || format!("buffer {i} at {at}, {length} bytes, in a body of {body}"))?;
        let mut long = length;
        if compressed && length > 0 {
            require(length >= PREFIX as i64, || {
                format!("buffer {i} of {length} bytes, compressed")
            })?;
            let mut prefix = [0; PREFIX];
            read_at(file, body_start + at as u64, &mut prefix)?;
            long = match i64::from_le_bytes(prefix) {
                NOT_COMPRESSED => length - PREFIX as i64,
                decompressed => decompressed,
            };
        }
        // A validity without nulls may be there or not; the offsets of no story may be left out.
        let fits = match i {
            0 | 2 => (0..=MOST_BYTES / 8).contains(&long),
            _ => {
                (expected..expected + 64).contains(&long)
                    || (long == 0 && (i == 1 && stories == 0 || expected == 0))
            }
        };
        require(fits, || format!("buffer {i} of {long} bytes, expected {expected}"))?;
    }
    Ok(())
}
