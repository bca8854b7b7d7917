//! The quickstart, whole, as `make all` runs it; then every file that it wrote is opened by everything that reads such files.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use corpus::bin::Bin;
use corpus::shards::ShardReader;
use model::Checkpoint;
use stage::Manifest;
use tests::{Ended, STAGES, binary, files_below};

struct Quickstart {
    folder: tempfile::TempDir,
}

impl Quickstart {
    fn out(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    fn run(&self, stage: &str, args: &[&str]) -> Ended {
        let mut command = Command::new(binary(stage));
        let pipeline = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pipelines/quickstart.toml");
        command.arg("--config").arg(pipeline).arg("--out").arg(self.out()).args(args);
        for setting in ["train.device=cpu", "eval.device=cpu", "sample.device=cpu"] {
            command.args(["--set", setting]);
        }
        Ended::of(command.output().unwrap(), stage)
    }
}

#[test]
fn every_reader_opens_every_file_of_the_quickstart() {
    let quickstart = Quickstart { folder: tempfile::tempdir().unwrap() };
    let out = quickstart.out();
    for stage in STAGES {
        let ended = quickstart.run(stage, &[]).ok();
        if stage == "train" {
            // Before the first step, and along the way.
            ended.says(&[
                "expected: ",
                ", 5 %: on course",
                ", 20 %: on course",
                ", 50 %: on course",
            ]);
        }
    }
    let page = fs::read_to_string(out.join("run/report.html")).unwrap();
    assert!(page.contains("reference, measured"), "the report draws the reference");
    for stage in &STAGES[..6] {
        quickstart.run(stage, &[]).ok().says(&["up to date"]);
    }
    let mut opened = Vec::new();
    for path in files_below(&out) {
        let name = path.strip_prefix(&out).unwrap().to_string_lossy().into_owned();
        let file_name = path.file_name().unwrap().to_string_lossy().into_owned();
        match path.extension().and_then(|extension| extension.to_str()).unwrap_or_default() {
            _ if file_name.starts_with('.') => {}
            "safetensors" if name.starts_with("run/checkpoints/") => checkpoint(&quickstart, &path),
            "arrow" => {
                ShardReader::open(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
            }
            "bin" => {
                let bin = Bin::open(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
                bin.verify().unwrap_or_else(|error| panic!("{name}: {error}"));
            }
            "json" if file_name.contains("manifest") || name.ends_with(".bin.json") => {
                Manifest::read(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
            }
            "json" => {
                serde_json::from_slice::<serde_json::Value>(&fs::read(&path).unwrap()).unwrap();
            }
            "jsonl" => {
                for line in fs::read_to_string(&path).unwrap().lines() {
                    serde_json::from_str::<serde_json::Value>(line)
                        .unwrap_or_else(|error| panic!("{name}: {error}: {line}"));
                }
            }
            _ => continue,
        }
        opened.push(name);
    }
    for kind in [
        "best",
        "last",
        "step_",
        "train.bin",
        "train.bin.json",
        "raw/manifest.json",
        ".arrow",
        "eval.json",
        "loss.jsonl",
    ] {
        assert!(opened.iter().any(|name| name.contains(kind)), "no {kind} among {opened:?}");
    }
    exports(&out);
}

/// The finished model and a checkpoint as GGUF.
fn exports(out: &Path) {
    for folder in ["run/final", "run/checkpoints/best.safetensors"] {
        let exported = out.join("exported.gguf");
        let model = out.join(folder);
        let pipeline = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pipelines/quickstart.toml");
        let mut command = Command::new(binary("sample"));
        command
            .arg("export")
            .arg("--config")
            .arg(pipeline)
            .arg("--out")
            .arg(out)
            .arg("--model")
            .arg(&model)
            .arg(&exported);
        let output = command.output().unwrap();
        Ended::of(output, "sample export").ok();
        fs::remove_file(exported).unwrap();
    }
}

/// Told from, evaluated, exported, and gone on from: with no other checkpoint there, training takes up this one.
fn checkpoint(quickstart: &Quickstart, path: &Path) {
    let step = Checkpoint::load(path).unwrap_or_else(|error| panic!("{error}")).state.step;
    let model = path.to_str().unwrap();
    quickstart.run("sample", &["--model", model, "--n", "1", "--max-tokens", "3"]).ok();
    quickstart.run("eval-ppl", &["--model", model, "--stride", "128"]).ok();

    let other = Quickstart { folder: tempfile::tempdir().unwrap() };
    fs::create_dir_all(other.out().join("run/checkpoints")).unwrap();
    for name in ["tokenizer.json", "train.bin", "train.bin.json", "val.bin", "val.bin.json"] {
        fs::copy(quickstart.out().join(name), other.out().join(name)).unwrap();
    }
    fs::copy(quickstart.out().join("run/loss.jsonl"), other.out().join("run/loss.jsonl")).unwrap();
    fs::copy(path, other.out().join("run/checkpoints/last.safetensors")).unwrap();
    let ended = other.run("train", &["--max-minutes", "0.001"]).ok();
    assert!(!ended.stderr.contains("damaged"), "{}", ended.stderr);
    if step > 0 {
        ended.says(&[&format!("going on with step {step}")]);
    }
}
