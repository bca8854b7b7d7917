//! `bedtime clean`: removes what the stages made, and nothing else.
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use stage::config::STAGES;
use stage::{Failure, Log, Manifest, Ownership, Result, Shard, all_left_behind};

const AFTER_HELP: &str = "\
Removes from OUT the files that a manifest or record there names with their present content, the manifests, and the
files of a training run in OUT/run that has its settings.json. Everything else stays and is listed with the reason: your
own files, files changed since, runs set aside as run.N, and what lies behind a link.

Examples:
  bedtime clean --config pipelines/tinystories-3m.toml --dry-run
  bedtime clean --out 'my stories/run1'

Exit codes: 0 done; 2 wrong usage or settings; 3 OUT is not a folder that only a pipeline writes to, or nothing in it
belongs to a pipeline; 4 a stage is running in it.";

/// Remove what the stages made in OUT, and nothing else.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Clean {
    #[command(flatten)]
    common: stage::Common,
    /// Only list what would be removed and what would stay
    #[arg(long)]
    dry_run: bool,
}

/// In OUT/run, where `*` stands for any text.
const OF_A_RUN: [&str; 18] = [
    "settings.json",
    "config.toml",
    "loss.jsonl",
    "loss.png",
    "report.html",
    "samples.md",
    "stories.jsonl",
    "manifest.json",
    ".manifest.json.stamp",
    "checkpoints/step_*.safetensors",
    "checkpoints/best.safetensors",
    "checkpoints/last.safetensors",
    "tb/events.out.tfevents.*.bedtime.*",
    "final/config.json",
    "final/generation_config.json",
    "final/model.safetensors",
    "final/tokenizer.json",
    "final/tokenizer_config.json",
];
/// Folders below OUT that only stages write to, inner ones first.
const FOLDERS: [&str; 7] =
    ["raw/.parts", "raw", "tokens", "run/checkpoints", "run/tb", "run/final", "run"];

/// What is removed, and what stays with the reason.
#[derive(Default)]
struct Plan {
    remove: BTreeSet<PathBuf>,
    keep: Vec<(PathBuf, &'static str)>,
}

impl Clean {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let stage = self.common.open("bedtime", "fetch", &serde_json::json!({}))?;
        let out = &stage.out;
        if fs::symlink_metadata(out).is_err() {
            stage.log.say(format!("{} is not there: nothing to remove", out.display()));
            return Ok(());
        }
        refuse_other_folders(out)?;
        let _locks = stage_locks(out)?;
        let plan = Plan::of(out, stage.log)?;
        let verb = if self.dry_run { "would remove" } else { "removed" };
        for path in &plan.remove {
            if !self.dry_run {
                remove(path)?;
            }
            say(&format!("{verb} {}", path.display()));
        }
        for (path, why) in &plan.keep {
            say(&format!("left {}: {why}", path.display()));
        }
        if !self.dry_run {
            let folders = FOLDERS.iter().map(|name| out.join(name)).chain([out.clone()]);
            folders.for_each(|folder| drop(fs::remove_dir(folder))); // only those that are empty
        }
        Ok(())
    }
}

/// A reader who closes stdout does not want to see it.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn remove(path: &Path) -> Result<()> {
    let is_folder = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    let removed = if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::writing(path)(error))
        }
        _ => Ok(()),
    }
}

/// Refuses folders that hold other things, too: a pipeline is not cleaned there.
fn refuse_other_folders(out: &Path) -> Result<()> {
    let real = out.canonicalize().map_err(Failure::reading(out))?;
    let is = |other: Option<PathBuf>| {
        other.and_then(|path| path.canonicalize().ok()).is_some_and(|path| path.starts_with(&real))
    };
    let why = if !real.is_dir() {
        "not a folder"
    } else if is(std::env::current_dir().ok()) {
        "the folder this is run in, or one around it"
    } else if is(std::env::home_dir()) {
        "the home folder, or one around it"
    } else if real.join(".git").exists() || real.join("Cargo.toml").exists() {
        "a folder of source code"
    } else {
        return Ok(());
    };
    Err(Failure::input(
        out,
        why,
        "the OUT folder of a pipeline",
        "name another one with --out DIR; what is in this one stays",
    ))
}

/// The lock files of stages and of their parts that lie in OUT, with the stage of each.
fn lock_files(out: &Path) -> Vec<(PathBuf, &'static str)> {
    let of = |name: &str| {
        let name = name.strip_prefix('.')?.strip_suffix(".lock")?;
        let part = |rest: &str| {
            let (index, of) = rest.strip_prefix('-')?.split_once("-of-")?;
            format!("{index}/{of}").parse::<Shard>().ok()
        };
        let is = |stage: &&&str| {
            name.strip_prefix(**stage).is_some_and(|rest| rest.is_empty() || part(rest).is_some())
        };
        STAGES.iter().map(|(_, program)| program).find(is).copied()
    };
    let entries = fs::read_dir(out).into_iter().flatten().flatten();
    let named =
        entries.filter_map(|entry| Some((entry.path(), of(&entry.file_name().to_string_lossy())?)));
    named.filter(|(path, _)| is_plain_file(path)).collect()
}

