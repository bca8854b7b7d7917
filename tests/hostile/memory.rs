//! Sizes that no machine has room for, and files that get shorter while they are read.
use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use tests::{DATA_STAGES, Ended, Run, binary};

use crate::probe;

pub(crate) fn trials() -> Vec<Trial> {
    type Test = fn() -> Result<(), Failed>;
    let all: [(&str, Test); 5] = [
        ("sizes_beyond_all_memory", sizes_beyond_all_memory),
        ("the_batch_that_fits_is_named", the_batch_that_fits_is_named),
        ("the_stories_that_fit_are_named", the_stories_that_fit_are_named),
        ("little_address_space", little_address_space),
        ("bins_shortened_while_trained_on", bins_shortened_while_trained_on),
    ];
    all.into_iter().map(|(name, test)| Trial::test(format!("memory::{name}"), test)).collect()
}

/// A small run, trained; nothing is written into it.
fn trained() -> &'static Run {
    static RUN: OnceLock<Run> = OnceLock::new();
    RUN.get_or_init(|| {
        let run = Run::new().set("train.device=cpu").set("sample.device=cpu");
        run.through(&DATA_STAGES).through(&["train"]);
        run
    })
}

/// A copy of it.
fn copy() -> Run {
    let run = trained().beside();
    tests::tree::copy(&trained().path(""), &run.path(""));
    run
}

fn command(run: &Run, program: &str, args: &[&str]) -> Command {
    let mut command = run.command(program);
    command.args(args);
    command
}

fn sizes_beyond_all_memory() -> Result<(), Failed> {
    for (program, setting, says) in [
        ("train", "model.d_model=65536", "d_model = 65536"),
        ("train", "model.d_model=200000", "d_model = 200000"),
        ("train", "model.d_mlp=4294967295", "d_mlp = 4294967295: expected at most"),
        ("train", "model.n_layer=4294967295", "n_layer = 4294967295: expected at most"),
        ("train", "model.context=16777216", "at least 16777217"),
        ("train", "train.batch=4294967295", "fits: a batch of"),
        ("train", "train.accumulate=4294967295", "expected at most 65536"),
        ("sample", "sample.batch=4294967295", ""),
    ] {
        let ended = probe::run(command(&copy(), program, &["--set", setting]));
        match says {
            "" => ended.check(setting, &[0])?, // no more are told at once than there are stories
            _ => ended.check(setting, &[2, 3, 4])?,
        }
        if !ended.stderr.contains(says) {
            return Err(format!("{setting}: no {says:?} in\n{}", ended.stderr).into());
        }
    }
    for threads in ["18446744073709551615", "4097", "0"] {
        let ended = probe::run(command(trained(), "pack-bin", &["--threads", threads]));
        ended.check(threads, &[2])?;
    }
    // Stories without an end for whoever reads them; nobody reads more than the first.
    let mut child = command(trained(), "sample", &["--n", "300000000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut first = [0; 64];
    std::io::Read::read_exact(child.stdout.as_mut().ok_or("no stdout")?, &mut first)?;
    drop(child.stdout.take());
    let code = child.wait()?.code();
    if code != Some(0) {
        return Err(format!("--n 300000000 read by head: ended with {code:?}").into());
    }
    Ok(())
}

/// The remedy that is printed is one.
fn the_batch_that_fits_is_named() -> Result<(), Failed> {
    let run = copy();
    let with = |args: &[&str]| {
        let mut command = command(&run, "train", &["--set", "model.d_mlp=512", "--steps", "2"]);
        let output = command.args(args).env("BEDTIME_MEMORY_MIB", "24").output()?;
        Ok::<_, Failed>(Ended::of(output, "train"))
    };
    let ended = with(&["--set", "train.batch=64"])?.code(4).says(&[
        "memory",
        "needed:",
        "fits: a batch of",
    ]);
    let number = |key: &str| {
        let rest = ended.stderr.split(key).nth(1).unwrap_or_default();
        rest.chars().take_while(char::is_ascii_digit).collect::<String>()
    };
    let (batch, accumulate) = (number("train.batch="), number("train.accumulate="));
    if batch.parse::<u32>()? * accumulate.parse::<u32>()? != 64 {
        return Err(ended.stderr.into());
    }
    let [batch, accumulate] =
        [format!("train.batch={batch}"), format!("train.accumulate={accumulate}")];
    with(&["--set", &batch, "--set", &accumulate])?.ok();
    Ok(())
}

fn the_stories_that_fit_are_named() -> Result<(), Failed> {
    let mut all =
        command(trained(), "sample", &["--n", "10000", "--batch", "10000", "--max-tokens", "1"]);
    let output = all.env("BEDTIME_MEMORY_MIB", "100").output()?;
    Ended::of(output, "sample").code(4).says(&["stories side by side need", "fits: "]);
    Ok(())
}

/// `ulimit -v` stands for a machine that gives no more: words, not an abort.
fn little_address_space() -> Result<(), Failed> {
    if cfg!(not(target_os = "linux")) {
        return Ok(()); // other systems do not keep this limit
    }
    let sizes = "--set model.d_model=512 --set model.d_mlp=1536 --set model.n_layer=6 --threads 2";
    let run = copy();
    for mib in [180, 250, 400] {
        let mut command = Command::new("sh");
        let line = format!("ulimit -v {}; exec \"$0\" \"$@\" {sizes}", mib * 1024);
        command.current_dir(run.input("")).args(["-c", &line]).arg(binary("train"));
        command.args(["--config", "tiny.toml", "--out"]).arg(run.path(""));
        command.args(["--set", "train.device=cpu", "--steps", "1"]);
        probe::run(command).check(&format!("{mib} MiB"), &[4])?;
    }
    Ok(())
}

/// What `cp` over a file or `rsync --inplace` do to it: the steps until then are kept.
fn bins_shortened_while_trained_on() -> Result<(), Failed> {
    for name in ["train.bin", "val.bin"] {
        let run = Run::new().set("train.device=cpu").set("train.checkpoint_every=1000000");
        let run = run.set("train.steps=1000000").set("train.val_every=20");
        run.through(&DATA_STAGES);
        let mut child = run.start("train", &[]);
        let started = Instant::now();
        // The content is known to fit once a validation along the way made a checkpoint.
        while !run.path("run/checkpoints/best.safetensors").exists() {
            let over = child.try_wait().is_ok_and(|status| status.is_some());
            if over || started.elapsed() > Duration::from_secs(60) {
                let _ = child.kill();
                let _ = child.wait();
                return Err("the training made no checkpoint".into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let cut =
            File::options().write(true).open(run.path(name)).and_then(|file| file.set_len(100));
        let output = child.wait_with_output()?;
        cut?;
        let ended = Ended::of(output, "train").code(3).says(&[
            name,
            "100 bytes: it was shortened",
            "expected:",
            "is saved",
        ]);
        let saved =
            ended.stderr.split("step ").filter_map(|rest| rest.split_once(" of 1000000 is saved"));
        let saved: u64 = saved.last().ok_or("no step is saved")?.0.parse()?;
        let last = model::Checkpoint::load(&run.path("run/checkpoints/last.safetensors"))
            .map_err(|failure| failure.to_string())?;
        if last.state.step != saved {
            return Err(format!("step {saved} was said, {} is saved", last.state.step).into());
        }
        // Once the file is whole, the run goes on.
        fs::remove_file(run.path(name))?;
        run.run("pack-bin", &[]).ok();
        run.run(
            "train",
            &["--set", &format!("train.steps={}", saved + 1), "--set", "train.val_every=1000000"],
        )
        .code(0);
    }
    Ok(())
}
