//! `make clean` removes what the stages made, and nothing else.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::{DATA_STAGES, Ended, Run, binary, files_below};

/// The real Makefile in a scratch tree, cargo left out.
fn make_clean(folder: &Path, arguments: &[&str]) -> Ended {
    let programs = binary("bedtime");
    let programs = programs.parent().unwrap().display();
    let mut command = Command::new("make");
    command.current_dir(folder).args(["clean", "CARGO=true", &format!("BIN={programs}")]);
    Ended::of(command.args(arguments).output().unwrap(), "make clean")
}

fn scratch(run: &Run) -> PathBuf {
    let folder = run.input("tree");
    fs::create_dir_all(folder.join("pipelines")).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    fs::copy(root.join("Makefile"), folder.join("Makefile")).unwrap();
    fs::copy(run.input("tiny.toml"), folder.join("pipelines/quickstart.toml")).unwrap();
    folder
}

#[test]
fn make_clean_removes_what_no_manifest_names_nowhere() {
    let run = Run::new();
    let tree = scratch(&run);
    let theirs = [
        "my/precious.txt",
        "stories/run1/precious.txt",
        "out/a/run/model",
        "out/b/run/model",
        "userdata/photo.jpg",
        "my stories/run1/notes.txt",
    ];
    for name in theirs {
        fs::create_dir_all(tree.join(name).parent().unwrap()).unwrap();
        fs::write(tree.join(name), "mine").unwrap();
    }
    let all = files_below(&tree);
    for arguments in [
        "OUT=my stories/run1",
        "PIPELINE=",
        "OUT=userdata",
        "OUT=.",
        "OUT=/",
        "OUT=..",
        "OUT=it's; rm -rf my",
        "OUT=$(HOME)",
        "OUT=~",
    ] {
        make_clean(&tree, &[arguments]);
        assert_eq!(files_below(&tree), all, "{arguments}");
    }
}

#[test]
fn make_clean_removes_all_that_the_stages_made_and_says_what_it_left() {
    let run = Run::new();
    let tree = scratch(&run);
    let out = tree.join("my stories/run1");
    run.through(&DATA_STAGES).through(&["train", "eval-ppl"]);
    fs::create_dir_all(out.parent().unwrap()).unwrap();
    fs::rename(run.path(""), &out).unwrap();
    fs::write(out.join("notes.txt"), "mine").unwrap();
    fs::write(out.join("raw/mine.parquet"), "mine").unwrap();
    fs::write(out.join("val.bin"), "mine now").unwrap();
    let before = files_below(&out);
    let config = format!("PIPELINE={}", run.input("tiny.toml").display());
    let arguments = ["OUT=my stories/run1", config.as_str()];
    let dry = Command::new(binary("bedtime"))
        .args(["clean", "--dry-run", "--config"])
        .arg(run.input("tiny.toml"))
        .arg("--out")
        .arg(&out)
        .output()
        .unwrap();
    let dry = Ended::of(dry, "bedtime clean").ok();
    assert_eq!(files_below(&out), before);
    assert!(dry.stdout.contains("would remove") && dry.stdout.contains("train.bin"));
    let ended = make_clean(&tree, &arguments).ok();
    for words in ["removed", "left", "notes.txt", "raw/mine.parquet", "val.bin"] {
        assert!(ended.stdout.contains(words), "{words}: {}", ended.stdout);
    }
    let left: Vec<String> = files_below(&out)
        .iter()
        .map(|path| path.strip_prefix(&out).unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(left, ["notes.txt", "raw/mine.parquet", "val.bin"]);
    for (name, words) in [("notes.txt", "mine"), ("val.bin", "mine now")] {
        assert_eq!(fs::read(out.join(name)).unwrap(), words.as_bytes());
    }
}
