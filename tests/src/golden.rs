//! Golden values of PyTorch, written by `tests/golden/make_golden.py`.
use std::path::Path;

use model::{Config, TensorTable};
use safetensors::SafeTensors;
use serde_json::Value;

/// One file of golden values.
pub struct Golden {
    bytes: Vec<u8>,
    /// The model's sizes.
    pub config: Config,
}

impl Golden {
    /// A file of `tests/golden`.
    pub fn open(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name);
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        let config: Value =
            serde_json::from_str(&metadata.metadata().as_ref().unwrap()["config"]).unwrap();
        let size = |key: &str| {
            config[key].as_u64().unwrap_or_else(|| panic!("{key} in {config}")) as usize
        };
        let config = Config {
            vocab_size: size("vocab_size"),
            n_layer: size("num_hidden_layers"),
            n_head: size("num_attention_heads"),
            n_kv_head: size("num_attention_heads"),
            d_model: size("hidden_size"),
            d_mlp: size("intermediate_size"),
            context: size("max_position_embeddings"),
            rms_eps: Config::RMS_EPS,
            rope_base: Config::ROPE_BASE,
            tied: true,
        };
        Golden { bytes, config }
    }

    fn raw(&self, name: &str) -> Vec<[u8; 4]> {
        let tensors = SafeTensors::deserialize(&self.bytes).unwrap();
        let tensor = tensors.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}"));
        tensor.data().as_chunks().0.to_vec()
    }

    /// A tensor of f32, row-major.
    pub fn floats(&self, name: &str) -> Vec<f32> {
        self.raw(name).into_iter().map(f32::from_le_bytes).collect()
    }

    /// A tensor of ids.
    pub fn tokens(&self, name: &str) -> Vec<u32> {
        self.raw(name).into_iter().map(u32::from_le_bytes).collect()
    }

    /// Tensors with a prefix, put into the flat layout.
    pub fn flat(&self, prefix: &str) -> Vec<f32> {
        let table = TensorTable::new(&self.config);
        let mut flat = vec![0.0; table.len];
        for tensor in &table.tensors {
            flat[tensor.range()].copy_from_slice(&self.floats(&format!("{prefix}{}", tensor.name)));
        }
        flat
    }

    /// Compares flat buffers tensor by tensor.
    #[track_caller]
    pub fn assert_close(&self, what: &str, found: &[f32], expected: &[f32], tolerance: f64) {
        for tensor in &TensorTable::new(&self.config).tensors {
            let error = relative_error(&found[tensor.range()], &expected[tensor.range()]);
            assert!(error <= tolerance, "{what} of {}: {error:.2e}", tensor.name);
        }
    }
}

/// A folder that transformers saved, and the logits it gave for some tokens.
pub struct Folder {
    /// The model's sizes.
    pub config: Config,
    /// Flat, in the layout of the tensor table.
    pub weights: Vec<f32>,
    /// Two sequences of the context's length.
    pub tokens: Vec<u32>,
    /// [2, context, vocab_size]
    pub logits: Vec<f32>,
}

impl Folder {
    /// A folder of `tests/golden`.
    pub fn open(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name);
        let (config, weights) = model::load_folder(&folder).unwrap_or_else(|e| panic!("{e}"));
        let golden =
            Golden { bytes: std::fs::read(folder.join("golden.safetensors")).unwrap(), config };
        Folder { config, weights, tokens: golden.tokens("tokens"), logits: golden.floats("logits") }
    }
}

/// Norm of the difference over norm of the reference.
pub fn relative_error(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let difference =
        norm(&mut found.iter().zip(expected).map(|(a, b)| f64::from(*a) - f64::from(*b)));
    difference / norm(&mut expected.iter().map(|&b| f64::from(b)))
}
