//! Files that are either whole under their final name or not there at all.
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Failure, Result};

/// What a manifest knows of a file: its name relative to the manifest's folder, its length and its SHA-256.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRecord {
    pub name: String,
    pub bytes: u64,
    pub sha256: String,
}

/// Writes beside the final place (`NAME.partial`), hashes on the way, and on [`commit`](Self::commit) syncs,
/// renames and syncs the folder. Dropped before that, it removes what it wrote.
pub struct AtomicFile {
    path: PathBuf,
    temporary: PathBuf,
    writer: Option<BufWriter<File>>,
    hasher: Sha256,
    bytes: u64,
}

impl AtomicFile {
    pub fn create(path: &Path) -> Result<Self> {
        if let Some(folder) = path.parent() {
            create_dir(folder)?;
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".partial");
        let temporary = path.with_file_name(name);
        let file = File::create(&temporary).map_err(Failure::writing(&temporary))?;
        Ok(AtomicFile {
            path: path.to_owned(),
            temporary,
            writer: Some(BufWriter::with_capacity(1 << 20, file)),
            hasher: Sha256::new(),
            bytes: 0,
        })
    }

    /// Writes a small file whole.
    pub fn write(path: &Path, content: &[u8]) -> Result<FileRecord> {
        let mut file = Self::create(path)?;
        file.put(content)?;
        file.commit()
    }

    /// `write_all` with the stage's words for what went wrong.
    pub fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.write_all(bytes).map_err(Failure::writing(&self.path))
    }

    /// For writers (Arrow, parquet) that wrap the I/O error: the failure to report for an error they gave.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Another handle of what is being written, for a thread that syncs it meanwhile. What its syncs report is not
    /// reported again by [`commit`](Self::commit).
    pub fn handle(&self) -> Result<File> {
        let file = self.writer.as_ref().map(|writer| writer.get_ref().try_clone());
        file.unwrap_or_else(|| Err(io::Error::other("already committed"))).map_err(Failure::writing(&self.path))
    }

    pub fn bytes_written(&self) -> u64 {
        self.bytes
    }

    /// The file is on disk under its final name when this returns.
    pub fn commit(mut self) -> Result<FileRecord> {
        let writer = self.writer.take().expect("commit consumes the writer, which only commit takes");
        let publish = || -> io::Result<()> {
            let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.sync_all()?;
            drop(file);
            fs::rename(&self.temporary, &self.path)?;
            sync_folder(&self.path)
        };
        let result = publish().map_err(Failure::writing(&self.path));
        if result.is_err() {
            let _ = fs::remove_file(&self.temporary);
        }
        result?;
        let name = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(FileRecord { name, bytes: self.bytes, sha256: hex(&std::mem::take(&mut self.hasher).finalize()) })
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let writer = self.writer.as_mut().ok_or_else(|| io::Error::other("already committed"))?;
        let written = writer.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.as_mut().map_or(Ok(()), BufWriter::flush)
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            drop(writer.into_parts()); // discards the buffer: nothing more is wanted on disk
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Gives a finished file its final name: synced, renamed, and the folder synced. For what is not written through
/// [`AtomicFile`], such as a download that may go on where it broke.
pub fn publish_file(temporary: &Path, path: &Path) -> Result<()> {
    let publish = || -> io::Result<()> {
        fs::OpenOptions::new().write(true).open(temporary)?.sync_all()?;
        fs::rename(temporary, path)?;
        sync_folder(path)
    };
    publish().map_err(Failure::writing(path))
}

fn sync_folder(path: &Path) -> io::Result<()> {
    // Windows cannot open a folder as a file; there the rename itself is durable enough.
    #[cfg(unix)]
    if let Some(folder) = path.parent() {
        File::open(if folder.as_os_str().is_empty() { Path::new(".") } else { folder })?.sync_all()?;
    }
    let _ = path;
    Ok(())
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// SHA-256 and length of a file, read in 1 MiB pieces.
pub fn hash_file(path: &Path) -> Result<FileRecord> {
    let mut file = File::open(path).map_err(Failure::reading(path))?;
    let (mut hasher, mut buffer, mut bytes) = (Sha256::new(), vec![0u8; 1 << 20], 0);
    loop {
        let n = file.read(&mut buffer).map_err(Failure::reading(path))?;
        if n == 0 {
            break;
        }
        hasher.update(&buffer[..n]);
        bytes += n as u64;
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(FileRecord { name, bytes, sha256: hex(&hasher.finalize()) })
}

/// SHA-256 of bytes in memory, as the manifests write it.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub fn create_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(Failure::writing(path))
}

pub fn read_to_string(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(Failure::reading(path))
}

pub fn remove_if_present(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Failure::writing(path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_file_leaves_nothing_and_a_committed_one_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        let mut file = AtomicFile::create(&path).unwrap();
        file.put(b"half").unwrap();
        drop(file);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);

        let record = AtomicFile::write(&path, b"abc").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"abc");
        assert_eq!(record.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(record, hash_file(&path).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