/// Held until the end. A stage that holds one is running.
fn stage_locks(out: &Path) -> Result<Vec<fs::File>> {
    let mut held = Vec::new();
    for (path, stage) in lock_files(out) {
        let Ok(file) = stage::open(&path) else { continue };
        if let Err(fs::TryLockError::WouldBlock) = file.try_lock() {
            return Err(Failure::try_again(format_args!("{stage} is running in it"))
                .file(out)
                .remedy("wait until it ends"));
        }
        held.push(file);
    }
    Ok(held)
}

impl Plan {
    fn of(out: &Path, log: Log) -> Result<Self> {
        let mut plan = Plan::default();
        for folder in ["", "raw", "tokens"] {
            plan.add_folder(&out.join(folder), log);
        }
        plan.add_parts(&out.join("raw/.parts"));
        plan.add_run(&out.join("run"));
        if plan.remove.is_empty() {
            return Err(Failure::input(
                out,
                "nothing in it belongs to a pipeline: no manifest, no record, no training",
                "the OUT folder of a pipeline",
                "name another one with --out DIR; what is in this one stays",
            ));
        }
        plan.remove.extend(lock_files(out).into_iter().map(|(lock, _)| lock));
        plan.add_what_stays(out, true);
        Ok(plan)
    }

    /// Files that manifests and records in the folder name, these themselves, and what killed stages left.
    fn add_folder(&mut self, folder: &Path, log: Log) {
        if !is_real_folder(folder) {
            return;
        }
        let owned = Ownership::of(folder, false, log);
        for name in names(folder) {
            let path = folder.join(&name);
            let is_stamp = name.starts_with('.') && name.ends_with(".json.stamp");
            let is_record = name.starts_with('.') && name.ends_with(".record");
            let of = name.trim_start_matches('.');
            let named = of.trim_end_matches(".stamp").trim_end_matches(".record");
            let ours = match () {
                () if is_stamp => is_manifest(&folder.join(named)),
                () if is_record => !stage::records_of(&path).is_empty(),
                () => is_manifest(&path) || owned.is_ours(&name),
            };
            if ours && is_plain_file(&path) {
                self.remove.insert(path);
            }
        }
        self.remove.extend(all_left_behind(folder));
    }

    /// What an interrupted fetch remembers.
    fn add_parts(&mut self, parts: &Path) {
        if !is_real_folder(parts) || parts.parent().is_none_or(|raw| !is_real_folder(raw)) {
            return;
        }
        let is_record = |path: &PathBuf| {
            let sealed = stage::read(path).ok().and_then(|text| stage::unseal(&text).ok());
            sealed.is_some_and(|record| record.get("made").is_some() && record.get("of").is_some())
        };
        let paths = names(parts).into_iter().map(|name| parts.join(name));
        self.remove.extend(paths.filter(|path| is_plain_file(path) && is_record(path)));
        self.remove.extend(all_left_behind(parts));
    }

    fn add_run(&mut self, run: &Path) {
        if !is_real_folder(run) || !is_plain_file(&run.join("settings.json")) {
            return;
        }
        for folder in ["", "checkpoints", "tb", "final"] {
            let folder = run.join(folder);
            if !is_real_folder(&folder) {
                continue;
            }
            for path in names(&folder).into_iter().map(|name| folder.join(name)) {
                let name = path.strip_prefix(run).unwrap_or(&path).to_string_lossy().into_owned();
                let is_listed =
                    OF_A_RUN.iter().any(|listed| fits(&name.replace('\\', "/"), listed));
                if is_listed && is_plain_file(&path) {
                    self.remove.insert(path);
                }
            }
            self.remove.extend(all_left_behind(&folder));
        }
    }

    fn add_what_stays(&mut self, folder: &Path, is_out: bool) {
        for path in names(folder).into_iter().map(|name| folder.join(name)) {
            if self.remove.contains(&path) {
                continue;
            }
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let is_old_run =
                is_out && name.strip_prefix("run.").is_some_and(|n| n.parse::<u32>().is_ok());
            if fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_symlink()) {
                self.keep.push((path, "a link"));
            } else if is_old_run {
                self.keep.push((path, "a run that was set aside"));
            } else if FOLDERS.iter().any(|known| path.ends_with(known)) && path.is_dir() {
                self.add_what_stays(&path, false);
            } else {
                self.keep.push((path, "no manifest names it with this content"));
            }
        }
    }
}

fn is_manifest(path: &Path) -> bool {
    is_plain_file(path)
        && path.extension().is_some_and(|end| end == "json")
        && Manifest::read(path).is_ok()
}

fn is_plain_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file())
}

fn is_real_folder(path: &Path) -> bool {
    // OUT itself, which ends in a slash here, may be a link: it was named.
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// Whether a name matches the list, where `*` stands for any text.
fn fits(name: &str, listed: &str) -> bool {
    match listed.split_once('*') {
        None => name == listed,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|name| {
            rest.is_empty() || name.char_indices().any(|(at, _)| fits(&name[at..], rest))
        }),
    }
}
