//! Packing: stories one after the other, EOS after each, in an order that neither shards, threads nor memory decide.
//!
//! Shuffled means sorted by a 64-bit key that each story has from (seed, its index). What does not fit in memory
//! is dealt out by the top bits of the key to bucket files, each sorted by itself: a radix sort on disk. Many threads
//! deal; then one sorts while others hash and write.
//!
//! A bucket is a row of pages, as databases slot them: a header, the ids of stories from the front, and from the back
//! what is known of each. Pages are large and begin at multiples of their size: a kernel takes them in with few
//! steps, and a sort reads what it needs of many stories in a row.
#![allow(clippy::indexing_slicing)] // indices are computed here, none is read
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use parking_lot::{Mutex, MutexGuard};
use stage::{AtomicFile, Failure, FileRecord, Random, Result, Temporary, remember};

use crate::bin::Dtype;

/// Bytes of stories sorted in memory at once, at most; less than that needs no disk.
pub const BUCKET_BYTES: u64 = 32 << 20;
/// Buckets are meant to be that much smaller: sorting goes to and fro in them.
const SMALLER: u64 = 8;
/// Bits of the key that one level of buckets takes: at most 256 files are open.
const LEVEL_BITS: u32 = 8;
/// A page; one thread fills one for each bucket. A story that is longer takes several as one.
const PAGE_BYTES: usize = 64 << 10;
/// Pages in this one, and stories in it.
const HEADER: usize = 16;
/// Of one story: key, index, bytes of its ids.
const ENTRY: usize = 24;
const KEPT: &str = "packed files from before are as they were";

/// Writes one bin.
pub struct Packer {
    output: Mutex<AtomicFile>,
    eos: Vec<u8>,
    seed: u64,
    /// None: as published.
    buckets: Option<Buckets>,
    limit: u64,
    /// The bucket that is sorted, and its stories: used again for the next.
    pages: Vec<u8>,
    order: Vec<(u64, u64, Range<usize>)>,
}

impl Packer {
    /// `seed` is that of the order of stories, None keeps them as they come. `bytes` is about what they will take;
    /// above `limit` bytes (usually [`BUCKET_BYTES`]) they go through bucket files in a hidden folder beside `path`.
    pub fn create(
        path: &Path,
        dtype: Dtype,
        eos: u32,
        seed: Option<u64>,
        bytes: u64,
        limit: u64,
    ) -> Result<Self> {
        let output = Mutex::new(AtomicFile::create(path)?);
        let limit = limit.max(1);
        let buckets = match seed {
            None => None,
            Some(_) if bytes > limit => {
                let folder = path.with_extension("buckets");
                Some(Buckets::on_disk(&folder, 0, bytes.saturating_mul(SMALLER) / limit)?)
            }
            Some(_) => Some(Buckets::in_memory()),
        };
        let mut eos_bytes = Vec::new();
        dtype.append(&[eos], &mut eos_bytes);
        let (pages, order) = (Vec::new(), Vec::new());
        Ok(Packer {
            output,
            eos: eos_bytes,
            seed: seed.unwrap_or_default(),
            buckets,
            limit,
            pages,
            order,
        })
    }

    /// Takes the next story of a bin that is packed as published: its ids as they will lie in the bin.
    pub fn append(&mut self, ids: &[u8]) -> Result<()> {
        let output = self.output.get_mut();
        output.put(ids)?;
        output.put(&self.eos)
    }

