//! The f32 matrix product: `c[m, n] (+)= a[m, k] b[k, n]` for any strides of a and b.
//!
//! As in GotoBLAS (Goto and van de Geijn 2008): b is packed into panels as wide as the microkernel's tile, which stay in
//! the second cache while the rows of a pass by; registers hold a tile of sums. a is read where it is: the processor
//! fetches its next lines while the tile is computed. Every sum runs over k in the same order whatever the threads do, so
//! the result does not depend on their number.
use std::ops::Range;

use super::microkernel::{self, Set, Tile};
use super::parallel::{each, each_part};

/// Longest piece of k at once; shorter where each of its steps is on another line of a: the lines of a tile's rows then
/// stay in the first cache.
const KC: usize = 384;
const KC_TRANSPOSED: usize = 256;
/// Rows of a and columns of b per task: 384 x 384 values of b take half the second cache, and few rows make the tasks many
/// enough to share out evenly.
const MC: usize = 48;
const NC: usize = 384;

/// A matrix in place: element (i, j) is `data[i * rows + j * columns]`.
#[derive(Clone, Copy)]
pub struct Strided<'a> {
    pub data: &'a [f32],
    pub row_stride: usize,
    pub column_stride: usize,
}

impl<'a> Strided<'a> {
    /// Row-major with `width` values from row to row.
    pub fn rows(data: &'a [f32], width: usize) -> Self {
        Strided { data, row_stride: width, column_stride: 1 }
    }

    /// The transpose of a row-major matrix.
    pub fn transposed(data: &'a [f32], width: usize) -> Self {
        Strided { data, row_stride: 1, column_stride: width }
    }

    fn check(&self, rows: usize, columns: usize) {
        let last = (rows - 1) * self.row_stride + (columns - 1) * self.column_stride;
        assert!(last < self.data.len(), "a matrix of {rows} x {columns} needs {} values, has {}", last + 1, self.data.len());
    }

    fn from(&self, row: usize, column: usize) -> Strided<'a> {
        Strided { data: &self.data[row * self.row_stride + column * self.column_stride..], ..*self }
    }
}

/// Columns of b side by side in panels of the set's columns w: `panels[p][l][j] = b[l, p * w + j]`, zero beyond the last.
#[derive(Clone, Copy)]
struct Panels<'a> {
    data: &'a [f32],
    depth: usize,
    columns: usize,
}

/// A packed b [depth, columns], for [`multiply`].
#[derive(Default)]
pub struct Packed {
    data: Vec<f32>,
    depth: usize,
    columns: usize,
}

impl Packed {
    /// Packs `b` [k, n], on the calling thread.
    pub fn pack(&mut self, k: usize, n: usize, b: Strided) {
        b.check(k, n);
        (self.depth, self.columns) = (k, n);
        let width = microkernel::best().columns;
        for (p, panel) in room(&mut self.data, n.next_multiple_of(width) * k).chunks_exact_mut(k * width).enumerate() {
            pack_panel(width, (n - p * width).min(width), b.from(0, p * width), panel);
        }
    }

    fn panels(&self) -> Panels<'_> {
        Panels { data: aligned(&self.data), depth: self.depth, columns: self.columns }
    }
}

/// Values of 4 KiB: addresses that far apart share a set of the first cache.
const PAGE: usize = 1024;

/// Values of a cache line: work space starts at one, so that no vector of it lies across two.
const LINE: usize = 16;

/// The first `len` values of a space that only grows. What was there before stays: the caller writes all of it.
pub fn room(space: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if space.len() < len + LINE {
        space.resize(len + LINE, 0.0);
    }
    let start = space.as_ptr().align_offset(4 * LINE).min(LINE);
    &mut space[start..start + len]
}

/// What [`room`] gave of that space.
fn aligned(space: &[f32]) -> &[f32] {
    &space[space.as_ptr().align_offset(4 * LINE).min(LINE).min(space.len())..]
}

