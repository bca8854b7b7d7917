//! `bedtime` runs the stages as make does.
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tests::disk::SmallDisk;
use tests::{Ended, Run, STAGES, binary, files_below};

/// The name that the Makefile and `bedtime` have for each of [`STAGES`].
const NAMES: [&str; 7] = ["fetch", "tokenizer", "tokenize", "pack", "train", "eval", "sample"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn bedtime(folder: &Path, arguments: &[&str]) -> Ended {
    let mut command = Command::new(binary("bedtime"));
    command.current_dir(folder).args(arguments).stdin(Stdio::null());
    Ended::of(command.output().unwrap(), "bedtime")
}

/// The commands that make would run in the checkout, cargo and echo left out, as lists of words.
fn of_make(arguments: &[&str]) -> Vec<Vec<String>> {
    let programs = binary("bedtime").parent().unwrap().display().to_string();
    let mut command = Command::new("make");
    command.current_dir(root()).args(["-n", "CARGO=cargo", &format!("BIN={programs}")]);
    let ended = Ended::of(command.args(arguments).output().unwrap(), "make -n").ok();
    let lines = ended.stdout.lines().filter(|line| line.starts_with(&programs));
    lines.map(|line| shlex::split(line).expect("a line for a shell")).collect()
}

fn of_bedtime(arguments: &[&str]) -> Vec<Vec<String>> {
    let ended = bedtime(&root(), &[arguments, &["--dry-run"]].concat()).ok();
    ended.stdout.lines().map(|line| shlex::split(line).expect("a line for a shell")).collect()
}

#[test]
fn make_and_bedtime_run_the_same_commands() {
    let pipeline = "pipelines/tinystories-3m.toml";
    let made = format!("PIPELINE={pipeline}");
    for (name, programs) in NAMES.iter().zip(STAGES).chain([(&"data", ""), (&"all", "")]) {
        let make = of_make(&[name, &made]);
        assert_eq!(of_bedtime(&[name, "--pipeline", pipeline]), make);
        assert_eq!(
            make.len(),
            [1, 4, 7][["data", "all"].iter().position(|n| n == name).map_or(0, |n| n + 1)]
        );
        assert!(make[0][0].ends_with(programs));
    }
    let out = "my stories/it's \u{e9}t\u{e9}";
    let make =
        of_make(&["all", &made, &format!("OUT={out}"), "SET=train.steps=5 sample.n=1", "FORCE=1"]);
    let options = ["--out", out, "--set", "train.steps=5", "--set", "sample.n=1", "--force"];
    assert_eq!(of_bedtime(&[&["all", "--config", pipeline][..], &options].concat()), make);
}

#[test]
fn without_a_checkout_pipelines_are_found_by_name() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, name) in
        [(&[][..], "quickstart"), (&["--pipeline", "tinystories-3m"], "tinystories-3m")]
    {
        let ended = bedtime(folder.path(), &[&["all", "--dry-run"], arguments].concat()).ok();
        assert_eq!(ended.stdout.lines().count(), STAGES.len());
        assert!(ended.stdout.lines().all(|line| line.ends_with(&format!("--config {name}"))));
        // The stage itself knows the name.
        let mut fetch = Command::new(binary("fetch-parquet"));
        fetch.current_dir(folder.path()).args(["--config", name, "--set", "fetch.source=none.txt"]);
        let ended = Ended::of(fetch.output().unwrap(), "fetch-parquet").code(3);
        assert!(ended.stderr.contains("none.txt"), "{}", ended.stderr);
    }
    // A checkout's own, edited or not, comes first.
    fs::create_dir(folder.path().join("pipelines")).unwrap();
    fs::write(folder.path().join("pipelines/quickstart.toml"), "[train]\nstepz = 1\n").unwrap();
    let ended = bedtime(folder.path(), &["all", "--dry-run"]).code(2);
    assert!(ended.stderr.contains("stepz"), "{}", ended.stderr);
}

