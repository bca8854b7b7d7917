//! What a stage remakes, and when: what each setting decides, every key changed one by one and all stages run again; and
//! what a stage says of an input that is damaged.
use std::collections::BTreeSet;
use std::fs;

use serde_json::json;
use stage::Pipeline;
use stage::config::{KEYS, Outcome};
use tests::{Run, edit_manifest};

/// Those that leave a manifest, in their order.
const STAGES: [&str; 6] =
    ["fetch-parquet", "train-tokenizer", "tokenize", "pack-bin", "train", "eval-ppl"];
/// Stages, with those behind them.
const TOKENIZER: [&str; 5] = ["train-tokenizer", "tokenize", "pack-bin", "train", "eval-ppl"];
const PACK: [&str; 3] = ["pack-bin", "train", "eval-ppl"];
const TRAIN: [&str; 2] = ["train", "eval-ppl"];

/// Settings that any machine repeats, and that take little time.
fn on_cpu() -> Run {
    Run::new().set("train.device=cpu").set("eval.device=cpu").set("train.steps=2")
}

/// Stories in files, with a second column and a second way to split them.
fn from_files() -> Run {
    let run = on_cpu();
    fs::create_dir(run.input("in")).unwrap();
    for (name, stories) in [("train", 300), ("validation", 30), ("other", 200)] {
        let line = |i| {
            let text = format!("Once a {name} had {i} balls. It ran to the tree and sang.");
            json!({ "text": text, "title": format!("Tale {i} of the {name}.") })
        };
        let lines: String = (0..stories).map(|i| format!("{}\n", line(i))).collect();
        fs::write(run.input(&format!("in/{name}.jsonl")), lines).unwrap();
    }
    let run = run.set("fetch.source=in").set("fetch.validation_split=validation");
    // Both exclude each other; TINY has a fraction.
    let tiny = fs::read_to_string(run.input("tiny.toml")).unwrap();
    fs::write(run.input("tiny.toml"), tiny.replace("validation_fraction = 0.1\n", "")).unwrap();
    run
}

/// What was made before, stages, and settings each of which makes these do their work.
type Change<'a> = (&'a Run, &'a [&'static str], &'a [&'a str]);

/// The stages that do their work with one more setting, each on what those before have left.
fn remade(base: &Run, settings: &[&str]) -> Vec<&'static str> {
    let run = base.beside();
    tests::tree::copy(&base.path(""), &run.path(""));
    let source = base.input("in");
    if source.is_dir() {
        tests::tree::copy(&source, &run.input("in"));
    }
    let args: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
    let works = |stage: &&&str| !run.run(stage, &args).ok().stderr.contains("up to date");
    STAGES.iter().filter(works).copied().collect()
}

fn load(settings: &[&str]) -> Pipeline {
    let file = tempfile::NamedTempFile::new().unwrap();
    let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
    Pipeline::load(file.path(), &settings).unwrap()
}

type Group = (&'static [Outcome], &'static [(&'static str, &'static str)]);

/// Results, and keys with another value that make these anew.
const DECIDED: [Group; 9] = {
    use Outcome::{Eval, Fetch, Pack, Resume, Stories, Tokenize, Tokenizer, Train};
    [
        (
            &[Fetch],
            &[
                ("fetch.source", "a.txt"),
                ("fetch.train_split", "a"),
                ("fetch.validation_split", "a"),
                ("fetch.validation_fraction", "0.5"),
                ("fetch.separator", "a"),
                ("fetch.max_stories", "9"),
                ("fetch.max_tokens_hint", "9"),
                ("fetch.seed", "9"),
            ],
        ),
        (&[Fetch, Tokenizer, Tokenize], &[("fetch.column", "a")]),
        (
            &[Tokenizer],
            &[
                ("tokenizer.vocab_size", "999"),
                ("tokenizer.max_stories", "9"),
                ("tokenizer.file", "a.json"),
                ("tokenizer.from", "a"),
            ],
        ),
        (&[Tokenize], &[("tokenize.shards", "9")]),
        (&[Pack], &[("pack.order", "as-published"), ("pack.seed", "9")]),
        (
            &[Train, Resume],
            &[
                ("model.n_layer", "9"),
                ("model.n_head", "4"),
                ("model.n_kv_head", "2"),
                ("model.d_model", "512"),
                ("model.d_mlp", "9"),
                ("model.context", "9"),
                ("train.precision", "f32"),
                ("train.steps", "9"),
                ("train.batch", "9"),
                ("train.accumulate", "9"),
                ("train.lr", "9.0"),
                ("train.warmup", "9"),
                ("train.clip", "9.0"),
                ("train.schedule", "wsd"),
                ("train.final_lr_fraction", "0.5"),
                ("train.decay_fraction", "0.5"),
                ("train.sampling", "epochs"),
                ("train.align", "stories"),
                ("train.zero_init_residual", "true"),
                ("train.init_from", "a"),
                ("train.seed", "9"),
                ("train.optimizer.kind", "sgd"),
                ("train.optimizer.betas", "[0.5, 0.5]"),
                ("train.optimizer.eps", "0.5"),
                ("train.optimizer.weight_decay", "0.5"),
                ("train.optimizer.momentum", "0.5"),
                ("train.optimizer.cautious_decay", "true"),
            ],
        ),
        (
            &[Train],
            &[("train.max_minutes", "9.0"), ("train.until_loss", "9.0"), ("train.patience", "9")],
        ),
        (&[Eval], &[("eval.precision", "f16"), ("eval.stride", "9")]),
        (
            &[Stories],
            &[
                ("sample.max_tokens", "9"),
                ("sample.temperature", "0.5"),
                ("sample.top_k", "9"),
                ("sample.top_p", "0.5"),
                ("sample.min_p", "0.5"),
                ("sample.repetition_penalty", "9.0"),
                ("sample.seed", "9"),
            ],
        ),
    ]
};

