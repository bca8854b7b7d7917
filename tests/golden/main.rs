//! The step against PyTorch: logits, loss, every gradient, three AdamW updates and ten training losses of
//! LlamaForCausalLM, written by `make_golden.py` (computed in f64, rounded to f32).
use std::path::Path;

use compute::{AdamW, Cpu, Model, Trainer};
use model::{Config, TensorTable, initial_weights};
use safetensors::SafeTensors;
use serde_json::Value;

/// Norm of the difference over norm of the reference.
const TOLERANCE: f64 = 1e-5;

struct Golden {
    bytes: Vec<u8>,
    config: Config,
}

impl Golden {
    fn open(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name);
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        let config: Value = serde_json::from_str(&metadata.metadata().as_ref().unwrap()["config"]).unwrap();
        let size = |key: &str| config[key].as_u64().unwrap_or_else(|| panic!("{key} in {config}")) as usize;
        let config = Config {
            vocab_size: size("vocab_size"),
            n_layer: size("num_hidden_layers"),
            n_head: size("num_attention_heads"),
            d_model: size("hidden_size"),
            d_mlp: size("intermediate_size"),
            context: size("max_position_embeddings"),
            rms_eps: Config::RMS_EPS,
            rope_base: Config::ROPE_BASE,
        };
        Golden { bytes, config }
    }

    fn raw(&self, name: &str) -> Vec<[u8; 4]> {
        let tensors = SafeTensors::deserialize(&self.bytes).unwrap();
        let tensor = tensors.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}"));
        tensor.data().as_chunks().0.to_vec()
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        self.raw(name).into_iter().map(f32::from_le_bytes).collect()
    }

    fn tokens(&self, name: &str) -> Vec<u32> {
        self.raw(name).into_iter().map(u32::from_le_bytes).collect()
    }

    /// Tensors with a prefix, put into the flat layout.
    fn flat(&self, prefix: &str) -> Vec<f32> {
        let table = TensorTable::new(&self.config);
        let mut flat = vec![0.0; table.len];
        for tensor in &table.tensors {
            flat[tensor.range()].copy_from_slice(&self.floats(&format!("{prefix}{}", tensor.name)));
        }
        flat
    }

    fn trainer(&self, windows: &[u32], sequence: usize) -> Trainer<Cpu> {
        Trainer::new(Cpu::new(), self.config, &self.flat("weight."), windows.len() / (sequence + 1), sequence)
    }

    /// Compares flat buffers tensor by tensor.
    fn assert_close(&self, what: &str, found: &[f32], expected: &[f32]) {
        for tensor in &TensorTable::new(&self.config).tensors {
            let error = relative_error(&found[tensor.range()], &expected[tensor.range()]);
            assert!(error <= TOLERANCE, "{what} of {}: {error:.2e}", tensor.name);
        }
    }
}

fn relative_error(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let difference = norm(&mut found.iter().zip(expected).map(|(a, b)| f64::from(*a) - f64::from(*b)));
    difference / norm(&mut expected.iter().map(|&b| f64::from(b)))
}

fn adamw(trainer: &Trainer<Cpu>, learning_rate: f32, step: u64) -> AdamW {
    let decay_len = trainer.model.table.decay_len;
    AdamW { learning_rate, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, decay_len, clip: 1.0, step }
}

fn windows_to_inputs(windows: &[u32], sequence: usize) -> Vec<u32> {
    windows.chunks_exact(sequence + 1).flat_map(|w| w[..sequence].to_vec()).collect()
}

