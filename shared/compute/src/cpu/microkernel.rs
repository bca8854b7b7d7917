//! The innermost loops of the matrix product: a tile of sums held in registers, for each kind of processor.
use std::sync::LazyLock;

/// What a microkernel works on: `c[rows, columns] (+)= a[rows, depth] b[depth, columns]`, the rows being the kernel's.
pub struct Tile {
    pub depth: usize,
    /// a[i, l] is `a[i * row_stride + l * column_stride]`.
    pub a: *const f32,
    pub row_stride: usize,
    pub column_stride: usize,
    /// b[l, j] is `b[l * set.columns + j]`: a whole panel, though only `columns` of it are wanted.
    pub b: *const f32,
    pub columns: usize,
    pub c: *mut f32,
    pub stride: usize,
    pub accumulate: bool,
}

/// SAFETY: the pointers have the values of the tile, c is nobody else's, and the processor has what the kernel needs.
pub type Microkernel = unsafe fn(&Tile);

/// The microkernels of one kind of processor, and the sizes that go with them.
pub struct Set {
    pub name: &'static str,
    /// Rows and columns of the largest tile.
    pub rows: usize,
    pub columns: usize,
    /// For 1 to `rows` rows.
    pub kernels: &'static [Microkernel],
}

/// 24 sums in 32 registers of 16 values: one fused operation per cycle, and its operands need half the ports.
#[cfg(target_arch = "x86_64")]
static AVX512: Set = Set {
    name: "avx512",
    rows: 12,
    columns: 32,
    kernels: &[
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
    ],
};

/// 12 sums in 16 registers of 8 values.
#[cfg(target_arch = "x86_64")]
static AVX2: Set =
    Set { name: "avx2 fma", rows: 6, columns: 16, kernels: &[avx2::<1>, avx2::<2>, avx2::<3>, avx2::<4>, avx2::<5>, avx2::<6>] };

/// For other processors: compilers turn the inner loop into vector instructions.
static PORTABLE: Set = Set {
    name: "",
    rows: 6,
    columns: 16,
    kernels: &[portable::<1>, portable::<2>, portable::<3>, portable::<4>, portable::<5>, portable::<6>],
};

/// The sets this machine can run, the fastest first.
pub fn available() -> impl Iterator<Item = &'static Set> {
    let mut sets = vec![&PORTABLE];
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
        sets.push(&AVX2);
        if std::arch::is_x86_feature_detected!("avx512f") {
            sets.push(&AVX512);
        }
    }
    sets.into_iter().rev()
}

/// The fastest of them.
pub fn best() -> &'static Set {
    static BEST: LazyLock<&Set> = LazyLock::new(|| available().next().expect("the portable set runs everywhere"));
    &BEST
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn avx512<const R: usize>(tile: &Tile) {
    // SAFETY: the promise of `Microkernel`.
    unsafe { if tile.columns > 16 { avx512_columns::<R, 2>(tile) } else { avx512_columns::<R, 1>(tile) } }
}

/// R x 16 W sums, of which the last 16 columns may be cut by a mask.
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
        let mut sums = [[_mm512_setzero_ps(); W]; R];
        // Rows in groups of four, so that few registers hold their addresses.
        let mut groups: [*const f32; 3] = std::array::from_fn(|g| tile.a.wrapping_add(4 * g * tile.row_stride));
        let mut b = tile.b;
        for _ in 0..tile.depth {
            let b_row: [__m512; W] = std::array::from_fn(|w| _mm512_loadu_ps(b.add(16 * w)));
            for (i, sums) in sums.iter_mut().enumerate() {
                let value = _mm512_set1_ps(*groups[i / 4].add(i % 4 * tile.row_stride));
                for (sum, b) in sums.iter_mut().zip(b_row) {
                    *sum = _mm512_fmadd_ps(value, b, *sum);
                }
            }
            for group in &mut groups {
                *group = group.wrapping_add(tile.column_stride);
            }
            b = b.add(AVX512.columns);
        }
        for (i, sums) in sums.into_iter().enumerate() {
            for (w, sum) in sums.into_iter().enumerate() {
                let c = tile.c.add(i * tile.stride + 16 * w);
                let sum = if tile.accumulate { _mm512_add_ps(_mm512_maskz_loadu_ps(mask(w), c), sum) } else { sum };
                _mm512_mask_storeu_ps(c, mask(w), sum);
            }
        }
    }
}

/// R x 16 sums in registers, two per row of b.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<const R: usize>(tile: &Tile) {
    use std::arch::x86_64::*;
    // SAFETY: the promise of `Microkernel`.
    unsafe {
        let mut sums = [[_mm256_setzero_ps(); 2]; R];
        let (mut a, mut b) = (tile.a, tile.b);
        for _ in 0..tile.depth {
            let (b0, b1) = (_mm256_loadu_ps(b), _mm256_loadu_ps(b.add(8)));
            for (i, sum) in sums.iter_mut().enumerate() {
                let value = _mm256_broadcast_ss(&*a.add(i * tile.row_stride));
                sum[0] = _mm256_fmadd_ps(value, b0, sum[0]);
                sum[1] = _mm256_fmadd_ps(value, b1, sum[1]);
            }
            a = a.wrapping_add(tile.column_stride);
            b = b.add(AVX2.columns);
        }
        let sums: [[f32; 16]; R] = std::mem::transmute_copy(&sums);
        store(&sums, tile);
    }
}

/// The same in plain Rust.
unsafe fn portable<const R: usize>(tile: &Tile) {
    const COLUMNS: usize = PORTABLE.columns;
    // SAFETY: the promise of `Microkernel`.
    unsafe {
        let mut sums = [[0.0f32; COLUMNS]; R];
        for l in 0..tile.depth {
            let b = std::slice::from_raw_parts(tile.b.add(l * COLUMNS), COLUMNS);
            for (i, sum) in sums.iter_mut().enumerate() {
                let value = *tile.a.add(i * tile.row_stride + l * tile.column_stride);
                for (s, &b) in sum.iter_mut().zip(b) {
                    *s += value * b;
                }
            }
        }
        store(&sums, tile);
    }
}

/// SAFETY: the promise of `Microkernel`.
#[inline(always)]
unsafe fn store<const R: usize>(sums: &[[f32; 16]; R], tile: &Tile) {
    for (i, sums) in sums.iter().enumerate() {
        // SAFETY: passed on.
        let c = unsafe { std::slice::from_raw_parts_mut(tile.c.add(i * tile.stride), tile.columns) };
        if tile.columns == 16 {
            // A length the compiler knows.
            let c = c.first_chunk_mut::<16>().expect("16 columns");
            for (c, &s) in c.iter_mut().zip(sums) {
                *c = if tile.accumulate { *c + s } else { s };
            }
        } else {
            for (c, &s) in c.iter_mut().zip(sums) {
                *c = if tile.accumulate { *c + s } else { s };
            }
        }
    }
}
