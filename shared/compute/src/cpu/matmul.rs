//! The f32 matrix product: `c[m, n] (+)= a[m, k] b[k, n]` for any strides of a and b.
//!
//! As in GotoBLAS (Goto and van de Geijn 2008): b is packed into panels of NR columns that stay in the first cache
//! while a block of a's rows stays in the second; registers hold a tile of MR x NR sums. Rows of a that are
//! contiguous in k are read where they are. Every sum runs over k in the same order whatever the threads do, so the
//! result does not depend on their number.
use std::ops::Range;

use rayon::prelude::*;

/// Rows and columns of the tile of sums that one call of the microkernel holds: 12 AVX2 registers of 16.
const MR: usize = 6;
const NR: usize = 16;
/// Longest piece of k at once: a panel of b is then at most 24 KiB.
const KC: usize = 384;
/// Rows of a and columns of b per task: 96 x 384 and 384 x 256 values fill the second cache.
const MC: usize = 96;
const NC: usize = 256;

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

/// Columns of b side by side in panels of NR: `panels[p][l][j] = b[l, p * NR + j]`, zero beyond the last column.
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
        for (p, panel) in room(&mut self.data, n.next_multiple_of(NR) * k).chunks_exact_mut(k * NR).enumerate() {
            pack_panel(k, (n - p * NR).min(NR), b.from(0, p * NR), panel);
        }
    }

    fn panels(&self) -> Panels<'_> {
        Panels { data: &self.data, depth: self.depth, columns: self.columns }
    }
}

/// The first `len` values of a space that only grows. What was there before stays: the caller writes all of it.
pub fn room(space: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if space.len() < len {
        space.resize(len, 0.0);
    }
    &mut space[..len]
}

fn pack_panel(k: usize, columns: usize, b: Strided, panel: &mut [f32]) {
    if columns == NR && b.column_stride == 1 {
        for (l, row) in panel.as_chunks_mut::<NR>().0.iter_mut().enumerate() {
            row.copy_from_slice(&b.data[l * b.row_stride..][..NR]);
        }
        return;
    }
    if columns < NR {
        panel.fill(0.0);
    }
    if b.column_stride == 1 {
        for (l, row) in panel.chunks_exact_mut(NR).enumerate() {
            row[..columns].copy_from_slice(&b.data[l * b.row_stride..][..columns]);
        }
    } else if b.row_stride == 1 {
        // Transpose in blocks, so that both sides stay in the first cache.
        for start in (0..k).step_by(8) {
            let end = (start + 8).min(k);
            for j in 0..columns {
                let column = &b.data[j * b.column_stride..];
                for l in start..end {
                    panel[l * NR + j] = column[l];
                }
            }
        }
    } else {
        for l in 0..k {
            for j in 0..columns {
                panel[l * NR + j] = b.data[l * b.row_stride + j * b.column_stride];
            }
        }
    }
}

/// Work space of [`matmul`], kept from call to call.
#[derive(Default)]
pub struct Workspace {
    a: Vec<f32>,
    b: Vec<f32>,
}

