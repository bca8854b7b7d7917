//! The checkpoint of llama2.c (its first version, as `stories15M.bin`): seven sizes, then all weights in f32.
//!
//! Order and names from that project's `run.c`. Its rotary embedding turns neighbours, so rows of queries and keys change
//! places on the way in; its epsilon is 1e-5 and its theta 10,000, which the file does not say.
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use stage::{Failure, Result};

use crate::gguf::to_halves;
use crate::{Config, Llama, Weights};

/// Seven sizes of four bytes.
const HEADER: usize = 28;
const LATER_VERSION: [u8; 4] = 0x616b_3432u32.to_le_bytes(); // "ak42"

/// Reads a checkpoint: what it is, and its tensors under the names and in the shapes of a folder.
///
/// # Errors
/// Exit code 3: no such file, sizes that make no model, another length than they say, a weight that is no number.
pub fn read_llama2c(path: &Path) -> Result<(Llama, BTreeMap<String, Vec<f32>>)> {
    let mut file = stage::open(path)?;
    let length = file.metadata().map_err(Failure::reading(path))?.len();
    let mut header = [0; HEADER];
    if length < HEADER as u64 {
        return Err(bad(path, format!("{length} bytes")));
    }
    read(path, &mut file, &mut header)?;
    let llama = llama_of(&header).map_err(|found| bad(path, found))?;
    let (config, width) = (llama.config, llama.config.head_width());
    // None of the sizes is beyond 2^24 and there are at most 2^40 weights: nothing of this can wrap.
    let angles = 4 * config.context as u64 * width as u64; // bytes of cosines and sines, which newer readers compute
    let mut shapes: BTreeMap<String, usize> = Weights::expected(&llama)
        .into_iter()
        .map(|(name, shape)| (name, shape.iter().product()))
        .collect();
    let weights: u64 = shapes.values().map(|&len| 4 * len as u64).sum();
    let expected = HEADER as u64 + weights + angles;
    if length != expected {
        return Err(bad(path, format!("{length} bytes, where its sizes make {expected}")));
    }

    let mut tensors = BTreeMap::new();
    for name in names(&config) {
        if name == HEAD {
            std::io::copy(&mut Read::by_ref(&mut file).take(angles), &mut std::io::sink())
                .map_err(Failure::reading(path))?;
        }
        let mut values = vec![0.0f32; shapes.remove(&name).unwrap_or_default()];
        read(path, &mut file, bytemuck::cast_slice_mut(&mut values))?; // little-endian, as every machine this runs on
        let wrong = values.iter().enumerate().find(|(_, value)| !value.is_finite());
        if let Some((place, value)) = wrong {
            return Err(bad(path, format!("{name} has {value} at element {place}")));
        }
        if name.ends_with("q_proj.weight") || name.ends_with("k_proj.weight") {
            values = to_halves(&values, width, config.d_model);
        }
        tensors.insert(name, values);
    }
    Ok((llama, tensors))
}

fn bad(path: &Path, found: String) -> Failure {
    let expected = "a checkpoint of llama2.c, as its export.py writes in version 0";
    Failure::input(path, found, expected, "name another file")
}

fn read(path: &Path, file: &mut File, into: &mut [u8]) -> Result<()> {
    file.read_exact(into).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => bad(path, "it was shortened while it was read".to_owned()),
        _ => Failure::reading(path)(error),
    })
}

