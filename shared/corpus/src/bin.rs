//! Packed tokens: `train.bin` and `val.bin`.
//!
//! The file is nothing but little-endian ids, `u16` or (above 65,536 vocabulary) `u32`, with EOS after every story:
//! what `numpy.memmap` reads as it is. All that is known about it lies beside it in `NAME.bin.json`.
//!
//! Windows are read, not mapped: a mapped file that somebody shortens ends the process with SIGBUS, without a word and
//! without a checkpoint. A read of one window takes about a microsecond.
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};
use stage::{Action, Failure, Manifest, Result};

const MAKE_PACK: Action = Action::RunAgain("pack");

/// How one id lies in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// Two bytes, little-endian.
    U16,
    /// Four bytes, little-endian.
    U32,
}

impl Dtype {
    /// The narrowest that holds every id of a vocabulary.
    pub fn of(vocab_size: u64) -> Self {
        if vocab_size <= 1 << 16 { Dtype::U16 } else { Dtype::U32 }
    }

    /// Bytes per id.
    pub fn width(self) -> usize {
        match self {
            Dtype::U16 => 2,
            Dtype::U32 => 4,
        }
    }

    /// The name numpy and the sidecar give it.
    pub fn name(self) -> &'static str {
        match self {
            Dtype::U16 => "uint16",
            Dtype::U32 => "uint32",
        }
    }

    fn named(name: &str) -> Option<Self> {
        [Dtype::U16, Dtype::U32].into_iter().find(|dtype| dtype.name() == name)
    }

    /// Appends ids that fit.
    pub fn append(self, ids: &[u32], bytes: &mut Vec<u8>) {
        match self {
            Dtype::U16 => {
                ids.iter().for_each(|&id| bytes.extend_from_slice(&(id as u16).to_le_bytes()))
            }
            Dtype::U32 => ids.iter().for_each(|&id| bytes.extend_from_slice(&id.to_le_bytes())),
        }
    }

    fn read(self, bytes: &[u8], out: &mut [u32]) {
        match self {
            Dtype::U16 => out
                .iter_mut()
                .zip(bytes.as_chunks().0)
                .for_each(|(id, bytes)| *id = u32::from(u16::from_le_bytes(*bytes))),
            Dtype::U32 => out
                .iter_mut()
                .zip(bytes.as_chunks().0)
                .for_each(|(id, bytes)| *id = u32::from_le_bytes(*bytes)),
        }
    }
}

/// Where the sidecar of a bin lies: `train.bin.json` beside `train.bin`.
pub fn sidecar(bin: &Path) -> PathBuf {
    let mut name = bin.file_name().unwrap_or_default().to_owned();
    name.push(".json");
    bin.with_file_name(name)
}

/// One packed file and its sidecar. Shared between threads as it is.
pub struct Bin {
    path: PathBuf,
    manifest: Manifest,
    file: File,
    dtype: Dtype,
    tokens: u64,
    eos: u32,
    vocab_size: u32,
}

