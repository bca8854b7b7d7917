//! Damaged files: bits and bytes changed, ends cut off. Every reader gives a clear error, or what it gave for the good
//! file; it never panics, and never takes a gigabyte.
//!
//! Cases come from a seeded loop of this project's own generator: all of them where a file is small, else random ones.
mod damages;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int8Array, Int64Array, ListArray, RecordBatch,
    StringArray, StructArray,
};
use arrow::array::{Date32Array, Decimal128Array, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Int32Type};
use corpus::bin::{Bin, Dtype, sidecar};
use corpus::rewrite::StoryWriter;
use corpus::shards::{ShardOrigin, ShardReader, ShardWriter, TRAIN};
use corpus::stories::ParquetStories;
use corpus::text_files::{Mended, Separator, json_texts, separated_text};
use corpus::tokenizer::{Tokenizer, train};
use damages::{GIB, LIVE, PEAK, caught_by_hash, seed, survives};
use model::{
    Checkpoint, CheckpointState, Config, TensorTable, Weights, initial_weights, load_folder,
    read_llama2c, save_folder,
};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::metadata::{
    KeyValue, ParquetMetaDataReader, ParquetMetaDataWriter, SortingColumn,
};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use serde_json::json;
use stage::{AtomicFile, Manifest, Pipeline, Result, TokenizerRecord, Work};

fn story(i: u64) -> String {
    format!("Once upon a time, Tom had {i} cats and {} dogs. \"It's mine!\" said Lily.", i * 7 % 13)
}

fn tokenizer() -> String {
    train(280, |each| (0..100).try_for_each(|i| each(&story(i)))).unwrap()
}

fn record(vocab_size: u64) -> TokenizerRecord {
    TokenizerRecord { sha256: "0".repeat(64), vocab_size }
}

#[test]
fn manifests() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("manifest.json");
    fs::write(folder.path().join("in"), "input").unwrap();
    let inputs = vec![("in".to_owned(), folder.path().join("in"))];
    let work = Work {
        stage: "tokenize",
        manifest: path.clone(),
        inputs,
        config: json!({ "tokenize": { "shards": 3 }, "x": 0.1 }),
    };
    let output = AtomicFile::write(&folder.path().join("out"), b"output").unwrap();
    let mut manifest = work.manifest(vec![output]).unwrap();
    manifest.counts.insert("train_tokens".into(), 123_456);
    manifest.facts.insert("val_loss".into(), json!(1.0 / 3.0));
    manifest.tokenizer = Some(record(300));
    work.publish(&manifest).unwrap();
    let good = fs::read(&path).unwrap();
    seed("manifest", "small", &[&good]);
    survives("a manifest", &good, &[3], |bytes| {
        fs::write(&path, bytes).unwrap();
        Manifest::read(&path)
    });
}

#[test]
fn tokenizers() {
    let good = tokenizer().into_bytes();
    seed("tokenizer", "trained", &[&good]);
    let mut read = 0;
    survives("tokenizer.json", &good, &[3], |bytes| {
        let tokenizer = Tokenizer::from_json(Path::new("tokenizer.json"), bytes)?;
        // One that still can be used: it encodes, within its vocabulary, and no stage takes it.
        let ids = tokenizer.try_encode(&story(1))?;
        assert!(ids.iter().all(|&id| id < tokenizer.vocab_size()));
        tokenizer.decode(&ids);
        read += 1;
        caught_by_hash(&good, bytes)
    });
    assert!(read > 1, "no damaged tokenizer was usable: nothing was tried");
}

#[test]
fn token_shards() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("train-00000-of-00001.arrow");
    for (vocab_size, stories) in [(300, 20), (70_000, 20), (300, 3000)] {
        let mut writer = ShardWriter::create(
            &path,
            &ShardOrigin::new(&record(vocab_size), TRAIN, (0, 1), &[], "text"),
        )
        .unwrap();
        (0..stories).for_each(|i| writer.push(&(0..i as u32 % 29).collect::<Vec<_>>(), 7).unwrap());
        writer.finish().unwrap();
        let good = fs::read(&path).unwrap();
        seed("shard", &format!("{vocab_size}-{stories}"), &[&good]);
        survives(&format!("a shard of {stories} stories"), &good, &[3], |bytes| {
            fs::write(&path, bytes).unwrap();
            ShardReader::open(&path)?.read(|_, _| Ok(()))?;
            caught_by_hash(&good, bytes)
        });
    }
}

