//! What a stage says while it works: one progress bar on a terminal, a plain line every few seconds elsewhere,
//! JSON lines with `--log json`. All of it on stderr; results go to stdout.
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{
    HumanBytes, HumanCount, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState,
    ProgressStyle,
};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use crate::address::redact;
use crate::shown;

static JSON: AtomicBool = AtomicBool::new(false);
const PLAIN_LINE_EVERY: Duration = Duration::from_secs(5);

/// How messages and progress look on stderr: `--log`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Lines for people, with a progress bar on a terminal.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The log of a stage.
#[derive(Clone, Copy, Debug)]
pub struct Log {
    stage: &'static str,
}

impl Log {
    /// The format is that of the whole process.
    pub fn new(stage: &'static str, format: LogFormat) -> Self {
        JSON.store(format == LogFormat::Json, Ordering::Relaxed);
        Log { stage }
    }

    /// A message.
    pub fn say(&self, text: impl AsRef<str>) {
        self.event("message", json!({ "text": text.as_ref() }), text.as_ref());
    }

    /// A warning: something may not be as intended.
    pub fn warn(&self, text: impl AsRef<str>) {
        self.event(
            "warning",
            json!({ "text": text.as_ref() }),
            &format!("warning: {}", text.as_ref()),
        );
    }

    /// One event: `fields` for machines, `text` for people.
    pub fn event(&self, event: &str, fields: Value, text: &str) {
        emit(self.stage, event, fields, text);
    }

    /// A counted piece of work. `total` is None where it is not known.
    pub fn progress(&self, what: &str, unit: Unit, total: Option<u64>) -> Progress {
        Progress::new(*self, what, unit, total)
    }
}

fn emit(stage: &str, event: &str, fields: Value, text: &str) {
    if JSON.load(Ordering::Relaxed) {
        let mut line = Map::from_iter([
            ("event".to_owned(), event.into()),
            ("stage".to_owned(), stage.into()),
        ]);
        if let Value::Object(fields) = fields {
            line.extend(fields.into_iter().map(|(name, value)| (name, clean(value))));
        }
        line.entry("text").or_insert_with(|| clean(text.into()));
        say(&Value::Object(line).to_string());
    } else {
        say(&format!("{stage}: {}", shown(&redact(text))));
    }
}

/// Removes secrets from addresses, whatever a server or a user wrote.
fn clean(value: Value) -> Value {
    match value {
        Value::String(text) => redact(&text).into(),
        Value::Array(values) => values.into_iter().map(clean).collect(),
        Value::Object(fields) => {
            fields.into_iter().map(|(name, value)| (name, clean(value))).collect()
        }
        other => other,
    }
}

/// Writes a line to stderr. A closed stderr is no reason to stop working.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The error that ends a stage, with the fields of its failure.
pub(crate) fn report_error(stage: &str, code: u8, text: &str, fields: Map<String, Value>) {
    let mut all =
        Map::from_iter([("exit_code".to_owned(), code.into()), ("text".to_owned(), text.into())]);
    all.extend(fields);
    emit(stage, "error", all.into(), &format!("error: {text}"));
}

/// What progress counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Shown as MiB or GiB.
    Bytes,
    /// Whole stories.
    Stories,
    /// Texts of any kind.
    Texts,
    /// Steps of training.
    Steps,
    /// Token ids.
    Tokens,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Unit::Bytes => "bytes",
            Unit::Stories => "stories",
            Unit::Texts => "texts",
            Unit::Steps => "steps",
            Unit::Tokens => "tokens",
        }
    }

    /// `1,000` or `1.00 MiB`
    fn amount(self, n: u64) -> String {
        match self {
            Unit::Bytes => HumanBytes(n).to_string(),
            _ => HumanCount(n).to_string(),
        }
    }

    /// `1,000 stories` or `1.00 MiB`
    fn show(self, n: u64) -> String {
        match self {
            Unit::Bytes => self.amount(n),
            _ => format!("{} {}", self.amount(n), self.name()),
        }
    }

    /// Slow work needs a decimal.
    fn rate(self, per_second: f64) -> String {
        match self {
            Unit::Bytes => self.amount(per_second as u64),
            _ if per_second < 10.0 => format!("{per_second:.1} {}", self.name()),
            _ => self.show(per_second as u64),
        }
    }
}

/// A number with thousands separators: 1,234,567.
pub fn count(n: u64) -> String {
    HumanCount(n).to_string()
}

/// Safe to advance from many threads.
pub struct Progress {
    log: Log,
    what: String,
    unit: Unit,
    total: Mutex<Option<u64>>,
    bar: ProgressBar,
    done: AtomicU64,
    /// What else to report with the rate, as text and as figures.
    note: Mutex<(String, Map<String, Value>)>,
    started: Instant,
    last_line: Mutex<Instant>,
}

/// Where the lines of [`Progress::panel`] go.
const PANEL: &str = "\n{msg}";