impl Bin {
    /// Opens a bin and its sidecar, and checks that they fit in length and dtype. The content is not hashed here:
    /// [`verify`](Self::verify) does that.
    ///
    /// # Errors
    /// Exit code 3 when a file is missing, or the two do not belong together.
    pub fn open(path: &Path) -> Result<Bin> {
        let beside = sidecar(path);
        for file in [path, &beside] {
            if !file.is_file() {
                return Err(Failure::input(
                    file,
                    "not found",
                    "packed tokens and the .json beside them",
                    format_args!("{}, or carry both files", Action::Run("pack")),
                ));
            }
        }
        let manifest = Manifest::read(&beside)?;
        let wrong = |found: String, expected: &str| {
            Err(Failure::input(&beside, found, expected, MAKE_PACK))
        };
        if manifest.stage != "pack-bin" {
            return wrong(
                format!("written by {}", manifest.stage),
                "a sidecar written by pack-bin",
            );
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let Some(record) = manifest.outputs.first() else {
            return wrong("no output in it".into(), "the record of the bin beside it");
        };
        let dtype_name = manifest.facts.get("dtype").and_then(Value::as_str).unwrap_or_default();
        let eos = manifest
            .facts
            .get("eos")
            .and_then(Value::as_u64)
            .and_then(|eos| u32::try_from(eos).ok());
        let vocab_size = manifest
            .tokenizer
            .as_ref()
            .and_then(|tokenizer| u32::try_from(tokenizer.vocab_size).ok());
        let (Some(dtype), Some(eos), Some(vocab_size)) =
            (Dtype::named(dtype_name), eos, vocab_size)
        else {
            return wrong(
                format!("dtype {dtype_name:?}, EOS {eos:?}, vocabulary {vocab_size:?}"),
                "dtype uint16 or uint32, an EOS and a tokenizer",
            );
        };
        if dtype != Dtype::of(u64::from(vocab_size)) {
            return wrong(
                format!("dtype {dtype_name} for a vocabulary of {vocab_size}"),
                Dtype::of(u64::from(vocab_size)).name(),
            );
        }
        let tokens = manifest.count("tokens");
        if tokens.checked_mul(dtype.width() as u64) != Some(record.bytes) {
            return wrong(
                format!("{tokens} tokens in {} bytes of {dtype_name}", record.bytes),
                "a length that is tokens x width",
            );
        }
        let file = stage::open(path)?;
        let length = file.metadata().map_err(Failure::reading(path))?.len();
        if length != record.bytes {
            let expected = format!(
                "{} bytes: {tokens} {dtype_name} tokens, as {name}.json says",
                record.bytes
            );
            return Err(Failure::input(path, format_args!("{length} bytes"), expected, MAKE_PACK));
        }
        Ok(Bin { path: path.to_owned(), file, dtype, tokens, eos, vocab_size, manifest })
    }

    /// Tokens in the file.
    pub fn len(&self) -> u64 {
        self.tokens
    }

    /// Whether there are no tokens.
    pub fn is_empty(&self) -> bool {
        self.tokens == 0
    }

    /// Copies `out.len()` ids from token `start` on. Panics where that was beyond the end when the bin was opened.
    ///
    /// # Errors
    /// Exit code 3 when the file was shortened since; 4 when it cannot be read.
    pub fn copy(&self, start: u64, out: &mut [u32]) -> Result<()> {
        let end = start.checked_add(out.len() as u64).filter(|&end| end <= self.tokens);
        end.unwrap_or_else(|| {
            panic!(
                "tokens {start}+{} are beyond the {} of {}",
                out.len(),
                self.tokens,
                self.path.display()
            )
        });
        let width = self.dtype.width() as u64;
        // A window of the default context fits; a longer copy takes several reads.
        let mut buffer = [0; 4096];
        let mut at = start * width;
        for part in out.chunks_mut(buffer.len() / self.dtype.width()) {
            let (bytes, _) = buffer.split_at_mut(part.len() * self.dtype.width());
            self.read(at, bytes)?;
            self.dtype.read(bytes, part);
            at += bytes.len() as u64;
        }
        Ok(())
    }

    fn read(&self, at: u64, bytes: &mut [u8]) -> Result<()> {
        stage::read_at(&self.file, bytes, at).map_err(|error| {
            if error.kind() != ErrorKind::UnexpectedEof {
                return Failure::reading(&self.path)(error);
            }
            let expected = self.tokens * self.dtype.width() as u64;
            let found = self.file.metadata().map_or(0, |file| file.len());
            Failure::input(
                &self.path,
                format_args!("{found} bytes: it was shortened while it was read"),
                format_args!("{expected} bytes, as when it was opened"),
                MAKE_PACK,
            )
        })
    }

    /// The sidecar: counts `stories`, `tokens`, `bytes` (of text), the tokenizer's record, facts `dtype` and `eos`.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The id after every story.
    pub fn eos(&self) -> u32 {
        self.eos
    }

    /// Every id is below this.
    pub fn vocab_size(&self) -> u32 {
        self.vocab_size
    }

    /// How ids lie in the file.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Hashes the whole content and compares it with the sidecar.
    ///
    /// # Errors
    /// Exit code 3 when they differ; 130 when interrupted on the way.
    pub fn verify(&self) -> Result<()> {
        let mut hasher = Sha256::new();
        let (mut buffer, mut at) = (vec![0; 1 << 20], 0);
        let length = self.tokens * self.dtype.width() as u64;
        while at < length {
            stage::interrupt::check("nothing was changed")?;
            buffer.truncate((length - at).min(1 << 20) as usize);
            self.read(at, &mut buffer)?;
            hasher.update(&buffer);
            at += buffer.len() as u64;
        }
        let found = hex::encode(hasher.finalize());
        let expected = self.manifest.outputs.first().map_or("", |output| &output.sha256);
        if found != expected {
            let remedy = format!("{}, or copy the file again", Action::RunForced("pack"));
            return Err(Failure::input(
                &self.path,
                format_args!("its content has SHA-256 {found}"),
                format_args!("{expected}, as the .json beside it says"),
                remedy,
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;
    use stage::{AtomicFile, TokenizerRecord, Work};

    /// A bin of these ids with its sidecar.
    pub(crate) fn write_bin(path: &Path, ids: &[u32], vocab_size: u64) {
        let mut bytes = Vec::new();
        Dtype::of(vocab_size).append(ids, &mut bytes);
        let record = AtomicFile::write(path, &bytes).unwrap();
        let work =
            Work { stage: "pack-bin", manifest: sidecar(path), inputs: vec![], config: json!({}) };
        let mut manifest = work.manifest(vec![record]).unwrap();
        manifest.counts.insert("tokens".into(), ids.len() as u64);
        manifest.facts.insert("dtype".into(), Dtype::of(vocab_size).name().into());
        manifest.facts.insert("eos".into(), 0.into());
        manifest.tokenizer = Some(TokenizerRecord { sha256: "0".repeat(64), vocab_size });
        work.publish(&manifest).unwrap();
    }

    #[test]
    fn both_dtypes_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        for vocab_size in [65_536, 65_537] {
            // Longer than one read, and not a multiple of one.
            let ids: Vec<u32> = (0..5001).map(|i| (i * 7919) % vocab_size).collect();
            write_bin(&path, &ids, u64::from(vocab_size));
            let bin = Bin::open(&path).unwrap();
            assert_eq!(
                (bin.len(), bin.dtype(), bin.vocab_size()),
                (5001, Dtype::of(u64::from(vocab_size)), vocab_size)
            );
            for (start, length) in [(1, 3), (0, 5001), (4999, 2), (5001, 0), (7, 4097)] {
                let mut out = vec![9; length];
                bin.copy(start as u64, &mut out).unwrap();
                assert_eq!(out, ids[start..start + length]);
            }
            bin.verify().unwrap();
        }
    }

    #[test]
    fn a_bin_that_is_shortened_while_open_is_bad_input() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        write_bin(&path, &(0..1000).collect::<Vec<_>>(), 1000);
        let bin = Bin::open(&path).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(1000).unwrap();
        bin.copy(0, &mut [0; 500]).unwrap();
        for error in [bin.copy(499, &mut [0; 2]).unwrap_err(), bin.verify().unwrap_err()] {
            assert_eq!(error.exit_code(), 3);
            let text = error.to_string();
            assert!(
                text.contains("1000 bytes: it was shortened") && text.contains("2000 bytes"),
                "{text}"
            );
        }
    }

    #[test]
    fn what_does_not_fit_is_bad_input() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        let error = |bin: Result<Bin>| bin.map(drop).unwrap_err();
        assert!(error(Bin::open(&path)).to_string().contains(&Action::Run("pack").to_string()));
        write_bin(&path, &[1, 2, 3], 500);
        std::fs::write(&path, [1, 0, 2, 0]).unwrap();
        let short = error(Bin::open(&path));
        assert_eq!(short.exit_code(), 3);
        assert!(
            short.to_string().contains("4 bytes")
                && short.to_string().contains("6 bytes: 3 uint16"),
            "{short}"
        );
        std::fs::write(&path, [1, 0, 2, 0, 4, 0]).unwrap();
        let changed = Bin::open(&path).unwrap().verify().unwrap_err();
        assert_eq!(changed.exit_code(), 3);
        let mut manifest = Manifest::read(&sidecar(&path)).unwrap();
        manifest.facts.insert("dtype".into(), "uint32".into());
        manifest.write(&sidecar(&path)).unwrap();
        assert!(error(Bin::open(&path)).to_string().contains("uint32 for a vocabulary of 500"));
    }

    #[test]
    #[should_panic(expected = "beyond")]
    fn copying_beyond_the_end_panics() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        write_bin(&path, &[1, 2, 3], 500);
        Bin::open(&path).unwrap().copy(2, &mut [0; 2]).unwrap();
    }
}
