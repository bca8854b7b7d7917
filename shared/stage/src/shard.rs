//! `--shard i/n`: one of n jobs that together make the files of a folder, and the manifests they leave there.
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::manifest::changed_keys;
use crate::{Failure, Manifest, Result};

/// One of `of` jobs, `index` from 1: it makes the files whose index is `index - 1` modulo `of`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Which of them, from 1.
    pub index: u32,
    /// Number of jobs.
    pub of: u32,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if text == "auto" {
            return Self::of_engine(|name| std::env::var(name).ok());
        }
        let parsed = text
            .split_once('/')
            .and_then(|(i, n)| Some(Shard { index: i.parse().ok()?, of: n.parse().ok()? }));
        parsed.filter(|shard| (1..=shard.of).contains(&shard.index)).ok_or_else(|| {
            format!("{text}: expected I/N with I from 1 to N, for example 2/8, or auto")
        })
    }
}

impl Shard {
    /// The part that the scheduler assigned to this process: a Slurm array task, or an indexed Kubernetes job.
    fn of_engine(variable: impl Fn(&str) -> Option<String>) -> std::result::Result<Self, String> {
        let number = |name: &str| {
            let text = variable(name).ok_or_else(|| format!("{name} is not set"))?;
            text.parse::<u32>().map_err(|_| format!("{name}={text}: expected a whole number"))
        };
        if variable("SLURM_ARRAY_TASK_ID").is_some() {
            let [id, min, of] =
                ["ID", "MIN", "COUNT"].map(|end| number(&format!("SLURM_ARRAY_TASK_{end}")));
            let (id, min, of) = (id?, min?, of?);
            let step = match variable("SLURM_ARRAY_TASK_STEP") {
                Some(_) => number("SLURM_ARRAY_TASK_STEP")?.max(1),
                None => 1,
            };
            let index = id.checked_sub(min).filter(|past| past % step == 0).map(|past| past / step);
            // An array of one task that is not the first was split off another array. Which part that was is unknown.
            let alone = of == 1 && min > 1;
            return match index.filter(|&index| index < of && !alone) {
                Some(index) => Ok(Shard { index: index + 1, of }),
                None => Err(format!(
                    "SLURM_ARRAY_TASK_ID={id}, _MIN={min}, _COUNT={of}, _STEP={step}: not an array without gaps\n  expected: sbatch --array=1-N for N jobs\n  remedy: run one of them again with scontrol requeue, or name it with --shard I/N"
                )),
            };
        }
        if variable("JOB_COMPLETION_INDEX").is_some() {
            let (index, of) = (number("JOB_COMPLETION_INDEX")?, number("JOB_COMPLETIONS")?);
            return match index < of {
                true => Ok(Shard { index: index + 1, of }),
                false => Err(format!(
                    "JOB_COMPLETION_INDEX={index}: expected less than JOB_COMPLETIONS={of}"
                )),
            };
        }
        Err("neither SLURM_ARRAY_TASK_ID nor JOB_COMPLETION_INDEX is set\n  expected: an array of Slurm, or an indexed job of Kubernetes with JOB_COMPLETIONS in its environment\n  remedy: --shard I/N".into())
    }

    /// Whether this job makes the file of this index, from 0.
    pub fn makes(self, file: u32) -> bool {
        file % self.of == self.index - 1
    }

    /// `manifest-2-of-8.json`
    pub fn manifest_name(self) -> String {
        format!("manifest-{}-of-{}.json", self.index, self.of)
    }

    /// The job that leaves a manifest of this name.
    pub fn of_manifest_name(name: &str) -> Option<Self> {
        let (i, n) = name.strip_prefix("manifest-")?.strip_suffix(".json")?.split_once("-of-")?;
        let shard: Shard = format!("{i}/{n}").parse().ok()?;
        (shard.manifest_name() == name).then_some(shard)
    }

    /// Whether this is the manifest of another job of the same set.
    pub fn is_beside_manifest(self, name: &str) -> bool {
        Self::of_manifest_name(name)
            .is_some_and(|other| other.of == self.of && other.index != self.index)
    }

    /// The jobs that left a manifest in a folder, in order.
    pub fn in_folder(folder: &Path) -> Vec<Self> {
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        let mut shards: Vec<Shard> = entries
            .filter_map(|entry| Self::of_manifest_name(&entry.ok()?.file_name().to_string_lossy()))
            .collect();
        shards.sort_unstable_by_key(|shard| (shard.of, shard.index));
        shards
    }
}

/// A fact that all jobs of a set must agree on: the commit of a remote source.
pub const REVISION: &str = "revision";
/// Another: the SHA-256 of the source's listing.
pub const LISTING: &str = "listing_sha256";

