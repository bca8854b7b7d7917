//! `bench-gpu`: what training reaches on this GPU, beside what the GPU reaches with a product or memory alone, and beside
//! PyTorch where there is one.
//!
//! Needs `train` in its own folder and nothing else of this project: no cargo, no make, no shaders. Every speed is of `train`
//! itself, run as a user runs it on a real `train.bin`, every update applied. What no longer fits into `--minutes` is said to
//! be skipped, the most important comes first.
mod data;
mod figures;
mod peaks;
mod peer;
mod race;
mod runs;
mod training;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Parser;
use compute::Precision;
use compute::gpu::{Adapter, DeviceChoice, adapters};
use serde_json::{Value, json};
use stage::Failure;

use data::Data;
use figures::{Figures, today};
use runs::{Bench, Case, EngineOptions, Logged, Pace, Shape};

/// Measures training on a GPU: a table on stdout, and the same as JSON.
#[derive(Parser)]
#[command(
    version,
    after_help = "\
Without --data it makes synthetic stories with the data stages beside it. With real ones (--minutes 40) it also measures the
time to 2.45 nats and to 0.865 bits per byte.

Example:
  bench-gpu --data out/tinystories-10m
  bench-gpu --data out/tinystories-10m --minutes 40 --python venv/bin/python --json a100.json

Exit codes: 0 done, 2 wrong usage or no such GPU (the JSON says so, too), 3 bad input, 4 may work if tried again, 130 interrupted"
)]
struct Args {
    /// Folder with train.bin, val.bin, their .json, and tokenizer.json
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// gpu or gpu:N (train --list-devices)
    #[arg(long, default_value = "gpu")]
    device: String,
    /// What does not fit into this number of minutes is skipped
    #[arg(long, default_value_t = 8.0)]
    minutes: f64,
    /// Small shapes and few steps: sees whether it works, its figures mean nothing
    #[arg(long)]
    quick: bool,
    /// Where the figures go as JSON
    #[arg(long, value_name = "FILE", default_value = "bench-gpu.json")]
    json: PathBuf,
    /// An interpreter with PyTorch to race against
    #[arg(long, value_name = "PROGRAM", default_value = "python3")]
    python: String,
    /// Where PyTorch computes, its GPU when not given
    #[arg(long, value_name = "DEVICE")]
    peer_device: Option<String>,
}

const PRECISIONS: [&str; 3] = ["f16", "bf16", "f32"];
const MODES: [(&str, &str); 2] = [
    ("seed", "PyTorch, autocast, eager"),
    ("best", "PyTorch, autocast, max-autotune, fused AdamW"),
];
/// Steps of one answer of PyTorch, rounds of the race.
const ROUNDS: u64 = 3;
/// What the default run reaches at its end, as the four-hour script does; and its goal over all of val.bin.
const NATS: f64 = 2.45;
const BITS_PER_BYTE: f64 = 0.865;

fn main() -> std::process::ExitCode {
    stage::main("bench-gpu", run)
}

fn run() -> anyhow::Result<()> {
    let args = Args::parse();
    if !(args.minutes > 0.0 && args.minutes.is_finite()) {
        return Err(Failure::usage(format_args!(
            "--minutes {}: expected more than 0",
            args.minutes
        ))
        .into());
    }
    let deadline = Instant::now() + Duration::from_secs_f64(60.0 * args.minutes);
    let adapter = adapters::choose(device_choice(&args.device)?);
    let own = std::env::current_exe()
        .map_err(|error| Failure::try_again(format_args!("this program's own path: {error}")))?;
    let programs = own.parent().map(Path::to_owned).unwrap_or_default();
    let scratch = tempfile::tempdir()
        .map_err(|error| Failure::try_again(format_args!("a temporary folder: {error}")))?;
    let pace = match args.quick {
        true => Pace { log_every: 2, warm: 12, last: 20, short: 18, val_windows: 4 },
        false => Pace { log_every: 10, warm: 20, last: 300, short: 120, val_windows: 64 },
    };
    let opened = adapter.map_err(inference::failed).and_then(|adapter| {
        // One token more than the windows: the last one's target.
        let kept = cases(args.quick)[0].shape.context * pace.val_windows + 1;
        Ok((
            adapter,
            Data::open(args.data.as_deref(), &programs, scratch.path(), args.quick, kept)?,
        ))
    });
    let mut all =
        All { figures: Figures::default(), profile: None, peer: Value::Null, quick: args.quick };
    let mut report = json!({
        "format": 1,
        "program": concat!("bedtime ", env!("CARGO_PKG_VERSION")),
        "date": today(),
        "quick": args.quick,
        "minutes": args.minutes,
    });
    let mut title = today();
    let failed = match opened {
        Ok((adapter, data)) => {
            let synthetic = if data.synthetic { ", synthetic stories" } else { "" };
            title = format!(
                "{title}, {}{synthetic}{}",
                adapter.name(),
                if args.quick { ", --quick: figures mean nothing" } else { "" }
            );
            let about = [
                ("device", json!(adapter.name())),
                ("software", json!(adapter.is_software())),
                ("synthetic", json!(data.synthetic)),
                ("vocab_size", json!(data.vocab)),
            ];
            about.into_iter().for_each(|(key, value)| report[key] = value);
            let bench = Bench {
                device: args.device.clone(),
                precision: adapter.best_precision().0.name(),
                programs,
                data,
                python: args.python.clone(),
                peer_device: args.peer_device.clone(),
                pace,
                deadline,
                minutes: args.minutes,
                scratch,
            };
            all.measure(&bench, &adapter);
            None
        }
        Err(failure) => {
            all.skip_all(failure.to_string().lines().next().unwrap_or_default());
            Some(failure)
        }
    };
    finish(&args.json, &title, report, all, failed)
}

