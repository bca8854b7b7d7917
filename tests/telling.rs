//! `sample` as people run it: every knob, what goes wrong, measures and ratings.
use std::collections::HashSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use corpus::copies::{COUNTED, SHORTEST};
use corpus::tokenizer::Tokenizer;
use model::{Config, TensorTable, initial_weights, load_folder, save_folder};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::Value;
use tests::data::{story, tokenizer_of, with_data};
use tests::{Ended, Run};

const CONTEXT: usize = 48;

/// Random weights, large enough that different texts get different answers: no training is needed to tell.
fn write_model(run: &Run, folder: &Path, seed: u64) {
    let tokenizer = Tokenizer::load(&run.path("tokenizer.json")).unwrap();
    let section = stage::config::Model {
        n_layer: 2,
        n_head: 2,
        n_kv_head: None,
        d_model: 40,
        d_mlp: 56,
        context: CONTEXT as u32,
    };
    let config = Config::new(&section, tokenizer.vocab_size() as usize);
    let weights: Vec<f32> = initial_weights(&TensorTable::new(&config), seed)
        .into_iter()
        .map(|w| if w == 1.0 { w } else { 12.0 * w })
        .collect();
    save_folder(folder, &config, &weights, tokenizer.json(), tokenizer.ends()).unwrap();
}

fn run() -> Run {
    let run = with_data(Run::new().set("sample.device=cpu"));
    write_model(&run, &run.path("run/final"), 1);
    run
}

fn told(run: &Run, args: &[&str]) -> String {
    run.run("sample", args).ok().says(&[]).stdout
}

