//! Checkpoints that the disk did not take. They wait in memory and are tried again, so that a run that had a full disk for a
//! while ends with the same files as one that had none.
use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::path::PathBuf;

use model::Checkpoint;
use stage::{Failure, Result};

use crate::checkpoints::{CheckpointName, Checkpoints};

/// Numbered checkpoints that may wait: each is three times the weights, and a run must not run out of memory.
const WAITING: usize = 4;

pub(crate) struct PendingCheckpoint {
    pub checkpoint: Checkpoint,
    pub name: CheckpointName,
}

pub(crate) struct PendingWrites {
    checkpoints: Checkpoints,
    /// loss.jsonl, which has to be on disk as far as a checkpoint goes.
    log: PathBuf,
    /// The oldest first.
    saves: Vec<(PendingCheckpoint, Failure)>,
    /// The newest that was dropped for memory, and its step.
    given_up: Option<(u64, Failure)>,
}

impl PendingWrites {
    pub(crate) fn new(checkpoints: Checkpoints, log: PathBuf) -> Self {
        PendingWrites { checkpoints, log, saves: Vec::new(), given_up: None }
    }

    /// Writes a checkpoint, after all pending ones. Returns its weights, and why it is pending now.
    pub(crate) fn save(&mut self, save: PendingCheckpoint) -> (Vec<f32>, Option<Failure>) {
        self.replace_by(save.name);
        self.retry();
        match self.write(&save) {
            Ok(()) => (save.checkpoint.weights, None),
            Err(failure) => {
                let weights = save.checkpoint.weights.clone();
                self.saves.push((save, failure.clone()));
                self.give_up();
                (weights, Some(failure))
            }
        }
    }

    /// Tries all pending writes again.
    pub(crate) fn retry(&mut self) {
        for (save, _) in std::mem::take(&mut self.saves) {
            if let Err(failure) = self.write(&save) {
                self.saves.push((save, failure));
            }
        }
    }

    /// The run resumes from this step: later checkpoints will be made again.
    pub(crate) fn back_to(&mut self, step: u64) {
        self.saves.retain(|(save, _)| save.checkpoint.state.step <= step);
        self.given_up.take_if(|(given_up, _)| *given_up > step);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.saves.is_empty()
    }

    /// Why something is not on disk, if anything.
    pub(crate) fn into_failure(self) -> Option<Failure> {
        let waiting = self.saves.into_iter().next_back().map(|(_, failure)| failure);
        waiting.or(self.given_up.map(|(step, failure)| {
            Failure::try_again(format_args!("the checkpoint of step {step} is lost, more than {WAITING} could not be written: {failure}"))
        }))
    }

