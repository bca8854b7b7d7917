//! Two of everything at once, in one folder: all end well, and what lies there in the end fits its manifests.
use std::path::Path;
use std::process::{Command, Stdio};

use stage::{Manifest, hash_file};
#[cfg(unix)]
use tests::{DATA_STAGES, Ended, Run, files_below};

/// As often as a race wants to be tried.
fn rounds() -> usize {
    if std::env::var_os("BEDTIME_LONG").is_some() { 20 } else { 2 }
}

/// Every file that a manifest below OUT names is there as it says.
fn fits(out: &Path) {
    let mut manifests = 0;
    for path in files_below(out) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with('.') || !(name.contains("manifest") || name.ends_with(".bin.json")) {
            continue;
        }
        let manifest = Manifest::read(&path).unwrap();
        manifests += 1;
        for output in &manifest.outputs {
            let file = path.with_file_name(&output.name);
            let found = hash_file(&file).unwrap();
            assert_eq!(
                (found.bytes, &found.sha256),
                (output.bytes, &output.sha256),
                "{}",
                file.display()
            );
        }
    }
    assert!(manifests > 0, "no manifest below {}", out.display());
}

/// Starts them together and waits for all.
fn together(commands: Vec<Command>, stage: &str) -> Vec<Ended> {
    let start = |mut command: Command| {
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let children: Vec<_> = commands.into_iter().map(start).collect();
    let wait = |child: std::process::Child| Ended::of(child.wait_with_output().unwrap(), stage);
    children.into_iter().map(wait).collect()
}

fn of(run: &Run, stage: &str, args: &[&str], number: usize) -> Vec<Command> {
    let one = |_| {
        let mut command = run.command(stage);
        command.args(args);
        command
    };
    (0..number).map(one).collect()
}

#[test]
fn two_of_every_data_stage() {
    for _ in 0..rounds() {
        let run = Run::new();
        for stage in DATA_STAGES {
            for ended in together(of(&run, stage, &[], 2), stage) {
                ended.ok();
            }
            fits(&run.path(""));
        }
        for stage in DATA_STAGES {
            run.run(stage, &[]).ok().says(&["up to date"]);
            // With --force neither may skip the work.
            for ended in together(of(&run, stage, &["--force"], 2), stage) {
                ended.ok();
            }
            fits(&run.path(""));
        }
        assert_eq!(run.partials(), Vec::<std::path::PathBuf>::new());
    }
}

#[test]
fn parts_beside_one_another_and_beside_the_whole() {
    for _ in 0..rounds() {
        let run = Run::new();
        for stage in ["fetch-parquet", "train-tokenizer", "tokenize"] {
            if stage == "train-tokenizer" {
                run.run(stage, &[]).ok();
                continue;
            }
            let mut commands = of(&run, stage, &["--shard", "1/2"], 2);
            commands.extend(of(&run, stage, &["--shard", "2/2"], 2));
            for ended in together(commands, stage) {
                ended.ok();
            }
            fits(&run.path(""));
        }
        let mut commands = of(&run, "tokenize", &["--shard", "1/2", "--force"], 1);
        commands.extend(of(&run, "tokenize", &["--force"], 1));
        for ended in together(commands, "tokenize") {
            ended.ok();
        }
        run.run("tokenize", &[]).ok();
        run.run("pack-bin", &[]).ok();
        fits(&run.path(""));
    }
}

#[test]
fn sixteen_evaluations() {
    let run = Run::new().set("train.device=cpu").set("eval.device=cpu");
    run.through(&DATA_STAGES).through(&["train"]);
    for round in 0..rounds() {
        let args: &[&str] =
            if round == 0 { &["--threads", "1"] } else { &["--threads", "1", "--force"] };
        for ended in together(of(&run, "eval-ppl", args, 16), "eval-ppl") {
            assert!(ended.stdout.contains("perplexity"), "{}", ended.stderr);
            ended.ok();
        }
        fits(&run.path(""));
    }
}

/// The holder is named, and a signal ends the wait.
#[test]
fn a_second_one_waits_with_words() {
    let run = Run::new();
    let held = {
        let log = stage::Log::new("test", stage::LogFormat::Text);
        stage::Lock::try_take(&run.path(""), "fetch-parquet", &log).unwrap().unwrap()
    };
    let child = run.start("fetch-parquet", &[]);
    std::thread::sleep(std::time::Duration::from_millis(400));
    assert!(!run.path("raw/manifest.json").exists());
    let killed = Command::new("sh").args(["-c", &format!("kill -INT {}", child.id())]).status();
    assert!(killed.unwrap().success());
    Ended::of(child.wait_with_output().unwrap(), "fetch-parquet")
        .code(130)
        .says(&["waiting for another fetch-parquet"]);
    let child = run.start("fetch-parquet", &[]);
    drop(held);
    Ended::of(child.wait_with_output().unwrap(), "fetch-parquet").ok();
    fits(&run.path(""));
}

#[cfg(unix)]
fn signal(child: &std::process::Child, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status();
    assert!(sent.unwrap().success());
}

/// As on a file system without locks: whoever comes next locks another file.
#[cfg(unix)]
fn without_lock(run: &Run) {
    for path in files_below(&run.path("")) {
        if path.extension().is_some_and(|extension| extension == "lock") {
            std::fs::remove_file(path).unwrap();
        }
    }
}

/// An attempt that hangs while it writes, and goes on when another one, which no lock kept away, has made everything:
/// with the same settings both end well, with others one of them may have to be run again, and what is published fits.
#[cfg(unix)]
#[test]
fn one_that_hangs_and_goes_on_publishes_nothing_that_does_not_fit() {
    let others: [(&str, &[&str]); 4] = [
        ("fetch-parquet", &["--set", "fetch.seed=8"]),
        ("train-tokenizer", &["--set", "tokenizer.vocab_size=290"]),
        ("tokenize", &["--set", "tokenize.shards=2"]),
        ("pack-bin", &["--set", "pack.seed=8"]),
    ];
    let mut stopped = 0;
    for round in 0..2 * rounds() {
        let run = Run::new();
        for (stage, other) in others {
            let same = round % 2 == 0;
            let started = std::time::Instant::now();
            run.run(stage, &[]).ok();
            let time = started.elapsed();
            let mut hung = run.start(stage, &["--force"]);
            // At another moment in each round.
            std::thread::sleep(time.mul_f64((0.37 * (round + 1) as f64) % 1.0));
            let met = hung.try_wait().unwrap().is_none();
            stopped += usize::from(met);
            if met {
                signal(&hung, "STOP");
                without_lock(&run);
            }
            run.run(stage, if same { &["--force"] } else { other }).ok();
            fits(&run.path(""));
            if met {
                signal(&hung, "CONT");
            }
            let hung = Ended::of(hung.wait_with_output().unwrap(), stage);
            let refused = [3, 4].contains(&hung.code) && !same;
            assert!(hung.code == 0 || refused, "{}: {}", hung.code, hung.stderr);
            if hung.code == 0 {
                fits(&run.path(""));
            }
            // Of two results, what the loser had finished may be in the way; then it is set aside.
            let next = run.run(stage, &[]);
            if next.code != 0 {
                next.code(3).says(&["in the way", "--force"]);
                run.run(stage, &["--force"]).ok();
            }
            fits(&run.path(""));
        }
        assert_eq!(run.partials(), Vec::<std::path::PathBuf>::new());
    }
    assert!(stopped > 0, "every attempt had ended before it could be stopped");
}
