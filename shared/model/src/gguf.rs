//! GGUF version 3, the file of llama.cpp and what is built on it: metadata, the tokenizer, then tensors at multiples of 32 bytes.
//!
//! Written from the format's specification (ggml, docs/gguf.md). Two things differ from a Hugging Face folder. Rotary
//! embedding turns neighbours, not halves of a head, so rows of queries and keys change places: row 2 i + p of a head is row
//! p width / 2 + i of the folder's. And an axis is named from the inside out: [inputs, outputs].
#![allow(clippy::indexing_slicing)] // indices are computed here, none is read
use std::path::Path;

use half::f16;
use stage::{AtomicFile, Failure, FileRecord, Result};

use crate::{Llama, Weights};

const ALIGNMENT: u64 = 32;
/// Values of a q8_0 block, which has one scale.
pub(crate) const BLOCK: usize = 32;

/// What matrices are written as. Norms stay f32, and in q8_0 rows that are no whole blocks stay f16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GgufType {
    /// 32 bits a value.
    F32,
    /// 16 bits a value.
    F16,
    /// 8.5 bits a value: signed bytes in blocks of 32 with an f16 scale.
    Q8_0,
}

impl GgufType {
    /// `general.file_type` and the type of a tensor.
    fn file_type(self) -> u32 {
        match self {
            GgufType::F32 => 0,
            GgufType::F16 => 1,
            GgufType::Q8_0 => 7,
        }
    }

    fn tensor_type(self) -> u32 {
        match self {
            GgufType::F32 => 0,
            GgufType::F16 => 1,
            GgufType::Q8_0 => 8,
        }
    }

    /// For a tensor of this shape.
    fn of(self, shape: &[usize]) -> Self {
        match (self, shape) {
            (_, [_]) => GgufType::F32,
            (GgufType::Q8_0, [_, row]) if !row.is_multiple_of(BLOCK) => GgufType::F16,
            _ => self,
        }
    }

    fn bytes(self, len: usize) -> u64 {
        match self {
            GgufType::F32 => 4 * len as u64,
            GgufType::F16 => 2 * len as u64,
            GgufType::Q8_0 => (len / BLOCK * (BLOCK + 2)) as u64,
        }
    }

    fn write(self, values: &[f32], out: &mut Vec<u8>) {
        match self {
            GgufType::F32 => values.iter().for_each(|value| out.extend(value.to_le_bytes())),
            GgufType::F16 => {
                values.iter().for_each(|&value| out.extend(f16::from_f32(value).to_le_bytes()))
            }
            GgufType::Q8_0 => {
                values.as_chunks::<BLOCK>().0.iter().for_each(|block| q8_0(block, out))
            }
        }
    }
}

/// A block as ggml's `quantize_row_q8_0_ref` rounds it: the largest value becomes 127, the scale is kept as f16.
fn q8_0(block: &[f32; BLOCK], out: &mut Vec<u8>) {
    let largest = block.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    let scale = largest / 127.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    out.extend(f16::from_f32(scale).to_le_bytes());
    out.extend(block.iter().map(|value| (value * inverse).round() as i8 as u8));
}

/// How a token counts, by llama.cpp's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// Part of ordinary text.
    Normal = 1,
    /// Steers, and is not shown: the end of a story.
    Control = 3,
    /// Added by hand, matched before the merges.
    UserDefined = 4,
    /// An id without a token.
    Unused = 5,
}

/// Byte-level BPE, every token by id.
#[derive(Clone, Debug, Default)]
pub struct Vocabulary {
    /// In the printable alphabet of GPT-2.
    pub tokens: Vec<(String, TokenKind)>,
    /// "left right", the first joined first.
    pub merges: Vec<String>,
    /// The token that ends a story.
    pub eos: u32,
    /// The token that fills a batch.
    pub pad: Option<u32>,
}

/// Metadata as it is written: a count, then key, type and value each.
#[derive(Default)]
struct Metadata {
    count: u64,
    bytes: Vec<u8>,
}

