//! Runs that one leaves alone and looks at from time to time: what `train` keeps, shows, and does when something goes wrong.
use std::fs;
use std::process::Command;
use std::sync::OnceLock;

use model::Checkpoint;
use serde_json::Value;
use tests::{DATA_STAGES, Ended, Run};

/// A run of 40 steps whose data is there.
fn run() -> Run {
    static DATA: OnceLock<Run> = OnceLock::new();
    let data = DATA.get_or_init(|| {
        let run = Run::new();
        run.through(&DATA_STAGES);
        run
    });
    let settings = [
        "train.steps=40",
        "train.checkpoint_every=10",
        "train.val_every=8",
        "train.log_every=2",
        "train.warmup=4",
    ];
    let run = settings.into_iter().fold(Run::new(), Run::set);
    fs::create_dir_all(run.path("")).unwrap();
    for name in ["tokenizer.json", "train.bin", "train.bin.json", "val.bin", "val.bin.json"] {
        fs::copy(data.path(name), run.path(name)).unwrap();
    }
    run
}

/// What every run of these settings ends with.
fn undisturbed() -> &'static Run {
    static UNDISTURBED: OnceLock<Run> = OnceLock::new();
    UNDISTURBED.get_or_init(|| {
        let run = run();
        run.through(&["train"]);
        run
    })
}

