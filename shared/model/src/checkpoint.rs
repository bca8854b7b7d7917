//! Checkpoints: one safetensors file with weights, the optimizer's slots and, in its metadata, all else a run needs to
//! go on. The batch of a step is a pure function of seed and step, so the step is the state of the loader.
//!
//! A SHA-256 over all of it stands in the metadata: a damaged file is refused, not trained on. It is taken over the bytes
//! as they are stored, so that a reader needs no second serialisation to repeat it, and numbers that must come back
//! exactly are stored as their bits, not as decimal text.
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use stage::{AtomicFile, Failure, Result};

use crate::{Config, TensorTable};

/// Format 3 knew the two slots of AdamW alone, which it stored as they are stored now. Format 2 had decimal numbers in
/// place of [`bits`]. Both are still read.
const FORMAT: u32 = 4;
const OLDEST_FORMAT: u32 = 2;
const METADATA_KEY: &str = "bedtime";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header<'a> {
    format: u32,
    /// Over the JSON text of the state as it is stored, then name, zero byte and data of each tensor in table order:
    /// weights, then the slots by their names.
    sha256: String,
    #[serde(borrow)]
    state: &'a RawValue,
}

/// What a checkpoint says of its run, beside the tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointState {
    /// Updates done; the next step has this number.
    pub step: u64,
    /// The model's sizes.
    pub config: Config,
    /// The settings that decide the weights.
    pub settings: serde_json::Value,
    /// SHA-256 of the tokenizer.json that the ids are from.
    pub tokenizer_sha256: String,
    /// What computed it, and what it keeps values in; others give other bits.
    pub device: String,
    /// `f32`, `f16` or `bf16`: the activation precision.
    pub precision: String,
    /// Which of the device's kernels: what `Kernels::plan` says.
    #[serde(default)]
    pub plan: String,
    /// What moves from update to update beside the tensors: loss scale, skipped updates, powers of Adam's betas.
    #[serde(with = "bits::f32s")]
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
    #[serde(with = "bits::f64")]
    pub val_loss: f64,
}

/// What an optimizer keeps beside the weights, by name: flat buffers in the tensor table's layout.
pub type Slots = BTreeMap<String, Vec<f32>>;

/// Everything needed to go on.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// What is not a tensor.
    pub state: CheckpointState,
    /// A flat buffer in the tensor table's layout.
    pub weights: Vec<f32>,
    /// The optimizer's.
    pub slots: Slots,
}

/// The names of a slot's tensors begin with this.
fn prefix_of(slot: &str) -> String {
    format!("{slot}.")
}

impl Checkpoint {
    /// Writes beside `path`, syncs, renames.
    pub fn save(&self, path: &Path) -> Result<()> {
        let table = TensorTable::new(&self.state.config);
        let mut views = tensor_views(&table, "", &self.weights)?;
        for (slot, flat) in &self.slots {
            views.extend(tensor_views(&table, &prefix_of(slot), flat)?);
        }
        let unfit = |e: serde_json::Error| Failure::usage(format_args!("checkpoint: {e}"));
        let state = serde_json::value::to_raw_value(&self.state).map_err(unfit)?;
        let sha256 =
            digest(state.get(), views.iter().map(|(name, view)| (name.as_str(), view.data())));
        let header = serde_json::to_string(&Header { format: FORMAT, sha256, state: &state })
            .map_err(unfit)?;
        // One entry only: safetensors writes them in no fixed order, and the same state has to have the same bytes.
        write_safetensors(path, views, HashMap::from([(METADATA_KEY.to_owned(), header)]))
    }

