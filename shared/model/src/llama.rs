//! `config.json` of a LlamaForCausalLM from anywhere: what decides its computation. What this program does not compute is
//! refused by the name of its key, so that no model is ever run as something it is not.
use std::fmt::Display;
use std::path::{Path, PathBuf};

use serde_json::Value;
use stage::{Action, Failure, Result};

use crate::Config;

/// What a folder's `config.json` says.
#[derive(Clone, Debug, PartialEq)]
pub struct Llama {
    /// The sizes, in this project's terms.
    pub config: Config,
    /// The token that begins a text, where the folder names one.
    pub bos: Option<u32>,
    /// Tokens that end a text, as far as the folder names them: a tuned model may have several.
    pub eos: Vec<u32>,
}

const REMEDY: &str = "take another model: a LlamaForCausalLM without extensions";

/// Larger sizes are a damaged file, and would overflow what is computed from them.
const MOST: u64 = 1 << 24;
const MOST_LAYERS: u64 = 1 << 12;

impl Llama {
    /// Reads `config.json`, and the token ids of `generation_config.json` where there is one.
    ///
    /// # Errors
    /// Exit code 3: missing, no JSON, a key without meaning, or something that is not computed here.
    pub fn read(folder: &Path) -> Result<Self> {
        let file = Keys::read(folder.join("config.json"))?;
        let llama = file.llama()?;
        let generation = folder.join("generation_config.json");
        let eos = match generation.is_file() {
            true => Keys::read(generation)?.tokens("eos_token_id")?,
            false => Vec::new(),
        };
        Ok(Llama { eos: if eos.is_empty() { llama.eos } else { eos }, ..llama })
    }
}

/// The keys of one JSON file.
struct Keys {
    path: PathBuf,
    json: Value,
}

impl Keys {
    fn read(path: PathBuf) -> Result<Self> {
        if matches!(path.try_exists(), Ok(false)) {
            return Err(Failure::input(
                &path,
                "not found",
                "a trained model",
                Action::Run("train"),
            ));
        }
        let text = stage::read(&path)?;
        let json = serde_json::from_slice(&text).map_err(|error| {
            Failure::input(
                &path,
                format_args!("no JSON: {error}"),
                "the config.json of a Llama",
                "copy the file again",
            )
        })?;
        Ok(Keys { path, json })
    }

    fn get(&self, key: &str) -> Option<&Value> {
        self.json.get(key).filter(|value| !value.is_null())
    }

    fn refuse(&self, found: impl Display, expected: impl Display) -> Failure {
        Failure::input(&self.path, found, expected, REMEDY)
    }

    /// Only this value of a key is computed; a key that is absent means it.
    fn only(&self, key: &str, allowed: &Value) -> Result<()> {
        match self.get(key) {
            Some(value) if value != allowed => {
                Err(self.refuse(format_args!("{key} is {value}"), format_args!("{allowed}")))
            }
            _ => Ok(()),
        }
    }

    fn size_up_to(&self, key: &str, default: Option<usize>, most: u64) -> Result<usize> {
        match (self.get(key), default) {
            (Some(value), _) => {
                let size = value.as_u64().filter(|size| (1..=most).contains(size));
                let size = size.ok_or_else(|| {
                    self.refuse(
                        format_args!("{key} is {value}"),
                        format_args!("a number from 1 to {most}"),
                    )
                })?;
                Ok(size as usize)
            }
            (None, Some(default)) => Ok(default),
            (None, None) => {
                Err(self.refuse(format_args!("no {key}"), "the config.json of a Llama"))
            }
        }
    }

    fn size(&self, key: &str, default: Option<usize>) -> Result<usize> {
        self.size_up_to(key, default, MOST)
    }

    fn positive(&self, key: &str, value: Option<&Value>, default: f64) -> Result<f32> {
        let Some(value) = value.filter(|value| !value.is_null()) else { return Ok(default as f32) };
        let number = value
            .as_f64()
            .map(|number| number as f32)
            .filter(|number| number.is_finite() && *number > 0.0);
        number.ok_or_else(|| self.refuse(format_args!("{key} is {value}"), "a number above 0"))
    }

