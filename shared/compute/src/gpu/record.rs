//! Recording: dispatches into one command buffer, their parameters into one uniform buffer, bind groups made once and kept;
//! and reading back.
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use stage::Problem;

use super::device::Device;
use super::pipeline::Pipeline;
use crate::EngineError;
use crate::kernels::{KernelTime, Result, Snapshot};

/// Dispatches of one command buffer at most; a step of the house's model has about half as many.
const SLOTS: usize = 1024;
/// Bytes from one dispatch's parameters to the next: the alignment of dynamic offsets that WebGPU guarantees.
const SLOT_BYTES: usize = 256;

/// A part of a buffer as it is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bound {
    pub buffer: usize,
    pub offset: u64,
    pub size: u64,
}

/// What a dispatch does with a buffer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Read,
    Write,
}

/// What a dispatch costs, for the profile.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// m, n and k of a product.
    pub shape: Option<[usize; 3]>,
    pub flop: f64,
    pub bytes: f64,
}

/// Most storage buffers that a kernel binds: WebGPU's default limit.
const MOST_BOUND: usize = 8;
type BindKey = (usize, [Option<Bound>; MOST_BOUND]);

pub struct Recorder {
    device: Arc<Device>,
    encoder: Option<wgpu::CommandEncoder>,
    pass: Option<wgpu::ComputePass<'static>>,
    params: Vec<u8>,
    params_buffer: wgpu::Buffer,
    bind_groups: HashMap<BindKey, wgpu::BindGroup>,
    /// Buffers that the open command buffer uses, and how it did last.
    used: HashMap<usize, Use>,
    submission: Option<wgpu::SubmissionIndex>,
    times: Option<Times>,
    /// Dispatches, barriers between them and command buffers so far.
    pub dispatches: u64,
    pub barriers: u64,
    pub submits: u64,
}

