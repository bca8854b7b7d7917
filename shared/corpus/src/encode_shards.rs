//! Stories to token shards: batches are decoded, encoded and compressed by many threads at once and written in their
//! order, while finished shards are synced to the disk by threads of their own. Which thread does what decides nothing
//! about the bytes.
#![allow(clippy::indexing_slicing)] // indices are computed here, none is read
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use arrow::array::{ArrayRef, UInt16Array, UInt32Array};
use parking_lot::Mutex;
use stage::{Failure, FileRecord, Progress, Result};

use crate::bin::Dtype;
use crate::reading::{Batch, BatchPosition, Reading};
use crate::shards::{BatchEncoder, EncodedBatch, ShardOrigin, ShardWriter, Totals};
use crate::stories::{ParquetStories, Texts};
use crate::tokenizer::{Id, Scratch, Tokenizer};

/// Bytes of batches made before their turn, above which threads help with those whose turn it is.
const AHEAD_BYTES: usize = 32 << 20;
/// Shards synced to the disk at once: waiting for a disk takes no processor.
const FINISHERS: usize = 4;
/// What is said where making shards is broken off.
pub const KEPT: &str = "finished shards are kept; the same command makes the rest";

/// One shard to make, of the stories of these row groups in this order.
pub struct Task<'a> {
    /// The shard's file.
    pub path: PathBuf,
    /// What it is made from.
    pub origin: ShardOrigin,
    /// Files and numbers of row groups.
    pub row_groups: Vec<(&'a ParquetStories, usize)>,
}

impl Task<'_> {
    /// Stories in its row groups.
    pub fn stories(&self) -> u64 {
        self.row_groups.iter().map(|(file, row_group)| file.stories_in(*row_group)).sum()
    }
}

/// Makes the shards with this number of threads; the results are in the order of the tasks.
///
/// # Errors
/// The first that a thread met. Shards finished by then are kept, and of the others nothing is left.
pub fn make(
    tasks: &[Task],
    tokenizer: &Tokenizer,
    threads: usize,
    progress: &Progress,
) -> Result<Vec<(FileRecord, Totals)>> {
    let mut row_groups = Vec::new();
    let mut shards = Vec::new();
    for (index, task) in tasks.iter().enumerate() {
        let stories =
            task.row_groups.iter().filter(|(file, row_group)| file.stories_in(*row_group) > 0);
        row_groups.extend(stories.copied());
        shards.resize(row_groups.len(), index);
    }
    let (finish, unfinished) = sync_channel(FINISHERS);
    let shared = Shared {
        tasks,
        tokenizer,
        dtype: Dtype::of(tokenizer.vocab_size().into()),
        reading: Reading::new(row_groups, threads),
        shards,
        waiting: Mutex::default(),
        writer: Mutex::default(),
        results: Mutex::new(vec![None; tasks.len()]),
        failure: Mutex::default(),
        progress,
        bytes: AtomicU64::new(0),
        tokens: AtomicU64::new(0),
    };
    let unfinished = Arc::new(Mutex::new(unfinished));
    std::thread::scope(|scope| {
        for _ in 0..FINISHERS.min(tasks.len()) {
            let unfinished = unfinished.clone();
            scope.spawn(|| shared.finish(unfinished));
        }
        drop(unfinished); // without a finisher left, sending fails instead of waiting
        for _ in 1..threads {
            let finish = finish.clone();
            scope.spawn(|| shared.note(shared.work(finish)));
        }
        shared.note(shared.write_empty(&finish).and_then(|()| shared.work(finish)));
    });
    if let Some(failure) = shared.failure.into_inner() {
        return Err(failure);
    }
    let results = shared.results.into_inner();
    let missing =
        || Failure::try_again("a shard was not finished").remedy("run the same command again");
    results.into_iter().map(|result| result.ok_or_else(missing)).collect()
}

/// What the threads work on together.
struct Shared<'a> {
    tasks: &'a [Task<'a>],
    tokenizer: &'a Tokenizer,
    dtype: Dtype,
    reading: Reading<'a>,
    /// The task of each row group that is read.
    shards: Vec<usize>,
    waiting: Mutex<Waiting>,
    /// Of the shard that is being written. Only held by the thread that `waiting.writing` stands for.
    writer: Mutex<Option<ShardWriter>>,
    results: Mutex<Vec<Option<(FileRecord, Totals)>>>,
    failure: Mutex<Option<Failure>>,
    progress: &'a Progress,
    bytes: AtomicU64,
    tokens: AtomicU64,
}

/// Batches whose turn has not come.
#[derive(Default)]
struct Waiting {
    next: BatchPosition,
    batches: BTreeMap<BatchPosition, (bool, EncodedBatch)>,
    bytes: usize,
    /// A thread is writing, and will write all whose turn comes meanwhile.
    writing: bool,
}

