//! A model whose query heads share keys and values, against the same model with a copy of them for each query head.
use compute::{Cpu, Decoder, Model, Row, Storage};
use model::{Config, TensorTable};

use crate::lab::{assert_close, tokens, wide};
use crate::model::{config, grouped, step, weights};

/// Rows of keys or values for each query head, from those of the groups.
fn copied(config: &Config, rows: &[f32]) -> Vec<f32> {
    let (head, group) = (config.head_width() * config.d_model, config.n_head / config.n_kv_head);
    rows.chunks_exact(head).flat_map(|rows| rows.repeat(group)).collect()
}

/// The sums over the copies, rounded once.
fn summed(config: &Config, rows: &[f32]) -> Vec<f64> {
    let (head, group) = (config.head_width() * config.d_model, config.n_head / config.n_kv_head);
    let sum = |copies: &[f32]| -> Vec<f64> {
        (0..head).map(|i| (0..group).map(|g| f64::from(copies[g * head + i])).sum()).collect()
    };
    rows.chunks_exact(group * head).flat_map(sum).collect()
}

fn is_shared(name: &str) -> bool {
    name.contains("k_proj") || name.contains("v_proj")
}

/// The config without groups, and its weights.
fn expanded(config: &Config, weights: &[f32]) -> (Config, Vec<f32>) {
    let whole = Config { n_kv_head: config.n_head, ..*config };
    let mut flat = vec![0.0; TensorTable::new(&whole).len];
    for (from, to) in TensorTable::new(config).tensors.iter().zip(TensorTable::new(&whole).tensors)
    {
        let values = &weights[from.range()];
        match is_shared(&from.name) {
            true => flat[to.range()].copy_from_slice(&copied(config, values)),
            false => flat[to.range()].copy_from_slice(values),
        }
    }
    (whole, flat)
}

/// Two and three query heads to a group, and one group of all.
fn configs() -> [Config; 3] {
    [
        grouped(2, config(4, 40, 72, 257, 61)),
        grouped(2, config(6, 60, 33, 130, 50)),
        grouped(1, config(3, 30, 17, 300, 97)),
    ]
}

#[test]
fn losses_and_stories_have_the_bits_of_the_expanded_model() {
    for config in configs() {
        let (sequence, vocab) = (config.context, config.vocab_size);
        let shared = weights(&config);
        let (whole, copies) = expanded(&config, &shared);
        let (inputs, targets) = (tokens(2 * sequence, vocab, 3), tokens(2 * sequence, vocab, 4));
        let losses = |config: Config, weights: &[f32]| {
            let mut model = Model::new(Cpu::boxed(), config, weights, 2, sequence).unwrap();
            model.losses(&inputs, &targets).unwrap()
        };
        assert!(losses(config, &shared) == losses(whole, &copies), "losses of {config:?}");

        let story = |mut decoder: Decoder| -> Vec<f32> {
            let row = |at: usize| Row { token: inputs[at], slot: 1, position: at as u32 };
            decoder.read(&(0..sequence - 4).map(row).collect::<Vec<Row>>());
            let next = |at| decoder.next(&[row(at)]).unwrap().into_owned();
            (sequence - 4..sequence).flat_map(next).collect()
        };
        let by_kernels = |config, weights: &[f32]| {
            story(Decoder::new(Cpu::boxed(), config, weights, 2).unwrap())
        };
        assert!(by_kernels(config, &shared) == by_kernels(whole, &copies), "{config:?}");
        for (storage, threads) in [(Storage::F32, 1), (Storage::F32, 3), (Storage::Q8, 2)] {
            let in_passes = |config, weights: &[f32]| {
                story(Decoder::on_cpu(config, weights.to_vec(), 2, threads, storage).unwrap())
            };
            assert!(
                in_passes(config, &shared) == in_passes(whole, &copies),
                "{config:?}, {storage:?}, {threads} threads"
            );
        }
    }
}

#[test]
fn gradients_are_the_sums_over_the_copies() {
    for config in configs() {
        let shared = weights(&config);
        let (whole, copies) = expanded(&config, &shared);
        let windows = tokens(2 * (config.context + 1), config.vocab_size, 5);
        let (found, metrics) = step(config, &shared, 2, config.context, &windows);
        let (expected, of_copies) = step(whole, &copies, 2, config.context, &windows);
        assert_eq!(metrics.loss, of_copies.loss);
        let pairs = TensorTable::new(&config).tensors.into_iter();
        for (own, copy) in pairs.zip(TensorTable::new(&whole).tensors) {
            let expected = &expected[copy.range()];
            let expected = match is_shared(&own.name) {
                true => summed(&config, expected),
                false => wide(expected),
            };
            assert_close(&own.name, &found[own.range()], &expected);
        }
    }
}

#[test]
fn shared_heads_take_less_memory() {
    let whole = config(4, 40, 72, 257, 61);
    let bytes = |config: Config| {
        let model = Model::new(Cpu::boxed(), config, &weights(&config), 2, 61).unwrap();
        model.kernels.bytes()
    };
    let (d, rows, layers) = (40, 2 * 61, 2);
    // Half of the keys and values in the weights of each layer, and in the one qkv that evaluation has.
    let saved = 4 * (layers * d * d + rows * d);
    assert_eq!(bytes(whole) - bytes(grouped(2, whole)), saved);
}