#[test]
fn bins_and_their_sidecars() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("train.bin");
    let ids: Vec<u32> = (0..2000).map(|i| i * i % 300).collect();
    let mut bytes = Vec::new();
    Dtype::U16.append(&ids, &mut bytes);
    let written = AtomicFile::write(&path, &bytes).unwrap();
    let beside = sidecar(&path);
    let work = Work {
        stage: "pack-bin",
        manifest: beside.clone(),
        inputs: vec![],
        config: json!({ "pack": { "seed": 1 } }),
    };
    let mut manifest = work.manifest(vec![written]).unwrap();
    manifest.counts.extend(
        [("tokens", 2000), ("stories", 9), ("bytes", 8000)]
            .map(|(name, count)| (name.to_owned(), count)),
    );
    manifest.facts.extend([("dtype".to_owned(), json!("uint16")), ("eos".to_owned(), json!(0))]);
    manifest.tokenizer = Some(record(300));
    work.publish(&manifest).unwrap();
    let good = fs::read(&beside).unwrap();
    seed("bin", "uint16", &[&good, &bytes[..]]);
    let read = || {
        let bin = Bin::open(&path)?;
        bin.verify()?;
        let mut ids = vec![0; bin.len() as usize];
        bin.copy(0, &mut ids)?;
        Ok((bin.manifest().clone(), bin.eos(), ids))
    };
    survives("a sidecar", &good, &[3], |bytes| {
        fs::write(&beside, bytes).unwrap();
        read()
    });
    fs::write(&beside, &good).unwrap();
    survives("a bin", &bytes, &[3], |bytes| {
        fs::write(&path, bytes).unwrap();
        read()
    });
}

fn small_model() -> (Config, Vec<f32>) {
    let section = stage::config::Model {
        n_layer: 1,
        n_head: 2,
        n_kv_head: None,
        d_model: 8,
        d_mlp: 12,
        context: 8,
    };
    let config = Config::new(&section, 260);
    (config, initial_weights(&TensorTable::new(&config), 1))
}

#[test]
fn checkpoints() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("last.safetensors");
    let (config, weights) = small_model();
    let state = CheckpointState {
        step: 70,
        config,
        settings: json!({ "lr": 6e-4, "seed": 1 }),
        tokenizer_sha256: "ab".repeat(32),
        device: "cpu".into(),
        precision: "f32".into(),
        plan: "plain".into(),
        update: vec![0.1, 65_536.0, 0.478],
        best: None,
        redrawn: vec![],
    };
    let slots = ["adam_m", "adam_v"].map(|name| (name.to_owned(), weights.clone()));
    Checkpoint { state, slots: slots.into(), weights }.save(&path).unwrap();
    let good = fs::read(&path).unwrap();
    seed("checkpoint", "small", &[&good]);
    survives("a checkpoint", &good, &[3], |bytes| {
        fs::write(&path, bytes).unwrap();
        Checkpoint::load(&path)
    });
}

#[test]
fn model_folders() {
    let folder = tempfile::tempdir().unwrap();
    let (config, weights) = small_model();
    save_folder(folder.path(), &config, &weights, tokenizer().as_bytes(), &[0]).unwrap();
    let files = ["config.json", "model.safetensors"]
        .map(|name| fs::read(folder.path().join(name)).unwrap());
    seed("folder", "small", &[&files[0], &files[1]]);
    for name in ["config.json", "model.safetensors"] {
        let path = folder.path().join(name);
        let good = fs::read(&path).unwrap();
        survives(name, &good, &[3], |bytes| {
            fs::write(&path, bytes).unwrap();
            load_folder(folder.path())?;
            caught_by_hash(&good, bytes)
        });
        fs::write(&path, &good).unwrap();
    }
}

#[test]
fn pipeline_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipeline.toml");
    let good =
        fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../pipelines/tinystories-3m.toml"))
            .unwrap();
    seed("config", "3m", &[&good, b"train.lr=3e-4"]);
    survives("a pipeline file", &good, &[2], |bytes| {
        fs::write(&path, bytes).unwrap();
        Pipeline::load(&path, &[]).map(drop) // a changed setting that still is one is a setting
    });
}

#[test]
fn parquet_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("train-00000-of-00001.parquet");
    for stories in [12, 2500] {
        let mut writer = StoryWriter::create(&path, "story").unwrap();
        (0..stories).for_each(|i| writer.push(&story(i)).unwrap());
        writer.finish().unwrap();
        let good = fs::read(&path).unwrap();
        seed("parquet", &stories.to_string(), &[&good]);
        survives(&format!("parquet of {stories} stories"), &good, &[3], |bytes| {
            fs::write(&path, bytes).unwrap();
            let file = ParquetStories::open(&path, "text")?;
            let mut read = 0;
            (0..file.row_groups()).try_for_each(|row_group| {
                file.read(row_group, |text| {
                    read += text.len();
                    Ok(())
                })
            })?;
            caught_by_hash(&good, bytes)
        });
    }
}

