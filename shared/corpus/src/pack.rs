//! Packing: stories one after the other, EOS after each, in an order that neither shards, threads nor memory decide.
//!
//! Shuffled means sorted by a 64-bit key that each story has from (seed, its index). What does not fit in memory
//! is dealt out by the top bits of the key to bucket files, each sorted by itself: a radix sort on disk. Many threads
//! deal; then one sorts while another hashes and writes.
use std::fs::{self, File};
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard};
use std::thread::JoinHandle;

use memmap2::MmapOptions;
use stage::{AtomicFile, Failure, FileRecord, Random, Result};

use crate::bin::Dtype;

/// Bytes of stories sorted in memory at once, at most; less than that needs no disk.
pub const BUCKET_BYTES: u64 = 32 << 20;
/// Buckets are meant to be that much smaller: sorting goes to and fro in them, and the next is read while one is written.
const SMALLER: u64 = 8;
/// Bits of the key that one level of buckets takes: at most 256 files are open.
const LEVEL_BITS: u32 = 8;
/// Bytes that one thread keeps of one bucket.
const LANE_BYTES: usize = 32 << 10;
/// Bytes handed to the thread that hashes and writes, and how many such pieces may wait for it.
const PIECE_BYTES: usize = 2 << 20;
const PIECES: usize = 2;
/// Bytes written between two syncs: the disk works while the processor does.
const SYNC_BYTES: usize = 16 << 20;
const KEPT: &str = "packed files from before are as they were";

/// Writes one bin.
pub struct Packer {
    output: Output,
    eos: Vec<u8>,
    seed: u64,
    /// None: as published.
    buckets: Option<Buckets>,
    limit: u64,
}

/// What lies before the ids of each story in a bucket: key, index, bytes.
const HEADER: usize = 24;

impl Packer {
    /// `seed` is that of the order of stories, None keeps them as they come. `bytes` is about what they will take;
    /// above `limit` bytes (usually [`BUCKET_BYTES`]) they go through bucket files in a hidden folder beside `path`.
    pub fn create(path: &Path, dtype: Dtype, eos: u32, seed: Option<u64>, bytes: u64, limit: u64) -> Result<Self> {
        let output = Output::new(AtomicFile::create(path)?)?;
        let mut name = std::ffi::OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(".buckets");
        let folder = path.with_file_name(name);
        let _ = fs::remove_dir_all(&folder); // of a run that was killed
        let limit = limit.max(1);
        let buckets = match seed {
            None => None,
            Some(_) if bytes > limit => Some(Buckets::on_disk(folder, 0, bytes * SMALLER / limit)?),
            Some(_) => Some(Buckets::in_memory()),
        };
        let mut eos_bytes = Vec::new();
        dtype.append(&[eos], &mut eos_bytes);
        Ok(Packer { output, eos: eos_bytes, seed: seed.unwrap_or_default(), buckets, limit })
    }

    /// Takes the next story of a bin that is packed as published: its ids as they will lie in the bin.
    pub fn append(&mut self, ids: &[u8]) -> Result<()> {
        self.output.put(ids, &self.eos)
    }

