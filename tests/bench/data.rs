//! The data stages: rates of the programs as people run them, start and load included, and in alternation with their
//! Python peers (`peers/*.py`) where `PYTHON` names an interpreter that has them: packages tokenizers, gigatoken, pyarrow.
//!
//! `BENCH_DATA=1` runs these rows alone, `BENCH_DATA=pack,fetch` some of them ([`ROWS`]). `BEDTIME_STORIES` names a folder of parquet files with real stories, repeated
//! to the size that is wanted; without it they are those of `stories:`. `BENCH_LONG=1` adds what takes minutes: training
//! on 1 GB and memory at 4 GB.
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arrow::array::{RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema};
use corpus::remote::download::{Meter, begin, download};
use corpus::remote::http::HttpFile;
use corpus::remote::{Cancel, Network, Published};
use corpus::rewrite::StoryWriter;
use corpus::stories::ParquetStories;
use corpus::tokenizer::{EOS, Scratch, Tokenizer};
use memmap2::Mmap;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use serde_json::{Value, json};
use stage::{Log, LogFormat, Unit};
use tests::{Run, binary};

use crate::Table;
use crate::server::{Reply, Server};

/// Text that the encoders are raced on.
const TEXT_BYTES: u64 = 210_000_000;
const ROUNDS: usize = 3;
/// What `fetch` downloads.
const FILES: usize = 5;
/// Downloads at once, as `fetch-parquet` has them on two cores.
const DOWNLOADS: usize = 4;
/// What `BENCH_DATA` may name; the last two take minutes.
const ROWS: [&str; 8] =
    ["encoder", "tokenize", "pack", "train", "fetch", "memory", "train-1gb", "memory-4gb"];

pub(crate) fn rows(table: &mut Table) {
    let run = plain();
    let text = run.input("stories.txt");
    let bytes = write_stories(&run.input("in/train.parquet"), Some(&text), TEXT_BYTES);
    let run = run
        .set("fetch.source=in")
        .set("fetch.validation_fraction=0.0001")
        .set("tokenizer.vocab_size=8000");
    let raw = run.path("raw/train-00000-of-00001.parquet");
    // What is not timed has to be there.
    run.through(&["fetch-parquet", "train-tokenizer", "tokenize", "pack-bin"]);
    let tokenizer = run.path("tokenizer.json");

    let wanted = std::env::var("BENCH_DATA").unwrap_or_default();
    let usual = if std::env::var_os("BENCH_LONG").is_some() { &ROWS[..] } else { &ROWS[..6] };
    let chosen: Vec<&str> = match &wanted[..] {
        "" | "1" => usual.to_vec(),
        some => some.split(',').collect(),
    };
    for row in chosen {
        match row {
            "encoder" => encoder(table, &text, &tokenizer, bytes),
            "tokenize" => tokenize(table, &run, &raw, &tokenizer, bytes),
            "pack" => pack(table, &run),
            "train" => train(table, 13_500_000, "13.5 MB"),
            "fetch" => fetch(table, &raw),
            "memory" => memory(table, &run, "210 MB"),
            "train-1gb" => train(table, 1_000_000_000, "1 GB"),
            "memory-4gb" => {
                for (bytes, size) in [(100_000_000, "100 MB"), (4_000_000_000, "4 GB")] {
                    memory(table, &sized(bytes), size);
                }
            }
            other => panic!("BENCH_DATA={other}: expected 1 or some of {}", ROWS.join(",")),
        }
    }
}

fn plain() -> Run {
    let run = Run::new();
    fs::write(run.input("tiny.toml"), "").expect("the pipeline file can be written");
    run
}

