//! A pipe that nobody writes to, and a device, in place of each input of each stage: told at once, waited for by none.
use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::{Failed, Trial};
use tests::{Run, binary};

use crate::probe;

/// A stage, its arguments (IT is the pipe), and the input that the pipe takes the place of.
const CASES: [(&str, &[&str], Option<&str>); 9] = [
    ("fetch-parquet", &["--source", "IT"], None),
    ("train-tokenizer", &["--set", "tokenizer.file=IT"], None),
    ("tokenize", &["--config", "IT"], None),
    ("pack-bin", &[], Some("tokenizer.json")),
    ("train", &[], Some("train.bin")),
    ("train", &[], Some("train.bin.json")),
    ("sample", &["--prompts-file", "IT"], Some("run/final")),
    ("sample", &["--model", "IT"], None),
    ("eval-ppl", &["--model", "IT"], None),
];

pub(crate) fn trials() -> Vec<Trial> {
    let trial =
        |(stage, args, place): (&'static str, &'static [&'static str], Option<&'static str>)| {
            let name = format!("pipes::{stage} {}{}", args.join(" "), place.unwrap_or_default());
            Trial::test(name, move || one(stage, args, place))
        };
    CASES.into_iter().map(trial).collect()
}

fn pipe(path: &Path) -> Result<(), Failed> {
    let _ = std::fs::remove_file(path);
    std::fs::create_dir_all(path.parent().unwrap_or(path))?;
    match Command::new("mkfifo").arg(path).status()?.success() {
        true => Ok(()),
        false => Err(format!("no pipe at {}", path.display()).into()),
    }
}

fn one(stage: &str, args: &[&str], place: Option<&str>) -> Result<(), Failed> {
    let run = tests::data::with_data(Run::new());
    let named: PathBuf = run.input("it.txt");
    pipe(&named)?;
    if let Some(place) = place {
        pipe(&run.path(place))?;
    }
    let zero = run.input("zero.txt");
    std::os::unix::fs::symlink("/dev/zero", &zero)?;
    for it in [&named, &zero] {
        let mut command = Command::new(binary(stage));
        command.current_dir(run.input("")).args(["--out"]).arg(run.path(""));
        if !args.contains(&"--config") {
            command.args(["--config", "tiny.toml"]);
        }
        command.args(args.iter().map(|arg| arg.replace("IT", &it.to_string_lossy())));
        let ended = probe::run(command);
        ended.check(&format!("{stage} on {}", it.display()), &[2, 3])?;
        if ended.time.as_secs() > 20 {
            return Err(format!("{stage} took {:?}", ended.time).into());
        }
    }
    Ok(())
}
