//! `loss.png` and `report.html`: a run on one page, without a network.
use std::path::Path;

use indicatif::HumanDuration;
use inference::Story;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use model::Best;
use stage::{AtomicFile, Result, count};

use crate::LogLine;
use crate::charts::{BLUE, Chart, GREEN, ORANGE, Series};
use crate::curve::centred;
use crate::diagnosis::{Diagnosis, Kind, Seen, diagnose};
use crate::samples::StoriesAt;

/// What stays the same during a run.
#[derive(Clone, Debug)]
pub struct About {
    pub title: String,
    /// What the data is, where that matters.
    pub note: Option<&'static str>,
    /// config.toml
    pub config: String,
    pub device: String,
    pub plan: String,
    pub precision: String,
    pub parameters: u64,
    pub vocab_size: usize,
    pub steps: u64,
    pub warmup: u64,
    pub peak_lr: f64,
    pub tokens_per_step: u64,
    /// Of train.bin.
    pub tokens: u64,
    pub stories: u64,
}

/// What the report shows of a run at one moment.
#[derive(Clone, Debug)]
pub struct ReportSnapshot {
    pub lines: Vec<LogLine>,
    /// Updates done.
    pub step: u64,
    /// What it is doing, or how it ended.
    pub state: String,
    pub ended: bool,
    pub elapsed_s: f64,
    pub seconds_left: Option<f64>,
    pub best: Option<Best>,
    /// FLOP/s of the training, and of a large product on the same engine.
    pub flop_per_second: f64,
    pub peak: Option<f64>,
    pub memory: String,
    /// What happened along the way that a person should know.
    pub events: Vec<String>,
}

impl About {
    pub fn epochs(&self, step: u64) -> f64 {
        (step * self.tokens_per_step) as f64 / self.tokens.max(1) as f64
    }

    pub fn diagnose(&self, lines: &[LogLine], step: u64) -> Diagnosis {
        let &About { vocab_size, steps, warmup, peak_lr, .. } = self;
        diagnose(&Seen { lines, vocab_size, steps, warmup, peak_lr, epochs: self.epochs(step) })
    }

    /// How much of the data was seen, in a sentence.
    pub fn seen(&self, step: u64) -> String {
        let epochs = self.epochs(step);
        // A window begins anywhere with the same chance: what no window covered is e^-epochs of it.
        let covered = 100.0 * (1.0 - (-epochs).exp());
        format!(
            "{} tokens, {epochs:.2} times the {} of train.bin ({} stories); windows at random places, so about {covered:.0} % of it was seen at all",
            count(step * self.tokens_per_step),
            count(self.tokens),
            count(self.stories)
        )
    }
}

/// Writes both files into the folder of a run.
pub fn write(
    folder: &Path,
    about: &About,
    snapshot: &ReportSnapshot,
    told: &[StoriesAt],
) -> Result<()> {
    AtomicFile::write(&folder.join("loss.png"), &loss_chart(&snapshot.lines).png(1000, 600)?)?;
    let page = page(about, snapshot, told)?.into_string();
    AtomicFile::write(&folder.join("report.html"), page.as_bytes()).map(drop)
}

fn points(lines: &[LogLine], value: impl Fn(&LogLine) -> Option<f64>) -> Vec<(f64, f64)> {
    lines.iter().filter_map(|line| Some((line.step as f64, value(line)?))).collect()
}

fn loss_chart(lines: &[LogLine]) -> Chart {
    let raw = points(lines, |line| Some(f64::from(line.loss)));
    let curve = centred(&raw.iter().map(|point| point.1).collect::<Vec<f64>>());
    let smooth = raw.iter().zip(curve).map(|(&(step, _), loss)| (step, loss)).collect();
    Chart {
        title: "Loss (nats per token)",
        series: vec![
            Series {
                name: "training, of single batches",
                points: raw,
                color: BLUE,
                dots: false,
                opacity: 0.3,
            },
            Series {
                name: "training, smoothed",
                points: smooth,
                color: BLUE,
                dots: false,
                opacity: 1.0,
            },
            Series {
                name: "validation",
                points: points(lines, |line| line.val_loss),
                color: ORANGE,
                dots: true,
                opacity: 1.0,
            },
        ],
        label: |loss| format!("{loss:.2}"),
        logarithmic: false,
    }
}

