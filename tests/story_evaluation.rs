//! `eval-ppl --stories`: the figures of stories that models tell, beside real ones.
use std::fs;
use std::path::Path;

use compute::{Cpu, Model};
use corpus::bin::Bin;
use corpus::tokenizer::Tokenizer;
use model::load_folder;
use serde_json::Value;
use tests::{DATA_STAGES, Run};

/// The losses of texts from the first token that differs, after the end of a story, nats: each in a window of just its
/// length, or its last tokens.
fn nats(folder: &Path, texts: [&str; 2]) -> [f64; 2] {
    let (config, weights) = load_folder(folder).unwrap();
    let tokenizer = Tokenizer::load(&folder.join("tokenizer.json")).unwrap();
    let ids = texts.map(|text| [vec![tokenizer.eos()], tokenizer.encode(text)].concat());
    let alike = ids[0].iter().zip(&ids[1]).take_while(|(a, b)| a == b).count();
    ids.map(|ids| {
        let cut = ids.len().saturating_sub(config.context + 1);
        let (ids, from) = (&ids[cut..], alike - cut);
        let sequence = ids.len() - 1;
        let mut model = Model::new(Cpu::boxed(), config, &weights, 1, sequence).unwrap();
        let losses = model.losses(&ids[..sequence], &ids[1..]).unwrap();
        losses[from - 1..].iter().map(|&loss| f64::from(loss)).sum()
    })
}

fn columns(json: &Value) -> [&Value; 2] {
    let all = json["columns"].as_array().unwrap();
    [all.first().unwrap(), all.last().unwrap()]
}

#[test]
fn models_are_measured_beside_real_stories_and_asked_the_same_questions() {
    let run = Run::new().set("sample.max_tokens=40");
    run.through(&DATA_STAGES).through(&["train"]);
    let folder = run.path("run/final");
    // Groups of one question each, so that every answer can be seen. The last is longer than the context.
    let long = "Tom ran home and then ".repeat(60);
    let pairs = [
        ("one", "The dog was happy.".to_owned(), "The dog were happy.".to_owned()),
        ("two", "She liked the ball.".to_owned(), "Her liked ball the.".to_owned()),
        ("three", "Zq xv.".to_owned(), "Once upon a time.".to_owned()),
        ("long", format!("{long}it was late."), format!("{long}late was it.")),
    ];
    let lines = pairs.iter().map(|(group, good, bad)| {
        format!(
            "{}\n",
            serde_json::json!({ "UID": group, "sentence_good": good, "sentence_bad": bad })
        )
    });
    let file = run.input("pairs.jsonl");
    fs::write(&file, lines.collect::<String>()).unwrap();
    let file = file.to_str().unwrap();
    let reference = folder.to_str().unwrap();
    let args = ["--stories", "6", "--pairs", file, "--reference", reference, "--device", "cpu"];
    let ended = run.run("eval-ppl", &args).ok();
    let json = run.json("stories.json");
    let [told, real] = columns(&json);

    for (group, good, bad) in &pairs {
        let [good, bad] = nats(&folder, [good, bad]);
        let answer = &told["answers"][format!("pairs: {group}")];
        let expected = if good < bad { 1.0 } else { 0.0 };
        assert_eq!(answer["value"].as_f64(), Some(expected), "{group}: {good} {bad} {answer}");
        assert_eq!(answer["questions"], 1);
    }
    for group in ["name", "pronoun", "last word", "grammar, all"] {
        let figure = &told["answers"][group];
        let [value, low, high] = ["value", "low", "high"].map(|key| figure[key].as_f64().unwrap());
        assert!((0.0..=1.0).contains(&value) && low <= value && value <= high, "{group}: {figure}");
    }
    assert!(real["answers"].is_null(), "real stories answer nothing");

    // What is said of real stories is what stands in val.bin.
    let tokenizer = Tokenizer::load(&run.path("tokenizer.json")).unwrap();
    let val = Bin::open(&run.path("val.bin")).unwrap();
    let mut ids = vec![0; val.len() as usize];
    val.copy(0, &mut ids).unwrap();
    let stories = ids.split(|&id| id == val.eos()).filter(|ids| !ids.is_empty());
    let rests: Vec<(bool, String)> = stories
        .take(6)
        .map(|ids| {
            let text = tokenizer.decode(ids);
            let end = text
                .match_indices(['.', '!', '?'])
                .map(|(at, _)| at + 1)
                .find(|&end| text[..end].split_whitespace().count() >= 5)
                .unwrap();
            let rest = tokenizer.encode(&text[end..]);
            (rest.len() <= 40, tokenizer.decode(&rest[..rest.len().min(40)]))
        })
        .collect();
    let ended_share = rests.iter().filter(|(whole, _)| *whole).count() as f64 / 6.0;
    assert_eq!(real["ended"]["value"].as_f64(), Some(ended_share));
    let is_word = |word: &&str| !word.is_empty();
    let words = rests.iter().map(|(_, text)| {
        text.split(|c: char| !c.is_alphanumeric() && c != '\'').filter(is_word).count()
    });
    assert_eq!(real["words"]["value"].as_f64(), Some(words.sum::<usize>() as f64 / 6.0));
    // The reference is the model itself: it finds its own stories likelier than real ones.
    let bits = |column: &Value| column["reference_bits_per_byte"]["value"].as_f64().unwrap();
    assert!(bits(told) > 0.0 && bits(told) < bits(real), "{} {}", bits(told), bits(real));

    assert!(ended.stdout.contains("| real stories") || ended.stdout.contains("real stories |"));
    let again = run.run("eval-ppl", &args).ok().says(&["up to date"]);
    assert_eq!(again.stdout, ended.stdout);
    // eval.json and stories.json do not disturb each other.
    run.run("eval-ppl", &["--device", "cpu"]).ok();
    run.run("eval-ppl", &args).ok().says(&["up to date"]);
    run.run("eval-ppl", &["--stories", "7", "--device", "cpu"]).ok();
    assert_eq!(run.json("stories.json")["stories"], 7);
}

#[test]
fn bad_use_is_refused_with_words() {
    let run = Run::new();
    run.through(&DATA_STAGES).through(&["train"]);
    let file = run.input("pairs.jsonl");
    fs::write(&file, "{\"sentence_good\": 3}\n").unwrap();
    run.run("eval-ppl", &["--stories", "5", "--pairs", file.to_str().unwrap()]).code(3).says(&[
        "pairs.jsonl",
        "line 1",
        "BLiMP",
    ]);
    run.run("eval-ppl", &["--stories", "5", "--reference", "nowhere"]).code(3).says(&["nowhere"]);
    for args in [&["--stories", "1"][..], &["--pairs", "a"], &["--stories", "5", "--text", "b"]] {
        run.run("eval-ppl", args).code(2);
    }
    fs::write(run.path("stories.json"), "mine").unwrap();
    run.run("eval-ppl", &["--stories", "5"]).code(3).says(&["stories.json"]);
    assert_eq!(run.read("stories.json"), b"mine");
    fs::remove_file(run.path("stories.json")).unwrap();
    // Another tokenizer than val.bin's in OUT.
    let other = tests::data::tokenizer_of(300);
    fs::write(run.path("tokenizer.json"), other).unwrap();
    run.run("eval-ppl", &["--stories", "5"]).code(3).says(&["another tokenizer", "val.bin"]);
}
