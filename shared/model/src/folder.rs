//! The finished model as a Hugging Face folder: a LlamaForCausalLM, no conversion needed.
use std::collections::HashMap;
use std::path::Path;

use serde_json::{Value, json};
use stage::{AtomicFile, Result};

use crate::checkpoint::{tensor_views, write_safetensors};
use crate::{Config, Llama, TensorTable, Weights};

/// What [`save_folder`] writes.
pub const FOLDER_FILES: [&str; 5] = [
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
];

/// Writes `config.json`, the tokenizer's files and, last, `model.safetensors`, which makes the folder whole.
/// `tokenizer` is the content of a tokenizer.json; `eos` are the ids that end a text, the usual one first.
pub fn save_folder(
    folder: &Path,
    config: &Config,
    weights: &[f32],
    tokenizer: &[u8],
    eos: &[u32],
) -> Result<()> {
    let json: Value = serde_json::from_slice(tokenizer).unwrap_or_default();
    let added = json.get("added_tokens").and_then(Value::as_array);
    let added =
        || added.into_iter().flatten().filter_map(|t| Some((t.get("id")?, t.get("content")?)));
    let token = |id: u32| added().find(|(own, _)| **own == id).map(|(_, content)| content);
    let pad = added().find(|(_, content)| *content == "<|pad|>").map(|(id, _)| id);
    let ends = match eos {
        [one] => json!(one),
        several => json!(several),
    };
    let llama = json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": config.vocab_size,
        "hidden_size": config.d_model,
        "intermediate_size": config.d_mlp,
        "num_hidden_layers": config.n_layer,
        "num_attention_heads": config.n_head,
        "num_key_value_heads": config.n_kv_head,
        "head_dim": config.head_width(),
        "max_position_embeddings": config.context,
        "rms_norm_eps": shortest(config.rms_eps),
        "rope_theta": shortest(config.rope_base),
        "hidden_act": "silu",
        "attention_bias": false,
        "mlp_bias": false,
        "tie_word_embeddings": config.tied,
        "bos_token_id": null,
        "eos_token_id": ends,
        "pad_token_id": pad,
        "torch_dtype": "float32",
    });
    let generation = json!({ "eos_token_id": ends, "pad_token_id": pad, "do_sample": true, "temperature": 0.8, "top_k": 50 });
    let tokenizer_config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": eos.first().and_then(|&id| token(id)),
        "pad_token": pad.map(|_| "<|pad|>"),
        "model_max_length": config.context,
        "clean_up_tokenization_spaces": false,
    });
    write_json(&folder.join("config.json"), &llama)?;
    write_json(&folder.join("generation_config.json"), &generation)?;
    write_json(&folder.join("tokenizer_config.json"), &tokenizer_config)?;
    AtomicFile::write(&folder.join("tokenizer.json"), tokenizer)?;
    let views = tensor_views(&TensorTable::new(config), "", weights)?;
    write_safetensors(
        &folder.join("model.safetensors"),
        views,
        HashMap::from([("format".to_owned(), "pt".to_owned())]),
    )
}

/// The f64 of the shortest text that means this f32: 1e-6, not 9.999999974752427e-7.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    AtomicFile::write(path, format!("{value:#}\n").as_bytes()).map(drop)
}