/// `bench encode FILE TOKENIZER`: the encoder alone, as a program. Says how many documents and ids.
pub(crate) fn encode_file(file: &Path, tokenizer: &Path) {
    let tokenizer = Tokenizer::load(tokenizer).expect("a tokenizer");
    let file = File::open(file).expect("a text file");
    // SAFETY: nobody shortens the file while it is raced on.
    let bytes = unsafe { Mmap::map(&file) }.expect("a file that can be mapped");
    let text = std::str::from_utf8(&bytes).expect("UTF-8");
    // Pieces of some MB that end behind a separator.
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let cut = (4 << 20..rest.len())
            .find(|&at| rest.is_char_boundary(at))
            .and_then(|at| Some(at + rest[at..].find(EOS)? + EOS.len()));
        let (piece, left) = rest.split_at(cut.unwrap_or(rest.len()));
        pieces.push(piece);
        rest = left;
    }
    let next = AtomicUsize::new(0);
    let work = || {
        let (mut scratch, mut made) = (Scratch::default(), Vec::new());
        while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
            let (mut ids, mut ends) = (Vec::<u16>::with_capacity(piece.len() / 3), Vec::new());
            for story in piece.split_terminator(EOS) {
                tokenizer.append(story, &mut scratch, &mut ids).expect("ids");
                ends.push(ids.len());
            }
            made.push((ids, ends));
        }
        made
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let made: Vec<(Vec<u16>, Vec<usize>)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a thread that ends")).collect()
    });
    let (stories, tokens) = made
        .iter()
        .fold((0, 0), |(stories, tokens), (ids, ends)| (stories + ends.len(), tokens + ids.len()));
    println!("{}", json!({ "stories": stories, "tokens": tokens }));
}

/// `bench download HUB FOLDER`: what `fetch-parquet` does with a file before it reads its stories, as a program. Each is
/// checked for length and published hash, synced and renamed; those that a broken download left go on.
pub(crate) fn download_files(hub: &str, folder: &Path) {
    let log = Log::new("bench", LogFormat::Text);
    let network = Network::new(log, Cancel::default()).expect("a network");
    let meter = Meter::new(log.progress("fetching", Unit::Bytes, None), FILES as u64);
    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= FILES {
                return;
            }
            let name = format!("train-{index}.parquet");
            let path = folder.join(&name);
            let partial = begin(&path).expect("a folder");
            let file = HttpFile::new(
                &network,
                &format!("{hub}/train/{index}.parquet"),
                Published::default(),
            )
            .expect("an address");
            let record = download(&network, &file, &partial, &meter).expect("a download");
            stage::publish_file(partial, &path, record.bytes).expect("a disk");
        }
    };
    std::thread::scope(|scope| (0..DOWNLOADS).for_each(|_| drop(scope.spawn(work))));
    meter.progress.finish();
}

/// Real stories where there are, else made up, repeated up to this number of bytes of text; also with separators.
fn write_stories(parquet: &Path, text: Option<&Path>, bytes: u64) -> u64 {
    let real = std::env::var_os("BEDTIME_STORIES")
        .map(|folder| read_folder(Path::new(&folder)))
        .unwrap_or_default();
    let mut writer = StoryWriter::create(parquet, "text").expect("a parquet file");
    let mut plain =
        text.map(|path| std::io::BufWriter::new(File::create(path).expect("a text file")));
    let mut index = 0;
    while writer.text_bytes() < bytes {
        let story = match real.is_empty() {
            true => grammar::story(1, index),
            false => real[index as usize % real.len()].clone(),
        };
        writer.push(&story).expect("a story");
        if let Some(plain) = &mut plain {
            plain
                .write_all(story.as_bytes())
                .and_then(|()| plain.write_all(EOS.as_bytes()))
                .expect("text");
        }
        index += 1;
    }
    let bytes = writer.text_bytes();
    writer.finish().expect("a parquet file");
    eprintln!(
        "{index} stories, {:.0} MB, {}",
        bytes as f64 / 1e6,
        if real.is_empty() { "synthetic" } else { "real ones repeated" }
    );
    bytes
}

fn read_folder(folder: &Path) -> Vec<String> {
    let mut files = tests::files_below(folder);
    files.retain(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("train"))
    });
    let mut texts = Vec::new();
    for file in
        files.iter().filter(|path| path.extension().is_some_and(|extension| extension == "parquet"))
    {
        let stories = ParquetStories::open(file, "text").expect("stories");
        (0..stories.row_groups()).for_each(|group| {
            stories.read(group, |text| Ok(texts.push(text.to_owned()))).expect("stories")
        });
    }
    texts
}

/// Seconds that a command takes, and the last line it prints.
fn seconds(command: &mut Command) -> (f64, String) {
    let started = Instant::now();
    let output = command.stderr(Stdio::piped()).output().expect("a program that can be started");
    let seconds = started.elapsed().as_secs_f64();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    (seconds, String::from_utf8_lossy(&output.stdout).lines().last().unwrap_or_default().to_owned())
}