fn put_string(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

impl Metadata {
    fn key(&mut self, key: &str, value_type: u32) {
        put_string(&mut self.bytes, key);
        self.bytes.extend(value_type.to_le_bytes());
        self.count += 1;
    }

    fn u32(&mut self, key: &str, value: usize) {
        self.key(key, 4);
        self.bytes.extend((value as u32).to_le_bytes());
    }

    fn f32(&mut self, key: &str, value: f32) {
        self.key(key, 6);
        self.bytes.extend(value.to_le_bytes());
    }

    fn bool(&mut self, key: &str, value: bool) {
        self.key(key, 7);
        self.bytes.push(value.into());
    }

    fn string(&mut self, key: &str, value: &str) {
        self.key(key, 8);
        put_string(&mut self.bytes, value);
    }

    fn array(&mut self, key: &str, element_type: u32, len: usize) {
        self.key(key, 9);
        self.bytes.extend(element_type.to_le_bytes());
        self.bytes.extend((len as u64).to_le_bytes());
    }

    fn strings<'a>(&mut self, key: &str, values: impl ExactSizeIterator<Item = &'a str>) {
        self.array(key, 8, values.len());
        values.for_each(|value| put_string(&mut self.bytes, value));
    }

    fn of(name: &str, llama: &Llama, kind: GgufType, vocabulary: &Vocabulary) -> Self {
        let (config, mut meta) = (&llama.config, Metadata::default());
        meta.string("general.architecture", "llama");
        meta.string("general.name", name);
        meta.u32("general.file_type", kind.file_type() as usize);
        meta.u32("general.quantization_version", 2);
        meta.u32("general.alignment", ALIGNMENT as usize);
        for (key, size) in [
            ("vocab_size", config.vocab_size),
            ("context_length", config.context),
            ("embedding_length", config.d_model),
            ("block_count", config.n_layer),
            ("feed_forward_length", config.d_mlp),
            ("rope.dimension_count", config.head_width()),
            ("attention.head_count", config.n_head),
            ("attention.head_count_kv", config.n_kv_head),
        ] {
            meta.u32(&format!("llama.{key}"), size);
        }
        meta.f32("llama.attention.layer_norm_rms_epsilon", config.rms_eps);
        meta.f32("llama.rope.freq_base", config.rope_base);
        meta.string("tokenizer.ggml.model", "gpt2");
        meta.string("tokenizer.ggml.pre", "gpt-2");
        meta.strings(
            "tokenizer.ggml.tokens",
            vocabulary.tokens.iter().map(|(token, _)| token.as_str()),
        );
        meta.array("tokenizer.ggml.token_type", 5, vocabulary.tokens.len());
        vocabulary
            .tokens
            .iter()
            .for_each(|&(_, kind)| meta.bytes.extend((kind as i32).to_le_bytes()));
        meta.strings("tokenizer.ggml.merges", vocabulary.merges.iter().map(String::as_str));
        // A story begins after the end of another; nothing is put before a prompt.
        meta.u32("tokenizer.ggml.bos_token_id", vocabulary.eos as usize);
        meta.u32("tokenizer.ggml.eos_token_id", vocabulary.eos as usize);
        if let Some(pad) = vocabulary.pad {
            meta.u32("tokenizer.ggml.padding_token_id", pad as usize);
        }
        meta.bool("tokenizer.ggml.add_bos_token", false);
        meta
    }
}

/// llama.cpp's name for a tensor of LlamaForCausalLM.
fn gguf_name(name: &str) -> Option<String> {
    let top = match name {
        "model.embed_tokens.weight" => "token_embd.weight",
        "model.norm.weight" => "output_norm.weight",
        "lm_head.weight" => "output.weight",
        _ => "",
    };
    if !top.is_empty() {
        return Some(top.to_owned());
    }
    let (layer, part) =
        name.strip_prefix("model.layers.")?.strip_suffix(".weight")?.split_once('.')?;
    let part = match part {
        "self_attn.q_proj" => "attn_q",
        "self_attn.k_proj" => "attn_k",
        "self_attn.v_proj" => "attn_v",
        "self_attn.o_proj" => "attn_output",
        "mlp.gate_proj" => "ffn_gate",
        "mlp.up_proj" => "ffn_up",
        "mlp.down_proj" => "ffn_down",
        "input_layernorm" => "attn_norm",
        "post_attention_layernorm" => "ffn_norm",
        _ => return None,
    };
    Some(format!("blk.{layer}.{part}.weight"))
}