/// `c[m, n] = a b`, or `+=` with `accumulate`; c is row-major and dense. Uses all threads.
pub fn matmul(work: &mut Workspace, m: usize, n: usize, k: usize, a: Strided, b: Strided, c: &mut [f32], accumulate: bool) {
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
    let most = k.div_ceil(k.div_ceil(KC));
    // All pieces of k are packed at once: the tasks then go through them without waiting for one another.
    let pieces: Vec<(usize, usize)> = (0..k).step_by(most).map(|start| (start, most.min(k - start))).collect();
    let columns = n.next_multiple_of(NR);
    in_pieces(&mut work.b, &pieces, columns, NR, |start, depth, p, panel| {
        pack_panel(depth, (n - p * NR).min(NR), b.from(start, p * NR), panel)
    });
    let rows = m.next_multiple_of(MR);
    let a_packed = a.column_stride != 1;
    if a_packed {
        in_pieces(&mut work.a, &pieces, rows, MR, |start, depth, p, panel| {
            pack_rows(depth, (m - p * MR).min(MR), a.from(p * MR, start), panel)
        });
    }
    let tile_rows = balanced(m, MC, MR);
    let tile_columns = balanced(n, NC, NR);
    let (row_tiles, column_tiles) = (m.div_ceil(tile_rows), n.div_ceil(tile_columns));
    let out = Output { data: c.as_mut_ptr(), stride: n };
    let work = &*work;
    (0..row_tiles * column_tiles).into_par_iter().for_each(|tile| {
        // Down the rows first: a tile of b stays in the second cache while a is streamed past it.
        let (row, column) = (tile % row_tiles * tile_rows, tile / row_tiles * tile_columns);
        let tile_rows = row..(row + tile_rows).min(m);
        let tile_columns = column..(column + tile_columns).min(n);
        for &(start, depth) in &pieces {
            let b = Panels { data: &work.b[start * columns..][..depth * columns], depth, columns: n };
            let a = if a_packed { Rows::Packed(&work.a[start * rows..][..depth * rows]) } else { Rows::InPlace(a.from(0, start)) };
            // SAFETY: tiles do not overlap and lie within c, which no one else uses during this call.
            unsafe { multiply_tile(tile_rows.clone(), tile_columns.clone(), depth, a, b, out, accumulate || start > 0) };
        }
    });
}

/// Fills `space` piece after piece, each in panels of `unit` of the `width` rows or columns: `fill(start, depth, panel number, panel)`.
fn in_pieces(
    space: &mut Vec<f32>,
    pieces: &[(usize, usize)],
    width: usize,
    unit: usize,
    fill: impl Fn(usize, usize, usize, &mut [f32]) + Sync,
) {
    let total: usize = pieces.iter().map(|(_, depth)| depth * width).sum();
    let mut rest = room(space, total);
    let mut panels = Vec::with_capacity(pieces.len() * width / unit);
    for &(start, depth) in pieces {
        let (piece, behind) = rest.split_at_mut(depth * width);
        rest = behind;
        panels.extend(piece.chunks_exact_mut(depth * unit).enumerate().map(|(p, panel)| (start, depth, p, panel)));
    }
    panels.into_par_iter().with_min_len(4).for_each(|(start, depth, p, panel)| fill(start, depth, p, panel));
}

/// Length of equal parts of `total`, at most `most` and a multiple of `unit`.
fn balanced(total: usize, most: usize, unit: usize) -> usize {
    total.div_ceil(total.div_ceil(most)).next_multiple_of(unit)
}

/// `rows` rows of a as `panel[l][i]`, for a microkernel that reads them side by side.
fn pack_rows(depth: usize, rows: usize, a: Strided, panel: &mut [f32]) {
    if a.row_stride == 1 && rows == MR {
        for (l, values) in panel.chunks_exact_mut(MR).enumerate() {
            values.copy_from_slice(&a.data[l * a.column_stride..][..MR]);
        }
        return;
    }
    for (l, values) in panel.chunks_exact_mut(MR).take(depth).enumerate() {
        for (i, value) in values[..rows].iter_mut().enumerate() {
            *value = a.data[i * a.row_stride + l * a.column_stride];
        }
    }
}