#[test]
fn all_stages_run_and_are_up_to_date_in_a_folder_with_spaces_and_unicode() {
    let run = Run::new();
    let folder = run.input("m\u{e4}rchen und \u{7ae5}\u{8a71}");
    fs::create_dir(&folder).unwrap();
    fs::copy(run.input("tiny.toml"), folder.join("meine pipeline.toml")).unwrap();
    let arguments = ["all", "--pipeline", "meine pipeline.toml"];
    let ended = bedtime(&folder, &arguments).ok();
    let out = folder.join("out/meine pipeline");
    assert!(out.join("run/final/model.safetensors").is_file() && out.join("eval.json").is_file());
    assert!(ended.stdout.contains("Once upon a time"), "{}", ended.stdout);
    let next = ended.stderr.lines().find_map(|line| line.strip_prefix("bedtime: next: bedtime "));
    let next = shlex::split(next.expect("a command that comes next")).unwrap();
    let next: Vec<&str> = next.iter().map(String::as_str).collect();
    assert!(bedtime(&folder, &next).ok().stdout.contains("The little dog wanted"));
    let ended = bedtime(&folder, &arguments).ok();
    assert_eq!(ended.stderr.matches("up to date").count(), 6, "{}", ended.stderr);
    let ended = bedtime(
        &folder,
        &["sample", "--config", "meine pipeline.toml", "--", "--prompt", "A cat", "--n", "1"],
    );
    assert!(ended.ok().stdout.contains("A cat"));
    bedtime(&folder, &["clean", "--config", "meine pipeline.toml"]).ok();
    assert!(files_below(&out).is_empty());
}

#[test]
fn a_wrong_use_is_said_before_any_stage_runs() {
    let run = Run::new();
    let folder = run.input("here");
    fs::create_dir(&folder).unwrap();
    for (arguments, code, words) in [
        (&["trian"][..], 2, &["trian", "train"][..]),
        (&[], 2, &["Usage"]),
        (&["all", "--pipeline", "no.toml"], 2, &["no.toml", "tinystories-3m", "remedy: "]),
        (&["all", "--pipeline", ""], 2, &["--config <FILE>"]),
        (&["all", "--pipeline", "."], 2, &["remedy: "]),
        (&["all", "--set", "train.stepz=3"], 2, &["train.stepz", "train.steps"]),
        (&["all", "--threads", "0"], 2, &["--threads"]),
        (&["train"], 3, &["tokenizer.json", "remedy: "]),
        (&["data", "--", "--fresh"], 2, &["--fresh"]),
    ] {
        let ended = bedtime(&folder, arguments).code(code);
        for word in words {
            assert!(ended.stderr.contains(word), "{arguments:?}: {word}: {}", ended.stderr);
        }
        assert!(
            files_below(&folder).iter().all(|path| path.extension() == Some(OsStr::new("lock")))
        );
    }
}

#[test]
fn a_program_that_is_missing_is_said_with_the_places_and_one_on_path_is_taken() {
    let run = Run::new();
    let folder = run.input("alone");
    fs::create_dir(&folder).unwrap();
    let alone = folder.join("bedtime");
    fs::copy(binary("bedtime"), &alone).unwrap();
    let start = |path: &Path| {
        let mut command = Command::new(&alone);
        command.current_dir(&folder).args(["train", "--dry-run"]).env("PATH", path);
        Ended::of(command.output().unwrap(), "bedtime")
    };
    let ended = start(&folder).code(2);
    let place = folder.display().to_string();
    for words in ["train: no such program", &place, "PATH", "remedy: "] {
        assert!(ended.stderr.contains(words), "{words}: {}", ended.stderr);
    }
    let programs = binary("bedtime").parent().unwrap().to_owned();
    assert!(start(&programs).ok().stdout.starts_with(&*binary("train").to_string_lossy()));
}

