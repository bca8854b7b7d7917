//! Full disks, folders that cannot be written, I/O errors and clocks that jump. Nothing under a final name is ever half
//! written, no stage panics, the exit code is the right one, and once the world is good again the same command ends with
//! the bytes of an undisturbed run.
use std::fs::{self, FileTimes};
use std::time::{Duration, SystemTime};

use libtest_mimic::Failed;
use stage::Random;
use tests::disk::{FILLER, SmallDisk};
use tests::{Ended, faults, tree};

use crate::is_long;
use crate::world::{Place, Undisturbed, result, usual};

type Outcome = Result<(), Failed>;

/// What is looked at after a fault, and what is wrong so far.
struct Check<'a> {
    stage: &'static str,
    undisturbed: &'a Undisturbed,
    wrong: Vec<String>,
}

impl<'a> Check<'a> {
    fn new(stage: &'static str) -> Self {
        Check { stage, undisturbed: usual().stage(stage), wrong: Vec::new() }
    }

    fn note(&mut self, what: &str, lines: impl IntoIterator<Item = String>) {
        self.wrong.extend(lines.into_iter().map(|line| format!("{}, {what}: {line}", self.stage)));
    }

    /// After the fault: how it ended, what it said, and what lies under final names.
    fn after(&mut self, what: &str, place: &Place, ended: &Ended, codes: &[i32], words: &[&str]) {
        if !codes.contains(&ended.code) {
            self.note(
                what,
                [format!("ended with {}, expected {codes:?}: {}", ended.code, ended.stderr)],
            );
        }
        if ended.code != 0 && !words.iter().any(|word| ended.stderr.contains(word)) {
            self.note(what, [format!("said none of {words:?}: {}", ended.stderr)]);
        }
        self.note(
            what,
            tree::half_written(&self.undisturbed.before, &self.undisturbed.after, &place.out()),
        );
        if ended.code == 0 {
            self.is_right(what, place, ended);
        }
    }

    /// The result is there, and is that of an undisturbed run. Checkpoints that were taken for damaged may lie beside it.
    fn is_right(&mut self, what: &str, place: &Place, ended: &Ended) {
        let mut found = place.tree();
        found.retain(|name, _| !name.ends_with(".damaged") && name != FILLER);
        self.note(what, tree::differences(&self.undisturbed.after, &found));
        if result(self.stage, ended) != self.undisturbed.stdout {
            self.note(what, ["stdout differs".into()]);
        }
    }

    /// Nothing of an ended process is left but what it finished.
    fn no_partials(&mut self, what: &str, place: &Place) {
        self.note(
            what,
            place.run.partials().iter().map(|path| format!("{} is left", path.display())),
        );
    }

    fn goes_on(&mut self, what: &str, place: &Place) {
        let ended = place.ended(self.stage, None);
        if ended.code != 0 {
            self.note(what, [format!("run again it ends with {}: {}", ended.code, ended.stderr)]);
        }
        self.is_right(&format!("{what}, then run again"), place, &ended);
    }

    fn end(self) -> Outcome {
        if self.wrong.is_empty() {
            Ok(())
        } else {
            Err(format!("{}\n{}", self.wrong.len(), self.wrong.join("\n")).into())
        }
    }
}

/// Calls 1 to `calls`: all in the long form, else `few` of them, the first and the last among them.
fn some(calls: u64, few: u64) -> Vec<u64> {
    if is_long() && calls <= 80 || calls <= few {
        return (1..=calls).collect();
    }
    let few = if is_long() { 40 } else { few };
    (0..few).map(|i| 1 + i * (calls - 1) / (few - 1).max(1)).collect()
}

/// How many calls of a kind the stage makes, None without the shim.
fn calls(check: &Check, kind: &str) -> Option<u64> {
    faults::shim().and(check.undisturbed.calls).map(|calls| calls.of(kind))
}

/// The disk is full from one write on, in the middle of it.
pub(crate) fn no_space_at_a_write(stage: &'static str) -> Outcome {
    let mut check = Check::new(stage);
    for number in some(calls(&check, "write").unwrap_or(0), 3) {
        let (what, place) = (format!("no space from write {number} on"), usual().before(stage));
        let ended = place.ended(stage, Some(&format!("enospc write {number}")));
        check.after(&what, &place, &ended, &[0, 4], &["the disk is full"]);
        check.no_partials(&what, &place);
        check.goes_on(&what, &place);
    }
    check.end()
}

/// One write, sync or rename fails.
pub(crate) fn an_error_at_a_call(stage: &'static str) -> Outcome {
    let mut check = Check::new(stage);
    for kind in ["write", "sync", "change"] {
        for number in some(calls(&check, kind).unwrap_or(0), 2) {
            let (what, place) = (format!("an error at {kind} {number}"), usual().before(stage));
            let ended = place.ended(stage, Some(&format!("eio {kind} {number}")));
            check.after(&what, &place, &ended, &[0, 4], &["writing failed", "Input/output error"]);
            if kind != "change" {
                check.no_partials(&what, &place); // a file that cannot be removed stays
            }
            check.goes_on(&what, &place);
        }
    }
    check.end()
}