/// Reads a file of texts in all its damages.
fn text_survives(
    what: &str,
    good: &[u8],
    read: impl Fn(&Path, &mut dyn FnMut(&str) -> Result<()>) -> Result<()>,
) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    survives(what, good, &[3], |bytes| {
        fs::write(&path, bytes).unwrap();
        read(&path, &mut |_| Ok(()))?;
        caught_by_hash(good, bytes)
    });
}

#[test]
fn texts_and_their_packings() {
    let stories: Vec<String> = (0..12).map(story).collect();
    let lines: Vec<String> =
        stories.iter().map(|text| json!({ "id": [1, {}], "text": text }).to_string()).collect();
    let json = |path: &Path, each: &mut dyn FnMut(&str) -> Result<()>| {
        json_texts(path, "text", &mut Mended::default(), each)
    };
    let plain = |path: &Path, each: &mut dyn FnMut(&str) -> Result<()>| {
        separated_text(path, &Separator::of(None), &mut Mended::default(), each)
    };
    let (array, lines) = (format!("[{}]", lines.join(",")), lines.join("\r\n"));
    let text = stories.join("\r\n<|endoftext|>\n");
    let zstd = |text: &str| zstd::encode_all(text.as_bytes(), 3).unwrap();
    let gzip = |text: &str| {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        packer.write_all(text.as_bytes()).and_then(|()| packer.finish()).unwrap()
    };
    for (name, content) in [("lines", &lines), ("array", &array)] {
        for (packed, bytes) in
            [("", content.clone().into_bytes()), (".gz", gzip(content)), (".zst", zstd(content))]
        {
            seed("jsonl", &format!("{name}{packed}"), &[&bytes]);
            text_survives(&format!("JSON {name}{packed}"), &bytes, json);
        }
    }
    for (packed, bytes) in
        [("", text.clone().into_bytes()), (".gz", gzip(&text)), (".zst", zstd(&text))]
    {
        seed("text", &format!("text{packed}"), &[&bytes]);
        text_survives(&format!("text{packed}"), &bytes, plain);
    }
}

#[test]
fn checkpoints_of_llama2c() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stories.bin");
    for (vocab, kv_heads) in [(20, 2), (-20, 1)] {
        // dim, hidden, layers, heads, key heads, vocabulary, context
        let sizes = [8i32, 12, 1, 2, kv_heads, vocab, 8];
        let mut bytes: Vec<u8> = sizes.into_iter().flat_map(i32::to_le_bytes).collect();
        let kv = 8 * 4 * kv_heads;
        let layer = 2 * 8 + 2 * 8 * 8 + 2 * kv + 3 * 8 * 12;
        let tables = 20 * 8 * if vocab < 0 { 2 } else { 1 };
        let values = layer + tables + 8 + 8 * 4;
        bytes.extend((0..values).flat_map(|i| (i as f32 / 100.0).to_le_bytes()));
        seed("llama2c", &format!("{vocab}-{kv_heads}"), &[&bytes]);
        survives("a checkpoint of llama2.c", &bytes, &[3], |bad| {
            fs::write(&path, bad).unwrap();
            let (llama, tensors) = read_llama2c(&path)?;
            let expected = Weights::expected(&llama);
            assert!(expected.iter().all(|(name, shape)| {
                tensors.get(name).is_some_and(|t| t.len() == shape.iter().product::<usize>())
            }));
            caught_by_hash(&bytes, bad)
        });
    }
}

/// A parquet file of 12 stories in one row group.
fn good_parquet() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let mut writer = StoryWriter::create(&path, "story").unwrap();
    (0..12).for_each(|i| writer.push(&story(i)).unwrap());
    writer.finish().unwrap();
    fs::read(&path).unwrap()
}

/// All texts of a file.
fn read_parquet(bytes: &[u8]) -> Result<Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    fs::write(&path, bytes).unwrap();
    let (file, mut texts) = (ParquetStories::open(&path, "text")?, Vec::new());
    (0..file.row_groups()).try_for_each(|row_group| {
        file.read(row_group, |text| {
            texts.push(text.to_owned());
            Ok(())
        })
    })?;
    Ok(texts)
}