impl Waiting {
    /// The batch whose turn it is, and whether it is the last of its row group.
    fn take(&mut self) -> Option<(BatchPosition, bool, EncodedBatch)> {
        let first = self.batches.first_entry().filter(|entry| *entry.key() == self.next)?;
        let (place, (last, batch)) = first.remove_entry();
        self.bytes -= batch.bytes();
        self.next = if last { (place.0 + 1, 0) } else { (place.0, place.1 + 1) };
        Some((place, last, batch))
    }
}

type Unfinished = (usize, ShardWriter);

impl Shared<'_> {
    /// Shards that get no story are files, too.
    fn write_empty(&self, finish: &SyncSender<Unfinished>) -> Result<()> {
        for (index, task) in self.tasks.iter().enumerate().filter(|(_, task)| task.stories() == 0) {
            self.send(finish, (index, ShardWriter::create(&task.path, &task.origin)?))?;
        }
        Ok(())
    }

    /// One thread: decodes, encodes, compresses, and writes what is next.
    fn work(&self, finish: SyncSender<Unfinished>) -> Result<()> {
        let (mut scratch, mut encoder) = (Scratch::default(), BatchEncoder::new(self.dtype)?);
        loop {
            stage::interrupt::check(KEPT)?;
            let ahead = self.waiting.lock().bytes < AHEAD_BYTES;
            let Some(Batch { place, last, texts, .. }) = self.reading.next(ahead)? else {
                return Ok(());
            };
            let batch = match self.dtype {
                Dtype::U16 => self.encode::<u16>(&texts, &mut scratch, &mut encoder, |ids| {
                    Arc::new(UInt16Array::from(ids))
                }),
                Dtype::U32 => self.encode::<u32>(&texts, &mut scratch, &mut encoder, |ids| {
                    Arc::new(UInt32Array::from(ids))
                }),
            }?;
            drop(texts);
            self.tell(&batch.totals);
            let mut waiting = self.waiting.lock();
            waiting.bytes += batch.bytes();
            waiting.batches.insert(place, (last, batch));
            if waiting.writing {
                continue;
            }
            waiting.writing = true;
            while let Some((place, last, batch)) = waiting.take() {
                drop(waiting);
                self.write(place.0, last, batch, &finish)?;
                waiting = self.waiting.lock();
            }
            waiting.writing = false;
        }
    }

    fn encode<T: Id>(
        &self,
        texts: &Texts,
        scratch: &mut Scratch,
        encoder: &mut BatchEncoder,
        array: impl FnOnce(Vec<T>) -> ArrayRef,
    ) -> Result<EncodedBatch> {
        let bytes: usize = texts.iter().map(str::len).sum();
        let (mut ids, mut lengths) =
            (Vec::with_capacity(bytes / 3 + 1024), Vec::with_capacity(texts.len()));
        for text in texts.iter() {
            let before = ids.len();
            self.tokenizer.append(text, scratch, &mut ids)?;
            lengths.push(ids.len() - before);
        }
        encoder.encode(array(ids), &lengths, bytes as u64)
    }

    fn write(
        &self,
        row_group: usize,
        last: bool,
        batch: EncodedBatch,
        finish: &SyncSender<Unfinished>,
    ) -> Result<()> {
        let index = self.shards[row_group];
        let mut writer = self.writer.lock();
        if writer.is_none() {
            *writer =
                Some(ShardWriter::create(&self.tasks[index].path, &self.tasks[index].origin)?);
        }
        if let Some(writer) = writer.as_mut() {
            writer.write(batch)?;
        }
        let ends = last && self.shards.get(row_group + 1) != Some(&index);
        match writer.take_if(|_| ends) {
            Some(writer) => self.send(finish, (index, writer)),
            None => Ok(()),
        }
    }

    fn send(&self, finish: &SyncSender<Unfinished>, shard: Unfinished) -> Result<()> {
        finish.send(shard).map_err(|_| Failure::interrupted(KEPT)) // the failure that counts is noted already
    }

    /// One thread: gives shards their final names.
    fn finish(&self, unfinished: Arc<Mutex<Receiver<Unfinished>>>) {
        loop {
            let next = unfinished.lock().recv();
            let Ok((index, writer)) = next else { return };
            match writer.finish() {
                Ok(result) => self.results.lock()[index] = Some(result),
                Err(failure) => return self.note(Err(failure)),
            }
        }
    }

    fn tell(&self, new: &Totals) {
        let bytes = self.bytes.fetch_add(new.bytes, Ordering::Relaxed) + new.bytes;
        let tokens = self.tokens.fetch_add(new.tokens, Ordering::Relaxed) + new.tokens;
        let seconds = self.progress.elapsed().as_secs_f64().max(1e-9);
        let (bytes, tokens) = (bytes as f64 / seconds, tokens as f64 / seconds);
        self.progress.message(
            format!("{:.1} MB/s, {} tokens/s", bytes / 1e6, stage::count(tokens as u64)),
            &[("bytes_per_second", bytes), ("tokens_per_second", tokens)],
        );
        self.progress.add(new.stories);
    }

    /// Keeps the first failure and stops all threads.
    fn note(&self, result: Result<()>) {
        if let Err(failure) = result {
            self.failure.lock().get_or_insert(failure);
            self.reading.stop();
        }
    }
}