/// One write, sync or rename of a checkpoint fails, or the sync of the log before it: the run tries again and lacks nothing
/// at its end.
pub(crate) fn an_error_at_a_checkpoint() -> Outcome {
    let mut check = Check::new("train");
    if faults::shim().is_none() {
        return Ok(());
    }
    for call in [
        "write 1 step_00000008",
        "sync 1 step_00000008",
        "change 1 step_00000008",
        "change 1 step_00000024", // at the last step
        "write 1 best",
        "change 1 best",
        "change 2 last", // where the first one fails, a copy takes the place of the link
        "sync 2 loss.jsonl", // the first one is before any step
    ] {
        let (what, place) = (format!("an error at {call}"), usual().before("train"));
        let ended = place.ended("train", Some(&format!("eio {call}")));
        check.after(&what, &place, &ended, &[0], &[]);
        check.no_partials(&what, &place);
        if !ended.stderr.contains("all is written again") {
            check.note(&what, [format!("nothing was tried again: {}", ended.stderr)]);
        }
    }
    check.end()
}

/// One read fails: bad input, or worth another try; where the stage can do without it, it does.
pub(crate) fn an_error_at_a_read(stage: &'static str) -> Outcome {
    let mut check = Check::new(stage);
    for number in some(calls(&check, "read").unwrap_or(0), 4) {
        let (what, place) = (format!("an error at read {number}"), usual().before(stage));
        let ended = place.ended(stage, Some(&format!("eio read {number}")));
        check.after(&what, &place, &ended, &[0, 3, 4], &["Input/output error", "os error 5"]);
        check.no_partials(&what, &place);
        check.goes_on(&what, &place);
    }
    check.end()
}

/// A disk with room for a part of the result, then for all of it.
pub(crate) fn a_small_disk(stage: &'static str) -> Outcome {
    let mut check = Check::new(stage);
    let kib = |tree: &tree::Tree| {
        tree.values().map(|bytes| bytes.len().div_ceil(4096) as u64 * 4 + 4).sum::<u64>()
    };
    let (before, after) = (kib(&check.undisturbed.before), kib(&check.undisturbed.after));
    for part in if is_long() { vec![0.1, 0.3, 0.5, 0.7, 0.9] } else { vec![0.1, 0.6] } {
        let place = usual().finished();
        fs::remove_dir_all(place.out()).unwrap();
        let what = format!("{:.0} % of the space it needs", part * 100.0);
        let Some(disk) = SmallDisk::mount(&place.out(), before * 2 + after * 2 + 256) else {
            return Ok(());
        };
        tree::copy(&usual().before(stage).out(), &place.out());
        disk.fill(((after - before) as f64 * part * 1024.0) as u64);
        let ended = place.ended(stage, None);
        check.after(
            &what,
            &place,
            &ended,
            if stage == "sample" { &[0] } else { &[0, 4] },
            &["the disk is full"],
        );
        check.no_partials(&what, &place);
        if part == 0.1 && after > before + 40 && ended.code != 4 {
            check.note(&what, [format!("ended with {}", ended.code)]);
        }
        fs::remove_file(place.run.path(FILLER)).unwrap();
        check.goes_on(&what, &place);
    }
    check.end()
}

/// What has to be made cannot be; what is there already, and stories, can be had.
pub(crate) fn a_folder_to_read_only(stage: &'static str) -> Outcome {
    let mut check = Check::new(stage);
    let place = usual().finished();
    fs::remove_dir_all(place.out()).unwrap();
    let Some(disk) = SmallDisk::mount(&place.out(), 64 << 10) else { return Ok(()) };
    tree::copy(&usual().before(stage).out(), &place.out());
    disk.remount("ro");
    let ended = place.ended(stage, None);
    let code = if stage == "sample" { 0 } else { 2 };
    check.after("to read only", &place, &ended, &[code], &["cannot be written"]);
    disk.remount("rw");
    check.goes_on("to write again", &place);
    // Copied, so that its times fit no stamp: looked at by content, and then no word about the stamp that cannot be kept.
    let copied = usual().finished().tree();
    for (name, bytes) in &copied {
        fs::create_dir_all(place.run.path(name).parent().unwrap()).unwrap();
        fs::write(place.run.path(name), bytes).unwrap();
    }
    disk.remount("ro");
    let ended = place.ended(stage, None);
    if ended.code != 0 || (stage != "sample" && !ended.stderr.contains("up to date")) {
        check.note(
            "finished, and to read only",
            [format!("ended with {}: {}", ended.code, ended.stderr)],
        );
    }
    check.end()
}