/// Rows of each head of `width` from halves to neighbours: row 2 i + p is row p width / 2 + i.
pub(crate) fn to_neighbours(rows: &[f32], width: usize, row: usize) -> Vec<f32> {
    let of = |r: usize| r / width * width + r % 2 * (width / 2) + r % width / 2;
    (0..rows.len() / row).flat_map(|r| &rows[of(r) * row..][..row]).copied().collect()
}

/// And back.
pub(crate) fn to_halves(rows: &[f32], width: usize, row: usize) -> Vec<f32> {
    let of = |r: usize| r / width * width + r % (width / 2) * 2 + r % width / (width / 2);
    (0..rows.len() / row).flat_map(|r| &rows[of(r) * row..][..row]).copied().collect()
}

/// Writes a model. `read` gives a tensor of the folder by its name and shape (see [`Weights::expected`]).
///
/// # Errors
/// Those of `read`; 2 or 4 when the file cannot be written.
pub fn write_gguf(
    path: &Path,
    llama: &Llama,
    kind: GgufType,
    vocabulary: &Vocabulary,
    read: impl Fn(&str, &[usize], &mut [f32]) -> Result<()>,
) -> Result<FileRecord> {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let metadata = Metadata::of(&name, llama, kind, vocabulary);
    let tensors = Weights::expected(llama);
    let mut file = AtomicFile::create(path)?;
    let mut head = b"GGUF".to_vec();
    head.extend(3u32.to_le_bytes());
    head.extend((tensors.len() as u64).to_le_bytes());
    head.extend(metadata.count.to_le_bytes());
    head.extend(metadata.bytes);
    let mut offset = 0u64;
    for (name, shape) in &tensors {
        let gguf = gguf_name(name)
            .ok_or_else(|| Failure::usage(format_args!("tensor {name} has no name in GGUF")))?;
        put_string(&mut head, &gguf);
        head.extend((shape.len() as u32).to_le_bytes());
        shape.iter().rev().for_each(|&n| head.extend((n as u64).to_le_bytes()));
        head.extend(kind.of(shape).tensor_type().to_le_bytes());
        head.extend(offset.to_le_bytes());
        offset += kind.of(shape).bytes(shape.iter().product()).next_multiple_of(ALIGNMENT);
    }
    head.resize(head.len().next_multiple_of(ALIGNMENT as usize), 0);
    file.put(&head)?;
    let width = llama.config.head_width();
    for (name, shape) in &tensors {
        let mut values = vec![0.0; shape.iter().product()];
        read(name, shape, &mut values)?;
        if name.ends_with("q_proj.weight") || name.ends_with("k_proj.weight") {
            values = to_neighbours(&values, width, llama.config.d_model);
        }
        let mut bytes = Vec::new();
        kind.of(shape).write(&values, &mut bytes);
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT as usize), 0);
        file.put(&bytes)?;
    }
    file.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_change_places_and_back() {
        let rows: Vec<f32> = (0..24).map(|i| i as f32).collect(); // two heads of 6 rows, 2 values each
        let neighbours = to_neighbours(&rows, 6, 2);
        let order: Vec<f32> = neighbours.chunks(2).map(|row| row[0] / 2.0).collect();
        assert_eq!(order, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0, 6.0, 9.0, 7.0, 10.0, 8.0, 11.0]);
        assert_eq!(to_halves(&neighbours, 6, 2), rows);
    }

    #[test]
    fn blocks_are_rounded_as_ggml_does() {
        let mut block = [0.0; BLOCK];
        (block[0], block[1], block[2], block[3]) = (-127.0, 0.5, 1.5, -2.5);
        let mut out = Vec::new();
        q8_0(&block, &mut out);
        assert_eq!(out[..2], f16::from_f32(1.0).to_le_bytes());
        assert_eq!(
            out[2..6].iter().map(|&b| b as i8).collect::<Vec<i8>>(),
            [-127, 1, 2, -3],
            "halves go away from zero"
        );
        let mut zeros = Vec::new();
        q8_0(&[0.0; BLOCK], &mut zeros);
        assert_eq!(zeros, [0; BLOCK + 2]);
    }
}
