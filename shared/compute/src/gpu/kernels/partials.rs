//! Sums over many rows, split along them (split-K): partials in scratch, added up in order.
use crate::gpu::dispatch::{Params, params, striding, word};
use crate::gpu::engine::{Buffer, Gpu, Partials};
use crate::gpu::pipeline::Element;
use crate::gpu::table::REDUCE_PARTIALS;
use crate::kernels::{Precision, View};

params! {
    ReducePartials { count: u32, len: u32, unused: u32, unused_too: u32, segments: SegmentTable }
}

/// Outputs that one dispatch of reduce_partials adds to.
const SEGMENTS: usize = 12;
/// For each where it begins among all of their values, its partials, and where these and its output are.
type SegmentTable = [[u32; 4]; SEGMENTS];

/// f32 values of scratch: 16 times the largest buffer holds a layer's partials in one go, and no more than every device
/// takes as a binding.
const SCRATCH: std::ops::RangeInclusive<usize> = 1 << 21..=1 << 24;

impl Gpu {
    /// Where `count` partials of a sum for `out` may be written; [`reduce_partials`](Self::reduce_partials) adds them up before
    /// anything else touches the buffer of `out`, many sums in one dispatch.
    pub fn partials_for(&mut self, count: usize, out: View) -> View {
        let (len, scratch) = (count * out.len, self.scratch());
        let taken = |gpu: &Self| {
            gpu.partials
                .last()
                .map_or(0, |last| (last.view.offset + last.view.len).next_multiple_of(4))
        };
        let conflicts = |other: &Partials| {
            let apart = other.out.offset + other.out.len <= out.offset
                || out.offset + out.len <= other.out.offset;
            other.out.buffer != out.buffer || !apart
        };
        if self.partials.len() == SEGMENTS
            || taken(self) + len > scratch.len
            || self.partials.iter().any(conflicts)
        {
            self.reduce_partials();
        }
        let view = scratch.slice(taken(self), len);
        self.partials.push(Partials { count: word(count), view, out });
        view
    }

    /// Adds all partials to their outputs, in order.
    pub fn reduce_partials(&mut self) {
        let sums = std::mem::take(&mut self.partials);
        let Some(first) = sums.first() else { return };
        let start = sums.iter().map(|sum| sum.out.offset).min().unwrap_or_default();
        let end = sums.iter().map(|sum| sum.out.offset + sum.out.len).max().unwrap_or_default();
        let out = View { buffer: first.out.buffer, offset: start, len: end - start };
        let last = sums.last().map_or(first.view, |sum| sum.view);
        let partials = View { len: last.offset + last.len, offset: 0, ..first.view };
        let mut params = ReducePartials {
            count: word(sums.len()),
            len: 0,
            unused: 0,
            unused_too: 0,
            segments: SegmentTable::default(),
        };
        for (segment, sum) in params.segments.iter_mut().zip(&sums) {
            *segment = [params.len, sum.count, word(sum.view.offset), word(sum.out.offset - start)];
            params.len += word(sum.out.len);
        }
        let groups = striding(params.len as usize);
        self.run(&REDUCE_PARTIALS, params, &[partials, out], groups, 0.0);
    }

    /// The scratch buffer, large enough for a layer's gradients.
    pub fn scratch(&mut self) -> View {
        if self.scratch.is_none() {
            let values = |buffer: &Buffer| {
                if buffer.element == Element::Value(Precision::F32) { buffer.len } else { 0 }
            };
            let largest = self.buffers.iter().map(values).max().unwrap_or_default();
            let len = (16 * largest).clamp(*SCRATCH.start(), *SCRATCH.end());
            let len = len.max(self.scratch_reserved);
            self.scratch = Some(self.create("scratch", Element::Value(Precision::F32), len));
        }
        self.scratch.expect("it was just made")
    }
}
