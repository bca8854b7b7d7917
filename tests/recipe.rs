//! How a model is trained, as settings: each choice goes on where it stopped, to the bit, and is part of what a resumed run
//! has to agree on.
use std::fs;

use model::Checkpoint;
use serde_json::Value;
use tests::data::with_data;
use tests::{DATA_STAGES, Run};

const STEPS: u64 = 20;

/// A run of `STEPS` steps with these settings on top.
fn run(settings: &[&str]) -> Run {
    let cadences = ["train.steps=20", "train.checkpoint_every=5", "train.warmup=4"];
    let all = cadences.iter().chain(settings).copied();
    with_data(all.fold(Run::new(), Run::set))
}

/// The learning rate of every line of loss.jsonl but the last, which repeats the end.
fn learning_rates(run: &Run) -> Vec<(u64, f64)> {
    let text = fs::read_to_string(run.path("run/loss.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.map(|line| (line["step"].as_u64().unwrap(), line["lr"].as_f64().unwrap())).collect()
}

/// Trains with these settings twice: at one go, and going on from the checkpoint at step 10. Both end with the same bytes.
fn resumes_to_the_bit(settings: &[&str]) -> Run {
    let whole = run(settings);
    whole.through(&["train"]);
    let parts = run(settings);
    parts.through(&["train"]);
    // As a kill right after step 10 leaves it.
    let folder = parts.path("run/checkpoints");
    fs::copy(folder.join("step_00000010.safetensors"), folder.join("last.safetensors")).unwrap();
    for name in ["step_00000015.safetensors", "step_00000020.safetensors"] {
        fs::remove_file(folder.join(name)).unwrap();
    }
    fs::remove_dir_all(parts.path("run/final")).unwrap();
    fs::remove_file(parts.path("run/manifest.json")).unwrap();
    parts.run("train", &[]).ok().says(&["going on with step 10"]);
    for name in ["run/final/model.safetensors", "run/checkpoints/last.safetensors"] {
        assert!(whole.read(name) == parts.read(name), "{settings:?}: {name} differs");
    }
    assert_eq!(learning_rates(&whole), learning_rates(&parts), "{settings:?}");
    whole
}

#[test]
fn every_schedule_resumes_to_the_bit() {
    for (settings, at_12, at_end) in [
        (&["train.schedule=cosine"][..], 0.55, 0.1),
        (&["train.schedule=linear", "train.final_lr_fraction=0"], 0.5, 0.0),
        (
            &["train.schedule=wsd", "train.decay_fraction=0.25", "train.final_lr_fraction=0.2"],
            1.0,
            0.2,
        ),
    ] {
        let rates = learning_rates(&resumes_to_the_bit(settings));
        for (step, share) in [(12, at_12), (STEPS, at_end)] {
            let (_, found) = rates.iter().rev().find(|(at, _)| *at == step).unwrap();
            assert!((found - 3e-3 * share).abs() < 1e-9, "{settings:?}, step {step}: {found}");
        }
    }
}

#[test]
fn blocks_that_begin_as_the_identity_learn_and_resume_to_the_bit() {
    let run = resumes_to_the_bit(&["train.zero_init_residual=true"]);
    let checkpoint = Checkpoint::load(&run.path("run/checkpoints/last.safetensors")).unwrap();
    let table = model::TensorTable::new(&checkpoint.state.config);
    for layer in &table.layers {
        for projection in [&layer.attention_out, &layer.down] {
            assert!(checkpoint.weights[projection.clone()].iter().all(|&weight| weight != 0.0));
        }
    }
}

#[test]
fn muon_resumes_to_the_bit_on_any_number_of_threads() {
    for settings in [
        &["train.optimizer.kind=muon"][..],
        &["train.optimizer.kind=muon", "train.optimizer.cautious_decay=true", "train.batch=3"],
    ] {
        let whole = resumes_to_the_bit(settings);
        let one = run(settings);
        one.run("train", &["--threads", "1"]).ok();
        let name = "run/checkpoints/last.safetensors";
        assert!(whole.read(name) == one.read(name), "{settings:?}: one thread");
        let checkpoint = Checkpoint::load(&whole.path(name)).unwrap();
        assert_eq!(checkpoint.slots.keys().collect::<Vec<_>>(), ["adam_v", "momentum"]);
    }
}

#[test]
fn a_run_with_another_recipe_is_another_run() {
    let run = run(&[]);
    run.through(&["train"]);
    for (number, flag, value, says) in [
        (1, "--schedule", "linear", "settings changed: schedule"),
        (2, "--final-lr-fraction", "0.5", "settings changed: final_lr_fraction"),
        (3, "--sampling", "epochs", "settings changed: sampling"),
        (4, "--align", "stories", "settings changed: align"),
        (5, "--set", "train.optimizer.kind=muon", "optimizer.kind \"adamw\" -> \"muon\""),
        (6, "--zero-init-residual", "true", "settings changed: zero_init_residual"),
    ] {
        let kept = format!("run.{number}");
        run.run("train", &[flag, value]).ok().says(&[says, &kept]);
        fs::remove_dir_all(run.path("run")).unwrap();
        fs::rename(run.path(&kept), run.path("run")).unwrap();
        fs::create_dir(run.path(&kept)).unwrap();
    }
    for (setting, says) in [
        ("train.schedule=cosin", "cosin"),
        ("train.optimizer.cautious_decay=true", "cautious_decay: adamw has none"),
        ("train.final_lr_fraction=1.5", "train.final_lr_fraction = 1.5: expected a share"),
        ("train.decay_fraction=-0.1", "train.decay_fraction = -0.1: expected a share"),
    ] {
        run.run("train", &["--set", setting]).code(2).says(&[says]);
    }
}

#[test]
fn every_sampling_resumes_to_the_bit_and_the_report_says_epochs() {
    // Batches that end in the middle of an epoch.
    let random = resumes_to_the_bit(&["train.align=stories"]);
    for settings in [
        &["train.sampling=epochs", "train.batch=5"][..],
        &["train.sampling=epochs", "train.align=stories", "train.accumulate=3"],
    ] {
        let run = resumes_to_the_bit(settings);
        let page = fs::read_to_string(run.path("run/report.html")).unwrap();
        assert!(page.contains("each window comes once an epoch"), "{settings:?}");
        assert!(
            run.read("run/final/model.safetensors") != random.read("run/final/model.safetensors")
        );
    }
    let page = fs::read_to_string(random.path("run/report.html")).unwrap();
    assert!(page.contains("windows start at random places"));
}

/// A finished run of other steps than those here, to begin with.
fn base() -> Run {
    let base = with_data(Run::new());
    base.through(&["train"]);
    base
}

fn initial(base: &Run, name: &str) -> String {
    format!("train.init_from={}", base.path(name).display())
}

#[test]
fn a_run_begins_with_the_weights_it_is_given_and_resumes_to_the_bit() {
    let base = base();
    for name in ["run/final", "run/checkpoints/last.safetensors"] {
        // A learning rate that moves nothing, and no decay.
        let still =
            run(&[&initial(&base, name), "train.lr=1e-35", "train.optimizer.weight_decay=0"]);
        still.run("train", &[]).ok().says(&["begins with the weights of", name]);
        let file = "run/final/model.safetensors";
        assert!(still.read(file) == base.read(file), "{name}");
        still.run("train", &[]).ok().says(&["up to date"]);
    }
    resumes_to_the_bit(&[&initial(&base, "run/final")]);
}

#[test]
fn another_model_to_begin_with_is_another_run() {
    let (base, other) = (base(), with_data(Run::new().set("train.seed=2")));
    other.through(&["train"]);
    let run = run(&[&initial(&base, "run/final")]);
    run.through(&["train"]);
    let path = other.path("run/final");
    run.run("train", &["--init-from", &path.to_string_lossy()])
        .ok()
        .says(&["settings changed: init_from.model.safetensors", "run.1"]);
}

#[test]
fn a_model_of_another_shape_or_tokenizer_is_refused_by_name() {
    let base = base();
    let from = initial(&base, "run/final");
    for (settings, says) in [
        (
            &["model.d_model=64", "model.d_mlp=40"][..],
            &["model.d_model = 32, model.d_mlp = 56", "model.d_model = 64, model.d_mlp = 40"][..],
        ),
        (&["model.n_layer=3"], &["model.n_layer = 2", "model.n_layer = 3"]),
    ] {
        let all: Vec<&str> = settings.iter().copied().chain([&*from]).collect();
        run(&all).run("train", &[]).code(3).says(says);
    }
    // The context is no part of the weights.
    run(&[&from, "model.context=32"]).through(&["train"]);
    run(&[&from, "train.zero_init_residual=true"])
        .run("train", &[])
        .code(2)
        .says(&["zero_init_residual"]);
    run(&["train.init_from=/no/such/model"])
        .run("train", &[])
        .code(3)
        .says(&["/no/such/model", "not found"]);

    // Another tokenizer; then the model's own, as its folder has it.
    let texts = Run::new().set(&*from);
    texts.through(&DATA_STAGES);
    texts.run("train", &[]).code(3).says(&["tokenizer.json", "SHA-256", "tokenizer.from="]);
    let folder = format!("tokenizer.from={}", base.path("run/final").display());
    let texts = Run::new().set(&*from).set(&*folder);
    texts.through(&DATA_STAGES).through(&["train"]);
    assert!(texts.read("tokenizer.json") == base.read("tokenizer.json"));
    texts.run("train-tokenizer", &["--file", "x.json"]).code(2).says(&["exclude each other"]);
    texts
        .run("train-tokenizer", &["--from", "/no/such"])
        .code(3)
        .says(&["/no/such/tokenizer.json", "not found"]);
}

#[test]
fn a_sweep_trains_each_variant_resumes_and_compares_them() {
    let run = run(&["train.steps=6", "sample.prompts=[\"Once\"]"]);
    let file = run.input("tiny.toml");
    let pipeline = fs::read_to_string(&file).unwrap();
    run.run("train", &["--sweep"]).code(2).says(&["tiny.toml", "no [[sweep]]", "train.lr = "]);
    // What is wrong is told before anything is trained.
    let wrong = "[[sweep]]\ntrain.lr = [0.003, \"fast\"]\n";
    fs::write(&file, format!("{pipeline}\n{wrong}")).unwrap();
    run.run("train", &["--sweep"]).code(2).says(&["train.lr=\"fast\""]);
    assert!(!run.path("sweep").exists());
    let sweep = "[[sweep]]\n\"train.lr\" = [0.003, 0.0001]\n\"train.seed\" = [1, 2]\n";
    fs::write(&file, format!("{pipeline}\n{sweep}")).unwrap();
    run.run("train", &["--variant", "2/3"]).code(2).says(&["--variant: 2/3", "I/4", "4 variants"]);
    // One by a job of its own, the others by the sweep, which then has nothing left to train.
    run.run("train", &["--variant", "2/4"]).ok().says(&["variant 2 of 4: lr=0.003 seed=2"]);
    assert!(!run.path("sweep/sweep.md").exists());
    let first = run.run("train", &["--sweep"]).ok().says(&["variant 4 of 4", "up to date"]);
    let again = run.run("train", &["--sweep"]).ok();
    assert_eq!(again.stdout, first.stdout);
    assert_eq!(again.stderr.matches("up to date").count(), 4);
    let table: Vec<&str> = first.stdout.lines().collect();
    assert!(table[2].starts_with("| lr=0.003 | 2 | "), "{table:?}");
    assert!(table[3].starts_with("| lr=0.0001 | 2 | ") && table[3].contains("| +"), "{table:?}");
    assert_eq!(fs::read_to_string(run.path("sweep/sweep.md")).unwrap(), first.stdout);
    assert_eq!(run.read("sweep/sweep.png")[..4], *b"\x89PNG");
    let json = run.json("sweep/sweep.json");
    let [_, worse] = &json["arms"].as_array().unwrap()[..] else { panic!("{json}") };
    assert_eq!(worse["runs"].as_array().unwrap().len(), 2);
    assert!(worse["difference"].as_f64().unwrap() > 0.0);
    assert!(worse["over_stories"][0].as_f64().unwrap() > 0.0, "{worse}");
    // Each is a run as any other, and the same as alone.
    let alone = self::run(&["train.steps=6", "sample.prompts=[\"Once\"]", "train.seed=2"]);
    alone.through(&["train"]);
    let name = "run/final/model.safetensors";
    assert!(alone.read(name) == run.read(&format!("sweep/lr=0.003-seed=2/{name}")));
}