/// A peer's script, if there is an interpreter that has its packages.
fn peer(script: &str, packages: &str) -> Option<Command> {
    let python = std::env::var_os("PYTHON");
    let has = |python: &std::ffi::OsString| {
        Command::new(python)
            .args(["-c", &format!("import {packages}")])
            .output()
            .is_ok_and(|o| o.status.success())
    };
    let Some(python) = python.filter(has) else {
        eprintln!("{script} is not raced: set PYTHON to an interpreter with {packages}");
        return None;
    };
    let mut command = Command::new(python);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/peers").join(script));
    Some(command)
}

/// Runs two commands in alternation and writes the rows of their medians. Both have to print the same counts.
fn race(
    table: &mut Table,
    figure: &str,
    name: &str,
    megabytes: f64,
    own: impl Fn() -> (f64, Value),
    peer: Option<(usize, &mut Command)>,
) {
    let (mut own_seconds, mut peer_seconds) = (Vec::new(), Vec::new());
    let (rounds, mut peer) = peer.map_or((0, None), |(rounds, peer)| (rounds, Some(peer)));
    for round in 0..ROUNDS.max(rounds) {
        let (taken, counts) = own();
        own_seconds.push(taken);
        if let Some(peer) = peer.as_mut().filter(|_| round < rounds) {
            let (taken, line) = seconds(peer);
            peer_seconds.push(taken);
            let theirs: Value = serde_json::from_str(&line).unwrap_or_default();
            assert_eq!(
                counts["tokens"], theirs["tokens"],
                "{figure}: the peer counts other tokens"
            );
        }
    }
    let own = megabytes / crate::median(&mut own_seconds);
    table.row(figure, own, "MB/s of text");
    if !peer_seconds.is_empty() {
        let theirs = megabytes / crate::median(&mut peer_seconds);
        table.row(&format!("same, {name}"), theirs, "MB/s of text");
        table.row("ratio", own / theirs, "x");
    }
}

fn encoder(table: &mut Table, text: &Path, tokenizer: &Path, bytes: u64) {
    let own = || {
        let (taken, line) =
            seconds(Command::new(binary("bench")).arg("encode").arg(text).arg(tokenizer));
        (taken, serde_json::from_str(&line).unwrap_or_default())
    };
    let mut peer = peer("encode_gigatoken.py", "gigatoken, awkward");
    let peer = peer.as_mut().map(|peer| (ROUNDS, peer.arg(tokenizer).arg(text)));
    race(
        table,
        "encoder alone, text file to ids",
        "gigatoken encode_files",
        bytes as f64 / 1e6,
        own,
        peer,
    );
}

fn tokenize(table: &mut Table, run: &Run, raw: &Path, tokenizer: &Path, bytes: u64) {
    let own = || {
        let (taken, _) = seconds(run.command("tokenize").args(["--force", "--shards", "8"]));
        (taken, json!({ "tokens": run.json("tokens/manifest.json")["counts"]["train_tokens"] }))
    };
    let mut peer = peer("encode_hf.py", "tokenizers, pyarrow");
    let peer = peer.as_mut().map(|peer| (2, peer.arg(tokenizer).arg(raw)));
    race(
        table,
        "tokenize, parquet to shards",
        "Hugging Face encode_batch_fast",
        bytes as f64 / 1e6,
        own,
        peer,
    );
}

/// A run whose stories, this number of bytes of text, are fetched; the tokenizer is trained on all of them.
fn sized(bytes: u64) -> Run {
    let run = plain()
        .set("fetch.source=in")
        .set("fetch.validation_fraction=0.0001")
        .set("tokenizer.vocab_size=8000");
    let run = run.set("tokenizer.max_stories=1000000000");
    write_stories(&run.input("in/train.parquet"), None, bytes);
    run.run("fetch-parquet", &[]).ok();
    run
}

