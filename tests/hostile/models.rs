//! Model folders as other people have them, and as nobody should have them.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use libtest_mimic::{Failed, Trial};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};
use tests::{DATA_STAGES, Run, binary};

use crate::probe;

const EMBEDDING: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";

/// A trained run; its final folder is what every case changes.
fn run() -> &'static Run {
    static RUN: OnceLock<Run> = OnceLock::new();
    RUN.get_or_init(|| {
        let run = Run::new().set("train.device=cpu").set("sample.device=cpu");
        run.through(&DATA_STAGES).through(&["train"]);
        run
    })
}

/// A copy of the final folder, changed.
fn folder(name: &str, change: impl FnOnce(&Path)) -> PathBuf {
    let folder = run().input(name);
    tests::tree::copy(&run().path("run/final"), &folder);
    change(&folder);
    folder
}

fn edit(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut json: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(&mut json);
    fs::write(path, json.to_string()).unwrap();
}

/// Renames the tensors of a folder; None leaves one out.
fn rename(folder: &Path, name: impl Fn(&str) -> Option<String>) {
    let path = folder.join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let views: Vec<(String, TensorView)> =
        tensors.tensors().into_iter().filter_map(|(old, view)| Some((name(&old)?, view))).collect();
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

fn sample(model: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(binary("sample"));
    command
        .current_dir(run().input(""))
        .args(["--config", "tiny.toml", "--out"])
        .arg(run().path(""));
    command.arg("--model").arg(model).args(["--set", "sample.device=cpu"]).args(args);
    command
}

fn story(model: &Path) -> Result<Value, Failed> {
    let args =
        ["--n", "1", "--max-tokens", "12", "--temperature", "0", "--json", "--prompt", "Once"];
    let output = sample(model, &args).output()?;
    match output.status.success() {
        true => Ok(serde_json::from_slice(&output.stdout)?),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned().into()),
    }
}

pub(crate) fn trials() -> Vec<Trial> {
    type Test = fn() -> Result<(), Failed>;
    let own: [(&str, Test); 4] = [
        ("any_end_of_the_folder_ends_a_story", any_end_ends_a_story),
        ("an_export_keeps_the_ends", an_export_keeps_the_ends),
        ("a_tied_matrix_under_the_name_of_the_head", a_tied_matrix_under_the_name_of_the_head),
        ("a_tokenizer_in_another_form", a_tokenizer_in_another_form),
    ];
    let own = own.into_iter().map(|(name, test)| Trial::test(format!("models::{name}"), test));
    let bad = CASES.into_iter().map(|(name, change)| {
        Trial::test(format!("models::{name}"), move || {
            let model = folder(name, change);
            let ended = probe::run(sample(&model, &["--n", "1", "--max-tokens", "4"]));
            ended.check(name, &[2, 3, 4])
        })
    });
    own.chain(bad).collect()
}

/// The token that the model itself takes first becomes an end, as one of two: the story then has no token.
fn any_end_ends_a_story() -> Result<(), Failed> {
    let usual = story(&run().path("run/final"))?;
    let first = usual["tokens"][0].as_u64().ok_or("the story has no token")?;
    for place in ["config.json", "generation_config.json"] {
        let model = folder(&format!("ends-{place}"), |folder| {
            if place == "config.json" {
                fs::remove_file(folder.join("generation_config.json")).unwrap();
            }
            edit(&folder.join(place), |json| json["eos_token_id"] = json!([0, first]));
        });
        let story = story(&model)?;
        if story["ended"] != true || story["tokens"] != json!([]) {
            return Err(format!("{place}: {story}").into());
        }
    }
    Ok(())
}

fn an_export_keeps_the_ends() -> Result<(), Failed> {
    let model = folder("export-ends", |folder| {
        edit(&folder.join("generation_config.json"), |json| json["eos_token_id"] = json!([7, 9]));
    });
    let to = run().input("exported");
    let mut command = Command::new(binary("sample"));
    command.current_dir(run().input("")).args(["export", "--config", "tiny.toml", "--model"]);
    command.arg(&model).args(["--to", "folder"]).arg(&to);
    probe::run(command).check("export", &[0])?;
    for name in ["config.json", "generation_config.json"] {
        let json: Value = serde_json::from_slice(&fs::read(to.join(name))?)?;
        if json["eos_token_id"] != json!([7, 9]) {
            return Err(format!("{name}: {}", json["eos_token_id"]).into());
        }
    }
    Ok(())
}

fn a_tied_matrix_under_the_name_of_the_head() -> Result<(), Failed> {
    let to_head = |name: &str| Some(if name == EMBEDDING { HEAD.into() } else { name.into() });
    let model = folder("only-head", |folder| rename(folder, to_head));
    if story(&model)? != story(&run().path("run/final"))? {
        return Err("another story".into());
    }
    // Untied, the embedding is missing.
    edit(&model.join("config.json"), |json| json["tie_word_embeddings"] = false.into());
    let ended = probe::run(sample(&model, &["--n", "1"]));
    ended.check("untied", &[3])?;
    match ended.stderr.contains(EMBEDDING) {
        true => Ok(()),
        false => Err(ended.stderr.into()),
    }
}