/// The `manifest.json` of a folder, or a complete set of `manifest-i-of-n.json` in order, all made from the same inputs by
/// the same version with the same settings. `stage` writes them, and the make target `target` runs that stage.
///
/// # Errors
/// Exit code 3: there is none, one is missing, two incomplete sets lie side by side, or one differs from the first.
pub fn manifests(folder: &Path, stage: &str, target: &str) -> Result<Vec<(PathBuf, Manifest)>> {
    let whole = folder.join("manifest.json");
    if whole.is_file() {
        let manifest = Manifest::read(&whole)?;
        return Ok(vec![(whole, manifest)]);
    }
    let found = Shard::in_folder(folder);
    let Some(&Shard { of, .. }) = found.first() else {
        return Err(Failure::input(
            &whole,
            "not found",
            format_args!("the results of {stage}"),
            format_args!("run `make {target}`"),
        ));
    };
    // Beside a complete set there may be others that do not contradict it: of a job without files, or incomplete ones.
    let is_complete = |set: &&[Shard]| set.first().is_some_and(|job| set.len() == job.of as usize);
    let complete = found.chunk_by(|a, b| a.of == b.of).find(is_complete);
    let Some(set) = complete else { return Err(incomplete(folder, stage, target, &found, of)) };
    let mut manifests: Vec<(PathBuf, Manifest)> = Vec::new();
    for job in set {
        let path = folder.join(job.manifest_name());
        let manifest = Manifest::read(&path)?;
        let first = manifests.first().map(|(_, first)| first);
        if let Some((found, expected)) = first.and_then(|first| difference(first, &manifest)) {
            let remedy = format!("run {stage} --shard I/{} --force again for every I", job.of);
            return Err(Failure::input(&path, found, expected, remedy));
        }
        manifests.push((path, manifest));
    }
    Ok(manifests)
}

fn incomplete(folder: &Path, stage: &str, target: &str, found: &[Shard], of: u32) -> Failure {
    if let Some(other) = found.iter().find(|shard| shard.of != of) {
        return Failure::input(
            &folder.join(other.manifest_name()),
            format_args!("a manifest of {} jobs beside one of {of}", other.of),
            "the jobs of one run",
            format_args!("run `make {target}`"),
        );
    }
    let missing = (1..=of).find(|&index| !found.contains(&Shard { index, of })).unwrap_or(of);
    Failure::input(
        &folder.join(Shard { index: missing, of }.manifest_name()),
        "not found",
        format_args!("the manifests of all {of} jobs"),
        format_args!("run {stage} --shard {missing}/{of}, or `make {target}` for all of it"),
    )
}