/// Trains, and sees whether both make the same tokenizer.
fn train(table: &mut Table, bytes: u64, size: &str) {
    let run = sized(bytes);
    let (mut own, mut theirs) = (Vec::new(), Vec::new());
    let made = run.input("hf.json");
    let mut peer = peer("train_hf.py", "tokenizers, pyarrow");
    if let Some(peer) = &mut peer {
        peer.arg(run.path("raw/train-00000-of-00001.parquet")).arg("8000").arg(&made);
    }
    for round in 0..ROUNDS {
        own.push(seconds(run.command("train-tokenizer").arg("--force")).0);
        if let Some(peer) = peer.as_mut().filter(|_| round == 0 || bytes < 100_000_000) {
            theirs.push(seconds(peer).0);
            let model = |path: &Path| {
                serde_json::from_slice::<Value>(&fs::read(path).expect("a tokenizer"))
                    .expect("JSON")["model"]
                    .take()
            };
            assert!(
                model(&made) == model(&run.path("tokenizer.json")),
                "the peer trains another tokenizer"
            );
        }
    }
    let own = crate::median(&mut own);
    table.row(&format!("train-tokenizer, 8,000 tokens, {size}"), own, "s");
    if !theirs.is_empty() {
        let theirs = crate::median(&mut theirs);
        table.row("same, Hugging Face trainer", theirs, "s");
        table.row("ratio", theirs / own, "x");
    }
}

/// Bytes of both bins over the time of the whole process: start, tokenizer and hashing of the shards included.
fn pack(table: &mut Table, run: &Run) {
    let content = [run.read("train.bin"), run.read("val.bin")].concat();
    let bins = content.len() as f64 / 1e6;
    // As on a first run: taking an old file's place frees its pages, which is no part of packing.
    let packed = |_| {
        for name in ["train.bin", "val.bin"] {
            let _ = fs::remove_file(run.path(name));
        }
        seconds(run.command("pack-bin").arg("--force")).0
    };
    let mut own: Vec<f64> = (0..2 * ROUNDS + 1).map(packed).collect();
    let disk = |_| {
        let started = Instant::now();
        let mut file = File::create(run.input("disk")).expect("a file");
        file.write_all(&content).and_then(|()| file.sync_all()).expect("a disk");
        started.elapsed().as_secs_f64()
    };
    let mut disk: Vec<f64> = (0..2 * ROUNDS + 1).map(disk).collect();
    table.row(
        &format!("pack-bin, {bins:.0} MB of bins, shuffled"),
        bins / crate::median(&mut own),
        "MB/s of bin",
    );
    table.row("the same bytes written and synced", bins / crate::median(&mut disk), "MB/s");
}

/// The same stories in the form that the Hub converts datasets to: snappy, dictionaries, row groups of 1,000.
fn write_as_converted(stories: &Path, path: &Path) {
    let stories = ParquetStories::open(stories, "text").expect("stories");
    let schema = Arc::new(Schema::new(vec![Field::new("text", DataType::Utf8, true)]));
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(1000))
        .build();
    let file = File::create(path).expect("a parquet file");
    let mut writer =
        ArrowWriter::try_new(file, schema.clone(), Some(properties)).expect("a parquet file");
    for group in 0..stories.row_groups() {
        let mut texts = StringBuilder::new();
        stories.read(group, |text| Ok(texts.append_value(text))).expect("stories");
        let batch =
            RecordBatch::try_new(schema.clone(), vec![Arc::new(texts.finish())]).expect("a column");
        writer.write(&batch).expect("stories");
    }
    writer.close().expect("a parquet file");
}