/// What the header says, or what is wrong with it.
fn llama_of(header: &[u8; HEADER]) -> std::result::Result<Llama, String> {
    if header.starts_with(&LATER_VERSION) || header.starts_with(b"ak42") {
        return Err("a later version of the format".to_owned());
    }
    let mut sizes = [0; HEADER / 4];
    sizes.iter_mut().zip(header.as_chunks().0).for_each(|(size, b)| *size = i32::from_le_bytes(*b));
    let [dim, hidden, layers, heads, kv_heads, vocab, context] = sizes;
    let config = || {
        let size = |value: i32, most: usize| {
            usize::try_from(value).ok().filter(|size| (1..most).contains(size))
        };
        let config = Config {
            vocab_size: size(vocab.checked_abs()?, 1 << 24)?,
            n_layer: size(layers, 1 << 12)?,
            n_head: size(heads, 1 << 24)?,
            n_kv_head: size(kv_heads, 1 << 24)?,
            d_model: size(dim, 1 << 24)?,
            d_mlp: size(hidden, 1 << 24)?,
            context: size(context, 1 << 24)?,
            rms_eps: 1e-5,
            rope_base: Config::ROPE_BASE,
            tied: vocab > 0, // an untied one has a negative vocabulary
        };
        let fits = config.n_head.is_multiple_of(config.n_kv_head) && config.parameters().is_some();
        fits.then_some(Llama { config, bos: Some(1), eos: vec![2] })
    };
    config().ok_or_else(|| {
        format!(
            "sizes dim {dim}, hidden {hidden}, layers {layers}, heads {heads}, key heads {kv_heads}, vocabulary {vocab}, context {context}"
        )
    })
}

const HEAD: &str = "lm_head.weight";

/// The tensors in the order of the file. Between the last two of an untied model stand the angles.
fn names(config: &Config) -> Vec<String> {
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
    names.push("model.norm.weight".to_owned());
    if !config.tied {
        names.push(HEAD.to_owned());
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: [i32; 7] = [16, 24, 2, 4, 2, 10, 8];

    fn read_back(sizes: [i32; 7], length: u64) -> Result<(Llama, BTreeMap<String, Vec<f32>>)> {
        let file = tempfile::NamedTempFile::new().unwrap();
        let header: Vec<u8> = sizes.into_iter().flat_map(i32::to_le_bytes).collect();
        std::fs::write(file.path(), header).unwrap();
        file.as_file().set_len(length).unwrap();
        read_llama2c(file.path())
    }

    /// As the sizes say, in numbers that do not wrap.
    fn length(sizes: [i32; 7]) -> i128 {
        let [d, f, l, h, kv, v, c] = sizes.map(i128::from);
        let layer = 2 * d + 2 * d * d + 2 * d * (d / h * kv) + 3 * d * f;
        28 + 4 * (l * layer + (if v < 0 { -2 * v } else { v }) * d + d + c * (d / h))
    }

    #[test]
    fn a_file_of_the_length_that_its_sizes_make_is_read() {
        for vocab in [10, -10] {
            let sizes = [16, 24, 2, 4, 2, vocab, 8];
            let expected = u64::try_from(length(sizes)).unwrap();
            let (llama, tensors) = read_back(sizes, expected).unwrap();
            assert_eq!(
                (llama.config.tied, tensors.len()),
                (vocab > 0, 20 + usize::from(vocab < 0))
            );
            for other in [expected - 4, expected + 4, 28, 27, 0] {
                assert_eq!(read_back(sizes, other).unwrap_err().exit_code(), 3);
            }
        }
    }

    #[test]
    fn sizes_that_wrap_or_make_no_model_are_refused_before_anything_is_made_as_large() {
        let odd = [0, 1, -1, 3, 1 << 12, 1 << 16, 1 << 24, 1 << 30, i32::MAX, i32::MIN];
        for at in 0..GOOD.len() {
            for size in odd {
                let mut sizes = GOOD;
                sizes[at] = size;
                let error = read_back(sizes, 4000).map(drop).unwrap_err();
                assert_eq!(error.exit_code(), 3, "{sizes:?}: {error}");
            }
        }
        // In 64 bits these make 28 bytes.
        let wrap = [16_777_214, 5467, 4095, 8_388_607, 8_388_607, 4106, 32_768];
        assert_eq!(length(wrap), (1 << 64) + 28);
        let error = read_back(wrap, 28).map(drop).unwrap_err();
        assert!(error.to_string().contains("sizes dim 16777214"), "{error}");
    }
}