/// The first `columns` columns of b as `panel[l][j]`, `width` values from l to l.
fn pack_panel(width: usize, columns: usize, b: Strided, panel: &mut [f32]) {
    if b.column_stride == 1 && columns == width {
        match width {
            32 => copy_rows::<32>(b, panel),
            _ => copy_rows::<16>(b, panel),
        }
        return;
    }
    if columns < width {
        panel.fill(0.0);
    }
    if b.column_stride == 1 {
        for (l, row) in panel.chunks_exact_mut(width).enumerate() {
            row[..columns].copy_from_slice(&b.data[l * b.row_stride..][..columns]);
        }
    } else {
        transpose(width, columns, b, panel);
    }
}

fn copy_rows<const WIDTH: usize>(b: Strided, panel: &mut [f32]) {
    for (l, row) in panel.as_chunks_mut::<WIDTH>().0.iter_mut().enumerate() {
        row.copy_from_slice(&b.data[l * b.row_stride..][..WIDTH]);
    }
}

/// As `pack_panel`, in blocks of 4 columns, each read along its own line.
fn transpose(width: usize, columns: usize, b: Strided, panel: &mut [f32]) {
    let depth = panel.len() / width;
    #[cfg(target_arch = "x86_64")]
    if b.row_stride == 1 && columns.is_multiple_of(8) && depth.is_multiple_of(8) && std::arch::is_x86_feature_detected!("avx") {
        for j in (0..columns).step_by(8) {
            for l in (0..depth).step_by(8) {
                let source = &b.data[j * b.column_stride + l..][..7 * b.column_stride + 8];
                let target = &mut panel[l * width + j..][..7 * width + 8];
                // SAFETY: the processor has AVX, and both slices reach to the end of the eighth row.
                unsafe { transpose_8(source.as_ptr(), b.column_stride, target.as_mut_ptr(), width) };
            }
        }
        return;
    }
    for j in (0..columns).step_by(4) {
        let of = |i: usize| &b.data[(j + i).min(columns - 1) * b.column_stride..];
        let sources = [of(0), of(1), of(2), of(3)];
        let block = (columns - j).min(4);
        if b.row_stride == 1 && block == 4 {
            let sources = sources.map(|source| &source[..depth]);
            let mut l = 0;
            while l + 4 <= depth {
                let rows: [[f32; 4]; 4] = std::array::from_fn(|i| sources[i][l..l + 4].try_into().expect("4 values"));
                for i in 0..4 {
                    panel[(l + i) * width + j..][..4].copy_from_slice(&[rows[0][i], rows[1][i], rows[2][i], rows[3][i]]);
                }
                l += 4;
            }
            for l in l..depth {
                for i in 0..4 {
                    panel[l * width + j + i] = sources[i][l];
                }
            }
        } else {
            for l in 0..depth {
                for i in 0..block {
                    panel[l * width + j + i] = sources[i][l * b.row_stride];
                }
            }
        }
    }
}

/// `target[l][j] = source[j][l]` for 8 x 8 values, rows so many values apart.
///
/// SAFETY: both have them, and the processor has AVX.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx")]
unsafe fn transpose_8(source: *const f32, source_stride: usize, target: *mut f32, target_stride: usize) {
    use std::arch::x86_64::*;
    // SAFETY: the caller's promise.
    unsafe {
        // Halves of rows j and j + 4 side by side: what is left is to transpose 4 x 4 within the halves of registers.
        let row = |j: usize, l: usize| _mm_loadu_ps(source.add(j * source_stride + l));
        for l in [0, 4] {
            let [a, b, c, d] = std::array::from_fn(|j| _mm256_set_m128(row(j + 4, l), row(j, l)));
            let (ab, cd) = (_mm256_unpacklo_ps(a, b), _mm256_unpacklo_ps(c, d));
            let (ab_high, cd_high) = (_mm256_unpackhi_ps(a, b), _mm256_unpackhi_ps(c, d));
            let put = |i: usize, values| _mm256_storeu_ps(target.add((l + i) * target_stride), values);
            put(0, _mm256_shuffle_ps::<0b01_00_01_00>(ab, cd));
            put(1, _mm256_shuffle_ps::<0b11_10_11_10>(ab, cd));
            put(2, _mm256_shuffle_ps::<0b01_00_01_00>(ab_high, cd_high));
            put(3, _mm256_shuffle_ps::<0b11_10_11_10>(ab_high, cd_high));
        }
    }
}

