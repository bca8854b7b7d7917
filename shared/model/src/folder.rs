//! The finished model as a Hugging Face folder: LlamaForCausalLM with tied embeddings, no conversion needed.
use std::collections::HashMap;
use std::path::Path;

use safetensors::SafeTensors;
use serde::Deserialize;
use serde_json::{Value, json};
use stage::{AtomicFile, Failure, Result};

use crate::checkpoint::{read_tensors, tensor_views, write_safetensors};
use crate::{Config, TensorTable};

/// Writes `config.json`, the tokenizer's files and, last, `model.safetensors`, which makes the folder whole.
/// `tokenizer` is the content of a tokenizer.json; `eos` is an id.
pub fn save_folder(folder: &Path, config: &Config, weights: &[f32], tokenizer: &[u8], eos: u32) -> Result<()> {
    let json: Value = serde_json::from_slice(tokenizer).unwrap_or_default();
    let added = json["added_tokens"].as_array().map(Vec::as_slice).unwrap_or_default();
    let token = |id: u32| added.iter().find(|token| token["id"] == id).map(|token| &token["content"]);
    let pad = added.iter().find(|token| token["content"] == "<|pad|>").map(|token| &token["id"]);
    let llama = json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": config.vocab_size,
        "hidden_size": config.d_model,
        "intermediate_size": config.d_mlp,
        "num_hidden_layers": config.n_layer,
        "num_attention_heads": config.n_head,
        "num_key_value_heads": config.n_head,
        "head_dim": config.head_width(),
        "max_position_embeddings": config.context,
        "rms_norm_eps": config.rms_eps,
        "rope_theta": config.rope_base,
        "hidden_act": "silu",
        "attention_bias": false,
        "mlp_bias": false,
        "tie_word_embeddings": true,
        "bos_token_id": null,
        "eos_token_id": eos,
        "pad_token_id": pad,
        "torch_dtype": "float32",
    });
    let generation = json!({ "eos_token_id": eos, "pad_token_id": pad, "do_sample": true, "temperature": 0.8, "top_k": 50 });
    let tokenizer_config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": token(eos),
        "pad_token": pad.map(|_| "<|pad|>"),
        "model_max_length": config.context,
        "clean_up_tokenization_spaces": false,
    });
    write_json(&folder.join("config.json"), &llama)?;
    write_json(&folder.join("generation_config.json"), &generation)?;
    write_json(&folder.join("tokenizer_config.json"), &tokenizer_config)?;
    AtomicFile::write(&folder.join("tokenizer.json"), tokenizer)?;
    let views = tensor_views(&TensorTable::new(config), "", weights)?;
    write_safetensors(&folder.join("model.safetensors"), views, HashMap::from([("format".to_owned(), "pt".to_owned())]))
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    AtomicFile::write(path, format!("{value:#}\n").as_bytes()).map(drop)
}

/// The part of a Llama's config.json that decides its computation.
#[derive(Deserialize)]
struct LlamaConfig {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    max_position_embeddings: usize,
    rms_norm_eps: f32,
    rope_theta: Option<f32>,
    #[serde(default)]
    tie_word_embeddings: bool,
    model_type: String,
}

/// Reads a folder that [`save_folder`] wrote, or another of the same architecture.
pub fn load_folder(folder: &Path) -> Result<(Config, Vec<f32>)> {
    let path = folder.join("config.json");
    let text = std::fs::read(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Failure::input(&path, "not found", "a trained model", "make train"),
        _ => Failure::reading(&path)(error),
    })?;
    let remedy = "train a model with this program, or name another folder";
    let llama: LlamaConfig = serde_json::from_slice(&text).map_err(|e| Failure::input(&path, e, "the config.json of a Llama", remedy))?;
    let refuse =
        |what: String| Failure::input(&path, what, "model_type llama, tied embeddings, as many key and value heads as heads", remedy);
    if llama.model_type != "llama" {
        return Err(refuse(format!("model_type {}", llama.model_type)));
    }
    if !llama.tie_word_embeddings {
        return Err(refuse("tie_word_embeddings false".into()));
    }
    if llama.num_key_value_heads.is_some_and(|heads| heads != llama.num_attention_heads) {
        return Err(refuse("num_key_value_heads below num_attention_heads".into()));
    }
    let heads = llama.num_attention_heads;
    if heads == 0 || !llama.hidden_size.is_multiple_of(heads.saturating_mul(2)) {
        return Err(refuse(format!("hidden_size {} over {heads} heads", llama.hidden_size)));
    }
    let config = Config {
        vocab_size: llama.vocab_size,
        n_layer: llama.num_hidden_layers,
        n_head: heads,
        d_model: llama.hidden_size,
        d_mlp: llama.intermediate_size,
        context: llama.max_position_embeddings,
        rms_eps: llama.rms_norm_eps,
        rope_base: llama.rope_theta.unwrap_or(Config::ROPE_BASE),
    };
    let path = folder.join("model.safetensors");
    let file = std::fs::File::open(&path).map_err(Failure::reading(&path))?;
    // SAFETY: the file is replaced by rename, never changed in place, so the mapping stays what it was.
    let bytes = unsafe { memmap2::Mmap::map(&file) }.map_err(Failure::reading(&path))?;
    let bad = |found: String| Failure::input(&path, found, "the weights that config.json describes", "make train FORCE=1");
    // Before anything is made as large as config.json says.
    if config.parameters().is_none_or(|weights| weights * 4 > bytes.len() as u64) {
        return Err(bad(format!("{} bytes", bytes.len())));
    }
    let tensors = SafeTensors::deserialize(&bytes).map_err(|e| bad(e.to_string()))?;
    let weights = read_tensors(&TensorTable::new(&config), "", &tensors).map_err(bad)?;
    Ok((config, weights))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_reads_back_and_what_does_not_fit_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let section = stage::config::Model { n_layer: 1, n_head: 2, d_model: 8, d_mlp: 12, context: 8 };
        let config = Config::new(&section, 260);
        let weights = crate::initial_weights(&TensorTable::new(&config), 1);
        let tokenizer = br#"{"added_tokens":[{"id":0,"content":"<|endoftext|>"}]}"#;
        save_folder(folder.path(), &config, &weights, tokenizer, 0).unwrap();
        assert_eq!(load_folder(folder.path()).unwrap(), (config, weights));

        let path = folder.path().join("config.json");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false")).unwrap();
        assert!(load_folder(folder.path()).unwrap_err().to_string().contains("tie_word_embeddings"));
        std::fs::write(&path, text.replace("\"vocab_size\": 260", "\"vocab_size\": 261")).unwrap();
        assert!(load_folder(folder.path()).unwrap_err().to_string().contains("embed_tokens"));
    }
}