fn stories(run: &Run, args: &[&str]) -> Vec<Value> {
    told(run, &[&["--json"], args].concat())
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// What `sample` says when it is given this on stdin.
fn answered(run: &Run, args: &[&str], answers: &str) -> Ended {
    let mut child = run
        .command("sample")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(answers.as_bytes()).unwrap();
    Ended::of(child.wait_with_output().unwrap(), "sample")
}

#[test]
fn batch_size_and_threads_change_nothing() {
    let run = run();
    // Short and long ones, some past the context, so that slots change hands at different times.
    let args = [
        "--n",
        "3",
        "--max-tokens",
        "90",
        "--prompt",
        "Lily",
        "--prompt",
        "The dog took the ball. Tom ran",
        "--prompt",
        "",
    ];
    for precision in ["f32", "q8"] {
        let tell = |more: &[&str]| {
            told(&run, &[&args, &["--json", "--precision", precision][..], more].concat())
        };
        let alone = tell(&["--batch", "1"]);
        assert!(
            alone.lines().count() == 9 && alone.lines().collect::<HashSet<_>>().len() == 9,
            "{alone}"
        );
        for more in [
            ["--batch", "2"],
            ["--batch", "7"],
            ["--batch", "100"],
            ["--threads", "1"],
            ["--threads", "3"],
        ] {
            assert_eq!(tell(&more), alone, "{precision} {more:?}");
        }
        assert_ne!(tell(&["--seed", "5"]), alone);
    }
    // A story's randomness is that of its index: the second of three is the second of two.
    let first: Vec<Value> = stories(&run, &["--n", "2", "--prompt", "Lily"]);
    assert_eq!(first, stories(&run, &["--n", "3", "--prompt", "Lily"])[..2]);
}

#[test]
fn json_has_what_the_model_thinks_of_each_token() {
    let run = run();
    for story in stories(&run, &["--n", "2", "--temperature", "1.3"]) {
        let (tokens, logprobs) =
            (story["tokens"].as_array().unwrap(), story["logprobs"].as_array().unwrap());
        assert!(
            tokens.len() == logprobs.len() && logprobs.iter().all(|l| l.as_f64().unwrap() <= 0.0),
            "{story}"
        );
    }
    // The likeliest of 300 tokens is likelier than 1/300, and no other sampling changes what the model thinks of it.
    let greedy = stories(&run, &["--n", "1", "--temperature", "0"]);
    assert!(greedy.iter().all(|story| {
        story["logprobs"]
            .as_array()
            .unwrap()
            .iter()
            .all(|l| l.as_f64().unwrap() > (1.0f64 / 300.0).ln())
    }));
    assert_eq!(greedy, stories(&run, &["--n", "1", "--top-k", "1", "--temperature", "3"]));
}

#[test]
fn knobs_do_what_they_say() {
    let run = run();
    let tell = |args: &[&str]| {
        told(&run, &[&["--n", "1", "--prompt", "Lily had", "--max-tokens", "40"], args].concat())
    };
    let (greedy, all) =
        (tell(&["--temperature", "0"]), tell(&["--temperature", "1.5", "--top-k", "0"]));
    assert_ne!(greedy, all);
    for near in
        [["--min-p", "0.999999"], ["--top-p", "1e-6"], ["--top-k", "1"], ["--temperature", "1e-30"]]
    {
        assert_eq!(tell(&near), greedy, "{near:?}");
    }
    for beyond in ["300", "301", "4000000000"] {
        assert_eq!(tell(&["--temperature", "1.5", "--top-k", beyond]), all, "top-k {beyond}");
    }
    assert_eq!(
        tell(&[
            "--temperature",
            "1.5",
            "--top-k",
            "0",
            "--top-p",
            "1",
            "--min-p",
            "0",
            "--repetition-penalty",
            "1"
        ]),
        all
    );
    let penalty = [
        "--n",
        "1",
        "--prompt",
        "Lily had",
        "--max-tokens",
        "40",
        "--temperature",
        "0",
        "--repetition-penalty",
        "1e30",
    ];
    let tokens: Vec<u64> = stories(&run, &penalty)[0]["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_u64)
        .collect();
    assert_eq!(tokens.iter().collect::<HashSet<_>>().len(), tokens.len(), "a token twice");
    assert_eq!(
        stories(&run, &["--n", "1", "--prompt", "Lily", "--max-tokens", "0"])[0]["text"],
        "Lily"
    );
    assert_ne!(tell(&["--precision", "q8", "--temperature", "0"]), "");
}

#[test]
fn values_that_make_no_sense_are_refused() {
    let run = run();
    let cases: &[(&[&str], &str)] = &[
        (&["--temperature", "-1"], "sample.temperature = -1"),
        (&["--temperature", "nan"], "--temperature"),
        (&["--temperature", "inf"], "--temperature"),
        (&["--set", "sample.temperature=nan"], "sample.temperature = NaN"),
        (&["--temperatures", "0.5,-2"], "sample.temperature = -2"),
        (&["--top-p", "0"], "sample.top_p = 0"),
        (&["--top-p", "1.01"], "sample.top_p = 1.01"),
        (&["--top-p", "-0.5"], "sample.top_p = -0.5"),
        (&["--min-p", "1"], "sample.min_p = 1"),
        (&["--repetition-penalty", "0"], "sample.repetition_penalty = 0"),
        (&["--top-k", "-3"], "-3"),
        (&["--batch", "0"], "sample.batch"),
        (&["--precision", "q4"], "\"q8\" with the CPU engine"),
        (&["--precision", "q8", "--device", "gpu"], "only the CPU engine has it"),
        (&["--prompt", "a", "--prompts", "b"], "cannot be used with"),
        (&["--rate"], "--against"),
    ];
    for (args, says) in cases {
        let ended = run.run("sample", args).code(2).says(&[says]);
        assert_eq!(ended.stdout, "", "{args:?}");
    }
    run.run("eval-ppl", &["--precision", "q8"]).code(2).says(&["eval.precision"]);
}

#[test]
fn prompts_from_a_file_and_from_nowhere() {
    let run = run();
    let file = run.input("prompts.txt");
    let with = |bytes: &[u8], code: i32| {
        fs::write(&file, bytes).unwrap();
        run.run("sample", &["--json", "--n", "2", "--prompts", file.to_str().unwrap()]).code(code)
    };
    let ended = with("\u{feff}Lily found\r\n\n  \nTom \u{e9}\nno end".as_bytes(), 0);
    let prompts: Vec<Value> = ended
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["prompt"].clone())
        .collect();
    assert_eq!(
        prompts,
        ["Lily found", "Lily found", "Tom \u{e9}", "Tom \u{e9}", "no end", "no end"]
    );
    with(b"Lily found\nTom \xff\xfe\n", 3).says(&[
        "prompts.txt",
        "line 2, byte 15",
        "no UTF-8",
        "iconv",
    ]);
    with(b"\n \n", 3).says(&["no prompt in it"]);
    fs::remove_file(&file).unwrap();
    run.run("sample", &["--prompts", file.to_str().unwrap()])
        .code(3)
        .says(&["prompts.txt", "not found"]);
    // A key of the pipeline file, too.
    fs::write(&file, "Ben\n").unwrap();
    let ended = run
        .run(
            "sample",
            &["--json", "--n", "1", "--set", &format!("sample.prompts_file={}", file.display())],
        )
        .ok();
    assert!(ended.stdout.starts_with("{\"prompt\":\"Ben\""), "{}", ended.stdout);
    let empty = stories(&run, &["--n", "1", "--prompt", ""]);
    assert!(empty[0]["prompt"] == "" && !empty[0]["tokens"].as_array().unwrap().is_empty());
    let long = "The dog took the ball. ".repeat(30);
    let ended = run
        .run("sample", &["--n", "1", "--prompt", &long])
        .ok()
        .says(&["tokens; the model sees the last 48"]);
    assert!(ended.stdout.starts_with(&long));
}

#[cfg(unix)]
#[test]
fn an_argument_that_is_no_text_is_refused() {
    use std::os::unix::ffi::OsStrExt;
    let run = run();
    let output = run
        .command("sample")
        .arg("--prompt")
        .arg(std::ffi::OsStr::from_bytes(b"Tom \xff"))
        .output()
        .unwrap();
    Ended::of(output, "sample").code(2).says(&["UTF-8"]);
}

/// A model folder, changed: its tensors by name, type, shape and bytes.
fn changed(
    run: &Run,
    name: &str,
    change: impl FnOnce(&mut Vec<(String, Vec<usize>, Vec<u8>)>),
) -> PathBuf {
    let folder = run.input(name);
    write_model(run, &folder, 1);
    let path = folder.join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let mut all: Vec<(String, Vec<usize>, Vec<u8>)> = SafeTensors::deserialize(&bytes)
        .unwrap()
        .tensors()
        .into_iter()
        .map(|(name, view)| (name, view.shape().to_vec(), view.data().to_vec()))
        .collect();
    change(&mut all);
    let views = all.iter().map(|(name, shape, data)| {
        (name.clone(), TensorView::new(Dtype::F32, shape.clone(), data).unwrap())
    });
    fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
    folder
}

#[test]
fn models_that_do_not_fit_are_refused_by_what_is_wrong() {
    let run = run();
    let refused = |folder: &Path, says: &[&str]| {
        let ended = run.run("sample", &["--model", folder.to_str().unwrap()]).code(3).says(says);
        assert_eq!(ended.stdout, "");
    };
    let norm = "model.layers.1.input_layernorm.weight";
    let at = |all: &[(String, Vec<usize>, Vec<u8>)]| {
        all.iter().position(|(name, ..)| name == norm).unwrap()
    };
    refused(
        &changed(&run, "missing", |all| all.retain(|(name, ..)| name != norm)),
        &[norm, "missing"],
    );
    refused(
        &changed(&run, "extra", |all| {
            all.push(("model.layers.7.bias".into(), vec![1], vec![0; 4]))
        }),
        &["model.layers.7.bias"],
    );
    let flat = |all: &mut Vec<(String, Vec<usize>, Vec<u8>)>| {
        let at = at(all);
        all[at].1 = vec![2, 20];
    };
    refused(&changed(&run, "shape", flat), &[norm, "[2, 20]", "[40]"]);
    let nan = |all: &mut Vec<(String, Vec<usize>, Vec<u8>)>| {
        let at = at(all);
        all[at].2[4..8].copy_from_slice(&f32::NAN.to_le_bytes());
    };
    refused(&changed(&run, "nan", nan), &[norm]);
    let other = changed(&run, "tokenizer", |_| ());
    fs::write(other.join("tokenizer.json"), tokenizer_of(420)).unwrap();
    refused(&other, &["tokenizer.json", "at most the model's 300"]);
    refused(&run.input("nowhere"), &["not found"]);
    let unchanged = changed(&run, "unchanged", |_| ());
    assert_eq!(told(&run, &["--model", unchanged.to_str().unwrap()]), told(&run, &[]));
}

#[test]
fn a_person_gives_prompts_one_by_one() {
    let run = run();
    let ended =
        answered(&run, &["--interactive", "--max-tokens", "5"], "Lily had\n\nLily had\nTom")
            .ok()
            .says(&["Ctrl-D"]);
    let told: Vec<&str> = ended.stdout.split_terminator("\n\n").collect();
    assert!(
        told.len() == 4 && told[0].starts_with("Lily had") && told[3].starts_with("Tom"),
        "{told:?}"
    );
    assert_ne!(told[0], told[2], "the same prompt twice is two stories");
    answered(&run, &["--interactive"], "").ok();
    let raw = run
        .command("sample")
        .arg("--interactive")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = raw.unwrap();
    child.stdin.take().unwrap().write_all(b"Tom \xff\n").unwrap();
    Ended::of(child.wait_with_output().unwrap(), "sample").code(3).says(&["stdin", "UTF-8"]);
}

#[test]
fn the_table_says_how_stories_come_out() {
    let run = run();
    let args = ["--quality", "--n", "4", "--max-tokens", "30"];
    let json: Vec<Value> = told(&run, &[&args[..], &["--json"]].concat())
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let [own, written] = &json[..] else { panic!("{json:?}") };
    assert!(
        own["of"] == "T 0.8" && written["of"] == "val.bin" && own["quality"]["stories"] == 20,
        "{own} {written}"
    );
    // The stories of val.bin are made of the sentences of train.bin; random weights copy nothing.
    let number = |of: &Value, key: &str| of["quality"][key].as_f64().unwrap();
    assert!(
        number(written, "copied") > 0.5
            && number(own, "copied") == 0.0
            && number(own, "tokens") <= 30.0,
        "{json:?}"
    );
    assert_eq!(number(own, "stories"), number(written, "stories"));
    let table = told(&run, &args);
    assert!(
        table.starts_with("|") && table.contains("T 0.8") && table.contains("val.bin"),
        "{table}"
    );
    assert!(
        table.contains(&format!("runs of {COUNTED}\nor more"))
            && table.contains(&format!("below {SHORTEST}")),
        "{table}"
    );
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");

    let exercise =
        told(&run, &["--temperatures", "0.5,0.8,1.2", "--n", "1", "--prompt", "Lily had"]);
    for part in [
        "Temperature 0.5\n\nLily had",
        "Temperature 0.8\n\nLily had",
        "Temperature 1.2\n\nLily had",
        "T 0.5",
        "T 1.2 |",
    ] {
        assert!(exercise.contains(part), "no {part:?} in {exercise}");
    }
    // The stories are those that are told without it.
    assert!(
        exercise
            .contains(&told(&run, &["--temperature", "1.2", "--n", "1", "--prompt", "Lily had"]))
    );
    // A training story is copied from end to end: it is found where it stands.
    let one = Tokenizer::load(&run.path("tokenizer.json")).unwrap().encode(&story(7));
    let train = corpus::bin::Bin::open(&run.path("train.bin")).unwrap();
    let copy = corpus::copies::copied(&train, std::slice::from_ref(&one)).unwrap()[0];
    assert_eq!((copy.longest, copy.tokens), (one.len(), one.len()));
    // Without the bins there is no word of copies.
    fs::remove_file(run.path("train.bin")).unwrap();
    let ended = run.run("sample", &args).ok().says(&["copies are not searched for"]);
    assert!(ended.stdout.contains('?'), "{}", ended.stdout);
}

#[test]
fn ratings_are_blind_kept_and_averaged() {
    let run = run();
    let other = run.input("other");
    write_model(&run, &other, 2);
    let args = [
        "--rate",
        "--against",
        other.to_str().unwrap(),
        "--n",
        "1",
        "--max-tokens",
        "8",
        "--prompt",
        "Lily",
        "--prompt",
        "Tom",
    ];
    // Four stories; three are rated, one answer is no rating, then the pipe ends.
    let ended = answered(&run, &args, "5 4 3\nfive\n6 1 1\n1 1 1\n2,2,2\n").ok();
    let ended = ended.says(&[
        "Story 1 of 4",
        "Story 4 of 4",
        "three numbers from 0 to 5",
        "the same command goes on",
    ]);
    assert!(!ended.stderr.contains("other"), "whose story it is can be read: {}", ended.stderr);
    let kept = fs::read_to_string(run.path("ratings.jsonl")).unwrap();
    let kept: Vec<Value> = kept.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(kept.iter().map(|r| r["grammar"].as_u64().unwrap()).collect::<Vec<_>>(), [5, 1, 2]);
    // Again: only the last one is asked for, and q ends it without one.
    let ended = answered(&run, &args, "q\n")
        .ok()
        .says(&["3 of 4 stories are rated already", "Story 1 of 1"]);
    let before = ended.stdout;
    let ended = answered(&run, &args, "0 0 5\n").ok();
    assert_ne!(ended.stdout, before);
    let kept = fs::read_to_string(run.path("ratings.jsonl")).unwrap();
    for name in ["run/final", "other"] {
        let own: Vec<Value> = kept
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .filter(|r| r["name"].as_str().unwrap().ends_with(name))
            .collect();
        assert_eq!(own.len(), 2, "{kept}");
        let mean = |key: &str| own.iter().map(|r| r[key].as_f64().unwrap()).sum::<f64>() / 2.0;
        let [g, c, f] = ["grammar", "coherence", "fun"].map(mean);
        let row = format!("{name} | 2 | {g:.2} | {c:.2} | {f:.2} | {:.2} |", (g + c + f) / 3.0);
        assert!(ended.stdout.contains(&row), "no {row} in {}", ended.stdout);
    }
    answered(&run, &args, "").ok().says(&["4 of 4 stories are rated already"]);
    let own = run.path("run/final");
    run.run("sample", &["--rate", "--against", own.to_str().unwrap()])
        .code(2)
        .says(&["the same model"]);
    // The stories of a pair come in mixed order: not all of one model first, for some seed.
    let orders: HashSet<String> = (0..6)
        .map(|seed| {
            let file = run.input(&format!("ratings{seed}"));
            let more = ["--seed", &seed.to_string(), "--ratings", file.to_str().unwrap()];
            answered(&run, &[&args[..], &more].concat(), &"3 3 3\n".repeat(4)).ok();
            let text = fs::read_to_string(&file).unwrap();
            text.lines().map(|line| if line.contains("run/final") { 'A' } else { 'B' }).collect()
        })
        .collect();
    assert!(orders.len() > 1, "{orders:?}");
}

#[test]
fn eight_bits_tell_nearly_what_f32_does() {
    let run = run();
    let (_, weights) = load_folder(&run.path("run/final")).unwrap();
    assert!(weights.iter().all(|w| w.is_finite()));
    let logprob = |precision: &str| {
        let stories = stories(
            &run,
            &["--temperature", "0", "--n", "1", "--max-tokens", "1", "--precision", precision],
        );
        stories
            .iter()
            .map(|story| story["logprobs"][0].as_f64().unwrap_or(0.0))
            .collect::<Vec<f64>>()
    };
    for (a, b) in logprob("f32").iter().zip(logprob("q8")) {
        assert!((a - b).abs() < 0.2, "{a} {b}");
    }
}
