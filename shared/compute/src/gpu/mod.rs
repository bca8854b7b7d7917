//! The GPU engine: every kernel a shader, recorded here and run through wgpu.
//!
//! Nothing waits for the device but [`Kernels::download`] and, once the ring of reports is full, [`Kernels::collect`]. What
//! is asked for is recorded into one command buffer, which [`Kernels::submit`] hands over: one per step.
pub mod adapters;
mod device;
mod kernels;
pub mod pipeline;
mod plan;
mod probe;
mod record;

use std::collections::HashSet;
use std::sync::Arc;

pub use adapters::{Adapter, DeviceChoice};
pub use device::{Device, Options};
pub use kernels::attention_tiles;
pub use plan::{Plan, TILES};

use crate::EngineError;
use crate::kernels::{Kernels, Precision, Result, STEPS_IN_FLIGHT, View, state};
use pipeline::Element;
use record::{Reading, Recorder, Spares};

/// f32 values of the work space that split sums are kept in: for a layer's weights in one go, which 16 times the largest buffer
/// is in any case; no more than every device takes as a binding.
const SCRATCH: std::ops::RangeInclusive<usize> = 1 << 21..=1 << 24;
/// Bytes read back at once.
const STAGING_BYTES: u64 = 16 << 20;

struct Buffer {
    label: &'static str,
    element: Element,
    len: usize,
    buffer: wgpu::Buffer,
}

/// Tokens as the host last put them there, and their rows in order for the embedding's gradient.
struct TokenBuffer {
    buffer: usize,
    ids: Vec<u32>,
    /// Sorted rows and segments: made when first needed.
    sorted: Option<(View, View)>,
}

/// An engine on a GPU.
pub struct Gpu {
    device: Arc<Device>,
    precision: Precision,
    head_width: u32,
    /// How products are cut for cooperative matrices, if they go on these.
    plan: Option<Plan>,
    buffers: Vec<Buffer>,
    tokens: Vec<TokenBuffer>,
    recorder: Recorder,
    /// The work space, made with the last of the model's buffers, and what is in it.
    parts: Option<View>,
    splits: Vec<kernels::Split>,
    attention: kernels::Space,
    staging: wgpu::Buffer,
    spares: Spares,
    reports: Vec<Report>,
    submitted: u64,
    collected: u64,
    /// Bytes of all buffers, and the first that could not be had.
    bytes: u64,
    refused: Option<(String, u64)>,
    /// Whether that was asked for: what is refused later is an error of its own.
    asked: bool,
    /// What went wrong where nothing could be returned.
    trouble: Option<EngineError>,
    /// Kernels whose Params were compared with their shader's.
    called: HashSet<&'static str>,
}

/// A place in the ring of reports.
struct Report {
    reading: Option<Reading>,
    buffer: wgpu::Buffer,
    len: usize,
}

impl Gpu {
    /// An engine for heads of `head_width` elements. Compiles all kernels and checks the products with a probe.
    pub fn open(
        device: &Arc<Device>,
        precision: Precision,
        head_width: usize,
    ) -> Result<Box<dyn Kernels>> {
        Ok(Box::new(Self::new(device, precision, head_width)?))
    }

    fn new(device: &Arc<Device>, precision: Precision, head_width: usize) -> Result<Self> {
        if !device.adapter.supports(precision) {
            let has: Vec<&str> = [Precision::F32, Precision::F16, Precision::Bf16]
                .into_iter()
                .filter(|&p| device.adapter.supports(p))
                .map(Precision::name)
                .collect();
            return Err(EngineError::Unsupported(format!(
                "{}: it cannot keep values in {precision}\n  expected: one of {}\n  remedy: --precision auto, or one of those",
                device.adapter.name(),
                has.join(", ")
            )));
        }
        let head_width = head_width as u32;
        device.prepare(precision, head_width)?;
        // On an engine of its own: what the probe takes is given back.
        device.probed(precision, head_width, || {
            probe::probe(&mut Self::bare(device, precision, head_width))
        })?;
        Ok(Self::bare(device, precision, head_width))
    }

    fn bare(device: &Arc<Device>, precision: Precision, head_width: u32) -> Self {
        let readable = |label, size| record::readable(device, label, size);
        let report =
            |_| Report { reading: None, buffer: readable("report", 4 * state::LEN as u64), len: 0 };
        Gpu {
            recorder: Recorder::new(device.clone()),
            staging: readable("staging", STAGING_BYTES),
            spares: Spares::default(),
            reports: (0..=STEPS_IN_FLIGHT).map(report).collect(),
            device: device.clone(),
            precision,
            head_width,
            plan: device.plan(precision),
            buffers: Vec::new(),
            tokens: Vec::new(),
            parts: None,
            splits: Vec::new(),
            attention: kernels::Space::default(),
            submitted: 0,
            collected: 0,
            bytes: 0,
            refused: None,
            asked: false,
            trouble: None,
            called: HashSet::new(),
        }
    }

    fn create(&mut self, label: &'static str, element: Element, len: usize) -> View {
        let size = (len.max(1) * element.bytes()).next_multiple_of(4) as u64;
        let limits = &self.device.limits;
        let largest = limits.max_buffer_size.min(limits.max_storage_buffer_binding_size);
        let fits = size <= largest;
        let over = self.device.options.memory_limit.is_some_and(|limit| self.bytes + size > limit);
        if !fits && self.refused.is_none() {
            let what = format!(
                "the buffer {label} needs {} MiB, and this GPU takes buffers of at most {} MiB",
                size >> 20,
                largest >> 20
            );
            self.refused = Some((what, self.bytes));
        }
        let descriptor = |size| wgpu::BufferDescriptor {
            label: Some(label),
            size,
            usage: wgpu::BufferUsages::STORAGE
                | wgpu::BufferUsages::COPY_SRC
                | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        };
        let scope = self.device.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let buffer = self.device.device.create_buffer(&descriptor(
            if fits && !over && self.refused.is_none() { size } else { 4 },
        ));
        let failed = pollster::block_on(scope.pop()).is_some();
        if (failed || over) && self.refused.is_none() {
            let available = self.device.options.memory_limit.unwrap_or(self.bytes);
            self.refused = Some((
                format!(
                    "its memory was full at {} MiB, before the buffer {label}",
                    self.bytes >> 20
                ),
                available,
            ));
        }
        self.bytes += size;
        self.buffers.push(Buffer { label, element, len, buffer });
        View { buffer: self.buffers.len() - 1, offset: 0, len }
    }

