//! `tokenizer.json` files that make crate `tokenizers` panic, hang or fill the memory when it reads or runs them.
use std::sync::OnceLock;

use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};
use tests::{Run, binary};

use crate::probe;

type Change = fn(&mut Value);

/// Whether the file has to be refused, or may be used.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Refused,
    Either,
}
use End::{Either, Refused};

fn normalizer(file: &mut Value, component: Value) {
    file["normalizer"] = component;
}

fn splitter(file: &mut Value, pattern: Value) {
    file["pre_tokenizer"] =
        json!({ "type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": false });
}

fn replace(pattern: Value, content: &str) -> Value {
    json!({ "type": "Replace", "pattern": pattern, "content": content })
}

fn precompiled(charsmap: &str) -> Value {
    json!({ "type": "Precompiled", "precompiled_charsmap": charsmap })
}

fn token(id: u64, content: &str) -> Value {
    json!({ "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": false })
}

fn add(file: &mut Value, token: Value) {
    file["added_tokens"].as_array_mut().unwrap().push(token);
}

fn merge(file: &mut Value, merge: Value) {
    file["model"]["merges"].as_array_mut().unwrap().push(merge);
}

fn unigram(file: &mut Value, unk: u64, vocab: Value) {
    file["model"] = json!({ "type": "Unigram", "unk_id": unk, "vocab": vocab });
}

