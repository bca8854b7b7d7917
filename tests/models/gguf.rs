//! GGUF files of the export, read by a reader of their own: tensors, metadata and vocabulary are those of the folder.
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use half::f16;
use model::{GgufType, Llama, TokenKind, Vocabulary, Weights, write_gguf};
use serde_json::Value;
use tests::Run;

use super::{golden, trained};

/// A reader of GGUF, as far as the files here go.
struct Gguf {
    meta: BTreeMap<String, Value>,
    /// Name to type, shape (outermost first) and bytes.
    tensors: BTreeMap<String, (u32, Vec<usize>, Vec<u8>)>,
}

struct Reader<'a>(&'a [u8], usize);

impl Reader<'_> {
    fn take(&mut self, n: usize) -> &[u8] {
        self.1 += n;
        &self.0[self.1 - n..self.1]
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take(4).try_into().unwrap())
    }

    fn u64(&mut self) -> usize {
        u64::from_le_bytes(self.take(8).try_into().unwrap()) as usize
    }

    fn string(&mut self) -> String {
        let len = self.u64();
        String::from_utf8(self.take(len).to_vec()).unwrap()
    }

    fn value(&mut self, kind: u32) -> Value {
        match kind {
            4 => self.u32().into(),
            5 => (self.u32() as i32).into(),
            6 => f32::from_bits(self.u32()).into(),
            7 => (self.take(1)[0] == 1).into(),
            8 => self.string().into(),
            9 => {
                let (kind, len) = (self.u32(), self.u64());
                (0..len).map(|_| self.value(kind)).collect()
            }
            _ => panic!("a value of type {kind}"),
        }
    }
}

impl Gguf {
    fn read(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap();
        let mut reader = Reader(&bytes, 0);
        assert_eq!((reader.take(4).to_vec(), reader.u32()), (b"GGUF".to_vec(), 3));
        let (tensors, keys) = (reader.u64(), reader.u64());
        let key = |reader: &mut Reader| {
            let (key, kind) = (reader.string(), reader.u32());
            (key, reader.value(kind))
        };
        let meta = (0..keys).map(|_| key(&mut reader)).collect();
        let mut infos = Vec::new();
        for _ in 0..tensors {
            let (name, dimensions) = (reader.string(), reader.u32());
            let mut shape: Vec<usize> = (0..dimensions).map(|_| reader.u64()).collect();
            shape.reverse();
            infos.push((name, shape, reader.u32(), reader.u64()));
        }
        let data = &bytes[reader.1.next_multiple_of(32)..];
        let mut end = 0;
        let mut tensors = BTreeMap::new();
        for (name, shape, kind, offset) in infos {
            let len: usize = shape.iter().product();
            let length = match kind {
                0 => 4 * len,
                1 => 2 * len,
                8 => len / 32 * 34,
                _ => panic!("{name} is of type {kind}"),
            };
            assert!(offset == end && offset % 32 == 0, "{name} at {offset}, expected {end}");
            end = (offset + length).next_multiple_of(32);
            tensors.insert(name, (kind, shape, data[offset..offset + length].to_vec()));
        }
        assert_eq!(end, data.len());
        Gguf { meta, tensors }
    }
}

/// A head's rows with neighbours that turn together.
pub(crate) fn turned(name: &str, values: &[f32], width: usize, row: usize) -> Vec<f32> {
    if !name.contains("q_proj") && !name.contains("k_proj") {
        return values.to_vec();
    }
    let mut out = Vec::new();
    for head in values.chunks(width * row) {
        let (first, second) = head.split_at(head.len() / 2);
        first.chunks(row).zip(second.chunks(row)).for_each(|(a, b)| out.extend([a, b].concat()));
    }
    out
}

fn names() -> [(&'static str, &'static str); 12] {
    [
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("lm_head", "output"),
        ("model.layers.1.self_attn.q_proj", "blk.1.attn_q"),
        ("model.layers.1.self_attn.k_proj", "blk.1.attn_k"),
        ("model.layers.0.self_attn.v_proj", "blk.0.attn_v"),
        ("model.layers.0.self_attn.o_proj", "blk.0.attn_output"),
        ("model.layers.0.mlp.gate_proj", "blk.0.ffn_gate"),
        ("model.layers.1.mlp.up_proj", "blk.1.ffn_up"),
        ("model.layers.1.mlp.down_proj", "blk.1.ffn_down"),
        ("model.layers.0.input_layernorm", "blk.0.attn_norm"),
        ("model.layers.1.post_attention_layernorm", "blk.1.ffn_norm"),
    ]
}

fn f32s(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
}

fn f16s(bytes: &[u8]) -> Vec<f16> {
    bytes.as_chunks().0.iter().map(|&bytes| f16::from_le_bytes(bytes)).collect()
}