/// The rows of a, as a tile reads them.
#[derive(Clone, Copy)]
enum Rows<'a> {
    InPlace(Strided<'a>),
    /// Panels of MR rows from `pack_rows`, one after the other.
    Packed(&'a [f32]),
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
/// The first `depth` rows of the packed b are used.
pub fn multiply(rows: usize, depth: usize, a: Strided, b: &Packed, columns: Range<usize>, c: &mut [f32], stride: usize, accumulate: bool) {
    if rows == 0 || columns.is_empty() {
        return;
    }
    assert!(depth <= b.depth && columns.end <= b.columns && columns.start.is_multiple_of(NR));
    assert!((rows - 1) * stride + columns.len() <= c.len());
    a.check(rows, depth.max(1));
    // The output's column 0 is b's column `columns.start`.
    let out = Output { data: c.as_mut_ptr().wrapping_sub(columns.start), stride };
    // SAFETY: the asserts above keep every element of the tile inside c.
    unsafe { multiply_tile(0..rows, columns, depth, Rows::InPlace(a), b.panels(), out, accumulate) }
}

/// SAFETY: `rows` and `columns` of `out` are inside its memory and nobody else's, and a and b have them.
unsafe fn multiply_tile(rows: Range<usize>, columns: Range<usize>, depth: usize, a: Rows, b: Panels, out: Output, accumulate: bool) {
    debug_assert!(columns.end <= b.columns);
    let kernels = microkernels();
    for panel in columns.start / NR..columns.end.div_ceil(NR) {
        let b = &b.data[panel * b.depth * NR..][..depth * NR];
        let column = panel * NR;
        let width = NR.min(columns.end - column);
        for i in rows.clone().step_by(MR) {
            let count = MR.min(rows.end - i);
            let (a, row_stride, column_stride) = match a {
                Rows::InPlace(a) => (&a.data[i * a.row_stride..], a.row_stride, a.column_stride),
                Rows::Packed(data) => (&data[i * depth..], 1, MR),
            };
            // SAFETY: the caller's promise for this part of the tile; `check` has covered a.
            unsafe {
                let kernel = |c, stride, add| kernels[count - 1](depth, a.as_ptr(), row_stride, column_stride, b.as_ptr(), c, stride, add);
                let c = out.data.add(i * out.stride + column);
                if width == NR {
                    kernel(c, out.stride, accumulate);
                } else {
                    let mut tile = [0.0f32; MR * NR];
                    kernel(tile.as_mut_ptr(), NR, false);
                    for (r, values) in tile.chunks_exact(NR).take(count).enumerate() {
                        for (j, &value) in values[..width].iter().enumerate() {
                            let c = c.add(r * out.stride + j);
                            *c = if accumulate { *c + value } else { value };
                        }
                    }
                }
            }
        }
    }
}

/// `c[rows, NR] (+)= a[rows, depth] b[depth, NR]`: depth, a and its two strides, b, c and its stride, accumulate.
///
/// SAFETY: the pointers have that many values, and the processor what the kernel needs.
type Microkernel = unsafe fn(usize, *const f32, usize, usize, *const f32, *mut f32, usize, bool);

/// The kernels for 1 to MR rows.
fn microkernels() -> [Microkernel; MR] {
    #[cfg(target_arch = "x86_64")]
    if has_avx2() {
        return [kernel_avx2::<1>, kernel_avx2::<2>, kernel_avx2::<3>, kernel_avx2::<4>, kernel_avx2::<5>, kernel_avx2::<6>];
    }
    [kernel_portable::<1>, kernel_portable::<2>, kernel_portable::<3>, kernel_portable::<4>, kernel_portable::<5>, kernel_portable::<6>]
}

/// Whether the fast microkernel can run. Detected once, by the standard library.
pub fn has_avx2() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// R x NR sums in registers, two per row of b.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn kernel_avx2<const R: usize>(
    depth: usize,
    a: *const f32,
    row: usize,
    column: usize,
    b: *const f32,
    c: *mut f32,
    stride: usize,
    accumulate: bool,
) {
    use std::arch::x86_64::*;
    // SAFETY: the promise of `Microkernel`.
    unsafe {
        let mut sums = [[_mm256_setzero_ps(); 2]; R];
        let (mut a, mut b) = (a, b);
        for _ in 0..depth {
            let (b0, b1) = (_mm256_loadu_ps(b), _mm256_loadu_ps(b.add(8)));
            for (i, sum) in sums.iter_mut().enumerate() {
                let value = _mm256_broadcast_ss(&*a.add(i * row));
                sum[0] = _mm256_fmadd_ps(value, b0, sum[0]);
                sum[1] = _mm256_fmadd_ps(value, b1, sum[1]);
            }
            a = a.wrapping_add(column);
            b = b.add(NR);
        }
        for (i, [s0, s1]) in sums.into_iter().enumerate() {
            let c = c.add(i * stride);
            if accumulate {
                _mm256_storeu_ps(c, _mm256_add_ps(_mm256_loadu_ps(c), s0));
                _mm256_storeu_ps(c.add(8), _mm256_add_ps(_mm256_loadu_ps(c.add(8)), s1));
            } else {
                _mm256_storeu_ps(c, s0);
                _mm256_storeu_ps(c.add(8), s1);
            }
        }
    }
}

/// The same in plain Rust, for other processors: compilers turn the inner loop into vector instructions.
unsafe fn kernel_portable<const R: usize>(
    depth: usize,
    a: *const f32,
    row: usize,
    column: usize,
    b: *const f32,
    c: *mut f32,
    stride: usize,
    accumulate: bool,
) {
    // SAFETY: the promise of `Microkernel`.
    unsafe {
        let mut sums = [[0.0f32; NR]; R];
        for l in 0..depth {
            let b = std::slice::from_raw_parts(b.add(l * NR), NR);
            for (i, sum) in sums.iter_mut().enumerate() {
                let value = *a.add(i * row + l * column);
                for (s, &b) in sum.iter_mut().zip(b) {
                    *s += value * b;
                }
            }
        }
        for (i, sum) in sums.iter().enumerate() {
            let c = std::slice::from_raw_parts_mut(c.add(i * stride), NR);
            for (c, &s) in c.iter_mut().zip(sum) {
                *c = if accumulate { *c + s } else { s };
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
    b.par_chunks(PART * k).enumerate().for_each(|(part, b)| {
        let out = &out;
        dot_rows(m, k, a, b, |i, j, value| {
            // SAFETY: i < m and part * PART + j < n, and only this task has this part.
            unsafe { *out.data.add(i * out.stride + part * PART + j) = value }
        });
    });
}

#[multiversion::multiversion(targets("x86_64+avx2+fma"))]
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
    const SIZES: [(usize, usize, usize); 9] =
        [(1, 1, 1), (5, 17, 3), (6, 16, 384), (7, 31, 385), (97, 257, 40), (193, 40, 800), (2, 856, 320), (101, 15, 1), (320, 960, 65)];

    #[test]
    fn all_forms_equal_the_triple_loop_for_any_number_of_threads() {
        for (m, n, k) in SIZES {
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
                        pool.install(|| matmul(&mut Workspace::default(), m, n, k, a, b, &mut c, accumulate));
                        c
                    };
                    let c = run(1);
                    assert!(c == run(3), "{form} {m} x {n} x {k}: the bits depend on the threads");
                    for i in 0..m {
                        for j in 0..n {
                            let at = |x: Strided, r: usize, s: usize| f64::from(x.data[r * x.row_stride + s * x.column_stride]);
                            let sum: f64 = (0..k).map(|l| at(a, i, l) * at(b, l, j)).sum();
                            let expected = sum + if accumulate { f64::from(c0[i * n + j]) } else { 0.0 };
                            let found = f64::from(c[i * n + j]);
                            assert!(
                                (found - expected).abs() <= 2e-6 * (1.0 + k as f64).sqrt(),
                                "{form} {m} x {n} x {k} at {i}, {j}: {found} for {expected}"
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn the_portable_kernel_equals_the_fast_one() {
        let (a, b) = (values(MR * 50, 1), values(50 * NR, 2));
        let (mut fast, mut plain) = (vec![1.0; MR * NR], vec![1.0; MR * NR]);
        // SAFETY: the slices have exactly the sizes the kernels use.
        unsafe {
            microkernels()[MR - 1](50, a.as_ptr(), 50, 1, b.as_ptr(), fast.as_mut_ptr(), NR, true);
            kernel_portable::<MR>(50, a.as_ptr(), 50, 1, b.as_ptr(), plain.as_mut_ptr(), NR, true);
        }
        for (x, y) in fast.iter().zip(&plain) {
            assert!((x - y).abs() < 1e-5, "{x} {y}");
        }
    }
}