    /// Writes bytes of a view, in what the buffer keeps. Commands recorded before see what was there before.
    fn write(&mut self, view: View, bytes: &[u8]) {
        if self.refused.is_some() {
            return; // `allocated` tells
        }
        let split = self.splits.first().is_some_and(|split| split.out.buffer == view.buffer);
        if split || self.recorder.uses(view.buffer) {
            self.flush();
        }
        let buffer = &self.buffers[view.buffer];
        let size = buffer.element.bytes();
        let (start, end) = (view.offset * size, (view.offset + view.len) * size);
        if start.is_multiple_of(4) && end.is_multiple_of(4) {
            self.device.queue.write_buffer(&buffer.buffer, start as u64, bytes);
            return;
        }
        // Two-byte values share a word with a neighbour, which has to stay.
        let (first, last) = (start / 4 * 4, end.next_multiple_of(4));
        let around = View { buffer: view.buffer, offset: first / size, len: (last - first) / size };
        match self.read(around) {
            Ok(mut words) => {
                words[start - first..start - first + bytes.len()].copy_from_slice(bytes);
                self.device.queue.write_buffer(
                    &self.buffers[view.buffer].buffer,
                    first as u64,
                    &words,
                );
            }
            Err(error) => self.trouble = Some(error),
        }
    }

    /// Bytes of a view, after all that was asked before.
    fn read(&mut self, view: View) -> Result<Vec<u8>> {
        self.flush();
        let size = self.buffers[view.buffer].element.bytes();
        let (start, end) = ((view.offset * size) as u64, ((view.offset + view.len) * size) as u64);
        let (first, last) = (start / 4 * 4, end.next_multiple_of(4));
        let mut bytes = Vec::with_capacity((last - first) as usize);
        for part in (first..last).step_by(STAGING_BYTES as usize) {
            let len = STAGING_BYTES.min(last - part);
            let mut encoder = self.device.device.create_command_encoder(&Default::default());
            encoder.copy_buffer_to_buffer(
                &self.buffers[view.buffer].buffer,
                part,
                &self.staging,
                0,
                len,
            );
            let submission = self.device.queue.submit([encoder.finish()]);
            let mut reading = Reading::start(&self.staging, len, submission);
            reading.wait(&self.device)?;
            reading.take(&self.device, &self.staging, |mapped| bytes.extend_from_slice(mapped))?;
        }
        bytes.drain(..(start - first) as usize);
        bytes.truncate((end - start) as usize);
        Ok(bytes)
    }

    /// Hands over what was recorded.
    fn flush(&mut self) {
        self.reduce_partials();
        if let Err(error) = self.recorder.flush() {
            self.trouble.get_or_insert(error);
        }
    }

    fn check(&mut self) -> Result<()> {
        self.device.check()?;
        match self.trouble.take().or_else(|| self.refusal().filter(|_| self.asked)) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// What to say where a buffer could not be had.
    fn refusal(&self) -> Option<EngineError> {
        let (what, available) = self.refused.as_ref()?;
        Some(EngineError::OutOfMemory {
            message: format!(
                "{}: {what}; {} MiB were asked for in all\n  remedy: end what else uses the GPU, or --device cpu",
                self.device.adapter.name(),
                self.bytes >> 20
            ),
            needed: self.bytes,
            available: *available,
        })
    }

    fn scratch(&mut self) -> View {
        if self.parts.is_none() {
            let values = |buffer: &Buffer| {
                if buffer.element == Element::Value(Precision::F32) { buffer.len } else { 0 }
            };
            let largest = self.buffers.iter().map(values).max().unwrap_or_default();
            let len = (16 * largest).clamp(*SCRATCH.start(), *SCRATCH.end());
            self.parts = Some(self.create("parts", Element::Value(Precision::F32), len));
        }
        self.parts.expect("it was just made")
    }
}

/// f32 values to bytes of what a buffer keeps.
fn encode(element: Element, values: &[f32]) -> Vec<u8> {
    match element {
        Element::Value(Precision::F16) => {
            values.iter().flat_map(|&v| half::f16::from_f32(v).to_le_bytes()).collect()
        }
        Element::Value(Precision::Bf16) => {
            values.iter().flat_map(|&v| half::bf16::from_f32(v).to_le_bytes()).collect()
        }
        Element::Value(Precision::F32) | Element::U32 => {
            values.iter().flat_map(|v| v.to_le_bytes()).collect()
        }
    }
}

fn decode(element: Element, bytes: &[u8]) -> Vec<f32> {
    let pairs = || bytes.as_chunks::<2>().0.iter();
    match element {
        Element::Value(Precision::F16) => {
            pairs().map(|&b| half::f16::from_le_bytes(b).to_f32()).collect()
        }
        Element::Value(Precision::Bf16) => {
            pairs().map(|&b| half::bf16::from_le_bytes(b).to_f32()).collect()
        }
        Element::Value(Precision::F32) | Element::U32 => {
            bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect()
        }
    }
}
