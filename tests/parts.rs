//! Jobs that make one folder together: what may be put together, and what each of them reads.
#[allow(dead_code)] // it can do more than is needed here
mod server;
mod story_files;

use std::fs;

use serde_json::{Value, json};
use server::{Reply, Server};
use story_files::*;
use tests::{Ended, Run, edit_manifest};

const TRAIN_PART: &str = "tokens/train-00001-of-00003.arrow";

/// `in/` with two files to train on, of `rows` row groups of 100 stories, and one to validate with.
fn folder(rows: u64) -> Run {
    let run =
        plain().set("fetch.source=in").set("tokenizer.vocab_size=400").set("tokenize.shards=3");
    parquet(&run.input("in/train-a.parquet"), 0, rows * 100);
    parquet(&run.input("in/train-b.parquet"), 5000, 5000 + rows * 100);
    parquet(&run.input("in/validation-a.parquet"), 9000, 9100);
    run
}

fn tokenize(run: &Run, part: &str) {
    run.run("tokenize", &["--shard", part]).ok();
}

#[test]
fn parts_of_two_fetches_are_refused_and_those_of_one_are_packed() {
    let run = folder(4);
    run.through(&["fetch-parquet", "train-tokenizer"]);
    tokenize(&run, "1/2");
    parquet(&run.input("in/train-b.parquet"), 6000, 6400);
    run.through(&["fetch-parquet"]);
    tokenize(&run, "2/2");
    run.run("pack-bin", &[]).code(3).says(&[
        "manifest-2-of-2.json",
        "from other inputs than job 1: raw_sha256.train",
        "--shard I/2 --force",
    ]);
    assert!(!run.path("train.bin").exists());
    tokenize(&run, "1/2");
    run.run("pack-bin", &[]).ok();
    assert_eq!(run.json("train.bin.json")["counts"]["stories"], 800);
}

/// The manifest agrees with the shard, so only what the shard says of itself tells that it is of another fetch.
#[test]
fn a_shard_of_another_fetch_or_in_the_place_of_another_is_refused() {
    let run = folder(4);
    run.through(&["fetch-parquet", "train-tokenizer", "tokenize"]);
    let old = run.read(TRAIN_PART);
    parquet(&run.input("in/train-b.parquet"), 6000, 6400);
    run.through(&["fetch-parquet", "tokenize"]);
    let put = |content: &[u8]| {
        fs::write(run.path(TRAIN_PART), content).unwrap();
        let record = stage::hash_file(&run.path(TRAIN_PART)).unwrap();
        edit_manifest(&run.path("tokens/manifest.json"), |manifest| {
            let outputs = manifest["outputs"].as_array_mut().unwrap();
            let output = outputs.iter_mut().find(|output| output["name"] == record.name.as_str());
            *output.unwrap() = serde_json::to_value(&record).unwrap();
        });
    };
    put(&old);
    run.run("pack-bin", &[]).code(3).says(&[
        "train-00001-of-00003.arrow",
        "made from other stories",
        "as the manifest beside it says",
        "make tokenize",
    ]);
    put(&run.read("tokens/train-00000-of-00003.arrow"));
    run.run("pack-bin", &[])
        .code(3)
        .says(&["train-00001-of-00003.arrow", "it holds shard 1 of 3 of train"]);
    assert!(!run.path("train.bin").exists());
}

#[test]
fn parts_of_two_states_of_a_source_are_refused() {
    let run = folder(4);
    run.run("fetch-parquet", &["--shard", "1/2"]).ok();
    parquet(&run.input("in/validation-a.parquet"), 9000, 9200);
    run.run("fetch-parquet", &["--shard", "2/2"]).ok();
    run.run("train-tokenizer", &[]).code(3).says(&[
        "raw/manifest-2-of-2.json",
        "that of job 1",
        "fetch-parquet --shard I/2",
    ]);
    run.run("fetch-parquet", &["--shard", "1/2"]).ok();
    run.run("train-tokenizer", &[]).ok();
}