/// Timestamps around every dispatch.
struct Times {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    staging: wgpu::Buffer,
    /// Kernel and cost of each dispatch in the open command buffer.
    open: Vec<(&'static str, Cost)>,
    sums: HashMap<(&'static str, Option<[usize; 3]>), KernelTime>,
}

impl Recorder {
    pub fn new(device: Arc<Device>) -> Self {
        let buffer = |label, size, usage| {
            device.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(label),
                size,
                usage,
                mapped_at_creation: false,
            })
        };
        use wgpu::BufferUsages as Usage;
        let params_buffer =
            buffer("params", (SLOTS * SLOT_BYTES) as u64, Usage::UNIFORM | Usage::COPY_DST);
        let bytes = (SLOTS * 2 * 8) as u64;
        let times = device.options.profile.then(|| Times {
            queries: device.device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("times"),
                ty: wgpu::QueryType::Timestamp,
                count: (SLOTS * 2) as u32,
            }),
            resolved: buffer("times", bytes, Usage::QUERY_RESOLVE | Usage::COPY_SRC),
            staging: buffer("times staging", bytes, Usage::COPY_DST | Usage::MAP_READ),
            open: Vec::new(),
            sums: HashMap::new(),
        });
        Recorder {
            device,
            encoder: None,
            pass: None,
            params: Vec::with_capacity(SLOTS * SLOT_BYTES),
            params_buffer,
            bind_groups: HashMap::new(),
            used: HashMap::new(),
            submission: None,
            times,
            dispatches: 0,
            barriers: 0,
            submits: 0,
        }
    }

    /// Whether commands that are recorded and not yet handed over touch the buffer.
    pub fn uses(&self, buffer: usize) -> bool {
        self.used.contains_key(&buffer)
    }

    /// Records a dispatch. `bound` are the storage buffers in binding order.
    pub fn dispatch(
        &mut self,
        kernel: &'static str,
        pipeline: &Arc<Pipeline>,
        params: &[u8],
        bound: &[Bound],
        buffer: impl Fn(usize) -> wgpu::Buffer,
        groups: [u32; 3],
        cost: Cost,
    ) -> Result<()> {
        if self.params.len() == SLOTS * SLOT_BYTES {
            self.flush()?;
        }
        let slot = self.params.len() as u32;
        self.params.extend_from_slice(params);
        self.params.resize(slot as usize + SLOT_BYTES, 0);
        let mut key = [None; MOST_BOUND];
        for (place, bound) in key.iter_mut().zip(bound) {
            *place = Some(*bound);
        }
        self.track(pipeline, bound);
        let identity = Arc::as_ptr(pipeline) as usize;
        let group = self.bind_groups.entry((identity, key)).or_insert_with(|| {
            let buffers: Vec<wgpu::Buffer> = bound.iter().map(|b| buffer(b.buffer)).collect();
            let part = |buffer, offset, size| {
                wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset, size })
            };
            let params_size =
                wgpu::BufferSize::new(pipeline.interface.params_bytes.next_multiple_of(16) as u64);
            let mut entries = vec![wgpu::BindGroupEntry {
                binding: 0,
                resource: part(&self.params_buffer, 0, params_size),
            }];
            for ((binding, bound), buffer) in
                pipeline.interface.bindings.iter().zip(bound).zip(&buffers)
            {
                let resource = part(buffer, bound.offset, wgpu::BufferSize::new(bound.size));
                entries.push(wgpu::BindGroupEntry { binding: binding.index, resource });
            }
            self.device.device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(kernel),
                layout: &pipeline.layout,
                entries: &entries,
            })
        });
        let device = &self.device.device;
        let encoder =
            self.encoder.get_or_insert_with(|| device.create_command_encoder(&Default::default()));
        let run = |pass: &mut wgpu::ComputePass| {
            pass.set_pipeline(&pipeline.pipeline);
            pass.set_bind_group(0, &*group, &[slot]);
            pass.dispatch_workgroups(groups[0], groups[1], groups[2]);
        };
        match &mut self.times {
            None => {
                let begin = || encoder.begin_compute_pass(&Default::default()).forget_lifetime();
                run(self.pass.get_or_insert_with(begin));
            }
            Some(times) => {
                let index = 2 * times.open.len() as u32;
                times.open.push((kernel, cost));
                run(&mut encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                    label: Some(kernel),
                    timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                        query_set: &times.queries,
                        beginning_of_pass_write_index: Some(index),
                        end_of_pass_write_index: Some(index + 1),
                    }),
                }));
            }
        }
        self.dispatches += 1;
        Ok(())
    }

    /// Follows wgpu, which puts a barrier before a dispatch unless each of its buffers was only read before and is only read now, or was
    /// not used yet in this command buffer; whatever part of it was.
    fn track(&mut self, pipeline: &Pipeline, bound: &[Bound]) {
        let uses = || {
            let bindings = pipeline.interface.bindings.iter();
            bindings.zip(bound).map(|(binding, bound)| {
                (bound.buffer, if binding.writes { Use::Write } else { Use::Read })
            })
        };
        let waits = |(buffer, now): (usize, Use)| match self.used.get(&buffer) {
            Some(before) => (*before, now) != (Use::Read, Use::Read),
            None => false,
        };
        self.barriers += u64::from(uses().any(waits));
        self.used.extend(uses());
    }

    /// The open command buffer, for a copy at its end.
    pub fn encoder(&mut self) -> &mut wgpu::CommandEncoder {
        self.pass = None;
        let device = &self.device.device;
        self.encoder.get_or_insert_with(|| device.create_command_encoder(&Default::default()))
    }

    /// Hands over what was recorded, if anything; the last submission.
    pub fn flush(&mut self) -> Result<Option<wgpu::SubmissionIndex>> {
        self.pass = None;
        let Some(mut encoder) = self.encoder.take() else { return Ok(self.submission.clone()) };
        let timed = self.times.as_ref().map_or(0, |times| 2 * times.open.len() as u32);
        if let Some(times) = self.times.as_ref().filter(|_| timed > 0) {
            encoder.resolve_query_set(&times.queries, 0..timed, &times.resolved, 0);
            encoder.copy_buffer_to_buffer(
                &times.resolved,
                0,
                &times.staging,
                0,
                u64::from(timed) * 8,
            );
        }
        self.device.queue.write_buffer(&self.params_buffer, 0, &self.params);
        let submission = self.device.queue.submit([encoder.finish()]);
        self.submits += 1;
        self.params.clear();
        self.used.clear();
        self.submission = Some(submission.clone());
        if timed > 0 {
            self.add_times(u64::from(timed) * 8, submission)?;
        }
        Ok(self.submission.clone())
    }

    fn add_times(&mut self, bytes: u64, submission: wgpu::SubmissionIndex) -> Result<()> {
        let Some(times) = &mut self.times else { return Ok(()) };
        let nanoseconds = f64::from(self.device.queue.get_timestamp_period());
        let mut reading = Reading::start(&times.staging, bytes, submission);
        reading.wait(&self.device)?;
        let mut ticks = Vec::new();
        reading.take(&self.device, &times.staging, |mapped| {
            ticks.extend(mapped.as_chunks::<8>().0.iter().map(|&b| u64::from_le_bytes(b)))
        })?;
        for ((kernel, cost), pair) in times.open.drain(..).zip(ticks.as_chunks::<2>().0) {
            let sum = times.sums.entry((kernel, cost.shape)).or_insert_with(|| KernelTime {
                kernel: kernel.to_owned(),
                shape: cost.shape,
                calls: 0,
                seconds: 0.0,
                flop: 0.0,
                bytes: 0.0,
            });
            sum.calls += 1;
            sum.seconds += pair[1].saturating_sub(pair[0]) as f64 * nanoseconds * 1e-9;
            sum.flop += cost.flop;
            sum.bytes += cost.bytes;
        }
        Ok(())
    }

    pub fn bind_groups(&self) -> u64 {
        self.bind_groups.len() as u64
    }

    /// Sums since this was asked last, the longest first.
    pub fn take_times(&mut self) -> Vec<KernelTime> {
        let sums =
            self.times.as_mut().map(|times| std::mem::take(&mut times.sums)).unwrap_or_default();
        let mut rows: Vec<KernelTime> = sums.into_values().collect();
        rows.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        rows
    }
}

