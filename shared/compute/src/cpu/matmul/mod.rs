//! The f32 matmul: `c[m, n] (+)= a[m, k] b[k, n]` for any strides of a and b.
//!
//! As in GotoBLAS (Goto and van de Geijn 2008): b is packed into panels as wide as the tile of accumulators that a processor's
//! registers hold, which stay in the second cache while the rows of a pass by. Every sum runs over k in the same order
//! whatever the threads do, so the result does not depend on their number.
#[cfg(target_arch = "x86_64")]
mod amx;
mod machine;
mod operands;
mod packed;
mod set;
mod vectors;

use std::ops::Range;

use super::parallel::{each, each_part};
pub(super) use machine::best;
pub(super) use operands::{LINE, Output, Strided, scratch};
use operands::{Panels, aligned};
pub(super) use packed::Packed;
use set::{Block, Set};

/// Scratch of [`matmul`], kept from call to call.
#[derive(Default)]
pub(super) struct Scratch {
    b: Vec<f32>,
}

/// `c[m, n] = a b`, or `+=` with `accumulate`; c is row-major and dense. Uses all threads.
pub(super) fn matmul(
    scratch: &mut Scratch,
    m: usize,
    n: usize,
    k: usize,
    a: Strided,
    b: Strided,
    c: &mut [f32],
    accumulate: bool,
) {
    matmul_with(best(), scratch, m, n, k, a, b, c, accumulate);
}

/// `c[m, n] = a b`, and as soon as some rows of c are there, `then(first row, rows of c, the same rows of also)`, on the thread
/// that computed them. `also` has m rows too, or no value.
pub(super) fn matmul_then(
    scratch: &mut Scratch,
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
    let set = best();
    a.check(m, k);
    let b = Pieces::pack(set, scratch, n, k, set.blocks.depth, b);
    let task_rows =
        if b.fits_second_cache() { set.blocks.rows_of_all } else { set.blocks.rows_of_all_large };
    let also_width = also.len() / m;
    each_part([(c, task_rows * n), (also, task_rows * also_width)], |task, [c, also]| {
        let (first, rows) = (task * task_rows, c.len() / n);
        for columns in b.tiles() {
            // SAFETY: c has these rows and columns and belongs to this task.
            unsafe { b.multiply(0..rows, columns, a.from(first, 0), Output::new(c, n), false) };
        }
        then(first, c, also);
    });
}

/// Rows of a strip of [`strips`]: each strip reads all of b once.
pub(super) const STRIP: usize = 96;

/// The matmul `a[m, k] b[k, n]` without ever being whole: strips of rows go through it tile by tile, from left to right, and
/// `then(state, columns, tile)` gets the strip's state and the tile [rows of the strip, columns]. Strips without a state are
/// not computed. Uses all threads, one per strip at a time.
pub(super) fn strips<S: Send>(
    scratch: &mut Scratch,
    m: usize,
    n: usize,
    k: usize,
    a: Strided,
    b: Strided,
    mut states: Vec<Option<S>>,
    then: impl Fn(&mut S, Range<usize>, &[f32]) + Sync,
) {
    assert!(states.len() == m.div_ceil(STRIP) && n > 0 && k > 0);
    let set = best();
    a.check(m, k);
    let b = Pieces::pack(set, scratch, n, k, set.blocks.depth, b);
    each_part([(&mut states[..], 1)], |strip, [state]| {
        let Some(state) = &mut state[0] else { return };
        let space = &mut Vec::new();
        let rows = strip * STRIP..((strip + 1) * STRIP).min(m);
        for columns in b.tiles() {
            let width = columns.len();
            let tile = operands::scratch(space, rows.len() * width);
            // Row `rows.start` and column `columns.start` of the matmul are the tile's first element.
            let out = Output::new(tile, width).named(rows.start, columns.start);
            // SAFETY: the tile has these rows and columns and belongs to this task.
            unsafe { b.multiply(rows.clone(), columns.clone(), a, out, false) };
            then(state, columns, tile);
        }
    });
}

