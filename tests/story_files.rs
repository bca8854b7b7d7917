//! Files of stories for the tests of fetching: good ones and bad ones.
#![allow(dead_code)] // each test binary uses its share
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, DictionaryArray, Int64Array, LargeStringArray, RecordBatch, StringArray,
    StringViewArray,
};
use arrow::datatypes::{DataType, Field, Int32Type, Schema};
use corpus::fetched::raw_files;
use corpus::rewrite::StoryWriter;
use corpus::stories::ParquetStories;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use tests::Run;

/// A run whose pipeline file says nothing: no limit, no fraction.
pub(crate) fn plain() -> Run {
    let run = Run::new();
    fs::write(run.input("tiny.toml"), "").unwrap();
    run
}

/// Text that does not compress to nothing and differs from story to story.
pub(crate) fn story(i: u64) -> String {
    let words = (0..20).map(|k| {
        format!(
            "{:x}",
            (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(k * 7) ^ u64::from(k)
        )
    });
    format!("Story {i}. {}", words.collect::<Vec<_>>().join(" "))
}

/// A parquet file of stories `from..to` in row groups of 100, and its bytes.
pub(crate) fn parquet(path: &Path, from: u64, to: u64) -> Vec<u8> {
    let texts: Vec<String> = (from..to).map(story).collect();
    write_column(path, "text", Arc::new(StringArray::from(texts)))
}

pub(crate) fn write_column(path: &Path, name: &str, column: ArrayRef) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter_with_nullable([(name, column, true)]).unwrap();
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(100))
        .set_dictionary_enabled(false)
        .build();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut writer =
        ArrowWriter::try_new(fs::File::create(path).unwrap(), batch.schema(), Some(properties))
            .unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    fs::read(path).unwrap()
}

/// A parquet file with two columns `text`.
pub(crate) fn two_columns(path: &Path) {
    let texts = || -> ArrayRef { Arc::new(StringArray::from(vec!["A", "B"])) };
    let fields = ["text", "text"].map(|name| Field::new(name, DataType::Utf8, false));
    let schema = Arc::new(Schema::new(fields.to_vec()));
    let batch = RecordBatch::try_new(schema.clone(), vec![texts(), texts()]).unwrap();
    let mut writer = ArrowWriter::try_new(fs::File::create(path).unwrap(), schema, None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// A parquet file of these texts in a single row group.
pub(crate) fn write_row_group(path: &Path, texts: &[String]) {
    write_groups(path, texts, usize::MAX);
}

/// A parquet file of these texts in row groups of `rows`.
pub(crate) fn write_groups(path: &Path, texts: &[String], rows: usize) {
    let column: ArrayRef = Arc::new(StringArray::from_iter_values(texts));
    let batch = RecordBatch::try_from_iter([("text", column)]).unwrap();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(rows)).build();
    let mut writer =
        ArrowWriter::try_new(fs::File::create(path).unwrap(), batch.schema(), Some(properties))
            .unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// A parquet file of strings in row groups of 100, one of which is no UTF-8.
pub(crate) fn not_utf8(path: &Path, n: u64, bad: u64) {
    let bytes = |i| if i == bad { b"Once \xff\xfe upon".to_vec() } else { story(i).into_bytes() };
    let texts: Vec<Vec<u8>> = (0..n).map(bytes).collect();
    let binary = BinaryArray::from_iter_values(&texts);
    let (offsets, values, nulls) = binary.into_parts();
    // SAFETY: not UTF-8 on purpose; the writer copies the bytes and looks at none of them.
    let column = unsafe { StringArray::new_unchecked(offsets, values, nulls) };
    write_column(path, "text", Arc::new(column));
}

pub(crate) fn strings(kind: &str) -> ArrayRef {
    let texts = ["A", "B", "A"];
    match kind {
        "large" => Arc::new(LargeStringArray::from(texts.to_vec())),
        "view" => Arc::new(StringViewArray::from(texts.to_vec())),
        "dictionary" => Arc::new(DictionaryArray::<Int32Type>::from_iter(texts)),
        "nulls" => Arc::new(StringArray::from(vec![Some("A"), Some("B"), None])),
        "bytes" => Arc::new(BinaryArray::from_iter_values(texts)),
        "numbers" => Arc::new(Int64Array::from(vec![1, 2, 3])),
        other => panic!("no strings of kind {other}"),
    }
}

/// What the next stage would read.
pub(crate) fn stories(run: &Run, split: &str) -> Vec<String> {
    stories_in(&raw_files(&run.path("raw"), split).unwrap())
}

/// The stories of both splits, sorted.
pub(crate) fn all_stories(run: &Run) -> Vec<String> {
    let mut all = [stories(run, "train"), stories(run, "validation")].concat();
    all.sort();
    all
}

pub(crate) fn stories_in(files: &[PathBuf]) -> Vec<String> {
    let mut texts = Vec::new();
    for file in files {
        let stories = ParquetStories::open(file, "text").unwrap();
        for row_group in 0..stories.row_groups() {
            let keep = |text: &str| {
                texts.push(text.to_owned());
                Ok(())
            };
            stories.read(row_group, keep).unwrap();
        }
    }
    texts
}

/// The files under their final names in `raw`, with their bytes.
pub(crate) fn final_files(run: &Run) -> Vec<(String, Vec<u8>)> {
    let files = tests::files_below(&run.path("raw"))
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == "parquet"));
    files
        .map(|path| {
            (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap())
        })
        .collect()
}

/// Writes through the project's own writer; for files that only have to be large.
pub(crate) fn many(path: &Path, n: u64) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut writer = StoryWriter::create(path, "text").unwrap();
    (0..n).for_each(|i| writer.push(&story(i)).unwrap());
    writer.finish().unwrap();
}

/// SIGINT, as Ctrl-C sends it.
pub(crate) fn interrupt(child: &std::process::Child) {
    let status = std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}

/// Waits for something that another process does, for at most 20 s.
pub(crate) fn wait_until(what: &str, mut there: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !there() {
        assert!(start.elapsed().as_secs() < 20, "waited in vain for {what}");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}
