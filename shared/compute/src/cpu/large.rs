//! Memory in large pages, where there are such: a token reads all weights once, and finding ten thousand small pages for that
//! takes as long as reading them; a step of training goes through more, and down the columns of some.
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use bytemuck::Pod;
use memmap2::MmapMut;

const LARGE_PAGE: usize = 2 << 20;

/// `len` values, zeros at first.
pub(super) struct Large<T> {
    memory: MmapMut,
    bytes: std::ops::Range<usize>,
    values: PhantomData<T>,
}

impl<T: Pod> Large<T> {
    /// Panics without memory: what is large is asked for by [`try_zeros`](Self::try_zeros), or estimated before.
    pub(super) fn zeros(len: usize) -> Self {
        Self::try_zeros(len).expect("memory for weights and activations")
    }

    /// None where the system has no room for them.
    pub(super) fn try_zeros(len: usize) -> Option<Self> {
        let bytes = len.checked_mul(size_of::<T>())?;
        let mut memory = MmapMut::map_anon(bytes.checked_add(LARGE_PAGE)?).ok()?;
        if bytes >= LARGE_PAGE {
            stage::ask_for_large_pages(&mut memory);
        }
        let first = memory.as_ptr().align_offset(LARGE_PAGE);
        assert!(first <= LARGE_PAGE);
        Some(Large { memory, bytes: first..first + bytes, values: PhantomData })
    }
}

impl<T: Pod> Deref for Large<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        bytemuck::cast_slice(&self.memory[self.bytes.clone()])
    }
}

impl<T: Pod> DerefMut for Large<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        bytemuck::cast_slice_mut(&mut self.memory[self.bytes.clone()])
    }
}
