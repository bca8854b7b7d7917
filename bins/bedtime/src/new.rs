//! `bedtime new`: a pipeline for a folder of your own texts, sized so that this machine trains it in the given time.
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde_json::Value;
use stage::{AtomicFile, Failure, Log, Result, count, make_way, memory};

use crate::programs::Program;

const AFTER_HELP: &str = "\
Looks at the texts (.txt, .jsonl, .json or .parquet, also .gz and .zst), times
models on this machine for a second each, and writes a pipeline for the largest
model for which the texts and the time suffice.

Example:
  bedtime new ~/stories --minutes 30
  bedtime all --pipeline stories.toml

Exit codes: 0 done; 2 wrong usage; 3 no stories there, or the file exists.";

/// Write a pipeline for a folder of your own texts, sized for this machine
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct New {
    /// A folder, file or glob of texts
    #[arg(value_name = "FOLDER")]
    texts: PathBuf,
    /// The pipeline file [default: NAME.toml, for the folder's name]
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    /// Minutes that the training may take
    #[arg(long, default_value_t = 60.0, value_name = "MINUTES")]
    minutes: f64,
    /// Set an existing pipeline file aside
    #[arg(long)]
    force: bool,
}

/// A model and how it is trained: those of the shipped pipelines.
struct Rung {
    vocab_size: u64,
    /// n_layer, n_head, d_model, d_mlp, context
    model: [u64; 5],
    batch: u64,
    lr: f64,
}

/// The largest first.
const RUNGS: [Rung; 3] = [
    Rung { vocab_size: 8000, model: [6, 8, 320, 856, 512], batch: 32, lr: 6e-4 },
    Rung { vocab_size: 4000, model: [5, 6, 192, 512, 256], batch: 16, lr: 1e-3 },
    Rung { vocab_size: 2000, model: [4, 4, 128, 344, 192], batch: 12, lr: 3e-3 },
];
const MODEL_KEYS: [&str; 5] = ["n_layer", "n_head", "d_model", "d_mlp", "context"];
const BYTES_PER_TOKEN: f64 = 4.0;
/// Training tokens per parameter: the fewest for which a larger model is chosen, and the most that help it
/// (Hoffmann et al., arXiv 2203.15556).
const TOKENS_PER_PARAMETER: [f64; 2] = [4.0, 20.0];
/// Passes over the data beyond which nothing new is learned (Muennighoff et al., arXiv 2305.16264).
const MOST_PASSES: f64 = 4.0;
const LEAST_STEPS: u64 = 100;

/// What is written.
struct Proposal<'a> {
    rung: &'a Rung,
    steps: u64,
    parameters: f64,
    tokens_per_second: f64,
    passes: f64,
}

impl New {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let log = Log::new("bedtime", stage::LogFormat::Text);
        if !(self.minutes > 0.0 && self.minutes.is_finite()) {
            let message = format!("--minutes {}: expected more than 0", self.minutes);
            return Err(Failure::usage(message).into());
        }
        let texts = std::path::absolute(&self.texts).map_err(Failure::reading(&self.texts))?;
        let to = self.to.unwrap_or_else(|| default_file(&texts));
        let source = utf8(&texts)?;
        let mut arguments: Vec<OsString> = vec!["--look".into(), "--config".into()];
        arguments.extend(["quickstart".into(), "--source".into(), source.into()]);
        let look = Program::find("fetch-parquet", arguments)?.json()?;
        say_what_is_there(&look, log);
        let text_bytes = look["text_bytes"].as_f64().unwrap_or(0.0);
        let proposal = propose(text_bytes / BYTES_PER_TOKEN, self.minutes, log)?;
        let text = pipeline(source, &look, &proposal);
        make_way(&to, self.force, &log)?;
        AtomicFile::write(&to, text.as_bytes())?;
        let file = to.display().to_string();
        let quoted = shlex::try_quote(&file).unwrap_or_default();
        log.say(format!("written: {file}; next: bedtime all --pipeline {quoted}"));
        Ok(())
    }
}

fn utf8(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| {
        let expected = "a path in UTF-8, which a pipeline file can hold";
        Failure::input(path, "its path is not UTF-8", expected, "rename the folder")
    })
}

/// `my stories` gives `my stories.toml`; a glob gives its last folder without stars.
fn default_file(texts: &Path) -> PathBuf {
    let is_plain = |part: &std::ffi::OsStr| !part.to_string_lossy().contains(['*', '?', '[']);
    let named = texts.ancestors().find_map(|path| path.file_name().filter(|name| is_plain(name)));
    let stem = named.map(Path::new).and_then(Path::file_stem).unwrap_or("stories".as_ref());
    let mut file = stem.to_owned();
    file.push(".toml");
    PathBuf::from(file)
}

fn say_what_is_there(look: &Value, log: Log) {
    let number = |key: &str| look[key].as_u64().unwrap_or(0);
    let about = if look["counted"].as_bool() == Some(true) { "" } else { "about " };
    log.say(format!(
        "{} {} files of {}: {about}{} stories of {} bytes",
        count(number("files")),
        look["kind"].as_str().unwrap_or_default(),
        memory::mib(number("bytes")),
        count(number("stories")),
        count(number("text_bytes") / number("stories").max(1))
    ));
    for note in look["notes"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        log.say(note);
    }
}

