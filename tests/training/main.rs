//! The stages that use the model, as people run them: `train`, `eval-ppl`, `sample`.
//!
//! What the data stages would have made is written here by the same libraries, so that these tests need none of them.
mod model_stages;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::data::{tokenizer_of, with_data};
use tests::disk::SmallDisk;
use tests::{DATA_STAGES, Ended, Run, edit_manifest, files_below};

fn trained(run: Run) -> Run {
    let run = with_data(run);
    run.through(&["train"]);
    run
}

/// A run of a second or two, so that a signal finds it at work on a busy machine, too.
fn longer() -> Run {
    let settings = [
        "train.steps=450",
        "train.checkpoint_every=10",
        "train.accumulate=2",
        "train.batch=8",
        "train.log_every=5",
        "train.val_every=30",
    ];
    with_data(settings.into_iter().fold(Run::new(), Run::set))
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(60), "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn signal(child: &Child, name: &str) {
    let sent =
        Command::new("sh").args(["-c", &format!("kill -{name} {}", child.id())]).status().unwrap();
    assert!(sent.success());
}

/// Until the stage hears signals: Linux tells; elsewhere a while has to do.
fn until_it_listens(child: &Child) {
    let path = format!("/proc/{}/status", child.id());
    let caught = |status: String| {
        let mask = status
            .lines()
            .find_map(|line| line.strip_prefix("SigCgt:"))
            .map(|mask| u64::from_str_radix(mask.trim(), 16));
        matches!(mask, Some(Ok(mask)) if mask & 2 != 0)
    };
    if Path::new(&path).exists() {
        until("the stage listens", || fs::read_to_string(&path).is_ok_and(caught));
    } else {
        std::thread::sleep(Duration::from_millis(500));
    }
}

fn ended(child: Child, stage: &str) -> Ended {
    Ended::of(child.wait_with_output().unwrap(), stage)
}

fn lines(run: &Run) -> Vec<Value> {
    let text = fs::read_to_string(run.path("run/loss.jsonl")).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// The lines of loss.jsonl but for what depends on the clock.
fn losses(run: &Run) -> Vec<Value> {
    let mut lines = lines(run);
    for line in &mut lines {
        for key in ["elapsed_s", "tokens_per_second"] {
            assert!(line[key].is_number(), "{line}");
            line.as_object_mut().unwrap().remove(key);
        }
    }
    lines
}

/// Two runs made the same weights, optimizer slots and losses.
fn assert_same(a: &Run, b: &Run, what: &str) {
    for name in
        ["run/final/model.safetensors", "run/checkpoints/last.safetensors", "run/samples.md"]
    {
        assert!(a.read(name) == b.read(name), "{what}: {name} differs");
    }
    assert_eq!(losses(a), losses(b), "{what}");
}

/// What `sample` prints with these arguments.
fn told(run: &Run, args: &[&str]) -> String {
    run.run("sample", args).ok().stdout
}

fn checkpoints(run: &Run) -> Vec<String> {
    let names = files_below(&run.path("run/checkpoints"))
        .into_iter()
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned());
    names.collect()
}

/// `nohup train` goes on when its terminal is closed.
#[test]
#[cfg(unix)]
fn a_hangup_that_was_to_be_ignored_is_ignored() {
    let run = longer();
    let train = run.command("train");
    let mut command = Command::new("nohup");
    command.arg(train.get_program()).args(train.get_args());
    command.current_dir(train.get_current_dir().unwrap()).stdin(Stdio::null());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("step 50 is done", || lines(&run).len() > 10);
    signal(&child, "HUP");
    ended(child, "train").code(0);
    assert!(run.path("run/final").exists());
}

