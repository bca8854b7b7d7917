//! Stories as parquet: the files that fetch-parquet leaves in `raw/`, read row group by row group.
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, BinaryViewArray, StringViewArray};
use arrow::datatypes::{DataType, Field, Schema};
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{ChunkReader, Length};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use stage::{Action, Failure, Result};

use crate::footer::{TAIL, check_ends, check_places, damaged, decode_footer};
use crate::parquet_form::{Pages, error_of_system};
use crate::row_groups::RowGroup;

/// The column of a file written by this project, whatever the column was called where its stories came from.
pub const COLUMN: &str = "text";
/// Key in the footer of a file written by this project: the name that its column had in the source.
pub const SOURCE_COLUMN: &str = "bedtime.source_column";
/// What is decoded at once: up to this number of stories, and about this number of bytes by the average of the row group. Both decide
/// which stories share a record batch of a token shard, so another value makes other shards.
pub const BATCH_ROWS: u64 = 1024;
/// See [`BATCH_ROWS`].
pub const BATCH_BYTES: u64 = 1 << 20;
/// Bytes of a row group that are taken into memory where it is compared, rather than read twice.
const MOST_IN_MEMORY: u64 = 64 << 20;
const PIECE_BYTES: u64 = 1 << 20;
const FETCH_AGAIN: Action = Action::RunForced("fetch");
const COLUMN_NAME: Action = Action::Set("fetch.column", "NAME");

/// Bytes of a file that is not on this machine.
pub trait RangeRead: Send + Sync {
    /// Length of the whole file in bytes.
    fn length(&self) -> u64;
    /// `bytes` bytes from `start` on.
    fn read_range(&self, start: u64, bytes: u64) -> Result<Bytes>;
}

enum ParquetSource {
    Local(PathBuf),
    Remote(Arc<dyn RangeRead>),
}

/// One parquet file of stories. Safe to share between threads: every read opens the file for itself.
pub struct ParquetStories {
    /// What messages call the file.
    name: PathBuf,
    place: ParquetSource,
    metadata: ArrowReaderMetadata,
    column: usize,
    projection: ProjectionMask,
    /// What each row group has to be; empty where the whole file was compared.
    expected: Vec<RowGroup>,
}

impl ParquetStories {
    /// Reads the footer. `column` must hold strings (plain, large, view or dictionary: parquet stores them alike), or bytes
    /// that are UTF-8.
    pub fn open(path: &Path, column: &str) -> Result<Self> {
        Self::open_named(path, path, column)
    }

    /// Like [`open`](Self::open), for a file that messages call `name`: a download knows where it came from.
    pub fn open_named(path: &Path, name: &Path, column: &str) -> Result<Self> {
        let mut file = stage::open(path)?;
        let length = file.metadata().map_err(Failure::reading(path))?.len();
        let mut read = |start: u64, into: &mut [u8]| {
            file.seek(SeekFrom::Start(start))
                .and_then(|_| file.read_exact(into))
                .map_err(Failure::reading(path))
        };
        let (mut magic, mut tail) = ([0; 4], [0; TAIL]);
        if length >= 12 {
            read(0, &mut magic)?;
            read(length - TAIL as u64, &mut tail)?;
        }
        let bytes = check_ends(name, length, magic, tail)?;
        let mut footer = vec![0; bytes];
        read(length - (bytes + TAIL) as u64, &mut footer)?;
        Self::new(
            name,
            ParquetSource::Local(path.to_owned()),
            length,
            decode_footer(name, &footer)?,
            column,
        )
    }

    /// Reads the footer over the network; `name` is the name that messages give the file.
    pub fn open_remote(name: &Path, remote: Arc<dyn RangeRead>, column: &str) -> Result<Self> {
        let length = remote.length();
        let end = remote.read_range(length.saturating_sub(64 << 10), length.min(64 << 10))?;
        let (mut magic, mut tail) = (*b"PAR1", [0; TAIL]);
        if length <= 64 << 10 {
            magic = end.first_chunk().copied().unwrap_or_default();
        }
        if length >= 12 {
            tail = end.last_chunk().copied().unwrap_or_default();
        }
        let bytes = check_ends(name, length, magic, tail)?;
        let footer = match end.len().checked_sub(bytes + TAIL) {
            Some(start) => end.slice(start..end.len() - TAIL),
            None => remote.read_range(length - (bytes + TAIL) as u64, bytes as u64)?,
        };
        let metadata = decode_footer(name, &footer)?;
        Self::new(name, ParquetSource::Remote(remote), length, metadata, column)
    }

