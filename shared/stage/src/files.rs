//! Files that are either complete under their final name or absent.
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::known::{self, Touch};
use crate::{Failure, Result, Temporary};

/// What a manifest knows about a file: its name relative to the manifest's folder, its length and its SHA-256.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRecord {
    /// Relative to the manifest's folder, with `/` between its parts.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// 64 lower-case hex digits.
    pub sha256: String,
}

/// Bytes that are hashed and written together.
const PIECE_BYTES: usize = 1 << 20;
/// Pieces that may wait for each thread.
const PIECES: usize = 1;
/// Bytes written between two syncs: the disk works in parallel with the CPU.
const SYNC_BYTES: usize = 16 << 20;

/// A file written in the background: one thread hashes the pieces, another writes them and a third syncs them while the
/// caller makes the next. Content that fits into one piece needs no thread. Errors surface in a later call.
pub struct WriteBehind {
    file: File,
    piece: Vec<u8>,
    state: Hashing,
}

enum Hashing {
    /// No more than one piece so far.
    Small(Sha256),
    Large(Threads),
    /// Ended, or an error has been returned.
    Over,
}

struct Threads {
    pieces: SyncSender<Vec<u8>>,
    /// Pieces that have been written, to be filled again.
    empty: Mutex<Receiver<Vec<u8>>>,
    hashing: JoinHandle<Sha256>,
    writing: JoinHandle<io::Result<()>>,
}

impl WriteBehind {
    /// Appends to `file`. `hasher` has already seen its content.
    pub fn new(file: File, hasher: Sha256) -> Self {
        WriteBehind { file, piece: Vec::new(), state: Hashing::Small(hasher) }
    }