/// Keys with another value that make nothing anew.
const FREE: [(&str, &str); 16] = [
    ("out", "a"),
    ("train.device", "cpu"),
    ("train.log_every", "9"),
    ("train.val_every", "9"),
    ("train.val_windows", "9"),
    ("train.checkpoint_every", "9"),
    ("train.keep_last", "9"),
    ("train.on_nan", "rollback"),
    ("eval.device", "cpu"),
    ("sample.device", "cpu"),
    ("sample.precision", "f16"),
    ("sample.batch", "9"),
    ("sample.prompts", "[\"a\"]"),
    ("sample.prompts_file", "a"),
    ("sample.n", "9"),
    ("sample.temperatures", "[0.5]"),
];

#[test]
fn each_key_decides_what_its_mark_says_and_no_key_is_left_out() {
    let before = load(&[]);
    let decided =
        DECIDED.iter().flat_map(|(outcomes, keys)| keys.iter().map(|key| (key, *outcomes)));
    let mut tested = BTreeSet::new();
    for ((key, value), expected) in decided.chain(FREE.iter().map(|key| (key, &[][..]))) {
        let after = load(&[&format!("{key}={value}")]);
        assert_ne!(after, before, "{key}={value} changes nothing");
        let changes = |outcome: &Outcome| after.deciding(*outcome) != before.deciding(*outcome);
        let changed: Vec<Outcome> = Outcome::ALL.iter().copied().filter(changes).collect();
        assert_eq!(changed, expected, "{key}={value}");
        tested.insert(*key);
    }
    let sections = ["train.optimizer"]; // tables of keys that have marks of their own
    let all = KEYS.iter().copied().filter(|key| !sections.contains(key)).collect();
    assert_eq!(tested, all);
}

#[test]
fn each_setting_remakes_the_stages_it_decides_and_those_behind_them() {
    let (stories, files) = (on_cpu(), from_files());
    stories.through(&STAGES);
    files.through(&STAGES);
    fs::copy(stories.path("tokenizer.json"), files.input("own.json")).unwrap();
    let own = format!("tokenizer.file={:?}", files.input("own.json"));
    let changed: [Change; 7] = [
        (
            &stories,
            &STAGES,
            &["fetch.validation_fraction=0.2", "fetch.max_stories=500", "fetch.seed=2"],
        ),
        (
            &files,
            &STAGES,
            &["fetch.train_split=other", "fetch.column=title", "fetch.max_stories=200"],
        ),
        // The result is the same, so what is behind it stays.
        (
            &files,
            &["fetch-parquet"],
            &[
                "fetch.source=in/*a*.jsonl", // without other.jsonl, of which nothing was taken
                "fetch.separator=blank-line",
                "fetch.max_tokens_hint=1000000",
            ],
        ),
        (&stories, &TOKENIZER, &["tokenizer.vocab_size=400", "tokenizer.max_stories=100"]),
        (&files, &TOKENIZER, &[&own]),
        (&stories, &PACK, &["pack.seed=2", "pack.order=as-published"]),
        (
            &stories,
            &TRAIN,
            &[
                "model.n_layer=1",
                "model.n_head=4",
                "model.d_model=24",
                "model.d_mlp=48",
                "model.context=40",
                "train.steps=3",
                "train.batch=3",
                "train.accumulate=2",
                "train.lr=1e-3",
                "train.warmup=1",
                "train.clip=0.1",
                "train.seed=2",
                "train.sampling=epochs",
                "train.align=stories",
                "train.zero_init_residual=true",
                "train.optimizer.betas=[0.8, 0.9]",
                "train.optimizer.eps=1e-3",
                "train.optimizer.weight_decay=10",
                "train.optimizer.kind=muon",
            ],
        ),
    ];
    for (base, stages, settings) in changed {
        for setting in settings {
            assert_eq!(remade(base, &[setting]), stages, "{setting}");
        }
    }
    // The tokenizer has seen no validation story, and the tokens of a run with other shards are the same.
    let but_the_tokenizer = ["fetch-parquet", "tokenize", "pack-bin", "train", "eval-ppl"];
    assert_eq!(remade(&files, &["fetch.validation_split=other"]), but_the_tokenizer);
    assert_eq!(remade(&stories, &["tokenize.shards=2"]), ["tokenize", "pack-bin"]);
    // On a CPU, with an end far off, the model comes out the same.
    for setting in [
        "train.precision=f32",
        "train.max_minutes=500",
        "train.until_loss=0.01",
        "train.schedule=wsd", // two steps of warm-up
        "train.final_lr_fraction=0.5",
        "train.decay_fraction=0.5",
    ] {
        assert_eq!(remade(&stories, &[setting]), ["train"], "{setting}");
    }
    assert_eq!(remade(&stories, &["eval.stride=12"]), ["eval-ppl"]);
}

