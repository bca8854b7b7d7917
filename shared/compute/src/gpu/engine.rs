//! An engine on a GPU: its buffers, what was recorded, and what went wrong.
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use stage::Problem;

use super::device::Device;
use super::fallbacks::Fallbacks;
use super::pipeline::Element;
use super::plan::Plan;
use super::proofs::Forced;
use super::record::{self, Reading, Recorder, Spares};
use crate::error::{CPU, EngineError};
use crate::kernels::{Precision, Result, STEPS_IN_FLIGHT, View, state};

/// Bytes read back at once.
pub(super) const READBACK_BYTES: u64 = 16 << 20;

pub struct Buffer {
    pub label: &'static str,
    pub element: Element,
    pub len: usize,
    pub buffer: wgpu::Buffer,
}

/// Tokens as the host last put them there, and their rows in order for the embedding's gradient.
pub struct TokenBuffer {
    pub buffer: usize,
    pub ids: Vec<u32>,
    /// Sorted rows and segments: made when first needed.
    pub sorted: Option<(View, View)>,
}

/// An engine on a GPU.
pub struct Gpu {
    /// The GPU and its compiled kernels.
    pub device: Arc<Device>,
    /// The storage precision.
    pub precision: Precision,
    /// Elements of a head, for which kernels are compiled.
    pub head_width: u32,
    /// How products are cut for cooperative matrices, if they go on these.
    pub plan: Option<Plan>,
    /// In an engine that probes a kernel: that one alone goes on cooperative matrices.
    pub(super) forced: Option<Forced>,
    /// Those that went scalar.
    pub(super) fallbacks: Fallbacks,
    /// Those that views name, by number.
    pub buffers: Vec<Buffer>,
    /// Those that [`Tokens`](crate::Tokens) name, by number.
    pub tokens: Vec<TokenBuffer>,
    /// The command buffer that is being recorded.
    pub recorder: Recorder,
    /// Where partials are kept, made with the last of the model's buffers; and those in it.
    pub scratch: Option<View>,
    /// Values of scratch that were asked for.
    pub scratch_reserved: usize,
    /// Buffers for the partials of single outputs, by the buffer and place of these.
    pub own_partials: HashMap<(usize, usize), View>,
    /// Those that are not reduced yet.
    pub partials: Vec<Partials>,
    /// Buffers of the attention kernels.
    pub attention: AttentionBuffers,
    /// What downloads go through, a piece at a time.
    pub staging: wgpu::Buffer,
    /// Buffers of snapshots, to be used again.
    pub spares: Spares,
    /// The ring of reports.
    pub reports: Vec<Report>,
    /// Tickets handed out.
    pub submitted: u64,
    /// Reports collected.
    pub collected: u64,
    /// Bytes of all buffers, and the first that could not be had.
    pub bytes: u64,
    /// The first buffer that could not be had: which, and bytes that could.
    pub refused: Option<(String, u64)>,
    /// Whether `allocated` has reported it: a later refusal is an error of its own.
    pub asked: bool,
    /// What went wrong where nothing could be returned.
    pub trouble: Option<EngineError>,
    /// Kernels whose Params were compared with their shader's.
    pub called: HashSet<&'static str>,
}

/// A place in the ring of reports.
pub struct Report {
    pub reading: Option<Reading>,
    pub buffer: wgpu::Buffer,
    pub len: usize,
}

/// Partials of a sum over many rows (split-K), until they are added to their output in order.
#[derive(Clone, Copy)]
pub struct Partials {
    pub count: u32,
    pub view: View,
    pub out: View,
}

/// Buffers that attention takes of its own, made when first needed.
#[derive(Default)]
pub struct AttentionBuffers {
    /// dout . out of each row and head, between the two kernels of backward.
    pub delta: Option<View>,
    /// What is bound for positions and table where nothing is turned.
    pub unturned: Option<(View, View)>,
}

impl Gpu {
    /// An engine without buffers, whose kernels were not probed.
    pub fn bare(device: &Arc<Device>, precision: Precision, head_width: u32) -> Self {
        let readable = |label, size| record::readable(device, label, size);
        let report =
            |_| Report { reading: None, buffer: readable("report", 4 * state::LEN as u64), len: 0 };
        Gpu {
            recorder: Recorder::new(device.clone()),
            staging: readable("staging", READBACK_BYTES),
            spares: Spares::default(),
            reports: (0..=STEPS_IN_FLIGHT).map(report).collect(),
            device: device.clone(),
            precision,
            head_width,
            plan: device.plan(precision),
            forced: None,
            fallbacks: Fallbacks::default(),
            buffers: Vec::new(),
            tokens: Vec::new(),
            scratch: None,
            scratch_reserved: 0,
            own_partials: HashMap::new(),
            partials: Vec::new(),
            attention: AttentionBuffers::default(),
            submitted: 0,
            collected: 0,
            bytes: 0,
            refused: None,
            asked: false,
            trouble: None,
            called: HashSet::new(),
        }
    }

    /// Hands over what was recorded.
    pub fn flush(&mut self) {
        self.reduce_partials();
        if let Err(error) = self.recorder.flush() {
            self.trouble.get_or_insert(error);
        }
    }

    /// What went wrong so far, on the device or while recording.
    pub fn check(&mut self) -> Result<()> {
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
            problem: Problem::new(format_args!(
                "{what}; {} MiB were asked for in all",
                self.bytes >> 20
            ))
            .at(self.device.adapter.name())
            .remedy(format_args!("end what else uses the GPU, or {}", CPU))
            .into(),
            needed: self.bytes,
            available: *available,
        })
    }
}
