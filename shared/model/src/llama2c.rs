//! The checkpoint of llama2.c (its first version, as `stories15M.bin`): seven sizes, then all weights in f32.
//!
//! Order and names from that project's `run.c`. Its rotary embedding turns neighbours, so rows of queries and keys change
//! places on the way in; its epsilon is 1e-5 and its theta 10,000, which the file does not say.
use std::collections::BTreeMap;
use std::path::Path;

use stage::{Failure, Result};

use crate::gguf::to_halves;
use crate::{Config, Llama, Weights};

/// Reads a checkpoint: what it is, and its tensors under the names and in the shapes of a folder.
///
/// # Errors
/// Exit code 3: no such file, sizes that make no model, another length than they say, a weight that is no number.
pub fn read_llama2c(path: &Path) -> Result<(Llama, BTreeMap<String, Vec<f32>>)> {
    let bytes = stage::read(path)?;
    let bad = |found: String| {
        Failure::input(
            path,
            found,
            "a checkpoint of llama2.c, as its export.py writes in version 0",
            "name another file",
        )
    };
    let numbers = |i: usize| {
        bytes.get(4 * i..4 * i + 4).map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]]))
    };
    let header: Option<Vec<i32>> = (0..7).map(numbers).collect();
    let Some(&[dim, hidden, layers, heads, kv_heads, vocab, context]) = header.as_deref() else {
        return Err(bad(format!("{} bytes", bytes.len())));
    };
    if bytes.starts_with(b"ak42") || bytes.starts_with(&0x616b_3432u32.to_le_bytes()) {
        return Err(bad("a later version of the format".into()));
    }
    let sane = [dim, hidden, layers, heads, kv_heads, context]
        .iter()
        .all(|size| (1..1 << 24).contains(size))
        && layers < 1 << 12
        && vocab != 0
        && vocab.unsigned_abs() < 1 << 24
        && dim % (2 * heads) == 0
        && heads % kv_heads == 0;
    if !sane {
        return Err(bad(format!(
            "sizes dim {dim}, hidden {hidden}, layers {layers}, heads {heads}, key heads {kv_heads}, vocabulary {vocab}, context {context}"
        )));
    }
    let size = |value: i32| value.unsigned_abs() as usize;
    let config = Config {
        vocab_size: size(vocab),
        n_layer: size(layers),
        n_head: size(heads),
        n_kv_head: size(kv_heads),
        d_model: size(dim),
        d_mlp: size(hidden),
        context: size(context),
        rms_eps: 1e-5,
        rope_base: Config::ROPE_BASE,
        tied: vocab > 0, // an untied one has a negative vocabulary
    };
    let llama = Llama { config, bos: Some(1), eos: vec![2] };
    let shapes: BTreeMap<String, usize> = Weights::expected(&llama)
        .into_iter()
        .map(|(name, shape)| (name, shape.iter().product()))
        .collect();
    let (width, d) = (config.head_width(), config.d_model);
    let angles = config.context * width; // cosines and sines that newer readers compute
    let expected = 28 + 4 * (shapes.values().sum::<usize>() + angles);
    if bytes.len() != expected {
        return Err(bad(format!("{} bytes, where its sizes make {expected}", bytes.len())));
    }

    let mut names = vec!["model.embed_tokens.weight".to_owned()];
    for part in [
        "input_layernorm",
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.o_proj",
        "post_attention_layernorm",
        "mlp.gate_proj",
        "mlp.down_proj",
        "mlp.up_proj",
    ] {
        names.extend((0..config.n_layer).map(|l| format!("model.layers.{l}.{part}.weight")));
    }
    names.push("model.norm.weight".into());
    let before_angles = names.len();
    if !config.tied {
        names.push("lm_head.weight".into());
    }
    let (mut tensors, mut at) = (BTreeMap::new(), 28);
    for (i, name) in names.into_iter().enumerate() {
        at += if i == before_angles { 4 * angles } else { 0 };
        let own = &bytes[at..at + 4 * shapes[&name]];
        at += own.len();
        let mut values: Vec<f32> =
            own.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
        if let Some(place) = values.iter().position(|value| !value.is_finite()) {
            return Err(bad(format!("{name} has {} at element {place}", values[place])));
        }
        if name.ends_with("q_proj.weight") || name.ends_with("k_proj.weight") {
            values = to_halves(&values, width, d);
        }
        tensors.insert(name, values);
    }
    Ok((llama, tensors))
}