#[test]
fn settings_that_decide_no_result_remake_nothing() {
    let run = on_cpu();
    run.through(&STAGES);
    for setting in [
        "train.log_every=1",
        "train.val_every=2",
        "train.val_windows=2",
        "train.checkpoint_every=2",
        "train.keep_last=1",
        "train.on_nan=rollback",
        "eval.precision=auto", // which is the f32 of before, on a CPU
        "sample.device=cpu",
        "sample.precision=f16",
        "sample.batch=2",
        "sample.prompts=[\"Once\"]",
        "sample.prompts_file=prompts.txt",
        "sample.n=1",
        "sample.max_tokens=10",
        "sample.temperature=0.5",
        "sample.temperatures=[0.5]",
        "sample.top_k=5",
        "sample.top_p=0.5",
        "sample.min_p=0.1",
        "sample.repetition_penalty=1.1",
        "sample.seed=2",
    ] {
        assert_eq!(remade(&run, &[setting]), [""; 0], "{setting}");
    }
}

#[test]
fn a_damaged_input_is_named() {
    let run = on_cpu();
    run.through(&STAGES);
    for (stage, input) in [
        ("train-tokenizer", "raw/train-00000-of-00001.parquet"),
        ("tokenize", "tokenizer.json"),
        ("pack-bin", "tokens/train-00000-of-00003.arrow"),
        ("train", "train.bin"),
        ("eval-ppl", "run/final/model.safetensors"),
    ] {
        let whole = run.read(input);
        fs::write(run.path(input), &whole[..whole.len() / 2]).unwrap();
        run.run(stage, &[]).code(3).says(&[input, "expected: ", "remedy: "]);
        fs::write(run.path(input), whole).unwrap();
        run.run(stage, &[]).ok().says(&["up to date"]);
    }
}

#[test]
fn what_0_1_made_stays_up_to_date() {
    let run = on_cpu();
    run.through(&STAGES);
    let vocab_size = run.json("tokenizer.manifest.json")["tokenizer"]["vocab_size"].clone();
    let train = json!({
        "model": { "n_layer": 2, "n_head": 2, "d_model": 32, "d_mlp": 56, "context": 48 },
        "vocab_size": vocab_size,
        "steps": 2, "batch": 4, "accumulate": 1, "lr": 3e-3, "warmup": 2,
        "optimizer": { "kind": "adamw", "betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 0.1 },
        "clip": 1.0, "seed": 1, "precision": "auto",
        "train_bin_sha256": run.json("train.bin.json")["outputs"][0]["sha256"],
        "tokenizer_sha256": run.json("tokenizer.manifest.json")["tokenizer"]["sha256"],
        "until_loss": null, "max_minutes": null,
    });
    let configs = [
        (
            "fetch-parquet",
            "raw/manifest.json",
            json!({
                "source": "stories:", "train_split": "train", "validation_split": null,
                "validation_fraction": 0.1, "column": "text", "max_stories": 600,
                "max_tokens_hint": null, "seed": 1,
            }),
        ),
        (
            "train-tokenizer",
            "tokenizer.manifest.json",
            json!({ "tokenizer": { "vocab_size": 500, "max_stories": 100_000 }, "fetch": { "column": "text" } }),
        ),
        (
            "tokenize",
            "tokens/manifest.json",
            json!({ "tokenize": { "shards": 3 }, "fetch": { "column": "text" } }),
        ),
        ("pack-bin", "pack.manifest.json", json!({ "pack": { "order": "shuffled", "seed": 1 } })),
        ("train", "run/manifest.json", train),
        ("eval-ppl", "eval.manifest.json", json!({ "stride": 24, "precision": "f32" })),
    ];
    for (stage, manifest, config) in configs {
        edit_manifest(&run.path(manifest), |json| json["config"] = config);
        run.run(stage, &[]).ok().says(&["up to date"]);
    }
}
