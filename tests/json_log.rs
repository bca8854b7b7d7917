//! `--log json`: what a script gets, line by line, beside the texts for people.
use serde_json::Value;
use tests::{Ended, Run};

/// The lines of a stage's stderr, each of which has to be an object with `event`, `stage` and `text`.
fn lines(ended: &Ended) -> Vec<Value> {
    let parse = |line: &str| -> Value {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
    };
    let lines: Vec<Value> = ended.stderr.lines().map(parse).collect();
    for line in &lines {
        for field in ["event", "stage", "text"] {
            assert!(line[field].is_string(), "no {field}: {line}");
        }
    }
    lines
}

/// A stage, its arguments, its exit code, and fields of its error.
type Case<'a> = (&'a str, &'a [&'a str], i32, &'a [(&'a str, &'a str)]);

#[test]
fn an_error_has_its_parts_as_fields() {
    let run = Run::new();
    run.through(&["fetch-parquet"]);
    let tokenizer = run.path("tokenizer.json").display().to_string();
    let cases: [Case; 5] = [
        (
            "tokenize",
            &[],
            3,
            &[
                ("kind", "bad_input"),
                ("file", &tokenizer),
                ("found", "not found"),
                ("remedy", "run `make tokenizer`, or name your own with --set tokenizer.file=FILE"),
            ],
        ),
        (
            "tokenize",
            &["--set", "train.stpes=7"],
            2,
            &[
                ("kind", "usage"),
                ("place", "--set train.stpes=7"),
                ("found", "unknown key train.stpes"),
                ("nearest_known_key", "train.steps"),
            ],
        ),
        (
            "fetch-parquet",
            &["--source", "ftp://x/y"],
            2,
            &[
                ("kind", "usage"),
                ("place", "fetch.source \"ftp://x/y\""),
                ("remedy", "--set fetch.source=SOURCE"),
            ],
        ),
        (
            "fetch-parquet",
            &["--threads", "9999999"],
            2,
            &[("kind", "usage"), ("place", "--threads"), ("expected", "1 to 4096")],
        ),
        (
            "train-tokenizer",
            &["--set", "fetch.column=title"],
            3,
            &[("kind", "bad_input"), ("expected", "a column \"title\" of strings")],
        ),
    ];
    for (stage, args, code, fields) in cases {
        let plain = run.run(stage, args).code(code);
        let ended = run.run(stage, &[args, &["--log", "json"]].concat()).code(code);
        let all = lines(&ended);
        let error = all.last().unwrap();
        assert_eq!(
            (error["event"].as_str(), error["exit_code"].as_i64()),
            (Some("error"), Some(code.into()))
        );
        for (field, expected) in fields {
            assert_eq!(error[field], *expected, "{field} of {error}");
        }
        // The text is what people read, and made of the same parts.
        let text = error["text"].as_str().unwrap();
        assert!(plain.stderr.ends_with(&format!("error: {text}\n")), "{}\n{text}", plain.stderr);
        for (field, value) in error.as_object().unwrap() {
            if !["event", "stage", "text", "exit_code", "kind"].contains(&field.as_str()) {
                assert!(text.contains(value.as_str().unwrap()), "{field} in {text}");
            }
        }
    }
}

#[test]
fn a_training_step_has_its_figures_as_fields() {
    let run = Run::new().set("train.device=cpu");
    run.through(&tests::DATA_STAGES);
    let ended = run.run("train", &["--log", "json"]).ok();
    let all = lines(&ended);
    let steps: Vec<&Value> = all.iter().filter(|line| line["event"] == "step").collect();
    let log = String::from_utf8(run.read("run/loss.jsonl")).unwrap();
    assert_eq!(steps.len(), log.lines().count(), "{log}");
    for line in steps {
        for field in ["step", "loss", "lr", "tokens_per_second", "elapsed_s"] {
            assert!(line[field].is_number(), "no {field}: {line}");
        }
    }
}