    /// Takes stories of a shuffled bin, in any order; one for each thread. None where the order is as published.
    pub fn dealer(&self) -> Option<Dealer<'_>> {
        let buckets = self.buckets.as_ref()?;
        Some(Dealer { buckets, seed: self.seed, lanes: (0..buckets.all.len()).map(|_| (Vec::new(), 0)).collect() })
    }

    /// The bin is on disk when this returns.
    pub fn finish(mut self) -> Result<FileRecord> {
        if let Some(buckets) = self.buckets.take() {
            self.empty(buckets)?;
        }
        let file = self.output.end()?;
        stage::interrupt::check(KEPT)?;
        file.commit()
    }

    /// Writes the stories of all buckets in the order of their keys. A bucket that is itself too large is dealt out again.
    fn empty(&mut self, mut buckets: Buckets) -> Result<()> {
        let deeper = buckets.shift + buckets.bits;
        for bucket in std::mem::take(&mut buckets.all) {
            stage::interrupt::check(KEPT)?;
            let bucket = bucket.into_inner().unwrap_or_else(|e| e.into_inner());
            match bucket.place {
                Place::Memory(stories) => self.write_sorted(&stories)?,
                Place::Disk(_, None) => {}
                Place::Disk(path, Some(_)) if bucket.bytes > self.limit && bucket.stories > 1 && deeper < 64 => {
                    let inner = Buckets::on_disk(path.with_extension("inner"), deeper, bucket.bytes * SMALLER / self.limit)?;
                    let mut file = BufReader::with_capacity(1 << 20, File::open(&path).map_err(Failure::reading(&path))?);
                    let mut story = Vec::new();
                    while let Some(key) = read_story(&mut file, &mut story).map_err(Failure::reading(&path))? {
                        inner.put(inner.index(key), &story, 1)?;
                    }
                    stage::remove_if_present(&path)?;
                    self.empty(inner)?;
                }
                Place::Disk(path, Some(_)) => {
                    let file = File::open(&path).map_err(Failure::reading(&path))?;
                    // SAFETY: nobody else knows the hidden file, and nobody writes to it any more.
                    let stories = unsafe { MmapOptions::new().populate().map(&file) }.map_err(Failure::reading(&path))?;
                    self.write_sorted(&stories)?;
                    drop(stories);
                    stage::remove_if_present(&path)?;
                }
            }
        }
        Ok(())
    }

    fn write_sorted(&mut self, stories: &[u8]) -> Result<()> {
        let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| stories[at + i]));
        let (mut at, mut order) = (0, Vec::new());
        while at < stories.len() {
            let end = at + HEADER + number(at + 16) as usize;
            order.push((number(at), number(at + 8), at + HEADER..end));
            at = end;
        }
        order.sort_unstable_by_key(|(key, index, _)| (*key, *index));
        order.into_iter().try_for_each(|(_, _, ids)| self.output.put(&stories[ids], &self.eos))
    }
}

/// Deals out the stories that one thread reads.
pub struct Dealer<'a> {
    buckets: &'a Buckets,
    seed: u64,
    /// What is not yet in its bucket, and how many stories that is.
    lanes: Vec<(Vec<u8>, u64)>,
}

impl Dealer<'_> {
    /// Takes the story of this index among all of the bin: its ids as they will lie there.
    pub fn push(&mut self, index: u64, ids: &[u8]) -> Result<()> {
        let key = Random::new(self.seed, "order", index).u64();
        let bucket = self.buckets.index(key);
        let (lane, stories) = &mut self.lanes[bucket];
        *stories += 1;
        for number in [key, index, ids.len() as u64] {
            lane.extend_from_slice(&number.to_le_bytes());
        }
        lane.extend_from_slice(ids);
        if lane.len() < LANE_BYTES {
            return Ok(());
        }
        self.flush(bucket)
    }

    fn flush(&mut self, bucket: usize) -> Result<()> {
        stage::interrupt::check(KEPT)?;
        let (lane, stories) = &mut self.lanes[bucket];
        self.buckets.put(bucket, lane, std::mem::take(stories))?;
        lane.clear();
        lane.shrink_to(2 * LANE_BYTES); // after a story that was longer than all others
        Ok(())
    }

    /// All it took is in the buckets when this returns.
    pub fn end(mut self) -> Result<()> {
        (0..self.lanes.len()).try_for_each(|bucket| self.flush(bucket))
    }
}

/// Reads one story with its header into `story` and returns its key; None at the end.
fn read_story(file: &mut impl std::io::BufRead, story: &mut Vec<u8>) -> std::io::Result<Option<u64>> {
    if file.fill_buf()?.is_empty() {
        return Ok(None);
    }
    story.resize(HEADER, 0);
    file.read_exact(story)?;
    let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| story[at + i]));
    let (key, bytes) = (number(0), number(16));
    story.resize(HEADER + bytes as usize, 0);
    file.read_exact(&mut story[HEADER..])?;
    Ok(Some(key))
}

/// One level of buckets. Those on disk are removed with their folder when dropped.
struct Buckets {
    folder: Option<PathBuf>,
    /// Bits of the key that outer levels took, and this one takes.
    shift: u32,
    bits: u32,
    all: Vec<Mutex<Bucket>>,
}

struct Bucket {
    place: Place,
    bytes: u64,
    stories: u64,
}

enum Place {
    Memory(Vec<u8>),
    /// The file is made with the first story.
    Disk(PathBuf, Option<File>),
}

impl Buckets {
    /// A single one.
    fn in_memory() -> Self {
        let bucket = Bucket { place: Place::Memory(Vec::new()), bytes: 0, stories: 0 };
        Buckets { folder: None, shift: 0, bits: 0, all: vec![Mutex::new(bucket)] }
    }