    /// Takes stories of a shuffled bin, in any order; one for each thread. None where the order is as published.
    pub fn dealer(&self) -> Option<Dealer<'_>> {
        Some(Dealer { seed: self.seed, lanes: Lanes::of(self.buckets.as_ref()?) })
    }

    /// The bin is on disk when this returns; `before` hears what it will be just before it gets its name.
    pub fn finish(mut self, before: impl FnOnce(&FileRecord) -> Result<()>) -> Result<FileRecord> {
        if let Some(buckets) = self.buckets.take() {
            self.empty(buckets)?;
        }
        stage::interrupt::check(KEPT)?;
        let output = self.output.into_inner();
        let path = output.path().to_owned();
        output.commit_with(|record| {
            remember(&path, record)?;
            before(record)
        })
    }

    /// Writes the stories of all buckets in the order of their keys. A bucket that is itself too large is dealt out again.
    fn empty(&mut self, mut buckets: Buckets) -> Result<()> {
        let deeper = buckets.shift + buckets.bits;
        for bucket in std::mem::take(&mut buckets.all) {
            stage::interrupt::check(KEPT)?;
            let bucket = bucket.into_inner();
            match bucket.place {
                BucketStorage::Memory(pages) => self.write_sorted(&pages)?,
                BucketStorage::Disk(_, None) => {}
                BucketStorage::Disk(path, Some(_))
                    if bucket.bytes > self.limit && bucket.stories > 1 && deeper < 64 =>
                {
                    let inner = Buckets::on_disk(
                        &path.with_extension("inner"),
                        deeper,
                        bucket.bytes * SMALLER / self.limit,
                    )?;
                    let mut file = BufReader::with_capacity(1 << 20, stage::open(&path)?);
                    let (mut lanes, mut page) = (Lanes::of(&inner), Vec::new());
                    while read_page(&mut file, &mut page).map_err(Failure::reading(&path))? {
                        stories_of(&page)
                            .try_for_each(|(key, index, ids)| lanes.push(key, index, &page[ids]))?;
                    }
                    lanes.end()?;
                    stage::remove_if_present(&path)?;
                    self.empty(inner)?;
                }
                BucketStorage::Disk(path, Some(_)) => {
                    let mut pages = std::mem::take(&mut self.pages);
                    pages.clear();
                    let read = stage::open(&path)?.read_to_end(&mut pages);
                    read.map_err(Failure::reading(&path))?;
                    stage::remove_if_present(&path)?;
                    self.write_sorted(&pages)?;
                    self.pages = pages;
                }
            }
        }
        Ok(())
    }

    fn write_sorted(&mut self, mut pages: &[u8]) -> Result<()> {
        let all = pages;
        self.order.clear();
        while !pages.is_empty() {
            let (page, rest) = pages.split_at(number(pages, 0) as usize * PAGE_BYTES);
            let at = all.len() - pages.len();
            self.order.extend(
                stories_of(page)
                    .map(|(key, index, ids)| (key, index, at + ids.start..at + ids.end)),
            );
            pages = rest;
        }
        self.order.sort_unstable_by_key(|(key, index, _)| (*key, *index));
        let output = self.output.get_mut();
        for (_, _, ids) in &self.order {
            output.put(&all[ids.clone()])?;
            output.put(&self.eos)?;
        }
        Ok(())
    }
}

/// Deals out the stories that one thread reads.
pub struct Dealer<'a> {
    seed: u64,
    lanes: Lanes<'a>,
}

impl Dealer<'_> {
    /// Takes the story of this index among all of the bin: its ids as they will lie there.
    pub fn push(&mut self, index: u64, ids: &[u8]) -> Result<()> {
        self.lanes.push(Random::new(self.seed, "order", index).u64(), index, ids)
    }

    /// All it took is in the buckets when this returns.
    pub fn end(mut self) -> Result<()> {
        self.lanes.end()
    }
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

/// Key, index and place of the ids of every story of a page.
fn stories_of(page: &[u8]) -> impl Iterator<Item = (u64, u64, Range<usize>)> {
    let mut start = HEADER;
    (1..=number(page, 8) as usize).map(move |story| {
        let entry = page.len() - story * ENTRY;
        let ids = start..start + number(page, entry + 16) as usize;
        start = ids.end;
        (number(page, entry), number(page, entry + 8), ids)
    })
}

/// Reads the next page; false at the end.
fn read_page(file: &mut impl std::io::BufRead, page: &mut Vec<u8>) -> std::io::Result<bool> {
    if file.fill_buf()?.is_empty() {
        return Ok(false);
    }
    page.resize(PAGE_BYTES, 0);
    file.read_exact(page)?;
    page.resize(number(page, 0) as usize * PAGE_BYTES, 0);
    file.read_exact(&mut page[PAGE_BYTES..])?;
    Ok(true)
}