#[test]
fn a_full_disk_ends_it_with_the_exit_code_of_the_stage() {
    let run = Run::new();
    let Some(disk) = SmallDisk::mount(&run.input("small"), 64) else { return };
    let out = run.input("small/out").display().to_string();
    let config = run.input("tiny.toml").display().to_string();
    let ended = bedtime(&run.input(""), &["all", "--config", &config, "--out", &out]).code(4);
    assert!(ended.stderr.contains("fetch-parquet: error"), "{}", ended.stderr);
    disk.remount("ro");
    let ended = bedtime(&run.input(""), &["data", "--config", &config, "--out", &out]);
    assert!([2, 4].contains(&ended.code), "{}: {}", ended.code, ended.stderr);
    assert!(ended.stderr.contains("remedy: "), "{}", ended.stderr);
}

#[test]
fn doctor_says_what_is_here_and_what_is_missing() {
    let run = Run::new();
    let folder = run.input("here");
    fs::create_dir(&folder).unwrap();
    let ended = bedtime(&folder, &["doctor"]).ok();
    for words in ["7 of 7", "device    cpu", "auto      takes ", "memory ", "disk ", "bedtime all"]
    {
        assert!(ended.stdout.contains(words), "{words}: {}", ended.stdout);
    }
    let ended = bedtime(&folder, &["doctor", "--json"]).ok();
    let found: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert!(found["memory_bytes"].as_u64().is_some_and(|bytes| bytes > 1 << 20));
    assert!(found["disk_bytes"].as_u64().is_some_and(|bytes| bytes > 1 << 20));
    assert_eq!(found["programs"].as_object().unwrap().len(), STAGES.len());
    let devices = found["devices"].as_array().unwrap();
    assert!(devices.iter().any(|device| device["device"] == found["auto"]["device"]));

    let alone = folder.join("bedtime");
    fs::copy(binary("bedtime"), &alone).unwrap();
    let mut command = Command::new(&alone);
    command.current_dir(&folder).args(["doctor", "--json"]).env("PATH", &folder);
    let ended = Ended::of(command.output().unwrap(), "bedtime").code(2);
    let found: Value = serde_json::from_str(&ended.stdout).unwrap();
    let missing = found["missing"].as_array().unwrap();
    let named = |name: &&str| missing.iter().any(|m| m["what"] == format!("program {name}"));
    assert!(STAGES.iter().all(named), "{missing:?}");
    assert!(missing.iter().all(|m| m["remedy"].as_str().is_some_and(|text| !text.is_empty())));
    assert_eq!(files_below(&folder), [alone], "doctor writes nothing");
}

#[test]
fn every_program_completes_itself_and_has_a_man_page() {
    let generated = |program: &str, kind: &str| {
        let output = Command::new(binary(program)).args(["--generate", kind]).output().unwrap();
        Ended::of(output, program)
    };
    for program in STAGES.iter().chain(&["bedtime"]) {
        for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
            let text = generated(program, shell).ok().stdout;
            assert!(text.contains(program) && text.contains("help"), "{program} {shell}");
        }
        let page = generated(program, "man").ok().stdout;
        assert!(page.contains(".TH") && page.contains("OPTIONS"), "{program}: {page}");
        let ended = generated(program, "csh").code(2);
        assert!(ended.stderr.contains("bash"), "{}", ended.stderr);
    }
    // What bash makes of it: the flags of a stage, the stages of bedtime.
    for (program, line, word) in
        [("train", "train --pat", "--patience"), ("bedtime", "bedtime toke", "tokenizer")]
    {
        let script = generated(program, "bash").ok().stdout;
        let ask = format!(
            "{script}\nCOMP_WORDS=({line}); COMP_CWORD=1; _{program} {program} ${{COMP_WORDS[1]}} {program}; echo ${{COMPREPLY[@]}}"
        );
        let output = Command::new("bash").args(["-c", &ask]).output().unwrap();
        let ended = Ended::of(output, "bash").ok();
        assert!(ended.stdout.contains(word), "{line}: {}", ended.stdout);
    }
}