    /// Appends bytes. The error may come from an earlier call.
    pub fn put(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        if matches!(self.state, Hashing::Over) {
            return Err(over());
        }
        while !bytes.is_empty() {
            if self.piece.len() == PIECE_BYTES {
                self.hand_over()?;
            }
            let (now, later) = bytes.split_at(bytes.len().min(PIECE_BYTES - self.piece.len()));
            self.piece.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    /// Writes what was appended so far: when bytes arrive slowly, a kill should cost few of them.
    pub fn hurry(&mut self) -> io::Result<()> {
        if self.piece.is_empty() { Ok(()) } else { self.hand_over() }
    }

    fn hand_over(&mut self) -> io::Result<()> {
        if let Hashing::Small(hasher) = &mut self.state {
            self.state =
                Hashing::Large(Threads::start(self.file.try_clone()?, std::mem::take(hasher)));
        }
        let Hashing::Large(threads) = &mut self.state else { return Err(over()) };
        let empty = threads.empty.get_mut();
        let next = empty.try_recv().unwrap_or_else(|_| Vec::with_capacity(PIECE_BYTES));
        match threads.pieces.send(std::mem::replace(&mut self.piece, next)) {
            Ok(()) => Ok(()),
            // A thread ended early and knows why.
            Err(_) => self.end().and(Err(io::Error::other("writing ended early"))),
        }
    }

    /// When this returns, everything is in the file, though not yet on disk. Call it once.
    pub fn end(&mut self) -> io::Result<Sha256> {
        if matches!(self.state, Hashing::Large(_)) {
            self.hurry()?;
        }
        match std::mem::replace(&mut self.state, Hashing::Over) {
            Hashing::Small(mut hasher) => {
                hasher.update(&self.piece);
                self.file.write_all(&self.piece)?;
                Ok(hasher)
            }
            Hashing::Large(threads) => threads.join(),
            Hashing::Over => Err(over()),
        }
    }

    /// The file that is written.
    pub fn file(&self) -> &File {
        &self.file
    }
}

fn over() -> io::Error {
    io::Error::other("the file has ended")
}

impl Drop for WriteBehind {
    fn drop(&mut self) {
        if let Hashing::Large(threads) = std::mem::replace(&mut self.state, Hashing::Over) {
            let _ = threads.join();
        }
    }
}

impl Threads {
    fn start(mut file: File, mut hasher: Sha256) -> Self {
        let (pieces, to_hash) = sync_channel::<Vec<u8>>(PIECES);
        let (hashed, to_write) = sync_channel::<Vec<u8>>(PIECES);
        let (written, empty) = sync_channel(2 * PIECES + 3);
        let hashing = std::thread::spawn(move || {
            for piece in to_hash {
                hasher.update(&piece);
                if hashed.send(piece).is_err() {
                    break;
                }
            }
            hasher
        });
        let writing = std::thread::spawn(move || {
            let (mut unsynced, mut syncing) = (0, None);
            for mut piece in to_write {
                file.write_all(&piece)?;
                unsynced += piece.len();
                piece.clear();
                let _ = written.try_send(piece);
                if unsynced < SYNC_BYTES {
                    continue;
                }
                if syncing.is_none() {
                    let (file, (ask, asked)) = (file.try_clone()?, sync_channel::<()>(1));
                    syncing = Some((
                        ask,
                        std::thread::spawn(move || {
                            asked.iter().try_for_each(|()| file.sync_data())
                        }),
                    ));
                }
                if syncing.as_ref().is_some_and(|(ask, _)| ask.try_send(()).is_ok()) {
                    unsynced = 0;
                }
            }
            let Some((ask, syncing)) = syncing else { return Ok(()) };
            drop(ask);
            syncing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        Threads { pieces, empty: Mutex::new(empty), hashing, writing }
    }

    fn join(self) -> io::Result<Sha256> {
        drop(self.pieces);
        let hasher = self.hashing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        self.writing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(hasher)
    }
}

/// Writes under a [temporary](Temporary) name and hashes meanwhile, both in the [background](WriteBehind).
/// [`commit`](Self::commit) syncs, renames and syncs the folder. When dropped before that, it removes what it wrote.
pub struct AtomicFile {
    path: PathBuf,
    /// The writer first: its threads end before the file goes.
    writing: Option<(WriteBehind, Temporary)>,
    bytes: u64,
}

impl AtomicFile {
    /// Opens a temporary beside `path`, which is not touched before [`commit`](Self::commit).
    pub fn create(path: &Path) -> Result<Self> {
        let (temporary, file) = Temporary::file(path).map_err(Failure::writing(path))?;
        let writer = WriteBehind::new(file, Sha256::new());
        Ok(AtomicFile { path: path.to_owned(), writing: Some((writer, temporary)), bytes: 0 })
    }

    /// Writes a small file whole.
    pub fn write(path: &Path, content: &[u8]) -> Result<FileRecord> {
        let mut file = Self::create(path)?;
        file.put(content)?;
        file.commit()
    }

    /// `write_all` with a [`Failure`] as its error.
    pub fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.write_all(bytes).map_err(Failure::writing(&self.path))
    }

    /// For writers (Arrow, parquet) that wrap the I/O error: the failure to report for an error they gave.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file is on disk under its final name when this returns.
    pub fn commit(self) -> Result<FileRecord> {
        self.commit_with(|_| Ok(()))
    }

    /// Like [`commit`](Self::commit); calls `before` with what the file will be, when only the renaming is left to do.
    pub fn commit_with(
        mut self,
        before: impl FnOnce(&FileRecord) -> Result<()>,
    ) -> Result<FileRecord> {
        let failed = || Failure::writing(&self.path);
        let (mut writer, temporary) = self.writing.take().ok_or_else(over).map_err(failed())?;
        let hasher = writer.end().map_err(failed())?;
        let name = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let record = FileRecord { name, bytes: self.bytes, sha256: hex::encode(hasher.finalize()) };
        if hash_again(writer.file()).map_err(failed())? != record.sha256 {
            let found = "another process has written to it while it was being made";
            return Err(failed()(io::Error::other(found)));
        }
        let publish = temporary
            .publish_with(writer.file(), record.bytes, || before(&record).map_err(Stopped::Before));
        publish.map_err(|stopped| match stopped {
            Stopped::Before(failure) => failure,
            Stopped::Io(error) => failed()(error),
        })?;
        let touch = writer.file().metadata().ok().as_ref().and_then(Touch::from);
        known::note(&self.path, touch, &record.sha256);
        Ok(record)
    }
}

/// Why a file did not get its name.
enum Stopped {
    /// What was called just before it failed.
    Before(Failure),
    Io(io::Error),
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Self {
        Stopped::Io(error)
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (writer, _) = self.writing.as_mut().ok_or_else(over)?;
        writer.put(bytes)?;
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    /// Does nothing: [`commit`](Self::commit) writes everything at the latest.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Gives a finished file its final name, where it was not written through [`AtomicFile`]: a download or a link.
pub fn publish_file(temporary: Temporary, path: &Path, bytes: u64) -> Result<()> {
    let publish = || -> io::Result<()> {
        let file = File::options().read(true).write(true).open(temporary.path())?;
        temporary.publish(&file, bytes)
    };
    publish().map_err(Failure::writing(path))
}

/// SHA-256 and length of a file.
pub fn hash_file(path: &Path) -> Result<FileRecord> {
    let before = Touch::of(path);
    let (hasher, bytes) = hash_content(path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let record = FileRecord { name, bytes, sha256: hex::encode(hasher.finalize()) };
    known::note(
        path,
        before.filter(|touch| Touch::of(path).as_ref() == Some(touch)),
        &record.sha256,
    );
    Ok(record)
}

/// The content of a file that was just written, read back from the file: what is published is what was made.
fn hash_again(file: &File) -> io::Result<String> {
    use std::io::Seek;
    let mut file = file;
    file.rewind()?;
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0u8; PIECE_BYTES]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(hasher.finalize())),
            n => hasher.update(buffer.get(..n).unwrap_or_default()),
        }
    }
}

/// A hasher that has seen the whole file, and the file's length. It can continue with what is appended.
pub fn hash_content(path: &Path) -> Result<(Sha256, u64)> {
    let mut file = crate::open(path)?;
    let (mut hasher, mut buffer, mut bytes) = (Sha256::new(), vec![0u8; 1 << 20], 0);
    loop {
        let n = file.read(&mut buffer).map_err(Failure::reading(path))?;
        if n == 0 {
            return Ok((hasher, bytes));
        }
        hasher.update(buffer.get(..n).unwrap_or_default());
        bytes += n as u64;
    }
}

/// SHA-256 of bytes in memory, as the manifests write it.
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Creates a folder and its parents if they are missing.
pub fn create_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(Failure::writing(path))
}

/// Removes a file. It is not an error if there is none.
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
        assert_eq!(
            record.sha256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(record, hash_file(&path).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn files_of_many_pieces_hold_what_was_put_and_go_on_where_they_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        let content: Vec<u8> = (0..2 * SYNC_BYTES + 12_345).map(|i| (i * 7 % 251) as u8).collect();
        for length in [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, content.len()] {
            let mut file = AtomicFile::create(&path).unwrap();
            content[..length].chunks(700_001).for_each(|bytes| file.put(bytes).unwrap());
            let record = file.commit().unwrap();
            assert!(fs::read(&path).unwrap() == content[..length], "{length} bytes");
            assert_eq!((record.bytes, &record), (length as u64, &hash_file(&path).unwrap()));
        }
        let first = PIECE_BYTES + 7;
        fs::write(&path, &content[..first]).unwrap();
        let (hasher, bytes) = hash_content(&path).unwrap();
        assert_eq!(bytes, first as u64);
        let mut file =
            WriteBehind::new(fs::OpenOptions::new().append(true).open(&path).unwrap(), hasher);
        file.put(&content[first..first + 9]).unwrap();
        file.hurry().and_then(|()| file.put(&content[first + 9..])).unwrap();
        assert_eq!(hex::encode(file.end().unwrap().finalize()), sha256(&content));
        assert!(fs::read(&path).unwrap() == content && file.end().is_err());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_is_told_by_a_later_call() {
        let full = || fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut file = WriteBehind::new(full(), Sha256::new());
        let piece = vec![0; PIECE_BYTES];
        let error = (0..20).find_map(|_| file.put(&piece).err()).unwrap();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(file.put(&piece).is_err() && file.end().is_err());
        let mut small = WriteBehind::new(full(), Sha256::new());
        small.put(b"abc").unwrap();
        assert_eq!(small.end().unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
