//! `make bench`: what the kernels and stages reach on this machine, one table on stdout.
//!
//! With `PYTHON` naming an interpreter that has PyTorch, and `TORCH_STEP` the script of a peer that prints
//! `{"tok_per_s": ...}`, the training step is timed against it in alternation. The rows of the data stages are in `data.rs` (`BENCH_DATA=1`:
//! those alone), those of telling stories in `decode.rs` (`BENCH_DECODE=1`).
mod data;
mod decode;
#[allow(dead_code)] // its faults are for tests
#[path = "../server.rs"]
mod server;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use compute::{Cpu, Model, Optimizer, Trainer};
use model::{Config, TensorTable, initial_weights};
use serde_json::Value;
use stage::Random;
use tests::Run;

struct Table(Vec<[String; 3]>);

impl Table {
    fn row(&mut self, figure: &str, value: f64, unit: &str) {
        let value = if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") };
        eprintln!("{figure}: {value} {unit}");
        self.0.push([figure.to_owned(), value, unit.to_owned()]);
    }

    fn print(&self) {
        let machine = machine();
        println!("| figure | value | unit | machine |\n|---|---|---|---|");
        for [figure, value, unit] in &self.0 {
            println!("| {figure} | {value} | {unit} | {machine} |");
        }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [command, from, with] = &arguments[..] {
        match &command[..] {
            "encode" => return data::encode_file(Path::new(from), Path::new(with)),
            "download" => return data::download_files(from, Path::new(with)),
            _ => {}
        }
    }
    let mut table = Table(Vec::new());
    if std::env::var_os("BENCH_SCORING").is_some() {
        scoring(&mut table);
        return table.print();
    }
    if std::env::var_os("BENCH_DATA").is_some() {
        data::rows(&mut table);
        return table.print();
    }
    if std::env::var_os("BENCH_DECODE").is_some() {
        decode::rows(&mut table);
        return table.print();
    }
    products(&mut table);
    let config = Config::new(&stage::config::Model::default(), 8000);
    steps(&mut table, config);
    scoring(&mut table);
    memory(&mut table);
    stages(&mut table);
    decode::rows(&mut table);
    data::rows(&mut table);
    table.print();
}

/// Rates of the products of one step, [2048 rows] of the 10 M model.
fn products(table: &mut Table) {
    let shapes = [
        ("nt", 2048, 960, 320),
        ("nt", 2048, 1712, 320),
        ("nt", 512, 8000, 320),
        ("nn", 2048, 856, 320),
        ("nn", 512, 320, 8000),
        ("tn", 960, 320, 2048),
        ("tn", 8000, 320, 512),
    ];
    for (form, m, n, k) in shapes {
        let mut cpu = Cpu::boxed();
        let [a, b] = [("a", m * k), ("b", n * k)].map(|(name, len)| cpu.allocate_stored(name, len));
        let (c, gradient) = (cpu.allocate_stored("c", m * n), cpu.allocate("gradient", m * n));
        // As many bits set as in real values: with few the processor needs less power, and runs faster.
        for view in [a, b] {
            let mut random = Random::new(view.buffer as u64, "product", view.len as u64);
            cpu.upload(
                *view,
                &(0..view.len).map(|_| random.unit() as f32 - 0.5).collect::<Vec<_>>(),
            );
        }
        let best = fastest(8, || match form {
            "nt" => cpu.matmul_nt(m, n, k, a, b, c),
            "nn" => cpu.matmul_nn(m, n, k, a, b, c),
            _ => cpu.matmul_tn(m, n, k, a, b, gradient),
        });
        table.row(
            &format!("product {form} {m} x {n} x {k}"),
            2.0 * (m * n * k) as f64 / best.as_secs_f64() / 1e9,
            "GFLOP/s",
        );
    }
}

fn fastest(times: usize, mut f: impl FnMut()) -> Duration {
    let once = |_| {
        let started = Instant::now();
        f();
        started.elapsed()
    };
    (0..times).map(once).min().unwrap_or_default()
}

/// Tokens per second of whole training steps, 4 x 512, median; and of the peer, in alternation.
fn steps(table: &mut Table, config: Config) {
    let (batch, sequence) = (4, 512);
    let weights = initial_weights(&TensorTable::new(&config), 1);
    let mut trainer =
        Trainer::new(Cpu::boxed(), config, Optimizer::default(), &weights, batch, sequence)
            .expect("the CPU engine has memory");
    let mut number = 0;
    let mut seconds_of_step = || {
        number += 1;
        let windows: Vec<u32> = (0..batch * (sequence + 1))
            .map(|i| ((i * 7919 + number * 31) % config.vocab_size) as u32)
            .collect();
        let scale = 1.0 / (batch * sequence) as f32;
        let started = Instant::now();
        trainer.begin();
        trainer.accumulate(&windows, scale);
        let ticket = trainer.update(1e-4, 1.0);
        let metrics = trainer
            .metrics(ticket, scale, true)
            .ok()
            .flatten()
            .expect("the CPU engine waits for nothing");
        assert!(metrics.loss.is_finite());
        started.elapsed().as_secs_f64()
    };
    seconds_of_step();
    let (mut own, mut peer) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        own.extend((0..6).map(|_| seconds_of_step()));
        peer.extend(torch_tokens_per_second(batch, sequence));
    }
    let own = (batch * sequence) as f64 / median(&mut own);
    table.row("training step, 10 M, f32, 4 x 512", own, "tokens/s");
    if peer.is_empty() {
        eprintln!("PyTorch is not raced: set PYTHON and TORCH_STEP");
    } else {
        let peer = median(&mut peer);
        table.row("same, PyTorch eager", peer, "tokens/s");
        table.row("ratio", own / peer, "x");
    }
}