    /// About `wanted` buckets: a power of two, at most 256.
    fn on_disk(folder: PathBuf, shift: u32, wanted: u64) -> Result<Self> {
        stage::create_dir(&folder)?;
        let bits = wanted.max(1).next_power_of_two().ilog2().clamp(1, LEVEL_BITS.min(64 - shift));
        let bucket = |index| Bucket { place: Place::Disk(folder.join(format!("{index:03}")), None), bytes: 0, stories: 0 };
        let all = (0..1 << bits).map(|index| Mutex::new(bucket(index))).collect();
        Ok(Buckets { folder: Some(folder), shift, bits, all })
    }

    fn index(&self, key: u64) -> usize {
        (key << self.shift).checked_shr(64 - self.bits).unwrap_or(0) as usize
    }

    /// Appends whole stories with their headers.
    fn put(&self, index: usize, stories: &[u8], count: u64) -> Result<()> {
        if stories.is_empty() {
            return Ok(());
        }
        let mut bucket = self.lock(index);
        bucket.bytes += stories.len() as u64;
        bucket.stories += count;
        match &mut bucket.place {
            Place::Memory(all) => all.extend_from_slice(stories),
            Place::Disk(path, file) => {
                let file = match file {
                    Some(file) => file,
                    None => file.insert(File::create(&path).map_err(Failure::writing(path))?),
                };
                file.write_all(stories).map_err(Failure::writing(path))?;
            }
        }
        Ok(())
    }

