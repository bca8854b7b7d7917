//! The CPU engine's buffers, its reports, and how kernels get at what they read and write.
use std::ops::{Deref, DerefMut};

use stage::Problem;

use super::large::Large;
use super::matmul::{self, LINE, Strided};
use crate::EngineError;
use crate::kernels::{
    F32View, HalfView, Kernels, Memory, Precision, Queue, Result, Snapshot, Ticket, Tokens, View,
};

/// Buffers in memory. A kernel takes its output buffer out while it runs, so an input in the same buffer is a panic,
/// not a silent race.
#[derive(Default)]
pub struct Cpu {
    buffers: Vec<Buffer>,
    tokens: Vec<Vec<u32>>,
    pub(super) scratch: matmul::Scratch,
    pub(super) partial: Vec<f32>,
    /// Reports that were not collected yet, and how many ever were asked for.
    reports: std::collections::VecDeque<Vec<f32>>,
    submitted: u64,
    /// Bytes that could be had when the first buffer was asked for, and those asked for in all.
    available: Option<u64>,
    asked: u64,
}

/// f32 values from the start of a cache line on: no vector lies across two where rows are a multiple of them.
#[derive(Default)]
struct Buffer {
    memory: Option<Large<f32>>,
    values: std::ops::Range<usize>,
}

impl Buffer {
    /// The `index`-th buffer of an engine; None where the system has no room for it.
    fn new(index: usize, len: usize) -> Option<Self> {
        // Buffers that begin at large pages would have all their rows in the same sets of the caches.
        let first = index % 16 * 17 * LINE;
        let memory = Large::try_zeros(first.checked_add(len)?)?;
        Some(Buffer { memory: Some(memory), values: first..first + len })
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        self.memory.as_ref().map_or(&[], |memory| &memory[self.values.clone()])
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        self.memory.as_mut().map_or(&mut [], |memory| &mut memory[self.values.clone()])
    }
}

impl Cpu {
    /// The engine, for [`Trainer`](crate::Trainer), [`Model`](crate::Model) or [`Decoder`](crate::Decoder).
    pub fn boxed() -> Box<dyn Kernels> {
        Box::<Self>::default()
    }

    /// Whether four bytes for each of `len` values can be had beside all that was asked for before.
    fn has_room(&mut self, len: usize) -> bool {
        let available = *self.available.get_or_insert_with(stage::memory::available);
        self.asked = self.asked.saturating_add((len as u64).saturating_mul(4));
        self.asked <= available
    }

    pub(super) fn get(&self, view: impl Into<View>) -> &[f32] {
        let view = view.into();
        let buffer = &self.buffers[view.buffer];
        assert!(
            view.offset + view.len <= buffer.len(),
            "view {view:?} of a buffer that is being written"
        );
        &buffer[view.offset..view.offset + view.len]
    }

    pub(super) fn ids(&self, tokens: Tokens) -> &[u32] {
        &self.tokens[tokens.buffer][tokens.offset..tokens.offset + tokens.len]
    }

    /// Runs `f` with the engine to read from and N outputs to write, each in a buffer of its own.
    pub(super) fn write<const N: usize>(
        &mut self,
        outputs: [impl Into<View>; N],
        f: impl FnOnce(&mut Self, [&mut [f32]; N]),
    ) {
        self.write_all(&outputs.map(Into::into), |cpu, outputs| {
            f(
                cpu,
                outputs.try_into().unwrap_or_else(|_| unreachable!("as many as there are views")),
            );
        });
    }

    /// The same for any number of outputs.
    pub(super) fn write_all(
        &mut self,
        outputs: &[View],
        f: impl FnOnce(&mut Self, Vec<&mut [f32]>),
    ) {
        let mut taken = Vec::with_capacity(outputs.len());
        for view in outputs {
            let buffer = std::mem::take(&mut self.buffers[view.buffer]);
            assert!(
                view.offset + view.len <= buffer.len(),
                "output {view:?} overlaps another one's buffer"
            );
            taken.push(buffer);
        }
        let pairs = taken.iter_mut().zip(outputs);
        let parts = pairs.map(|(buffer, view)| &mut buffer[view.offset..view.offset + view.len]);
        f(self, parts.collect());
        for (view, buffer) in outputs.iter().zip(taken) {
            self.buffers[view.buffer] = buffer;
        }
    }

