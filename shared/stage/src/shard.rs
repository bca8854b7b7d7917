//! `--shard i/n`: one of n jobs that together make the files of a folder, and the manifests they leave there.
use std::path::Path;
use std::str::FromStr;

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
        let parsed = text
            .split_once('/')
            .and_then(|(i, n)| Some(Shard { index: i.parse().ok()?, of: n.parse().ok()? }));
        parsed
            .filter(|shard| (1..=shard.of).contains(&shard.index))
            .ok_or_else(|| format!("{text}: expected I/N with I from 1 to N, for example 2/8"))
    }
}

impl Shard {
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
        format!("{i}/{n}").parse().ok()
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

/// `manifest.json` of a folder, or else the complete set of `manifest-i-of-n.json` in order, all from one setting.
/// `stage` is the stage that writes them and `target` the make target that runs it.
///
/// # Errors
/// Exit code 3: none there, one of them missing, two sets beside each other, other settings in one of them.
pub fn manifests(folder: &Path, stage: &str, target: &str) -> Result<Vec<Manifest>> {
    let whole = folder.join("manifest.json");
    if whole.is_file() {
        return Ok(vec![Manifest::read(&whole)?]);
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
    if let Some(other) = found.iter().find(|shard| shard.of != of) {
        let words = format!("a manifest of {} jobs beside one of {of}", other.of);
        return Err(Failure::input(
            &folder.join(other.manifest_name()),
            words,
            "the jobs of one run",
            format_args!("run `make {target}`"),
        ));
    }
    let mut manifests: Vec<Manifest> = Vec::new();
    for index in 1..=of {
        let path = folder.join(Shard { index, of }.manifest_name());
        if !path.is_file() {
            let remedy =
                format!("run {stage} --shard {index}/{of}, or `make {target}` for all of it");
            return Err(Failure::input(
                &path,
                "not found",
                format_args!("the manifests of all {of} jobs"),
                remedy,
            ));
        }
        let manifest = Manifest::read(&path)?;
        if let Some(first) = manifests.first()
            && first.config != manifest.config
        {
            let found = format!(
                "made with other settings than job 1: {}",
                crate::manifest::changed_keys(&first.config, &manifest.config)
            );
            let remedy =
                format!("run {stage} --shard I/{of} again for every I with the same settings");
            return Err(Failure::input(&path, found, "one setting for all jobs", remedy));
        }
        manifests.push(manifest);
    }
    Ok(manifests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_share_the_files_out() {
        let shards: Vec<Shard> =
            ["1/3", "2/3", "3/3"].iter().map(|text| text.parse().unwrap()).collect();
        for file in 0..10 {
            assert_eq!(shards.iter().filter(|shard| shard.makes(file)).count(), 1);
        }
        assert_eq!(Shard::of_manifest_name(&shards[1].manifest_name()), Some(shards[1]));
        for bad in ["0/3", "4/3", "1", "1/0", "a/b"] {
            assert!(bad.parse::<Shard>().is_err(), "{bad}");
        }
    }
}
