//! Resumes a run from its newest checkpoint, or sets an old run aside.
use std::path::Path;

use compute::Trainer;
use model::{Best, Checkpoint};
use serde_json::Value;
use stage::{Action, Failure, Lock, Result};

use crate::checkpoints::{Checkpoints, step_of};
use crate::first_weights::first_weights;
use crate::open_trainer::open_trainer;
use crate::optimizer::up_to_date;
use crate::samples::Samples;
use crate::setup::Setup;

/// Where a run resumes.
#[derive(Default)]
pub(crate) struct ResumePoint {
    pub step: u64,
    pub best: Option<Best>,
    pub redrawn: Vec<u64>,
}

/// Loads the newest checkpoint, if there is one.
pub(crate) fn resume(
    setup: &Setup,
    checkpoints: &Checkpoints,
    trainer: &mut Trainer,
) -> Result<ResumePoint> {
    let Some(checkpoint) = checkpoints.newest(&setup.log)? else {
        return Ok(ResumePoint::default());
    };
    let settings = up_to_date(checkpoint.state.settings.clone());
    if !stage::same_settings(&settings, &setup.settings) {
        return Err(Failure::usage(format_args!(
            "its checkpoint was made with other settings: {}",
            stage::changed_keys(&settings, &setup.settings)
        ))
        .file(&setup.folder)
        .remedy(format_args!("{} keeps it as run.N and starts anew", Action::Switch("fresh"))));
    }
    let (device, precision, plan) = (
        trainer.model.kernels.device(),
        trainer.model.kernels.precision(),
        trainer.model.kernels.plan(),
    );
    let state = checkpoint.state;
    if state.device != device || state.precision != precision.name() {
        setup.log.warn(format!(
            "the checkpoint comes from {}, in {}; on {device}, in {precision}, the run goes on with other rounding",
            state.device, state.precision
        ));
    } else if state.plan != plan && setup.engine.take_plan(&state.plan) {
        // Other tiles give other bits: the run keeps its own.
        *trainer = open_trainer(setup, &checkpoint.weights)?;
        setup.log.say(format!("kernels: those of the checkpoint ({})", state.plan));
    } else if state.plan != plan {
        setup.log.warn(format!(
            "the checkpoint was made with other kernels ({}), which cannot be had: with {plan} the run goes on with other rounding",
            state.plan
        ));
    }
    trainer.model.set_weights(&checkpoint.weights);
    let other = |found| {
        Failure::input(
            &setup.folder,
            format!("a checkpoint with {found}"),
            "a checkpoint of this optimizer",
            format_args!(
                "start anew with {}, which keeps the old run as run.N",
                Action::Switch("fresh")
            ),
        )
    };
    trainer.set_slots(&checkpoint.slots).map_err(other)?;
    if state.update.len() == compute::state::LEN {
        let mut update = state.update;
        if state.precision != precision.name() {
            update[compute::state::LOSS_SCALE] = precision.initial_loss_scale();
            update[compute::state::GOOD_STEPS] = 0.0;
        }
        trainer.set_state(&update);
    }
    Ok(ResumePoint { step: state.step, best: state.best, redrawn: state.redrawn })
}

/// The state before the first step.
pub(crate) fn restart(setup: &Setup, trainer: &mut Trainer) {
    trainer.model.set_weights(&first_weights(setup));
    trainer.forget();
}

/// An old run made with other settings moves to `run.N`; so does any old run with `force`.
pub(crate) fn set_aside_if_other(setup: &Setup, force: bool) -> Result<()> {
    let path = setup.folder.join("settings.json");
    let old: Option<Value> =
        stage::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let old = old.map(up_to_date);
    let why = match old {
        _ if !setup.folder.exists() || is_only_begun(&setup.folder) => return Ok(()),
        _ if force => Action::Switch("force").to_string(),
        None if is_a_run(&setup.folder) => return Ok(()),
        None => return Err(in_the_way(&setup.folder)),
        Some(old) if old == setup.settings => return Ok(()),
        Some(old) => format!("settings changed: {}", stage::changed_keys(&old, &setup.settings)),
    };
    let aside =
        (1..).map(|n| setup.folder.with_extension(n.to_string())).find(|path| !path.exists());
    let aside = aside.ok_or_else(|| Failure::usage("no free name run.N"))?;
    std::fs::rename(&setup.folder, &aside).map_err(Failure::writing(&aside))?;
    setup.log.say(format!("{why}: the old run is kept as {}", aside.display()));
    Ok(())
}

/// Refuses a second training in the same folder while this is held.
pub(crate) fn lock(setup: &Setup) -> Result<Lock> {
    let out = setup.folder.parent().unwrap_or(Path::new(""));
    Lock::try_take(out, "train", &setup.log)?.ok_or_else(|| {
        Failure::try_again("another train is at work in it").file(&setup.folder).remedy(
            format_args!(
                "wait until it ends, or give this one a folder of its own with {}",
                Action::Option("out", "DIR")
            ),
        )
    })
}

/// Numbered checkpoints whose stories were not generated: an end that came too soon.
pub(crate) fn without_stories(
    checkpoints: &Checkpoints,
    samples: &Samples,
    first: u64,
) -> Result<Vec<(u64, Vec<f32>)>> {
    let numbered =
        checkpoints.numbered()?.into_iter().filter_map(|path| Some((step_of(&path)?, path)));
    let without = numbered.filter(|(step, _)| *step <= first && !samples.has(*step));
    // One that is damaged is found when it is needed.
    Ok(without
        .filter_map(|(step, path)| Some((step, Checkpoint::load(&path).ok()?.weights)))
        .collect())
}

/// What training makes lies there, if without its settings: a manifest of ours, or a checkpoint that opens with its seal.
/// A name says nothing: others call their weights `best.safetensors`, too.
fn is_a_run(run: &Path) -> bool {
    let entries = std::fs::read_dir(run.join("checkpoints")).into_iter().flatten().flatten();
    let is_named = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        ["step_", "best.", "last."].iter().any(|start| name.starts_with(start))
            && name.contains(".safetensors")
    };
    stage::is_our_manifest(&run.join("manifest.json"))
        || entries
            .map(|entry| entry.path())
            .any(|path| is_named(&path) && Checkpoint::load(&path).is_ok())
}

/// Nothing but what a training that was killed as it began may have left: hidden files on their way.
fn is_only_begun(run: &Path) -> bool {
    let hidden = |entry: std::fs::DirEntry| entry.file_name().as_encoded_bytes().starts_with(b".");
    std::fs::read_dir(run).is_ok_and(|mut entries| entries.all(|entry| entry.is_ok_and(hidden)))
}

fn in_the_way(run: &Path) -> Failure {
    Failure::input(
        run,
        "in the way: it has no readable settings.json, so no training of this program is known to have made it",
        "no folder of that name, or one that training made",
        format_args!("move it away, or set it aside as run.N with {}", Action::Switch("force")),
    )
}