/// The page that is filled for each bucket.
struct Lanes<'a> {
    buckets: &'a Buckets,
    all: Vec<Lane>,
}

#[derive(Clone, Default)]
struct Lane {
    /// Nothing or one page.
    page: Vec<u8>,
    stories: usize,
    /// Bytes of their ids.
    bytes: usize,
}

impl<'a> Lanes<'a> {
    fn of(buckets: &'a Buckets) -> Self {
        Lanes { buckets, all: vec![Lane::default(); buckets.all.len()] }
    }

    fn push(&mut self, key: u64, index: u64, ids: &[u8]) -> Result<()> {
        let bucket = self.buckets.index(key);
        let more = ids.len() + ENTRY;
        if more > PAGE_BYTES - HEADER {
            let mut lane = Lane {
                page: vec![0; (HEADER + more).next_multiple_of(PAGE_BYTES)],
                ..Lane::default()
            };
            lane.push(key, index, ids);
            return self.buckets.put(bucket, &mut lane);
        }
        let lane = &mut self.all[bucket];
        if HEADER + lane.bytes + lane.stories * ENTRY + more > PAGE_BYTES {
            stage::interrupt::check(KEPT)?;
            self.buckets.put(bucket, lane)?;
        }
        lane.page.resize(PAGE_BYTES, 0);
        lane.push(key, index, ids);
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        self.all
            .iter_mut()
            .enumerate()
            .try_for_each(|(bucket, lane)| self.buckets.put(bucket, lane))
    }
}

impl Lane {
    /// A story for which there is room.
    fn push(&mut self, key: u64, index: u64, ids: &[u8]) {
        let at = HEADER + self.bytes;
        self.page[at..at + ids.len()].copy_from_slice(ids);
        self.bytes += ids.len();
        self.stories += 1;
        let entry = self.page.len() - self.stories * ENTRY;
        for (i, number) in [key, index, ids.len() as u64].into_iter().enumerate() {
            self.page[entry + 8 * i..entry + 8 * (i + 1)].copy_from_slice(&number.to_le_bytes());
        }
    }
}

/// One level of buckets. Those on disk are removed with their folder when dropped.
struct Buckets {
    /// Removed when dropped.
    _folder: Option<Temporary>,
    /// Bits of the key that outer levels took, and this one takes.
    shift: u32,
    bits: u32,
    all: Vec<Mutex<Bucket>>,
}

struct Bucket {
    place: BucketStorage,
    /// Of ids and entries, without the room that pages leave.
    bytes: u64,
    stories: u64,
}

enum BucketStorage {
    Memory(Vec<u8>),
    /// The file is made with the first story.
    Disk(PathBuf, Option<File>),
}

impl Buckets {
    /// A single one.
    fn in_memory() -> Self {
        let bucket = Bucket { place: BucketStorage::Memory(Vec::new()), bytes: 0, stories: 0 };
        Buckets { _folder: None, shift: 0, bits: 0, all: vec![Mutex::new(bucket)] }
    }

    /// About `wanted` buckets: a power of two, at most 256.
    fn on_disk(name: &Path, shift: u32, wanted: u64) -> Result<Self> {
        let folder = Temporary::folder(name).map_err(Failure::writing(name))?;
        let bits = wanted.max(1).next_power_of_two().ilog2().clamp(1, LEVEL_BITS.min(64 - shift));
        let bucket = |index| Bucket {
            place: BucketStorage::Disk(folder.path().join(format!("{index:03}")), None),
            bytes: 0,
            stories: 0,
        };
        let all = (0..1 << bits).map(|index| Mutex::new(bucket(index))).collect();
        Ok(Buckets { _folder: Some(folder), shift, bits, all })
    }

    fn index(&self, key: u64) -> usize {
        (key << self.shift).checked_shr(64 - self.bits).unwrap_or(0) as usize
    }