/// The time of day jumps by years while the stage works, and files come from before 1970 and from far ahead.
pub(crate) fn a_clock_that_jumps(stage: &'static str) -> Outcome {
    let mut check = Check::new(stage);
    let day = Duration::from_secs(86_400);
    for (seconds, time) in [
        ("-3000000000", SystemTime::UNIX_EPOCH - 300 * day),
        ("+3000000000", SystemTime::now() + 20_000 * day),
        ("-86400", SystemTime::now() - day),
    ] {
        for number in some(calls(&check, "clock").unwrap_or(0).max(1), 2) {
            let (what, place) =
                (format!("a clock {seconds} s off from call {number} on"), usual().before(stage));
            for file in tests::files_below(&place.out()) {
                let file = fs::OpenOptions::new().write(true).open(file).unwrap();
                file.set_times(FileTimes::new().set_modified(time)).unwrap();
            }
            let ended = place.ended(stage, Some(&format!("{seconds} clock {number}")));
            check.after(&what, &place, &ended, &[0], &[]);
            if stage != "sample" {
                let again = place.ended(stage, Some(&format!("{seconds} clock 1")));
                if !again.stderr.contains("up to date") {
                    check.note(&what, [format!("made again: {}", again.stderr)]);
                }
            }
        }
    }
    check.end()
}

/// Files that a stage reads: its inputs, what says what they are, and what it left itself, half-way.
fn read_by(stage: &str) -> &'static [&'static str] {
    match stage {
        "train-tokenizer" => &["raw/manifest.json", "raw/train-00000-of-00001.parquet"],
        "tokenize" => &[
            "raw/manifest.json",
            "raw/train-00000-of-00001.parquet",
            "tokenizer.json",
            "tokenizer.manifest.json",
        ],
        "pack-bin" => {
            &["tokens/manifest.json", "tokens/train-00000-of-00003.arrow", "tokenizer.json"]
        }
        "train" => &[
            "train.bin",
            "train.bin.json",
            "val.bin",
            "val.bin.json",
            "tokenizer.json",
            "run/checkpoints/last.safetensors",
        ],
        "eval-ppl" => &[
            "val.bin",
            "val.bin.json",
            "run/final/model.safetensors",
            "run/final/config.json",
            "run/manifest.json",
        ],
        "sample" => {
            &["run/final/model.safetensors", "run/final/config.json", "run/final/tokenizer.json"]
        }
        _ => &[],
    }
}

/// A bit flipped, or the end cut off, in a file that the stage reads: it says so and publishes nothing, or ends with the
/// right result. In neither case does it take a gigabyte.
pub(crate) fn a_damaged_file(stage: &'static str) -> Outcome {
    let mut check = Check::new(stage);
    let mut random = Random::new(1, "damage", stage.len() as u64);
    for name in read_by(stage) {
        for number in 0..if is_long() { 12 } else { 2 } {
            let place = usual().before(stage);
            let path = place.run.path(name);
            if stage == "train" && name.starts_with("run/") {
                // Some steps are done: what is damaged then is a checkpoint.
                let ended = place.ended(stage, Some("eio change 20"));
                assert!(
                    path.exists() || faults::shim().is_none(),
                    "no checkpoint yet: {}",
                    ended.stderr
                );
                if !path.exists() {
                    continue;
                }
            }
            let mut bytes = fs::read(&path).unwrap();
            let at = random.below(bytes.len() as u64) as usize;
            let what = match number % 2 {
                0 => {
                    bytes[at] ^= 1 << random.below(8);
                    format!("{name} with a bit of byte {at} flipped")
                }
                _ => {
                    bytes.truncate(at);
                    format!("{name} cut at byte {at}")
                }
            };
            fs::remove_file(&path).unwrap(); // it may have a second name
            fs::write(&path, &bytes).unwrap();
            let ended = place.ended(stage, None);
            if ended.code != 0 && (ended.code != 3 || !ended.stderr.contains("remedy")) {
                check.note(&what, [format!("ended with {}: {}", ended.code, ended.stderr)]);
            }
            if ended.code == 0 {
                let mut found = place.tree();
                found.retain(|found, _| !found.ends_with(".damaged") && found != name);
                let mut right = check.undisturbed.after.clone();
                right.retain(|right, _| right != name);
                check.note(&what, tree::differences(&right, &found));
                if result(stage, &ended) != check.undisturbed.stdout {
                    check.note(&what, ["stdout differs".into()]);
                }
            }
            check.note(
                &what,
                place.run.partials().iter().map(|path| format!("{} is left", path.display())),
            );
            let peak = place.calls().peak_kib;
            if peak > 1 << 20 {
                check.note(&what, [format!("{peak} KiB of memory")]);
            }
        }
    }
    check.end()
}
