//! Packing: stories one after the other, EOS after each, in an order that neither shards nor memory decide.
//!
//! Shuffled means sorted by a 64-bit key that each story has from (seed, its index). What does not fit in memory
//! is dealt out by the top bits of the key to bucket files, each sorted by itself: a radix sort on disk.
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use stage::{AtomicFile, Failure, FileRecord, Random, Result};

use crate::bin::Dtype;

/// Bytes of stories held in memory at once.
pub const BUCKET_BYTES: u64 = 32 << 20;
/// Bits of the key that one level of buckets takes: at most 256 files are open.
const LEVEL_BITS: u32 = 8;
const BUCKET_BUFFER: usize = 64 << 10;
const KEPT: &str = "packed files from before are as they were";

/// Writes one bin.
pub struct Packer {
    out: AtomicFile,
    dtype: Dtype,
    eos: u32,
    /// None: as published.
    seed: Option<u64>,
    buckets: Option<Buckets>,
    pending: Vec<u8>,
    limit: u64,
    stories: u64,
    tokens: u64,
}

/// What lies in a bucket of each story: key, index, tokens; then the ids as they will be in the bin.
const HEADER: usize = 24;

impl Packer {
    /// `seed` is that of the order of stories, None keeps them as they come. `bytes` is about what they will take;
    /// above `limit` bytes (usually [`BUCKET_BYTES`]) they go through bucket files in a hidden folder beside `path`.
    pub fn create(path: &Path, dtype: Dtype, eos: u32, seed: Option<u64>, bytes: u64, limit: u64) -> Result<Self> {
        let out = AtomicFile::create(path)?;
        let mut name = std::ffi::OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(".buckets");
        let folder = path.with_file_name(name);
        let _ = fs::remove_dir_all(&folder); // of a run that was killed
        let buckets = (seed.is_some() && bytes > limit).then(|| Buckets::create(folder, 0, bytes / limit.max(1))).transpose()?;
        Ok(Packer { out, dtype, eos, seed, buckets, pending: Vec::new(), limit: limit.max(1), stories: 0, tokens: 0 })
    }

    /// Takes the next story.
    pub fn push(&mut self, ids: &[u32]) -> Result<()> {
        if self.stories.is_multiple_of(1024) {
            stage::interrupt::check(KEPT)?;
        }
        let index = self.stories;
        self.stories += 1;
        self.tokens += ids.len() as u64 + 1;
        let Some(seed) = self.seed else {
            self.pending.clear();
            self.dtype.append(ids, &mut self.pending);
            self.dtype.append(&[self.eos], &mut self.pending);
            return self.out.put(&self.pending);
        };
        let key = Random::new(seed, "order", index).u64();
        if self.buckets.is_some() {
            self.pending.clear();
        }
        for number in [key, index, ids.len() as u64] {
            self.pending.extend_from_slice(&number.to_le_bytes());
        }
        self.dtype.append(ids, &mut self.pending);
        match &mut self.buckets {
            Some(buckets) => buckets.put(key, &self.pending),
            None => Ok(()),
        }
    }

    /// Tokens so far, EOS included.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// The bin is on disk when this returns.
    pub fn finish(mut self) -> Result<FileRecord> {
        match self.buckets.take() {
            Some(buckets) => self.empty(buckets)?,
            None if self.seed.is_some() => {
                let stories = std::mem::take(&mut self.pending);
                self.write_sorted(&stories)?;
            }
            None => {}
        }
        stage::interrupt::check(KEPT)?;
        self.out.commit()
    }

    /// Writes the stories of all buckets in the order of their keys. A bucket that is itself too large is dealt out again.
    fn empty(&mut self, mut buckets: Buckets) -> Result<()> {
        let deeper = buckets.shift + buckets.bits;
        for (path, bytes, stories) in buckets.close()? {
            stage::interrupt::check(KEPT)?;
            // Buckets vary by chance; only those clearly over the limit are worth another pass.
            if bytes > 2 * self.limit && stories > 1 && deeper < 64 {
                let mut inner = Buckets::create(path.with_extension("inner"), deeper, bytes / self.limit)?;
                let mut file = std::io::BufReader::with_capacity(1 << 20, File::open(&path).map_err(Failure::reading(&path))?);
                let mut story = Vec::new();
                while let Some(key) = read_story(&mut file, self.dtype, &mut story).map_err(Failure::reading(&path))? {
                    inner.put(key, &story)?;
                }
                stage::remove_if_present(&path)?;
                self.empty(inner)?;
            } else {
                let stories = fs::read(&path).map_err(Failure::reading(&path))?;
                stage::remove_if_present(&path)?;
                self.write_sorted(&stories)?;
            }
        }
        Ok(())
    }