fn device_choice(device: &str) -> anyhow::Result<DeviceChoice> {
    match device.strip_prefix("gpu:").map(str::parse) {
        None if device == "gpu" => Ok(DeviceChoice::Best),
        Some(Ok(number)) => Ok(DeviceChoice::Number(number)),
        _ => {
            let failure = Failure::usage(format_args!("--device {device}: expected gpu or gpu:N"));
            Err(failure.into())
        }
    }
}

/// Writes the JSON and prints the table.
fn finish(
    path: &Path,
    title: &str,
    mut report: Value,
    all: All,
    failed: Option<Failure>,
) -> anyhow::Result<()> {
    report["peer"] = all.peer;
    report["rows"] = all.figures.json().into();
    report["profile"] = json!(all.profile);
    let text =
        serde_json::to_string_pretty(&report).map_err(|error| Failure::usage(error.to_string()))?;
    stage::AtomicFile::write(path, text.as_bytes())?;
    if let Some(failure) = failed {
        eprintln!("{}: every figure skipped", path.display());
        return Err(failure.into());
    }
    let profile = all.profile.map(|table| format!("\n{table}")).unwrap_or_default();
    stage::print(&format!("{title}\n\n{}{profile}", all.figures.table()))?;
    match stage::interrupt::requested() {
        true => Err(Failure::interrupted(format_args!(
            "what was measured by then is in {}",
            path.display()
        ))
        .into()),
        false => Ok(()),
    }
}

fn cases(quick: bool) -> [Case; 4] {
    let shape = |name, full: [u64; 5], small: [u64; 5]| {
        let [layers, heads, width, mlp, context] = if quick { small } else { full };
        Shape { name, layers, heads, width, mlp, context }
    };
    let ten = shape("10m", [6, 8, 320, 856, 512], [2, 2, 80, 96, 16]);
    let thirty = shape("30m", [8, 8, 512, 1376, 512], [2, 2, 96, 128, 16]);
    let gpt2 = shape("124m", [12, 12, 768, 3232, 512], [2, 2, 128, 128, 16]);
    let case = |shape: &Shape, name, batch| Case {
        shape: shape.clone(),
        name,
        batch: if quick { batch / 16 } else { batch },
    };
    [
        case(&ten, "b32", 32),
        case(&ten, "b128", 128),
        case(&thirty, "b32", 32),
        case(&gpt2, "b32", 32),
    ]
}

/// What has been measured so far.
struct All {
    figures: Figures,
    profile: Option<String>,
    peer: Value,
    quick: bool,
}

impl All {
    /// The most important first.
    fn measure(&mut self, bench: &Bench, adapter: &Adapter) {
        let cases = cases(self.quick);
        let warm = bench.folder().join("warm");
        self.peaks(bench, adapter);
        // Early: why there is no race must not depend on the time that is left.
        let peer = self.find_peer(bench);
        self.first_steps(bench, &cases[0], &warm);
        self.tune(bench, &cases[0], &warm);
        for precision in PRECISIONS {
            self.training(bench, &cases[0], precision, &warm);
        }
        self.profile(bench, &cases[0], &warm);
        self.race(bench, &cases[0], peer.clone(), ROUNDS, &warm);
        for case in &cases[1..] {
            for precision in PRECISIONS {
                self.training(bench, case, precision, &warm);
            }
        }
        for case in &cases[1..] {
            self.race(bench, case, peer.clone(), 1, &warm);
        }
        self.quality(bench, &cases[0], &warm);
    }

