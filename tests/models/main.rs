//! Models of other shapes and origins on the real executables: what is judged, what is refused by name, what is written for
//! other programs.
mod gguf;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use compute::{Cpu, Model};
use corpus::tokenizer::Tokenizer;
use model::{Llama, Weights, load_folder, read_llama2c};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;
use tests::{DATA_STAGES, Run};

use gguf::turned;

fn trained(run: Run) -> Run {
    run.through(&DATA_STAGES).through(&["train"]);
    run
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

fn golden(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name)
}

type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// Writes the folder's weights again after a change.
fn change(folder: &Path, change: impl FnOnce(&mut Tensors)) {
    let path = folder.join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let own = |(name, view): (String, TensorView)| {
        (name, (view.dtype(), view.shape().to_vec(), view.data().to_vec()))
    };
    let mut tensors: Tensors =
        SafeTensors::deserialize(&bytes).unwrap().tensors().into_iter().map(own).collect();
    change(&mut tensors);
    let views = tensors.iter().map(|(name, (dtype, shape, data))| {
        (name, TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

#[test]
fn folders_that_do_not_fit_are_refused_by_name() {
    let run = trained(Run::new());
    let folder = run.input("other");
    let refused = |make: &dyn Fn(), words: &[&str]| {
        let _ = fs::remove_dir_all(&folder);
        copy_folder(&run.path("run/final"), &folder);
        make();
        for stage in ["eval-ppl", "sample"] {
            run.run(stage, &["--model", folder.to_str().unwrap()])
                .code(3)
                .says(words)
                .says(&["expected", "remedy"]);
        }
        assert!(!run.path("eval.json").exists());
    };
    let norm = "model.layers.1.input_layernorm.weight";
    let edit = |from: &str, to: &str| {
        let text = fs::read_to_string(folder.join("config.json")).unwrap();
        assert!(text.contains(from), "{from} in {text}");
        fs::write(folder.join("config.json"), text.replace(from, to)).unwrap();
    };
    refused(&|| change(&folder, |t| drop(t.remove(norm))), &["model.safetensors", norm, "missing"]);
    refused(
        &|| {
            change(&folder, |t| {
                drop(t.insert(
                    "model.layers.0.self_attn.q_proj.bias".into(),
                    (Dtype::F32, vec![1], vec![0; 4]),
                ))
            })
        },
        &["model.safetensors", "q_proj.bias", "no place"],
    );
    refused(
        &|| change(&folder, |t| t.get_mut(norm).unwrap().1 = vec![4, 8]),
        &[norm, "[4, 8]", "[32]"],
    );
    let nan = || {
        change(&folder, |t| {
            t.get_mut(norm).unwrap().2[8..12].copy_from_slice(&f32::NAN.to_le_bytes())
        })
    };
    refused(&nan, &[norm, "NaN at element 2"]);
    refused(&|| edit("\"llama\"", "\"gpt2\""), &["config.json", "gpt2", "llama"]);
    refused(
        &|| {
            edit("\"rope_theta\": 10000.0", "\"rope_scaling\": {\"type\": \"yarn\", \"factor\": 4}")
        },
        &["rope_scaling", "yarn"],
    );
    refused(
        &|| edit("\"attention_bias\": false", "\"attention_bias\": true"),
        &["attention_bias is true"],
    );
    let cut = || {
        let bytes = fs::read(folder.join("model.safetensors")).unwrap();
        fs::write(folder.join("model.safetensors"), &bytes[..bytes.len() / 2]).unwrap();
    };
    refused(&cut, &["model.safetensors", "safetensors"]);
    refused(
        &|| fs::remove_file(folder.join("model.safetensors")).unwrap(),
        &["model.safetensors", "not found"],
    );
    refused(
        &|| fs::remove_file(folder.join("tokenizer.json")).unwrap(),
        &["tokenizer.json", "not found"],
    );
    let larger = trained(
        Run::new().set("tokenizer.vocab_size=600").set("train.steps=1").set("train.val_every=9"),
    );
    let other = || {
        assert!(fs::copy(larger.path("tokenizer.json"), folder.join("tokenizer.json")).unwrap() > 0)
    };
    refused(&other, &["tokenizer.json", "a vocabulary of 600", "500"]);
}

/// Nats of ids by hand: softmax of the logits in f64.
fn nats(folder: &Path, ids: &[u32]) -> f64 {
    let (config, weights) = load_folder(folder).unwrap();
    let mut model = Model::new(Cpu::boxed(), config, &weights, 1, ids.len() - 1).unwrap();
    let logits = model.logits(&ids[..ids.len() - 1]).unwrap();
    let rows = logits.chunks_exact(config.vocab_size).zip(&ids[1..]);
    rows.map(|(row, &id)| {
        row.iter().map(|&l| f64::from(l).exp()).sum::<f64>().ln() - f64::from(row[id as usize])
    })
    .sum()
}

#[test]
fn bits_per_byte_of_one_text_under_two_tokenizers_are_those_computed_by_hand() {
    let (run, other) = (
        trained(Run::new()),
        trained(
            Run::new()
                .set("tokenizer.vocab_size=300")
                .set("model.n_head=4")
                .set("model.n_kv_head=2"),
        ),
    );
    let exported = fs::read_to_string(other.path("run/final/config.json")).unwrap();
    assert!(exported.contains("\"num_key_value_heads\": 2,"), "{exported}");
    let texts = ["The little dog was happy.", "Caf\u{e9} \u{4f60}!"];
    fs::write(run.input("a.txt"), texts.join("<|endoftext|>\n")).unwrap();
    let final_of = |run: &Run| run.path("run/final").to_str().unwrap().to_owned();
    let models = [final_of(&run), final_of(&other)];
    let ended = run
        .run(
            "eval-ppl",
            &["--stride", "48", "--model", &models[0], "--model", &models[1], "--text", "a.txt"],
        )
        .ok();
    let json: Value = serde_json::from_str(&ended.stdout).unwrap();
    let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("{value} in {json}"));

    let bytes: usize = texts.iter().map(|text| text.len()).sum();
    for (model, folder) in models.iter().enumerate() {
        let tokenizer = Tokenizer::load(&Path::new(folder).join("tokenizer.json")).unwrap();
        let mut ids = vec![tokenizer.eos()];
        texts.iter().for_each(|text| {
            ids.extend(tokenizer.encode(text).into_iter().chain([tokenizer.eos()]))
        });
        assert!(ids.len() < 48, "one window");
        let expected = nats(Path::new(folder), &ids) / 2f64.ln() / bytes as f64;
        let own = &json["models"][model];
        let text = &own["texts"][0];
        assert!(
            (number(&text["bits_per_byte"]) / expected - 1.0).abs() < 1e-5,
            "{expected} {text}"
        );
        assert_eq!(
            (text["tokens"].as_u64(), text["bytes"].as_u64()),
            (Some(ids.len() as u64 - 1), Some(bytes as u64))
        );
        let gap = number(&text["bits_per_byte"]) - number(&own["bits_per_byte"]);
        assert!((number(&text["gap_bits_per_byte"]) - gap).abs() < 1e-9 && gap > 0.0, "{text}");
    }
    // The stories of val.bin for both: the same bytes and stories, each in its own tokens.
    let [first, second] = [0, 1].map(|model| &json["models"][model]);
    assert_eq!((&first["bytes"], &first["stories"]), (&second["bytes"], &second["stories"]));
    assert!(number(&first["tokens"]) < number(&second["tokens"]));
    let printed = ended.says(&["its tokenizer is not that of val.bin"]).stdout;
    // The other's own bin holds the same stories; there its first token is not scored.
    other.run("eval-ppl", &["--stride", "48"]).ok();
    let own = other.json("eval.json");
    assert!(
        (number(&own["bits_per_byte"]) / number(&second["bits_per_byte"]) - 1.0).abs() < 5e-3,
        "{own} {second}"
    );

    let difference = number(&second["bits_per_byte"]) - number(&first["bits_per_byte"]);
    assert!((number(&second["difference_bits_per_byte"]) - difference).abs() < 1e-9);
    let [low, high] = [0, 1].map(|i| number(&second["difference_bits_per_byte_95"][i]));
    assert!(low < difference && difference < high && high - low < 0.5, "{low} {difference} {high}");
    let again = run.run(
        "eval-ppl",
        &["--stride", "48", "--model", &models[0], "--model", &models[1], "--text", "a.txt"],
    );
    assert_eq!(again.ok().says(&["up to date"]).stdout, printed);
    // Of one model compared with itself nothing is left.
    run.run("eval-ppl", &["--stride", "48", "--model", &models[0], "--model", &models[0]]).ok();
    assert_eq!(
        run.json("eval.json")["models"][1]["difference_bits_per_byte_95"],
        serde_json::json!([0.0, 0.0])
    );
}

#[test]
fn tables_add_up_and_checkpoints_are_models_too() {
    let run = trained(Run::new());
    run.run("eval-ppl", &["--stride", "12"]).ok().says(&[
        "loss by tokens of context",
        "loss by tokens of the story",
        "hesitates between",
    ]);
    let json = run.json("eval.json");
    for key in ["by_position", "by_story_length"] {
        let rows = json[key].as_array().unwrap();
        let sum = |f: &dyn Fn(&Value) -> f64| rows.iter().map(f).sum::<f64>();
        let tokens = sum(&|row| row["tokens"].as_f64().unwrap());
        let nats = sum(&|row| row["tokens"].as_f64().unwrap() * row["loss"].as_f64().unwrap());
        assert_eq!(tokens, json["tokens"].as_f64().unwrap(), "{key}");
        assert!((nats / tokens / json["loss"].as_f64().unwrap() - 1.0).abs() < 1e-9, "{key}");
    }
    // Windows of 48 that advance by 12: beyond the first, a token sees 37 to 48 others.
    let last = json["by_position"].as_array().unwrap().last().unwrap().clone();
    assert!(
        last["to"] == 64
            && last["tokens"].as_f64().unwrap() > 0.9 * json["tokens"].as_f64().unwrap(),
        "{json}"
    );
    let stories: u64 = json["by_story_length"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["stories"].as_u64().unwrap())
        .sum();
    assert_eq!(stories, run.json("val.bin.json")["counts"]["stories"].as_u64().unwrap());

    let checkpoint = run.path("run/checkpoints/last.safetensors");
    run.run("eval-ppl", &["--stride", "12", "--model", checkpoint.to_str().unwrap()]).ok();
    assert_eq!(run.json("eval.json")["loss"], json["loss"]);
    fs::write(
        run.path("tokenizer.json"),
        fs::read_to_string(run.path("tokenizer.json")).unwrap() + "\n",
    )
    .unwrap();
    run.run("eval-ppl", &["--force", "--model", checkpoint.to_str().unwrap()])
        .code(3)
        .says(&["tokenizer.json", "was trained with"]);
}

#[test]
fn text_that_is_none_and_a_single_byte() {
    let run = trained(Run::new());
    fs::write(run.input("bad.txt"), b"A good start. \xff\xfe").unwrap();
    run.run("eval-ppl", &["--text", "bad.txt"]).code(3).says(&[
        "bad.txt",
        "line 1, byte 15",
        "UTF-8",
    ]);
    fs::write(run.input("empty.txt"), "  \n").unwrap();
    run.run("eval-ppl", &["--text", "empty.txt"]).code(3).says(&["empty.txt", "no text"]);
    run.run("eval-ppl", &["--text", "none.txt"]).code(3).says(&["none.txt", "not found"]);
    fs::write(run.input("one.txt"), "A").unwrap();
    run.run("eval-ppl", &["--text", "one.txt"]).ok();
    let text = &run.json("eval.json")["texts"][0];
    assert_eq!((text["tokens"].as_u64(), text["bytes"].as_u64()), (Some(2), Some(1)), "{text}");
    // A text alone needs no val.bin.
    fs::remove_file(run.path("val.bin")).unwrap();
    run.run("eval-ppl", &["--text", "one.txt"]).ok();
    let alone = run.json("eval.json");
    assert_eq!((&alone["loss"], &alone["tokens"]), (&text["loss"], &text["tokens"]));
}

#[test]
fn logits_are_printed_as_they_are() {
    let run = trained(Run::new());
    let mut command = run.command("eval-ppl");
    let output = command.args(["--logits", "2"]).output().unwrap();
    assert!(output.status.success());
    let found: Vec<f32> =
        output.stdout.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    let ids: Vec<u32> = run
        .read("val.bin")
        .as_chunks()
        .0
        .iter()
        .map(|&id| u32::from(u16::from_le_bytes(id)))
        .take(96)
        .collect();
    let (config, weights) = load_folder(&run.path("run/final")).unwrap();
    assert_eq!(
        found,
        Model::new(Cpu::boxed(), config, &weights, 1, 48).unwrap().logits(&ids).unwrap()
    );
}

#[test]
fn checkpoints_of_llama2c_are_read() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("stories.bin");
    for name in ["llama_shared", "llama_plain"] {
        let folder = golden(name);
        let (llama, weights) = (Llama::read(&folder).unwrap(), Weights::open(&folder).unwrap());
        let (config, expected) = (llama.config, Weights::expected(&llama));
        let read = |name: &str| {
            let (_, shape) = expected.iter().find(|(own, _)| own == name).unwrap();
            let mut values = vec![0.0; shape.iter().product()];
            weights.read(name, shape, &mut values).unwrap();
            turned(name, &values, config.head_width(), config.d_model)
        };
        // As `legacy_export` of that project writes it.
        let vocab = config.vocab_size as i32 * if config.tied { 1 } else { -1 };
        let sizes = [config.d_model, config.d_mlp, config.n_layer, config.n_head, config.n_kv_head]
            .map(|size| size as i32);
        let mut bytes: Vec<u8> = sizes
            .into_iter()
            .chain([vocab, config.context as i32])
            .flat_map(i32::to_le_bytes)
            .collect();
        let mut put = |values: &[f32]| bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        put(&read("model.embed_tokens.weight"));
        for part in [
            "input_layernorm",
            "self_attn.q_proj",
            "self_attn.k_proj",
            "self_attn.v_proj",
            "self_attn.o_proj",
        ]
        .into_iter()
        .chain([
            "post_attention_layernorm",
            "mlp.gate_proj",
            "mlp.down_proj",
            "mlp.up_proj",
        ]) {
            (0..config.n_layer)
                .for_each(|l| put(&read(&format!("model.layers.{l}.{part}.weight"))));
        }
        put(&read("model.norm.weight"));
        put(&vec![0.5; config.context * config.head_width()]);
        if !config.tied {
            put(&read("lm_head.weight"));
        }
        fs::write(&path, &bytes).unwrap();
        let (found, tensors) = read_llama2c(&path).unwrap();
        assert_eq!(
            (found.config.vocab_size, found.config.n_kv_head, found.config.tied),
            (config.vocab_size, config.n_kv_head, config.tied)
        );
        for (name, shape) in &expected {
            let mut values = vec![0.0; shape.iter().product()];
            weights.read(name, shape, &mut values).unwrap();
            assert!(tensors[name] == values, "{name}");
        }
        for wrong in [&bytes[..bytes.len() - 4], &bytes[..20], &[1; 400]] {
            fs::write(&path, wrong).unwrap();
            assert_eq!(read_llama2c(&path).map(drop).unwrap_err().exit_code(), 3);
        }
    }
}