/// A dataset of five files on a hub that is this process, and two files on the same disk: alternating, medians.
fn fetch(table: &mut Table, raw: &Path) {
    let own = plain();
    let converted = own.input("converted.parquet");
    write_as_converted(raw, &converted);
    for (path, form) in [(converted.as_path(), "snappy, as the Hub converts"), (raw, "zstd")] {
        let content: Arc<[u8]> = fs::read(path).expect("a parquet file").into();
        let megabytes = content.len() as f64 / 1e6;
        let sha256 = stage::sha256(&content);
        let hub = hub_of(content.clone(), &sha256);
        let (downloaded, remote, local) = (plain(), plain(), plain());
        fs::create_dir_all(local.input("local")).expect("a folder");
        for name in ["train-0.parquet", "validation-0.parquet"] {
            fs::copy(path, local.input("local").join(name)).expect("a copy");
        }
        // Each writes where nothing is: taking an old file's place frees its pages, which is no part of it.
        let of_hub = |mut command: Command| {
            seconds(command.env("HF_ENDPOINT", &hub.address).env("no_proxy", "127.0.0.1")).0
        };
        let download = || {
            let folder = downloaded.path("raw");
            let _ = fs::remove_dir_all(&folder);
            fs::create_dir_all(&folder).expect("a folder");
            let mut command = Command::new(binary("bench"));
            command.arg("download").arg(&hub.address).arg(folder);
            of_hub(command)
        };
        let whole = || {
            let _ = fs::remove_dir_all(remote.path("raw"));
            let mut command = remote.command("fetch-parquet");
            command.args(["--force", "--source", "hf://datasets/owner/name"]);
            of_hub(command)
        };
        let of_disk = || {
            let _ = fs::remove_dir_all(local.path("raw"));
            seconds(local.command("fetch-parquet").args(["--force", "--source", "local"])).0
        };
        let disk = || {
            let _ = fs::remove_file(own.input("disk"));
            let started = Instant::now();
            let mut file = File::create(own.input("disk")).expect("a file");
            (0..2)
                .try_for_each(|_| file.write_all(&content))
                .and_then(|()| file.sync_all())
                .expect("a disk");
            started.elapsed().as_secs_f64()
        };
        let mut taken: [Vec<f64>; 5] = Default::default();
        for _ in 0..2 * ROUNDS + 1 {
            let round = [read_and_drop(&hub.address), download(), whole(), of_disk(), disk()];
            taken.iter_mut().zip(round).for_each(|(taken, seconds)| taken.push(seconds));
        }
        let files = format!("{FILES} files of {megabytes:.0} MB ({form}) from loopback");
        let figures = [
            (FILES, format!("{files}, read and dropped")),
            (FILES, format!("{files}, downloaded and hashed, without reading the stories")),
            (FILES, format!("fetch-parquet, {files}, hashed and every story read")),
            (2, format!("fetch-parquet, 2 local files ({form}), hashed and every story read")),
            (2, "the same bytes written and synced".to_owned()),
        ];
        for ((files, figure), mut taken) in figures.into_iter().zip(taken) {
            table.row(
                &figure,
                files as f64 * megabytes / crate::median(&mut taken),
                "MB/s of parquet",
            );
        }
    }
}

/// A hub with a dataset of [`FILES`] files, each of this content.
fn hub_of(content: Arc<[u8]>, sha256: &str) -> Server {
    let linked = format!("\"{sha256}\"");
    Server::start(move |request| match request.target.as_str() {
        "/api/datasets/owner/name/parquet" => {
            let url = |split: &str, i: usize| format!("https://huggingface.co/{split}/{i}.parquet");
            let train: Vec<String> = (1..FILES).map(|i| url("train", i)).collect();
            Reply::new(
                200,
                json!({ "default": { "train": train, "validation": [url("validation", 0)] } })
                    .to_string(),
            )
        }
        _ => Reply::shared(request, &content, "\"x\"").header("X-Linked-Etag", linked.clone()),
    })
}

/// Seconds that the files take to this process over as many connections as `fetch-parquet` opens.
fn read_and_drop(address: &str) -> f64 {
    let address = address.trim_start_matches("http://");
    let started = Instant::now();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut buffer = vec![0; 1 << 18];
        while next.fetch_add(1, Ordering::Relaxed) < FILES {
            let mut stream = TcpStream::connect(address).expect("a server");
            stream.write_all(b"GET /train/0.parquet HTTP/1.1\r\n\r\n").expect("a request");
            while stream.read(&mut buffer).expect("an answer") > 0 {}
        }
    };
    std::thread::scope(|scope| (0..DOWNLOADS).for_each(|_| drop(scope.spawn(work))));
    started.elapsed().as_secs_f64()
}

/// The largest RssAnon of each stage, made anew.
fn memory(table: &mut Table, run: &Run, size: &str) {
    for stage in ["fetch-parquet", "train-tokenizer", "tokenize", "pack-bin"] {
        let mut child = run
            .command(stage)
            .arg("--force")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a stage");
        let status = Path::new("/proc").join(child.id().to_string()).join("status");
        let mut peak_kb = 0.0f64;
        while child.try_wait().expect("a stage that can be waited for").is_none() {
            let text = fs::read_to_string(&status).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
            peak_kb = peak_kb.max(
                line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
                    .unwrap_or(0.0),
            );
            std::thread::sleep(Duration::from_millis(2));
        }
        table.row(
            &format!("{stage}, {size} of text: peak anonymous memory"),
            peak_kb / 1024.0,
            "MiB",
        );
    }
}