fn style(unit: Unit, total: Option<u64>, note: &str) -> ProgressStyle {
    let counts = match (unit, total) {
        (Unit::Bytes, Some(_)) => "{bytes}/{total_bytes} {bytes_per_sec} eta {eta}",
        (Unit::Bytes, None) => "{bytes} {bytes_per_sec}",
        (_, Some(_)) => "{human_pos}/{human_len} {rate} eta {eta}",
        (_, None) => "{human_pos} {rate}",
    };
    let template = match total {
        Some(_) => format!("{{prefix}} {{wide_bar}} {counts}{note}"),
        None => format!("{{prefix}} {{spinner}} {counts}{note}"),
    };
    let style =
        ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.with_key("rate", move |state: &ProgressState, text: &mut dyn std::fmt::Write| {
        let _ = write!(text, "{}/s", unit.rate(state.per_sec()));
    })
}

impl Progress {
    fn new(log: Log, what: &str, unit: Unit, total: Option<u64>) -> Self {
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
        if !std::io::stderr().is_terminal() || JSON.load(Ordering::Relaxed) {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        bar.set_style(style(unit, total, " {msg}"));
        bar.set_prefix(what.to_owned());
        let now = Instant::now();
        Progress {
            log,
            what: what.to_owned(),
            unit,
            total: Mutex::new(total),
            bar,
            done: AtomicU64::new(0),
            note: Mutex::default(),
            started: now,
            last_line: Mutex::new(now),
        }
    }

    /// Counts what was there before this run (a resumed download, kept shards). It does not count towards the rate.
    pub fn skip(&self, n: u64) {
        self.done.fetch_add(n, Ordering::Relaxed);
        self.bar.inc(n);
        self.bar.reset_eta();
    }

    /// Counts `n` more.
    pub fn add(&self, n: u64) {
        let done = self.done.fetch_add(n, Ordering::Relaxed) + n;
        self.bar.inc(n);
        if self.bar.is_hidden()
            && let Some(mut last) = self.last_line.try_lock()
            && last.elapsed() >= PLAIN_LINE_EVERY
        {
            *last = Instant::now();
            self.plain_line(done);
        }
    }

    /// Sets the total when it becomes known or its estimate changes.
    pub fn set_total(&self, total: u64) {
        if self.total.lock().replace(total).is_none() {
            self.bar.set_style(style(self.unit, Some(total), " {msg}"));
        }
        self.bar.set_length(total);
    }

    /// Other rates, shown after that of the unit.
    pub fn message(&self, text: impl Into<String>, figures: &[(&str, f64)]) {
        let text = text.into();
        self.bar.set_message(text.clone());
        self.note(text, figures);
    }

    /// Lines below the bar, on a terminal: `lines` makes them for its width.
    pub fn panel(&self, lines: impl FnOnce(usize) -> Vec<String>) {
        if !self.bar.is_hidden() {
            // One column stays free: a full line would wrap.
            let width = usize::from(console::Term::stderr().size().1).saturating_sub(1).max(1);
            self.bar.set_style(style(self.unit, self.bar.length(), PANEL));
            self.bar.set_message(lines(width).join("\n"));
        }
    }

    /// Whether there is a bar on a terminal.
    pub fn is_live(&self) -> bool {
        !self.bar.is_hidden()
    }

    /// What lines report after the rate: plain lines the text, JSON lines the figures as well.
    pub fn note(&self, text: impl Into<String>, figures: &[(&str, f64)]) {
        let known = figures.iter().filter(|(_, figure)| figure.is_finite());
        let figures = known.map(|(name, figure)| ((*name).to_owned(), json!(figure)));
        *self.note.lock() = (text.into(), figures.collect());
    }

    /// Sets how much is done, for example back when work has to be repeated.
    pub fn set_done(&self, done: u64) {
        self.done.store(done, Ordering::Relaxed);
        self.bar.set_position(done);
    }

    /// Prints above the bar without tearing it.
    pub fn suspend<T>(&self, f: impl FnOnce() -> T) -> T {
        self.bar.suspend(f)
    }

    /// Time since the progress began.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    fn plain_line(&self, done: u64) {
        let seconds = self.started.elapsed().as_secs_f64().max(1e-9);
        let rate = done as f64 / seconds;
        let total = *self.total.lock();
        let left = total.map(|total| {
            Duration::from_secs_f64(total.saturating_sub(done) as f64 / rate.max(1e-9))
        });
        let (note, figures) = self.note.lock().clone();
        let also = if note.is_empty() { String::new() } else { format!(", {note}") };
        let text = match (total, left) {
            (Some(total), Some(left)) => {
                let (done, total, left) =
                    (self.unit.amount(done), self.unit.show(total), HumanDuration(left));
                format!(
                    "{} {done} of {total}, {}/s{also}, {left} left",
                    self.what,
                    self.unit.rate(rate)
                )
            }
            _ => {
                format!("{} {}, {}/s{also}", self.what, self.unit.show(done), self.unit.rate(rate))
            }
        };
        let mut fields = json!({ "what": self.what, "unit": self.unit.name(), "done": done, "total": total,
            "per_second": rate, "seconds_left": left.map(|l| l.as_secs_f64()) });
        if let Value::Object(fields) = &mut fields {
            fields.extend(figures);
        }
        self.log.event("progress", fields, &text);
    }

    /// Removes the bar from the screen before something else is shown there.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }

    /// Removes the bar. The caller reports the result.
    pub fn finish(self) -> u64 {
        self.bar.finish_and_clear();
        self.done.load(Ordering::Relaxed)
    }
}
