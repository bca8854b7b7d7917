//! Sums over many rows, split along them (split-K): partials in scratch, added up in order.
use crate::gpu::dispatch::{Params, params, striding, word};
use crate::gpu::engine::{Buffer, Gpu, Partials};
use crate::gpu::pipeline::Element;
use crate::gpu::table::REDUCE_PARTIALS;
use crate::kernels::{Precision, View};

params! {
    ReducePartials { count: u32, len: u32, unused: u32, unused_too: u32, segments: SegmentTable }
}

/// Outputs that one dispatch of reduce_partials adds to: a binding each, and one for the outputs.
const SEGMENTS: usize = 7;
/// For each where it begins among all of their values, its partials, where its output is, and nothing.
type SegmentTable = [[u32; 4]; SEGMENTS];

/// f32 values of scratch: 16 times the largest buffer holds a layer's partials in one go, and no more than every device
/// takes as a binding.
const SCRATCH: std::ops::RangeInclusive<usize> = 1 << 21..=1 << 24;

/// f32 values of partials that have buffers of their own, at most: those of the rest go to scratch, one after the other.
const OWN_PARTIALS: usize = 1 << 27;

impl Gpu {
    /// Where `count` partials of a sum for `out` may be written; [`reduce_partials`](Self::reduce_partials) adds them up before
    /// anything else touches the buffer of `out`, many sums in one dispatch.
    pub fn partials_for(&mut self, count: usize, out: View) -> View {
        let (len, scratch) = (count * out.len, self.scratch());
        self.make_room_for(out);
        let taken = |gpu: &Self| {
            let in_scratch = |other: &&Partials| other.view.buffer == scratch.buffer;
            let last = gpu.partials.iter().rev().find(in_scratch);
            let end = last.map_or(0, |last| last.view.offset + last.view.len);
            end.next_multiple_of(4)
        };
        if taken(self) + len > scratch.len {
            self.reduce_partials();
        }
        let view = scratch.slice(taken(self), len);
        self.partials.push(Partials { count: word(count), view, out });
        view
    }

    /// The same in a buffer that nothing else uses: wgpu makes a kernel wait for whatever wrote to its buffers before.
    pub fn own_partials_for(&mut self, count: usize, out: View) -> View {
        let len = count * out.len;
        let of = (out.buffer, out.offset);
        let view = match self.own_partials.get(&of) {
            Some(view) if view.len >= len => *view,
            _ => {
                let taken: usize = self.own_partials.values().map(|view| view.len).sum();
                let bytes = 4 * len as u64;
                let fits = self.device.options.memory_limit;
                let fits = fits.is_none_or(|limit| self.bytes + bytes <= limit);
                if taken + len > OWN_PARTIALS || !fits {
                    return self.partials_for(count, out);
                }
                let view = self.create("partials", Element::Value(Precision::F32), len);
                self.own_partials.insert(of, view);
                view
            }
        };
        self.make_room_for(out);
        let view = view.slice(0, len);
        self.partials.push(Partials { count: word(count), view, out });
        view
    }

    /// Ends what one dispatch cannot end together with a sum for `out`.
    fn make_room_for(&mut self, out: View) {
        let conflicts = |other: &Partials| {
            let apart = other.out.offset + other.out.len <= out.offset
                || out.offset + out.len <= other.out.offset;
            other.out.buffer != out.buffer || !apart
        };
        if self.partials.len() == SEGMENTS || self.partials.iter().any(conflicts) {
            self.reduce_partials();
        }
    }

    /// Adds all partials to their outputs, in order.
    pub fn reduce_partials(&mut self) {
        let sums = std::mem::take(&mut self.partials);
        let Some(first) = sums.first() else { return };
        let start = sums.iter().map(|sum| sum.out.offset).min().unwrap_or_default();
        let end = sums.iter().map(|sum| sum.out.offset + sum.out.len).max().unwrap_or_default();
        let out = View { buffer: first.out.buffer, offset: start, len: end - start };
        let mut params = ReducePartials {
            count: word(sums.len()),
            len: 0,
            unused: 0,
            unused_too: 0,
            segments: SegmentTable::default(),
        };
        for (segment, sum) in params.segments.iter_mut().zip(&sums) {
            *segment = [params.len, sum.count, word(sum.out.offset - start), 0];
            params.len += word(sum.out.len);
        }
        let groups = striding(params.len as usize);
        // What is not used is bound to the first.
        let mut operands = [first.view; SEGMENTS + 1];
        for (operand, sum) in operands.iter_mut().zip(&sums) {
            *operand = sum.view;
        }
        operands[SEGMENTS] = out;
        self.run(&REDUCE_PARTIALS, params, &operands, groups, 0.0);
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