    /// Without a device or data.
    fn skip_all(&mut self, reason: &str) {
        let cases = cases(self.quick);
        for (key, figure) in PEAKS.iter().chain(&FIRST_STEPS) {
            self.figures.skip(key, figure, reason);
        }
        self.figures.skip(TUNE.0, TUNE.1, reason);
        for (number, case) in cases.iter().enumerate() {
            for precision in PRECISIONS {
                self.skip_training(case, precision, 0, reason);
            }
            if number == 0 {
                self.figures.skip("profile", "kernels of a step", reason);
            }
            self.skip_race(case, 0, reason);
        }
        for (key, figure) in QUALITY {
            self.figures.skip(key, figure, reason);
        }
    }

    fn peaks(&mut self, bench: &Bench, adapter: &Adapter) {
        let (n, values) = if self.quick { (256, 1 << 16) } else { (4096, 1 << 26) };
        let figures = &mut self.figures;
        // A binding may be smaller than that.
        let values =
            values.min((adapter.limits.max_storage_buffer_binding_size / 4) as usize / 4096 * 4096);
        let allowed = |_: Duration| {
            adapter
                .supports(Precision::F16)
                .then_some(())
                .ok_or_else(|| "this GPU has no f16 in shaders".to_owned())
        };
        match bench.most(5.0, 60.0).and_then(allowed).and_then(|()| peaks::product(adapter, n)) {
            Ok((n, rate)) => figures.value(
                PEAKS[0].0,
                &format!("{}, {n} cubed", PEAKS[0].1),
                rate / 1e12,
                "TFLOP/s",
                json!({ "n": n }),
            ),
            Err(reason) => figures.skip(PEAKS[0].0, PEAKS[0].1, &reason),
        }
        let mib = values >> 18;
        match bench.most(5.0, 60.0).and_then(|_| peaks::memory(adapter, values)) {
            Ok(rate) => figures.value(
                PEAKS[1].0,
                &format!("{}, {mib} MiB each", PEAKS[1].1),
                rate / 1e9,
                "GB/s",
                json!({ "values": values }),
            ),
            Err(reason) => figures.skip(PEAKS[1].0, PEAKS[1].1, &reason),
        }
    }

    /// The same run twice: first with no compiled shader anywhere, then with those of the first.
    fn first_steps(&mut self, bench: &Bench, case: &Case, warm: &Path) {
        for (key, figure) in FIRST_STEPS {
            let seen = bench.most(3.0, 90.0).and_then(|most| {
                let enough = |lines: &[Logged]| !lines.is_empty();
                bench.train(&EngineOptions {
                    case,
                    precision: bench.precision,
                    whole: false,
                    last: 0,
                    val_every: 1 << 40,
                    val_windows: 1,
                    most,
                    cache: warm,
                    enough: &enough,
                })
            });
            match seen.and_then(|seen| {
                seen.lines
                    .first()
                    .map(|(_, seconds)| *seconds)
                    .ok_or_else(|| "no line was logged".to_owned())
            }) {
                Ok(seconds) => self.figures.value(
                    key,
                    &format!("{figure}, {}, {}", case.words(bench.data.vocab), bench.precision),
                    seconds,
                    "s",
                    Value::Null,
                ),
                Err(reason) => self.figures.skip(key, figure, &reason),
            }
        }
    }

    /// Finds the tiles that all later runs use, as somebody would who trains more than once.
    fn tune(&mut self, bench: &Bench, case: &Case, warm: &Path) {
        let started = std::time::Instant::now();
        let f16 = if bench.precision == "f16" {
            Ok(())
        } else {
            Err("this GPU has no f16 in shaders".to_owned())
        };
        match f16
            .and_then(|()| bench.most(20.0, 180.0))
            .and_then(|most| bench.whole_run(case, "--tune", 1, most, warm))
        {
            Ok(_) => self.figures.value(
                TUNE.0,
                TUNE.1,
                started.elapsed().as_secs_f64(),
                "s",
                Value::Null,
            ),
            Err(reason) => self.figures.skip(TUNE.0, TUNE.1, &reason),
        }
    }

