//! Every number that a pipeline file can hold, at the ends of its type and beyond: each run ends in a result or in an error,
//! in time and within the memory of the machine.
use std::process::Command;
use std::sync::OnceLock;

use libtest_mimic::{Failed, Trial};
use stage::config::KEYS;
use tests::{DATA_STAGES, Run};

use crate::probe;

/// As TOML has them, or as nobody should.
const VALUES: [&str; 14] = [
    "0",
    "1",
    "-1",
    "2147483648",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "18446744073709551616",
    "1e308",
    "nan",
    "inf",
    "\"\"",
    "\"many\"",
    "[1, 2]",
];

/// Keys that hold no number.
const WORDS: [&str; 26] = [
    "out",
    "fetch.source",
    "fetch.train_split",
    "fetch.validation_split",
    "fetch.column",
    "tokenizer.file",
    "pack.order",
    "train.device",
    "train.precision",
    "train.on_nan",
    "eval.device",
    "eval.precision",
    "sample.device",
    "sample.precision",
    "sample.prompts",
    "sample.prompts_file",
    "fetch.separator",
    "fetch.revision",
    "train.optimizer.kind",
    "train.optimizer.cautious_decay",
    "train.schedule",
    "train.sampling",
    "train.align",
    "train.zero_init_residual",
    "train.init_from",
    "tokenizer.from",
];

pub(crate) fn trials() -> Vec<Trial> {
    let long = std::env::var_os("BEDTIME_LONG").is_some();
    let numbers = KEYS.iter().filter(|key| !WORDS.contains(key));
    numbers
        .enumerate()
        .map(|(i, &key)| {
            Trial::test(format!("settings::{key}"), move || {
                // The short form takes four values of each key, other ones from key to key.
                let taken = |(j, _): &(usize, &&str)| long || j % 4 == i % 4;
                for (_, value) in VALUES.iter().enumerate().filter(taken) {
                    one(key, value)?;
                }
                Ok(())
            })
        })
        .collect()
}

/// Data of this pipeline, made once; no test writes into it.
fn data() -> &'static Run {
    static RUN: OnceLock<Run> = OnceLock::new();
    RUN.get_or_init(|| {
        let run = Run::new().set("train.device=cpu").set("sample.device=cpu");
        run.through(&DATA_STAGES).through(&["train"]);
        run
    })
}

fn one(key: &str, value: &str) -> Result<(), Failed> {
    let (section, _) = key.split_once('.').unwrap_or((key, ""));
    let programs: &[&str] = match section {
        "fetch" => &["fetch-parquet"],
        "tokenizer" => &["train-tokenizer"],
        "tokenize" => &["tokenize"],
        "pack" => &["pack-bin"],
        "model" | "train" => &["train"],
        "eval" => &["eval-ppl"],
        "sample" => &["sample"],
        _ => return Err(format!("{key}: which program reads it?").into()),
    };
    let run = Run::new();
    tests::tree::copy(&data().path(""), &run.path(""));
    for program in programs {
        let mut command: Command = run.command(program);
        // Short, whatever the key does; the key itself comes last and wins.
        for setting in ["train.device=cpu", "sample.device=cpu", "eval.device=cpu"] {
            command.args(["--set", setting]);
        }
        if *program == "train" {
            command.args(["--set", "train.steps=3", "--set", "train.max_minutes=0.03"]);
        }
        if *program == "sample" {
            command.args(["--set", "sample.n=1", "--set", "sample.prompts=[\"Once\"]"]);
        }
        command.args(["--set", &format!("{key}={value}")]);
        probe::run_head(command).check(&format!("{key}={value}"), &[0, 2, 3, 4])?;
    }
    Ok(())
}