fn matmul_with(
    set: &Set,
    scratch: &mut Scratch,
    m: usize,
    n: usize,
    k: usize,
    a: Strided,
    b: Strided,
    c: &mut [f32],
    accumulate: bool,
) {
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
    let b = Pieces::pack(
        set,
        scratch,
        n,
        k,
        if a.column_stride == 1 { set.blocks.depth } else { set.blocks.depth_transposed },
        b,
    );
    let tiles: Vec<_> = b.tiles().collect();
    let tile_rows = task_rows(set, m, tiles.len());
    let row_tiles = m.div_ceil(tile_rows);
    let out = Output::new(c, n);
    each(row_tiles * tiles.len(), |tile| {
        // Down the rows first: a tile of b stays in the second cache while a is streamed past it.
        let row = tile % row_tiles * tile_rows;
        // SAFETY: tiles do not overlap and lie within c, which no one else uses during this call.
        unsafe {
            b.multiply(
                row..(row + tile_rows).min(m),
                tiles[tile / row_tiles].clone(),
                a,
                out,
                accumulate,
            )
        };
    });
}

/// Rows of a task with which all threads are done soonest: of many rows, tasks read b less often; of few, they are shared out
/// evenly. The result does not depend on it.
fn task_rows(set: &Set, m: usize, column_tiles: usize) -> usize {
    let threads = rayon::current_num_threads();
    let time =
        |rows: &usize| (m.div_ceil(*rows) * column_tiles).div_ceil(threads) * (rows + set.rows);
    let heights =
        (1..=set.blocks.rows / set.rows).map(|tiles| balanced(m, tiles * set.rows, set.rows));
    heights.min_by_key(time).unwrap_or(set.rows)
}

/// All of b [k, n], packed in pieces of k at once: the tasks then go through them without waiting for one another.
struct Pieces<'a> {
    set: &'a Set,
    data: &'a [f32],
    /// The first step and the depth of each.
    pieces: Vec<(usize, usize)>,
    columns: usize,
}

impl<'a> Pieces<'a> {
    /// In pieces of at most `longest` steps.
    fn pack(
        set: &'a Set,
        scratch: &'a mut Scratch,
        n: usize,
        k: usize,
        longest: usize,
        b: Strided,
    ) -> Self {
        b.check(k, n);
        let most = balanced(k, longest, set.depth);
        let pieces: Vec<(usize, usize)> =
            (0..k).step_by(most).map(|start| (start, most.min(k - start))).collect();
        let panels = n.div_ceil(set.columns);
        let mut rest = operands::scratch(
            &mut scratch.b,
            panels * pieces.iter().map(|&(_, depth)| set.panel(depth)).sum::<usize>(),
        );
        let mut parts = Vec::with_capacity(pieces.len() * panels);
        for &(start, depth) in &pieces {
            let (piece, behind) = rest.split_at_mut(panels * set.panel(depth));
            rest = behind;
            parts.extend(
                piece
                    .chunks_exact_mut(set.panel(depth))
                    .enumerate()
                    .map(|(p, panel)| (start, depth, p * set.columns, panel)),
            );
        }
        each_part([(&mut parts[..], 2)], |_, [parts]| {
            for (start, depth, column, panel) in parts {
                (set.pack)(*depth, set.columns.min(n - *column), b.from(*start, *column), panel);
            }
        });
        Pieces { set, data: aligned(&scratch.b), pieces, columns: n }
    }

    /// Whether a thread that goes through all of it, task after task, finds it there.
    fn fits_second_cache(&self) -> bool {
        const BYTES: usize = 5 << 18;
        let depth = self.pieces.iter().map(|(_, depth)| depth).sum::<usize>();
        4 * self.set.panel(depth) * self.columns.div_ceil(self.set.columns) <= BYTES
    }

    /// The columns of each task: a is read, or packed, once for each of them.
    fn tiles(&self) -> impl Iterator<Item = Range<usize>> {
        let most = if self.fits_second_cache() { self.columns } else { self.set.blocks.columns };
        let most = balanced(self.columns, most, self.set.columns);
        (0..self.columns).step_by(most).map(move |first| first..(first + most).min(self.columns))
    }