/// Why a job's files cannot be merged with those of job 1: what was found, and what was expected.
fn difference(first: &Manifest, other: &Manifest) -> Option<(String, &'static str)> {
    if first.program != other.program {
        let found = format!("made by {}, job 1 by {}", other.program, first.program);
        return Some((found, "one version of the program for all jobs"));
    }
    if first.config != other.config {
        let changed = changed_keys(&first.config, &other.config);
        let found = format!("made with other settings or from other inputs than job 1: {changed}");
        return Some((found, "one setting and the same inputs for all jobs"));
    }
    for fact in [REVISION, LISTING] {
        let of = |manifest: &Manifest| match manifest.facts.get(fact) {
            Some(value) => value.as_str().map_or_else(|| value.to_string(), str::to_owned),
            None => "none".to_owned(),
        };
        if of(first) != of(other) {
            let found = format!("its {fact} is {}, that of job 1 {}", of(other), of(first));
            return Some((found, "one state of the source for all jobs"));
        }
    }
    let changed = other.inputs.iter().find_map(|input| {
        let same = first.inputs.iter().find(|first| first.name == input.name)?;
        (same != input).then(|| {
            format!(
                "its input {} has SHA-256 {}, that of job 1 {}",
                input.name, input.sha256, same.sha256
            )
        })
    });
    changed.map(|found| (found, "the same inputs for all jobs"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FileRecord, Work};

    #[test]
    fn jobs_share_the_files_out() {
        let shards: Vec<Shard> =
            ["1/3", "2/3", "3/3"].iter().map(|text| text.parse().unwrap()).collect();
        for file in 0..10 {
            assert_eq!(shards.iter().filter(|shard| shard.makes(file)).count(), 1);
        }
        assert_eq!(Shard::of_manifest_name(&shards[1].manifest_name()), Some(shards[1]));
        assert_eq!(Shard::of_manifest_name("manifest-02-of-3.json"), None);
        for bad in ["0/3", "4/3", "1", "1/0", "a/b"] {
            assert!(bad.parse::<Shard>().is_err(), "{bad}");
        }
    }
    #[test]
    fn the_part_is_what_slurm_and_kubernetes_say() {
        let of = |variables: &[(&str, &str)]| {
            Shard::of_engine(|name| {
                variables
                    .iter()
                    .find(|(other, _)| *other == name)
                    .map(|(_, value)| (*value).to_owned())
            })
        };
        let slurm = |id, min, count, step| {
            of(&[
                ("SLURM_ARRAY_TASK_ID", id),
                ("SLURM_ARRAY_TASK_MIN", min),
                ("SLURM_ARRAY_TASK_COUNT", count),
                ("SLURM_ARRAY_TASK_STEP", step),
            ])
        };
        let shard = |index, of| Ok(Shard { index, of });
        assert_eq!(slurm("1", "1", "64", "1"), shard(1, 64));
        assert_eq!(slurm("63", "0", "64", "1"), shard(64, 64));
        assert_eq!(slurm("30", "10", "4", "10"), shard(3, 4));
        assert_eq!(slurm("1", "1", "1", "1"), shard(1, 1));
        assert_eq!(of(&[("JOB_COMPLETION_INDEX", "0"), ("JOB_COMPLETIONS", "8")]), shard(1, 8));
        for (wrong, words) in [
            (slurm("7", "7", "1", "1"), "scontrol requeue"),
            (slurm("9", "1", "3", "1"), "without gaps"),
            (slurm("12", "10", "4", "10"), "without gaps"),
            (slurm("a", "1", "4", "1"), "SLURM_ARRAY_TASK_ID=a"),
            (of(&[("SLURM_ARRAY_TASK_ID", "1")]), "SLURM_ARRAY_TASK_MIN is not set"),
            (of(&[("JOB_COMPLETION_INDEX", "0")]), "JOB_COMPLETIONS is not set"),
            (of(&[("JOB_COMPLETION_INDEX", "8"), ("JOB_COMPLETIONS", "8")]), "less than"),
            (of(&[]), "neither SLURM_ARRAY_TASK_ID nor JOB_COMPLETION_INDEX"),
        ] {
            assert!(wrong.as_ref().unwrap_err().contains(words), "{wrong:?}");
        }
    }

    fn part(index: u32, of: u32) -> Manifest {
        let input = |name: &str, sha256: &str| FileRecord {
            name: name.into(),
            bytes: 1,
            sha256: sha256.into(),
        };
        let work = Work {
            stage: "test",
            manifest: PathBuf::new(),
            inputs: vec![],
            config: serde_json::json!({ "lr": 1 }),
        };
        let own = format!("own-{index}-of-{of}");
        work.manifest_of(vec![input("both", "aa"), input(&own, &own)], vec![])
    }

    #[test]
    fn parts_are_put_together_only_where_all_they_are_made_from_is_the_same() {
        type Change = fn(&mut Manifest);
        let changes: [(Change, &str); 6] = [
            (|m| m.program = "bedtime 9.9.9".into(), "bedtime 9.9.9"),
            (|m| m.config = serde_json::json!({ "lr": 2 }), "lr 1 -> 2"),
            (
                |m| drop(m.facts.insert(REVISION.into(), "c0ffee".into())),
                "c0ffee, that of job 1 none",
            ),
            (|m| drop(m.facts.insert(LISTING.into(), "f00d".into())), "f00d"),
            (|m| m.inputs[0].sha256 = "bb".into(), "both has SHA-256 bb, that of job 1 aa"),
            (|m| m.inputs[1].sha256 = "other".into(), ""),
        ];
        for (change, words) in changes {
            let folder = tempfile::tempdir().unwrap();
            let write = |manifest: &Manifest, index, of| {
                manifest.write(&folder.path().join(Shard { index, of }.manifest_name())).unwrap()
            };
            write(&part(1, 2), 1, 2);
            let mut second = part(2, 2);
            change(&mut second);
            write(&second, 2, 2);
            let read = manifests(folder.path(), "tokenize", "tokenize");
            if words.is_empty() {
                assert_eq!(read.unwrap().len(), 2, "an input of its own");
                continue;
            }
            let error = read.unwrap_err();
            assert_eq!(error.exit_code(), 3);
            for text in ["manifest-2-of-2.json", words, "--shard I/2 --force"] {
                assert!(error.to_string().contains(text), "{text}: {error}");
            }
        }
    }

    #[test]
    fn a_complete_set_counts_whatever_lies_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let write = |index, of| {
            part(index, of).write(&folder.path().join(Shard { index, of }.manifest_name())).unwrap()
        };
        let read = || manifests(folder.path(), "tokenize", "tokenize");
        write(40, 64);
        assert!(read().unwrap_err().to_string().contains("--shard 1/64"));
        write(1, 2);
        assert!(read().unwrap_err().to_string().contains("64 jobs beside one of 2"));
        write(2, 2);
        assert_eq!(read().unwrap().len(), 2);
    }
}