    /// Reads and checks a checkpoint: its form, its hash, its tensors.
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = stage::read(path)?;
        let damaged = |found: String| {
            Failure::input(
                path,
                found,
                "a whole checkpoint of this program",
                "remove it: training goes on from the one before, or starts anew",
            )
        };
        let (_, metadata) =
            SafeTensors::read_metadata(&bytes).map_err(|e| damaged(e.to_string()))?;
        let header = metadata.metadata().as_ref().and_then(|m| m.get(METADATA_KEY));
        let header = header.ok_or_else(|| damaged(format!("no {METADATA_KEY} in its metadata")))?;
        let Header { format, sha256, state: text } =
            serde_json::from_str(header).map_err(|e| damaged(e.to_string()))?;
        if !(OLDEST_FORMAT..=FORMAT).contains(&format) {
            return Err(damaged(format!("checkpoint format {format}")));
        }
        let state: CheckpointState =
            serde_json::from_str(text.get()).map_err(|e| damaged(e.to_string()))?;
        // Before anything is made as large as it says.
        let fits =
            state.config.parameters().is_some_and(|weights| weights * 4 <= bytes.len() as u64);
        if !fits {
            return Err(damaged(format!(
                "the sizes {:?} in a file of {} bytes",
                state.config,
                bytes.len()
            )));
        }
        let tensors = SafeTensors::deserialize(&bytes).map_err(|e| damaged(e.to_string()))?;
        let table = TensorTable::new(&state.config);
        let weights = read_tensors(&table, "", &tensors).map_err(&damaged)?;
        let mut slots = Slots::new();
        for slot in slots_in(&table, &tensors).map_err(&damaged)? {
            let flat = read_tensors(&table, &prefix_of(slot), &tensors).map_err(&damaged)?;
            slots.insert(slot.to_owned(), flat);
        }
        let mut names: Vec<(String, TensorView)> = tensors.tensors();
        let prefixes = std::iter::once(String::new()).chain(slots.keys().map(|s| prefix_of(s)));
        let order: HashMap<String, usize> = prefixes
            .flat_map(|prefix| table.tensors.iter().map(move |t| format!("{prefix}{}", t.name)))
            .enumerate()
            .map(|(i, name)| (name, i))
            .collect();
        names.sort_by_key(|(name, _)| order.get(name).copied().unwrap_or(usize::MAX));
        if digest(text.get(), names.iter().map(|(name, view)| (name.as_str(), view.data())))
            != sha256
        {
            return Err(damaged("its content does not fit its sha256".into()));
        }
        Ok(Checkpoint { state, weights, slots })
    }
}

/// The slots that a file has: what stands before the first tensor's name. Each has every tensor, and there is nothing else.
fn slots_in<'a>(
    table: &TensorTable,
    tensors: &'a SafeTensors,
) -> std::result::Result<BTreeSet<&'a str>, String> {
    let first = table.tensors.first().map_or("", |tensor| &tensor.name);
    let slots: BTreeSet<&str> = tensors
        .names()
        .into_iter()
        .filter_map(|name| name.strip_suffix(first)?.strip_suffix('.'))
        .collect();
    let expected = (1 + slots.len()) * table.tensors.len();
    if tensors.len() != expected {
        let found = tensors.len();
        return Err(format!("{found} tensors, where its sizes and slots make {expected}"));
    }
    Ok(slots)
}

fn digest<'a>(state: &str, tensors: impl Iterator<Item = (&'a str, &'a [u8])>) -> String {
    let mut hasher = Sha256::new();
    hasher.update(state);
    for (name, data) in tensors {
        hasher.update(name.as_bytes());
        hasher.update([0]);
        hasher.update(data);
    }
    hex::encode(hasher.finalize())
}

/// Numbers as the hexadecimal digits of their IEEE 754 bits: what is read back is what was written, whatever parses it.
/// Decimal numbers, as checkpoints of format 2 have them, are read too.
mod bits {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) mod f64 {
        use super::*;

        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Stored {
            Bits(String),
            Decimal(f64),
        }

        pub(crate) fn serialize<S: Serializer>(value: &f64, to: S) -> Result<S::Ok, S::Error> {
            to.serialize_str(&format!("{:016x}", value.to_bits()))
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
            match Stored::deserialize(from)? {
                Stored::Decimal(value) => Ok(value),
                Stored::Bits(text) if text.len() == 16 => {
                    u64::from_str_radix(&text, 16).map(f64::from_bits).map_err(D::Error::custom)
                }
                Stored::Bits(text) => {
                    Err(D::Error::custom(format!("{text:?} is not 16 hexadecimal digits")))
                }
            }
        }
    }

    pub(super) mod f32s {
        use super::*;

        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Stored {
            Bits(String),
            Decimal(Vec<f32>),
        }

        pub(crate) fn serialize<S: Serializer>(values: &[f32], to: S) -> Result<S::Ok, S::Error> {
            to.serialize_str(
                &values.iter().map(|value| format!("{:08x}", value.to_bits())).collect::<String>(),
            )
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
            from: D,
        ) -> Result<Vec<f32>, D::Error> {
            let text = match Stored::deserialize(from)? {
                Stored::Decimal(values) => return Ok(values),
                Stored::Bits(text) => text,
            };
            let word = |digits: &[u8]| {
                let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.len() == 8);
                digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()).map(f32::from_bits)
            };
            let values: Option<Vec<f32>> = text.as_bytes().chunks(8).map(word).collect();
            values.ok_or_else(|| {
                D::Error::custom(format!("{text:?} is not made of 8 hexadecimal digits a number"))
            })
        }
    }
}

