//! `train` run as a user runs it, watched through its `loss.jsonl`, and ended when enough was seen.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::Value;
use stage::{Failure, interrupt};

use crate::data::{Data, link, program};

/// A model's sizes.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub name: &'static str,
    pub layers: u64,
    pub heads: u64,
    pub width: u64,
    pub mlp: u64,
    pub context: u64,
}

/// A model at a batch; `name` is the batch's part of the keys, whatever `--quick` makes of it.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub shape: Shape,
    pub name: &'static str,
    pub batch: u64,
}

impl Case {
    pub(crate) fn key(&self, what: &str) -> String {
        format!("{}.{}.{what}", self.shape.name, self.name)
    }

    pub(crate) fn tokens(&self) -> u64 {
        self.batch * self.shape.context
    }

    pub(crate) fn words(&self, vocab: u64) -> String {
        if vocab == 0 {
            return format!("{}, {} x {}", self.shape.name, self.batch, self.shape.context); // no data, no vocabulary
        }
        let config = self.config(vocab);
        let parameters = config.parameters().unwrap_or(0) as f64 / 1e6;
        format!("{parameters:.1} M, {} x {}", self.batch, self.shape.context)
    }

    pub(crate) fn config(&self, vocab: u64) -> model::Config {
        let s = &self.shape;
        let [n_layer, n_head, d_model, d_mlp, context] =
            [s.layers, s.heads, s.width, s.mlp, s.context].map(|size| size as u32);
        model::Config::new(
            &stage::config::Model { n_layer, n_head, n_kv_head: None, d_model, d_mlp, context },
            vocab as usize,
        )
    }
}

/// How far runs go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub log_every: u64,
    /// Steps that do not count: compilation, caches, and the measurement of the peak that `train` makes.
    pub warm: u64,
    /// Where losses are compared.
    pub last: u64,
    /// Steps of a run that only times.
    pub short: u64,
    pub val_windows: u64,
}

/// What all measurements share.
pub(crate) struct Bench {
    pub device: String,
    /// Where the programs lie.
    pub programs: PathBuf,
    pub data: Data,
    /// What profiles, and the time until the model is good, are of.
    pub precision: &'static str,
    pub python: String,
    pub peer_device: Option<String>,
    pub pace: Pace,
    pub deadline: Instant,
    pub minutes: f64,
    pub scratch: tempfile::TempDir,
}

/// A line of `loss.jsonl`, and the seconds from the start of the process until it was there.
pub(crate) type Logged = (Value, f64);

/// A run that is asked for.
pub(crate) struct EngineOptions<'a> {
    pub case: &'a Case,
    pub precision: &'a str,
    /// The run is over once this step is logged, validation included.
    pub last: u64,
    pub val_every: u64,
    pub val_windows: u64,
    pub most: Duration,
    /// Validates on all of `val.bin`.
    pub whole: bool,
    /// Compiled shaders, ours and the driver's.
    pub cache: &'a Path,
    /// Ends it early: the lines so far.
    pub enough: &'a dyn Fn(&[Logged]) -> bool,
}

/// What was seen of a run.
pub(crate) struct Seen {
    pub lines: Vec<Logged>,
    /// Updates that f16 skipped.
    pub skipped: u64,
    /// MiB of the engine's buffers, as `train` says.
    pub buffers_mib: Option<f64>,
    /// MiB in use on the whole card, where nvidia-smi tells.
    pub card_mib: Option<f64>,
}

impl Seen {
    /// Tokens per second by the clock on the wall, from the end of the warm-up to the last line without a validation, and the
    /// rates of each window of the log.
    pub(crate) fn rate(&self, tokens: u64, warm: u64) -> Option<(f64, Vec<f64>)> {
        let lines: Vec<&Value> = self
            .lines
            .iter()
            .map(|(line, _)| line)
            .filter(|line| line["step"].as_u64() >= Some(warm) && line["val_loss"].is_null())
            .collect();
        let (first, last) = (lines.first()?, lines.last()?);
        let steps = last["step"]
            .as_u64()?
            .checked_sub(first["step"].as_u64()?)
            .filter(|&steps| steps > 0)?;
        let seconds = last["elapsed_s"].as_f64()? - first["elapsed_s"].as_f64()?;
        let windows =
            lines.iter().skip(1).filter_map(|line| line["tokens_per_second"].as_f64()).collect();
        Some(((steps * tokens) as f64 / seconds, windows))
    }

