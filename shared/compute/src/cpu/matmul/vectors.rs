//! The matmul on vector units: a tile of accumulators held in registers, for each kind of them.
use super::operands::Strided;
use super::set::{Block, Blocks, Set};

/// What a microkernel works on: `c[rows, columns] (+)= a[rows, depth] b[depth, columns]`, the rows being the kernel's.
struct Tile {
    depth: usize,
    /// a[i, l] is `a[i * row_stride + l * column_stride]`.
    a: *const f32,
    row_stride: usize,
    column_stride: usize,
    /// b[l, j] is `b[l * set.columns + j]`: a whole panel, though only `columns` of it are wanted.
    b: *const f32,
    columns: usize,
    c: *mut f32,
    stride: usize,
    accumulate: bool,
}

/// SAFETY: the pointers have the values of the tile, c is nobody else's, and the processor has what the kernel needs.
type Microkernel = unsafe fn(&Tile);

/// 384 x 384 values of b take half the second cache, and few rows make the tasks many enough to share out evenly. Where each
/// step of k is on another line of a, fewer steps: the lines of a tile's rows then stay in the first cache.
const BLOCKS: Blocks = Blocks {
    depth: 384,
    depth_transposed: 256,
    rows: 24,
    columns: 384,
    rows_of_all: 24,
    rows_of_all_large: 48,
};

/// 24 accumulators in 32 registers of 16 values: one fused operation per cycle, and its operands need half the ports.
#[cfg(target_arch = "x86_64")]
pub(super) static AVX512: Set = set("avx512", 12, 32, pack::<32>, multiply_avx512);

/// 12 accumulators in 16 registers of 8 values.
#[cfg(target_arch = "x86_64")]
pub(super) static AVX2: Set = set("avx2 fma", 6, 16, pack::<16>, multiply_avx2);

/// For other processors: compilers turn the inner loop into vector instructions.
pub(super) static PORTABLE: Set = set("", 6, 16, pack::<16>, multiply_portable);

const fn set(
    name: &'static str,
    rows: usize,
    columns: usize,
    pack: fn(usize, usize, Strided, &mut [f32]),
    multiply: unsafe fn(&Block),
) -> Set {
    Set { name, rows, columns, depth: 1, width: columns, blocks: BLOCKS, pack, multiply }
}

#[cfg(target_arch = "x86_64")]
unsafe fn multiply_avx512(block: &Block) {
    const KERNELS: [Microkernel; 12] = [
        avx512::<1>,
        avx512::<2>,
        avx512::<3>,
        avx512::<4>,
        avx512::<5>,
        avx512::<6>,
        avx512::<7>,
        avx512::<8>,
        avx512::<9>,
        avx512::<10>,
        avx512::<11>,
        avx512::<12>,
    ];
    // SAFETY: passed on.
    unsafe { multiply(&AVX512, &KERNELS, block) }
}

#[cfg(target_arch = "x86_64")]
unsafe fn multiply_avx2(block: &Block) {
    const KERNELS: [Microkernel; 6] =
        [avx2::<1>, avx2::<2>, avx2::<3>, avx2::<4>, avx2::<5>, avx2::<6>];
    // SAFETY: passed on.
    unsafe { multiply(&AVX2, &KERNELS, block) }
}

unsafe fn multiply_portable(block: &Block) {
    const KERNELS: [Microkernel; 6] =
        [portable::<1>, portable::<2>, portable::<3>, portable::<4>, portable::<5>, portable::<6>];
    // SAFETY: passed on.
    unsafe { multiply(&PORTABLE, &KERNELS, block) }
}

/// Values of 4 KiB: addresses that far apart share a set of the first cache.
const PAGE: usize = 1024;

/// a is read where it is: the processor fetches its next lines while a tile is computed.
///
/// SAFETY: the promise of `Set::multiply`; kernels for 1 to the set's rows.
unsafe fn multiply(set: &Set, kernels: &[Microkernel], block: &Block) {
    let Block { rows, columns, depth, out, accumulate, .. } = block;
    // Steps of k whole pages apart would share a few sets of the first cache. Where they are read often, a copy pays.
    let conflicts = block.a.row_stride == 1
        && block.a.column_stride.is_multiple_of(PAGE)
        && columns.len() > set.columns;
    let mut copy = conflicts.then(|| vec![0.0; set.rows * depth.len()]);
    for i in rows.clone().step_by(set.rows) {
        let rows = i..(i + set.rows).min(rows.end);
        let mut a = block.a.from(i, 0);
        if let Some(space) = &mut copy {
            a = copy_transposed(set.rows, rows.len(), depth.len(), a, space);
        }
        for column in columns.clone().step_by(set.columns) {
            let columns = column..(column + set.columns).min(columns.end);
            // SAFETY: a and the panel reach as far as the block says, and c has these rows and columns: `tile` checks that.
            // That they are nobody else's is the caller's promise.
            unsafe {
                kernels[rows.len() - 1](&Tile {
                    depth: depth.len(),
                    a: a.data.as_ptr(),
                    row_stride: a.row_stride,
                    column_stride: a.column_stride,
                    b: set.panel_of(block, column).as_ptr(),
                    columns: columns.len(),
                    c: out.tile(rows.clone(), columns),
                    stride: out.stride,
                    accumulate: *accumulate,
                });
            }
        }
    }
}

