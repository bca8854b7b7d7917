//! Texts of many row groups read by many threads: each batch knows its place, so that what is made of them can be put
//! in order. A row group is decoded by one thread at a time, and which one changes from batch to batch, so that a file
//! of a single large row group keeps all threads busy, too.
#![allow(clippy::indexing_slicing)] // indices are computed here, none is read

use parking_lot::{Condvar, Mutex, MutexGuard};
use stage::Result;

use crate::stories::{ParquetStories, TextBatches, Texts};

/// The place of a batch: its row group in the order given, and its number in there.
pub type BatchPosition = (usize, usize);

/// Some stories of a row group.
pub struct Batch {
    /// Where it belongs.
    pub place: BatchPosition,
    /// It is the last of its row group.
    pub last: bool,
    /// Stories of the row group before it.
    pub before: u64,
    /// Its stories.
    pub texts: Texts,
}

/// Hands out the batches of row groups.
pub struct Reading<'a> {
    row_groups: Vec<(&'a ParquetStories, usize)>,
    /// Row groups that are open at once: what is decoded ahead is bounded.
    width: usize,
    state: Mutex<State<'a>>,
    changed: Condvar,
}

#[derive(Default)]
struct State<'a> {
    next: usize,
    /// In order.
    open: Vec<Open<'a>>,
    stopped: bool,
}

struct Open<'a> {
    row_group: usize,
    batches: usize,
    stories: u64,
    /// None while a thread is decoding.
    reader: Option<TextBatches<'a>>,
}

impl<'a> Reading<'a> {
    /// For `threads` threads that call [`next`](Self::next). Row groups without stories give no batch.
    pub fn new(row_groups: Vec<(&'a ParquetStories, usize)>, threads: usize) -> Self {
        Reading { row_groups, width: threads, state: Mutex::default(), changed: Condvar::new() }
    }

    /// The next batch that no thread has, None once there is no more or after [`stop`](Self::stop). Without `ahead`
    /// only from the first row group that is not done, which may mean waiting for it.
    pub fn next(&self, ahead: bool) -> Result<Option<Batch>> {
        let mut state = self.lock();
        let (row_group, reader) = loop {
            if state.stopped {
                return Ok(None);
            }
            let reach = if ahead || state.open.is_empty() { state.open.len() } else { 1 };
            if let Some(open) = state.open[..reach].iter_mut().find(|open| open.reader.is_some()) {
                break (open.row_group, open.reader.take());
            }
            if (ahead || state.open.is_empty())
                && state.open.len() < self.width
                && state.next < self.row_groups.len()
            {
                let row_group = state.next;
                state.next += 1;
                let (file, index) = self.row_groups[row_group];
                if file.stories_in(index) > 0 {
                    state.open.push(Open { row_group, batches: 0, stories: 0, reader: None });
                    break (row_group, None);
                }
            } else if state.open.is_empty() {
                return Ok(None);
            } else {
                self.changed.wait(&mut state);
            }
        };
        drop(state);
        let (file, index) = self.row_groups[row_group];
        let decode = || {
            let mut reader = reader.map_or_else(|| file.batches(index), Ok)?;
            Ok((reader.next_batch()?, reader))
        };
        let decoded = decode();
        let mut state = self.lock();
        let Some(at) = state.open.iter().position(|open| open.row_group == row_group) else {
            return Ok(None);
        };
        let (texts, reader) = decoded.inspect_err(|_| {
            state.stopped = true;
            self.changed.notify_all();
        })?;
        let (number, before) = (state.open[at].batches, state.open[at].stories);
        state.open[at].batches += 1;
        state.open[at].stories += texts.as_ref().map_or(0, |texts| texts.len() as u64);
        let last = reader.at_end();
        match last {
            true => drop(state.open.remove(at)),
            false => state.open[at].reader = Some(reader),
        }
        self.changed.notify_all();
        Ok(texts.map(|texts| Batch { place: (row_group, number), last, before, texts }))
    }

    /// Ends all threads at their next call.
    pub fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State<'a>> {
        self.state.lock()
    }
}