/// Views of a flat buffer under the tensors' names. safetensors is little-endian, as every machine this runs on.
#[allow(clippy::indexing_slicing)] // ranges of the table, in a buffer of its length
pub(crate) fn tensor_views<'a>(
    table: &TensorTable,
    prefix: &str,
    flat: &'a [f32],
) -> Result<Vec<(String, TensorView<'a>)>> {
    let view = |t: &crate::Tensor| {
        let bytes = bytemuck::cast_slice(&flat[t.range()]);
        let view = TensorView::new(Dtype::F32, t.shape.clone(), bytes);
        Ok((format!("{prefix}{}", t.name), view.map_err(|e| Failure::usage(e).at(&t.name))?))
    };
    table.tensors.iter().map(view).collect()
}

/// Copies the table's tensors out of a file into a flat buffer. The error says which tensor does not fit.
#[allow(clippy::indexing_slicing)] // ranges of the table, in a buffer of its length
pub(crate) fn read_tensors(
    table: &TensorTable,
    prefix: &str,
    tensors: &SafeTensors,
) -> std::result::Result<Vec<f32>, String> {
    let mut flat = vec![0.0; table.len];
    for t in &table.tensors {
        let name = format!("{prefix}{}", t.name);
        let view = tensors.tensor(&name).map_err(|_| format!("tensor {name} is missing"))?;
        if view.dtype() != Dtype::F32 || view.shape() != t.shape {
            return Err(format!(
                "tensor {name} is {:?} {:?}, expected F32 {:?}",
                view.dtype(),
                view.shape(),
                t.shape
            ));
        }
        bytemuck::cast_slice_mut(&mut flat[t.range()]).copy_from_slice(view.data());
    }
    Ok(flat)
}

