//! Buffers of whatever kind a kernel wants, for tests on the CPU engine, which keeps both kinds alike.
use compute::{Half, Kernels, ViewOf};

/// A kind of values that buffers are made of.
pub trait Kind: Sized {
    /// A buffer of `len` values, 0 at first.
    fn allocate(k: &mut dyn Kernels, len: usize) -> ViewOf<Self>;
}

impl Kind for f32 {
    fn allocate(k: &mut dyn Kernels, len: usize) -> ViewOf<f32> {
        k.allocate("test", len)
    }
}

impl Kind for Half {
    fn allocate(k: &mut dyn Kernels, len: usize) -> ViewOf<Half> {
        k.allocate_stored("test", len)
    }
}
