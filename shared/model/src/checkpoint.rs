//! Checkpoints: one safetensors file with weights, Adam's moments and, in its metadata, all else a run needs to
//! go on. The batch of a step is a pure function of seed and step, so the step is the state of the loader.
//!
//! A SHA-256 over all of it stands in the metadata: a damaged file is refused, not trained on.
use std::collections::HashMap;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use stage::{AtomicFile, Failure, Result};

use crate::{Config, TensorTable};

const FORMAT: u32 = 2;
const METADATA_KEY: &str = "bedtime";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: u32,
    /// Over the JSON text of the state, then name, zero byte and data of each tensor in table order: weights, then moments.
    sha256: String,
    state: Value,
}

/// What a checkpoint says of its run, beside the tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Updates done; the next step has this number.
    pub step: u64,
    pub config: Config,
    /// The settings that decide the weights.
    pub settings: serde_json::Value,
    pub tokenizer_sha256: String,
    /// What computed it, and what it keeps values in; others give other bits.
    pub device: String,
    pub precision: String,
    /// Which of the device's kernels: what `Kernels::plan` says.
    #[serde(default)]
    pub plan: String,
    /// What moves from update to update beside the tensors: loss scale, skipped updates, powers of Adam's betas.
    pub update: Vec<f32>,
    /// The best validation along the way so far.
    #[serde(default)]
    pub best: Option<Best>,
    /// Steps whose batch was taken out since it gave no finite loss, once for each time.
    #[serde(default)]
    pub redrawn: Vec<u64>,
}

/// A validation along the way.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// Updates done.
    pub step: u64,
    /// Nats per token.
    pub val_loss: f64,
}

/// Everything needed to go on.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    pub state: State,
    /// Flat buffers in the tensor table's layout.
    pub weights: Vec<f32>,
    pub adam_m: Vec<f32>,
    pub adam_v: Vec<f32>,
}

const MOMENTS: [&str; 3] = ["", "adam_m.", "adam_v."];

impl Checkpoint {
    /// Writes beside `path`, syncs, renames.
    pub fn save(&self, path: &Path) -> Result<()> {
        let table = TensorTable::new(&self.state.config);
        let mut views = Vec::new();
        for (prefix, flat) in MOMENTS.iter().zip([&self.weights, &self.adam_m, &self.adam_v]) {
            views.extend(tensor_views(&table, prefix, flat)?);
        }
        let unfit = |e: serde_json::Error| Failure::usage(format!("checkpoint: {e}"));
        // What is hashed is what a reader gets: numbers may come back from their text in another form.
        let state: Value = serde_json::to_string(&self.state).and_then(|text| serde_json::from_str(&text)).map_err(unfit)?;
        let digest = digest(&state, views.iter().map(|(name, view)| (name.as_str(), view.data())));
        let header = serde_json::to_string(&Header { format: FORMAT, sha256: digest, state }).map_err(unfit)?;
        // One entry only: safetensors writes them in no fixed order, and the same state has to have the same bytes.
        write_safetensors(path, views, HashMap::from([(METADATA_KEY.to_owned(), header)]))
    }

    /// Reads and checks a checkpoint: its form, its hash, its tensors.
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(Failure::reading(path))?;
        let damaged = |found: String| {
            Failure::input(
                path,
                found,
                "a whole checkpoint of this program",
                "remove it: training goes on from the one before, or starts anew",
            )
        };
        let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|e| damaged(e.to_string()))?;
        let header = metadata.metadata().as_ref().and_then(|m| m.get(METADATA_KEY));
        let header = header.ok_or_else(|| damaged(format!("no {METADATA_KEY} in its metadata")))?;
        let Header { format, sha256, state: text } = serde_json::from_str(header).map_err(|e| damaged(e.to_string()))?;
        if format != FORMAT {
            return Err(damaged(format!("checkpoint format {format}")));
        }
        let state: State = serde_json::from_value(text.clone()).map_err(|e| damaged(e.to_string()))?;
        // Before anything is made as large as it says.
        let fits = state.config.parameters().is_some_and(|weights| weights * 3 * 4 <= bytes.len() as u64);
        if !fits {
            return Err(damaged(format!("the sizes {:?} in a file of {} bytes", state.config, bytes.len())));
        }
        let tensors = SafeTensors::deserialize(&bytes).map_err(|e| damaged(e.to_string()))?;
        let table = TensorTable::new(&state.config);
        let mut parts = Vec::new();
        for prefix in MOMENTS {
            parts.push(read_tensors(&table, prefix, &tensors).map_err(&damaged)?);
        }
        let mut names: Vec<(String, TensorView)> = tensors.tensors();
        let order: HashMap<String, usize> = MOMENTS
            .iter()
            .flat_map(|prefix| table.tensors.iter().map(move |t| format!("{prefix}{}", t.name)))
            .enumerate()
            .map(|(i, name)| (name, i))
            .collect();
        names.sort_by_key(|(name, _)| order.get(name).copied().unwrap_or(usize::MAX));
        if digest(&text, names.iter().map(|(name, view)| (name.as_str(), view.data()))) != sha256 {
            return Err(damaged("its content does not fit its sha256".into()));
        }
        let [weights, adam_m, adam_v] = <[Vec<f32>; 3]>::try_from(parts).map_err(|_| damaged("parts missing".into()))?;
        Ok(Checkpoint { state, weights, adam_m, adam_v })
    }
}

