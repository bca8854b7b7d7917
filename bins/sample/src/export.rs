//! A trained model to the file of another program, and another program's to a folder.
use std::path::PathBuf;

use corpus::tokenizer::{PAD, Tokenizer};
use inference::open_model;
use model::{
    GgufType, Llama, TensorTable, TokenKind, Vocabulary, Weights, flatten, read_llama2c,
    save_folder, write_gguf,
};
use serde_json::Value;
use stage::{Failure, Result};

/// Write the model as a GGUF file (llama.cpp, Ollama, LM Studio) or as a Hugging Face folder
#[derive(clap::Args)]
#[command(after_help = "\
A GGUF file has the tokenizer in it, which has to be byte-level BPE with GPT-2's pattern, as
train-tokenizer makes it. In q8_0, matrices whose rows are no multiple of 32 stay f16.

A checkpoint of llama2.c has no tokenizer that is read here: name the tokenizer.json that
belongs to it. For its own models that is the one of Llama 2; with that a folder can be
written, but no GGUF file.

Examples:
  sample export --config pipelines/tinystories-3m.toml --type q8_0 bedtime.gguf
  sample export --model out/a/run/checkpoints/best.safetensors --to folder best/
  sample export --model stories15M.bin --tokenizer tokenizer.json --to folder stories15M/")]