    /// A matrix [rows, columns], stored so or transposed.
    pub(super) fn operand(
        &self,
        (view, transposed): (HalfView, bool),
        rows: usize,
        columns: usize,
    ) -> Strided<'_> {
        let data = self.get(view);
        assert_eq!(data.len(), rows * columns);
        if transposed { Strided::transposed(data, rows) } else { Strided::rows(data, columns) }
    }

    pub(super) fn matmul(
        &mut self,
        m: usize,
        n: usize,
        k: usize,
        a: (HalfView, bool),
        b: (HalfView, bool),
        c: View,
        accumulate: bool,
    ) {
        let mut scratch = std::mem::take(&mut self.scratch);
        self.write([c], |cpu, [c]| {
            matmul::matmul(
                &mut scratch,
                m,
                n,
                k,
                cpu.operand(a, m, k),
                cpu.operand(b, k, n),
                c,
                accumulate,
            );
        });
        self.scratch = scratch;
    }

    /// `outputs[0] = a b`, then `then(engine, first row, rows of the matmul, the same rows of outputs[1])` for a few rows at a
    /// time, while they are in the cache.
    pub(super) fn matmul_then(
        &mut self,
        [m, n, k]: [usize; 3],
        a: HalfView,
        b: (HalfView, bool),
        c: View,
        also: Option<View>,
        then: impl Fn(&Self, usize, &mut [f32], &mut [f32]) + Sync,
    ) {
        let mut scratch = std::mem::take(&mut self.scratch);
        let run = |cpu: &Self, scratch: &mut _, c: &mut [f32], also: &mut [f32]| {
            let (a, b) = (cpu.operand((a, false), m, k), cpu.operand(b, k, n));
            matmul::matmul_then(scratch, m, n, k, a, b, c, also, |row, c, also| {
                then(cpu, row, c, also)
            });
        };
        match also {
            Some(also) => self.write([c, also], |cpu, [c, also]| run(cpu, &mut scratch, c, also)),
            None => self.write([c], |cpu, [c]| run(cpu, &mut scratch, c, &mut [])),
        }
        self.scratch = scratch;
    }
}

/// A snapshot in memory is there at once.
struct Copied(Vec<Vec<f32>>);

impl Snapshot for Copied {
    fn wait(self: Box<Self>) -> Result<Vec<Vec<f32>>> {
        Ok(self.0)
    }
}

impl Memory for Cpu {
    fn precision(&self) -> Precision {
        Precision::F32
    }

    fn allocate(&mut self, _label: &'static str, len: usize) -> F32View {
        let room = self.has_room(len);
        let buffer = Buffer::new(self.buffers.len(), len).filter(|_| room);
        if buffer.is_none() {
            self.available = Some(self.available.unwrap_or(0).min(self.asked.saturating_sub(1)));
        }
        self.buffers.push(buffer.unwrap_or_default());
        F32View::of(View { buffer: self.buffers.len() - 1, offset: 0, len })
    }

    fn allocate_stored(&mut self, label: &'static str, len: usize) -> HalfView {
        HalfView::of(*self.allocate(label, len))
    }

    fn allocate_tokens(&mut self, _label: &'static str, len: usize) -> Tokens {
        let room = self.has_room(len);
        self.tokens.push(vec![0; if room { len } else { 0 }]);
        Tokens { buffer: self.tokens.len() - 1, offset: 0, len }
    }

    fn allocated(&mut self) -> Result<()> {
        let (needed, available) = (self.asked, self.available.unwrap_or(u64::MAX));
        if needed <= available {
            return Ok(());
        }
        Err(EngineError::OutOfMemory {
            problem: Problem::new(format_args!(
                "{} of memory can be had; {} were asked for in all",
                stage::memory::mib(available),
                stage::memory::mib(needed)
            ))
            .into(),
            needed,
            available,
        })
    }

    fn bytes(&self) -> u64 {
        self.buffers
            .iter()
            .map(|buffer| 4 * buffer.len() as u64)
            .chain(self.tokens.iter().map(|ids| 4 * ids.len() as u64))
            .sum()
    }

    fn upload(&mut self, to: View, values: &[f32]) {
        self.write([to], |_, [out]| out.copy_from_slice(values));
    }

    fn upload_tokens(&mut self, to: Tokens, values: &[u32]) {
        self.tokens[to.buffer][to.offset..to.offset + to.len].copy_from_slice(values);
    }

    fn download(&mut self, from: View) -> Result<Vec<f32>> {
        Ok(self.get(from).to_vec())
    }

    fn snapshot(&mut self, views: &[F32View]) -> Result<Box<dyn Snapshot>> {
        Ok(Box::new(Copied(views.iter().map(|&view| self.get(view).to_vec()).collect())))
    }
}

impl Queue for Cpu {
    fn submit(&mut self, report: F32View) -> Ticket {
        self.reports.push_back(self.get(report).to_vec());
        self.submitted += 1;
        Ticket(self.submitted - 1)
    }

    fn collect(&mut self, ticket: Ticket, _wait: bool) -> Result<Option<Vec<f32>>> {
        assert_eq!(
            ticket.0,
            self.submitted - self.reports.len() as u64,
            "reports are collected in order"
        );
        Ok(self.reports.pop_front())
    }
}
