//! Where values lie in an engine's buffers, and what they are.
use std::marker::PhantomData;
use std::ops::Deref;

/// `len` values from `offset` on in a buffer of the engine, whatever they are. Kernels take views that say it: [`F32View`] and
/// [`HalfView`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// The engine's number for the buffer.
    pub buffer: usize,
    /// First element.
    pub offset: usize,
    /// Number of elements.
    pub len: usize,
}

/// A view of values of a kind: one where another kind is wanted does not compile.
///
/// ```compile_fail,E0308
/// fn sum(kernels: &mut dyn compute::Kernels, half: compute::HalfView, total: compute::F32View) {
///     kernels.sum(half, total); // sums f32 values
/// }
/// ```
pub struct ViewOf<K> {
    view: View,
    kind: PhantomData<K>,
}

/// Values in the engine's storage precision.
#[derive(Clone, Copy, Debug)]
pub enum Half {}

/// A view of f32 values.
pub type F32View = ViewOf<f32>;
/// A view of values in the engine's storage precision.
pub type HalfView = ViewOf<Half>;

impl<K> ViewOf<K> {
    /// For an engine, which knows what it keeps there.
    pub(crate) fn of(view: View) -> Self {
        ViewOf { view, kind: PhantomData }
    }

    /// As [`View::slice`].
    pub fn slice(self, start: usize, len: usize) -> Self {
        ViewOf::of(self.view.slice(start, len))
    }

    /// As [`View::range`].
    pub fn range(self, range: &std::ops::Range<usize>) -> Self {
        ViewOf::of(self.view.range(range))
    }
}

impl<K> Clone for ViewOf<K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for ViewOf<K> {}

impl<K> Deref for ViewOf<K> {
    type Target = View;

    fn deref(&self) -> &View {
        &self.view
    }
}

impl<K> From<ViewOf<K>> for View {
    fn from(view: ViewOf<K>) -> View {
        view.view
    }
}

impl View {
    /// The part of this view from `start` on, `len` values long.
    pub fn slice(self, start: usize, len: usize) -> View {
        assert!(start + len <= self.len, "{start} + {len} lies beyond a view of {}", self.len);
        View { buffer: self.buffer, offset: self.offset + start, len }
    }

    /// The part with the positions of `range`.
    pub fn range(self, range: &std::ops::Range<usize>) -> View {
        self.slice(range.start, range.len())
    }
}

/// `len` u32 values: token ids, positions, slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// The engine's number for the buffer.
    pub buffer: usize,
    /// First element.
    pub offset: usize,
    /// Number of elements.
    pub len: usize,
}

impl Tokens {
    /// The part from `start` on, `len` tokens long.
    pub fn slice(self, start: usize, len: usize) -> Tokens {
        assert!(start + len <= self.len, "{start} + {len} lies beyond {} tokens", self.len);
        Tokens { buffer: self.buffer, offset: self.offset + start, len }
    }
}
