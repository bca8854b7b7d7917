//! "Is my run normal?": how a run of a shipped pipeline goes, to hold one's own against.
use serde::Deserialize;
use stage::Pipeline;

use crate::log_line::LogLine;

/// Name of a shipped pipeline, and `pipelines/reference/NAME.toml`.
const CURVES: [(&str, &str); 4] = [
    ("quickstart", include_str!("../../../pipelines/reference/quickstart.toml")),
    ("tinystories-3m", include_str!("../../../pipelines/reference/tinystories-3m.toml")),
    ("tinystories-10m", include_str!("../../../pipelines/reference/tinystories-10m.toml")),
    ("chapter", include_str!("../../../pipelines/reference/chapter.toml")),
];
/// Shares of the steps, in percent, at which a run is held against its reference.
const LOOKS: [u64; 3] = [5, 20, 50];

/// How a run goes: validation losses, nats per token.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reference {
    /// By us, on the machine that the file names; else predicted.
    measured: bool,
    /// Share of the loss within which a run is on course.
    tolerance: f64,
    /// Step and loss.
    pub validation: Vec<(f64, f64)>,
    /// Settings at the time, for the test that tells when they have changed.
    #[cfg_attr(not(test), expect(dead_code))]
    settings: toml::Table,
}

impl Reference {
    /// The reference of a run whose settings are those of a shipped pipeline in all that decides the weights, seeds and
    /// precision apart.
    pub(crate) fn of(pipeline: &Pipeline) -> Option<Self> {
        let name = pipeline.shipped_name()?;
        let (_, text) = CURVES.iter().find(|(of, _)| *of == name)?;
        toml::from_str(text).ok()
    }

    /// What the curve is called in the report.
    pub(crate) fn name(&self) -> &'static str {
        if self.measured { "reference, measured" } else { "reference, predicted" }
    }

    /// The loss at a step: between two points along the logarithm of the step, as losses fall.
    fn at(&self, step: f64) -> Option<f64> {
        let next = self.validation.iter().position(|point| point.0 >= step)?;
        let (x1, y1) = *self.validation.get(next)?;
        let Some(&(x0, y0)) = next.checked_sub(1).and_then(|i| self.validation.get(i)) else {
            return Some(y1);
        };
        let along = |x: f64| (1.0 + x).ln();
        let share = (along(step) - along(x0)) / (along(x1) - along(x0));
        Some(y0 + share * (y1 - y0))
    }

    /// One sentence on a run that has come so far.
    fn compare(&self, step: u64, loss: f64) -> Option<(&'static str, String)> {
        let expected = self.at(step as f64)?;
        let margin = self.tolerance * expected;
        let kind = if self.measured { "measured" } else { "predicted" };
        let (verdict, advice) = if loss > expected + margin {
            let advice =
                "; usual causes: other data than the pipeline's, or a validation of other windows";
            ("above the reference", advice)
        } else if loss < expected - margin {
            ("below the reference", "; fine, if validation and training stories differ")
        } else {
            ("on course", "")
        };
        Some((
            verdict,
            format!("{verdict}: loss {loss:.3}, the reference ({kind}) has {expected:.3}{advice}"),
        ))
    }
}

/// Looks at a run at some shares of its steps.
#[derive(Debug)]
pub(crate) struct Course {
    reference: Option<Reference>,
    /// Steps at which to look, the next one last.
    looks: Vec<(u64, u64)>,
}

impl Course {
    /// Of a run that goes on from step `first`.
    pub(crate) fn new(reference: Option<Reference>, steps: u64, first: u64) -> Self {
        let at = |percent: u64| (percent, steps.saturating_mul(percent).div_ceil(100));
        let looks = LOOKS.into_iter().rev().map(at).filter(|&(_, step)| step > first);
        Course { reference, looks: looks.collect() }
    }

