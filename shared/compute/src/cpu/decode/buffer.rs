//! Buffers that the members of a team share during a pass.
use std::ops::Range;

/// A buffer that members write parts of, between barriers.
pub(super) struct Buffer {
    pub(super) data: Vec<f32>,
}

/// Where such a buffer is, for the time of a pass.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) data: *mut f32,
    pub(super) len: usize,
}
// SAFETY: members write disjoint parts, and read what others wrote only after a barrier.
unsafe impl Sync for Place {}

impl Buffer {
    pub(super) fn new(len: usize) -> Self {
        Buffer { data: vec![0.0; len] }
    }

    pub(super) fn place(&mut self) -> Place {
        Place { data: self.data.as_mut_ptr(), len: self.data.len() }
    }
}

impl Place {
    /// SAFETY: nobody writes this range until the next barrier.
    pub(super) unsafe fn get<'a>(self, range: Range<usize>) -> &'a [f32] {
        assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: inside the buffer, and the caller's promise.
        unsafe { std::slice::from_raw_parts(self.data.add(range.start), range.len()) }
    }

    /// SAFETY: nobody else reads or writes this range until the next barrier.
    pub(super) unsafe fn get_mut<'a>(self, range: Range<usize>) -> &'a mut [f32] {
        assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: inside the buffer, and the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(range.start), range.len()) }
    }
}
