//! Stdout that nobody reads, that is full or that is closed: no stage panics, and what it made is whole.
#![cfg(target_os = "linux")]
use std::fs::OpenOptions;
use std::process::{Command, Stdio};

use tests::{Ended, Run, STAGES};

#[derive(Clone, Copy, Debug)]
enum Stdout {
    /// A pipe whose reader has gone: `stage | true`.
    Unread,
    /// `stage > /dev/full`
    Full,
    /// `stage >&-`
    Closed,
}

fn ended(run: &Run, stage: &str, args: &[&str], stdout: Stdout) -> Ended {
    let mut command = run.command(stage);
    match stdout {
        Stdout::Unread => {
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            command.stdout(writer);
        }
        Stdout::Full => {
            command.stdout(OpenOptions::new().write(true).open("/dev/full").unwrap());
        }
        Stdout::Closed => {
            let mut shell = Command::new("sh");
            shell.args(["-c", "exec \"$0\" \"$@\" >&-"]).arg(command.get_program());
            shell.args(command.get_args()).stdin(Stdio::null());
            command.get_current_dir().map(|folder| shell.current_dir(folder));
            command = shell;
        }
    }
    command.args(args).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    Ended::of(child.wait_with_output().unwrap(), stage)
}

#[test]
fn every_stage_ends_well_whatever_becomes_of_its_results() {
    let run = Run::new();
    for stage in STAGES {
        // What a stage has always to say on stdout. `train` has that only with --list-devices.
        let talks = stage != "train";
        // The first makes it, the others make it again.
        for stdout in [Stdout::Full, Stdout::Unread, Stdout::Closed] {
            let args: &[&str] = if stage == "sample" { &["--n", "1"] } else { &["--force"] };
            let ended = ended(&run, stage, args, stdout);
            match stdout {
                Stdout::Full if talks => {
                    ended.code(4).says(&["stdout", "no space", "remedy: "]);
                }
                _ => {
                    ended.code(0).says(&[]);
                }
            }
            assert!(run.partials().is_empty(), "{stage} {stdout:?}: {:?}", run.partials());
        }
        if stage != "sample" {
            run.run(stage, &[]).ok().says(&["up to date"]);
        }
    }
    ended(&run, "train", &["--list-devices"], Stdout::Full).code(4).says(&["stdout", "remedy: "]);
    ended(&run, "train", &["--list-devices"], Stdout::Unread).ok().says(&[]);
}

#[test]
fn help_and_usage_need_no_stdout() {
    let run = Run::new();
    for stage in STAGES {
        for stdout in [Stdout::Full, Stdout::Unread, Stdout::Closed] {
            ended(&run, stage, &["--help"], stdout).ok().says(&[]);
            ended(&run, stage, &["--no-such-flag"], stdout).code(2).says(&["--no-such-flag"]);
        }
    }
}
