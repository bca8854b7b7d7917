//! The whole model and its step.
use compute::{Cpu, Metrics, Model, Optimizer, Trainer};
use model::{Config, TensorTable, initial_weights};

use crate::lab::{assert_close, assert_gradient, norm, normal, tokens, wide};
use crate::plain;

pub(crate) fn config(
    n_head: usize,
    d_model: usize,
    d_mlp: usize,
    vocab_size: usize,
    context: usize,
) -> Config {
    Config {
        vocab_size,
        n_layer: 2,
        n_head,
        n_kv_head: n_head,
        d_model,
        d_mlp,
        context,
        rms_eps: Config::RMS_EPS,
        rope_base: Config::ROPE_BASE,
        tied: true,
    }
}

/// The same with fewer heads of keys and values.
pub(crate) fn grouped(n_kv_head: usize, config: Config) -> Config {
    Config { n_kv_head, ..config }
}

/// Weights further from zero than at the start, so that every part matters.
pub(crate) fn weights(config: &Config) -> Vec<f32> {
    let table = TensorTable::new(config);
    let mut weights: Vec<f32> = initial_weights(&table, 1)
        .into_iter()
        .zip(normal(table.len, 7))
        .map(|(w, n)| w + 0.1 * n)
        .collect();
    weights[table.embedding.clone()].iter_mut().for_each(|w| *w *= 3.0);
    weights
}

#[test]
fn logits_equal_the_plain_model() {
    for (config, batch, sequence) in [
        (config(4, 40, 72, 257, 50), 1, 1),
        (config(4, 40, 72, 257, 50), 2, 50),
        (config(1, 64, 33, 8000, 7), 2, 7),
        (grouped(2, config(4, 40, 72, 257, 50)), 2, 50),
        (grouped(1, config(3, 30, 17, 300, 97)), 1, 97),
        (config(3, 30, 17, 300, 97), 1, 97),
        (config(1, 8, 11, 8000, 190), 3, 190), // more rows than logits are held for at once
    ] {
        let (weights, inputs) = (weights(&config), tokens(batch * sequence, config.vocab_size, 3));
        let mut model = Model::new(Cpu::boxed(), config, &weights, batch, sequence).unwrap();
        assert_close(
            "logits",
            &model.logits(&inputs).unwrap(),
            &plain::logits(&config, &wide(&weights), sequence, &inputs),
        );
        let targets = tokens(inputs.len(), config.vocab_size, 4);
        let expected = plain::cross_entropy(
            config.vocab_size,
            &plain::logits(&config, &wide(&weights), sequence, &inputs),
            &targets,
        );
        assert_close("losses", &model.losses(&inputs, &targets).unwrap(), &expected);
    }
}

/// Gradient and metrics of a step over micro-batches of `batch` windows.
pub(crate) fn step(
    config: Config,
    weights: &[f32],
    batch: usize,
    sequence: usize,
    windows: &[u32],
) -> (Vec<f32>, Metrics) {
    let mut trainer =
        Trainer::new(Cpu::boxed(), config, Optimizer::default(), weights, batch, sequence).unwrap();
    let scale = 1.0 / (windows.len() / (sequence + 1) * sequence) as f32;
    trainer.begin();
    for windows in windows.chunks(batch * (sequence + 1)) {
        trainer.accumulate(windows, scale);
    }
    let gradients = trainer.gradients().unwrap();
    let ticket = trainer.update(0.05, 1.0);
    (gradients, trainer.metrics(ticket, scale, true).unwrap().unwrap())
}