    /// `out[rows, columns] (+)= a b` on the calling thread, the rows of a being those of out.
    ///
    /// SAFETY: these rows and columns of `out` are inside its memory and nobody else's.
    unsafe fn multiply(
        &self,
        rows: Range<usize>,
        columns: Range<usize>,
        a: Strided,
        out: Output,
        accumulate: bool,
    ) {
        for &(start, depth) in &self.pieces {
            let data =
                &self.data[self.columns.div_ceil(self.set.columns) * self.set.panel(start)..];
            let block = Block {
                rows: rows.clone(),
                columns: columns.clone(),
                depth: 0..depth,
                a: a.from(0, start),
                b: Panels { data, depth },
                out,
                accumulate: accumulate || start > 0,
            };
            // SAFETY: passed on; sets are of this machine.
            unsafe { (self.set.multiply)(&block) };
        }
    }
}

/// Length of equal parts of `total`, at most `most` and a multiple of `unit`.
fn balanced(total: usize, most: usize, unit: usize) -> usize {
    total.div_ceil(total.div_ceil(most)).next_multiple_of(unit)
}

/// `c[..rows, columns of b] (+)= a[..rows, k] b` on one thread, c having `stride` values from row to row.
/// Of the packed b the rows `depth` are used; a's column 0 is the first of them.
pub(super) fn multiply(
    rows: usize,
    depth: Range<usize>,
    a: Strided,
    b: &Packed,
    columns: Range<usize>,
    c: &mut [f32],
    stride: usize,
    accumulate: bool,
) {
    // SAFETY: c is this function's alone.
    unsafe { multiply_into(rows, depth, a, b, columns, Output::new(c, stride), accumulate) }
}

/// The same into a part of a matrix that others have parts of. Its column 0 is b's column `columns.start`.
///
/// SAFETY: nobody else reads or writes these rows and columns of `out` meanwhile.
pub(super) unsafe fn multiply_into(
    rows: usize,
    depth: Range<usize>,
    a: Strided,
    b: &Packed,
    columns: Range<usize>,
    out: Output,
    accumulate: bool,
) {
    if rows == 0 || columns.is_empty() {
        return;
    }
    let set = b.set;
    assert!(depth.end <= b.depth && columns.end <= b.columns);
    assert!(columns.start.is_multiple_of(set.columns) && depth.start.is_multiple_of(set.depth));
    a.check(rows, depth.len().max(1));
    let out = out.named(0, columns.start);
    // SAFETY: the set is of this machine, a and b have what the asserts say, and the output is the caller's.
    unsafe {
        (set.multiply)(&Block { rows: 0..rows, columns, depth, a, b: b.panels(), out, accumulate })
    }
}

