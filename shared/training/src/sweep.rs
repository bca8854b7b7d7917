//! What a sweep found: its variants side by side, with paired differences and how sure they are.
use std::path::{Path, PathBuf};

use compute::Model;
use corpus::bin::Bin;
use inference::{Engine, Interval, Tally, bootstrap, evaluate_each, failed};
use model::load_folder;
use plotters::style::RGBColor;
use serde_json::{Value, json};
use stage::sweep::Variant;
use stage::{AtomicFile, Failure, Result, Stage, Unit, interrupt};

use crate::charts::{BLUE, Chart, GRAY, GREEN, ORANGE, Series};
use crate::log_line::LogLine;

/// Sequences evaluated at once.
const BATCH: usize = 8;
/// Two-sided 95 % quantiles of Student's t by degrees of freedom. The last serves for more, a little too wide.
const STUDENT: [f64; 12] =
    [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179];
/// Of arms in a picture; those beyond come again, dimmer.
const COLORS: [RGBColor; 4] = [BLUE, ORANGE, GREEN, GRAY];

/// A trained variant.
struct Trained<'a> {
    variant: &'a Variant,
    /// Nats of each story of val.bin, under the weights at the end.
    stories: Vec<f64>,
    bits_per_byte: f64,
    lines: Vec<LogLine>,
}

/// Variants that differ in nothing but the seed.
struct Arm<'a> {
    name: String,
    runs: Vec<&'a Trained<'a>>,
}

/// Where a variant's run lies.
pub fn variant_run(stage: &Stage, variant: &Variant) -> PathBuf {
    stage.out.join("sweep").join(&variant.folder).join("run")
}

/// Evaluates every variant on all of val.bin and writes sweep.json, .md and .png. Gives the table.
///
/// # Errors
/// Exit code 3 where one is not trained to its end.
pub fn compare_variants(stage: &Stage, variants: &[Variant]) -> Result<String> {
    let bin = Bin::open(&stage.path("val.bin"))?;
    let progress = stage.log.progress("compare", Unit::Tokens, None);
    let (mut trained, mut lengths, mut engine) = (Vec::new(), Vec::new(), None);
    for variant in variants {
        let run = variant_run(stage, variant);
        if !run.join("manifest.json").is_file() {
            let found = "not trained to its end yet";
            let remedy = "train all of them, or the one that is missing";
            return Err(Failure::input(&run, found, "a finished run of every variant", remedy));
        }
        let tally = tally(stage, &mut engine, &bin, &run, |tokens| progress.add(tokens))?;
        lengths = tally.stories.iter().map(|story| story.tokens as f64).collect();
        trained.push(Trained {
            variant,
            bits_per_byte: tally.sum.bits_per_byte(bin.len(), bin.manifest().count("bytes")),
            stories: tally.stories.iter().map(|story| story.nats).collect(),
            lines: lines(&run)?,
        });
    }
    progress.finish();
    // Bytes are shared out by tokens: every variant has the same ones.
    let per_token = bin.manifest().count("bytes") as f64 / bin.len() as f64;
    let bytes: Vec<f64> = lengths.iter().map(|tokens| tokens * per_token).collect();
    let arms = arms(&trained);
    let rows = rows(&arms, &bytes);
    let table = markdown(&arms, &rows);
    let folder = stage.out.join("sweep");
    AtomicFile::write(
        &folder.join("sweep.json"),
        format!("{:#}\n", to_json(&arms, &rows)).as_bytes(),
    )?;
    AtomicFile::write(&folder.join("sweep.md"), table.as_bytes())?;
    AtomicFile::write(&folder.join("sweep.png"), &picture(&arms).png(1000, 600)?)?;
    Ok(table)
}

fn tally(
    stage: &Stage,
    opened: &mut Option<(usize, Engine)>,
    bin: &Bin,
    run: &Path,
    mut advance: impl FnMut(u64),
) -> Result<Tally> {
    let (config, weights) = load_folder(&run.join("final"))?;
    let (section, width) = (&stage.pipeline.eval, config.head_width());
    let same = opened.take().filter(|(of, _)| *of == width);
    let (_, engine) = opened.insert(match same {
        Some(same) => same,
        None => (width, Engine::for_evaluation(section, width, &stage.log)?),
    });
    let mut model =
        Model::new(engine.kernels()?, config, &weights, BATCH, config.context).map_err(failed)?;
    let mut tally = Tally::default();
    evaluate_each(&mut model, bin, section.stride as usize, 0, |tokens| {
        tally.add(tokens, bin.eos());
        advance(tokens.len() as u64);
        interrupt::check("the variants are trained; run the same command for the table")
    })?;
    tally.finish();
    Ok(tally)
}