    fn write(&self, save: &PendingCheckpoint) -> Result<()> {
        match OpenOptions::new().write(true).open(&self.log).and_then(|log| log.sync_all()) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            synced => synced.map_err(Failure::writing(&self.log))?,
        }
        self.checkpoints.save(&save.checkpoint, save.name)
    }

    /// A newer `last` or `best` replaces older ones; a numbered checkpoint is unique.
    fn replace_by(&mut self, newer: CheckpointName) {
        self.saves.retain_mut(|(save, _)| match (save.name, newer) {
            (CheckpointName::Best, CheckpointName::Best)
            | (CheckpointName::Last, CheckpointName::Last | CheckpointName::LastAndNumbered) => {
                false
            }
            (
                CheckpointName::LastAndNumbered,
                CheckpointName::Last | CheckpointName::LastAndNumbered,
            ) => {
                save.name = CheckpointName::Numbered;
                true
            }
            _ => true,
        });
    }

    /// Drops the oldest numbered checkpoint if too many wait, or if newer ones would have replaced it by now.
    fn give_up(&mut self) {
        let is_numbered = |(save, _): &(PendingCheckpoint, Failure)| {
            matches!(save.name, CheckpointName::Numbered | CheckpointName::LastAndNumbered)
        };
        let waiting = self.saves.iter().filter(|save| is_numbered(save)).count();
        let stay = self.checkpoints.keep_last().max(1);
        if waiting > stay.min(WAITING)
            && let Some(oldest) = self.saves.iter().position(is_numbered)
        {
            let (save, failure) = self.saves.remove(oldest);
            if waiting <= stay {
                self.given_up = Some((save.checkpoint.state.step, failure));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use model::{Best, CheckpointState, Config, TensorTable};

    use super::*;

    const EVERY: [CheckpointName; 3] =
        [CheckpointName::Best, CheckpointName::LastAndNumbered, CheckpointName::Last];

    fn save(step: u64, name: CheckpointName) -> PendingCheckpoint {
        let sizes = stage::config::Model {
            n_layer: 1,
            n_head: 1,
            n_kv_head: None,
            d_model: 4,
            d_mlp: 4,
            context: 4,
        };
        let config = Config::new(&sizes, 16);
        let weights = vec![step as f32; TensorTable::new(&config).len];
        let state = CheckpointState {
            step,
            config,
            settings: serde_json::json!({}),
            tokenizer_sha256: String::new(),
            device: String::new(),
            precision: String::new(),
            plan: String::new(),
            update: Vec::new(),
            best: Some(Best { step, val_loss: 1.0 }),
            redrawn: Vec::new(),
        };
        PendingCheckpoint {
            checkpoint: Checkpoint {
                state,
                slots: model::Slots::from([("adam_m".into(), weights.clone())]),
                weights,
            },
            name,
        }
    }

    /// A run of these saves, of which the disk takes none from `from` to before `to`. Gives what lies there, name and step.
    fn run(
        saves: &[(u64, CheckpointName)],
        (from, to): (usize, usize),
        keep_last: u32,
    ) -> (Vec<(String, u64)>, PendingWrites) {
        let folder = tempfile::tempdir().unwrap();
        let (checkpoints, away) = (folder.path().join("checkpoints"), folder.path().join("away"));
        fs::create_dir(&checkpoints).unwrap();
        let mut owed = PendingWrites::new(
            Checkpoints::new(folder.path(), keep_last),
            folder.path().join("loss.jsonl"),
        );
        for (i, &(step, name)) in saves.iter().enumerate() {
            if i == from {
                fs::rename(&checkpoints, &away).unwrap();
                fs::write(&checkpoints, "not a folder").unwrap();
            }
            if i == to {
                fs::remove_file(&checkpoints).unwrap();
                fs::rename(&away, &checkpoints).unwrap();
            }
            let (weights, failure) = owed.save(save(step, name));
            assert_eq!((weights[0], failure.is_some()), (step as f32, (from..to).contains(&i)));
        }
        let step = |path: &Path| Checkpoint::load(path).unwrap().state.step;
        let files = fs::read_dir(if checkpoints.is_dir() { &checkpoints } else { &away })
            .unwrap()
            .map(|entry| entry.unwrap());
        let mut found: Vec<_> = files
            .map(|file| (file.file_name().into_string().unwrap(), step(&file.path())))
            .collect();
        found.sort();
        (found, owed)
    }

    #[test]
    fn what_the_disk_did_not_take_is_there_once_it_takes_something() {
        let saves: Vec<_> = (1..6).flat_map(|step| EVERY.map(|name| (step, name))).collect();
        for keep_last in [0, 2] {
            let (undisturbed, _) = run(&saves, (99, 99), keep_last);
            assert_eq!(undisturbed.len(), 2 + keep_last as usize);
            for from in 0..saves.len() - 1 {
                for to in from + 1..saves.len() {
                    let (found, owed) = run(&saves, (from, to), keep_last);
                    assert_eq!(
                        found, undisturbed,
                        "no disk from save {from} to {to}, {keep_last} kept"
                    );
                    assert!(owed.is_empty() && owed.into_failure().is_none());
                }
            }
        }
    }

    #[test]
    fn memory_does_not_grow_while_the_disk_takes_nothing_and_what_is_lost_is_said() {
        let saves: Vec<_> = (1..50).flat_map(|step| EVERY.map(|name| (step, name))).collect();
        let (_, owed) = run(&saves, (9, saves.len()), 2);
        assert_eq!((owed.saves.len(), owed.given_up.is_none()), (4, true)); // two numbered ones, best and last
        let (found, owed) = run(&saves, (9, saves.len() - 1), 100);
        assert_eq!((found.len(), owed.saves.len()), (2 + 3 + WAITING, 0));
        let said = owed.into_failure().unwrap().to_string();
        assert!(said.contains("step 45 is lost"), "{said}");
    }

    #[test]
    fn a_run_that_goes_back_owes_nothing_of_what_it_does_again() {
        let (_, mut owed) = run(
            &[
                (1, CheckpointName::LastAndNumbered),
                (2, CheckpointName::LastAndNumbered),
                (2, CheckpointName::Best),
            ],
            (0, 3),
            3,
        );
        owed.back_to(1);
        assert_eq!(
            owed.saves.iter().map(|(save, _)| save.checkpoint.state.step).collect::<Vec<_>>(),
            [1]
        );
    }
}
