//! The weights of a Hugging Face folder: one safetensors file, or the shards that an index lists, in f32, f16 or
//! bf16. Every tensor has to be there in its shape, no other may be, and every value has to be a number.
//!
//! Tensors are read, not mapped: a mapped file that somebody shortens ends the process with SIGBUS, without a word.
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::tensor::{Dtype, Metadata};
use serde_json::Value;
use stage::{Action, Failure, Result};

use crate::{Llama, TensorTable};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const EMBEDDING: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";
/// As crate safetensors and every other reader has it.
const LONGEST_HEADER: u64 = 100_000_000;
const REMEDY: &str = "copy the folder again, or take another model";

/// Where a tensor lies.
struct Entry {
    file: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    /// Byte of the file.
    start: u64,
}

/// Tensors by name in open files.
pub struct Weights {
    files: Vec<(PathBuf, File)>,
    entries: BTreeMap<String, Entry>,
    /// A tied matrix may be stored under the name of the head alone.
    only_head: bool,
}

/// The files of a folder that hold weights: the single one, or those that the index lists.
///
/// # Errors
/// Exit code 3 when there is neither, or the index is damaged.
pub fn weight_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let (single, index) = (folder.join(SINGLE), folder.join(INDEX));
    if single.is_file() {
        return Ok(vec![single]);
    }
    if !index.is_file() {
        let other = ["pytorch_model.bin", "pytorch_model.bin.index.json"]
            .into_iter()
            .find(|name| folder.join(name).is_file());
        let (found, remedy) = match other {
            Some(name) => (
                format!("not found, but {name}"),
                "save it as safetensors: save_pretrained(FOLDER, safe_serialization=True)"
                    .to_owned(),
            ),
            None => (
                "not found".to_owned(),
                format!("{}, or name another folder", Action::Run("train")),
            ),
        };
        return Err(Failure::input(&single, found, "a trained model's weights", remedy));
    }
    let text = stage::read(&index)?;
    let damaged = |found: String| {
        Failure::input(&index, found, "a weight_map from tensors to files of this folder", REMEDY)
    };
    let json: Value =
        serde_json::from_slice(&text).map_err(|e| damaged(format!("no JSON: {e}")))?;
    let map = json
        .get("weight_map")
        .and_then(Value::as_object)
        .ok_or_else(|| damaged("no weight_map".into()))?;
    let mut names = BTreeSet::new();
    for (tensor, file) in map {
        // A plain file name: an index from elsewhere must not lead out of its folder.
        let name = file
            .as_str()
            .filter(|name| Path::new(name).file_name().is_some_and(|plain| plain == *name));
        names.insert(name.ok_or_else(|| damaged(format!("{tensor} is in {file}")))?);
    }
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

impl Weights {
    /// Opens the weights of a folder.
    ///
    /// # Errors
    /// Exit code 3: missing or damaged files, a tensor twice.
    pub fn open(folder: &Path) -> Result<Self> {
        let mut weights = Weights { files: Vec::new(), entries: BTreeMap::new(), only_head: false };
        for (number, path) in weight_files(folder)?.into_iter().enumerate() {
            let file = stage::open(&path)?;
            let bad =
                |found: String| Failure::input(&path, found, "a whole safetensors file", REMEDY);
            let (header, data) = read_header(&file).map_err(|wrong| match wrong {
                Wrong::Io(error) => Failure::reading(&path)(error),
                Wrong::Form(found) => bad(found),
            })?;
            for (name, info) in header.tensors() {
                let start = data + info.data_offsets.0 as u64;
                let shape = info.shape.clone();
                let entry = Entry { file: number, dtype: info.dtype, shape, start };
                if weights.entries.insert(name.clone(), entry).is_some() {
                    return Err(bad(format!("tensor {name} is in two files")));
                }
            }
            weights.files.push((path, file));
        }
        if !weights.entries.contains_key(EMBEDDING)
            && let Some(head) = weights.entries.remove(HEAD)
        {
            weights.entries.insert(EMBEDDING.to_owned(), head);
            weights.only_head = true;
        }
        Ok(weights)
    }