#[test]
fn an_interrupted_run_ends_with_the_same_bytes() {
    let undisturbed = longer();
    undisturbed.through(&["train"]);
    let steps: Vec<u64> =
        losses(&undisturbed).iter().map(|line| line["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, (0..450).step_by(5).chain([449, 450]).collect::<Vec<u64>>());
    for (name, code) in [("INT", 130), ("TERM", 130), ("HUP", 130), ("USR1", 130), ("KILL", -1)] {
        // On a busy machine the signal may come too late, at the end of the run: then it is tried again.
        let attempt = || {
            let run = longer();
            let child = run.start("train", &[]);
            until("step 50 is done", || lines(&run).len() > 10);
            signal(&child, name);
            (run, ended(child, "train"))
        };
        let (run, ended) = (0..30).map(|_| attempt()).find(|(_, ended)| ended.code != 0).unwrap();
        let ended = ended.code(code);
        assert!(!run.path("run/final").exists(), "{name} came too late");
        if code == 130 {
            ended.says(&["interrupted", "is saved", "go on"]);
            assert_eq!(run.partials(), [] as [&Path; 0]);
        }
        run.run("train", &[]).ok().says(&["going on with step"]);
        assert_same(&run, &undisturbed, name);
    }
}

#[test]
fn an_interrupt_at_the_very_start_and_at_the_very_end_lose_nothing() {
    let settings = |run: Run| {
        run.set("sample.max_tokens=600").set(format!("sample.prompts={:?}", ["Tom"; 20]))
    }; // they take a while
    let undisturbed = trained(settings(Run::new()));
    let run = with_data(settings(Run::new()));
    let child = run.start("train", &[]);
    until_it_listens(&child);
    signal(&child, "INT");
    ended(child, "train").code(130).says(&["interrupted"]);

    let child = run.start("train", &[]);
    until("the stories come", || lines(&run).last().is_some_and(|line| line["step"] == 8));
    signal(&child, "INT");
    ended(child, "train").code(130).says(&["interrupted"]);
    assert!(!run.path("run/manifest.json").exists());
    run.through(&["train"]);
    assert_same(&run, &undisturbed, "interrupted at both ends");
}

#[test]
fn the_number_of_threads_changes_no_byte() {
    let runs = ["1", "2"].map(|threads| {
        let run = with_data(Run::new());
        run.run("train", &["--threads", threads]).ok();
        run
    });
    assert_same(&runs[0], &runs[1], "1 and 2 threads");
}

#[test]
fn a_run_is_up_to_date_until_something_matters_and_then_kept_aside() {
    let run = trained(Run::new());
    let first = run.read("run/final/model.safetensors");
    let quickest = (0..5)
        .map(|_| {
            let started = Instant::now();
            run.run("train", &[]).ok().says(&["up to date"]);
            started.elapsed()
        })
        .min();
    assert!(
        quickest.unwrap() < Duration::from_millis(100),
        "{quickest:?} to find out that nothing is to be done"
    );
    run.run("train", &["--log-every", "1", "--checkpoint-every", "2", "--threads", "1"])
        .ok()
        .says(&["up to date"]);

    run.run("train", &["--force"]).ok().says(&["--force", "kept as", "run.1"]);
    assert!(
        run.read("run/final/model.safetensors") == first
            && run.read("run.1/final/model.safetensors") == first
    );
    run.run("train", &["--lr", "1e-3"]).ok().says(&["lr 0.003 -> 0.001", "kept as", "run.2"]);
    assert!(
        run.read("run/final/model.safetensors") != first
            && run.read("run.2/final/model.safetensors") == first
    );

    // An unfinished run whose settings.json is gone can still be forced out of the way.
    fs::remove_file(run.path("run/settings.json")).unwrap();
    fs::remove_file(run.path("run/manifest.json")).unwrap();
    run.run("train", &[]).code(2).says(&["other settings", "--fresh"]);
    run.run("train", &["--force"]).ok().says(&["run.3"]);
    assert!(run.read("run/final/model.safetensors") == first);
}

#[test]
fn a_damaged_checkpoint_is_set_aside_and_the_one_before_is_used() {
    let run = trained(Run::new());
    let whole = run.read("run/checkpoints/last.safetensors");
    let final_model = run.read("run/final/model.safetensors");
    let flipped = |at: usize| {
        whole
            .iter()
            .enumerate()
            .map(|(i, byte)| if i == at { byte ^ 4 } else { *byte })
            .collect::<Vec<u8>>()
    };
    for damaged in [flipped(whole.len() / 2), whole[..whole.len() / 2].to_vec(), Vec::new()] {
        // As on a disk that lost what it had: `last` and `step_00000008` are one file.
        for name in ["last", "step_00000008"] {
            fs::write(run.path(&format!("run/checkpoints/{name}.safetensors")), &damaged).unwrap();
        }
        fs::remove_file(run.path("run/manifest.json")).unwrap();
        run.run("train", &[]).ok().says(&[
            "last.safetensors",
            "set aside as",
            "last.damaged",
            "going on with step 4",
        ]);
        assert!(run.read("run/checkpoints/last.damaged") == damaged);
        assert!(
            run.read("run/final/model.safetensors") == final_model
                && run.read("run/checkpoints/last.safetensors") == whole
        );
    }
}

/// Version 0.1 took whole checkpoints for damaged and renamed them.
#[test]
fn whole_checkpoints_that_were_set_aside_are_taken_up_again() {
    let run = trained(Run::new());
    let final_model = run.read("run/final/model.safetensors");
    let checkpoints = |name: &str| run.path(&format!("run/checkpoints/{name}"));
    let (last, numbered) = (
        run.read("run/checkpoints/last.safetensors"),
        run.read("run/checkpoints/step_00000004.safetensors"),
    );
    let forget = || fs::remove_file(run.path("run/manifest.json")).unwrap();

    // The names are free.
    for name in ["last", "best", "step_00000004", "step_00000008"] {
        fs::rename(
            checkpoints(&format!("{name}.safetensors")),
            checkpoints(&format!("{name}.damaged")),
        )
        .unwrap();
    }
    forget();
    run.run("train", &[]).ok().says(&["last.damaged is whole after all", "going on with step 8"]);
    assert!(!checkpoints("last.damaged").exists() && checkpoints("best.safetensors").exists());
    assert!(run.read("run/checkpoints/last.safetensors") == last);

    // An older `last` was written since.
    fs::rename(checkpoints("last.safetensors"), checkpoints("last.damaged")).unwrap();
    fs::remove_file(checkpoints("step_00000008.safetensors")).unwrap();
    fs::write(checkpoints("last.safetensors"), &numbered).unwrap();
    fs::write(checkpoints("best.damaged"), b"damaged indeed").unwrap();
    forget();
    run.run("train", &[]).ok().says(&[
        "taken up again as",
        "step_00000008.safetensors",
        "going on with step 8",
    ]);
    assert!(run.read("run/final/model.safetensors") == final_model);
    assert!(
        run.read("run/checkpoints/last.safetensors") == last
            && run.read("run/checkpoints/best.damaged") == b"damaged indeed"
    );
}

#[test]
fn only_the_newest_checkpoints_are_kept() {
    let settings = ["train.steps=9", "train.checkpoint_every=2", "train.keep_last=2"];
    let run = trained(settings.into_iter().fold(Run::new(), Run::set));
    assert_eq!(
        checkpoints(&run),
        [
            "best.safetensors",
            "last.safetensors",
            "step_00000006.safetensors",
            "step_00000008.safetensors"
        ]
    );
    assert!(
        run.read("run/checkpoints/last.safetensors")
            != run.read("run/checkpoints/step_00000008.safetensors")
    );
}

#[test]
fn a_bin_with_other_bytes_than_its_sidecar_says_publishes_nothing() {
    // One bit of one token; and tokens beyond the vocabulary all over, which a batch meets before the check is done.
    for bin in ["train.bin", "val.bin"] {
        for (first, step, bit) in [(1000, usize::MAX, 1), (1, 8, 0x80)] {
            let run = with_data(Run::new());
            let mut bytes = run.read(bin);
            bytes.iter_mut().skip(first).step_by(step).for_each(|byte| *byte ^= bit);
            fs::write(run.path(bin), bytes).unwrap();
            run.run("train", &[]).code(3).says(&[bin, "expected", "make pack"]);
            assert_eq!((checkpoints(&run), run.path("run/final").exists()), (vec![], false));
        }
    }
    let run = trained(Run::new());
    let mut bytes = run.read("val.bin");
    bytes[1000] ^= 1;
    fs::write(run.path("val.bin"), bytes).unwrap();
    run.run("eval-ppl", &[]).code(3).says(&["val.bin", "SHA-256", "make pack"]);
    assert!(!run.path("eval.json").exists());
}

#[test]
fn a_tokenizer_that_did_not_make_the_bin_is_refused() {
    let run = with_data(Run::new());
    for other in [tokenizer_of(310), fs::read_to_string(run.path("tokenizer.json")).unwrap() + "\n"]
    {
        fs::write(run.path("tokenizer.json"), other).unwrap();
        run.run("train", &[]).code(3).says(&[
            "train.bin",
            "tokenizer.json",
            "vocabulary of 300",
            "remedy",
        ]);
        assert!(!run.path("run").exists());
    }
    fs::write(run.path("tokenizer.json"), "{").unwrap();
    run.run("train", &[]).code(3).says(&["tokenizer.json", "cannot be read"]);

    // A model of another vocabulary than the bin.
    let run = trained(Run::new());
    let other = with_data(Run::new());
    edit_manifest(&other.path("val.bin.json"), |sidecar| {
        sidecar["tokenizer"]["vocab_size"] = 299.into()
    });
    let model = run.path("run/final");
    other.run("eval-ppl", &["--model", model.to_str().unwrap()]).code(3).says(&[
        "val.bin",
        "299",
        "run/final",
    ]);
}

#[test]
fn a_context_that_does_not_fit_is_refused() {
    let run = trained(Run::new());
    run.run("eval-ppl", &["--set", "model.context=96"]).code(3).says(&[
        "model.context is 96",
        "at most 48",
        "make train",
    ]);
    run.run("sample", &["--set", "model.context=96"])
        .code(3)
        .says(&["model.context is 96", "at most 48"]);
    let run = with_data(Run::new().set("model.context=1000000"));
    run.run("train", &[]).code(3).says(&["train.bin", "tokens", "model.context = 1000000"]);
}

#[test]
fn a_missing_input_names_the_target_that_makes_it() {
    for (stage, missing, target) in [
        ("train", "tokenizer.json", "make tokenizer"),
        ("train", "train.bin", "make pack"),
        ("train", "train.bin.json", "make pack"),
        ("train", "val.bin", "make pack"),
        ("eval-ppl", "val.bin", "make pack"),
    ] {
        let run = with_data(Run::new());
        fs::remove_file(run.path(missing)).unwrap();
        run.run(stage, &[]).code(3).says(&[missing, "not found", target]);
    }
    let run = with_data(Run::new());
    for stage in ["eval-ppl", "sample"] {
        run.run(stage, &[]).code(3).says(&["config.json", "not found", "make train"]);
    }
    let run = trained(run);
    for name in ["model.safetensors", "tokenizer.json"] {
        fs::remove_file(run.path("run/final").join(name)).unwrap();
        run.run("sample", &[]).code(3).says(&[name, "not found", "make train"]);
        run.through(&["train"]);
    }
}

#[test]
fn wrong_settings_are_wrong_usage() {
    let run = trained(Run::new());
    for (stage, section) in [("train", "train"), ("eval-ppl", "eval"), ("sample", "sample")] {
        run.run(stage, &["--set", "train.stpes=3"])
            .code(2)
            .says(&["unknown key train.stpes", "train.steps"]);
        let device = format!("{section}.device");
        run.run(stage, &["--force", "--device", "abacus"])
            .code(2)
            .says(&[&device, "abacus", "cpu"]);
        run.run(stage, &["--no-such-flag"]).code(2);
    }
    run.run("train", &["--precision", "f12"]).code(2).says(&["train.precision", "f32"]);
    run.run("train", &["--steps", "0"]).code(2).says(&["train.steps"]);
    assert!(!run.path("run.1").exists(), "a wrong setting must not move the run");
}

#[test]
fn a_full_disk_loses_nothing_and_the_run_goes_on_when_there_is_room() {
    let run = Run::new();
    let Some(disk) = SmallDisk::mount(&run.path(""), 4096) else { return };
    let undisturbed = trained(Run::new());
    let checkpoint =
        fs::metadata(undisturbed.path("run/checkpoints/last.safetensors")).unwrap().len();
    let run = with_data(run);
    // Room for the first checkpoint, at step 4, but not for a second one beside it.
    disk.fill(checkpoint * 3 / 2);
    run.run("train", &[]).code(4).says(&["disk is full", "remedy"]);
    assert_eq!(run.partials(), [] as [&Path; 0]);
    assert_eq!(checkpoints(&run), ["last.safetensors", "step_00000004.safetensors"]);
    fs::remove_file(run.path("filler")).unwrap();
    run.run("train", &[]).ok().says(&["going on with step 4"]);
    assert_same(&run, &undisturbed, "after a full disk");

    disk.fill(0);
    run.run("eval-ppl", &[]).code(4).says(&["disk is full"]);
    assert_eq!((run.partials(), run.path("eval.json").exists()), (vec![], false));
    fs::remove_file(run.path("filler")).unwrap();
    run.through(&["eval-ppl"]);
}

#[test]
fn a_folder_that_cannot_be_written_is_wrong_usage() {
    let run = Run::new();
    let Some(disk) = SmallDisk::mount(&run.path(""), 4096) else { return };
    let run = with_data(run);
    disk.remount("ro");
    run.run("train", &[]).code(2).says(&["cannot be written", "--out"]);
    disk.remount("rw");
    run.through(&["train"]);
    disk.remount("ro");
    run.run("eval-ppl", &[]).code(2).says(&["cannot be written", "--out"]);
    run.run("sample", &[]).ok();
}

#[test]
fn the_whole_pipeline() {
    let run = Run::new();
    run.through(&DATA_STAGES).through(&["train", "eval-ppl"]);
    let story = told(&run, &["--n", "1", "--prompt", "Once upon a time"]);
    assert!(story.starts_with("Once upon a time"));
    let (train, val) = (run.json("train.bin.json"), run.json("val.bin.json"));
    let stories = |bin: &Value| bin["counts"]["stories"].as_u64().unwrap();
    assert_eq!(stories(&train) + stories(&val), 600);
    assert_eq!(
        run.json("eval.json")["tokens"].as_u64().unwrap() + 1,
        val["counts"]["tokens"].as_u64().unwrap()
    );
    let first = losses(&run)[0]["loss"].as_f64().unwrap();
    assert!((first - 500f64.ln()).abs() < 0.12, "{first}");
    assert_eq!(run.partials(), [] as [&Path; 0]);
    // Once more, nothing is to be done, anywhere.
    for stage in DATA_STAGES.into_iter().chain(["train", "eval-ppl"]) {
        run.run(stage, &[]).ok().says(&["up to date"]);
    }
}