/// A buffer on its way to the host.
pub struct Reading {
    /// 0 under way, 1 there, 2 failed.
    status: Arc<AtomicU8>,
    bytes: u64,
    submission: wgpu::SubmissionIndex,
}

impl Reading {
    /// Asks for the first bytes of a mappable buffer, to be had when the submission is done.
    pub fn start(buffer: &wgpu::Buffer, bytes: u64, submission: wgpu::SubmissionIndex) -> Self {
        let status = Arc::new(AtomicU8::new(0));
        let to = status.clone();
        buffer.slice(..bytes).map_async(wgpu::MapMode::Read, move |result| {
            to.store(if result.is_ok() { 1 } else { 2 }, Ordering::Release)
        });
        Reading { status, bytes, submission }
    }

    pub fn is_there(&self, device: &Device) -> bool {
        if self.status.load(Ordering::Acquire) == 0 {
            let _ = device.device.poll(wgpu::PollType::Poll); // what it says, the status says too
        }
        self.status.load(Ordering::Acquire) != 0
    }

    pub fn wait(&mut self, device: &Device) -> Result<()> {
        if !self.is_there(device) {
            device.wait(Some(self.submission.clone()))?;
        }
        // The submission is done, but another thread that polls the device may be about to tell us.
        while !self.is_there(device) {
            device.check()?;
            std::thread::yield_now();
        }
        device.check()
    }

    /// Copies out and gives the buffer back to the device.
    pub fn take(
        self,
        device: &Device,
        buffer: &wgpu::Buffer,
        copy: impl FnOnce(&[u8]),
    ) -> Result<()> {
        device.check()?;
        let failed = |why: String| {
            EngineError::DeviceLost(
                Problem::new(format_args!("reading back failed: {why}"))
                    .at(device.adapter.name())
                    .remedy("run the same command again")
                    .into(),
            )
        };
        if self.status.load(Ordering::Acquire) != 1 {
            return Err(failed("the buffer cannot be mapped".into()));
        }
        {
            let mapped = buffer
                .slice(..self.bytes)
                .get_mapped_range()
                .map_err(|error| failed(error.to_string()))?;
            copy(&mapped);
        }
        buffer.unmap();
        Ok(())
    }
}

/// A buffer that the host can read.
pub(super) fn readable(device: &Device, label: &'static str, size: u64) -> wgpu::Buffer {
    device.device.create_buffer(&wgpu::BufferDescriptor {
        label: Some(label),
        size,
        usage: wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ,
        mapped_at_creation: false,
    })
}

/// Readable buffers that no snapshot uses at the moment.
#[derive(Clone, Default)]
pub struct Spares(Arc<Mutex<Vec<wgpu::Buffer>>>);

impl Spares {
    pub fn take(&self, device: &Device, bytes: u64) -> wgpu::Buffer {
        let mut spare = self.0.lock();
        match spare.iter().position(|buffer| buffer.size() == bytes) {
            Some(place) => spare.swap_remove(place),
            None => readable(device, "snapshot", bytes),
        }
    }

    fn give_back(&self, buffer: wgpu::Buffer) {
        self.0.lock().push(buffer);
    }
}

/// A snapshot on its way.
pub(super) struct Copies {
    pub device: Arc<Device>,
    pub spares: Spares,
    pub copies: Vec<(Reading, wgpu::Buffer)>,
}

impl Snapshot for Copies {
    fn wait(self: Box<Self>) -> Result<Vec<Vec<f32>>> {
        let mut all = Vec::with_capacity(self.copies.len());
        for (reading, buffer) in self.copies {
            // Asking, not waiting: wgpu lets nobody submit while a thread waits for the device.
            while !reading.is_there(&self.device) {
                self.device.check()?;
                std::thread::sleep(Duration::from_millis(1));
            }
            let mut values = Vec::new();
            reading.take(&self.device, &buffer, |bytes| {
                values.extend(bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)))
            })?;
            self.spares.give_back(buffer);
            all.push(values);
        }
        Ok(all)
    }
}
