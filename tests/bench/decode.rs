//! How fast stories are told: the 10 M model, one story at a time, against llama.cpp with the same weights and type and against
//! PyTorch as a first script samples, in alternation; and how soon the first token comes.
//!
//! `LLAMA_PYTHON` names an interpreter with llama-cpp-python and gguf, `PYTHON` one with PyTorch and transformers.
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use compute::{Decoder, Row, Storage, TokenSampler};
use model::{Config, TensorTable, initial_weights, load_folder, save_folder};
use serde_json::Value;
use tests::binary;

use crate::{Table, median};

const TOKENS: usize = 256;
const PEERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/bench/peers");

pub(crate) fn rows(table: &mut Table) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let folder = folder.path();
    let config = Config::new(&stage::config::Model::default(), 8000);
    let weights: Vec<f32> = initial_weights(&TensorTable::new(&config), 1)
        .into_iter()
        .map(|w| if w == 1.0 { w } else { 3.0 * w })
        .collect();
    let stories: Vec<String> = (0..4000).map(|index| grammar::story(1, index)).collect();
    let json =
        corpus::tokenizer::train(8000, |each| stories.iter().try_for_each(|text| each(text)))
            .expect("a tokenizer of stories");
    save_folder(folder, &config, &weights, json.as_bytes(), &[0])
        .expect("the folder can be written");
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    eprintln!("decoding with {threads} threads");

    first_token(table, folder);
    for (storage, name, peer) in [(Storage::F32, "f32", "f32"), (Storage::Q8, "q8", "q8_0")] {
        let (mut own, mut others) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            own.push(own_rate(folder, storage, threads));
            others.extend(llama_rate(folder, peer, threads));
        }
        race(
            table,
            &format!("decoding, 10 M, {name}, batch 1"),
            &mut own,
            "llama.cpp",
            peer,
            &mut others,
        );
    }
    let mut others: Vec<f64> = (0..3).filter_map(|_| llama_rate(folder, "f16", threads)).collect();
    if !others.is_empty() {
        table.row("llama.cpp in f16, for comparison", median(&mut others), "tokens/s");
    }
    let (mut own, mut others) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        own.push(own_rate(folder, Storage::F32, threads));
        others.extend(torch_rate(folder, threads));
    }
    race(
        table,
        "decoding, 10 M, f32, batch 1, again",
        &mut own,
        "PyTorch without a cache",
        "f32",
        &mut others,
    );
    for storage in [Storage::F32, Storage::Q8] {
        let rates: Vec<f64> = (0..3).map(|_| batch_rate(folder, storage, threads, 10)).collect();
        table.row(
            &format!("decoding, 10 M, {storage:?}, batch 10"),
            median(&mut rates.clone()),
            "tokens/s",
        );
    }
}

fn race(
    table: &mut Table,
    figure: &str,
    own: &mut [f64],
    name: &str,
    kind: &str,
    others: &mut [f64],
) {
    let own = median(own);
    table.row(figure, own, "tokens/s");
    if others.is_empty() {
        eprintln!("{name} is not raced: set LLAMA_PYTHON and PYTHON");
        return;
    }
    let other = median(others);
    table.row(&format!("same, {name}, {kind}"), other, "tokens/s");
    table.row("ratio", own / other, "x");
}

/// Greedy, after a prompt of five tokens, choosing the token included; the best of three as for the peers.
fn own_rate(folder: &Path, storage: Storage, threads: usize) -> f64 {
    let (config, weights) = load_folder(folder).expect("it was just written");
    let mut decoder = Decoder::on_cpu(config, weights, 1, threads, storage).expect("memory");
    let sampler = TokenSampler::plain(0.0);
    let row = |token, position| Row { token, slot: 0, position };
    let mut best = 0.0f64;
    for _ in 0..3 {
        decoder.read(&[1, 2, 3, 4].map(|token| row(token, token - 1)));
        let mut token = sampler.pick(
            &decoder.next(&[row(5, 4)]).expect("the CPU engine does not fail"),
            &[],
            0.0,
        );
        let started = Instant::now();
        for position in 5..5 + TOKENS as u32 - 1 {
            token = sampler.pick(
                &decoder.next(&[row(token, position)]).expect("the CPU engine does not fail"),
                &[],
                0.0,
            );
        }
        best = best.max((TOKENS - 1) as f64 / started.elapsed().as_secs_f64());
    }
    best
}

fn batch_rate(folder: &Path, storage: Storage, threads: usize, slots: usize) -> f64 {
    let (config, weights) = load_folder(folder).expect("it was just written");
    let mut decoder = Decoder::on_cpu(config, weights, slots, threads, storage).expect("memory");
    let started = Instant::now();
    for position in 0..TOKENS as u32 {
        let rows: Vec<Row> =
            (0..slots as u32).map(|slot| Row { token: 5 + slot, slot, position }).collect();
        decoder.next(&rows).expect("the CPU engine does not fail");
    }
    (slots * TOKENS) as f64 / started.elapsed().as_secs_f64()
}

fn llama_rate(folder: &Path, kind: &str, threads: usize) -> Option<f64> {
    let (tokens, threads) = (TOKENS.to_string(), threads.to_string());
    peer(
        "LLAMA_PYTHON",
        "decode_llama.py",
        &[&folder.display().to_string(), kind, &tokens, &threads, &folder.display().to_string()],
    )
}

fn torch_rate(folder: &Path, threads: usize) -> Option<f64> {
    peer(
        "PYTHON",
        "decode_torch.py",
        &[&folder.display().to_string(), &TOKENS.to_string(), &threads.to_string()],
    )
}

/// What a peer's last line says; None without an interpreter for it, or where it fails.
fn peer(variable: &str, script: &str, arguments: &[&str]) -> Option<f64> {
    let python = std::env::var_os(variable)?;
    let output =
        Command::new(python).arg(Path::new(PEERS).join(script)).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let rate = text
        .lines()
        .last()
        .and_then(|line| serde_json::from_str::<Value>(line).ok())
        .and_then(|value| value["tok_per_s"].as_f64());
    if rate.is_none() {
        eprintln!(
            "{script}: {}",
            String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default()
        );
    }
    rate
}

/// From the start of the process to its end, one token told.
fn first_token(table: &mut Table, folder: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for precision in ["f32", "q8"] {
        let seconds = (0..7).map(|_| {
            let mut command = Command::new(binary("sample"));
            command.current_dir(&root).args([
                "--device",
                "cpu",
                "--precision",
                precision,
                "--n",
                "1",
                "--max-tokens",
                "1",
                "--prompt",
                "Once",
            ]);
            let started = Instant::now();
            let status = command
                .arg("--model")
                .arg(folder)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            assert!(status.is_ok_and(|status| status.success()), "sample tells one token");
            started.elapsed().as_secs_f64()
        });
        table.row(
            &format!("sample, 10 M, {precision}: start to the end of one token"),
            1e3 * seconds.fold(f64::INFINITY, f64::min),
            "ms",
        );
    }
}
