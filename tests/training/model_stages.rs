//! `eval-ppl` and `sample` behind a finished run.
use std::fs;
use std::time::Duration;

use serde_json::Value;
use tests::Run;

use super::{assert_same, ended, losses, signal, told, trained, until_it_listens};

const CARRIED: [&str; 5] =
    ["tokenizer.json", "train.bin", "train.bin.json", "val.bin", "val.bin.json"];

#[test]
fn ctrl_c_ends_eval_and_sample_with_nothing_half_written() {
    let run = trained(Run::new());
    for (stage, args) in [("eval-ppl", ["--stride", "1"]), ("sample", ["--n", "4000"])] {
        for wait in [0, 60] {
            let child = run.start(stage, &args);
            until_it_listens(&child);
            std::thread::sleep(Duration::from_millis(wait));
            signal(&child, "INT");
            let ended = ended(child, stage).code(130).says(&["interrupted"]);
            // Stories that were told before it are whole.
            assert!(
                ended.stdout.is_empty() || stage == "sample" && ended.stdout.ends_with("\n\n"),
                "{}",
                ended.stdout
            );
            assert_eq!((run.partials(), run.path("eval.json").exists()), (vec![], false));
        }
    }
}

#[test]
fn evaluation_counts_every_token_once() {
    let run = trained(Run::new());
    let tokens = run.json("val.bin.json")["counts"]["tokens"].as_u64().unwrap();
    let ended = run.run("eval-ppl", &["--stride", "48"]).ok().says(&["perplexity"]);
    let far = run.json("eval.json");
    assert_eq!(serde_json::from_str::<Value>(&ended.stdout).unwrap(), far, "stdout is eval.json");
    let number = |key: &str| far[key].as_f64().unwrap_or_else(|| panic!("{key} in {far}"));
    assert_eq!(number("tokens"), (tokens - 1) as f64);
    assert_eq!(far["bytes"], run.json("val.bin.json")["counts"]["bytes"]);
    assert!((number("perplexity") / number("loss").exp() - 1.0).abs() < 1e-9);
    let bits = number("loss") * tokens as f64 / number("bytes") / 2f64.ln();
    assert!((number("bits_per_byte") / bits - 1.0).abs() < 1e-9, "{far}");
    // The validation at the end of the run saw the same tokens in the same windows.
    let at_the_end = losses(&run).last().unwrap()["val_loss"].as_f64().unwrap();
    assert!((at_the_end / number("loss") - 1.0).abs() < 1e-6, "{at_the_end} {far}");
    let again = run.run("eval-ppl", &["--stride", "48"]).ok().says(&["up to date"]);
    assert_eq!(again.stdout, ended.stdout);

    run.run("eval-ppl", &["--stride", "12", "--threads", "1"]).ok();
    let near = run.json("eval.json");
    assert_eq!(near["tokens"], far["tokens"]);
    assert!(near["loss"].as_f64().unwrap() < number("loss") * 1.01, "{near} {far}");
}

#[test]
fn stories_are_a_function_of_model_prompt_and_seed() {
    let run = trained(Run::new().set("train.steps=60").set("sample.n=2"));
    let first = told(&run, &[]);
    assert_eq!(first, told(&run, &["--threads", "1"]));
    assert_ne!(first, told(&run, &["--seed", "2"]));
    let greedy = told(&run, &["--temperature", "0"]);
    assert_eq!(greedy, told(&run, &["--temperature", "0", "--seed", "9"]));
    assert_eq!(greedy, told(&run, &["--top-k", "1", "--seed", "3"]));
    assert_eq!(greedy, told(&run, &["--top-p", "1e-6", "--seed", "3"]));
    // Two of a prompt: greedy ones are equal, others are not; and what is told beside a story does not matter to it.
    let pair = |args: &[&str]| -> Vec<Value> {
        let all = [&["--json", "--prompt", "Lily had"], args].concat();
        told(&run, &all).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let (same, other) = (pair(&["--temperature", "0"]), pair(&["--temperature", "1.5"]));
    assert!(same.len() == 2 && same[0] == same[1] && other[0] != other[1], "{same:?} {other:?}");
    assert_eq!(pair(&["--n", "1", "--temperature", "1.5"]), other[..1]);
    assert_eq!(pair(&["--n", "23", "--temperature", "1.5"])[..2], other);
}

#[test]
fn stdout_holds_stories_and_nothing_else() {
    let run = trained(Run::new());
    let text = told(&run, &["--n", "1", "--max-tokens", "5"]);
    let prompts = [
        "Once upon a time",
        "Lily found a big",
        "The little dog wanted",
        "On a sunny day,",
        "There was a kind",
    ];
    let mut rest = text.as_str();
    for prompt in prompts {
        assert!(rest.starts_with(prompt), "{rest}");
        rest = rest.split_once("\n\n").unwrap_or_else(|| panic!("{rest}")).1;
    }
    assert_eq!(rest, "");
    for (line, prompt) in told(&run, &["--json", "--n", "1"]).lines().zip(prompts) {
        let story: Value = serde_json::from_str(line).unwrap();
        let mut keys: Vec<&String> = story.as_object().unwrap().keys().collect();
        keys.sort();
        assert_eq!(keys, ["ended", "logprobs", "prompt", "text", "tokens"]);
        assert_eq!(story["prompt"], prompt);
        assert!(story["text"].as_str().unwrap().starts_with(prompt) && story["ended"].is_boolean());
        assert!(story["tokens"].as_array().unwrap().iter().all(Value::is_u64));
        assert!(story["ended"] == true || story["tokens"].as_array().unwrap().len() == 20);
    }
}

#[test]
fn prompts_and_stories_may_be_longer_than_the_context() {
    let run = trained(Run::new());
    let long = "The dog took the ball. ".repeat(40);
    let args =
        ["--json", "--n", "1", "--prompt", &long, "--max-tokens", "150", "--temperature", "0"];
    let story: Value = serde_json::from_str(&told(&run, &args)).unwrap();
    assert!(story["text"].as_str().unwrap().starts_with(&long));
    assert!(story["ended"] == true || story["tokens"].as_array().unwrap().len() == 150);
    // No prompt at all, none of any length, and characters that no story had.
    let story = |prompt: &str| {
        told(&run, &["--json", "--n", "1", "--max-tokens", "3", "--prompt", prompt]).lines().count()
    };
    assert_eq!([story(""), story("\u{1f469}\u{200d}\u{1f680} \u{4f60}\u{597d}\t\n")], [1, 1]);
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let run = trained(Run::new());
    for (stage, args) in [
        ("sample", ["--n", "60"]),
        ("eval-ppl", ["--stride", "48"]),
        ("eval-ppl", ["--stride", "48"]),
    ] {
        let mut child = run.start(stage, &args);
        drop(child.stdout.take());
        ended(child, stage).ok().says(&[]);
    }
}

#[test]
fn five_files_are_all_that_the_second_box_needs() {
    let (first, second) = (trained(Run::new()), Run::new());
    fs::create_dir_all(second.path("")).unwrap();
    for name in CARRIED {
        fs::copy(first.path(name), second.path(name)).unwrap();
    }
    second.through(&["train", "eval-ppl"]);
    first.through(&["eval-ppl"]);
    assert_same(&first, &second, "two boxes");
    assert_eq!(first.read("eval.json"), second.read("eval.json"));
    assert_eq!(told(&first, &[]), told(&second, &[]));
}