    fn new(
        name: &Path,
        place: ParquetSource,
        length: u64,
        metadata: ParquetMetaData,
        column: &str,
    ) -> Result<Self> {
        check_places(&metadata, length).map_err(|found| damaged(name, "footer", found))?;
        let metadata = Arc::new(metadata);
        // Without the writer's Arrow schema every string is Utf8; read as views it is not copied out of its page.
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let inferred = ArrowReaderMetadata::try_new(metadata.clone(), options.clone())
            .map_err(|error| damaged(name, "schema", error))?;
        let fields = inferred.schema().fields();
        let rewritten = metadata.file_metadata().key_value_metadata().into_iter().flatten();
        let renamed = rewritten
            .into_iter()
            .any(|pair| pair.key == SOURCE_COLUMN && pair.value.as_deref() == Some(column));
        let wanted = if renamed { COLUMN } else { column };
        let same = fields.iter().filter(|field| field.name() == wanted).count();
        if same > 1 {
            return Err(Failure::input(
                name,
                format_args!("{same} columns {wanted:?}"),
                "column names that differ",
                "write the file with other names",
            ));
        }
        let Some((index, field)) = inferred.schema().column_with_name(wanted) else {
            let names: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
            let remedy = format!("name the column that holds the text with {COLUMN_NAME}");
            return Err(Failure::input(
                name,
                format_args!("no column {column:?}; its columns are {}", names.join(", ")),
                format_args!("a column {column:?} of strings"),
                remedy,
            ));
        };
        // Some writers leave out that the bytes are text.
        let binary = *field.data_type() == DataType::Binary;
        if *field.data_type() != DataType::Utf8 && !binary {
            let remedy = format!("name the column that holds the text with {COLUMN_NAME}");
            return Err(Failure::input(
                name,
                format_args!("column {column:?} holds {}", field.data_type()),
                "strings",
                remedy,
            ));
        }
        let views = if binary { DataType::BinaryView } else { DataType::Utf8View };
        let as_views = |(i, field): (usize, &Arc<Field>)| match i == index {
            true => Arc::new(field.as_ref().clone().with_data_type(views.clone())),
            false => field.clone(),
        };
        let schema =
            Arc::new(Schema::new(fields.iter().enumerate().map(as_views).collect::<Vec<_>>()));
        let projection = ProjectionMask::roots(metadata.file_metadata().schema_descr(), [index]);
        let leaf = (0..metadata.file_metadata().schema_descr().num_columns())
            .find(|&leaf| projection.leaf_included(leaf));
        let metadata = ArrowReaderMetadata::try_new(metadata, options.with_schema(schema))
            .map_err(|error| damaged(name, "schema", error))?;
        Ok(ParquetStories {
            name: name.to_owned(),
            place,
            metadata,
            column: leaf.unwrap_or(index),
            projection,
            expected: Vec::new(),
        })
    }

    /// Of a local file of which only some row groups will be read: each is compared when it is.
    ///
    /// # Errors
    /// Exit code 3: other row groups.
    pub fn expecting(mut self, expected: Vec<RowGroup>) -> Result<Self> {
        let found: Vec<u64> = (0..self.row_groups()).map(|i| self.stories_in(i)).collect();
        if !found.iter().eq(expected.iter().map(|row_group| &row_group.stories)) {
            let words = format!("{} stories in {} row groups", self.stories(), found.len());
            let (stories, groups) =
                (expected.iter().map(|row_group| row_group.stories).sum::<u64>(), expected.len());
            let expected = format!("{stories} in {groups}, as the manifest beside it says");
            return Err(Failure::input(&self.name, words, expected, FETCH_AGAIN));
        }
        self.expected = expected;
        Ok(self)
    }

    /// What a manifest says of the row groups of a local file.
    pub fn checksums(path: &Path, column: &str) -> Result<Vec<RowGroup>> {
        let stories = Self::open(path, column)?;
        let one = |row_group| {
            let sha256 = stories.chunk_sha256(&stage::open(path)?, path, row_group)?;
            Ok(RowGroup { stories: stories.stories_in(row_group), sha256 })
        };
        (0..stories.row_groups()).into_par_iter().map(one).collect()
    }

    fn chunk(&self, row_group: usize) -> (u64, u64) {
        self.metadata.metadata().row_group(row_group).column(self.column).byte_range()
    }