#[test]
fn new_writes_a_pipeline_that_runs_for_a_folder_of_texts() {
    let run = Run::new();
    let folder = run.input("here");
    let texts = folder.join("my m\u{e4}rchen");
    fs::create_dir_all(&texts).unwrap();
    let story = |i: usize| format!("There was a cat called Number {i}.\nIt sat on mat {}.", i * 7);
    let stories: Vec<String> = (0..400).map(story).collect();
    fs::write(texts.join("tales.txt"), stories.join("\n\n")).unwrap();
    let ended = bedtime(&folder, &["new", "my m\u{e4}rchen", "--minutes", "5"]).ok();
    for words in ["400 stories", "blank lines", "tokens/s on ", "proposed: ", "bedtime all"] {
        assert!(ended.stderr.contains(words), "{words}: {}", ended.stderr);
    }
    let file = "my m\u{e4}rchen.toml";
    let written = fs::read_to_string(folder.join(file)).unwrap();
    assert!(written.contains("separator = \"blank-line\""), "{written}");
    let out = folder.join("out/my m\u{e4}rchen");
    let ended = bedtime(&folder, &["fetch", "--pipeline", file]).ok();
    assert!(ended.stdout.contains("train: ") && out.join("raw/manifest.json").is_file());
    assert_eq!(fs::read_to_string(texts.join("tales.txt")).unwrap(), stories.join("\n\n"));

    // A file that is there stays, or is set aside.
    let again = ["new", "my m\u{e4}rchen", "--minutes", "5"];
    let ended = bedtime(&folder, &again).code(3);
    assert!(ended.stderr.contains("--force"), "{}", ended.stderr);
    assert_eq!(fs::read_to_string(folder.join(file)).unwrap(), written);
    fs::create_dir(folder.join("empty")).unwrap();
    for (arguments, code, words) in [
        (&["new"][..], 2, "<FOLDER>"),
        (&["new", "nowhere"], 3, "not found"),
        (&["new", "empty"], 3, "no .parquet"),
        (&["new", "my m\u{e4}rchen", "--minutes", "0"], 2, "--minutes"),
    ] {
        let ended = bedtime(&folder, arguments).code(code);
        assert!(ended.stderr.contains(words), "{words}: {}", ended.stderr);
    }
}

/// Sends a signal to bedtime alone, as Kubernetes and `docker stop` do, or to it and the stage, as a terminal does.
#[cfg(unix)]
fn interrupted(signal: &str, is_terminal: bool) {
    use std::os::unix::process::CommandExt;
    let run = Run::new().set("train.steps=100000").set("train.checkpoint_every=50000");
    run.through(&tests::DATA_STAGES);
    let mut command = Command::new(binary("bedtime"));
    command.current_dir(run.input("")).args(["all", "--config", "tiny.toml", "--out"]);
    command.arg(run.path("")).args(["--set", "train.steps=100000"]);
    command.args(["--set", "train.checkpoint_every=50000"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let child = command.spawn().unwrap();
    let start = std::time::Instant::now();
    while fs::read(run.path("run/loss.jsonl")).map_or(0, |text| text.len()) < 500 {
        assert!(start.elapsed().as_secs() < 60, "training never began");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let target = format!("{}{}", if is_terminal { "-" } else { "" }, child.id());
    let sent = Command::new("kill").args([&format!("-{signal}"), "--", &target]).status();
    assert!(sent.unwrap().success());
    let ended = Ended::of(child.wait_with_output().unwrap(), "bedtime").code(130);
    // The step was finished and saved: a second signal would have ended it at once.
    assert!(ended.stderr.contains("train: error: interrupted"), "{signal}: {}", ended.stderr);
    assert!(run.path("run/checkpoints/last.safetensors").is_file());
}

#[test]
#[cfg(unix)]
fn signals_reach_the_stage_once_whoever_sends_them() {
    for (signal, is_terminal) in [("TERM", false), ("INT", true), ("USR1", false)] {
        interrupted(signal, is_terminal);
    }
}