    fn write_sorted(&mut self, stories: &[u8]) -> Result<()> {
        let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| stories[at + i]));
        let (mut at, mut order) = (0, Vec::new());
        while at < stories.len() {
            let end = at + HEADER + number(at + 16) as usize * self.dtype.width();
            order.push((number(at), number(at + 8), at + HEADER..end));
            at = end;
        }
        order.sort_unstable_by_key(|(key, index, _)| (*key, *index));
        let mut eos = Vec::new();
        self.dtype.append(&[self.eos], &mut eos);
        for (_, _, ids) in order {
            self.out.put(&stories[ids])?;
            self.out.put(&eos)?;
        }
        Ok(())
    }
}

/// Reads one story with its header into `story` and returns its key; None at the end.
fn read_story(file: &mut impl std::io::BufRead, dtype: Dtype, story: &mut Vec<u8>) -> std::io::Result<Option<u64>> {
    if file.fill_buf()?.is_empty() {
        return Ok(None);
    }
    story.resize(HEADER, 0);
    file.read_exact(story)?;
    let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| story[at + i]));
    let (key, tokens) = (number(0), number(16));
    story.resize(HEADER + tokens as usize * dtype.width(), 0);
    file.read_exact(&mut story[HEADER..])?;
    Ok(Some(key))
}

/// One level of bucket files, removed with their folder when dropped.
struct Buckets {
    folder: PathBuf,
    /// Bits of the key that outer levels took, and this one takes.
    shift: u32,
    bits: u32,
    open: Vec<Option<Bucket>>,
}

struct Bucket {
    file: BufWriter<File>,
    path: PathBuf,
    bytes: u64,
    stories: u64,
}

impl Buckets {
    /// About `wanted` buckets: a power of two, at most 256.
    fn create(folder: PathBuf, shift: u32, wanted: u64) -> Result<Self> {
        stage::create_dir(&folder)?;
        let bits = wanted.max(1).next_power_of_two().ilog2().clamp(1, LEVEL_BITS.min(64 - shift));
        Ok(Buckets { folder, shift, bits, open: (0..1 << bits).map(|_| None).collect() })
    }

    fn put(&mut self, key: u64, story: &[u8]) -> Result<()> {
        let index = ((key << self.shift) >> (64 - self.bits)) as usize;
        let bucket = match &mut self.open[index] {
            Some(bucket) => bucket,
            unused => {
                let path = self.folder.join(format!("{index:03}"));
                let file = File::create(&path).map_err(Failure::writing(&path))?;
                unused.insert(Bucket { file: BufWriter::with_capacity(BUCKET_BUFFER, file), path, bytes: 0, stories: 0 })
            }
        };
        bucket.bytes += story.len() as u64;
        bucket.stories += 1;
        bucket.file.write_all(story).map_err(Failure::writing(&bucket.path))
    }

    /// Path, bytes and stories of the buckets that hold any, in the order of their keys.
    fn close(&mut self) -> Result<Vec<(PathBuf, u64, u64)>> {
        let close = |mut bucket: Bucket| {
            bucket.file.flush().map_err(Failure::writing(&bucket.path))?;
            Ok((bucket.path, bucket.bytes, bucket.stories))
        };
        std::mem::take(&mut self.open).into_iter().flatten().map(close).collect()
    }
}

impl Drop for Buckets {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(stories: &[Vec<u32>], dtype: Dtype, seed: Option<u64>, limit: u64) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        let bytes = stories.iter().map(|ids| (ids.len() as u64 + 1) * dtype.width() as u64).sum();
        let mut packer = Packer::create(&path, dtype, 0, seed, bytes, limit).unwrap();
        stories.iter().for_each(|ids| packer.push(ids).unwrap());
        assert_eq!(packer.buckets.is_some(), seed.is_some() && bytes > limit);
        assert_eq!(packer.tokens() * dtype.width() as u64, bytes);
        let record = packer.finish().unwrap();
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
        let mut packer = Packer::create(&folder.path().join("a.bin"), Dtype::U16, 0, Some(1), 1000, 10).unwrap();
        packer.push(&[1, 2, 3]).unwrap();
        drop(packer);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