/// The largest model for which there is enough text and time.
fn propose(tokens: f64, minutes: f64, log: Log) -> Result<Proposal<'static>> {
    let mut smallest = None;
    for rung in &RUNGS {
        let speed = rung.speed()?;
        let number = |key: &str| speed[key].as_f64().unwrap_or(0.0);
        let (parameters, tokens_per_second) = (number("parameters"), number("tokens_per_second"));
        log.say(format!(
            "{:.1} M parameters: {} tokens/s on {}",
            parameters / 1e6,
            count(tokens_per_second as u64),
            speed["device"].as_str().unwrap_or_default()
        ));
        let [least, most] = TOKENS_PER_PARAMETER.map(|n| n * parameters);
        let in_time = tokens_per_second * 60.0 * minutes;
        let seen = most.min(MOST_PASSES * tokens).min(in_time);
        let steps = (seen / rung.tokens_per_step()) as u64;
        let steps = steps.max(LEAST_STEPS);
        let passes = steps as f64 * rung.tokens_per_step() / tokens.max(1.0);
        smallest = Some(Proposal { rung, steps, parameters, tokens_per_second, passes });
        if seen >= least {
            break;
        }
    }
    let proposal = smallest.ok_or_else(|| Failure::usage("no model to propose"))?;
    log.say(format!(
        "proposed: {:.1} M parameters, {} steps, {:.1} passes over the text, {} of training",
        proposal.parameters / 1e6,
        count(proposal.steps),
        proposal.passes,
        proposal.time()
    ));
    Ok(proposal)
}

impl Rung {
    fn tokens_per_step(&self) -> f64 {
        let [.., context] = self.model;
        (self.batch * context) as f64
    }

    /// Measured by `train`, on the device that `auto` chooses.
    fn speed(&self) -> Result<Value> {
        let sizes = MODEL_KEYS.iter().zip(self.model).map(|(key, n)| format!("model.{key}={n}"));
        let others = [
            format!("tokenizer.vocab_size={}", self.vocab_size),
            format!("train.batch={}", self.batch),
        ];
        let mut arguments: Vec<OsString> =
            vec!["--speed".into(), "--config".into(), "quickstart".into()];
        for setting in sizes.chain(others) {
            arguments.extend(["--set".into(), setting.into()]);
        }
        Program::find("train", arguments)?.json()
    }
}

impl Proposal<'_> {
    fn time(&self) -> String {
        let seconds =
            self.steps as f64 * self.rung.tokens_per_step() / self.tokens_per_second.max(1.0);
        match seconds {
            ..90.0 => format!("about {seconds:.0} s"),
            ..5400.0 => format!("about {:.0} minutes", seconds / 60.0),
            _ => format!("about {:.1} hours", seconds / 3600.0),
        }
    }
}

/// The text of the file. Keys that are not in it have the defaults of `shared/stage/src/config.rs`.
fn pipeline(source: &str, look: &Value, proposal: &Proposal) -> String {
    let Proposal { rung, steps, parameters, passes, .. } = proposal;
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let mut fetch = format!("source = {}\n", quoted(source));
    for key in ["column", "separator"] {
        if let Some(value) = look[key].as_str() {
            fetch += &format!("{key} = {}\n", quoted(value));
        }
    }
    let sizes = MODEL_KEYS.iter().zip(rung.model).map(|(key, n)| format!("{key} = {n}\n"));
    let model: String = sizes.collect();
    let [.., context] = rung.model;
    let stories = look["stories"].as_u64().unwrap_or(0);
    format!(
        "\
# {} stories, a model of {:.1} M parameters, {passes:.1} passes: {} of training when this was written.
[fetch]
{fetch}[tokenizer]
vocab_size = {}
[tokenize]
shards = 4
[model]
{model}[train]
steps = {steps}
batch = {}
lr = {:e}
warmup = {}
log_every = {}
val_every = {}
checkpoint_every = {}
[eval]
stride = {}
",
        count(stories),
        parameters / 1e6,
        proposal.time(),
        rung.vocab_size,
        rung.batch,
        rung.lr,
        (steps / 20).clamp(5, 200),
        (steps / 40).clamp(1, 50),
        (steps / 10).clamp(1, 500),
        (steps / 5).clamp(1, 1000),
        context / 2,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_proposal_is_a_pipeline_that_can_be_loaded() {
        let folder = std::env::temp_dir().join(format!("bedtime-new-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let look = json!({ "stories": 1200, "column": "story", "separator": "a \"b\"\\n" });
        for rung in &RUNGS {
            let proposal =
                Proposal { rung, steps: 100, parameters: 1e6, tokens_per_second: 1e4, passes: 2.0 };
            let source = "/data/it's \"m\u{e4}rchen\"";
            let file = folder.join("new.toml");
            std::fs::write(&file, pipeline(source, &look, &proposal)).unwrap();
            let loaded = stage::Pipeline::load(&file, &[]).unwrap();
            assert_eq!(loaded.fetch.source.reveal(), source);
            assert_eq!(loaded.fetch.separator.as_deref(), Some("a \"b\"\\n"));
            assert_eq!((loaded.train.lr, u64::from(loaded.train.batch)), (rung.lr, rung.batch));
            assert_eq!(u64::from(loaded.model.context), rung.model[4]);
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn the_file_has_the_name_of_the_folder() {
        for (texts, file) in [
            ("/data/my stories", "my stories.toml"),
            ("/data/a.jsonl", "a.toml"),
            ("/data/tales/*.txt", "tales.toml"),
        ] {
            assert_eq!(default_file(Path::new(texts)), Path::new(file));
        }
    }
}
