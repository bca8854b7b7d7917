//! The ends of a parquet file: what its first and last bytes say, and what its footer may.
use std::path::Path;

use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use stage::{Failure, Result};

use crate::parquet_form::check_footer;

/// Bytes behind the footer: its length and the magic number.
pub(crate) const TAIL: usize = 8;

pub(crate) fn damaged(path: &Path, part: &str, error: impl std::fmt::Display) -> Failure {
    Failure::input(
        path,
        format_args!("its parquet {part} cannot be read: {error}"),
        "an undamaged parquet file",
        "fetch it again, or write it again",
    )
}

fn encrypted(path: &Path) -> Failure {
    Failure::input(
        path,
        "encrypted parquet",
        "parquet without encryption",
        "decrypt it first, or take another source",
    )
}

/// The footer's own bytes, without the [`TAIL`].
pub(crate) fn decode_footer(name: &Path, footer: &[u8]) -> Result<ParquetMetaData> {
    if check_footer(footer).map_err(|found| damaged(name, "footer", found))? {
        return Err(encrypted(name));
    }
    ParquetMetaDataReader::decode_metadata(footer).map_err(|error| damaged(name, "footer", error))
}

/// The reader takes places in the footer at their word, panics at negative ones, and reads again what lies in two columns.
pub(crate) fn check_places(
    metadata: &ParquetMetaData,
    length: u64,
) -> std::result::Result<(), String> {
    let mut together = 0;
    for (row_group, chunk) in metadata
        .row_groups()
        .iter()
        .enumerate()
        .flat_map(|(i, group)| group.columns().iter().map(move |c| (i, c)))
    {
        let (start, bytes) = (
            chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset()),
            chunk.compressed_size(),
        );
        let end = start.checked_add(bytes).and_then(|end| u64::try_from(end).ok());
        let inside = start >= 0
            && bytes >= 0
            && chunk.data_page_offset() >= 0
            && end.is_some_and(|end| end <= length);
        if !inside {
            return Err(format!(
                "row group {row_group} has a column at byte {start}, {bytes} bytes, in a file of {length}"
            ));
        }
        together += bytes as u64;
        if together > length {
            return Err(format!(
                "columns of {together} bytes up to row group {row_group}, in a file of {length}"
            ));
        }
    }
    Ok(())
}

/// What the first and last bytes say, in words that tell a cut download from a wrong file: the length of the footer.
pub(crate) fn check_ends(
    path: &Path,
    length: u64,
    magic: [u8; 4],
    tail: [u8; TAIL],
) -> Result<usize> {
    let [a, b, c, d, end @ ..] = tail;
    let found = match (&magic, &end) {
        (b"PAR1", b"PAR1") => {
            let footer = u32::from_le_bytes([a, b, c, d]);
            let before = length - 12;
            let fits = usize::try_from(footer).ok().filter(|_| u64::from(footer) <= before);
            let found =
                format_args!("it says that it has {footer} bytes, where there are {before}");
            return fits.ok_or_else(|| damaged(path, "footer", found));
        }
        (b"PARE", b"PARE") => return Err(encrypted(path)),
        _ if length == 0 => "an empty file".to_owned(),
        (b"PAR1", _) => {
            format!("truncated: its {length} bytes start like parquet but do not end like it")
        }
        _ => format!("not parquet: its {length} bytes do not start and end with PAR1"),
    };
    Err(Failure::input(
        path,
        found,
        "a whole parquet file",
        "fetch it again, or take another source",
    ))
}