    fn bad(&self, entry: Option<&Entry>, found: String) -> Failure {
        let path = entry
            .map(|entry| entry.file)
            .and_then(|file| self.files.get(file))
            .or(self.files.first());
        let path = path.map_or(Path::new(SINGLE), |(path, _)| path);
        Failure::input(path, found, "the weights that config.json describes", REMEDY)
    }

    fn entry(&self, name: &str, shape: &[usize]) -> Result<&Entry> {
        let entry = self
            .entries
            .get(name)
            .ok_or_else(|| self.bad(None, format!("tensor {name} is missing")))?;
        if entry.shape != shape {
            return Err(self.bad(
                Some(entry),
                format!(
                    "tensor {name} has shape {:?}, where config.json says {shape:?}",
                    entry.shape
                ),
            ));
        }
        if !matches!(entry.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            return Err(self.bad(
                Some(entry),
                format!(
                    "tensor {name} is of dtype {:?}, where F32, F16 and BF16 are read",
                    entry.dtype
                ),
            ));
        }
        Ok(entry)
    }

    /// Copies a tensor of this shape as f32.
    ///
    /// # Errors
    /// Exit code 3, naming the tensor: missing, of another shape or dtype, NaN or infinite.
    pub fn read(&self, name: &str, shape: &[usize], out: &mut [f32]) -> Result<()> {
        let entry = self.entry(name, shape)?;
        match entry.dtype {
            // Little-endian, as every machine this runs on.
            Dtype::F32 => self.fill(entry, 0, bytemuck::cast_slice_mut(out))?,
            Dtype::F16 => self.widen(entry, out, |bytes| f16::from_le_bytes(bytes).to_f32())?,
            _ => self.widen(entry, out, |bytes| bf16::from_le_bytes(bytes).to_f32())?,
        }
        // The largest exponent tells: NaN and infinity have all its bits.
        if out.iter().fold(0u32, |worst, value| worst.max(value.to_bits() & 0x7fff_ffff))
            < 0x7f80_0000
        {
            return Ok(());
        }
        let wrong = out.iter().enumerate().find(|(_, value)| !value.is_finite());
        let (at, value) = wrong.unwrap_or((0, &f32::NAN));
        Err(self.bad(Some(entry), format!("tensor {name} has {value} at element {at}, where every weight has to be a finite number")))
    }