/// `rows` rows of a transposed a, `unit` values from step to step of k.
fn copy_transposed<'a>(
    unit: usize,
    rows: usize,
    depth: usize,
    a: Strided,
    space: &'a mut [f32],
) -> Strided<'a> {
    for (l, values) in space.chunks_exact_mut(unit).take(depth).enumerate() {
        values[..rows].copy_from_slice(&a.data[l * a.column_stride..][..rows]);
    }
    Strided::transposed(space, unit)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn avx512<const R: usize>(tile: &Tile) {
    // SAFETY: the promise of `Microkernel`.
    unsafe {
        if tile.columns > 16 { avx512_columns::<R, 2>(tile) } else { avx512_columns::<R, 1>(tile) }
    }
}

/// R x 16 W accumulators, of which the last 16 columns may be cut by a mask.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn avx512_columns<const R: usize, const W: usize>(tile: &Tile) {
    use std::arch::x86_64::*;
    let last = tile.columns - 16 * (W - 1);
    let mask = |w: usize| if w + 1 == W { ((1u32 << last) - 1) as __mmask16 } else { !0 };
    // SAFETY: the promise of `Microkernel`.
    unsafe {
        for i in 0..R {
            let c = tile.c.add(i * tile.stride);
            _mm_prefetch::<_MM_HINT_T0>(c.cast());
            if W > 1 {
                _mm_prefetch::<_MM_HINT_T0>(c.add(16).cast());
            }
        }
        let mut accumulators = [[_mm512_setzero_ps(); W]; R];
        // Rows in groups of four, so that few registers hold their addresses.
        let mut groups: [*const f32; 3] =
            std::array::from_fn(|g| tile.a.wrapping_add(4 * g * tile.row_stride));
        let mut b = tile.b;
        for _ in 0..tile.depth {
            let b_row: [__m512; W] = std::array::from_fn(|w| _mm512_loadu_ps(b.add(16 * w)));
            for (i, accumulators) in accumulators.iter_mut().enumerate() {
                let value = _mm512_set1_ps(*groups[i / 4].add(i % 4 * tile.row_stride));
                for (sum, b) in accumulators.iter_mut().zip(b_row) {
                    *sum = _mm512_fmadd_ps(value, b, *sum);
                }
            }
            for group in &mut groups {
                *group = group.wrapping_add(tile.column_stride);
            }
            b = b.add(32);
        }
        for (i, accumulators) in accumulators.into_iter().enumerate() {
            for (w, sum) in accumulators.into_iter().enumerate() {
                let c = tile.c.add(i * tile.stride + 16 * w);
                let sum = if tile.accumulate {
                    _mm512_add_ps(_mm512_maskz_loadu_ps(mask(w), c), sum)
                } else {
                    sum
                };
                _mm512_mask_storeu_ps(c, mask(w), sum);
            }
        }
    }
}

/// R x 16 accumulators in registers, two per row of b.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<const R: usize>(tile: &Tile) {
    use std::arch::x86_64::*;
    // SAFETY: the promise of `Microkernel`.
    unsafe {
        let mut accumulators = [[_mm256_setzero_ps(); 2]; R];
        let (mut a, mut b) = (tile.a, tile.b);
        for _ in 0..tile.depth {
            let (b0, b1) = (_mm256_loadu_ps(b), _mm256_loadu_ps(b.add(8)));
            for (i, sum) in accumulators.iter_mut().enumerate() {
                let value = _mm256_broadcast_ss(&*a.add(i * tile.row_stride));
                sum[0] = _mm256_fmadd_ps(value, b0, sum[0]);
                sum[1] = _mm256_fmadd_ps(value, b1, sum[1]);
            }
            a = a.wrapping_add(tile.column_stride);
            b = b.add(16);
        }
        let accumulators: [[f32; 16]; R] = std::mem::transmute_copy(&accumulators);
        store(&accumulators, tile);
    }
}

/// The same in portable Rust.
unsafe fn portable<const R: usize>(tile: &Tile) {
    const COLUMNS: usize = 16;
    // SAFETY: the promise of `Microkernel`.
    unsafe {
        let mut accumulators = [[0.0f32; COLUMNS]; R];
        for l in 0..tile.depth {
            let b = std::slice::from_raw_parts(tile.b.add(l * COLUMNS), COLUMNS);
            for (i, sum) in accumulators.iter_mut().enumerate() {
                let value = *tile.a.add(i * tile.row_stride + l * tile.column_stride);
                for (s, &b) in sum.iter_mut().zip(b) {
                    *s += value * b;
                }
            }
        }
        store(&accumulators, tile);
    }
}