/// Scoring at stride = context, as `eval-ppl` does it, against training steps of the pipeline's batch, in alternation: medians.
fn scoring(table: &mut Table) {
    let small = stage::config::Model {
        n_layer: 5,
        n_head: 6,
        n_kv_head: None,
        d_model: 192,
        d_mlp: 512,
        context: 256,
    };
    for (name, section, vocab, batch) in
        [("3 M", small, 4000, 16), ("10 M", stage::config::Model::default(), 8000, 32)]
    {
        let config = Config::new(&section, vocab);
        let weights = initial_weights(&TensorTable::new(&config), 1);
        let sequence = config.context;
        let mut trainer =
            Trainer::new(Cpu::boxed(), config, Optimizer::default(), &weights, batch, sequence)
                .expect("the CPU engine has memory");
        let mut model = Model::new(Cpu::boxed(), config, &weights, 16, sequence)
            .expect("the CPU engine has memory");
        let token = |i: usize| (i * 7919 % vocab) as u32;
        let windows: Vec<u32> = (0..batch * (sequence + 1)).map(token).collect();
        let (inputs, targets): (Vec<u32>, Vec<u32>) =
            (0..16 * sequence).map(|i| (token(i), token(i + 1))).unzip();
        let mut train = || {
            let scale = 1.0 / (batch * sequence) as f32;
            trainer.begin();
            trainer.accumulate(&windows, scale);
            let ticket = trainer.update(1e-4, 1.0);
            assert!(trainer.metrics(ticket, scale, true).is_ok_and(|metrics| metrics.is_some()));
        };
        let mut score = || {
            assert!(
                model
                    .losses(&inputs, &targets)
                    .is_ok_and(|losses| losses.iter().all(|loss| loss.is_finite()))
            )
        };
        let (mut of_training, mut of_scoring) = (Vec::new(), Vec::new());
        train();
        score();
        for _ in 0..9 {
            of_training.push((batch * sequence) as f64 / fastest(1, &mut train).as_secs_f64());
            of_scoring.push((16 * sequence) as f64 / fastest(1, &mut score).as_secs_f64());
            of_scoring.push((16 * sequence) as f64 / fastest(1, &mut score).as_secs_f64());
        }
        let (training, scoring) = (median(&mut of_training), median(&mut of_scoring));
        table.row(&format!("training step, {name}, {batch} x {sequence}"), training, "tokens/s");
        table.row(&format!("scoring, {name}, stride = context = {sequence}"), scoring, "tokens/s");
        table.row(&format!("scoring against training, {name}"), scoring / training, "x");
    }
}

fn torch_tokens_per_second(batch: usize, sequence: usize) -> Option<f64> {
    let (python, script) = (std::env::var_os("PYTHON")?, std::env::var_os("TORCH_STEP")?);
    let sizes = [("--batch", batch), ("--seq", sequence), ("--steps", 5), ("--warmup", 1)]
        .map(|(flag, n)| [flag.to_owned(), n.to_string()]);
    let output = Command::new(python).arg(script).args(sizes.concat()).output().ok()?;
    let last = String::from_utf8(output.stdout).ok()?;
    serde_json::from_str::<Value>(last.lines().last()?).ok()?["tok_per_s"].as_f64()
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Resident memory of `train` at the house's batch, 32 x 512.
fn memory(table: &mut Table) {
    let run = Run::new()
        .set("model.n_layer=6")
        .set("model.n_head=8")
        .set("model.d_model=320")
        .set("model.d_mlp=856")
        .set("model.context=512");
    let run = run
        .set("tokenizer.vocab_size=8000")
        .set("fetch.max_stories=20000")
        .set("train.batch=32")
        .set("train.steps=1");
    run.through(&tests::DATA_STAGES);
    let mut child = run
        .command("train")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("train starts");
    let status = Path::new("/proc").join(child.id().to_string()).join("status");
    let mut peak_kb = 0.0f64;
    while child.try_wait().expect("train can be waited for").is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kb = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        peak_kb = peak_kb.max(kb.unwrap_or(0.0));
        std::thread::sleep(Duration::from_millis(50));
    }
    table.row("train, 10 M, 32 x 512: peak resident memory", peak_kb / 1024.0, "MiB");
}

/// Whole stages on synthetic stories, start and end of the process included.
fn stages(table: &mut Table) {
    let run = Run::new()
        .set("fetch.max_stories=60000")
        .set("tokenizer.vocab_size=4000")
        .set("tokenize.shards=8");
    let time = |stage: &str| {
        let started = Instant::now();
        run.run(stage, &[]).ok();
        started.elapsed().as_secs_f64()
    };
    let fetch = time("fetch-parquet");
    let raw = run.json("raw/manifest.json");
    let bytes = ["train_bytes", "validation_bytes"]
        .iter()
        .filter_map(|key| raw["counts"][key].as_f64())
        .sum::<f64>();
    table.row("fetch-parquet from stories:", bytes / 1e6 / fetch, "MB/s of text");
    table.row(
        "train-tokenizer, vocabulary 4,000",
        bytes / 1e6 / time("train-tokenizer"),
        "MB/s of text",
    );
    table.row("tokenize, parquet to shards", bytes / 1e6 / time("tokenize"), "MB/s of text");
    let pack = time("pack-bin");
    let bin = ["train.bin", "val.bin"].iter().map(|name| run.read(name).len() as f64).sum::<f64>();
    table.row("pack-bin", bin / 1e6 / pack, "MB/s of bin");
    let started = Instant::now();
    run.run("fetch-parquet", &[]).ok();
    table.row("a stage that is up to date", started.elapsed().as_secs_f64() * 1e3, "ms");
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or(std::env::consts::ARCH, |n| n.trim_start_matches([' ', '\t', ':']));
    format!("{name}, {cores} cores")
}
