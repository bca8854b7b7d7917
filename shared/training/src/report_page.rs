//! The page and the curve that show a run at one moment.
use indicatif::HumanDuration;
use inference::Story;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use model::Best;
use stage::{Result, count};

use crate::charts::{BLUE, Chart, GRAY, GREEN, ORANGE, Series};
use crate::curve::centred;
use crate::diagnosis::Kind;
use crate::log_line::LogLine;
use crate::reference::Reference;
use crate::run_info::RunInfo;
use crate::stories::StoriesAt;

/// What the report shows of a run at one moment.
#[derive(Clone, Debug)]
pub(crate) struct ReportSnapshot {
    pub lines: Vec<LogLine>,
    /// Updates done.
    pub step: u64,
    /// What it is doing, or how it ended.
    pub state: String,
    pub ended: bool,
    pub elapsed_s: f64,
    pub seconds_left: Option<f64>,
    pub best: Option<Best>,
    /// FLOP/s of the training, and of a large matmul on the same engine.
    pub flop_per_second: f64,
    pub peak: Option<f64>,
    pub memory: String,
    /// What happened along the way that a person should know.
    pub events: Vec<String>,
    pub stories: Vec<StoriesAt>,
}

fn points(lines: &[LogLine], value: impl Fn(&LogLine) -> Option<f64>) -> Vec<(f64, f64)> {
    lines.iter().filter_map(|line| Some((line.step as f64, value(line)?))).collect()
}

/// The reference lies behind all else.
pub(crate) fn loss_chart(lines: &[LogLine], reference: Option<&Reference>) -> Chart {
    let raw = points(lines, |line| Some(f64::from(line.loss)));
    let curve = centred(&raw.iter().map(|point| point.1).collect::<Vec<f64>>());
    let smooth = raw.iter().zip(curve).map(|(&(step, _), loss)| (step, loss)).collect();
    let behind = reference.map(|reference| Series {
        name: reference.name().into(),
        points: reference.validation.clone(),
        color: GRAY,
        dots: true,
        opacity: 0.6,
    });
    let own = [
        Series {
            name: "training, of single batches".into(),
            points: raw,
            color: BLUE,
            dots: false,
            opacity: 0.3,
        },
        Series {
            name: "training, smoothed".into(),
            points: smooth,
            color: BLUE,
            dots: false,
            opacity: 1.0,
        },
        Series {
            name: "validation".into(),
            points: points(lines, |line| line.val_loss),
            color: ORANGE,
            dots: true,
            opacity: 1.0,
        },
    ];
    Chart {
        title: "Loss (nats per token)",
        series: behind.into_iter().chain(own).collect(),
        label: |loss| format!("{loss:.2}"),
        logarithmic: false,
    }
}

fn small_charts(lines: &[LogLine]) -> [Chart; 3] {
    let chart = |title, points, label, logarithmic| Chart {
        title,
        series: vec![Series {
            name: title.into(),
            points,
            color: GREEN,
            dots: false,
            opacity: 1.0,
        }],
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

pub(crate) fn page(info: &RunInfo, snapshot: &ReportSnapshot) -> Result<Markup> {
    let diagnosis = info.diagnose(&snapshot.lines, snapshot.step);
    let class = match diagnosis.kind {
        Kind::Healthy => "diagnosis healthy",
        Kind::TooEarly => "diagnosis early",
        _ => "diagnosis",
    };
    let small = small_charts(&snapshot.lines)
        .iter()
        .map(|chart| chart.svg(500, 330))
        .collect::<Result<Vec<String>>>()?;
    Ok(html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                @if !snapshot.ended { meta http-equiv="refresh" content="30"; }
                title { (info.title) ": bedtime" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (info.title) }
                p.state { (snapshot.state) ", step " (count(snapshot.step)) " of " (count(info.steps)) ", after " (time(snapshot.elapsed_s))
                    @if let Some(left) = snapshot.seconds_left { ", " (time(left)) " left" } }
                @if let Some(note) = info.note { p { strong { (note) } } }
                div class=(class) {
                    strong { (diagnosis.kind.name()) } ": " (diagnosis.seen)
                    @if !diagnosis.cause.is_empty() {
                        br; em { "Usual cause: " } (diagnosis.cause)
                        br; em { "Try: " } (diagnosis.remedy)
                    }
                }
                (figures(snapshot))
                h2 { "Curves" }
                (PreEscaped(loss_chart(&snapshot.lines, info.reference.as_ref()).svg(1000, 480)?))
                div.small { @for chart in &small { div { (PreEscaped(chart)) } } }
                h2 { "Data" }
                p { "Seen so far: " (info.seen(snapshot.step)) "." }
                (stories_section(&snapshot.stories))
                @if !snapshot.events.is_empty() {
                    h2 { "What happened" }
                    ul { @for event in &snapshot.events { li { (event) } } }
                }
                h2 { "Device" }
                dl {
                    dt { "Device" } dd { (info.device) }
                    dt { "Values are kept in" } dd { (info.precision) }
                    dt { "Kernels" } dd { (info.plan) }
                    dt { "Memory" } dd { (snapshot.memory) }
                    dt { "Parameters" } dd { (count(info.parameters)) }
                }
                h2 { "Settings" }
                pre { (info.config) }
            }
        }
    })
}

fn stories_section(stories: &[StoriesAt]) -> Markup {
    let (before, now) = (stories.first(), stories.last().filter(|_| stories.len() > 1));
    html! {
        @if let Some(before) = before {
            h2 { "Stories along the way" }
            table {
                tr { th { (title(before.step)) } @if let Some(now) = now { th { (title(now.step)) } } }
                @for (i, story) in before.stories.iter().enumerate() {
                    tr { (cell(story)) @if let Some(story) = now.and_then(|now| now.stories.get(i)) { (cell(story)) } }
                }
            }
            @for at in stories.get(1..stories.len().saturating_sub(1)).unwrap_or_default() {
                details { summary { (title(at.step)) } table { @for story in &at.stories { tr { (cell(story)) } } } }
            }
        }
    }
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
            (figure(validation.map(|loss| format!("{:.2}", loss.exp())), "perplexity: as uncertain as a uniform choice among this number of tokens"))
            (figure(snapshot.best.map(|best| format!("{:.3}", best.val_loss)), "best validation along the way"))
            (figure(last.map(|line| count(line.tokens_per_second as u64)), "tokens per second"))
            (figure(peak, "of peak matmul throughput"))
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
        let info = RunInfo {
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
            reference: None,
            tokens: 640,
            stories: 7,
            context: 8,
            windows: None,
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
            stories: Vec::new(),
        };
        let story = Story {
            prompt: "Once".into(),
            text: "Once & <i>for all</i>".into(),
            tokens: vec![],
            logprobs: None,
            ended: true,
        };
        let stories = [0, 5, 10].map(|step| StoriesAt { step, stories: vec![story.clone()] });
        let snapshot = ReportSnapshot { stories: stories.to_vec(), ..snapshot };
        let text = page(&info, &snapshot).unwrap().into_string();
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
        let ended = ReportSnapshot { ended: true, stories: stories[..1].to_vec(), ..snapshot };
        let ended = page(&info, &ended).unwrap().into_string();
        assert!(!ended.contains("http-equiv"));
    }
}