/// Every tensor of a GGUF file against the folder's.
fn assert_same_tensors(gguf: &Gguf, folder: &Path, kind: u32) {
    let (llama, weights) = (Llama::read(folder).unwrap(), Weights::open(folder).unwrap());
    let (width, d) = (llama.config.head_width(), llama.config.d_model);
    let expected = Weights::expected(&llama);
    assert_eq!(gguf.tensors.len(), expected.len());
    for (name, other) in names() {
        let name = format!("{name}.weight");
        let Some((_, shape)) = expected.iter().find(|(own, _)| *own == name) else { continue };
        let (found_kind, found_shape, bytes) = &gguf.tensors[&format!("{other}.weight")];
        assert_eq!(found_shape, shape, "{name}");
        let mut values = vec![0.0; shape.iter().product()];
        weights.read(&name, shape, &mut values).unwrap();
        let values = turned(&name, &values, width, d);
        let kind = match shape[..] {
            [_] => 0,
            [_, row] if kind == 8 && row % 32 != 0 => 1,
            _ => kind,
        };
        assert_eq!(*found_kind, kind, "{name}");
        match kind {
            0 => assert_eq!(f32s(bytes), values, "{name}"),
            1 => assert_eq!(
                f16s(bytes),
                values.iter().map(|&v| f16::from_f32(v)).collect::<Vec<f16>>(),
                "{name}"
            ),
            _ => {
                for (block, values) in bytes.chunks(34).zip(values.chunks(32)) {
                    let scale = values.iter().fold(0f32, |m, v| m.max(v.abs())) / 127.0;
                    assert_eq!(block[..2], f16::from_f32(scale).to_le_bytes(), "{name}");
                    for (&found, value) in block[2..].iter().zip(values) {
                        assert!(
                            (f32::from(found as i8) - value / scale).abs() <= 0.5001,
                            "{name}: {found} for {value}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn gguf_files_have_the_tensors_and_the_tokenizer_of_the_folder() {
    let run = trained(Run::new());
    let folder = run.path("run/final");
    for (kind, number) in [("f32", 0), ("f16", 1), ("q8_0", 8)] {
        let path = run.input("model.gguf");
        let mut command = std::process::Command::new(tests::binary("sample"));
        command.current_dir(path.parent().unwrap()).args([
            "export",
            "--force",
            "--config",
            "tiny.toml",
            "--out",
            "out",
            "--type",
            kind,
            "model.gguf",
        ]);
        tests::Ended::of(command.output().unwrap(), "sample").ok().says(&["wrote model.gguf"]);
        let gguf = Gguf::read(&path);
        assert_same_tensors(&gguf, &folder, number);
        assert!(run.partials().is_empty());

        let json: Value =
            serde_json::from_slice(&fs::read(folder.join("tokenizer.json")).unwrap()).unwrap();
        let tokens = gguf.meta["tokenizer.ggml.tokens"].as_array().unwrap();
        assert_eq!(tokens.len(), 500);
        for (token, id) in json["model"]["vocab"].as_object().unwrap() {
            assert_eq!(&tokens[id.as_u64().unwrap() as usize], token);
        }
        assert_eq!(
            gguf.meta["tokenizer.ggml.merges"].as_array().unwrap().len(),
            json["model"]["merges"].as_array().unwrap().len()
        );
        assert_eq!(gguf.meta["tokenizer.ggml.token_type"][0], 3);
        assert_eq!(gguf.meta["tokenizer.ggml.token_type"][2], 1);
        for (key, value) in [
            ("general.architecture", Value::from("llama")),
            ("tokenizer.ggml.model", "gpt2".into()),
            ("tokenizer.ggml.pre", "gpt-2".into()),
            ("tokenizer.ggml.eos_token_id", 0.into()),
            ("tokenizer.ggml.add_bos_token", false.into()),
            ("llama.block_count", 2.into()),
            ("llama.context_length", 48.into()),
            ("llama.attention.head_count", 2.into()),
            ("llama.attention.head_count_kv", 2.into()),
            ("llama.feed_forward_length", 56.into()),
        ] {
            assert_eq!(gguf.meta[key], value, "{key}");
        }
        assert!(
            (gguf.meta["llama.attention.layer_norm_rms_epsilon"].as_f64().unwrap() - 1e-6).abs()
                < 1e-12
        );
    }
    // What GGUF has no name for is refused, and nothing is left.
    let words = r#"{"version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null,
        "decoder": null, "truncation": null, "padding": null,
        "model": {"type": "WordLevel", "vocab": {"<|endoftext|>": 0, "a": 1, "u": 2}, "unk_token": "u"}}"#;
    fs::write(run.input("words.json"), words).unwrap();
    let mut command = std::process::Command::new(tests::binary("sample"));
    command.current_dir(run.input("")).args([
        "export",
        "--config",
        "tiny.toml",
        "--out",
        "out",
        "--tokenizer",
        "words.json",
        "no.gguf",
    ]);
    tests::Ended::of(command.output().unwrap(), "sample")
        .code(3)
        .says(&["words.json", "byte-level BPE"]);
    assert!(!run.input("no.gguf").exists());
}

#[test]
fn shared_heads_stay_few_in_gguf() {
    let folder = golden("llama_shared");
    let (llama, weights) = (Llama::read(&folder).unwrap(), Weights::open(&folder).unwrap());
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("a.gguf");
    let vocabulary = Vocabulary {
        tokens: vec![("a".into(), TokenKind::Normal); 203],
        merges: vec![],
        eos: 2,
        pad: None,
    };
    write_gguf(&path, &llama, GgufType::F32, &vocabulary, |name, shape, out| {
        weights.read(name, shape, out)
    })
    .unwrap();
    let gguf = Gguf::read(&path);
    assert_same_tensors(&gguf, &folder, 0);
    assert_eq!(gguf.tensors["blk.0.attn_k.weight"].1, [28, 84]);
    assert_eq!(gguf.meta["llama.attention.head_count_kv"], 2);
    assert_eq!(gguf.meta["llama.rope.freq_base"], 500_000.0);
}