/// Work space of [`matmul`], kept from call to call.
#[derive(Default)]
pub struct Workspace {
    b: Vec<f32>,
}

/// `c[m, n] = a b`, or `+=` with `accumulate`; c is row-major and dense. Uses all threads.
pub fn matmul(work: &mut Workspace, m: usize, n: usize, k: usize, a: Strided, b: Strided, c: &mut [f32], accumulate: bool) {
    matmul_with(microkernel::best(), work, m, n, k, a, b, c, accumulate);
}

/// Rows per task of [`matmul_then`], and those where b is larger than the second cache.
const ROWS_THEN: usize = 24;
const ROWS_THEN_LARGE: usize = 48;

/// `c[m, n] = a b`, and as soon as some rows of c are there, `then(first row, rows of c, the same rows of also)`, on the thread
/// that computed them. `also` has m rows too, or no value.
pub fn matmul_then(
    work: &mut Workspace,
    m: usize,
    n: usize,
    k: usize,
    a: Strided,
    b: Strided,
    c: &mut [f32],
    also: &mut [f32],
    then: impl Fn(usize, &mut [f32], &mut [f32]) + Sync,
) {
    assert!(m > 0 && n > 0 && k > 0 && c.len() == m * n && also.len().is_multiple_of(m));
    let set = microkernel::best();
    a.check(m, k);
    b.check(k, n);
    let pieces = pack_pieces(set, work, n, k, KC, b);
    let (columns, packed) = (n.next_multiple_of(set.columns), aligned(&work.b));
    let tile_columns = balanced(n, NC, set.columns);
    let task_rows = if k * columns > NC * KC * 2 { ROWS_THEN_LARGE } else { ROWS_THEN };
    let also_width = also.len() / m;
    each_part([(c, task_rows * n), (also, task_rows * also_width)], |task, [c, also]| {
        let (first, rows) = (task * task_rows, c.len() / n);
        for column in (0..n).step_by(tile_columns) {
            for &(start, depth) in &pieces {
                let b = Panels { data: &packed[start * columns..][..depth * columns], depth, columns: n };
                let out = Output { data: c.as_mut_ptr(), stride: n };
                // SAFETY: c has these rows and columns and belongs to this task.
                unsafe {
                    let columns = column..(column + tile_columns).min(n);
                    multiply_tile(set, 0..rows, columns, 0..depth, a.from(first, start), b, out, start > 0);
                }
            }
        }
        then(first, c, also);
    });
}

/// Rows of a strip of [`strips`]: each strip reads all of b once.
pub const STRIP: usize = 96;