/// The log of a run.
fn lines(run: &Path) -> Result<Vec<LogLine>> {
    let text = stage::read_to_string(&run.join("loss.jsonl"))?;
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

fn arms<'a>(trained: &'a [Trained<'a>]) -> Vec<Arm<'a>> {
    let mut arms: Vec<Arm> = Vec::new();
    for run in trained {
        let name = run.variant.arm();
        match arms.iter_mut().find(|arm| arm.name == name) {
            Some(arm) => arm.runs.push(run),
            None => arms.push(Arm { name, runs: vec![run] }),
        }
    }
    arms
}

/// What the table says of an arm.
struct Row {
    bits_per_byte: f64,
    difference: f64,
    /// Of the difference: over stories, of the mean of the seeds; and over seeds, where there are two pairs or more.
    over_stories: Interval,
    over_seeds: Option<Interval>,
}

impl Arm<'_> {
    fn title(&self) -> &str {
        if self.name.is_empty() { "as the pipeline says" } else { &self.name }
    }

    fn bits_per_byte(&self) -> f64 {
        mean(self.runs.iter().map(|run| run.bits_per_byte))
    }

    /// Nats of each story, the mean of its runs.
    fn stories(&self) -> Vec<f64> {
        let mut sums = vec![0.0; self.runs.first().map_or(0, |run| run.stories.len())];
        for run in &self.runs {
            sums.iter_mut().zip(&run.stories).for_each(|(sum, nats)| *sum += nats);
        }
        sums.iter_mut().for_each(|sum| *sum /= self.runs.len() as f64);
        sums
    }

    /// Differences to the runs of another arm, seed by seed, where both have it.
    fn differences(&self, other: &Arm) -> Vec<f64> {
        let pair = |run: &&Trained| {
            let same = |other: &&&Trained| other.variant.seed() == run.variant.seed();
            Some(run.bits_per_byte - other.runs.iter().find(same)?.bits_per_byte)
        };
        self.runs.iter().filter_map(pair).collect()
    }
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

fn rows(arms: &[Arm], bytes: &[f64]) -> Vec<Row> {
    let Some(first) = arms.first() else { return Vec::new() };
    let stories: Vec<Vec<f64>> = arms.iter().map(Arm::stories).collect();
    let row = |(arm, (_, over_stories)): (&Arm, (Interval, Interval))| Row {
        bits_per_byte: arm.bits_per_byte(),
        difference: arm.bits_per_byte() - first.bits_per_byte(),
        over_stories,
        over_seeds: over_seeds(&arm.differences(first)),
    };
    arms.iter().zip(bootstrap(&stories, bytes)).map(row).collect()
}

/// Student's 95 % interval of the mean.
fn over_seeds(differences: &[f64]) -> Option<Interval> {
    let n = differences.len();
    if n < 2 {
        return None;
    }
    let mean = differences.iter().sum::<f64>() / n as f64;
    let squares = differences.iter().map(|d| (d - mean).powi(2)).sum::<f64>();
    let error = (squares / (n - 1) as f64 / n as f64).sqrt();
    let t = STUDENT[(n - 2).min(STUDENT.len() - 1)];
    Some(Interval { low: mean - t * error, high: mean + t * error })
}

fn markdown(arms: &[Arm], rows: &[Row]) -> String {
    let mut text = String::from(
        "| variant | seeds | bits per byte | difference to the first | 95 % over stories | 95 % over seeds |\n|---|---|---|---|---|---|\n",
    );
    let interval = |interval: &Interval| format!("{:+.4} to {:+.4}", interval.low, interval.high);
    for (i, (arm, row)) in arms.iter().zip(rows).enumerate() {
        let (difference, stories, seeds) = match i {
            0 => (String::new(), String::new(), String::new()),
            _ => (
                format!("{:+.4}", row.difference),
                interval(&row.over_stories),
                row.over_seeds.as_ref().map_or("one pair".into(), interval),
            ),
        };
        text.push_str(&format!(
            "| {} | {} | {:.4} | {difference} | {stories} | {seeds} |\n",
            arm.title(),
            arm.runs.len(),
            row.bits_per_byte
        ));
    }
    text.push_str("\nDifferences are of the same stories and the same seeds; below 0 is better than the first.\n");
    text
}

fn to_json(arms: &[Arm], rows: &[Row]) -> Value {
    let interval = |interval: &Interval| json!([interval.low, interval.high]);
    let of = |(arm, row): (&Arm, &Row)| {
        let runs = arm.runs.iter().map(|run| {
            json!({ "folder": run.variant.folder, "variant": run.variant.name, "bits_per_byte": run.bits_per_byte })
        });
        json!({
            "variant": arm.name,
            "bits_per_byte": row.bits_per_byte,
            "difference": row.difference,
            "over_stories": interval(&row.over_stories),
            "over_seeds": row.over_seeds.as_ref().map(interval),
            "runs": runs.collect::<Vec<_>>(),
        })
    };
    json!({ "arms": arms.iter().zip(rows).map(of).collect::<Vec<_>>() })
}

/// The validation loss of every arm's first run along the way.
fn picture(arms: &[Arm]) -> Chart {
    let colored = arms.iter().zip(COLORS.iter().cycle()).enumerate();
    let series = colored.filter_map(|(i, (arm, color))| {
        let run = arm.runs.first()?;
        let points = run.lines.iter().filter_map(|line| Some((line.step as f64, line.val_loss?)));
        Some(Series {
            name: arm.title().to_owned().into(),
            points: points.collect(),
            color: *color,
            dots: false,
            opacity: 1.0 / (1 + i / COLORS.len()) as f64,
        })
    });
    Chart {
        title: "Validation loss along the way",
        series: series.collect(),
        label: |y| format!("{y:.2}"),
        logarithmic: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_over_seeds_is_students() {
        // Differences 1, 2, 3: mean 2, standard error 1/sqrt(3), t of 2 degrees of freedom 4.303.
        let Interval { low, high } = over_seeds(&[1.0, 2.0, 3.0]).unwrap();
        assert!(
            (low - (2.0 - 4.303 / 3f64.sqrt())).abs() < 1e-9 && (low + high - 4.0).abs() < 1e-9
        );
        assert!(over_seeds(&[1.0]).is_none());
    }
}