    fn chunk_sha256(&self, file: &File, path: &Path, row_group: usize) -> Result<String> {
        let (start, bytes) = self.chunk(row_group);
        let mut hasher = Sha256::new();
        let mut piece = Vec::new();
        let mut done = 0;
        while done < bytes {
            piece.resize((bytes - done).min(PIECE_BYTES) as usize, 0);
            stage::read_at(file, &mut piece, start + done).map_err(Failure::reading(path))?;
            hasher.update(&piece);
            done += piece.len() as u64;
        }
        Ok(hex::encode(hasher.finalize()))
    }

    /// A row group of which is known what it has to be. A small one is read once, and decoded from memory.
    fn checked(
        &self,
        path: &Path,
        row_group: usize,
        expected: &RowGroup,
    ) -> Result<TextBatches<'_>> {
        let file = stage::open(path)?;
        let length = file.metadata().map_err(Failure::reading(path))?.len();
        let (start, bytes) = self.chunk(row_group);
        let mut window = Vec::new();
        let found = match bytes <= MOST_IN_MEMORY {
            true => {
                window = vec![0; bytes as usize];
                stage::read_at(&file, &mut window, start).map_err(Failure::reading(path))?;
                stage::sha256(&window)
            }
            false => self.chunk_sha256(&file, path, row_group)?,
        };
        if found != expected.sha256 {
            let words =
                format!("row group {row_group}: its {bytes} bytes from {start} on hash to {found}");
            let expected = format!("{}, as the manifest beside it says", expected.sha256);
            return Err(Failure::input(path, words, expected, FETCH_AGAIN));
        }
        match bytes <= MOST_IN_MEMORY {
            true => self.batches_from(Window { length, start, bytes: window.into() }, row_group),
            false => self.batches_from(file, row_group),
        }
    }
    /// Number of row groups.
    pub fn row_groups(&self) -> usize {
        self.metadata.metadata().num_row_groups()
    }

    /// Stories of one row group.
    pub fn stories_in(&self, row_group: usize) -> u64 {
        u64::try_from(self.metadata.metadata().row_group(row_group).num_rows()).unwrap_or(0)
    }

    /// Stories of the whole file.
    pub fn stories(&self) -> u64 {
        (0..self.row_groups()).map(|i| self.stories_in(i)).sum()
    }

    /// Bytes of the column in one row group, uncompressed: the text and 4 bytes a story, less where it repeats.
    pub fn text_bytes_in(&self, row_group: usize) -> u64 {
        let chunk = self.metadata.metadata().row_group(row_group).column(self.column);
        u64::try_from(chunk.uncompressed_size()).unwrap_or(0)
    }

    /// Calls `each` with every text of the row group in order, without copying strings. A null is an error that
    /// names file, row (from 0, of the file) and remedy; so is what cannot be decoded. An error of `each` ends it.
    pub fn read(&self, row_group: usize, mut each: impl FnMut(&str) -> Result<()>) -> Result<()> {
        let mut batches = self.batches(row_group)?;
        while let Some(texts) = batches.next_batch()? {
            texts.iter().try_for_each(&mut each)?;
        }
        Ok(())
    }

    /// The texts of a row group, batch by batch.
    pub fn batches(&self, row_group: usize) -> Result<TextBatches<'_>> {
        match &self.place {
            ParquetSource::Local(path) => match self.expected.get(row_group) {
                Some(expected) => self.checked(path, row_group, expected),
                None => self.batches_from(stage::open(path)?, row_group),
            },
            ParquetSource::Remote(remote) => {
                let (start, bytes) =
                    self.metadata.metadata().row_group(row_group).column(self.column).byte_range();
                let window = Window {
                    length: remote.length(),
                    start,
                    bytes: remote.read_range(start, bytes)?,
                };
                self.batches_from(window, row_group)
            }
        }
    }

    fn batches_from<R: ChunkReader + 'static>(
        &self,
        reader: R,
        row_group: usize,
    ) -> Result<TextBatches<'_>> {
        let row = (0..row_group).map(|i| self.stories_in(i)).sum();
        let rows = self.stories_in(row_group);
        let average = self.text_bytes_in(row_group) / rows.max(1);
        let (start, bytes) =
            self.metadata.metadata().row_group(row_group).column(self.column).byte_range();
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(
            Pages::new(reader, start + bytes),
            self.metadata.clone(),
        )
        .with_row_groups(vec![row_group])
        .with_projection(self.projection.clone())
        .with_batch_size((BATCH_BYTES / average.max(1)).clamp(1, BATCH_ROWS) as usize)
        .build()
        .map_err(|error| undecodable(&self.name, row_group, row, &error))?;
        Ok(TextBatches { stories: self, reader, row_group, row, end: row + rows })
    }
}