#[test]
fn the_whole_step() {
    for (config, batch, sequence) in [
        (config(2, 20, 14, 37, 9), 2, 9),
        (config(1, 8, 11, 30, 5), 3, 1),
        (grouped(2, config(4, 16, 14, 37, 9)), 2, 9),
    ] {
        let (weights, windows) =
            (weights(&config), tokens(batch * (sequence + 1), config.vocab_size, 5));
        let (gradients, metrics) = step(config, &weights, batch, sequence, &windows);
        assert_close(
            "loss",
            &[metrics.loss],
            &[plain::loss(&config, &wide(&weights), sequence, &windows)],
        );
        assert_close("norm", &[metrics.grad_norm], &[norm(&wide(&gradients))]);
        for tensor in &TensorTable::new(&config).tensors {
            let f = |part: &[f64]| {
                let mut weights = wide(&weights);
                weights[tensor.range()].copy_from_slice(part);
                plain::loss(&config, &weights, sequence, &windows)
            };
            // Of a matrix one slope a row; of gains one each: one along all of them may be next to nothing, and its error is not.
            let width = if let [_, width] = tensor.shape[..] { width } else { 1 };
            assert_gradient(
                &tensor.name,
                width,
                &weights[tensor.range()],
                &gradients[tensor.range()],
                f,
            );
        }
    }
}

#[test]
fn passes_and_micro_batches_add_up() {
    let two_passes = (config(4, 40, 72, 257, 50), Cpu::boxed().rows_at_once(1) / 50 + 2); // the second of two sequences
    let two_chunks_of_logits = (config(1, 8, 11, 8000, 190), 3);
    for (config, batch) in [two_passes, two_chunks_of_logits] {
        let sequence = config.context;
        let (weights, windows) =
            (weights(&config), tokens(batch * (sequence + 1), config.vocab_size, 5));
        let (whole, of_whole) = step(config, &weights, batch, sequence, &windows);
        for micro in [1, batch.div_ceil(2)] {
            let (parts, of_parts) = step(config, &weights, micro, sequence, &windows);
            assert_close(&format!("gradient of micro-batches of {micro}"), &parts, &wide(&whole));
            assert_close(
                "metrics",
                &[of_parts.loss, of_parts.grad_norm],
                &wide(&[of_whole.loss, of_whole.grad_norm]),
            );
        }
        let mut sum = vec![0.0; whole.len()];
        for window in windows.chunks(sequence + 1) {
            let (gradient, _) = step(config, &weights, 1, sequence, window);
            sum.iter_mut().zip(gradient).for_each(|(sum, g)| *sum += f64::from(g) / batch as f64);
        }
        assert_close("gradient of the mean loss", &whole, &sum);
    }
}

#[test]
fn the_bits_of_a_step_do_not_depend_on_the_threads() {
    bits_do_not_depend_on_the_threads(config(4, 40, 72, 257, 97), 97, 23);
    bits_do_not_depend_on_the_threads(grouped(2, config(4, 24, 40, 257, 53)), 53, 5);
}

fn bits_do_not_depend_on_the_threads(config: Config, sequence: usize, batch: usize) {
    let (weights, windows) =
        (weights(&config), tokens(batch * (sequence + 1), config.vocab_size, 5));
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut trainer =
                Trainer::new(Cpu::boxed(), config, Optimizer::default(), &weights, batch, sequence)
                    .unwrap();
            let mut bits: Vec<u32> = Vec::new();
            for _ in 0..2 {
                trainer.begin();
                trainer.accumulate(&windows, 1e-3);
                bits.extend(trainer.gradients().unwrap().iter().map(|v| v.to_bits()));
                let ticket = trainer.update(0.05, 1.0);
                let Metrics { loss, grad_norm, .. } =
                    trainer.metrics(ticket, 1e-3, true).unwrap().unwrap();
                let slots = trainer.slots().unwrap();
                let weights = trainer.model.weights().unwrap();
                let values = [loss, grad_norm].into_iter().chain(weights);
                bits.extend(values.chain(slots.into_values().flatten()).map(f32::to_bits));
            }
            bits
        })
    };
    let one = run(1);
    assert!(one.iter().all(|&bits| f32::from_bits(bits).is_finite()));
    for threads in [2, 3] {
        assert!(one == run(threads), "{threads} threads give other bits than one");
    }
}