fn lines(run: &Run) -> Vec<Value> {
    let text = fs::read_to_string(run.path("run/loss.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn losses(run: &Run) -> Vec<(u64, f64, Option<f64>)> {
    let fields = |line: &Value| {
        (line["step"].as_u64().unwrap(), line["loss"].as_f64().unwrap(), line["val_loss"].as_f64())
    };
    lines(run).iter().map(fields).collect()
}

fn checkpoint(run: &Run, name: &str) -> Checkpoint {
    Checkpoint::load(&run.path(&format!("run/checkpoints/{name}.safetensors"))).unwrap()
}

fn with_fault(run: &Run, fault: &str, args: &[&str]) -> Ended {
    let mut command: Command = run.command("train");
    Ended::of(command.args(args).env("BEDTIME_FAULT", fault).output().unwrap(), "train")
}

#[test]
fn best_is_the_state_with_the_lowest_validation_loss() {
    let run = undisturbed();
    let along = losses(run)
        .into_iter()
        .filter(|(step, _, _)| (1..40).contains(step))
        .filter_map(|(step, _, val)| Some((step, val?)));
    let (step, loss) = along.min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    let best = checkpoint(run, "best");
    let kept = best.state.best.unwrap();
    assert_eq!((best.state.step, kept.step, kept.val_loss), (step, step, loss));
    assert_eq!(checkpoint(run, "last").state.best, Some(kept));
    assert!(!best.state.plan.is_empty());
}

#[test]
fn the_same_stories_are_told_before_training_at_every_checkpoint_and_at_the_end() {
    let run = undisturbed();
    let kept = fs::read_to_string(run.path("run/stories.jsonl")).unwrap();
    let told: Vec<Value> = kept.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        told.iter().map(|told| told["step"].as_u64().unwrap()).collect::<Vec<_>>(),
        [0, 10, 20, 30, 40]
    );
    let prompts = |told: &Value| {
        told["stories"].as_array().unwrap().iter().map(|s| s["prompt"].clone()).collect::<Vec<_>>()
    };
    assert!(
        told.iter().all(|each| prompts(each).len() == 10 && prompts(each) == prompts(&told[0]))
    );
    let text = fs::read_to_string(run.path("run/samples.md")).unwrap();
    for part in [
        "# Stories before training and after 40 steps",
        "synthetic",
        "## After 10 steps",
        "## After 30 steps",
    ] {
        assert!(text.contains(part), "{part} is missing from\n{text}");
    }
}

#[test]
fn pictures_a_report_and_event_files_are_there() {
    let run = undisturbed();
    let image = run.read("run/loss.png");
    assert_eq!(image[..8], *b"\x89PNG\r\n\x1a\n");
    assert_eq!(
        (image[16..20].to_vec(), image[20..24].to_vec()),
        (1000u32.to_be_bytes().to_vec(), 600u32.to_be_bytes().to_vec())
    );
    let page = fs::read_to_string(run.path("run/report.html")).unwrap();
    for part in [
        "finished",
        "step 40 of 40",
        "Once upon a time",
        "d_model = 32",
        "Seen so far",
        "Learning rate",
        "</html>",
    ] {
        assert!(page.contains(part), "{part} is missing from report.html");
    }
    assert!(!page.contains("http-equiv"), "a run that ended needs no refresh");
    let events: Vec<_> =
        fs::read_dir(run.path("run/tb")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(events.len(), 1);
    let bytes = fs::read(&events[0]).unwrap();
    let (mut rest, mut records) = (bytes.as_slice(), 0);
    while !rest.is_empty() {
        let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
        rest = &rest[16 + length..];
        records += 1;
    }
    // Version and start; a line each; the stories of five moments.
    assert_eq!(records, 2 + lines(run).len() + 5);
}

#[test]
fn a_run_ends_where_it_is_told_to() {
    let run = run();
    let along: Vec<f64> =
        losses(undisturbed()).iter().filter(|line| line.0 < 40).filter_map(|line| line.2).collect();
    // Reached at the third validation, at step 16.
    let until = format!("{}", along[2]);
    run.run("train", &["--until-loss", &until]).ok().says(&[
        "ended before train.steps",
        "train.until_loss",
        "16 steps in",
    ]);
    assert_eq!(checkpoint(&run, "last").state.step, 16);
    run.run("train", &["--until-loss", &until]).ok().says(&["up to date"]);
    // Without that end the same run goes on, to the same bytes.
    run.run("train", &[]).ok().says(&["going on with step 16"]);
    assert!(
        run.read("run/final/model.safetensors")
            == undisturbed().read("run/final/model.safetensors")
    );

    let run = self::run();
    run.run("train", &["--steps", "1000000", "--max-minutes", "0.02"])
        .ok()
        .says(&["ended before train.steps", "0.02 minutes are over"]);
    let last = lines(&run).pop().unwrap();
    assert!(last["lr"].as_f64().unwrap() < 1.1 * 3e-4, "the learning rate is at its end: {last}");
    assert!(
        last["step"].as_u64().unwrap() > 10 && run.path("run/final/model.safetensors").exists()
    );
    // Weights that stay as they are: no validation after the first, at step 8, is better.
    let run = self::run();
    run.run("train", &["--lr", "1e-30", "--patience", "2"]).ok().says(&[
        "ended before train.steps",
        "no validation after step 8 was better",
        "24 steps in",
    ]);
    run.run("train", &["--lr", "1e-30", "--patience", "2"]).ok().says(&["up to date"]);
    // More patience goes on with the same run.
    run.run("train", &["--lr", "1e-30", "--patience", "3"])
        .ok()
        .says(&["going on with step 24", "32 steps in"]);
    for (flag, value) in
        [("--max-minutes", "0"), ("--until-loss", "-1"), ("--on-nan", "pray"), ("--patience", "0")]
    {
        run.run("train", &[&format!("{flag}={value}")])
            .code(2)
            .says(&[&flag[2..].replace('-', "_")]);
    }
}

#[test]
fn a_loss_that_is_not_finite_ends_the_run_and_names_step_and_tensor() {
    let run = run();
    let words = [
        "step 25: the loss is NaN",
        "not finite first: the weights model.layers.1.mlp.down_proj.weight",
        "kept",
        "train.lr",
    ];
    with_fault(&run, "nan@25", &[]).code(4).says(&words);
    let last = checkpoint(&run, "last");
    assert!(last.state.step == 20 && last.weights.iter().all(|weight| weight.is_finite()));
    assert!(!run.path("run/final").exists());
    // What ended it is gone: the run goes on, and nothing of it is left.
    run.run("train", &[]).ok().says(&["going on with step 20"]);
    assert!(
        run.read("run/final/model.safetensors")
            == undisturbed().read("run/final/model.safetensors")
    );
    assert_eq!(losses(&run), losses(undisturbed()));
}

#[test]
fn rollback_goes_back_and_on_without_the_batch_three_times_at_most() {
    let run = run();
    let ended = with_fault(&run, "nan@25", &["--on-nan", "rollback"]).ok();
    let ended = ended.says(&["step 25: the loss is NaN", "back to step 20", "1 of 3"]);
    assert_eq!(ended.stderr.matches("back to step").count(), 1);
    let (got, expected) = (losses(&run), losses(undisturbed()));
    let steps =
        |lines: &[(u64, f64, Option<f64>)]| lines.iter().map(|line| line.0).collect::<Vec<_>>();
    assert_eq!(steps(&got), steps(&expected), "no gap, no double line");
    // Up to step 24 the same run; from the batch that was taken out on another one.
    let before = got.iter().zip(&expected).take_while(|(a, b)| a == b).map(|(a, _)| a.0).last();
    assert_eq!(before, Some(24));
    assert_eq!(checkpoint(&run, "last").state.redrawn, [25]);
    let page = fs::read_to_string(run.path("run/report.html")).unwrap();
    assert!(page.contains("back to step 20"), "the report lists what happened");

    // Before the first checkpoint there is only the start to go back to.
    let run = self::run();
    with_fault(&run, "nan@5", &["--on-nan", "rollback"]).ok().says(&["back to step 0"]);
    assert_eq!(losses(&run)[..3], losses(undisturbed())[..3]);

    let run = self::run();
    let ended = with_fault(&run, "nan@25x9", &["--on-nan", "rollback"]).code(4).says(&[
        "3 of 3",
        "tried: 3 times",
        "kept",
    ]);
    assert_eq!(ended.stderr.matches("back to step 20").count(), 3);
    run.run("train", &["--on-nan", "rollback"]).ok().says(&["going on with step 20"]);
}

#[test]
fn how_a_run_ends_may_change_on_the_way() {
    let run = run();
    with_fault(&run, "nan@25", &[]).code(4);
    with_fault(&run, "nan@35", &["--on-nan", "rollback", "--max-minutes", "500"])
        .ok()
        .says(&["going on with step 20", "back to step 30"]);
    assert!(!run.path("run.1").exists(), "it is the same run");
}

#[test]
fn a_run_can_be_started_over_with_nothing_deleted() {
    let run = run();
    run.run("train", &["--steps", "4"]).ok();
    run.run("train", &["--steps", "4", "--fresh"]).ok().says(&["kept as", "run.1"]);
    assert!(run.read("run/final/model.safetensors") == run.read("run.1/final/model.safetensors"));
}

#[test]
fn two_runs_do_not_write_into_one_folder() {
    let run = run();
    let mut first = run.start("train", &["--steps", "1000000"]);
    let started = std::time::Instant::now();
    while !run.path("run/loss.jsonl").exists() {
        assert!(started.elapsed().as_secs() < 60, "the first run does not begin");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    run.run("train", &["--steps", "1000000"]).code(4).says(&["another train", "remedy"]);
    first.kill().unwrap();
    first.wait().unwrap();
    run.run("train", &["--steps", "1000000", "--max-minutes", "0.01", "--fresh"]).ok();
}

#[test]
fn other_kernels_than_those_of_the_checkpoint_are_told() {
    let run = run();
    with_fault(&run, "nan@25", &[]).code(4);
    let path = run.path("run/checkpoints/last.safetensors");
    let mut last = Checkpoint::load(&path).unwrap();
    last.state.plan = "tiles of 16".into();
    last.save(&path).unwrap();
    run.run("train", &[]).ok().says(&[
        "other kernels (tiles of 16)",
        "other rounding",
        "going on with step 20",
    ]);
}