fn undecodable(name: &Path, row_group: usize, row: u64, error: &dyn std::fmt::Display) -> Failure {
    let words = error.to_string();
    if let Some(error) = error_of_system(&words) {
        return Failure::reading(name)(error);
    }
    let found = format!("cannot be decoded: {error}");
    Failure::input(name, found, "an undamaged parquet file", "fetch it again, or write it again")
        .at(format_args!("row group {row_group}, from row {row}"))
}

/// Reads one row group: up to [`BATCH_ROWS`] stories at a time, and about [`BATCH_BYTES`] if they are long.
pub struct TextBatches<'a> {
    stories: &'a ParquetStories,
    reader: ParquetRecordBatchReader,
    row_group: usize,
    /// Of the file, from 0: the next, and the first of the next row group.
    row: u64,
    end: u64,
}

impl TextBatches<'_> {
    /// None at the end of the row group.
    pub fn next_batch(&mut self) -> Result<Option<Texts>> {
        let bad = |row, error: &dyn std::fmt::Display| {
            Err(undecodable(&self.stories.name, self.row_group, row, error))
        };
        let batch = match self.reader.next() {
            None if self.row == self.end => return Ok(None),
            None => {
                let (found, expected) =
                    (self.stories.stories_in(self.row_group) + self.row - self.end, self.end);
                return bad(
                    self.row,
                    &format_args!(
                        "{found} stories, and the footer says there are more, up to row {expected}"
                    ),
                );
            }
            Some(Err(error)) => return bad(self.row, &error),
            Some(Ok(batch)) => batch,
        };
        let column = batch.column(0).as_any();
        let texts = match (column.downcast_ref::<StringViewArray>(), column.downcast_ref()) {
            (Some(texts), _) => texts.clone(),
            (None, Some(bytes)) => self.as_text(bytes)?,
            _ => return bad(self.row, &format_args!("a batch of {}", batch.column(0).data_type())),
        };
        if let Some(null) = (0..texts.len()).find(|&i| texts.is_null(i)) {
            let row = self.row + null as u64;
            let remedy = format!(
                "remove the rows without a text, or name another column with {COLUMN_NAME}"
            );
            return Err(Failure::input(&self.stories.name, "null", "a text in every row", remedy)
                .at(format_args!("row {row} (from 0)")));
        }
        self.row += texts.len() as u64;
        match self.row > self.end {
            true => bad(self.end, &"more stories than the footer says"),
            false => Ok(Some(Texts(texts))),
        }
    }

    /// Bytes that have to be UTF-8.
    fn as_text(&self, bytes: &BinaryViewArray) -> Result<StringViewArray> {
        bytes.clone().to_string_view().map_err(|_| {
            let bad = bytes
                .iter()
                .position(|value| value.is_some_and(|value| std::str::from_utf8(value).is_err()));
            let row = self.row + bad.unwrap_or(0) as u64;
            Failure::input(
                &self.stories.name,
                "bytes that are not UTF-8",
                "text in every row",
                format_args!("mend or remove the row, or name another column with {COLUMN_NAME}"),
            )
            .at(format_args!("row {row} (from 0)"))
        })
    }

    /// Whether all of it has been read.
    pub fn at_end(&self) -> bool {
        self.row == self.end
    }
}

/// Some texts, as they lie in the pages of their file.
#[derive(Clone)]
pub struct Texts(StringViewArray);

impl Texts {
    /// Number of texts.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The texts, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.0.len()).map(|i| self.0.value(i))
    }
}

/// One column chunk of a remote file, in memory.
struct Window {
    length: u64,
    start: u64,
    bytes: Bytes,
}

impl Length for Window {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for Window {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        let offset =
            start.checked_sub(self.start).filter(|&offset| offset <= self.bytes.len() as u64);
        let offset = offset.ok_or_else(|| {
            ParquetError::EOF(format!("byte {start} is outside of the column chunk"))
        })?;
        Ok(bytes::Buf::reader(self.bytes.slice(offset as usize..)))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        let offset = start
            .checked_sub(self.start)
            .filter(|&offset| offset + length as u64 <= self.bytes.len() as u64);
        let offset = offset.ok_or_else(|| {
            ParquetError::EOF(format!("bytes {start}+{length} are outside of the column chunk"))
        })? as usize;
        Ok(self.bytes.slice(offset..offset + length))
    }
}
