//! The step against PyTorch: logits, loss, every gradient, three AdamW updates and ten training losses of
//! LlamaForCausalLM, written by `make_golden.py` (computed in f64, rounded to f32).
use compute::{Cpu, Decoder, Metrics, Model, Optimizer, OptimizerKind, Row, Storage, Trainer};
use model::{Config, TensorTable, initial_weights};
use tests::golden::{Folder, Golden, relative_error};

/// Norm of the difference over norm of the reference.
const TOLERANCE: f64 = 1e-5;

/// Ends the step and reads what it says.
fn update(trainer: &mut Trainer, learning_rate: f32, scale: f32) -> Metrics {
    let ticket = trainer.update(learning_rate, 1.0);
    trainer.metrics(ticket, scale, true).unwrap().unwrap()
}

fn trainer(golden: &Golden, optimizer: Optimizer, windows: &[u32], sequence: usize) -> Trainer {
    Trainer::new(
        Cpu::boxed(),
        golden.config,
        optimizer,
        &golden.flat("weight."),
        windows.len() / (sequence + 1),
        sequence,
    )
    .unwrap()
}

fn windows_to_inputs(windows: &[u32], sequence: usize) -> Vec<u32> {
    windows.chunks_exact(sequence + 1).flat_map(|w| w[..sequence].to_vec()).collect()
}

#[test]
fn logits_loss_gradients_and_three_updates_equal_pytorch() {
    let golden = Golden::open("small.safetensors");
    let (sequence, windows) = (16, golden.tokens("tokens"));
    let inputs = windows_to_inputs(&windows, sequence);
    let mut model =
        Model::new(Cpu::boxed(), golden.config, &golden.flat("weight."), 3, sequence).unwrap();
    let error = relative_error(&model.logits(&inputs).unwrap(), &golden.floats("logits"));
    assert!(error <= TOLERANCE, "logits: {error:.2e}");

    let mut trainer = trainer(&golden, Optimizer::default(), &windows, sequence);
    let scale = 1.0 / inputs.len() as f32;
    let (losses, norms) = (golden.floats("losses"), golden.floats("grad_norms"));
    for (step, learning_rate) in [1e-2, 2e-2, 5e-3].into_iter().enumerate() {
        trainer.begin();
        trainer.accumulate(&windows, scale);
        if step == 0 {
            golden.assert_close(
                "gradient",
                &trainer.gradients().unwrap(),
                &golden.flat("grad."),
                TOLERANCE,
            );
        }
        let metrics = update(&mut trainer, learning_rate, scale);
        assert!(
            relative_error(&[metrics.loss], &[losses[step]]) < TOLERANCE,
            "step {step}: {metrics:?}"
        );
        assert!(
            relative_error(&[metrics.grad_norm], &[norms[step]]) < TOLERANCE,
            "step {step}: {metrics:?}"
        );
        let expected = golden.flat(&format!("step{}.", step + 1));
        golden.assert_close(
            &format!("weights after update {}", step + 1),
            &trainer.model.weights().unwrap(),
            &expected,
            TOLERANCE,
        );
    }
}

#[test]
fn three_updates_of_muon_equal_pytorch() {
    for (name, cautious_decay) in [("muon", false), ("muon_cautious", true)] {
        let golden = Golden::open(&format!("{name}.safetensors"));
        let optimizer =
            Optimizer { weight_decay: 0.1, cautious_decay, ..Optimizer::new(OptimizerKind::Muon) };
        let windows = golden.tokens("tokens");
        let mut trainer = trainer(&golden, optimizer, &windows, 16);
        let (losses, norms) = (golden.floats("losses"), golden.floats("grad_norms"));
        for (step, learning_rate) in [1e-2, 2e-2, 5e-3].into_iter().enumerate() {
            trainer.begin();
            trainer.accumulate(&windows, 1.0 / 48.0);
            let metrics = update(&mut trainer, learning_rate, 1.0 / 48.0);
            let found = [metrics.loss, metrics.grad_norm];
            let error = relative_error(&found, &[losses[step], norms[step]]);
            assert!(error < TOLERANCE, "{name}, step {step}: {metrics:?}");
            golden.assert_close(
                &format!("{name}: weights after update {}", step + 1),
                &trainer.model.weights().unwrap(),
                &golden.flat(&format!("step{}.", step + 1)),
                TOLERANCE,
            );
        }
    }
}