pub(crate) fn write_safetensors(
    path: &Path,
    views: Vec<(String, TensorView)>,
    metadata: HashMap<String, String>,
) -> Result<()> {
    let bytes =
        safetensors::serialize(views, Some(metadata)).map_err(|e| Failure::usage(e).file(path))?;
    AtomicFile::write(path, &bytes).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Checkpoint {
        let section = stage::config::Model {
            n_layer: 1,
            n_head: 2,
            n_kv_head: None,
            d_model: 8,
            d_mlp: 12,
            context: 8,
        };
        let config = Config::new(&section, 260);
        let table = TensorTable::new(&config);
        let weights = crate::initial_weights(&table, 1);
        let state = CheckpointState {
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
        Checkpoint {
            state,
            slots: Slots::from([
                ("adam_m".into(), weights.iter().map(|w| w * 0.1).collect()),
                ("adam_v".into(), weights.iter().map(|w| w * w).collect()),
            ]),
            weights,
        }
    }

    /// The state after `step` updates, as training has it: powers of the betas go through every magnitude down to zero.
    fn at_step(step: u64) -> Checkpoint {
        let mut checkpoint = small();
        let power = |beta: f32| (0..step).fold(1.0f32, |power, _| power * beta);
        checkpoint.state.step = step;
        checkpoint.state.update =
            vec![power(0.9), power(0.95), 65_536.0, 1.0 / (step as f32 + 1.0)];
        checkpoint.state.best = Some(Best { step, val_loss: 9.0 * 0.999f64.powi(step as i32) });
        checkpoint
    }

    fn bits(state: &CheckpointState) -> (Vec<u32>, Option<u64>) {
        (
            state.update.iter().map(|value| value.to_bits()).collect(),
            state.best.map(|best| best.val_loss.to_bits()),
        )
    }

    #[test]
    fn every_step_saves_and_loads() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last.safetensors");
        for step in 0..=5_000 {
            let checkpoint = at_step(step);
            checkpoint.save(&path).unwrap();
            let read =
                Checkpoint::load(&path).unwrap_or_else(|error| panic!("step {step}: {error}"));
            assert!(
                bits(&read.state) == bits(&checkpoint.state) && read == checkpoint,
                "step {step}"
            );
        }
    }

    #[test]
    fn states_of_any_magnitude_come_back_to_the_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last.safetensors");
        let mut random = stage::Random::new(3, "states", 0);
        for number in 0..3_000 {
            let mut checkpoint = small();
            // Any bits: subnormal, huge, infinite and not a number, too.
            checkpoint.state.update = (0..8).map(|_| f32::from_bits(random.u64() as u32)).collect();
            checkpoint.state.best =
                Some(Best { step: random.u64(), val_loss: f64::from_bits(random.u64()) });
            let decimal = f64::from_bits(random.u64());
            let lr = if decimal.is_finite() { decimal } else { f64::from_bits(number) };
            checkpoint.state.settings =
                serde_json::json!({ "lr": lr, "clip": lr as f32, "seed": random.u64() });
            checkpoint.save(&path).unwrap();
            let read = Checkpoint::load(&path)
                .unwrap_or_else(|error| panic!("{:?}: {error}", checkpoint.state));
            assert_eq!(bits(&read.state), bits(&checkpoint.state));
            assert_eq!(read.state.settings, checkpoint.state.settings);
        }
    }

    /// What 0.1 wrote: decimal numbers, hashed as a fast parser that may be one bit off had read them back.
    #[test]
    fn checkpoints_of_format_2_are_read_whatever_their_numbers_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last.safetensors");
        let checkpoint = at_step(500);
        let table = TensorTable::new(&checkpoint.state.config);
        // A number that this text is not the shortest form of: parsing and printing it gives another text.
        for power in
            ["1.3219e-23", "1.32190000000000000001e-23", "7.2740000000000004e-12", "1e-46", "0.9"]
        {
            let mut state = serde_json::to_value(&checkpoint.state).unwrap();
            state["update"] = serde_json::json!([0.25, 65_536.0]);
            state["best"]["val_loss"] = 2.5.into();
            let text = state.to_string().replace("0.25", power);
            let views = || {
                ["", "adam_m.", "adam_v."]
                    .into_iter()
                    .zip(std::iter::once(&checkpoint.weights).chain(checkpoint.slots.values()))
                    .flat_map(|(prefix, flat)| tensor_views(&table, prefix, flat).unwrap())
                    .collect::<Vec<_>>()
            };
            let sha256 =
                digest(&text, views().iter().map(|(name, view)| (name.as_str(), view.data())));
            let header = format!(r#"{{"format":2,"sha256":"{sha256}","state":{text}}}"#);
            write_safetensors(&path, views(), HashMap::from([(METADATA_KEY.to_owned(), header)]))
                .unwrap();
            let read = Checkpoint::load(&path).unwrap_or_else(|error| panic!("{power}: {error}"));
            assert_eq!(read.state.update, [power.parse::<f32>().unwrap(), 65_536.0]);
            assert_eq!(read.state.best, Some(Best { step: 500, val_loss: 2.5 }));
            assert!(read.weights == checkpoint.weights && read.slots == checkpoint.slots);
        }
    }

    #[test]
    fn slots_come_back_whatever_their_number_and_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last.safetensors");
        for names in [&[][..], &["momentum"], &["a", "a.b", "adam_m", "model"]] {
            let mut checkpoint = small();
            checkpoint.slots = names
                .iter()
                .enumerate()
                .map(|(i, name)| (name.to_string(), vec![i as f32; checkpoint.weights.len()]))
                .collect();
            checkpoint.save(&path).unwrap();
            assert_eq!(Checkpoint::load(&path).unwrap(), checkpoint, "{names:?}");
        }
        // A slot that lacks tensors, and a tensor that belongs to none.
        let checkpoint = small();
        let table = TensorTable::new(&checkpoint.state.config);
        let text = serde_json::to_string(&checkpoint.state).unwrap();
        for extra in ["adam_m.model.layers.0.self_attn.q_proj.weight", "other"] {
            let mut views = tensor_views(&table, "", &checkpoint.weights).unwrap();
            let view = views[0].1.clone();
            views.push((extra.to_owned(), view));
            let sha256 =
                digest(&text, views.iter().map(|(name, view)| (name.as_str(), view.data())));
            let header = format!(r#"{{"format":4,"sha256":"{sha256}","state":{text}}}"#);
            write_safetensors(&path, views, HashMap::from([(METADATA_KEY.to_owned(), header)]))
                .unwrap();
            let error = Checkpoint::load(&path).unwrap_err();
            assert!(
                error.exit_code() == 3 && error.to_string().contains("tensors, where"),
                "{error}"
            );
        }
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