    fn profile(&mut self, bench: &Bench, case: &Case, warm: &Path) {
        let steps = if self.quick { 3 } else { 30 };
        let figure =
            format!("kernels of a step, {}, {}", case.words(bench.data.vocab), bench.precision);
        match bench
            .most(3.0, 90.0)
            .and_then(|most| bench.whole_run(case, "--profile", steps, most, warm))
        {
            Ok(table) => {
                // | all | calls a step | | ms a step | ...
                let all = table
                    .lines()
                    .find(|line| line.starts_with("| all "))
                    .map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
                match all.and_then(|cells| cells.get(4)?.parse().ok()) {
                    Some(ms) => self.figures.value(
                        "profile",
                        &figure,
                        ms,
                        "ms of kernels a step",
                        json!({ "steps": steps }),
                    ),
                    None => self.figures.skip("profile", &figure, "train printed no table"),
                }
                self.profile = Some(table);
            }
            Err(reason) => self.figures.skip("profile", &figure, &reason),
        }
    }

    /// The default run until it is good enough, from the start of the process: the schedule of 12,000 steps, validated on all
    /// of val.bin.
    fn quality(&mut self, bench: &Bench, case: &Case, warm: &Path) {
        let data = &bench.data;
        let reason = match data.val_tokens {
            _ if data.synthetic => {
                Some("synthetic stories: give real ones with --data DIR".to_owned())
            }
            0 => Some("val.bin.json counts no tokens".to_owned()),
            _ if self.quick => Some("--quick".to_owned()),
            _ => None,
        };
        let nats_for_bits = BITS_PER_BYTE * std::f64::consts::LN_2 * data.val_bytes as f64
            / data.val_tokens.max(1) as f64;
        let limits = [NATS, nats_for_bits];
        let least = limits[0].min(limits[1]);
        let loss = |line: &Value| line["val_loss"].as_f64();
        let reached = |lines: &[Logged], limit: f64| {
            lines.iter().find(|(line, _)| loss(line).is_some_and(|l| l <= limit)).cloned()
        };
        let seen = reason.map_or(Ok(()), Err).and_then(|()| bench.most(60.0, 0.0)).and_then(|_| {
            let enough = |lines: &[Logged]| reached(lines, least).is_some();
            let (last, most) = (12_000, bench.left());
            bench.train(&EngineOptions {
                case,
                precision: bench.precision,
                whole: true,
                last,
                val_every: 250,
                val_windows: 0,
                most,
                cache: warm,
                enough: &enough,
            })
        });
        for ((key, figure), limit) in QUALITY.iter().zip(limits) {
            let lines = match &seen {
                Ok(seen) => &seen.lines,
                Err(reason) => {
                    self.figures.skip(key, figure, reason);
                    continue;
                }
            };
            match reached(lines, limit) {
                Some((line, seconds)) => {
                    let more = json!({ "step": line["step"], "val_loss": line["val_loss"], "limit_nats": limit, "validated_every": 250 });
                    self.figures.value(
                        key,
                        &format!("{figure}, step {}", line["step"]),
                        seconds,
                        "s",
                        more,
                    );
                }
                None => {
                    let last = lines
                        .iter()
                        .rev()
                        .find_map(|(line, _)| Some((line["step"].as_u64()?, loss(line)?)));
                    let (step, loss) = last.unwrap_or((0, f64::NAN));
                    let reason = format!(
                        "not reached in the time left: {loss:.3} nats at step {step}, wanted {limit:.3}"
                    );
                    self.figures.skip(key, figure, &reason);
                }
            }
        }
    }
}

/// Where losses and memory are compared: the default run.
fn has_losses(case: &Case) -> bool {
    case.shape.name == "10m" && case.name == "b32"
}

const PEAKS: [(&str, &str); 2] = [
    ("product_tflop_per_second", "large product f16 -> f32"),
    ("memory_gb_per_second", "large sum z = x + y, f32"),
];
const TUNE: (&str, &str) = ("tune_s", "train --tune, the start and a step included");
const FIRST_STEPS: [(&str, &str); 2] = [
    ("first_step_cold_s", "start of the process to its first step, nothing compiled"),
    ("first_step_warm_s", "same, compiled before"),
];
const QUALITY: [(&str, &str); 2] = [
    ("seconds_to_2.45_nats", "start of the process to 2.45 nats on val.bin"),
    ("seconds_to_0.865_bits", "same to 0.865 bits per byte"),
];