fn a_tokenizer_in_another_form() -> Result<(), Failed> {
    for names in [&["tokenizer.model"][..], &["vocab.json", "merges.txt"]] {
        let model = folder(&format!("without-{}", names[0]), |folder| {
            fs::remove_file(folder.join("tokenizer.json")).unwrap();
            names.iter().for_each(|name| fs::write(folder.join(name), b"x").unwrap());
        });
        let ended = probe::run(sample(&model, &["--n", "1"]));
        ended.check(names[0], &[3])?;
        for words in [&names.join(" and "), "save_pretrained"] {
            if !ended.stderr.contains(words) {
                return Err(format!("did not say {words}: {}", ended.stderr).into());
            }
        }
    }
    Ok(())
}

type Change = fn(&Path);

fn config(folder: &Path, key: &str, value: Value) {
    edit(&folder.join("config.json"), |json| json[key] = value);
}

fn header(folder: &Path, header: &str, length: u64) {
    let bytes = [&length.to_le_bytes()[..], header.as_bytes()].concat();
    fs::write(folder.join("model.safetensors"), bytes).unwrap();
}

fn index(folder: &Path, text: &str) {
    fs::remove_file(folder.join("model.safetensors")).unwrap();
    fs::write(folder.join("model.safetensors.index.json"), text).unwrap();
}

/// All of these have to be refused, soon and without taking what they claim to need.
#[rustfmt::skip]
const CASES: [(&str, Change); 38] = [
    ("context_of_16_million", |f| config(f, "max_position_embeddings", (1 << 24).into())),
    ("context_beyond_64_bits", |f| config(f, "max_position_embeddings", json!(1e300))),
    ("vocabulary_of_16_million", |f| config(f, "vocab_size", (1 << 24).into())),
    ("vocabulary_negative", |f| config(f, "vocab_size", (-1).into())),
    ("vocabulary_too_small", |f| config(f, "vocab_size", 7.into())),
    ("width_of_16_million", |f| config(f, "hidden_size", (1 << 24).into())),
    ("width_odd", |f| config(f, "hidden_size", 33.into())),
    ("mlp_of_16_million", |f| config(f, "intermediate_size", (1 << 24).into())),
    ("layers_of_4_thousand", |f| config(f, "num_hidden_layers", 4096.into())),
    ("layers_of_4_billion", |f| config(f, "num_hidden_layers", u32::MAX.into())),
    ("layers_none", |f| config(f, "num_hidden_layers", 0.into())),
    ("heads_text", |f| config(f, "num_attention_heads", "two".into())),
    ("heads_too_many", |f| config(f, "num_attention_heads", 1_000_000.into())),
    ("kv_heads_none", |f| config(f, "num_key_value_heads", 0.into())),
    ("eps_not_a_number", |f| config(f, "rms_norm_eps", "NaN".into())),
    ("eps_infinite", |f| config(f, "rms_norm_eps", json!(1e300))),
    ("theta_negative", |f| config(f, "rope_theta", (-1).into())),
    ("rope_scaled", |f| config(f, "rope_scaling", json!({ "type": "linear", "factor": 2 }))),
    ("eos_text", |f| config(f, "eos_token_id", "</s>".into())),
    ("other_architecture", |f| config(f, "architectures", json!(["GPT2LMHeadModel"]))),
    ("config_a_list", |f| fs::write(f.join("config.json"), "[]").unwrap()),
    ("config_empty", |f| fs::write(f.join("config.json"), "").unwrap()),
    ("config_deep", |f| fs::write(f.join("config.json"), "[".repeat(100_000)).unwrap()),
    ("config_utf16", |f| fs::write(f.join("config.json"), b"\xff\xfe{\0}\0").unwrap()),
    ("config_a_folder", |f| { fs::remove_file(f.join("config.json")).unwrap(); fs::create_dir(f.join("config.json")).unwrap() }),
    ("config_missing", |f| fs::remove_file(f.join("config.json")).unwrap()),
    ("weights_missing", |f| fs::remove_file(f.join("model.safetensors")).unwrap()),
    ("weights_empty", |f| fs::write(f.join("model.safetensors"), b"").unwrap()),
    ("weights_header_longer_than_file", |f| header(f, "{}", u64::MAX)),
    ("weights_header_of_an_exabyte", |f| header(f, "{}", 1 << 60)),
    ("weights_header_no_json", |f| header(f, "garbage!", 8)),
    ("weights_offsets_beyond", |f| header(f, r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,99999999999]}}"#, 66)),
    ("weights_shape_overflows", |f| header(f, r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,0]}}"#, 86)),
    ("weights_with_a_missing_tensor", |f| rename(f, |name| (name != "model.norm.weight").then(|| name.into()))),
    ("weights_with_one_too_many", |f| rename(f, |name| Some(if name == "model.norm.weight" { "model.extra.weight".into() } else { name.into() }))),
    ("index_leads_out", |f| index(f, r#"{"weight_map":{"a":"../../etc/passwd"}}"#)),
    ("index_names_itself", |f| index(f, r#"{"weight_map":{"a":"model.safetensors.index.json"}}"#)),
    ("index_without_map", |f| index(f, "{}")),
];
