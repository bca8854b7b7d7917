//! Initial weights: a pure function of seed and tensor, so no run needs another's.
#![allow(clippy::indexing_slicing)] // indices are computed here, none is read
use stage::Random;

use crate::{Init, TensorTable};

/// The flat buffer of weights before the first step.
pub fn initial_weights(table: &TensorTable, seed: u64) -> Vec<f32> {
    let mut weights = vec![1.0; table.len];
    for (index, tensor) in table.tensors.iter().enumerate() {
        if let Init::Normal { std } = tensor.init {
            let mut random = Random::new(seed, "init", index as u64);
            for pair in weights[tensor.range()].chunks_mut(2) {
                let (a, b) = random.normal_pair();
                for (weight, value) in pair.iter_mut().zip([a, b]) {
                    *weight = (value * f64::from(std)) as f32;
                }
            }
        }
    }
    weights
}

/// Output projections of attention and MLP at 0: each block begins as the identity (Goyal et al., arXiv 1706.02677).
pub fn zero_residual(table: &TensorTable, weights: &mut [f32]) {
    for layer in &table.layers {
        for projection in [&layer.attention_out, &layer.down] {
            weights[projection.clone()].fill(0.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    #[test]
    fn spread_is_what_the_table_says_and_seeds_differ() {
        let section = stage::config::Model {
            n_layer: 2,
            n_head: 2,
            n_kv_head: None,
            d_model: 64,
            d_mlp: 96,
            context: 8,
        };
        let table = TensorTable::new(&Config::new(&section, 300));
        let weights = initial_weights(&table, 1);
        assert_ne!(weights, initial_weights(&table, 2));
        for tensor in &table.tensors {
            let values = &weights[tensor.range()];
            match tensor.init {
                Init::Ones => assert!(values.iter().all(|&w| w == 1.0)),
                Init::Normal { std } => {
                    let spread = (values.iter().map(|w| f64::from(w * w)).sum::<f64>()
                        / values.len() as f64)
                        .sqrt();
                    assert!(
                        (spread / f64::from(std) - 1.0).abs() < 0.05,
                        "{}: {spread}",
                        tensor.name
                    );
                }
            }
        }
    }

    #[test]
    fn zeroed_are_the_projections_into_the_residual_stream_and_nothing_else() {
        let section = stage::config::Model {
            n_layer: 2,
            n_head: 2,
            n_kv_head: None,
            d_model: 8,
            d_mlp: 12,
            context: 8,
        };
        let table = TensorTable::new(&Config::new(&section, 300));
        let before = initial_weights(&table, 1);
        let mut weights = before.clone();
        zero_residual(&table, &mut weights);
        for tensor in &table.tensors {
            let (values, before) = (&weights[tensor.range()], &before[tensor.range()]);
            match tensor.name.contains("o_proj") || tensor.name.contains("down_proj") {
                true => assert!(values.iter().all(|&w| w == 0.0), "{}", tensor.name),
                false => assert_eq!(values, before, "{}", tensor.name),
            }
        }
    }
}