/// Reads a folder that [`save_folder`] wrote, or any other LlamaForCausalLM of this shape: [`Llama`] and [`Weights`] say
/// what is read and what is refused.
pub fn load_folder(folder: &Path) -> Result<(Config, Vec<f32>)> {
    let llama = Llama::read(folder)?;
    let weights = Weights::open(folder)?.load(&llama)?;
    Ok((llama.config, weights))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use safetensors::tensor::{Dtype, TensorView};

    /// Name, type, shape, bytes.
    type Written = (String, Dtype, Vec<usize>, Vec<u8>);

    #[test]
    fn a_folder_reads_back_and_what_does_not_fit_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let section = stage::config::Model {
            n_layer: 1,
            n_head: 2,
            n_kv_head: None,
            d_model: 8,
            d_mlp: 12,
            context: 8,
        };
        let config = Config::new(&section, 260);
        let weights = crate::initial_weights(&TensorTable::new(&config), 1);
        let tokenizer = br#"{"added_tokens":[{"id":0,"content":"<|endoftext|>"}]}"#;
        save_folder(folder.path(), &config, &weights, tokenizer, &[0]).unwrap();
        assert_eq!(load_folder(folder.path()).unwrap(), (config, weights));

        // What does not fit names itself.
        let path = folder.path().join("config.json");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("\"rms_norm_eps\": 1e-6,"), "{text}");
        for (from, to, name) in [
            (
                "\"tie_word_embeddings\": true",
                "\"tie_word_embeddings\": false",
                "lm_head.weight is missing",
            ),
            (
                "\"vocab_size\": 260",
                "\"vocab_size\": 261",
                "embed_tokens.weight has shape [260, 8], where config.json says [261, 8]",
            ),
            (
                "\"num_hidden_layers\": 1",
                "\"num_hidden_layers\": 2",
                "model.layers.1.self_attn.q_proj.weight is missing",
            ),
            (
                "\"num_key_value_heads\": 2",
                "\"num_key_value_heads\": 1",
                "k_proj.weight has shape [8, 8], where config.json says [4, 8]",
            ),
        ] {
            std::fs::write(&path, text.replace(from, to)).unwrap();
            let error = load_folder(folder.path()).unwrap_err();
            assert!(error.exit_code() == 3 && error.to_string().contains(name), "{error}");
        }
    }

    fn write(path: &Path, tensors: &[Written]) {
        let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
            (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap())
        });
        std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
    }

    /// A folder with a model in several shards of three types, heads of keys shared.
    struct Sharded {
        folder: tempfile::TempDir,
        tensors: Vec<Written>,
    }

    /// Exact in all three types.
    fn value(i: usize) -> f32 {
        (i % 31) as f32 * 0.25 - 3.0
    }

    impl Sharded {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let config = json!({
                "model_type": "llama", "vocab_size": 5, "hidden_size": 8, "intermediate_size": 6, "num_hidden_layers": 1,
                "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 16,
            });
            std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
            let llama = Llama::read(folder.path()).unwrap();
            let tensor = |(n, (name, shape)): (usize, (String, Vec<usize>))| {
                let values = (0..shape.iter().product()).map(|i: usize| value(i + n));
                let (dtype, bytes) = match n % 3 {
                    0 => (Dtype::F32, values.flat_map(f32::to_le_bytes).collect()),
                    1 => (
                        Dtype::F16,
                        values.flat_map(|v| half::f16::from_f32(v).to_le_bytes()).collect(),
                    ),
                    _ => (
                        Dtype::BF16,
                        values.flat_map(|v| half::bf16::from_f32(v).to_le_bytes()).collect(),
                    ),
                };
                (name, dtype, shape, bytes)
            };
            let tensors: Vec<Written> =
                Weights::expected(&llama).into_iter().enumerate().map(tensor).collect();
            let sharded = Sharded { folder, tensors };
            sharded.write(&sharded.tensors);
            sharded
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        /// Writes these tensors as shards, in place of those there were.
        fn write(&self, tensors: &[Written]) {
            let mut map = serde_json::Map::new();
            for (i, tensors) in tensors.chunks(5).enumerate() {
                let name = format!("model-{i}.safetensors");
                write(&self.path(&name), tensors);
                map.extend(
                    tensors.iter().map(|(tensor, ..)| (tensor.clone(), name.clone().into())),
                );
            }
            self.write_index(&json!({ "weight_map": map }).to_string());
        }

        fn write_index(&self, index: &str) {
            std::fs::write(self.path("model.safetensors.index.json"), index).unwrap();
        }

        fn load(&self) -> Result<(Config, Vec<f32>)> {
            load_folder(self.folder.path())
        }
    }

    #[test]
    fn shards_narrow_types_and_shared_heads_are_read() {
        let sharded = Sharded::new();
        let (config, flat) = sharded.load().unwrap();
        let table = TensorTable::new(&config);
        assert!(table.head != table.embedding && flat.len() == table.len);
        assert_eq!(table.layers[0].qkv.len(), (8 + 2 * 4) * 8, "two of four heads of 2");
        for (n, tensor) in table.tensors.iter().enumerate() {
            for (i, found) in flat[tensor.range()].iter().enumerate() {
                assert_eq!(*found, value(i + n), "{} {i}", tensor.name);
            }
        }
        // The angles that old files carry are not wanted and do no harm.
        let mut old = sharded.tensors.clone();
        old.push((
            "model.layers.0.self_attn.rotary_emb.inv_freq".into(),
            Dtype::F32,
            vec![1],
            vec![0; 4],
        ));
        sharded.write(&old);
        assert_eq!(sharded.load().unwrap().1, flat);
    }

    #[test]
    fn bad_tensors_and_bad_shards_are_named() {
        let sharded = Sharded::new();
        let refused = |change: &dyn Fn(&mut Vec<Written>), words: &str| {
            let mut changed = sharded.tensors.clone();
            change(&mut changed);
            sharded.write(&changed);
            let error = sharded.load().unwrap_err();
            assert!(
                error.exit_code() == 3 && error.to_string().contains(words),
                "{words}: {error}"
            );
        };
        refused(&|t| drop(t.remove(3)), "o_proj.weight is missing");
        refused(
            &|t| {
                t.push((
                    "model.layers.1.mlp.up_proj.weight".into(),
                    Dtype::F32,
                    vec![1],
                    vec![0; 4],
                ))
            },
            "layers.1.mlp.up_proj.weight [1] has no place",
        );
        refused(&|t| t[0].2 = vec![4, 16], "q_proj.weight has shape [4, 16]");
        refused(
            &|t| t[0].3[12..16].copy_from_slice(&f32::NAN.to_le_bytes()),
            "q_proj.weight has NaN at element 3",
        );
        refused(
            &|t| t[1].3[4..6].copy_from_slice(&half::f16::INFINITY.to_le_bytes()),
            "k_proj.weight has inf at element 2",
        );
        refused(&|t| t[0].1 = Dtype::I32, "q_proj.weight is of dtype I32");
        // A shard cut short, and an index that leads out of the folder.
        sharded.write(&sharded.tensors);
        let shard = sharded.path("model-0.safetensors");
        let bytes = std::fs::read(&shard).unwrap();
        std::fs::write(&shard, &bytes[..bytes.len() - 3]).unwrap();
        assert!(sharded.load().unwrap_err().to_string().contains("model-0.safetensors"));
        sharded.write_index(r#"{"weight_map": {"a": "../b.safetensors"}}"#);
        assert!(sharded.load().unwrap_err().to_string().contains("../b.safetensors"));
    }

    #[test]
    fn a_tied_head_may_be_written_out_if_it_is_the_embedding() {
        let folder = tempfile::tempdir().unwrap();
        let section = stage::config::Model {
            n_layer: 1,
            n_head: 2,
            n_kv_head: None,
            d_model: 8,
            d_mlp: 12,
            context: 8,
        };
        let config = Config::new(&section, 5);
        let weights = crate::initial_weights(&TensorTable::new(&config), 1);
        save_folder(folder.path(), &config, &weights, b"{}", &[0]).unwrap();
        let path = folder.path().join("model.safetensors");
        let bytes = std::fs::read(&path).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let owned = |(name, view): (String, TensorView)| {
            (name, view.dtype(), view.shape().to_vec(), view.data().to_vec())
        };
        let mut tensors: Vec<_> = tensors.tensors().into_iter().map(owned).collect();
        let head = tensors.iter().find(|(name, ..)| name.contains("embed_tokens")).unwrap().clone();
        tensors.push(("lm_head.weight".into(), head.1, head.2, head.3));
        write(&path, &tensors);
        assert_eq!(load_folder(folder.path()).unwrap(), (config, weights));
        tensors.last_mut().unwrap().3[1] ^= 1;
        write(&path, &tensors);
        assert!(
            load_folder(folder.path()).unwrap_err().to_string().contains("lm_head.weight differs")
        );
    }
}