/// The product `a[m, k] b[k, n]` without ever being whole: strips of rows go through it tile by tile, from left to right, and
/// `then(state, columns, tile)` gets the strip's state and the tile [rows of the strip, columns]. Strips without a state are
/// not computed. Uses all threads, one per strip at a time.
pub fn strips<S: Send>(
    work: &mut Workspace,
    m: usize,
    n: usize,
    k: usize,
    a: Strided,
    b: Strided,
    states: Vec<Option<S>>,
    then: impl Fn(&mut S, Range<usize>, &[f32]) + Sync,
) {
    assert!(states.len() == m.div_ceil(STRIP) && n > 0 && k > 0);
    let set = microkernel::best();
    a.check(m, k);
    b.check(k, n);
    let pieces = pack_pieces(set, work, n, k, KC, b);
    let (columns, packed) = (n.next_multiple_of(set.columns), aligned(&work.b));
    let tile_columns = balanced(n, NC, set.columns);
    let mut states = states;
    each_part([(&mut states[..], 1)], |strip, [state]| {
        let Some(state) = &mut state[0] else { return };
        let space = &mut vec![0.0; STRIP * tile_columns + LINE];
        let rows = strip * STRIP..((strip + 1) * STRIP).min(m);
        for first in (0..n).step_by(tile_columns) {
            let tile_columns = first..(first + tile_columns).min(n);
            let width = tile_columns.len();
            let tile = room(space, rows.len() * width);
            // Row `rows.start` and column `first` of the product are the tile's first element.
            let out = Output { data: tile.as_mut_ptr().wrapping_sub(rows.start * width + first), stride: width };
            for &(start, depth) in &pieces {
                let b = Panels { data: &packed[start * columns..][..depth * columns], depth, columns: n };
                // SAFETY: the tile has these rows and columns and belongs to this task.
                unsafe { multiply_tile(set, rows.clone(), tile_columns.clone(), 0..depth, a.from(0, start), b, out, start > 0) };
            }
            then(state, tile_columns, tile);
        }
    });
}

/// Packs all of b, in pieces of at most `longest` of k: their first row and depth.
fn pack_pieces(set: &Set, work: &mut Workspace, n: usize, k: usize, longest: usize, b: Strided) -> Vec<(usize, usize)> {
    let most = balanced(k, longest, 1);
    let pieces: Vec<(usize, usize)> = (0..k).step_by(most).map(|start| (start, most.min(k - start))).collect();
    in_pieces(&mut work.b, &pieces, n.next_multiple_of(set.columns), set.columns, |start, depth, column, panel| {
        pack_panel(set.columns, (n - column).min(set.columns), b.from(start, column), &mut panel[..depth * set.columns])
    });
    pieces
}

fn matmul_with(set: &Set, work: &mut Workspace, m: usize, n: usize, k: usize, a: Strided, b: Strided, c: &mut [f32], accumulate: bool) {
    assert_eq!(c.len(), m * n);
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        if !accumulate {
            c.fill(0.0);
        }
        return;
    }
    a.check(m, k);
    b.check(k, n);
    // All pieces of k are packed at once: the tasks then go through them without waiting for one another.
    let pieces = pack_pieces(set, work, n, k, if a.column_stride == 1 { KC } else { KC_TRANSPOSED }, b);
    let columns = n.next_multiple_of(set.columns);
    let tile_rows = balanced(m, MC, set.rows);
    let tile_columns = balanced(n, NC, set.columns);
    let (row_tiles, column_tiles) = (m.div_ceil(tile_rows), n.div_ceil(tile_columns));
    let out = Output { data: c.as_mut_ptr(), stride: n };
    let packed = aligned(&work.b);
    each(row_tiles * column_tiles, |tile| {
        // Down the rows first: a tile of b stays in the second cache while a is streamed past it.
        let (row, column) = (tile % row_tiles * tile_rows, tile / row_tiles * tile_columns);
        let tile_rows = row..(row + tile_rows).min(m);
        let tile_columns = column..(column + tile_columns).min(n);
        for &(start, depth) in &pieces {
            let b = Panels { data: &packed[start * columns..][..depth * columns], depth, columns: n };
            // SAFETY: tiles do not overlap and lie within c, which no one else uses during this call.
            unsafe {
                multiply_tile(set, tile_rows.clone(), tile_columns.clone(), 0..depth, a.from(0, start), b, out, accumulate || start > 0)
            };
        }
    });
}

/// Fills `space` piece after piece, each in parts of `unit` of the `width` rows or columns: `fill(start, depth, first of the
/// unit, part)`.
fn in_pieces(
    space: &mut Vec<f32>,
    pieces: &[(usize, usize)],
    width: usize,
    unit: usize,
    fill: impl Fn(usize, usize, usize, &mut [f32]) + Sync,
) {
    let total: usize = pieces.iter().map(|(_, depth)| depth * width).sum();
    let mut rest = room(space, total);
    let mut parts = Vec::with_capacity(pieces.len() * width.div_ceil(unit));
    for &(start, depth) in pieces {
        let (piece, behind) = rest.split_at_mut(depth * width);
        rest = behind;
        parts.extend(piece.chunks_mut(depth * unit).enumerate().map(|(p, part)| (start, depth, p * unit, part)));
    }
    each_part([(&mut parts[..], 2)], |_, [parts]| {
        for (start, depth, first, part) in parts {
            fill(*start, *depth, *first, part);
        }
    });
}