/// Crate parquet, given this file, would take more time or memory than there is, or overflow its stack.
fn refused(bytes: &[u8], why: &str) {
    PEAK.store(LIVE.load(Ordering::Relaxed), Ordering::Relaxed);
    let start = Instant::now();
    let error = read_parquet(bytes).map(|texts| texts.len()).expect_err(why);
    let (seconds, peak) = (start.elapsed(), PEAK.load(Ordering::Relaxed));
    assert!(error.to_string().contains(why), "{error}\nshould say {why:?}");
    assert_eq!(error.exit_code(), 3);
    assert!(seconds < Duration::from_secs(20) && peak < GIB, "{why}: {seconds:?}, {peak} bytes");
}

/// Where the footer starts.
fn footer_of(bytes: &[u8]) -> usize {
    let end = bytes.len() - 8;
    end - u32::from_le_bytes(bytes[end..end + 4].try_into().unwrap()) as usize
}

/// The file with another footer.
fn with_footer(good: &[u8], footer: &[u8]) -> Vec<u8> {
    [&good[..footer_of(good)], footer, &(footer.len() as u32).to_le_bytes(), b"PAR1"].concat()
}

/// `bytes` with the one place where they are `from` changed.
fn changed(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let places: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at..].starts_with(from)).collect();
    let &[at] = &places[..] else { panic!("{from:x?} at {places:?}") };
    [&bytes[..at], to, &bytes[at + from.len()..]].concat()
}

/// Thrift's compact form of a length.
fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

const MOST: u64 = i32::MAX as u64;
/// Version, the schema's list of two elements, and its root: name and one child.
const SCHEMA: &[u8] = b"\x15\x02\x19\x2c\x48\x0carrow_schema\x15\x02\x00";

#[test]
fn parquet_schemas_that_are_no_tree() {
    let good = good_parquet();
    let footer = &good[footer_of(&good)..good.len() - 8];
    let with_schema = |schema: &[u8]| with_footer(&good, &changed(footer, SCHEMA, schema));
    assert_eq!(read_parquet(&with_schema(SCHEMA)).unwrap().len(), 12);
    let root = &SCHEMA[..SCHEMA.len() - 2];
    for (children, words) in [(MOST, "children"), (2, "2 children"), (0, "belongs to no group")] {
        refused(&with_schema(&[root, &varint(children * 2), b"\0"].concat()), words);
    }
    refused(&with_schema(&[root, b"\x01\x00"].concat()), "-1 children");
    // Half a million groups, required, "g", each in the one before.
    let groups = 500_000;
    let deep = [
        b"\x15\x02\x19\xfc",
        &varint(groups + 2)[..],
        &SCHEMA[4..],
        &b"\x35\x00\x18\x01g\x15\x02\x00".repeat(groups as usize),
    ];
    refused(&with_schema(&deep.concat()), "groups of columns within each other");
}

#[test]
fn parquet_lists_of_nothing() {
    let good = good_parquet();
    // Fields that parquet does not have: lists and maps of truths, and of lists of them.
    let footer = &good[footer_of(&good)..good.len() - 9];
    let extra = |field: &[u8]| with_footer(&good, &[footer, field, b"\0"].concat());
    assert_eq!(read_parquet(&extra(b"\x29\x25\x00\x00")).unwrap().len(), 12);
    refused(&extra(&[b"\x29\xf1", &varint(MOST)[..]].concat()), "truth values");
    refused(&extra(&[b"\x2b", &varint(MOST)[..], b"\x22"].concat()), "truth values");
    let lists = 1000;
    let nested = [
        b"\x29\xf9",
        &varint(lists)[..],
        &[b"\xf2", &varint(MOST)[..]].concat().repeat(lists as usize),
    ];
    refused(&extra(&nested.concat()), "truth values");
    refused(&extra(&[b"\x29\xf7", &varint(MOST)[..]].concat()), "does not end");
    refused(&extra(&b"\x2c".repeat(100_000)), "within each other");
    // A number of rows that is written as a list: the crate would read a number, and a field of another type behind it.
    let rows = b"\x16\x18\x19\x1c\x19\x1c\x26";
    refused(
        &with_footer(
            &good,
            &[&changed(footer, rows, b"\x19\x18\x19\x1c\x19\x1c\x26")[..], b"\0"].concat(),
        ),
        "another type",
    );
}