    fn lock(&self, index: usize) -> MutexGuard<'_, Bucket> {
        self.all[index].lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Drop for Buckets {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

/// The file, hashed and written by a thread of its own, and synced by another while more is written. Dropped before
/// [`end`](Self::end), it leaves nothing.
struct Output {
    pieces: Option<SyncSender<Vec<u8>>>,
    /// Pieces that have been written, to be filled again.
    empty: Mutex<Receiver<Vec<u8>>>,
    writer: Option<JoinHandle<Result<AtomicFile>>>,
    piece: Vec<u8>,
}

impl Output {
    fn new(mut file: AtomicFile) -> Result<Self> {
        let (pieces, waiting) = sync_channel::<Vec<u8>>(PIECES);
        let (done, empty) = sync_channel(PIECES + 1);
        let (handle, path) = (file.handle()?, file.path().to_owned());
        let writer = std::thread::spawn(move || {
            let (written, to_sync) = sync_channel::<()>(1);
            let syncer = std::thread::spawn(move || to_sync.iter().try_for_each(|()| handle.sync_data()));
            let mut unsynced = 0;
            for mut piece in waiting {
                stage::interrupt::check(KEPT)?;
                file.put(&piece)?;
                unsynced += piece.len();
                if unsynced >= SYNC_BYTES && written.try_send(()).is_ok() {
                    unsynced = 0;
                }
                piece.clear();
                let _ = done.try_send(piece);
            }
            drop(written);
            let synced = syncer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            synced.map_err(Failure::writing(&path))?;
            Ok(file)
        });
        Ok(Output { pieces: Some(pieces), empty: Mutex::new(empty), writer: Some(writer), piece: Vec::with_capacity(PIECE_BYTES) })
    }

    fn put(&mut self, ids: &[u8], eos: &[u8]) -> Result<()> {
        if self.piece.len() + ids.len() + eos.len() > PIECE_BYTES && !self.piece.is_empty() {
            let empty = self.empty.get_mut().unwrap_or_else(|e| e.into_inner());
            let next = empty.try_recv().unwrap_or_else(|_| Vec::with_capacity(PIECE_BYTES));
            self.hand_over(next)?;
        }
        self.piece.extend_from_slice(ids);
        self.piece.extend_from_slice(eos);
        Ok(())
    }

    fn hand_over(&mut self, next: Vec<u8>) -> Result<()> {
        let piece = std::mem::replace(&mut self.piece, next);
        match self.pieces.as_ref().map(|pieces| pieces.send(piece)) {
            Some(Ok(())) => Ok(()),
            // The writer ended early: it knows why.
            _ => self.join().and(Err(Failure::try_again("writing ended early\n  remedy: run the same command again"))),
        }
    }

    fn end(&mut self) -> Result<AtomicFile> {
        self.hand_over(Vec::new())?;
        self.join()
    }

    fn join(&mut self) -> Result<AtomicFile> {
        self.pieces = None;
        let gone = || Failure::try_again("writing ended early\n  remedy: run the same command again");
        let writer = self.writer.take().ok_or_else(gone)?;
        writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.pieces = None;
        if let Some(writer) = self.writer.take() {
            drop(writer.join()); // with the file, which is then removed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn as_bytes(ids: &[u32], dtype: Dtype) -> Vec<u8> {
        let mut bytes = Vec::new();
        dtype.append(ids, &mut bytes);
        bytes
    }

    fn pack(stories: &[Vec<u32>], dtype: Dtype, seed: Option<u64>, limit: u64) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        let bytes = stories.iter().map(|ids| (ids.len() as u64 + 1) * dtype.width() as u64).sum();
        let mut packer = Packer::create(&path, dtype, 0, seed, bytes, limit).unwrap();
        let on_disk = packer.buckets.as_ref().is_some_and(|buckets| buckets.folder.is_some());
        assert_eq!(on_disk, seed.is_some() && bytes > limit);
        let packed: Vec<Vec<u8>> = stories.iter().map(|ids| as_bytes(ids, dtype)).collect();
        if seed.is_none() {
            packed.iter().for_each(|ids| packer.append(ids).unwrap());
        } else {
            // Two threads, the second with the first half of the stories.
            std::thread::scope(|scope| {
                for half in [1, 0] {
                    let mut dealer = packer.dealer().unwrap();
                    let packed = &packed;
                    let stories = packed.iter().enumerate().filter(move |(i, _)| i * 2 / packed.len() == half);
                    scope.spawn(move || {
                        stories.for_each(|(index, ids)| dealer.push(index as u64, ids).unwrap());
                        dealer.end().unwrap();
                    });
                }
            });
        }
        let record = packer.finish().unwrap();
        assert_eq!(record.bytes, bytes);
        assert_eq!(record, stage::hash_file(&path).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "buckets are left");
        fs::read(&path).unwrap()
    }

    fn stories() -> Vec<Vec<u32>> {
        (0..3000u32).map(|i| (0..i % 11).map(|j| 1 + (i * 7 + j) % 60_000).collect()).collect()
    }

    #[test]
    fn buckets_of_any_size_give_the_order_that_memory_gives() {
        for dtype in [Dtype::U16, Dtype::U32] {
            let whole = pack(&stories(), dtype, Some(1), 1 << 30);
            for limit in [50_000, 5_000, 300, 1] {
                assert!(pack(&stories(), dtype, Some(1), limit) == whole, "{limit} bytes a bucket");
            }
            assert_ne!(whole, pack(&stories(), dtype, Some(2), 1 << 30));
        }
    }

    #[test]
    fn a_shuffle_keeps_every_story_and_as_published_keeps_their_order() {
        let split = |bytes: &[u8]| {
            let ids: Vec<u32> = bytes.chunks(2).map(|b| u32::from(u16::from_le_bytes([b[0], b[1]]))).collect();
            assert_eq!(ids.last(), Some(&0));
            ids[..ids.len() - 1].split(|&id| id == 0).map(<[u32]>::to_vec).collect::<Vec<_>>()
        };
        let published = split(&pack(&stories(), Dtype::U16, None, 1));
        assert_eq!(published, stories());
        let mut shuffled = split(&pack(&stories(), Dtype::U16, Some(1), 1 << 30));
        let moved = shuffled.iter().zip(&published).filter(|(a, b)| a != b).count();
        assert!(moved > 2900, "{moved}");
        shuffled.sort();
        let mut sorted = published;
        sorted.sort();
        assert_eq!(shuffled, sorted);
    }

    #[test]
    fn the_order_is_that_of_the_keys() {
        let packed = pack(&[vec![10], vec![11], vec![12]], Dtype::U16, Some(5), 1 << 20);
        let mut expected: Vec<(u64, u16)> = (0..3).map(|i| (Random::new(5, "order", i).u64(), 10 + i as u16)).collect();
        expected.sort();
        let ids: Vec<u16> = packed.chunks(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect();
        assert_eq!(ids, expected.iter().flat_map(|&(_, id)| [id, 0]).collect::<Vec<_>>());
    }

    #[test]
    fn an_abandoned_pack_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let packer = Packer::create(&folder.path().join("a.bin"), Dtype::U16, 0, Some(1), 1000, 10).unwrap();
        let mut dealer = packer.dealer().unwrap();
        dealer.push(0, &[1, 0, 2, 0, 3, 0]).unwrap();
        dealer.end().unwrap();
        assert!(fs::read_dir(folder.path()).unwrap().count() > 0);
        drop(packer);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