/// Length of equal parts of `total`, at most `most` and a multiple of `unit`.
fn balanced(total: usize, most: usize, unit: usize) -> usize {
    total.div_ceil(total.div_ceil(most)).next_multiple_of(unit)
}

/// Row-major output of a product.
#[derive(Clone, Copy)]
struct Output {
    data: *mut f32,
    stride: usize,
}
// SAFETY: the tasks that share it write disjoint tiles.
unsafe impl Send for Output {}
// SAFETY: as above.
unsafe impl Sync for Output {}

/// `c[..rows, columns of b] (+)= a[..rows, k] b` on one thread, c having `stride` values from row to row.
/// Of the packed b the rows `depth` are used; a's column 0 is the first of them.
pub fn multiply(
    rows: usize,
    depth: Range<usize>,
    a: Strided,
    b: &Packed,
    columns: Range<usize>,
    c: &mut [f32],
    stride: usize,
    accumulate: bool,
) {
    if rows == 0 || columns.is_empty() {
        return;
    }
    let set = microkernel::best();
    assert!(depth.end <= b.depth && columns.end <= b.columns && columns.start.is_multiple_of(set.columns));
    assert!((rows - 1) * stride + columns.len() <= c.len());
    a.check(rows, depth.len().max(1));
    // The output's column 0 is b's column `columns.start`.
    let out = Output { data: c.as_mut_ptr().wrapping_sub(columns.start), stride };
    // SAFETY: the asserts above keep every element of the tile inside c.
    unsafe { multiply_tile(set, 0..rows, columns, depth, a, b.panels(), out, accumulate) }
}

/// `rows` rows of a transposed a, `unit` values from step to step of k.
fn copy_transposed<'a>(unit: usize, rows: usize, depth: usize, a: Strided, space: &'a mut [f32]) -> Strided<'a> {
    for (l, values) in space.chunks_exact_mut(unit).take(depth).enumerate() {
        values[..rows].copy_from_slice(&a.data[l * a.column_stride..][..rows]);
    }
    Strided::transposed(space, unit)
}

/// SAFETY: `rows` and `columns` of `out` are inside its memory and nobody else's, and a and b have them.
unsafe fn multiply_tile(
    set: &Set,
    rows: Range<usize>,
    columns: Range<usize>,
    depth: Range<usize>,
    a: Strided,
    b: Panels,
    out: Output,
    accumulate: bool,
) {
    debug_assert!(columns.end <= b.columns);
    // Steps of k whole pages apart would share a few sets of the first cache. Where they are read often, a copy pays.
    let conflicts = a.row_stride == 1 && a.column_stride.is_multiple_of(PAGE) && columns.len() > set.columns;
    let mut copy = conflicts.then(|| vec![0.0; set.rows * depth.len()]);
    for i in rows.clone().step_by(set.rows) {
        let kernel = set.kernels[set.rows.min(rows.end - i) - 1];
        let mut a = a.from(i, 0);
        if let Some(space) = &mut copy {
            a = copy_transposed(set.rows, set.rows.min(rows.end - i), depth.len(), a, space);
        }
        for column in columns.clone().step_by(set.columns) {
            let b = &b.data[column * b.depth..][depth.start * set.columns..depth.end * set.columns];
            let columns = set.columns.min(columns.end - column);
            // SAFETY: the caller's promise for this part of the tile; `check` has covered a.
            unsafe {
                let c = out.data.add(i * out.stride + column);
                kernel(&Tile {
                    depth: depth.len(),
                    a: a.data.as_ptr(),
                    row_stride: a.row_stride,
                    column_stride: a.column_stride,
                    b: b.as_ptr(),
                    columns,
                    c,
                    stride: out.stride,
                    accumulate,
                });
            }
        }
    }
}

