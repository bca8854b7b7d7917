//! What a matmul reads and writes: matrices in place, panels of packed ones, and the memory they are packed into.
use std::marker::PhantomData;
use std::ops::Range;

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

/// Row-major output of a matmul. The tasks that share it write disjoint tiles of it, through pointers: references to tiles would
/// overlap, since the rows of one lie between those of another.
#[derive(Clone, Copy)]
pub(crate) struct Output<'a> {
    data: *mut f32,
    /// Values from `data` on.
    len: usize,
    pub stride: usize,
    /// The row and the column of the matmul that `data` is.
    origin: [usize; 2],
    borrowed: PhantomData<&'a mut [f32]>,
}
// SAFETY: whoever writes a tile promises that it is nobody else's.
unsafe impl Send for Output<'_> {}
// SAFETY: as above.
unsafe impl Sync for Output<'_> {}

impl<'a> Output<'a> {
    /// A matrix with `stride` values from row to row.
    pub(crate) fn new(matrix: &'a mut [f32], stride: usize) -> Self {
        let (data, len) = (matrix.as_mut_ptr(), matrix.len());
        Output { data, len, stride, origin: [0, 0], borrowed: PhantomData }
    }

    /// The same with another name for its first element.
    pub(super) fn named(self, row: usize, column: usize) -> Self {
        Output { origin: [row, column], ..self }
    }

    /// What lies from an element on, which is then the first of it.
    pub(crate) fn from(self, row: usize, column: usize) -> Self {
        let at = self.offset(row, column);
        assert!(at <= self.len, "row {row}, column {column} of {} values", self.len);
        // SAFETY: within the matrix or at its end.
        Output { data: unsafe { self.data.add(at) }, len: self.len - at, ..self }.named(0, 0)
    }

    fn offset(&self, row: usize, column: usize) -> usize {
        (row - self.origin[0]) * self.stride + (column - self.origin[1])
    }

    /// The first element of a tile, which lies in the matrix.
    pub(super) fn tile(&self, rows: Range<usize>, columns: Range<usize>) -> *mut f32 {
        let at = self.offset(rows.start, columns.start);
        assert!(
            rows.start < rows.end
                && columns.start < columns.end
                && self.offset(rows.end - 1, columns.end - 1) < self.len,
            "rows {rows:?}, columns {columns:?} of {} values",
            self.len
        );
        // SAFETY: the offset is at most that of the tile's last element.
        unsafe { self.data.add(at) }
    }

    /// `len` values of a row.
    ///
    /// SAFETY: nobody else reads or writes them while this lives.
    pub(crate) unsafe fn row<'b>(self, row: usize, len: usize) -> &'b mut [f32]
    where
        'a: 'b,
    {
        let first = self.tile(row..row + 1, 0..len);
        // SAFETY: `tile` has checked that they lie in the matrix, and the caller promises that they are not shared.
        unsafe { std::slice::from_raw_parts_mut(first, len) }
    }
}

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