#[test]
fn a_part_of_another_version_is_refused_and_made_again() {
    let run = folder(4);
    run.through(&["fetch-parquet", "train-tokenizer"]);
    ["1/2", "2/2"].iter().for_each(|part| tokenize(&run, part));
    edit_manifest(&run.path("tokens/manifest-2-of-2.json"), |manifest| {
        manifest["program"] = json!("bedtime 0.0.1");
    });
    run.run("pack-bin", &[]).code(3).says(&[
        "manifest-2-of-2.json",
        "bedtime 0.0.1",
        "one version",
    ]);
    run.run("tokenize", &["--shard", "2/2"]).ok().says(&["it was made by bedtime 0.0.1"]);
    let manifest: Value = run.json("tokens/manifest-2-of-2.json");
    assert_eq!(manifest["program"], stage::PROGRAM);
    run.run("pack-bin", &[]).ok();
}

/// Runs a stage and gives how many bytes it, all its threads and whatever it started have read.
#[cfg(target_os = "linux")]
fn bytes_read(run: &Run, stage: &str, args: &[&str]) -> u64 {
    let command = run.command(stage);
    // What a shell waited for counts as its own; `read` is part of it.
    let script = "\"$@\" || exit 1; while read -r line; do echo \"$line\"; done </proc/$$/io";
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", script, "sh"]).arg(command.get_program()).args(command.get_args()).args(args);
    shell.current_dir(command.get_current_dir().unwrap());
    let ended = tests::Ended::of(shell.output().unwrap(), stage).ok();
    let read = ended.stdout.lines().find_map(|line| line.strip_prefix("rchar: "));
    read.unwrap_or_else(|| panic!("{}", ended.stdout)).trim().parse().unwrap()
}

/// 64 jobs over 8 files of 40 row groups: five for each.
#[cfg(target_os = "linux")]
#[test]
fn a_job_reads_its_own_row_groups_and_no_others() {
    let run = plain()
        .set("fetch.source=in")
        .set("tokenizer.vocab_size=300")
        .set("tokenizer.max_stories=1000")
        .set("tokenize.shards=64");
    for file in 0..8 {
        let texts: Vec<String> = (file * 10_000..(file + 1) * 10_000).map(story).collect();
        write_groups(&run.input(&format!("in/train-{file}.parquet")), &texts, 250);
    }
    parquet(&run.input("in/validation.parquet"), 90_000, 90_010);
    run.through(&["fetch-parquet", "train-tokenizer"]);
    let train = |path: &std::path::PathBuf| path.to_string_lossy().contains("/raw/train-");
    let files = tests::files_below(&run.path("raw"));
    let all: u64 =
        files.iter().filter(|path| train(path)).map(|path| path.metadata().unwrap().len()).sum();
    // What starting, the tokenizer and the manifests take: a job without a shard.
    let without = bytes_read(&run, "tokenize", &["--shard", "65/128"]);
    let share = all / 64;
    for job in ["1/64", "22/64", "64/64"] {
        let read = bytes_read(&run, "tokenize", &["--shard", job]) - without;
        // What is written is read once more before it gets its name.
        let manifest = run.json(&format!("tokens/manifest-{}.json", job.replace('/', "-of-")));
        let outputs = manifest["outputs"].as_array().unwrap().iter();
        let written: u64 = outputs.map(|output| output["bytes"].as_u64().unwrap()).sum();
        let read = read.saturating_sub(written);
        let times = read as f64 / share as f64;
        assert!(
            (0.9..=1.1).contains(&times),
            "job {job} reads {read} bytes, {times:.3} of {share}"
        );
    }
    let up_to_date = bytes_read(&run, "tokenize", &["--shard", "1/64"]);
    assert!(up_to_date < without + share / 20, "{up_to_date} bytes to be up to date");
}

/// A changed byte in a row group is found by the job that reads it, and by no other.
#[test]
fn a_job_finds_what_changed_in_its_own_row_groups() {
    let run = folder(9);
    run.through(&["fetch-parquet", "train-tokenizer"]);
    let path = run.path("raw/train-00001-of-00002.parquet");
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::write(&path, &bytes).unwrap();
    tokenize(&run, "1/3");
    let ended = ["2/3", "3/3"].map(|part| run.run("tokenize", &["--shard", part]));
    let (bad, good): (Vec<_>, Vec<_>) = ended.into_iter().partition(|ended| ended.code != 0);
    assert_eq!((bad.len(), good.len()), (1, 1));
    for ended in bad {
        ended.code(3).says(&[
            "raw/train-00001-of-00002.parquet",
            "row group",
            "as the manifest beside it says",
            "make fetch",
        ]);
    }
}