    pub(crate) fn val_loss(&self, step: u64) -> Option<f64> {
        self.lines.iter().find(|(line, _)| line["step"] == step)?.0["val_loss"].as_f64()
    }
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Bench {
    pub(crate) fn folder(&self) -> &Path {
        self.scratch.path()
    }

    pub(crate) fn left(&self) -> Duration {
        if interrupt::requested() {
            Duration::ZERO
        } else {
            self.deadline.saturating_duration_since(Instant::now())
        }
    }

    /// `seconds`, or what is left; why nothing can be begun where less than `least` is.
    pub(crate) fn most(&self, least: f64, seconds: f64) -> Result<Duration, String> {
        let left = self.left().as_secs_f64();
        match left < least {
            true if interrupt::requested() => Err("interrupted".to_owned()),
            true => Err(format!(
                "{left:.0} s are left of --minutes {}, it needs {least:.0} or more",
                self.minutes
            )),
            false => Ok(Duration::from_secs_f64(seconds.min(left))),
        }
    }

    /// A new folder with the data in it.
    fn out(&self, data: &Path) -> Result<PathBuf, String> {
        let folder = (0..)
            .map(|n| self.folder().join(format!("run-{n}")))
            .find(|folder| !folder.exists())
            .unwrap_or_default();
        let config = self.folder().join("bench.toml"); // the defaults are the default run's
        let linked = link(data, &folder)
            .and_then(|()| fs::write(&config, "").map_err(Failure::writing(&config)));
        linked.map(|()| folder).map_err(|error| error.to_string())
    }

    fn command(
        &self,
        out: &Path,
        case: &Case,
        precision: &str,
        cache: &Path,
    ) -> Result<Command, String> {
        let file = |name: &str| {
            fs::File::create(out.join(name)).map_err(|error| format!("{}: {error}", out.display()))
        };
        std::fs::create_dir_all(cache).map_err(|error| format!("{}: {error}", cache.display()))?;
        let mut command = program(&self.programs, "train");
        command.arg("--config").arg(self.folder().join("bench.toml")).arg("--out").arg(out);
        command.args([
            "--device",
            &self.device,
            "--precision",
            precision,
            "--batch",
            &case.batch.to_string(),
        ]);
        let shape = &case.shape;
        let sizes = [
            ("n_layer", shape.layers),
            ("n_head", shape.heads),
            ("d_model", shape.width),
            ("d_mlp", shape.mlp),
        ];
        for (key, size) in sizes.into_iter().chain([("context", shape.context)]) {
            command.arg("--set").arg(format!("model.{key}={size}"));
        }
        let caches = ["BEDTIME_CACHE", "__GL_SHADER_DISK_CACHE_PATH", "MESA_SHADER_CACHE_DIR"];
        for name in caches {
            command.env(name, cache);
        }
        command.stdout(file("stdout")?).stderr(file("stderr")?);
        Ok(command)
    }

    /// Trains until enough was seen or the time is over. The schedule is the default run's, every update is applied.
    pub(crate) fn train(&self, wanted: &EngineOptions) -> Result<Seen, String> {
        let out = self.out(if wanted.whole { &self.data.whole } else { &self.data.short })?;
        let mut command = self.command(&out, wanted.case, wanted.precision, wanted.cache)?;
        let numbers = [
            ("--log-every", self.pace.log_every),
            ("--val-every", wanted.val_every),
            ("--val-windows", wanted.val_windows),
            ("--checkpoint-every", 1 << 40),
        ];
        for (flag, number) in numbers {
            command.arg(flag).arg(number.to_string());
        }
        let started = Instant::now();
        let mut running =
            Running(command.spawn().map_err(|error| format!("train cannot be started: {error}"))?);
        let mut lines: Vec<Logged> = Vec::new();
        let early = loop {
            let ended = running.0.try_wait().map_err(|error| error.to_string())?;
            let text = fs::read_to_string(out.join("run/loss.jsonl")).unwrap_or_default();
            let now = started.elapsed().as_secs_f64();
            for line in
                text.split_inclusive('\n').skip(lines.len()).filter(|line| line.ends_with('\n'))
            {
                lines.push((
                    serde_json::from_str(line).map_err(|error| format!("loss.jsonl: {error}"))?,
                    now,
                ));
            }
            let last = lines.last().and_then(|(line, _)| line["step"].as_u64());
            if last >= Some(wanted.last) || (wanted.enough)(&lines) {
                break None;
            }
            if let Some(status) = ended {
                break Some(format!("train ended with {status}: {}", last_words(&out)));
            }
            if started.elapsed() > wanted.most || interrupt::requested() {
                let done = last.map_or("before its first step was logged".to_owned(), |step| {
                    format!("at step {step}")
                });
                break Some(format!("cut off after {:.0} s, {done}", now));
            }
            std::thread::sleep(Duration::from_millis(if lines.is_empty() { 2 } else { 20 }));
        };
        let card_mib = card_mib();
        drop(running);
        let words = fs::read_to_string(out.join("stderr")).unwrap_or_default();
        let _ = fs::remove_dir_all(&out);
        match early {
            // What was seen by then may be enough.
            Some(why) if lines.len() < 3 => Err(why),
            _ => Ok(Seen {
                lines,
                skipped: words.matches("the update was skipped").count() as u64,
                buffers_mib: buffers_mib(&words),
                card_mib,
            }),
        }
    }

    /// What `train` prints with such a flag (the table of `--profile`) in a run that ends by itself.
    pub(crate) fn whole_run(
        &self,
        case: &Case,
        flag: &str,
        steps: u64,
        most: Duration,
        cache: &Path,
    ) -> Result<String, String> {
        let out = self.out(&self.data.short)?;
        let mut command = self.command(&out, case, self.precision, cache)?;
        command.arg(flag).args(["--steps", &steps.to_string(), "--val-windows", "1"]);
        let started = Instant::now();
        let mut running =
            Running(command.spawn().map_err(|error| format!("train cannot be started: {error}"))?);
        let status = loop {
            if let Some(status) = running.0.try_wait().map_err(|error| error.to_string())? {
                break status;
            }
            if started.elapsed() > most || interrupt::requested() {
                return Err(format!("cut off after {:.0} s", started.elapsed().as_secs_f64()));
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let table = fs::read_to_string(out.join("stdout")).unwrap_or_default();
        let words = last_words(&out);
        let _ = fs::remove_dir_all(&out);
        if status.success() {
            Ok(table)
        } else {
            Err(format!("train ended with {status}: {words}"))
        }
    }
}

/// What the program said last: the first line of its error.
fn last_words(out: &Path) -> String {
    let text = fs::read_to_string(out.join("stderr")).unwrap_or_default();
    let error = text
        .lines()
        .rev()
        .find(|line| line.contains("error"))
        .or_else(|| text.lines().rev().find(|line| !line.starts_with(' ')));
    error.unwrap_or("it said nothing").to_owned()
}

fn buffers_mib(words: &str) -> Option<f64> {
    let line = words
        .lines()
        .find(|line| line.contains("M parameters") && line.trim_end().ends_with("MiB"))?;
    line.trim_end().trim_end_matches(" MiB").rsplit(' ').next()?.parse().ok()
}

/// Memory in use on the first NVIDIA card, by whomever.
pub(crate) fn card_mib() -> Option<f64> {
    let output = Command::new("nvidia-smi")
        .args(["--query-gpu=memory.used", "--format=csv,noheader,nounits"])
        .output()
        .ok()?;
    String::from_utf8_lossy(&output.stdout).lines().next()?.trim().parse().ok()
}