    /// An id, or several.
    fn tokens(&self, key: &str) -> Result<Vec<u32>> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let ids = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        let id = |id: &Value| id.as_u64().and_then(|id| u32::try_from(id).ok());
        let ids: Option<Vec<u32>> = ids.iter().map(id).collect();
        ids.ok_or_else(|| self.refuse(format_args!("{key} is {value}"), "a token id"))
    }

    fn llama(&self) -> Result<Llama> {
        match self.get("model_type") {
            Some(model_type) => self.only("model_type", &"llama".into()).map_err(|_| {
                self.refuse(format_args!("a model of type {model_type}"), "model_type \"llama\"")
            })?,
            None => return Err(self.refuse("no model_type", "model_type \"llama\"")),
        }
        self.only("architectures", &Value::from(vec!["LlamaForCausalLM"]))?;
        self.only("hidden_act", &"silu".into())?;
        for key in ["attention_bias", "mlp_bias"] {
            self.only(key, &false.into())?;
        }
        for key in ["quantization_config", "sliding_window"] {
            if let Some(value) = self.get(key) {
                return Err(self.refuse(format_args!("{key} is {value}"), format_args!("no {key}")));
            }
        }
        let theta = self.rope_theta()?;
        let (heads, d) = (self.size("num_attention_heads", None)?, self.size("hidden_size", None)?);
        let n_kv_head = self.size("num_key_value_heads", Some(heads))?;
        let width = self.size("head_dim", Some((d / heads).max(1)))?;
        if width * heads != d {
            return Err(self.refuse(
                format_args!("head_dim {width} in {heads} heads of hidden_size {d}"),
                "head_dim = hidden_size / heads",
            ));
        }
        if !width.is_multiple_of(2) {
            return Err(self.refuse(
                format_args!("head_dim {width}"),
                "an even one, since rotary embedding turns pairs",
            ));
        }
        if !heads.is_multiple_of(n_kv_head) {
            let found = format!("num_key_value_heads {n_kv_head} for {heads} heads");
            return Err(self.refuse(found, "a divisor of num_attention_heads"));
        }
        let tied = match self.get("tie_word_embeddings") {
            None => false, // the default of transformers
            Some(Value::Bool(tied)) => *tied,
            Some(value) => {
                return Err(
                    self.refuse(format_args!("tie_word_embeddings is {value}"), "true or false")
                );
            }
        };
        let config = Config {
            vocab_size: self.size("vocab_size", None)?,
            n_layer: self.size_up_to("num_hidden_layers", None, MOST_LAYERS)?,
            n_head: heads,
            n_kv_head,
            d_model: d,
            d_mlp: self.size("intermediate_size", None)?,
            context: self.size("max_position_embeddings", None)?,
            rms_eps: self.positive("rms_norm_eps", self.get("rms_norm_eps"), 1e-6)?,
            rope_base: theta,
            tied,
        };
        Ok(Llama {
            config,
            bos: self.tokens("bos_token_id")?.first().copied(),
            eos: self.tokens("eos_token_id")?,
        })
    }

    /// `rope_theta`, or that of `rope_parameters` as transformers 5 writes it. Anything but plain rotation is refused.
    fn rope_theta(&self) -> Result<f32> {
        if let Some(value) =
            self.get("partial_rotary_factor").filter(|value| value.as_f64() != Some(1.0))
        {
            return Err(self.refuse(format_args!("partial_rotary_factor is {value}"), "1"));
        }
        let mut theta = self.get("rope_theta");
        for key in ["rope_scaling", "rope_parameters"] {
            let Some(rope) = self.get(key) else { continue };
            let plain = |(name, value): (&String, &Value)| match name.as_str() {
                "rope_type" | "type" => value == "default",
                "partial_rotary_factor" => value.as_f64() == Some(1.0),
                "rope_theta" => true,
                _ => value.is_null(),
            };
            if !rope.as_object().is_some_and(|rope| rope.iter().all(plain)) {
                return Err(self.refuse(
                    format_args!("{key} is {rope}"),
                    "rotary embedding without scaling (rope_type \"default\")",
                ));
            }
            theta = rope.get("rope_theta").or(theta);
        }
        self.positive("rope_theta", theta, f64::from(Config::ROPE_BASE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(change: Value) -> Result<Llama> {
        let mut json = json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 300, "hidden_size": 24, "intermediate_size": 40,
            "num_hidden_layers": 1, "num_attention_heads": 4, "max_position_embeddings": 16,
        });
        for (key, value) in change.as_object().unwrap() {
            json[key] = value.clone();
        }
        Keys { path: "config.json".into(), json }.llama()
    }

    #[test]
    fn absent_keys_mean_what_they_mean_to_transformers() {
        let llama = read(json!({})).unwrap();
        assert_eq!(
            (llama.config.n_kv_head, llama.config.tied, llama.bos, llama.eos),
            (4, false, None, Vec::new())
        );
        assert_eq!((llama.config.rms_eps, llama.config.rope_base), (1e-6, 10_000.0));
    }

    #[test]
    fn theta_is_found_where_old_and_new_versions_put_it() {
        for (theta, change) in [
            (5e5, json!({"rope_theta": 500_000})),
            (5e5, json!({"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}})),
            (1e4, json!({"rope_scaling": null, "rope_parameters": {"rope_type": "default"}})),
            (
                2e4,
                json!({"rope_scaling": {"type": "default"}, "rope_theta": 2e4, "partial_rotary_factor": 1.0}),
            ),
        ] {
            assert_eq!(read(change).unwrap().config.rope_base, theta);
        }
        let llama =
            read(json!({"num_key_value_heads": 2, "eos_token_id": [7, 8], "bos_token_id": 1, "tie_word_embeddings": true})).unwrap();
        assert_eq!(
            (llama.config.n_kv_head, llama.eos, llama.bos, llama.config.tied),
            (2, vec![7, 8], Some(1), true)
        );
    }

    #[test]
    fn what_is_not_computed_is_refused_by_name() {
        for (name, change) in [
            ("mistral", json!({"model_type": "mistral"})),
            ("no model_type", json!({"model_type": null})),
            ("architectures", json!({"architectures": ["LlamaForSequenceClassification"]})),
            ("rope_scaling", json!({"rope_scaling": {"type": "linear", "factor": 2.0}})),
            (
                "rope_parameters",
                json!({"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0}}),
            ),
            (
                "rope_parameters",
                json!({"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}),
            ),
            ("partial_rotary_factor", json!({"partial_rotary_factor": 0.25})),
            ("rope_theta", json!({"rope_theta": -1})),
            ("attention_bias", json!({"attention_bias": true})),
            ("mlp_bias", json!({"mlp_bias": true})),
            ("hidden_act", json!({"hidden_act": "gelu"})),
            ("head_dim", json!({"head_dim": 8})),
            ("head_dim 5", json!({"hidden_size": 20})),
            ("head_dim", json!({"num_attention_heads": 48})),
            ("num_key_value_heads", json!({"num_key_value_heads": 3})),
            ("quantization_config", json!({"quantization_config": {"bits": 4}})),
            ("sliding_window", json!({"sliding_window": 4096})),
            ("tie_word_embeddings", json!({"tie_word_embeddings": "yes"})),
            ("num_hidden_layers", json!({"num_hidden_layers": 1_000_000_000})),
            ("vocab_size", json!({"vocab_size": 0})),
            ("vocab_size", json!({"vocab_size": -5})),
            ("rms_norm_eps", json!({"rms_norm_eps": "small"})),
            ("eos_token_id", json!({"eos_token_id": "</s>"})),
        ] {
            let error = read(change.clone()).map(drop).unwrap_err();
            assert!(
                error.exit_code() == 3 && error.to_string().contains(name),
                "{change}: {error}"
            );
        }
    }
}
