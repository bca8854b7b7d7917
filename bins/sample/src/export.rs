//! Exports a trained model to the file format of another program, and another program's model to a folder.
use std::path::{Path, PathBuf};

use corpus::tokenizer::{PAD, Tokenizer};
use inference::open_model;
use model::{
    FOLDER_FILES, GgufType, Llama, TensorTable, TokenKind, Vocabulary, flatten, read_llama2c,
    save_folder, write_gguf,
};
use serde_json::Value;
use stage::{Failure, Result, Stage, make_way};

/// Write the model as a GGUF file (llama.cpp, Ollama, LM Studio) or as a Hugging Face folder
#[derive(clap::Args)]
#[command(after_help = "\
A GGUF file contains the tokenizer, which must be byte-level BPE with GPT-2's pattern, as
train-tokenizer makes it. In q8_0, matrices whose row length is not a multiple of 32 stay f16.

A llama2.c checkpoint contains no tokenizer: name its tokenizer.json. For the models of
llama2.c that is the tokenizer of Llama 2, with which a folder can be written, but no
GGUF file.

Examples:
  sample export --config pipelines/tinystories-3m.toml --type q8_0 bedtime.gguf
  sample export --model out/a/run/checkpoints/best.safetensors --to folder best/
  sample export --model stories15M.bin --tokenizer tokenizer.json --to folder stories15M/")]
pub(crate) struct Export {
    #[command(flatten)]
    common: stage::Common,
    /// A folder of any LlamaForCausalLM, a checkpoint, or a llama2.c checkpoint (.bin) [default: OUT/run/final]
    #[arg(long, value_name = "MODEL")]
    model: Option<PathBuf>,
    /// What to write
    #[arg(long, value_enum, default_value_t = To::Gguf, value_name = "FORMAT")]
    to: To,
    /// Data type of the matrices in a GGUF file
    #[arg(long = "type", value_enum, default_value_t = Type::F16, value_name = "TYPE")]
    kind: Type,
    /// tokenizer.json to write instead of the model's own
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

/// Returns a tensor by its name and shape in a folder.
type Read = Box<dyn Fn(&str, &[usize], &mut [f32]) -> Result<()>>;

/// What is exported.
struct Source {
    llama: Llama,
    read: Read,
    tokenizer: Tokenizer,
}

impl Export {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let stage = self.common.open("sample", "sample", &serde_json::json!({}))?;
        self.make_way(&stage)?;
        stage.use_threads()?;
        let Source { llama, read, tokenizer } = self.source(&stage)?;
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

    fn source(&self, stage: &Stage) -> Result<Source> {
        if let Some(path) =
            self.model.as_ref().filter(|path| path.extension().is_some_and(|end| end == "bin"))
        {
            return self.llama2c(path);
        }
        let loaded = open_model(stage, self.model.as_deref())?;
        let tokenizer = match &self.tokenizer {
            Some(path) => Tokenizer::load_with(path, &loaded.eos)?,
            None => loaded.tokenizer()?,
        };
        let llama = Llama { config: loaded.config, bos: None, eos: tokenizer.ends().to_vec() };
        let (table, weights) = (TensorTable::new(&loaded.config), loaded.weights);
        let read: Read = Box::new(move |name, _, out| {
            let tensor = table.tensors.iter().find(|tensor| tensor.name == name);
            let tensor = tensor.ok_or_else(|| Failure::usage(format_args!("no tensor {name}")))?;
            Ok(out.copy_from_slice(&weights[tensor.range()]))
        });
        Ok(Source { llama, read, tokenizer })
    }

    /// A llama2.c checkpoint, with the tokenizer given for it.
    fn llama2c(&self, path: &Path) -> Result<Source> {
        let (llama, tensors) = read_llama2c(path)?;
        let tokenizer = self.tokenizer.as_ref().ok_or_else(|| {
            Failure::input(
                path,
                "a llama2.c checkpoint, which names no tokenizer",
                "the tokenizer.json that belongs to it (--tokenizer FILE)",
                "bring it along",
            )
        })?;
        let tokenizer = Tokenizer::load_with(tokenizer, &llama.eos)?;
        let read: Read = Box::new(move |name, _, out| Ok(out.copy_from_slice(&tensors[name])));
        Ok(Source { llama, read, tokenizer })
    }
}

/// The tokenizer in GGUF's form. Embedding rows without a token get a placeholder name that no tokenizer produces.
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
        merges: merges.ok_or_else(|| refuse("merges that are not pairs"))?,
        eos: tokenizer.eos(),
        pad,
    })
}

impl Export {
    /// Overwriting would lose a file that nothing marks as ours.
    fn make_way(&self, stage: &Stage) -> Result<()> {
        match self.to {
            To::Gguf => make_way(&self.output, stage.force, &stage.log),
            To::Folder => FOLDER_FILES
                .iter()
                .try_for_each(|name| make_way(&self.output.join(name), stage.force, &stage.log)),
        }
    }
}