    /// Appends the page of a lane, which may then be filled again.
    fn put(&self, index: usize, lane: &mut Lane) -> Result<()> {
        let Lane { page, stories, bytes } = lane;
        if *stories == 0 {
            return Ok(());
        }
        let pages = (page.len() / PAGE_BYTES) as u64;
        page[..8].copy_from_slice(&pages.to_le_bytes());
        page[8..HEADER].copy_from_slice(&(*stories as u64).to_le_bytes());
        let mut bucket = self.lock(index);
        bucket.bytes += (*bytes + *stories * ENTRY) as u64;
        bucket.stories += *stories as u64;
        match &mut bucket.place {
            BucketStorage::Memory(all) => all.extend_from_slice(page),
            BucketStorage::Disk(path, file) => {
                let file = match file {
                    Some(file) => file,
                    None => file.insert(File::create_new(&path).map_err(Failure::writing(path))?),
                };
                file.write_all(page).map_err(Failure::writing(path))?;
            }
        }
        (*stories, *bytes) = (0, 0);
        Ok(())
    }

    fn lock(&self, index: usize) -> MutexGuard<'_, Bucket> {
        self.all[index].lock()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

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
        let on_disk = packer.buckets.as_ref().is_some_and(|buckets| buckets.bits > 0);
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
                    let stories = packed
                        .iter()
                        .enumerate()
                        .filter(move |(i, _)| i * 2 / packed.len() == half);
                    scope.spawn(move || {
                        stories.for_each(|(index, ids)| dealer.push(index as u64, ids).unwrap());
                        dealer.end().unwrap();
                    });
                }
            });
        }
        let record = packer.finish(|_| Ok(())).unwrap();
        assert_eq!(record.bytes, bytes);
        assert_eq!(record, stage::hash_file(&path).unwrap());
        let mut names: Vec<String> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.retain(|name| !name.ends_with(".record"));
        assert_eq!(names.len(), 1, "buckets are left: {names:?}");
        fs::read(&path).unwrap()
    }

    /// Short ones, and some that take a page or several.
    fn long_stories() -> Vec<Vec<u32>> {
        let ids = |i: u32| {
            [0, 1, 500, 16_000, 32_742, 32_743, 32_748, 32_749, 40_000, 200_000][i as usize % 10]
                + i / 10
        };
        (0..60).map(|i| (0..ids(i)).map(|j| 1 + (i * 7 + j) % 60_000).collect()).collect()
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
            let whole = pack(&long_stories(), dtype, Some(1), 1 << 30);
            for limit in [1_000_000, 100_000, 1] {
                assert!(
                    pack(&long_stories(), dtype, Some(1), limit) == whole,
                    "{limit} bytes a bucket"
                );
            }
            let mut expected: Vec<(u64, Vec<u32>)> = (0..)
                .zip(long_stories())
                .map(|(i, ids)| (Random::new(1, "order", i).u64(), ids))
                .collect();
            expected.sort();
            assert!(
                whole
                    == expected
                        .iter()
                        .flat_map(|(_, ids)| as_bytes(&[&ids[..], &[0]].concat(), dtype))
                        .collect::<Vec<u8>>()
            );
        }
    }

    #[test]
    fn a_shuffle_keeps_every_story_and_as_published_keeps_their_order() {
        let split = |bytes: &[u8]| {
            let ids: Vec<u32> =
                bytes.chunks(2).map(|b| u32::from(u16::from_le_bytes([b[0], b[1]]))).collect();
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
        let mut expected: Vec<(u64, u16)> =
            (0..3).map(|i| (Random::new(5, "order", i).u64(), 10 + i as u16)).collect();
        expected.sort();
        let ids: Vec<u16> = packed.chunks(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect();
        assert_eq!(ids, expected.iter().flat_map(|&(_, id)| [id, 0]).collect::<Vec<_>>());
    }

    #[test]
    fn an_abandoned_pack_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let packer =
            Packer::create(&folder.path().join("a.bin"), Dtype::U16, 0, Some(1), 1000, 10).unwrap();
        let mut dealer = packer.dealer().unwrap();
        dealer.push(0, &[1, 0, 2, 0, 3, 0]).unwrap();
        dealer.end().unwrap();
        assert!(fs::read_dir(folder.path()).unwrap().count() > 0);
        drop(packer);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