/// `c[m, n] = a[m, k] b[n, k]ᵀ` for few rows: each row of b is read once for all of them, and each output is one dot
/// product, whatever m is.
pub fn matvec_nt(m: usize, n: usize, k: usize, a: &[f32], b: &[f32], c: &mut [f32]) {
    /// Outputs per task.
    const PART: usize = 64;
    assert!(a.len() == m * k && b.len() == n * k && c.len() == m * n);
    let out = Output { data: c.as_mut_ptr(), stride: n };
    each(n.div_ceil(PART), |part| {
        let (out, b) = (&out, &b[part * PART * k..(part * PART + PART).min(n) * k]);
        dot_rows(m, k, a, b, |i, j, value| {
            // SAFETY: i < m and part * PART + j < n, and only this task has this part.
            unsafe { *out.data.add(i * out.stride + part * PART + j) = value }
        });
    });
}

#[multiversion::multiversion(targets("x86_64+avx512f", "x86_64+avx2+fma"))]
fn dot_rows(m: usize, k: usize, a: &[f32], b: &[f32], mut put: impl FnMut(usize, usize, f32)) {
    for (j, b) in b.chunks_exact(k).enumerate() {
        for i in 0..m {
            put(i, j, super::math::dot(&a[i * k..][..k], b));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(n: usize, seed: u32) -> Vec<f32> {
        (0..n as u32).map(|i| ((i.wrapping_mul(2_654_435_761).wrapping_add(seed * 97)) >> 8) as f32 / (1 << 24) as f32 - 0.5).collect()
    }

    /// Awkward sizes: below, at and beyond every blocking constant.
    const SIZES: [(usize, usize, usize); 10] = [
        (1, 1, 1),
        (5, 17, 3),
        (6, 16, 384),
        (7, 31, 385),
        (97, 257, 40),
        (193, 40, 800),
        (2, 856, 320),
        (101, 15, 1),
        (320, 960, 65),
        (1024, 40, 300),
    ];

    #[test]
    fn all_forms_equal_the_triple_loop_for_any_number_of_threads() {
        for (set, (m, n, k)) in microkernel::available().flat_map(|set| SIZES.map(|size| (set, size))) {
            let (a, b, c0) = (values(m * k, 1), values(k * n, 2), values(m * n, 3));
            let forms = [
                ("nn", Strided::rows(&a, k), Strided::rows(&b, n)),
                ("nt", Strided::rows(&a, k), Strided::transposed(&b, k)),
                ("tn", Strided::transposed(&a, m), Strided::rows(&b, n)),
            ];
            for (form, a, b) in forms {
                for accumulate in [false, true] {
                    let run = |threads| {
                        let mut c = c0.clone();
                        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                        pool.install(|| matmul_with(set, &mut Workspace::default(), m, n, k, a, b, &mut c, accumulate));
                        c
                    };
                    let c = run(1);
                    assert!(c == run(3), "{} {form} {m} x {n} x {k}: the bits depend on the threads", set.name);
                    for i in 0..m {
                        for j in 0..n {
                            let at = |x: Strided, r: usize, s: usize| f64::from(x.data[r * x.row_stride + s * x.column_stride]);
                            let sum: f64 = (0..k).map(|l| at(a, i, l) * at(b, l, j)).sum();
                            let expected = sum + if accumulate { f64::from(c0[i * n + j]) } else { 0.0 };
                            let found = f64::from(c[i * n + j]);
                            assert!(
                                (found - expected).abs() <= 2e-6 * (1.0 + k as f64).sqrt(),
                                "{} {form} {m} x {n} x {k} at {i}, {j}: {found} for {expected}",
                                set.name
                            );
                        }
                    }
                }
            }
        }
    }
}