#[test]
fn logits_loss_gradients_and_three_updates_equal_pytorch() {
    let golden = Golden::open("small.safetensors");
    let (sequence, windows) = (16, golden.tokens("tokens"));
    let inputs = windows_to_inputs(&windows, sequence);
    let mut model = Model::new(Cpu::new(), golden.config, &golden.flat("weight."), 3, sequence);
    let error = relative_error(&model.logits(&inputs), &golden.floats("logits"));
    assert!(error <= TOLERANCE, "logits: {error:.2e}");

    let mut trainer = golden.trainer(&windows, sequence);
    let scale = 1.0 / inputs.len() as f32;
    let (losses, norms) = (golden.floats("losses"), golden.floats("grad_norms"));
    for (step, learning_rate) in [1e-2, 2e-2, 5e-3].into_iter().enumerate() {
        trainer.begin();
        trainer.accumulate(&windows, scale);
        if step == 0 {
            golden.assert_close("gradient", &trainer.gradients(), &golden.flat("grad."));
        }
        trainer.update(adamw(&trainer, learning_rate, step as u64 + 1));
        let metrics = trainer.metrics(scale);
        assert!(relative_error(&[metrics.loss], &[losses[step]]) < TOLERANCE, "step {step}: {metrics:?}");
        assert!(relative_error(&[metrics.grad_norm], &[norms[step]]) < TOLERANCE, "step {step}: {metrics:?}");
        let expected = golden.flat(&format!("step{}.", step + 1));
        golden.assert_close(&format!("weights after update {}", step + 1), &trainer.model.weights(), &expected);
    }
}

#[test]
fn ten_training_losses_equal_pytorch() {
    let golden = Golden::open("ten_losses.safetensors");
    let all = golden.tokens("tokens");
    let (losses, norms) = (golden.floats("losses"), golden.floats("grad_norms"));
    let sequence = golden.config.context;
    let per_step = all.len() / losses.len();
    let mut trainer = golden.trainer(&all[..per_step], sequence);
    let scale = 1.0 / (per_step / (sequence + 1) * sequence) as f32;
    assert!((f64::from(losses[0]) - (golden.config.vocab_size as f64).ln()).abs() < 0.12);
    for (step, windows) in all.chunks_exact(per_step).enumerate() {
        trainer.begin();
        trainer.accumulate(windows, scale);
        trainer.update(adamw(&trainer, 3e-3, step as u64 + 1));
        let metrics = trainer.metrics(scale);
        let errors = (relative_error(&[metrics.loss], &[losses[step]]), relative_error(&[metrics.grad_norm], &[norms[step]]));
        assert!(errors.0 < TOLERANCE && errors.1 < 1e-4, "step {step}: {metrics:?}, errors {errors:?}");
    }
}

#[test]
fn the_first_loss_of_the_house_model_is_the_logarithm_of_the_vocabulary() {
    let config = Config::new(&stage::config::Model::default(), 8000);
    let weights = initial_weights(&TensorTable::new(&config), 1);
    let mut model = Model::new(Cpu::new(), config, &weights, 1, 256);
    let tokens: Vec<u32> = (0..257).map(|i| i * 2_654_435 % 8000).collect();
    let losses = model.losses(&tokens[..256], &tokens[1..]);
    let mean = losses.iter().sum::<f32>() / losses.len() as f32;
    assert!((mean - 8000f32.ln()).abs() < 0.12, "{mean}");
}

#[test]
fn one_batch_can_be_overfitted() {
    let section = stage::config::Model { n_layer: 2, n_head: 2, d_model: 64, d_mlp: 96, context: 32 };
    let config = Config::new(&section, 300);
    let weights = initial_weights(&TensorTable::new(&config), 1);
    let windows: Vec<u32> = (0..4 * 33u32).map(|i| i.wrapping_mul(2_654_435_761) >> 8).map(|i| i % 300).collect();
    let mut trainer = Trainer::new(Cpu::new(), config, &weights, 4, 32);
    let scale = 1.0 / 128.0;
    let mut loss = f32::NAN;
    for step in 1..=150 {
        trainer.begin();
        trainer.accumulate(&windows, scale);
        trainer.update(adamw(&trainer, 3e-3, step));
        loss = trainer.metrics(scale).loss;
    }
    assert!(loss < 0.1, "{loss}");
}
