//! Stories written as parquet: one column `text`, zstd, row groups of 1,000 stories, the same bytes on any machine.
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use stage::{AtomicFile, Failure, FileRecord, Result, commit_recorded};

use crate::stories::{COLUMN, SOURCE_COLUMN};

/// Stories of a row group, at most.
pub const STORIES_PER_ROW_GROUP: usize = 1000;
/// Offsets of a column are 32 bits wide: a row group ends before they would not do, and before memory is short.
const BYTES_PER_ROW_GROUP: usize = 256 << 20;

/// Writes one file story by story, holding one row group. Dropped before [`finish`](Self::finish), it leaves nothing.
pub struct StoryWriter {
    writer: ArrowWriter<AtomicFile>,
    schema: SchemaRef,
    texts: StringBuilder,
    in_group: usize,
    most_bytes: usize,
    stories: u64,
    text_bytes: u64,
}

impl StoryWriter {
    /// `source_column` is what the column was called where the stories come from: readers may ask for either name.
    pub fn create(path: &Path, source_column: &str) -> Result<Self> {
        let schema = Arc::new(Schema::new(vec![Field::new(COLUMN, DataType::Utf8, false)]));
        let renamed = (source_column != COLUMN)
            .then(|| vec![KeyValue::new(SOURCE_COLUMN.to_owned(), source_column.to_owned())]);
        let properties = WriterProperties::builder()
            .set_created_by("bedtime".into()) // no version: an upgrade must not change the bytes
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(3).unwrap_or_default()))
            .set_dictionary_enabled(false) // stories do not repeat
            .set_statistics_enabled(EnabledStatistics::None)
            .set_max_row_group_row_count(Some(STORIES_PER_ROW_GROUP))
            .set_key_value_metadata(renamed)
            .build();
        let options =
            ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
        let writer =
            ArrowWriter::try_new_with_options(AtomicFile::create(path)?, schema.clone(), options)
                .map_err(|e| writing(path, e))?;
        Ok(StoryWriter {
            writer,
            schema,
            texts: StringBuilder::new(),
            in_group: 0,
            most_bytes: BYTES_PER_ROW_GROUP,
            stories: 0,
            text_bytes: 0,
        })
    }

    /// Adds one story; an empty text is none.
    pub fn push(&mut self, text: &str) -> Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        if self.in_group > 0 && self.texts.values_slice().len() + text.len() > self.most_bytes {
            self.flush()?;
            self.writer.flush().map_err(|error| writing(self.writer.inner().path(), error))?;
        }
        self.texts.append_value(text);
        self.in_group += 1;
        self.stories += 1;
        self.text_bytes += text.len() as u64;
        if self.in_group == STORIES_PER_ROW_GROUP { self.flush() } else { Ok(()) }
    }

    /// Stories written so far.
    pub fn stories(&self) -> u64 {
        self.stories
    }

    /// Bytes of text, uncompressed.
    pub fn text_bytes(&self) -> u64 {
        self.text_bytes
    }

    fn flush(&mut self) -> Result<()> {
        self.in_group = 0;
        let column: ArrayRef = Arc::new(self.texts.finish());
        let written = RecordBatch::try_new(self.schema.clone(), vec![column])
            .map_err(ParquetError::from)
            .and_then(|batch| self.writer.write(&batch));
        written.map_err(|error| writing(self.writer.inner().path(), error))
    }

    /// The file is on disk under its final name when this returns.
    pub fn finish(mut self) -> Result<FileRecord> {
        if self.in_group > 0 {
            self.flush()?;
        }
        let path = self.writer.inner().path().to_owned();
        commit_recorded(self.writer.into_inner().map_err(|error| writing(&path, error))?)
    }
}

/// The parquet writer wraps the I/O error that says what to do.
fn writing(path: &Path, error: ParquetError) -> Failure {
    match error {
        ParquetError::External(error) => match error.downcast::<std::io::Error>() {
            Ok(error) => Failure::writing(path)(*error),
            Err(error) => Failure::try_again(format_args!("writing failed: {error}")).file(path),
        },
        error => Failure::try_again(format_args!("writing failed: {error}")).file(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stories::ParquetStories;

    #[test]
    fn long_stories_end_a_row_group_before_its_offsets_do_not_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        let mut writer = StoryWriter::create(&path, "text").unwrap();
        writer.most_bytes = 1000;
        (0..10).for_each(|i| writer.push(&"x".repeat(200 + i)).unwrap());
        writer.push(&"y".repeat(5000)).unwrap();
        writer.push("z").unwrap();
        writer.finish().unwrap();
        let stories = ParquetStories::open(&path, "text").unwrap();
        let groups: Vec<u64> = (0..stories.row_groups()).map(|i| stories.stories_in(i)).collect();
        assert_eq!(groups, [4, 4, 2, 1, 1]);
        if std::env::var_os("BEDTIME_LONG").is_some() {
            let mut writer = StoryWriter::create(&path, "text").unwrap();
            let story = "a".repeat(60 << 20);
            (0..40).for_each(|_| writer.push(&story).unwrap());
            writer.finish().unwrap();
            assert_eq!(ParquetStories::open(&path, "text").unwrap().stories(), 40);
        }
    }

    #[test]
    fn what_is_written_is_read_and_writing_it_again_gives_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str| {
            let mut writer = StoryWriter::create(&folder.path().join(name), "story").unwrap();
            (0..2500).for_each(|i| writer.push(&format!("Story {i} \u{1f600}")).unwrap());
            writer.push("").unwrap();
            writer.finish().unwrap().sha256
        };
        assert_eq!(write("a.parquet"), write("b.parquet"));
        for column in ["text", "story"] {
            let stories = ParquetStories::open(&folder.path().join("a.parquet"), column).unwrap();
            assert_eq!(
                (stories.row_groups(), stories.stories_in(2), stories.stories()),
                (3, 500, 2500)
            );
            let mut read = Vec::new();
            let keep = |text: &str| {
                read.push(text.to_owned());
                Ok(())
            };
            stories.read(1, keep).unwrap();
            assert_eq!((read.len(), read[0].as_str()), (1000, "Story 1000 \u{1f600}"));
        }
        let error = ParquetStories::open(&folder.path().join("a.parquet"), "body").err().unwrap();
        assert!(error.to_string().contains("its columns are text"), "{error}");
    }
}