#[test]
fn ten_training_losses_equal_pytorch() {
    let golden = Golden::open("ten_losses.safetensors");
    let all = golden.tokens("tokens");
    let (losses, norms) = (golden.floats("losses"), golden.floats("grad_norms"));
    let sequence = golden.config.context;
    let per_step = all.len() / losses.len();
    let mut trainer = trainer(&golden, Optimizer::default(), &all[..per_step], sequence);
    let scale = 1.0 / (per_step / (sequence + 1) * sequence) as f32;
    assert!((f64::from(losses[0]) - (golden.config.vocab_size as f64).ln()).abs() < 0.12);
    for (step, windows) in all.chunks_exact(per_step).enumerate() {
        trainer.begin();
        trainer.accumulate(windows, scale);
        let metrics = update(&mut trainer, 3e-3, scale);
        let errors = (
            relative_error(&[metrics.loss], &[losses[step]]),
            relative_error(&[metrics.grad_norm], &[norms[step]]),
        );
        assert!(
            errors.0 < TOLERANCE && errors.1 < 1e-4,
            "step {step}: {metrics:?}, errors {errors:?}"
        );
    }
}

#[test]
fn the_first_loss_of_the_house_model_is_the_logarithm_of_the_vocabulary() {
    let config = Config::new(&stage::config::Model::default(), 8000);
    let weights = initial_weights(&TensorTable::new(&config), 1);
    let mut model = Model::new(Cpu::boxed(), config, &weights, 1, 256).unwrap();
    let tokens: Vec<u32> = (0..257).map(|i| i * 2_654_435 % 8000).collect();
    let losses = model.losses(&tokens[..256], &tokens[1..]).unwrap();
    let mean = losses.iter().sum::<f32>() / losses.len() as f32;
    assert!((mean - 8000f32.ln()).abs() < 0.12, "{mean}");
}

#[test]
fn one_batch_can_be_overfitted() {
    let section = stage::config::Model {
        n_layer: 2,
        n_head: 2,
        n_kv_head: None,
        d_model: 64,
        d_mlp: 96,
        context: 32,
    };
    let config = Config::new(&section, 300);
    let weights = initial_weights(&TensorTable::new(&config), 1);
    let windows: Vec<u32> =
        (0..4 * 33u32).map(|i| i.wrapping_mul(2_654_435_761) >> 8).map(|i| i % 300).collect();
    let mut trainer =
        Trainer::new(Cpu::boxed(), config, Optimizer::default(), &weights, 4, 32).unwrap();
    let scale = 1.0 / 128.0;
    let mut loss = f32::NAN;
    for _ in 0..150 {
        trainer.begin();
        trainer.accumulate(&windows, scale);
        loss = update(&mut trainer, 3e-3, scale).loss;
    }
    assert!(loss < 0.1, "{loss}");
}

/// Folders that transformers wrote: shared and untied heads, another theta and epsilon, shards; bf16.
#[test]
fn models_from_elsewhere_have_the_logits_of_transformers() {
    for name in ["llama_plain", "llama_shared"] {
        let Folder { config, weights, tokens, logits } = Folder::open(name);
        let close = |what: &str, found: &[f32], expected: &[f32]| {
            assert_eq!(found.len(), expected.len());
            let worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst <= 1e-4, "{name}, {what}: {worst}");
        };
        let mut model = Model::new(Cpu::boxed(), config, &weights, 2, config.context).unwrap();
        close("whole windows", &model.logits(&tokens).unwrap(), &logits);
        let decoders = [
            ("kernel by kernel", Decoder::new(Cpu::boxed(), config, &weights, 2).unwrap()),
            ("in passes", Decoder::on_cpu(config, weights.clone(), 2, 2, Storage::F32).unwrap()),
        ];
        for (way, mut decoder) in decoders {
            for position in 0..config.context {
                let at = |slot: usize| slot * config.context + position;
                let row = |slot: usize| Row {
                    token: tokens[at(slot)],
                    slot: slot as u32,
                    position: position as u32,
                };
                let found = decoder.next(&[row(0), row(1)]).unwrap();
                let expected = [0, 1]
                    .map(|slot| &logits[at(slot) * config.vocab_size..][..config.vocab_size])
                    .concat();
                close(way, &found, &expected);
            }
        }
    }
}
