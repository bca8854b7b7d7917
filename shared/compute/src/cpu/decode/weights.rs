//! The weights as decoding reads them: f32 as they are, or in blocks of eight bits.
use std::ops::Range;

use model::{Config, TensorTable};

use super::kernels;
use super::q8;
use crate::block::rope_table;
use crate::cpu::large::Large;

/// What weights are kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// Weights as they are.
    F32,
    /// Eight bits in blocks of 32 with a scale, activations too; norms in f32.
    Q8,
}

/// [outputs, depth] of f32 in the flat buffer, or the number of one that is quantised.
pub(super) enum Matrix {
    F32(Range<usize>),
    Q8(usize),
}

pub(super) struct Layer {
    pub(super) attention_norm: Range<usize>,
    pub(super) qkv: Matrix,
    pub(super) attention_out: Matrix,
    pub(super) mlp_norm: Range<usize>,
    pub(super) gate: Matrix,
    pub(super) up: Matrix,
    pub(super) down: Matrix,
}

/// All weights of a model, and what computes with them.
pub(super) struct Weights {
    pub(super) config: Config,
    /// Norms, and in f32 all weights; what is in eight bits.
    pub(super) flat: Large<f32>,
    pub(super) eight: Large<q8::PanelBlock>,
    pub(super) quantised: Vec<q8::Matrix>,
    pub(super) layers: Vec<Layer>,
    pub(super) final_norm: Range<usize>,
    pub(super) embedding: Matrix,
    /// The head's, where it is not the embedding.
    pub(super) head: Option<Matrix>,
    pub(super) rope: Vec<f32>,
    pub(super) kernels: &'static kernels::Set,
    pub(super) q8: q8::Kernel,
}

impl Weights {
    /// Takes the flat weights of the tensor table.
    pub(super) fn new(config: Config, weights: Vec<f32>, storage: Storage) -> Self {
        let Config { d_model: d, d_mlp: f, vocab_size: vocab, n_layer, .. } = config;
        let table = TensorTable::new(&config);
        assert_eq!(weights.len(), table.len);
        let mut quantised = Vec::new();
        let mut matrix = |range: Range<usize>, outputs: usize, depth: usize| match storage {
            Storage::F32 => Matrix::F32(range),
            Storage::Q8 => {
                let before =
                    quantised.last().map_or(0, |(_, matrix): &(_, q8::Matrix)| matrix.end());
                quantised.push((range, q8::Matrix::new(outputs, depth, before)));
                Matrix::Q8(quantised.len() - 1)
            }
        };
        let mut layers = Vec::with_capacity(n_layer);
        for layer in &table.layers {
            let middle = layer.gate_up.start + f * d;
            layers.push(Layer {
                attention_norm: layer.attention_norm.clone(),
                qkv: matrix(layer.qkv.clone(), config.qkv_width(), d),
                attention_out: matrix(layer.attention_out.clone(), d, d),
                mlp_norm: layer.mlp_norm.clone(),
                gate: matrix(layer.gate_up.start..middle, f, d),
                up: matrix(middle..layer.gate_up.end, f, d),
                down: matrix(layer.down.clone(), d, f),
            });
        }
        let embedding = matrix(table.embedding.clone(), vocab, d);
        let head = (table.head != table.embedding).then(|| matrix(table.head.clone(), vocab, d));
        let mut eight = Large::zeros(quantised.last().map_or(0, |(_, matrix)| matrix.end()));
        for (range, matrix) in &quantised {
            matrix.set(&weights[range.clone()], &mut eight);
        }
        let quantised = quantised.into_iter().map(|(_, matrix)| matrix).collect();
        let mut final_norm = table.final_norm.clone();
        let mut flat;
        if storage == Storage::F32 {
            flat = Large::zeros(weights.len());
            flat.copy_from_slice(&weights);
        } else {
            flat = Large::zeros((2 * n_layer + 1) * d);
            keep_norms(&weights, &mut layers, &mut final_norm, &mut flat);
        }
        drop(weights);
        Weights {
            rope: rope_table(&config),
            kernels: kernels::best(),
            q8: q8::best(),
            config,
            flat,
            eight,
            quantised,
            layers,
            final_norm,
            embedding,
            head,
        }
    }

    /// Bytes that a token reads.
    pub(super) fn bytes(&self) -> usize {
        let one = |matrix: &Matrix| match matrix {
            Matrix::F32(range) => 4 * range.len(),
            Matrix::Q8(number) => self.quantised[*number].bytes(),
        };
        let layers =
            self.layers.iter().flat_map(|l| [&l.qkv, &l.attention_out, &l.gate, &l.up, &l.down]);
        layers.chain([self.head.as_ref().unwrap_or(&self.embedding)]).map(one).sum()
    }
}

/// Copies the norms, which are wanted where all else is quantised, and says where they are now.
fn keep_norms(
    weights: &[f32],
    layers: &mut [Layer],
    final_norm: &mut Range<usize>,
    flat: &mut [f32],
) {
    let width = final_norm.len();
    let ranges =
        layers.iter_mut().flat_map(|layer| [&mut layer.attention_norm, &mut layer.mlp_norm]);
    for (number, (range, norm)) in
        ranges.chain([final_norm]).zip(flat.chunks_exact_mut(width)).enumerate()
    {
        norm.copy_from_slice(&weights[range.clone()]);
        *range = number * width..(number + 1) * width;
    }
}