pub struct Export {
    #[command(flatten)]
    common: stage::Common,
    /// A folder of any LlamaForCausalLM, a checkpoint, or a llama2.c checkpoint (.bin) [default: OUT/run/final]
    #[arg(long, value_name = "MODEL")]
    model: Option<PathBuf>,
    /// What to write
    #[arg(long, value_enum, default_value_t = To::Gguf, value_name = "FORMAT")]
    to: To,
    /// What a GGUF file keeps matrices in
    #[arg(long = "type", value_enum, default_value_t = Type::F16, value_name = "TYPE")]
    kind: Type,
    /// tokenizer.json to write in place of the model's own
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// The file or folder to write
    output: PathBuf,
}

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
enum To {
    Gguf,
    Folder,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Type {
    F32,
    F16,
    #[value(name = "q8_0")]
    Q8_0,
}

/// Gives a tensor by its name and shape in a folder.
type Read = Box<dyn Fn(&str, &[usize], &mut [f32]) -> Result<()>>;

impl Export {
    pub fn run(self) -> anyhow::Result<()> {
        let stage = self.common.open("sample", "sample", &serde_json::json!({}))?;
        stage.use_threads()?;
        let from_llama2c =
            self.model.as_ref().filter(|path| path.extension().is_some_and(|end| end == "bin"));
        let (llama, read, tokenizer) = match from_llama2c {
            Some(path) => {
                let (llama, tensors) = read_llama2c(path)?;
                let Some(tokenizer) = &self.tokenizer else {
                    let expected = "the tokenizer.json that belongs to it (--tokenizer FILE)";
                    return Err(Failure::input(
                        path,
                        "a llama2.c checkpoint, which names no tokenizer",
                        expected,
                        "bring it along",
                    )
                    .into());
                };
                let read: Read =
                    Box::new(move |name, _, out| Ok(out.copy_from_slice(&tensors[name])));
                let tokenizer = Tokenizer::load_with(tokenizer, &llama.eos)?;
                (llama, read, tokenizer)
            }
            None => {
                let loaded = open_model(&stage, self.model.as_deref())?;
                let tokenizer = match &self.tokenizer {
                    Some(path) => Tokenizer::load_with(path, &loaded.eos)?,
                    None => loaded.tokenizer()?,
                };
                if loaded.path.is_dir() {
                    // Once more as the file has it: heads of keys and values stay as few as they are.
                    let (llama, weights) =
                        (Llama::read(&loaded.path)?, Weights::open(&loaded.path)?);
                    (
                        llama,
                        Box::new(move |name: &str, shape: &[usize], out: &mut [f32]| {
                            weights.read(name, shape, out)
                        }) as Read,
                        tokenizer,
                    )
                } else {
                    let llama = Llama {
                        config: loaded.config,
                        n_kv_head: loaded.config.n_head,
                        bos: None,
                        eos: tokenizer.ends().to_vec(),
                    };
                    let (table, weights) = (TensorTable::new(&loaded.config), loaded.weights);
                    let read = move |name: &str, _: &[usize], out: &mut [f32]| {
                        let tensor = table.tensors.iter().find(|tensor| tensor.name == name);
                        let tensor =
                            tensor.ok_or_else(|| Failure::usage(format!("no tensor {name}")))?;
                        Ok(out.copy_from_slice(&weights[tensor.range()]))
                    };
                    (llama, Box::new(read) as Read, tokenizer)
                }
            }
        };
        let size = llama.config.vocab_size;
        if tokenizer.vocab_size() as usize > size {
            let found = format!("a vocabulary of {}", tokenizer.vocab_size());
            let expected = format!("at most the model's {size}");
            return Err(Failure::input(
                tokenizer.path(),
                found,
                expected,
                "use the tokenizer the model was trained with",
            )
            .into());
        }
        if self.to == To::Folder {
            save_folder(
                &self.output,
                &llama.config,
                &flatten(&llama, read)?,
                tokenizer.json(),
                tokenizer.ends(),
            )?;
            stage.log.say(format!("wrote {}", self.output.display()));
            return Ok(());
        }
        let kind = match self.kind {
            Type::F32 => GgufType::F32,
            Type::F16 => GgufType::F16,
            Type::Q8_0 => GgufType::Q8_0,
        };
        let record = write_gguf(&self.output, &llama, kind, &vocabulary(&tokenizer, size)?, read)?;
        stage.log.say(format!(
            "wrote {}: {:.1} MB",
            self.output.display(),
            record.bytes as f64 / 1e6
        ));
        Ok(())
    }
}

/// The tokenizer as GGUF has it. Rows of the embedding that no token has get a name and are never chosen by a tokenizer.
fn vocabulary(tokenizer: &Tokenizer, size: usize) -> Result<Vocabulary> {
    let refuse = |found: &str| {
        let expected = "byte-level BPE with the pattern of GPT-2, which GGUF has a name for";
        Failure::input(
            tokenizer.path(),
            found,
            expected,
            "write a folder (--to folder), and convert that with llama.cpp's own script",
        )
    };
    if !tokenizer.is_fast() {
        return Err(refuse("a tokenizer of another kind"));
    }
    let json: Value =
        serde_json::from_slice(tokenizer.json()).map_err(|error| refuse(&error.to_string()))?;
    let mut tokens: Vec<(String, TokenKind)> =
        (0..size).map(|id| (format!("[UNUSED{id}]"), TokenKind::Unused)).collect();
    let mut put = |id: &Value, token: &str, kind| {
        if let Some(place) = id.as_u64().and_then(|id| tokens.get_mut(id as usize)) {
            *place = (token.to_owned(), kind);
        }
    };
    for (token, id) in json["model"]["vocab"].as_object().into_iter().flatten() {
        put(id, token, TokenKind::Normal);
    }
    let mut pad = None;
    for token in json["added_tokens"].as_array().into_iter().flatten() {
        let kind =
            if token["special"] == true { TokenKind::Control } else { TokenKind::UserDefined };
        let content = token["content"].as_str().unwrap_or_default();
        put(&token["id"], content, kind);
        if content == PAD {
            pad = token["id"].as_u64().map(|id| id as u32);
        }
    }
    // Old files have "left right", new ones ["left", "right"].
    let merge = |merge: &Value| match merge {
        Value::Array(pair) => {
            Some(format!("{} {}", pair.first()?.as_str()?, pair.get(1)?.as_str()?))
        }
        merge => merge.as_str().map(str::to_owned),
    };
    let merges: Option<Vec<String>> =
        json["model"]["merges"].as_array().into_iter().flatten().map(merge).collect();
    Ok(Vocabulary {
        tokens,
        merges: merges.ok_or_else(|| refuse("merges that are no pairs"))?,
        eos: tokenizer.eos(),
        pad,
    })
}