fn digest<'a>(state: &Value, tensors: impl Iterator<Item = (&'a str, &'a [u8])>) -> String {
    let mut hasher = Sha256::new();
    hasher.update(state.to_string());
    for (name, data) in tensors {
        hasher.update(name.as_bytes());
        hasher.update([0]);
        hasher.update(data);
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Views of a flat buffer under the tensors' names. safetensors is little-endian, as every machine this runs on.
pub(crate) fn tensor_views<'a>(table: &TensorTable, prefix: &str, flat: &'a [f32]) -> Result<Vec<(String, TensorView<'a>)>> {
    let view = |t: &crate::Tensor| {
        let bytes = bytemuck::cast_slice(&flat[t.range()]);
        let view = TensorView::new(Dtype::F32, t.shape.clone(), bytes);
        Ok((format!("{prefix}{}", t.name), view.map_err(|e| Failure::usage(format!("{}: {e}", t.name)))?))
    };
    table.tensors.iter().map(view).collect()
}

/// Copies the table's tensors out of a file into a flat buffer. The error says which tensor does not fit.
pub(crate) fn read_tensors(table: &TensorTable, prefix: &str, tensors: &SafeTensors) -> std::result::Result<Vec<f32>, String> {
    let mut flat = vec![0.0; table.len];
    for t in &table.tensors {
        let name = format!("{prefix}{}", t.name);
        let view = tensors.tensor(&name).map_err(|_| format!("tensor {name} is missing"))?;
        if view.dtype() != Dtype::F32 || view.shape() != t.shape {
            return Err(format!("tensor {name} is {:?} {:?}, expected F32 {:?}", view.dtype(), view.shape(), t.shape));
        }
        bytemuck::cast_slice_mut(&mut flat[t.range()]).copy_from_slice(view.data());
    }
    Ok(flat)
}

pub(crate) fn write_safetensors(path: &Path, views: Vec<(String, TensorView)>, metadata: HashMap<String, String>) -> Result<()> {
    let bytes = safetensors::serialize(views, Some(metadata)).map_err(|e| Failure::usage(format!("{}: {e}", path.display())))?;
    AtomicFile::write(path, &bytes).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Checkpoint {
        let section = stage::config::Model { n_layer: 1, n_head: 2, d_model: 8, d_mlp: 12, context: 8 };
        let config = Config::new(&section, 260);
        let table = TensorTable::new(&config);
        let weights = crate::initial_weights(&table, 1);
        let state = State {
            step: 7,
            config,
            settings: serde_json::json!({"lr": 6e-4}),
            tokenizer_sha256: "ab".into(),
            device: "cpu".into(),
            precision: "f32".into(),
            plan: "plain".into(),
            best: Some(Best { step: 5, val_loss: 2.5 }),
            redrawn: vec![3],
            update: vec![0.1, 65_536.0, 0.9f32.powi(7)],
        };
        Checkpoint { state, adam_m: weights.iter().map(|w| w * 0.1).collect(), adam_v: weights.iter().map(|w| w * w).collect(), weights }
    }

    #[test]
    fn reads_back_what_it_wrote_to_the_bit_and_refuses_any_flipped_byte() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last.safetensors");
        let checkpoint = small();
        checkpoint.save(&path).unwrap();
        assert_eq!(Checkpoint::load(&path).unwrap(), checkpoint);
        let first = std::fs::read(&path).unwrap();
        checkpoint.save(&path).unwrap();
        assert!(first == std::fs::read(&path).unwrap(), "the same state has the same bytes");

        for at in (0..4000).chain((4000..first.len()).step_by(37)) {
            let mut bytes = first.clone();
            bytes[at] ^= 0x10;
            std::fs::write(&path, &bytes).unwrap();
            match Checkpoint::load(&path) {
                Err(error) => assert_eq!(error.exit_code(), 3, "byte {at}"),
                Ok(_) => panic!("byte {at} changed unseen"),
            }
        }
        std::fs::write(&path, &first[..first.len() - 5]).unwrap();
        assert!(Checkpoint::load(&path).is_err());
    }
}