/// SAFETY: the promise of `Microkernel`.
#[inline(always)]
unsafe fn store<const R: usize>(accumulators: &[[f32; 16]; R], tile: &Tile) {
    for (i, accumulators) in accumulators.iter().enumerate() {
        // SAFETY: passed on.
        let c =
            unsafe { std::slice::from_raw_parts_mut(tile.c.add(i * tile.stride), tile.columns) };
        if tile.columns == 16 {
            // A length the compiler knows.
            let c = c.first_chunk_mut::<16>().expect("16 columns");
            for (c, &s) in c.iter_mut().zip(accumulators) {
                *c = if tile.accumulate { *c + s } else { s };
            }
        } else {
            for (c, &s) in c.iter_mut().zip(accumulators) {
                *c = if tile.accumulate { *c + s } else { s };
            }
        }
    }
}

/// The first `columns` columns of b as `panel[l][j]`, WIDTH values from l to l, zero beyond the last column.
fn pack<const WIDTH: usize>(_depth: usize, columns: usize, b: Strided, panel: &mut [f32]) {
    if b.column_stride == 1 && columns == WIDTH {
        return copy_rows::<WIDTH>(b, panel);
    }
    if columns < WIDTH {
        panel.fill(0.0);
    }
    if b.column_stride == 1 {
        for (l, row) in panel.chunks_exact_mut(WIDTH).enumerate() {
            row[..columns].copy_from_slice(&b.data[l * b.row_stride..][..columns]);
        }
    } else {
        transpose(WIDTH, columns, b, panel);
    }
}

fn copy_rows<const WIDTH: usize>(b: Strided, panel: &mut [f32]) {
    for (l, row) in panel.as_chunks_mut::<WIDTH>().0.iter_mut().enumerate() {
        row.copy_from_slice(&b.data[l * b.row_stride..][..WIDTH]);
    }
}

/// As `pack`, in blocks of 4 columns, each read along its own line.
fn transpose(width: usize, columns: usize, b: Strided, panel: &mut [f32]) {
    let depth = panel.len() / width;
    #[cfg(target_arch = "x86_64")]
    if b.row_stride == 1
        && columns.is_multiple_of(8)
        && depth.is_multiple_of(8)
        && std::arch::is_x86_feature_detected!("avx")
    {
        for j in (0..columns).step_by(8) {
            for l in (0..depth).step_by(8) {
                let source = &b.data[j * b.column_stride + l..][..7 * b.column_stride + 8];
                let target = &mut panel[l * width + j..][..7 * width + 8];
                // SAFETY: the processor has AVX, and both slices reach to the end of the eighth row.
                unsafe {
                    transpose_8(source.as_ptr(), b.column_stride, target.as_mut_ptr(), width)
                };
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
                let rows: [[f32; 4]; 4] =
                    std::array::from_fn(|i| sources[i][l..l + 4].try_into().expect("4 values"));
                for i in 0..4 {
                    panel[(l + i) * width + j..][..4]
                        .copy_from_slice(&[rows[0][i], rows[1][i], rows[2][i], rows[3][i]]);
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

/// `target[l][j] = source[j][l]` for 8 x 8 values, with the given row strides in values.
///
/// SAFETY: both have them, and the processor has AVX.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx")]
unsafe fn transpose_8(
    source: *const f32,
    source_stride: usize,
    target: *mut f32,
    target_stride: usize,
) {
    use std::arch::x86_64::*;
    // SAFETY: the caller's promise.
    unsafe {
        // Halves of rows j and j + 4 side by side: what is left is to transpose 4 x 4 within the halves of registers.
        let row = |j: usize, l: usize| _mm_loadu_ps(source.add(j * source_stride + l));
        for l in [0, 4] {
            let [a, b, c, d] = std::array::from_fn(|j| _mm256_set_m128(row(j + 4, l), row(j, l)));
            let (ab, cd) = (_mm256_unpacklo_ps(a, b), _mm256_unpacklo_ps(c, d));
            let (ab_high, cd_high) = (_mm256_unpackhi_ps(a, b), _mm256_unpackhi_ps(c, d));
            let put =
                |i: usize, values| _mm256_storeu_ps(target.add((l + i) * target_stride), values);
            put(0, _mm256_shuffle_ps::<0b01_00_01_00>(ab, cd));
            put(1, _mm256_shuffle_ps::<0b11_10_11_10>(ab, cd));
            put(2, _mm256_shuffle_ps::<0b01_00_01_00>(ab_high, cd_high));
            put(3, _mm256_shuffle_ps::<0b11_10_11_10>(ab_high, cd_high));
        }
    }
}