const HUB: &str = "hf://datasets/owner/name";

fn fetch(run: &Run, server: &Server, args: &[&str]) -> Ended {
    let mut command = run.command("fetch-parquet");
    for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "HF_TOKEN"] {
        command.env_remove(name);
    }
    command.env("HF_ENDPOINT", &server.address).args(args);
    Ended::of(command.output().unwrap(), "fetch-parquet")
}

/// A dataset whose branch moves: at each commit its files hold other stories. The conversion has two splits.
struct Moving {
    server: Server,
    commit: std::sync::Arc<std::sync::Mutex<String>>,
}

fn commit(digit: char) -> String {
    digit.to_string().repeat(40)
}

/// `files` training files; those of the commit aaaa... hold the stories from 0 on, those of others from 50,000 on.
fn moving(files: u64) -> Moving {
    let head = std::sync::Arc::new(std::sync::Mutex::new(commit('a')));
    let folder = tempfile::tempdir().unwrap();
    let content =
        |first: u64, stories: u64| parquet(&folder.path().join("x"), first, first + stories);
    let of = |digit, first: u64| -> Vec<(String, Vec<u8>)> {
        let file = |i: u64| {
            let name = format!("/datasets/owner/name/resolve/{}/default", commit(digit));
            match i {
                0 => (format!("{name}/validation/0000.parquet"), content(first + 40_000, 20)),
                i => (
                    format!("{name}/train/{:04}.parquet", i - 1),
                    content(first + i * 50, 5 + i % 40),
                ),
            }
        };
        (0..=files).map(file).collect()
    };
    let all: std::collections::BTreeMap<String, Vec<u8>> =
        [of('a', 0), of('b', 50_000)].concat().into_iter().collect();
    let now = head.clone();
    let server = Server::start(move |request| {
        let target = request.target.as_str();
        if target == "/api/datasets/owner/name/revision/refs%2Fconvert%2Fparquet?expand=sha" {
            return Reply::new(200, json!({ "sha": *now.lock().unwrap() }).to_string());
        }
        if let Some(rest) = target.strip_prefix("/api/datasets/owner/name/tree/") {
            let start =
                format!("/datasets/owner/name/resolve/{}/", rest.split('?').next().unwrap());
            let entry = |(path, bytes): (&String, &Vec<u8>)| {
                let path = path.strip_prefix(&start)?;
                Some(json!({ "type": "file", "path": path, "size": bytes.len() }))
            };
            return Reply::new(
                200,
                json!(all.iter().filter_map(entry).collect::<Vec<_>>()).to_string(),
            );
        }
        match all.get(target) {
            Some(bytes) => Reply::file(request, bytes, "\"x\""),
            None => Reply::new(404, "not here"),
        }
    });
    Moving { server, commit: head }
}

impl Moving {
    fn to(&self, digit: char) {
        *self.commit.lock().unwrap() = commit(digit);
    }
}

/// Either all parts are of one commit, or none of them goes on.
#[test]
fn a_branch_that_moves_between_two_parts_gives_no_story_twice_and_loses_none() {
    let hub = moving(6);
    let (run, whole) = (plain(), plain());
    fetch(&whole, &hub.server, &["--source", HUB]).ok().says(&[&commit('a')]);
    assert_eq!(whole.json("raw/manifest.json")["facts"]["revision"], commit('a'));
    fetch(&run, &hub.server, &["--source", HUB, "--shard", "1/3"]).ok();
    hub.to('b');
    for part in ["2/3", "3/3"] {
        fetch(&run, &hub.server, &["--source", HUB, "--shard", part]).ok().says(&[&commit('a')]);
        let manifest = format!("raw/manifest-{}.json", part.replace('/', "-of-"));
        assert_eq!(run.json(&manifest)["facts"]["revision"], commit('a'));
    }
    assert_eq!(final_files(&run), final_files(&whole));
    assert!(hub.server.seen(&commit('b')).is_empty());

    // Begun at once, or forced: then the next stage sees it.
    fetch(&run, &hub.server, &["--source", HUB, "--shard", "2/3", "--force"]).ok();
    run.run("train-tokenizer", &["--vocab-size", "300"]).code(3).says(&[
        "raw/manifest-2-of-3.json",
        &format!("its revision is {}, that of job 1 {}", commit('b'), commit('a')),
        "--shard I/3 --force",
    ]);
    for part in ["1/3", "3/3"] {
        fetch(&run, &hub.server, &["--source", HUB, "--shard", part, "--force"]).ok();
    }
    run.run("train-tokenizer", &["--vocab-size", "300"]).ok();
    let pinned = plain();
    let source = format!("{HUB}@{}", commit('b'));
    hub.to('a');
    fetch(&pinned, &hub.server, &["--source", &source]).ok();
    assert_eq!(final_files(&pinned), final_files(&run));
}

