//! What a matmul reads and writes: matrices in place, panels of packed ones, and the memory they are packed into.

/// A matrix in place: element (i, j) is `data[i * rows + j * columns]`.
#[derive(Clone, Copy)]
pub(crate) struct Strided<'a> {
    pub data: &'a [f32],
    pub row_stride: usize,
    pub column_stride: usize,
}

impl<'a> Strided<'a> {
    /// Row-major with `width` values from row to row.
    pub(crate) fn rows(data: &'a [f32], width: usize) -> Self {
        Strided { data, row_stride: width, column_stride: 1 }
    }

    /// The transpose of a row-major matrix.
    pub(crate) fn transposed(data: &'a [f32], width: usize) -> Self {
        Strided { data, row_stride: 1, column_stride: width }
    }

    pub(crate) fn check(&self, rows: usize, columns: usize) {
        let last = (rows - 1) * self.row_stride + (columns - 1) * self.column_stride;
        assert!(
            last < self.data.len(),
            "a matrix of {rows} x {columns} needs {} values, has {}",
            last + 1,
            self.data.len()
        );
    }

    pub(crate) fn from(&self, row: usize, column: usize) -> Strided<'a> {
        Strided { data: &self.data[row * self.row_stride + column * self.column_stride..], ..*self }
    }
}

/// Columns of b side by side in panels of the set's columns, as its `pack` lays them out.
#[derive(Clone, Copy)]
pub(crate) struct Panels<'a> {
    pub data: &'a [f32],
    /// Steps of k.
    pub depth: usize,
}

/// Row-major output of a matmul.
#[derive(Clone, Copy)]
pub(crate) struct Output {
    pub data: *mut f32,
    pub stride: usize,
}
// SAFETY: the tasks that share it write disjoint tiles.
unsafe impl Send for Output {}
// SAFETY: as above.
unsafe impl Sync for Output {}

/// Values of a cache line: scratch starts at one, so that no vector of it lies across two.
pub(crate) const LINE: usize = 16;

/// The first `len` values of a space that only grows. What was there before stays: the caller writes all of it.
pub(crate) fn scratch(space: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if space.len() < len + LINE {
        space.resize(len + LINE, 0.0);
    }
    let start = space.as_ptr().align_offset(4 * LINE).min(LINE);
    &mut space[start..start + len]
}

/// What [`scratch`] gave of that space.
pub(super) fn aligned(space: &[f32]) -> &[f32] {
    &space[space.as_ptr().align_offset(4 * LINE).min(LINE).min(space.len())..]
}
