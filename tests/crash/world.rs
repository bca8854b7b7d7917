//! An undisturbed pipeline, and for each stage what lies in OUT before it and after it.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use model::{Best, Checkpoint};
use tests::faults::{self, Calls};
use tests::tree::{self, Tree};
use tests::{DATA_STAGES, Ended, Run, STAGES};

/// Sizes that keep every stage between a tenth of a second and a second on two cores.
const SETTINGS: [&str; 18] = [
    "fetch.max_stories=4000",
    "tokenizer.vocab_size=600",
    "tokenizer.max_stories=4000",
    "train.device=cpu",
    "train.steps=24",
    "train.batch=8",
    "train.log_every=5",
    "train.val_every=10",
    "train.val_windows=16",
    "train.checkpoint_every=8",
    "train.keep_last=9",
    "eval.device=cpu",
    "eval.stride=48",
    "sample.device=cpu",
    "sample.max_tokens=60",
    "sample.n=2",
    "tokenize.shards=3",
    "pack.seed=3",
];

pub(crate) struct World {
    run: Run,
    stages: BTreeMap<&'static str, Undisturbed>,
}

/// A stage that nobody disturbed.
pub(crate) struct Undisturbed {
    pub before: Tree,
    pub after: Tree,
    /// OUT as it was before.
    folder: PathBuf,
    pub stdout: String,
    pub seconds: f64,
    /// None without the shim.
    pub calls: Option<Calls>,
}

pub(crate) fn usual() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        World::new(SETTINGS.iter().fold(Run::new(), |run, setting| run.set(*setting)), &STAGES)
    })
}

/// Enough tokens that pack-bin sorts them on disk: bytes are tokens, and there is more of them than it sorts in memory.
pub(crate) fn many_tokens() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let settings = [
            "fetch.max_stories=45000",
            "tokenizer.vocab_size=258",
            "tokenizer.max_stories=100",
            "tokenize.shards=4",
        ];
        World::new(settings.iter().fold(Run::new(), |run, setting| run.set(*setting)), &STAGES[..4])
    })
}

/// Training that goes on from a late step with realistic cadences: it passes a numbered checkpoint, a validation and a line
/// of the log shortly before its end. The state it begins with is one that a run has there, powers of Adam's betas included.
pub(crate) fn late(step: u64) -> World {
    let model = SETTINGS
        .iter()
        .filter(|setting| !setting.contains("_every") && !setting.starts_with("train.steps"));
    let settings = model.fold(Run::new(), |run, setting| run.set(*setting));
    let cadences = ["train.checkpoint_every=500", "train.val_every=250", "train.log_every=50"];
    let run = cadences.iter().fold(settings, |run, setting| run.set(*setting));
    run.through(&DATA_STAGES);
    // The checkpoint of a short run, moved to that step.
    run.run("train", &["--steps", "8"]).ok();
    let path = run.path("run/checkpoints/last.safetensors");
    let mut checkpoint = Checkpoint::load(&path).unwrap();
    let end = step + 24;
    let state = &mut checkpoint.state;
    state.step = step;
    state.settings["steps"] = end.into();
    let power = |beta: f32| (0..step).fold(1.0f32, |power, _| power * beta);
    state.update[compute::state::BETA1_POWER] = power(0.9);
    state.update[compute::state::BETA2_POWER] = power(0.95);
    state.best = Some(Best { step: step - 1, val_loss: 9.0 });
    std::fs::remove_dir_all(run.path("run")).unwrap();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    checkpoint.save(&path).unwrap();
    World::new(run.set(format!("train.steps={end}")), &["train"])
}