    /// Bytes of a tensor from its byte `at` on.
    fn fill(&self, entry: &Entry, at: usize, bytes: &mut [u8]) -> Result<()> {
        let lies = || self.bad(None, "a tensor in none of its files".to_owned());
        let (path, file) = self.files.get(entry.file).ok_or_else(lies)?;
        stage::read_at(file, bytes, entry.start + at as u64).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => {
                self.bad(Some(entry), "it was shortened while it was read".to_owned())
            }
            _ => Failure::reading(path)(error),
        })
    }

    /// Values of two bytes as f32.
    fn widen(&self, entry: &Entry, out: &mut [f32], wide: impl Fn([u8; 2]) -> f32) -> Result<()> {
        let mut buffer = [0; 1 << 15];
        let mut at = 0;
        for part in out.chunks_mut(buffer.len() / 2) {
            let (bytes, _) = buffer.split_at_mut(2 * part.len());
            self.fill(entry, at, bytes)?;
            at += bytes.len();
            part.iter_mut().zip(bytes.as_chunks().0).for_each(|(out, &pair)| *out = wide(pair));
        }
        Ok(())
    }

    /// Every tensor that the model has, by name and shape.
    pub fn expected(llama: &Llama) -> Vec<(String, Vec<usize>)> {
        let tensors = TensorTable::new(&llama.config).tensors.into_iter();
        tensors.map(|tensor| (tensor.name, tensor.shape)).collect()
    }

    /// Refuses tensors that the model lacks, and those that it has no place for.
    ///
    /// # Errors
    /// Exit code 3, naming the tensor.
    pub fn check(&self, llama: &Llama) -> Result<()> {
        // Before anything is made as large as config.json says.
        let layers = llama.config.n_layer;
        if layers > self.entries.len() {
            return Err(
                self.bad(None, format!("{} tensors for {layers} layers", self.entries.len()))
            );
        }
        if self.only_head && !llama.config.tied {
            return Err(self.bad(None, format!("tensor {EMBEDDING} is missing")));
        }
        let expected = Self::expected(llama);
        for (name, shape) in &expected {
            self.entry(name, shape)?;
        }
        let known: BTreeSet<&str> = expected.iter().map(|(name, _)| name.as_str()).collect();
        // Old files carry the angles of rotary embedding, and a tied head may be written out; see `load`.
        let harmless = |name: &str| {
            name.ends_with(".rotary_emb.inv_freq") || (llama.config.tied && name == HEAD)
        };
        match self
            .entries
            .iter()
            .find(|(name, _)| !known.contains(name.as_str()) && !harmless(name))
        {
            None => Ok(()),
            Some((name, entry)) => {
                let found = format!(
                    "tensor {name} {:?} has no place in a Llama of {} layers",
                    entry.shape, llama.config.n_layer
                );
                Err(self.bad(Some(entry), found))
            }
        }
    }

    /// All weights in the flat layout of [`TensorTable`], as [`flatten`] makes it.
    ///
    /// # Errors
    /// Exit code 3, naming the tensor that is missing, too much, of another shape, or no number.
    pub fn load(&self, llama: &Llama) -> Result<Vec<f32>> {
        self.check(llama)?;
        let (config, table) = (&llama.config, TensorTable::new(&llama.config));
        let flat = flatten(llama, |name, shape, out| self.read(name, shape, out))?;
        if config.tied && self.entries.contains_key(HEAD) {
            let mut written = vec![0.0; table.head.len()];
            self.read(HEAD, &[config.vocab_size, config.d_model], &mut written)?;
            if flat.get(table.head.clone()) != Some(&written[..]) {
                let found = format!(
                    "tensor {HEAD} differs from {EMBEDDING}, though tie_word_embeddings is true"
                );
                return Err(self.bad(self.entries.get(HEAD), found));
            }
        }
        Ok(flat)
    }
}

enum Wrong {
    Io(io::Error),
    Form(String),
}

impl From<io::Error> for Wrong {
    fn from(error: io::Error) -> Self {
        Wrong::Io(error)
    }
}

/// The header of a safetensors file, and the byte at which its tensors begin. They lie one behind the other, each as long as
/// its shape says (the crate looks at that), to the end of the file.
fn read_header(file: &File) -> std::result::Result<(Metadata, u64), Wrong> {
    let length = file.metadata()?.len();
    let form = |found: String| Wrong::Form(found);
    let mut first = [0; 8];
    if length < first.len() as u64 {
        return Err(form(format!("{length} bytes")));
    }
    stage::read_at(file, &mut first, 0)?;
    let bytes = u64::from_le_bytes(first);
    let data = bytes.saturating_add(first.len() as u64);
    if bytes > LONGEST_HEADER || data > length {
        return Err(form(format!("a header of {bytes} bytes in {length}")));
    }
    let mut header = vec![0; bytes as usize];
    stage::read_at(file, &mut header, first.len() as u64)?;
    let header: Metadata = serde_json::from_slice(&header)
        .map_err(|error| form(format!("its header cannot be read: {error}")))?;
    match data.checked_add(header.data_len() as u64) {
        Some(expected) if expected == length => Ok((header, data)),
        _ => {
            let tensors = header.data_len();
            Err(form(format!("{length} bytes, where its header says {data} + {tensors}")))
        }
    }
}

/// The flat layout of [`TensorTable`]. `read` gives a tensor by its name and shape.
///
/// # Errors
/// Those of `read`.
#[allow(clippy::indexing_slicing)] // ranges of the table, in a buffer of its length
pub fn flatten(
    llama: &Llama,
    read: impl Fn(&str, &[usize], &mut [f32]) -> Result<()>,
) -> Result<Vec<f32>> {
    let table = TensorTable::new(&llama.config);
    let mut flat = vec![0.0; table.len];
    for tensor in &table.tensors {
        read(&tensor.name, &tensor.shape, &mut flat[tensor.range()])?;
    }
    Ok(flat)
}