/// Each of 64 jobs asks for its own files and no other, and all have about as much to fetch.
#[test]
fn six_hundred_files_are_shared_out_by_their_bytes() {
    let hub = moving(600);
    let run = plain();
    let (mut asked, mut least, mut most) = (0, u64::MAX, 0);
    for job in 1..=64 {
        let before = (hub.server.seen("/resolve/").len(), hub.server.served());
        fetch(&run, &hub.server, &["--source", HUB, "--shard", &format!("{job}/64")]).ok();
        let outputs = run.json(&format!("raw/manifest-{job}-of-64.json"))["outputs"].clone();
        let bytes: u64 =
            outputs.as_array().unwrap().iter().map(|file| file["bytes"].as_u64().unwrap()).sum();
        let files = hub.server.seen("/resolve/").len() - before.0;
        assert_eq!(files, outputs.as_array().unwrap().len(), "job {job} asks for others' files");
        assert!(hub.server.served() - before.1 < bytes + 100_000, "and the listing, job {job}");
        (asked, least, most) = (asked + files, least.min(bytes), most.max(bytes));
    }
    assert_eq!(asked, 601);
    assert!(most * 100 < least * 105, "{least} to {most} bytes a job");
    assert_eq!(stories(&run, "train").len(), (1..=600).map(|i| 5 + i % 40).sum::<u64>() as usize);
}

#[test]
fn a_job_without_a_file_leaves_a_complete_set_as_it_is() {
    let run = folder(4);
    run.run("fetch-parquet", &["--shard", "1/2"]).ok();
    run.run("fetch-parquet", &["--shard", "2/2"]).ok();
    run.through(&["train-tokenizer"]);
    ["1/2", "2/2"].iter().for_each(|part| tokenize(&run, part));
    run.through(&["pack-bin"]);
    let before = (run.read("train.bin"), tests::files_below(&run.path("")));
    for (stage, part) in [("fetch-parquet", "40/64"), ("tokenize", "40/64"), ("tokenize", "5/5")] {
        let args = ["--shard", part, "--set", "tokenize.shards=2"];
        run.run(stage, if stage == "tokenize" { &args[..] } else { &args[..2] }).ok();
    }
    let after = tests::files_below(&run.path(""));
    let gone: Vec<_> = before.1.iter().filter(|path| !after.contains(path)).collect();
    assert!(gone.is_empty(), "{gone:?}");
    run.run("train-tokenizer", &[]).ok().says(&["up to date"]);
    run.run("pack-bin", &["--force"]).ok();
    assert!(run.read("train.bin") == before.0);
    // One that makes the same shards again leaves the other set, too; other settings do not.
    tokenize(&run, "1/3");
    assert!(run.path("tokens/manifest-1-of-2.json").exists());
    run.run("tokenize", &["--shard", "1/3", "--shards", "4"]).ok();
    assert!(!run.path("tokens/manifest-1-of-2.json").exists());
}