/// `c[m, n] = a[m, k] b[n, k]ᵀ` for few rows: each row of b is read once for all of them, and each output is one dot
/// product, whatever m is.
pub(super) fn matvec_nt(m: usize, n: usize, k: usize, a: &[f32], b: &[f32], c: &mut [f32]) {
    /// Outputs per task.
    const PART: usize = 64;
    assert!(a.len() == m * k && b.len() == n * k && c.len() == m * n);
    let out = Output::new(c, n);
    each(n.div_ceil(PART), |part| {
        let (out, b) = (&out, &b[part * PART * k..(part * PART + PART).min(n) * k]);
        dot_rows(m, k, a, b, |i, j, value| {
            let column = part * PART + j;
            // SAFETY: `tile` gives an element of c, and only this task has its column.
            unsafe { *out.tile(i..i + 1, column..column + 1) = value }
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
        (0..n as u32)
            .map(|i| {
                ((i.wrapping_mul(2_654_435_761).wrapping_add(seed * 97)) >> 8) as f32
                    / (1 << 24) as f32
                    - 0.5
            })
            .collect()
    }

    /// Awkward sizes: below, at and beyond every blocking constant.
    const SIZES: [[usize; 3]; 10] = [
        [1, 1, 1],
        [5, 17, 3],
        [6, 16, 384],
        [7, 31, 385],
        [97, 257, 40],
        [193, 40, 800],
        [2, 856, 320],
        [101, 15, 1],
        [320, 960, 65],
        [1024, 40, 300],
    ];

    /// `c[m, n] (+)= a b` of a set in the three forms, the same bits on one thread and on three; against the triple loop in f64
    /// the norm of the difference over that of c is at most 8e-7: f32 units reach 5.1e-7 at these sizes, two bf16 for a value
    /// would give 3e-6.
    fn check(set: &Set, [m, n, k]: [usize; 3], a: &[f32], b: &[f32], accumulate: bool) {
        let (a_transposed, b_transposed) = (transposed(m, k, a), transposed(k, n, b));
        let forms = [
            ("nn", Strided::rows(a, k), Strided::rows(b, n)),
            ("nt", Strided::rows(a, k), Strided::transposed(&b_transposed, k)),
            ("tn", Strided::transposed(&a_transposed, m), Strided::rows(b, n)),
        ];
        let before = if accumulate { values(m * n, 3) } else { vec![f32::NAN; m * n] };
        for (form, a, b) in forms {
            let run = |threads| {
                let mut c = before.clone();
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| {
                    matmul_with(set, &mut Scratch::default(), m, n, k, a, b, &mut c, accumulate)
                });
                c
            };
            let c = run(1);
            let what = format!("{} {form} {m} x {n} x {k}", set.name);
            assert!(c == run(3), "{what}: the bits depend on the threads");
            let (mut error, mut norm) = (0.0, 0.0);
            for (at, &found) in c.iter().enumerate() {
                let (i, j) = (at / n, at % n);
                let value = |x: Strided, r: usize, s: usize| {
                    f64::from(x.data[r * x.row_stride + s * x.column_stride])
                };
                let sum: f64 = (0..k).map(|l| value(a, i, l) * value(b, l, j)).sum();
                let expected = sum + if accumulate { f64::from(before[at]) } else { 0.0 };
                let difference = f64::from(found) - expected;
                assert!(
                    difference.abs() <= 2e-6 * (1.0 + k as f64).sqrt(),
                    "{what} at {i}, {j}: {found} for {expected}"
                );
                error += difference.powi(2);
                norm += expected.powi(2);
            }
            assert!(error.sqrt() <= 8e-7 * norm.sqrt(), "{what}: {:.2e}", (error / norm).sqrt());
        }
    }

    fn transposed(rows: usize, columns: usize, x: &[f32]) -> Vec<f32> {
        (0..rows * columns).map(|i| x[i % rows * columns + i / rows]).collect()
    }

    #[test]
    fn all_forms_equal_the_triple_loop_for_any_number_of_threads() {
        for (set, [m, n, k]) in machine::available().flat_map(|set| SIZES.map(|size| (set, size))) {
            let (a, b) = (values(m * k, 1), values(k * n, 2));
            for accumulate in [false, true] {
                check(set, [m, n, k], &a, &b, accumulate);
            }
        }
    }

    /// Steps of k from 2^-60 to 2^60 in a, and the other way round in b: no set may fix one point for many values.
    #[test]
    fn values_of_all_magnitudes_keep_their_bits() {
        let [m, n, k] = [50, 70, 300];
        let power = |l: usize| 2.0f32.powi((l * 7 % 121) as i32 - 60);
        let a: Vec<f32> =
            values(m * k, 1).iter().enumerate().map(|(i, v)| v * power(i % k)).collect();
        let b: Vec<f32> =
            values(k * n, 2).iter().enumerate().map(|(i, v)| v / power(i / n)).collect();
        for set in machine::available() {
            check(set, [m, n, k], &a, &b, false);
        }
    }

    #[test]
    fn what_is_not_a_number_shows_in_every_sum_it_is_part_of() {
        for set in machine::available() {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let (mut a, b) = (values(40 * 50, 1), values(50 * 33, 2));
                a[7 * 50 + 49] = bad;
                let mut c = vec![0.0; 40 * 33];
                let (a, b) = (Strided::rows(&a, 50), Strided::rows(&b, 33));
                matmul_with(set, &mut Scratch::default(), 40, 33, 50, a, b, &mut c, false);
                assert!(
                    c.iter().enumerate().all(|(at, c)| c.is_finite() == (at / 33 != 7)),
                    "{} {bad}",
                    set.name
                );
            }
        }
    }
}