#[test]
fn parquet_page_headers_without_end() {
    let good = good_parquet();
    // The first page: type, sizes, and the header of a data page with 12 values.
    assert_eq!(good[4..7], *b"\x15\x00\x15");
    // A field of number 100 before them, and then number 1 with its number written out.
    let extra = |written: u8, value: &[u8]| {
        [&good[..4], &[written], &varint(200), value, b"\x05\x02", &good[5..]].concat()
    };
    refused(
        &extra(9, &[b"\xf1", &varint(MOST)[..]].concat()),
        "page header at byte 4: a list of 2147483647 truth values",
    );
    refused(
        &extra(9, &[b"\xf7", &varint(MOST)[..]].concat()),
        "page header at byte 4: it does not end within its column",
    );
    refused(&extra(8, &varint(MOST)), "page header at byte 4: it does not end within its column");
    let mut typed = good.clone();
    typed[4] = 0x19;
    refused(&typed, "page header at byte 4: a field of another type");
}

#[test]
fn parquet_columns_read_many_times() {
    let good = good_parquet();
    let metadata =
        ParquetMetaDataReader::decode_metadata(&good[footer_of(&good)..good.len() - 8]).unwrap();
    let again = |times: usize| {
        let groups = vec![metadata.row_group(0).clone(); times];
        let metadata = metadata.clone().into_builder().set_row_groups(groups).build();
        let mut bytes = good[..footer_of(&good)].to_vec();
        let mut end = Vec::new();
        ParquetMetaDataWriter::new(&mut end, &metadata).finish().unwrap();
        bytes.extend(end);
        bytes
    };
    assert_eq!(read_parquet(&again(1)).unwrap().len(), 12);
    refused(&again(1000), "in a file of");
}

/// What other writers make and may be read: every kind of column beside the text, statistics of any length, dictionaries.
#[test]
fn parquet_files_of_other_writers() {
    let rows = 1000;
    let texts: Vec<String> = (0..rows)
        .map(|i| if i % 100 == 0 { story(i).repeat(500) } else { story(i % 50) })
        .collect();
    let lists = (0..rows).map(|i| {
        (i % 7 > 0).then(|| (0..i as i32 % 5).map(|j| (j > 1).then_some(j)).collect::<Vec<_>>())
    });
    let some = |i: u64| (!i.is_multiple_of(3)).then_some(i as i64);
    let numbers: ArrayRef = Arc::new((0..rows).map(some).collect::<Int64Array>());
    let decimals = (0..rows).map(|i| some(i).map(i128::from)).collect::<Decimal128Array>();
    let times: TimestampMicrosecondArray = (0..rows).map(some).collect();
    let inner = vec![(Arc::new(Field::new("n", DataType::Int64, true)), numbers.clone())];
    let batch = RecordBatch::try_from_iter_with_nullable([
        ("numbers", numbers, true),
        (
            "bytes",
            Arc::new((0..rows).map(|i| Some(i as i8)).collect::<Int8Array>()) as ArrayRef,
            true,
        ),
        ("truths", Arc::new((0..rows).map(|i| Some(i % 2 == 0)).collect::<BooleanArray>()), true),
        ("lists", Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists)), true),
        ("text", Arc::new(StringArray::from(texts.clone())), false),
        ("structs", Arc::new(StructArray::from(inner)), true),
        ("doubles", Arc::new((0..rows).map(|i| Some(i as f64)).collect::<Float64Array>()), true),
        ("dates", Arc::new((0..rows).map(|i| Some(i as i32)).collect::<Date32Array>()), true),
        ("decimals", Arc::new(decimals.with_precision_and_scale(20, 3).unwrap()), true),
        ("times", Arc::new(times.with_timezone("UTC")), true),
    ])
    .unwrap();
    for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
        for (dictionary, group) in [(true, 1000), (false, 1000), (true, 3), (false, 300)] {
            let properties = WriterProperties::builder()
                .set_writer_version(version)
                .set_dictionary_enabled(dictionary)
                .set_max_row_group_row_count(Some(group))
                .set_data_page_row_count_limit(50)
                .set_write_batch_size(25)
                .set_compression(Compression::SNAPPY)
                .set_statistics_enabled(EnabledStatistics::Page)
                .set_write_page_header_statistics(true)
                .set_statistics_truncate_length(None)
                .set_column_index_truncate_length(None)
                .set_bloom_filter_enabled(true)
                .set_key_value_metadata(Some(vec![
                    KeyValue::new("a".into(), "b".to_owned()),
                    KeyValue::new("c".into(), None),
                ]))
                .set_sorting_columns(Some(vec![SortingColumn {
                    column_idx: 0,
                    descending: true,
                    nulls_first: false,
                }]))
                .build();
            let mut writer =
                ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
            writer.write(&batch).unwrap();
            let read = read_parquet(&writer.into_inner().unwrap()).unwrap();
            assert!(read == texts, "{version:?}, dictionary {dictionary}, row groups of {group}");
        }
    }
}