/// Snakemake removes the output of a job before it starts it.
#[test]
fn a_manifest_that_was_removed_is_made_again_from_the_files() {
    let run = folder(4);
    for part in ["1/2", "2/2"] {
        run.run("fetch-parquet", &["--shard", part]).ok();
    }
    run.through(&["train-tokenizer"]);
    ["1/2", "2/2"].iter().for_each(|part| tokenize(&run, part));
    let data = || -> Vec<_> {
        let mut files = tests::files_below(&run.path(""));
        files.retain(|path| path.extension().is_some_and(|end| end == "arrow" || end == "parquet"));
        files
            .iter()
            .map(|path| (path.clone(), path.metadata().unwrap().modified().unwrap()))
            .collect()
    };
    let made = data();
    assert_eq!(made.len(), 3 + 6);
    for _ in 0..2 {
        for (stage, manifest) in [
            ("fetch-parquet", "raw/manifest-1-of-2.json"),
            ("tokenize", "tokens/manifest-1-of-2.json"),
        ] {
            let before = run.read(manifest);
            fs::remove_file(run.path(manifest)).unwrap();
            run.run(stage, &["--shard", "1/2"]).ok();
            assert!(run.read(manifest) == before, "{manifest}");
        }
        assert_eq!(data(), made, "a file was written again");
    }
    // A shard without its record is somebody's, one with another content is made again.
    fs::remove_file(run.path("tokens/manifest-1-of-2.json")).unwrap();
    fs::write(run.path("tokens/train-00000-of-00003.arrow"), "mine").unwrap();
    run.run("tokenize", &["--shard", "1/2"])
        .code(3)
        .says(&["train-00000-of-00003.arrow", "in the way"]);
}

/// make and Snakemake compare times: what was found up to date is newer than what it was made from.
#[test]
fn up_to_date_is_newer_than_its_inputs() {
    let run = folder(4);
    let stages = ["fetch-parquet", "train-tokenizer", "tokenize", "pack-bin"];
    run.through(&stages);
    run.run("tokenize", &["--shard", "1/2"]).ok();
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    let manifests = [
        ("fetch-parquet", "raw/manifest.json"),
        ("train-tokenizer", "tokenizer.manifest.json"),
        ("tokenize", "tokens/manifest-1-of-2.json"),
        ("pack-bin", "pack.manifest.json"),
    ];
    for (stage, manifest) in manifests {
        let path = run.path(manifest);
        let content = fs::read(&path).unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        let args: &[&str] = if stage == "tokenize" { &["--shard", "1/2"] } else { &[] };
        run.run(stage, args).ok().says(&["up to date"]);
        let age = path.metadata().unwrap().modified().unwrap().duration_since(old).unwrap();
        assert!(age.as_secs() > 3000, "{manifest} is {age:?} younger");
        assert!(fs::read(&path).unwrap() == content);
    }
}

#[test]
fn the_part_comes_from_slurm_or_kubernetes_and_is_asked_for_by_name() {
    let run = folder(4);
    run.through(&["fetch-parquet", "train-tokenizer"]);
    let auto = |variables: &[(&str, &str)]| {
        let mut command = run.command("tokenize");
        command.args(["--shard", "auto"]).envs(variables.iter().copied());
        Ended::of(command.output().unwrap(), "tokenize")
    };
    auto(&[])
        .code(2)
        .says(&["neither SLURM_ARRAY_TASK_ID nor JOB_COMPLETION_INDEX", "--shard I/N"]);
    let slurm = [("SLURM_ARRAY_TASK_MIN", "1"), ("SLURM_ARRAY_TASK_COUNT", "2")];
    auto(&[slurm[0], slurm[1], ("SLURM_ARRAY_TASK_ID", "1")]).ok();
    auto(&[("JOB_COMPLETION_INDEX", "1"), ("JOB_COMPLETIONS", "2")]).ok();
    run.run("pack-bin", &[]).ok();
}

/// A file system shows the last part two seconds after its job has ended.
#[test]
fn a_stage_waits_for_inputs_as_long_as_it_is_told() {
    let run = folder(4);
    run.through(&["fetch-parquet", "train-tokenizer"]);
    ["1/2", "2/2"].iter().for_each(|part| tokenize(&run, part));
    let (shown, hidden) = (run.path("tokens/manifest-2-of-2.json"), run.input("hidden"));
    fs::rename(&shown, &hidden).unwrap();
    run.run("pack-bin", &["--wait", "1"]).code(3).says(&["waiting up to 1 s", "not found"]);
    let child = run.start("pack-bin", &["--wait", "60"]);
    std::thread::sleep(std::time::Duration::from_secs(2));
    fs::rename(&hidden, &shown).unwrap();
    Ended::of(child.wait_with_output().unwrap(), "pack-bin").ok().says(&["waiting up to 60 s"]);
}