    /// What is to be said once the log has come so far: the share of the steps in percent, a verdict, a sentence.
    pub(crate) fn look(&mut self, lines: &[LogLine]) -> Option<(u64, &'static str, String)> {
        let (reference, last) = (self.reference.as_ref()?, lines.last()?);
        let &(percent, step) = self.looks.last()?;
        if last.step < step {
            return None;
        }
        self.looks.retain(|&(_, step)| step > last.step);
        // A mean over earlier lines would lag behind, most where the loss falls fastest.
        let loss = last.val_loss.unwrap_or(f64::from(last.loss));
        let (verdict, text) = reference.compare(last.step, loss)?;
        Some((percent, verdict, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    use stage::shipped;

    fn pipeline(name: &str, settings: &[&str]) -> Pipeline {
        let settings: Vec<String> = settings.iter().map(|text| (*text).to_owned()).collect();
        Pipeline::load(Path::new(name), &settings).unwrap()
    }

    fn line(step: u64, loss: f64, val_loss: Option<f64>) -> LogLine {
        LogLine {
            step,
            loss: loss as f32,
            lr: 1e-3,
            grad_norm: None,
            tokens_per_second: 1e4,
            elapsed_s: 1.0,
            val_loss,
            loss_scale: None,
        }
    }

    /// After a change of a pipeline its curve has to be measured again: run it, and take steps and `val_loss` from
    /// OUT/run/loss.jsonl.
    #[test]
    fn every_shipped_pipeline_has_a_curve_of_its_present_settings() {
        for name in shipped::names() {
            let pipeline = pipeline(name, &[]);
            let reference = Reference::of(&pipeline).unwrap_or_else(|| panic!("{name}: no curve"));
            let (model, t) = (&pipeline.model, &pipeline.train);
            let sizes = [model.n_layer, model.n_head, model.d_model, model.d_mlp, model.context];
            let now = format!(
                "model = {sizes:?}\nvocab_size = {}\nsteps = {}\nbatch = {}\nlr = {:?}\noptimizer = {:?}\n",
                pipeline.tokenizer.vocab_size,
                t.steps,
                t.batch * t.accumulate,
                t.lr,
                t.optimizer.kind
            );
            assert_eq!(now.parse::<toml::Table>().unwrap(), reference.settings, "{name}");
            let (first, last) =
                (reference.validation[0], reference.validation[reference.validation.len() - 1]);
            let uniform = f64::from(pipeline.tokenizer.vocab_size).ln();
            assert!((first.1 - uniform).abs() < 0.1, "{name}: {first:?}, ln(V) = {uniform}");
            assert_eq!(last.0, t.steps as f64, "{name}");
            assert!(reference.validation.is_sorted_by(|a, b| a.0 < b.0 && a.1 > b.1), "{name}");
        }
    }

    #[test]
    fn other_settings_have_no_reference_but_other_seeds_and_devices_do() {
        for settings in [&[][..], &["train.seed=7", "train.precision=f16", "train.device=cpu"]] {
            assert!(Reference::of(&pipeline("quickstart", settings)).is_some(), "{settings:?}");
        }
        for setting in ["train.lr=1e-3", "model.n_layer=2", "fetch.source=/tales", "train.steps=9"]
        {
            assert!(Reference::of(&pipeline("quickstart", &[setting])).is_none(), "{setting}");
        }
    }

    #[test]
    fn a_run_is_told_at_each_look_where_it_is_and_once() {
        let reference = Reference {
            measured: true,
            tolerance: 0.05,
            validation: vec![(0.0, 9.0), (100.0, 4.0), (200.0, 3.0)],
            settings: toml::Table::new(),
        };
        let mut course = Course::new(Some(reference.clone()), 200, 0);
        let mut lines = vec![line(0, 9.0, Some(9.0))];
        assert_eq!(course.look(&lines), None);
        for (step, loss, percent, verdict) in [
            (10, 9.0, 5, "above the reference"),
            (40, 2.0, 20, "below the reference"),
            (100, 4.1, 50, "on course"),
        ] {
            lines.push(line(step, loss, Some(loss)));
            let (at, said, text) = course.look(&lines).unwrap();
            assert_eq!((at, said), (percent, verdict), "{text}");
            assert_eq!(course.look(&lines), None, "said once");
        }
        let mut resumed = Course::new(Some(reference), 200, 60);
        assert_eq!(resumed.look(&lines).map(|(percent, ..)| percent), Some(50));
        assert_eq!(Course::new(None, 200, 0).look(&lines), None);
    }
}