fn small_charts(lines: &[LogLine]) -> [Chart; 3] {
    let chart = |title, points, label, logarithmic| Chart {
        title,
        series: vec![Series { name: title, points, color: GREEN, dots: false, opacity: 1.0 }],
        label,
        logarithmic,
    };
    let rate = points(lines, |line| Some(line.lr));
    let norm = points(lines, |line| line.grad_norm.filter(|&norm| norm > 0.0).map(f64::from));
    // The first line counts the start of everything.
    let speed = points(lines.get(1..).unwrap_or_default(), |line| Some(line.tokens_per_second));
    [
        chart("Learning rate", rate, |rate| format!("{rate:.1e}"), false),
        chart(
            "Norm of the gradient",
            norm,
            |norm| if norm < 10.0 { format!("{norm:.2}") } else { format!("{norm:.0}") },
            true,
        ),
        chart("Tokens per second", speed, |speed| count(speed.max(0.0) as u64), false),
    ]
}

const STYLE: &str = "
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 1040px; padding: 16px 20px 60px; color: #1c2430; background: #fff; }
h1 { font-size: 26px; margin: 8px 0 0; } h2 { font-size: 19px; margin: 34px 0 8px; border-bottom: 1px solid #dde2ea; padding-bottom: 4px; }
.state { color: #5b6675; margin: 0 0 14px; }
.diagnosis { border-left: 6px solid #c2541b; background: #fdf3ec; padding: 10px 16px; border-radius: 4px; }
.diagnosis.healthy { border-color: #248a3d; background: #eef8f0; } .diagnosis.early { border-color: #8a94a3; background: #f4f6f8; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(170px, 1fr)); gap: 10px; margin: 16px 0; }
.figures div { background: #f4f6f8; border-radius: 6px; padding: 8px 12px; } .figures b { display: block; font-size: 20px; } .figures span { color: #5b6675; font-size: 13px; }
svg { width: 100%; height: auto; } .small { display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); gap: 8px; }
table { border-collapse: collapse; width: 100%; table-layout: fixed; } th, td { text-align: left; vertical-align: top; padding: 8px 10px; border-bottom: 1px solid #dde2ea; overflow-wrap: anywhere; }
td { white-space: pre-line; font-size: 15px; } pre { background: #f4f6f8; padding: 12px; border-radius: 6px; overflow-x: auto; font-size: 13px; }
dt { color: #5b6675; font-size: 13px; } dd { margin: 0 0 8px; } summary { cursor: pointer; padding: 4px 0; }
";

fn page(about: &About, snapshot: &ReportSnapshot, told: &[StoriesAt]) -> Result<Markup> {
    let diagnosis = about.diagnose(&snapshot.lines, snapshot.step);
    let class = match diagnosis.kind {
        Kind::Healthy => "diagnosis healthy",
        Kind::TooEarly => "diagnosis early",
        _ => "diagnosis",
    };
    let small = small_charts(&snapshot.lines)
        .iter()
        .map(|chart| chart.svg(500, 330))
        .collect::<Result<Vec<String>>>()?;
    let (before, now) = (told.first(), told.last().filter(|_| told.len() > 1));
    Ok(html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                @if !snapshot.ended { meta http-equiv="refresh" content="30"; }
                title { (about.title) ": bedtime" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (about.title) }
                p.state { (snapshot.state) ", step " (count(snapshot.step)) " of " (count(about.steps)) ", after " (time(snapshot.elapsed_s))
                    @if let Some(left) = snapshot.seconds_left { ", " (time(left)) " left" } }
                @if let Some(note) = about.note { p { strong { (note) } } }
                div class=(class) {
                    strong { (diagnosis.kind.name()) } ": " (diagnosis.seen)
                    @if !diagnosis.cause.is_empty() {
                        br; em { "Usual cause: " } (diagnosis.cause)
                        br; em { "Try: " } (diagnosis.remedy)
                    }
                }
                (figures(snapshot))
                h2 { "Curves" }
                (PreEscaped(loss_chart(&snapshot.lines).svg(1000, 480)?))
                div.small { @for chart in &small { div { (PreEscaped(chart)) } } }
                h2 { "Data" }
                p { "Seen so far: " (about.seen(snapshot.step)) "." }
                @if let Some(before) = before {
                    h2 { "Stories along the way" }
                    table {
                        tr { th { (title(before.step)) } @if let Some(now) = now { th { (title(now.step)) } } }
                        @for (i, story) in before.stories.iter().enumerate() {
                            tr { (cell(story)) @if let Some(story) = now.and_then(|now| now.stories.get(i)) { (cell(story)) } }
                        }
                    }
                    @for told in told.get(1..told.len().saturating_sub(1)).unwrap_or_default() {
                        details { summary { (title(told.step)) } table { @for story in &told.stories { tr { (cell(story)) } } } }
                    }
                }
                @if !snapshot.events.is_empty() {
                    h2 { "What happened" }
                    ul { @for event in &snapshot.events { li { (event) } } }
                }
                h2 { "Device" }
                dl {
                    dt { "Device" } dd { (about.device) }
                    dt { "Values are kept in" } dd { (about.precision) }
                    dt { "Kernels" } dd { (about.plan) }
                    dt { "Memory" } dd { (snapshot.memory) }
                    dt { "Parameters" } dd { (count(about.parameters)) }
                }
                h2 { "Settings" }
                pre { (about.config) }
            }
        }
    })
}

fn figures(snapshot: &ReportSnapshot) -> Markup {
    let last = snapshot.lines.last();
    let validation = snapshot.lines.iter().rev().find_map(|line| line.val_loss);
    let figure = |value: Option<String>, name: &str| html! { @if let Some(value) = &value { div { b { (value) } span { (name) } } } };
    let peak =
        snapshot.peak.map(|peak| format!("{:.0} %", 100.0 * snapshot.flop_per_second / peak));
    html! {
        div.figures {
            (figure(last.map(|line| format!("{:.3}", line.loss)), "training loss of the last batch"))
            (figure(validation.map(|loss| format!("{loss:.3}")), "validation loss"))
            (figure(validation.map(|loss| format!("{:.2}", loss.exp())), "perplexity: as unsure as among so many tokens"))
            (figure(snapshot.best.map(|best| format!("{:.3}", best.val_loss)), "best validation along the way"))
            (figure(last.map(|line| count(line.tokens_per_second as u64)), "tokens per second"))
            (figure(peak, "of a large product's rate"))
        }
    }
}

fn title(step: u64) -> String {
    if step == 0 { "Before training".into() } else { format!("After {} steps", count(step)) }
}

fn cell(story: &Story) -> Markup {
    html! { td { strong { (story.prompt) } (story.continuation()) @if !story.ended { " …" } } }
}

fn time(seconds: f64) -> String {
    HumanDuration(std::time::Duration::from_secs_f64(seconds.clamp(0.0, 1e9))).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_whole_escapes_what_it_shows_and_needs_no_network() {
        let line = |step| LogLine {
            step,
            loss: 3.0,
            lr: 1e-3,
            grad_norm: Some(1.0),
            tokens_per_second: 100.0,
            elapsed_s: 1.0,
            val_loss: Some(2.5),
            loss_scale: None,
        };
        let about = About {
            title: "<b>mine</b>".into(),
            note: Some("synthetic"),
            config: "[train]\nsteps = 5".into(),
            device: "cpu".into(),
            plan: "plain".into(),
            precision: "f32".into(),
            parameters: 10,
            vocab_size: 300,
            steps: 100,
            warmup: 2,
            peak_lr: 1e-3,
            tokens_per_step: 64,
            tokens: 640,
            stories: 7,
        };
        let snapshot = ReportSnapshot {
            lines: (0..10).map(line).collect(),
            step: 10,
            state: "training".into(),
            ended: false,
            elapsed_s: 61.0,
            seconds_left: Some(5.0),
            best: None,
            flop_per_second: 1.0,
            peak: Some(4.0),
            memory: "1 MiB".into(),
            events: vec!["step 3: <script>".into()],
        };
        let story = Story {
            prompt: "Once".into(),
            text: "Once & <i>for all</i>".into(),
            tokens: vec![],
            logprobs: None,
            ended: true,
        };
        let told = [0, 5, 10].map(|step| StoriesAt { step, stories: vec![story.clone()] });
        let text = page(&about, &snapshot, &told).unwrap().into_string();
        for part in [
            "&lt;b&gt;mine",
            "&amp; &lt;i&gt;for all",
            "25 %",
            "63 %",
            "After 5 steps",
            "step 3: &lt;script&gt;",
            "steps = 5",
            "12.18",
        ] {
            assert!(text.contains(part), "{part} is missing");
        }
        let outside = text.replace("http://www.w3.org/", "");
        assert!(
            !outside.contains("http://")
                && !outside.contains("https://")
                && !text.contains("<script")
                && !text.contains(" src=")
        );
        assert_eq!(text.matches("<svg").count(), 4);
        assert!(text.contains("http-equiv"));
        let ended = page(&about, &ReportSnapshot { ended: true, ..snapshot }, &told[..1])
            .unwrap()
            .into_string();
        assert!(!ended.contains("http-equiv"));
    }
}
