//! The one table of tensors. It drives allocation, gradients, the optimizer, checkpoints, export and tests.
//!
//! All weights lie in one flat buffer, and gradients and the optimizer's slots in buffers of the same layout. The
//! matrices come first, so that weight decay, which shrinks these alone, is a length, not a mask. Matrices that
//! multiply the same input (q, k, v; gate, up) lie side by side, so each of these groups is one matmul.
use std::ops::Range;

use crate::Config;

/// How a tensor begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Drawn from N(0, std^2).
    Normal {
        /// Standard deviation.
        std: f32,
    },
    /// All 1.
    Ones,
}

/// What a tensor is to an optimizer: weight decay, or a whole rule, may be for some of these only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// The matrices of the layers.
    Matrix,
    /// A row for each token: the embedding, and the output head where it has its own.
    Embedding,
    /// Gains.
    Norm,
}

/// A tensor in the flat buffer, row-major. `name` is the one LlamaForCausalLM uses.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// As in the Hugging Face folder.
    pub name: String,
    /// `[outputs, inputs]` of a matrix, `[width]` of a norm.
    pub shape: Vec<usize>,
    /// Its first element in the flat buffer.
    pub offset: usize,
    /// How it begins.
    pub init: Init,
    /// What it is to an optimizer.
    pub group: Group,
}

impl Tensor {
    /// Elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its elements in the flat buffer.
    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.len()
    }
}

/// Where the tensors of one layer are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// [qkv_width, d_model]: query, key and value rows.
    pub qkv: Range<usize>,
    /// [d_model, d_model]
    pub attention_out: Range<usize>,
    /// [2 d_mlp, d_model]: gate and up rows.
    pub gate_up: Range<usize>,
    /// [d_model, d_mlp]
    pub down: Range<usize>,
    /// `[d_model]`
    pub attention_norm: Range<usize>,
    /// `[d_model]`
    pub mlp_norm: Range<usize>,
}

/// Where every tensor of a model lies in the flat buffer.
#[derive(Clone, Debug)]
pub struct TensorTable {
    /// In the order of the buffer.
    pub tensors: Vec<Tensor>,
    /// The same, by block.
    pub layers: Vec<Layer>,
    /// [vocab_size, d_model]
    pub embedding: Range<usize>,
    /// `[d_model]`
    pub final_norm: Range<usize>,
    /// [vocab_size, d_model], what the output product uses: the embedding itself where both are tied.
    pub head: Range<usize>,
    /// Elements of the flat buffer.
    pub len: usize,
}

impl TensorTable {
    /// The table of a model of these sizes.
    pub fn new(config: &Config) -> Self {
        let (d, f, kv) = (config.d_model, config.d_mlp, config.kv_width());
        let std = 0.02;
        // GPT-2's rule: 2 L branches add into the residual stream, so each begins smaller.
        let residual_std = std / (2.0 * config.n_layer as f32).sqrt();
        let mut tensors = Vec::new();
        let mut len = 0;
        let mut add = |name: String, shape: &[usize], init: Init, group: Group| {
            tensors.push(Tensor { name, shape: shape.to_vec(), offset: len, init, group });
            let start = len;
            len += shape.iter().product::<usize>();
            start..len
        };
        let normal = |std| Init::Normal { std };
        let mut layers = Vec::new();
        for l in 0..config.n_layer {
            let mut matrix = |name: &str, shape: &[usize], std: f32| {
                add(format!("model.layers.{l}.{name}.weight"), shape, normal(std), Group::Matrix)
            };
            let q = matrix("self_attn.q_proj", &[d, d], std);
            let _ = matrix("self_attn.k_proj", &[kv, d], std);
            let v = matrix("self_attn.v_proj", &[kv, d], std);
            let attention_out = matrix("self_attn.o_proj", &[d, d], residual_std);
            let gate = matrix("mlp.gate_proj", &[f, d], std);
            let up = matrix("mlp.up_proj", &[f, d], std);
            let down = matrix("mlp.down_proj", &[d, f], residual_std);
            layers.push(Layer {
                qkv: q.start..v.end,
                attention_out,
                gate_up: gate.start..up.end,
                down,
                attention_norm: 0..0,
                mlp_norm: 0..0,
            });
        }
        let rows = [config.vocab_size, d];
        let embedding =
            add("model.embed_tokens.weight".into(), &rows, normal(std), Group::Embedding);
        for (l, layer) in layers.iter_mut().enumerate() {
            let mut norm = |name: &str| {
                add(format!("model.layers.{l}.{name}.weight"), &[d], Init::Ones, Group::Norm)
            };
            layer.attention_norm = norm("input_layernorm");
            layer.mlp_norm = norm("post_attention_layernorm");
        }
        let final_norm = add("model.norm.weight".into(), &[d], Init::Ones, Group::Norm);
        let head = if config.tied {
            embedding.clone()
        } else {
            add("lm_head.weight".into(), &rows, normal(std), Group::Embedding)
        };
        TensorTable { tensors, layers, embedding, final_norm, head, len }
    }

    /// Elements of a group.
    pub fn len_of(&self, group: Group) -> usize {
        self.tensors.iter().filter(|tensor| tensor.group == group).map(Tensor::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_house_model_has_the_house_size() {
        let config = Config::new(&stage::config::Model::default(), 8000);
        let table = TensorTable::new(&config);
        assert_eq!(table.len, 9_952_320);
        assert_eq!(table.tensors.len(), 6 * 9 + 2);
        assert_eq!(table.tensors.iter().map(Tensor::len).sum::<usize>(), table.len);
        for pair in table.tensors.windows(2) {
            assert_eq!(pair[0].range().end, pair[1].offset);
        }
        for tensor in &table.tensors {
            let group = match tensor.name.as_str() {
                "model.embed_tokens.weight" => Group::Embedding,
                name if name.contains("norm") => Group::Norm,
                _ => Group::Matrix,
            };
            assert_eq!(tensor.group, group, "{}", tensor.name);
            let first = tensor.range().end <= table.len_of(Group::Matrix);
            assert_eq!(first, group == Group::Matrix, "{}", tensor.name);
        }
        assert_eq!(table.layers[5].qkv.len(), 3 * 320 * 320);
        assert_eq!(table.layers[5].gate_up.len(), 2 * 856 * 320);
    }
}