#[rustfmt::skip]
const CASES: [(&str, End, Change); 52] = [
    ("precompiled_garbage", Refused, |t| normalizer(t, precompiled("////f2FiYw=="))),
    ("precompiled_empty", Refused, |t| normalizer(t, precompiled(""))),
    ("precompiled_size", Refused, |t| normalizer(t, precompiled("AAAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"))),
    ("precompiled_trie", Refused, |t| normalizer(t, precompiled("EAAAAP////////////////////94"))),
    ("precompiled_no_base64", Refused, |t| normalizer(t, precompiled("\u{fffd}\u{fffd}"))),
    ("regex_that_goes_back_in_split", Refused, |t| splitter(t, json!({ "Regex": "^(a+)+$" }))),
    ("regex_that_goes_back_in_replace", Refused, |t| normalizer(t, replace(json!({ "Regex": "(x+x+)+y" }), "z"))),
    ("alternatives_that_go_back", Either, |t| splitter(t, json!({ "Regex": "^(a|aa)*$" }))),
    ("references_that_go_back", Either, |t| splitter(t, json!({ "Regex": r"(\w*)(\w*)(\w*)\1\2\3$" }))),
    ("replace_grows", Refused, |t| {
        let one = replace(json!({ "String": "a" }), "aaaaaaaaaa");
        normalizer(t, json!({ "type": "Sequence", "normalizers": vec![one; 8] }));
    }),
    ("replace_by_megabytes", Refused, |t| normalizer(t, replace(json!({ "Regex": "." }), &"x".repeat(1 << 20)))),
    ("regex_bad", Refused, |t| splitter(t, json!({ "Regex": "((" }))),
    ("regex_deep", Either, |t| splitter(t, json!({ "Regex": format!("{}a{}", "(".repeat(5_000), ")".repeat(5_000)) }))),
    ("regex_counts", Either, |t| splitter(t, json!({ "Regex": "(a{1000}){1000}" }))),
    ("regex_empty", Either, |t| splitter(t, json!({ "Regex": "" }))),
    ("string_empty", Either, |t| splitter(t, json!({ "String": "" }))),
    ("replace_nothing", Refused, |t| normalizer(t, replace(json!({ "String": "" }), "x"))),
    ("normalizers_in_normalizers", Either, |t| {
        let deep = (0..30).fold(json!({ "type": "NFC" }), |inner, _| json!({ "type": "Sequence", "normalizers": [inner] }));
        normalizer(t, deep);
    }),
    ("prepend", Either, |t| normalizer(t, json!({ "type": "Prepend", "prepend": "x".repeat(1 << 16) }))),
    ("added_empty", Either, |t| add(t, token(2001, ""))),
    ("added_nul", Either, |t| add(t, token(2001, "\0"))),
    ("added_space", Either, |t| add(t, { let mut space = token(2001, " "); space["lstrip"] = true.into(); space["rstrip"] = true.into(); space })),
    ("added_last_id", Either, |t| add(t, token(u64::from(u32::MAX), "zz"))),
    ("added_large_id", Either, |t| add(t, token(4_000_000_000, "zz"))),
    ("added_negative_id", Refused, |t| { let mut zz = token(0, "zz"); zz["id"] = (-1).into(); add(t, zz) }),
    ("added_many", Either, |t| (0..20_000).for_each(|i| add(t, token(3_000 + i, &format!("<x{i}>"))))),
    ("a_hole_of_a_hundred_million", Refused, |t| t["model"]["vocab"]["zzzz"] = 100_000_000.into()),
    ("ids_twice", Either, |t| { t["model"]["vocab"]["dup1"] = 5.into(); t["model"]["vocab"]["dup2"] = 5.into() }),
    ("merge_of_unknown", Refused, |t| merge(t, json!(["qqqq", "zzzz"]))),
    ("merge_of_one", Refused, |t| merge(t, json!("a"))),
    ("merge_of_three", Refused, |t| merge(t, json!("a b c"))),
    ("merges_no_list", Refused, |t| t["model"]["merges"] = json!(7)),
    ("unigram_empty", Refused, |t| unigram(t, 0, json!([]))),
    ("unigram_unknown", Refused, |t| unigram(t, 99, json!([["<|endoftext|>", 0.0]]))),
    ("unigram_large", Either, |t| unigram(t, 0, json!([["<|endoftext|>", -1e308], ["a", 1e308]]))),
    ("wordpiece", Refused, |t| t["model"] = json!({ "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 0, "vocab": { "<|endoftext|>": 0 } })),
    ("wordlevel", Refused, |t| t["model"] = json!({ "type": "WordLevel", "unk_token": "?", "vocab": { "<|endoftext|>": 0 } })),
    ("model_of_no_kind", Refused, |t| t["model"] = json!({ "type": "Telepathy" })),
    ("dropout_of_two", Refused, |t| t["model"]["dropout"] = 2.0.into()),
    ("dropout_negative", Refused, |t| t["model"]["dropout"] = (-1.0).into()),
    ("no_bytes", Refused, |t| t["model"]["vocab"].as_object_mut().unwrap().retain(|_, id| id.as_u64() < Some(100))),
    ("ignore_merges", Either, |t| t["model"]["ignore_merges"] = true.into()),
    ("byte_fallback", Either, |t| t["model"]["byte_fallback"] = true.into()),
    ("template_of_unknown", Refused, |t| t["post_processor"] = json!({ "type": "TemplateProcessing", "pair": [], "special_tokens": {},
        "single": [{ "SpecialToken": { "id": "X", "type_id": 0 } }] })),
    ("bert_ids", Either, |t| t["post_processor"] = json!({ "type": "BertProcessing", "sep": ["s", u32::MAX], "cls": ["c", u32::MAX] })),
    ("truncation", Either, |t| t["truncation"] = json!({ "direction": "Right", "max_length": 0, "strategy": "LongestFirst", "stride": 5 })),
    ("padding", Either, |t| t["padding"] = json!({ "strategy": { "Fixed": 4_000_000_000u64 }, "direction": "Right", "pad_to_multiple_of": null,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "x" })),
    ("fixed_length_0", Refused, |t| t["pre_tokenizer"] = json!({ "type": "FixedLength", "length": 0 })),
    ("metaspace_empty", Refused, |t| t["pre_tokenizer"] = json!({ "type": "Metaspace", "replacement": "", "prepend_scheme": "always", "split": true })),
    ("decoder_strips_all", Either, |t| t["decoder"] = json!({ "type": "Strip", "content": " ", "start": 1_000_000_000, "stop": 1_000_000_000 })),
    ("decoder_replaces_nothing", Refused, |t| t["decoder"] = replace(json!({ "String": "" }), "x")),
    ("a_list", Refused, |t| *t = json!([1, 2, 3])),
];

/// Stories made to meet what the files above do badly.
const STORIES: [&str; 7] = [
    "Once upon a time there was a dog.",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!",
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "\u{0}\u{1}",
    "                                                  ",
    "\u{65e5}\u{672c}\u{8a9e} emoji \u{1f469}\u{200d}\u{1f680} caf\u{e9}",
    "<x5>zz<x5>zz<x5>zz",
];

struct World {
    run: Run,
    tokenizer: Value,
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let own = Run::new();
        own.through(&["fetch-parquet", "train-tokenizer"]);
        let tokenizer = own.json("tokenizer.json");
        let run = Run::new();
        let lines: Vec<String> = STORIES
            .iter()
            .cycle()
            .take(140)
            .map(|text| json!({ "text": text }).to_string())
            .collect();
        std::fs::write(run.input("stories.jsonl"), lines.join("\n")).unwrap();
        let run = run.set("fetch.source=stories.jsonl");
        run.through(&["fetch-parquet"]);
        World { run, tokenizer }
    })
}

pub(crate) fn trials() -> Vec<Trial> {
    let trial = |(name, end, change): (&'static str, End, Change)| {
        Trial::test(format!("tokenizers::{name}"), move || one(name, end, change))
    };
    CASES.into_iter().map(trial).collect()
}

/// The file through train-tokenizer, and where that takes it, through tokenize and pack-bin.
fn one(name: &str, end: End, change: Change) -> Result<(), Failed> {
    let world = world();
    let mut file = world.tokenizer.clone();
    change(&mut file);
    let path = world.run.input(&format!("{name}.json"));
    std::fs::write(&path, file.to_string())?;
    let out = world.run.input(name);
    tests::tree::copy(&world.run.path(""), &out);
    let mut ended = 0;
    for stage in ["train-tokenizer", "tokenize", "pack-bin"] {
        let mut command = std::process::Command::new(binary(stage));
        command.current_dir(world.run.input("")).args(["--config", "tiny.toml", "--out"]).arg(&out);
        command.args(["--set", "fetch.source=stories.jsonl"]);
        command.arg("--set").arg(format!("tokenizer.file={}", path.display()));
        let result = probe::run(command);
        result.check(&format!("{name}, {stage}"), &[0, 3])?;
        ended = result.code.unwrap_or_default();
        if ended != 0 {
            break;
        }
    }
    match (end, ended) {
        (Refused, 0) => Err(format!("{name} was taken").into()),
        _ => Ok(()),
    }
}