impl World {
    /// Runs the pipeline, each stage three times from the same files: what is compared with has to repeat itself.
    fn new(run: Run, stages: &[&'static str]) -> Self {
        let mut world = World { run, stages: BTreeMap::new() };
        std::fs::create_dir_all(world.run.path("")).unwrap();
        for &stage in stages {
            let folder = world.run.input(&format!("before-{stage}"));
            tree::copy(&world.run.path(""), &folder);
            let mut undisturbed: Option<Undisturbed> = None;
            for _ in 0..3 {
                let place = Place::new(&world, &folder);
                let report = place.run.input("report");
                let started = Instant::now();
                let ended = place.ended(stage, None).ok();
                let seconds = started.elapsed().as_secs_f64();
                let (after, calls) = (place.tree(), Calls::read_from(&report));
                match &mut undisturbed {
                    Some(first) => {
                        let differences = tree::differences(&first.after, &after);
                        assert!(
                            differences.is_empty() && first.stdout == result(stage, &ended),
                            "{stage} twice: {differences:#?}"
                        );
                        first.seconds = first.seconds.min(seconds);
                    }
                    None => {
                        let (before, stdout) = (tree::tree(&folder), result(stage, &ended));
                        undisturbed = Some(Undisturbed {
                            before,
                            after,
                            folder: folder.clone(),
                            stdout,
                            seconds,
                            calls,
                        });
                    }
                }
            }
            world.stages.extend(undisturbed.map(|undisturbed| (stage, undisturbed)));
            world.run.through(&[stage]);
        }
        world
    }

    pub(crate) fn stage(&self, stage: &str) -> &Undisturbed {
        &self.stages[stage]
    }

    /// A fresh OUT as it is before the stage.
    pub(crate) fn before(&self, stage: &str) -> Place {
        Place::new(self, &self.stages[stage].folder)
    }

    /// A fresh OUT as it is after all stages.
    pub(crate) fn finished(&self) -> Place {
        Place::new(self, &self.run.path(""))
    }
}

/// What a stage gives on stdout, where that is its result: the rest names folders and rates.
pub(crate) fn result(stage: &str, ended: &Ended) -> String {
    if stage == "sample" { ended.stdout.clone() } else { String::new() }
}

/// An OUT of its own, gone when dropped.
pub(crate) struct Place {
    pub run: Run,
}

impl Place {
    fn new(world: &World, files: &Path) -> Self {
        let run = world.run.beside();
        tree::copy(files, &run.path(""));
        Place { run }
    }

    pub(crate) fn out(&self) -> PathBuf {
        self.run.path("")
    }

    pub(crate) fn tree(&self) -> Tree {
        tree::tree(&self.out())
    }

    /// The stage, with the shim where there is one.
    fn command(&self, stage: &str, fault: Option<&str>) -> Command {
        let mut command = self.run.command(stage);
        if let Some(shim) = faults::shim() {
            faults::preload(&mut command, shim, &self.out(), fault, &self.run.input("report"));
        }
        command
    }

    /// Runs it to its end.
    pub(crate) fn ended(&self, stage: &str, fault: Option<&str>) -> Ended {
        let _ = std::fs::remove_file(self.run.input("report"));
        let ended = Ended::of(self.command(stage, fault).output().unwrap(), stage);
        assert!(!ended.stderr.contains("panicked"), "{stage} with {fault:?}:\n{}", ended.stderr);
        ended
    }

    /// What the shim counted in the last run that ended by itself.
    pub(crate) fn calls(&self) -> Calls {
        Calls::read_from(&self.run.input("report")).unwrap_or_default()
    }

    fn start(&self, stage: &str, fault: Option<&str>) -> Child {
        self.command(stage, fault).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// SIGKILL after a while, whether it has ended by then or not.
    pub(crate) fn killed_after(&self, stage: &str, time: Duration) -> ExitStatus {
        let (mut child, started) = (self.start(stage, None), Instant::now());
        std::thread::sleep(time.saturating_sub(started.elapsed()));
        let _ = child.kill();
        child.wait().unwrap()
    }

    /// A signal that asks for the end, after a while; how it then ended.
    pub(crate) fn signalled_after(&self, stage: &str, time: Duration, signal: &str) -> ExitStatus {
        let (mut child, started) = (self.start(stage, None), Instant::now());
        std::thread::sleep(time.saturating_sub(started.elapsed()));
        let mut kill = Command::new("kill");
        kill.args([&format!("-{signal}"), &child.id().to_string()]);
        // A process that has ended by now is no error.
        let _ = kill.stderr(Stdio::null()).status();
        child.wait().unwrap()
    }

    /// Killed by the shim, at a call.
    pub(crate) fn killed_at(&self, stage: &str, fault: &str) -> ExitStatus {
        self.start(stage, Some(fault)).wait().unwrap()
    }
}
