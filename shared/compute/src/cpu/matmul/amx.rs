//! The f32 matmul on the matrix units of Intel's processors (AMX), which multiply bf16 and add in f32 at 16 times the rate
//! of the vector units.
//!
//! Each value is split into three bf16 whose sum it is: its first eight significant bits, the next and the last. Of their
//! nine products the six largest are added; the others are of the size of an f32 product's last bit. Sums are taken over 32
//! terms first. So the result is as exact as that of f32 units or more so (Henry, Tang, Heinecke, arXiv 1904.06376), at 16 / 6
//! of their rate at best. Infinities become NaN, and values below 2^-126 zero.
use std::arch::asm;
use std::arch::x86_64::*;
use std::cell::RefCell;
use std::sync::LazyLock;

use super::operands::{Strided, scratch};
use super::set::{Block, Blocks, Set};

/// Two by two tiles of accumulators of 16 x 16; 32 steps of k that one instruction takes, each value as three bf16.
pub(super) static AMX: Set = Set {
    name: "amx",
    rows: ROWS,
    columns: COLUMNS,
    depth: DEPTH,
    width: BLOCK / DEPTH,
    // 32 rows of a and 32 columns of b, 128 deep, are just what the first cache holds.
    blocks: Blocks {
        depth: 128,
        depth_transposed: 128,
        rows: 320,
        columns: 768,
        rows_of_all: 32,
        rows_of_all_large: 96,
    },
    pack: pack_panel,
    multiply: multiply_block,
};

const ROWS: usize = 32;
const COLUMNS: usize = 32;
const DEPTH: usize = 32;

/// 16 rows of 64 bytes, in dwords; and what one block of 32 steps of k takes: three pieces of two such.
const UNIT: usize = 16 * 16;
const BLOCK: usize = 3 * 2 * UNIT;

/// Whether the processor has these units and the system lets this process use them.
pub(super) fn available() -> bool {
    static AVAILABLE: LazyLock<bool> = LazyLock::new(|| {
        const TILE_AND_BF16: u32 = 1 << 24 | 1 << 22;
        #[allow(
            unused_unsafe,
            reason = "the instruction became a safe function after our oldest compiler"
        )]
        // SAFETY: processors with AVX-512 have this leaf.
        let has = |bits| unsafe { __cpuid_count(7, 0) }.edx & bits == bits;
        std::arch::is_x86_feature_detected!("avx512f") && has(TILE_AND_BF16) && allowed()
    });
    *AVAILABLE
}

/// Linux saves the tiles only of processes that asked for them.
#[cfg(target_os = "linux")]
fn allowed() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XTILE_DATA: libc::c_long = 18;
    // SAFETY: the call takes two numbers and changes nothing but the permission.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XTILE_DATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn allowed() -> bool {
    false
}

/// The shapes of the eight tile registers of a thread, while this lives: all have 16 rows of 64 bytes.
struct Configured(());

impl Configured {
    /// SAFETY: the units are [`available`].
    unsafe fn new() -> Self {
        #[repr(C, align(64))]
        struct Config {
            palette: u8,
            start_row: u8,
            reserved: [u8; 14],
            row_bytes: [u16; 16],
            rows: [u8; 16],
        }
        let mut config = Config {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            row_bytes: [0; 16],
            rows: [0; 16],
        };
        config.row_bytes[..8].fill(64);
        config.rows[..8].fill(16);
        // SAFETY: the instruction reads the 64 bytes of the configuration.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &config, options(nostack, readonly)) };
        Configured(())
    }
}

impl Drop for Configured {
    fn drop(&mut self) {
        // SAFETY: the units were there when this was made; no kernel is at work.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

thread_local! {
    /// 32 rows of a, packed.
    static PACKED: RefCell<Vec<f32>> = RefCell::default();
}

/// SAFETY: the promise of `Set::multiply`.
unsafe fn multiply_block(block: &Block) {
    let Block { rows, columns, depth, out, accumulate, .. } = block;
    // SAFETY: the set is used where its units are.
    let _configured = unsafe { Configured::new() };
    PACKED.with_borrow_mut(|space| {
        let space = scratch(space, AMX.panel(depth.len()));
        for i in rows.clone().step_by(ROWS) {
            let a = block.a.from(i, 0);
            let rows = i..(i + ROWS).min(rows.end);
            // SAFETY: `check` has covered a; the space is as long.
            unsafe {
                pack(
                    Side::A,
                    rows.len(),
                    depth.len(),
                    a.data.as_ptr(),
                    a.row_stride,
                    a.column_stride,
                    space.as_mut_ptr(),
                )
            };
            for column in columns.clone().step_by(COLUMNS) {
                let columns = column..(column + COLUMNS).min(columns.end);
                // SAFETY: the packed a and the panel have a block for each 32 steps, and c has these rows and columns: `tile`
                // checks that. That they are nobody else's is the caller's promise.
                unsafe {
                    kernel(&Tile {
                        rows: rows.len(),
                        columns: columns.len(),
                        depth: depth.len(),
                        a: space.as_ptr(),
                        b: AMX.panel_of(block, column).as_ptr(),
                        c: out.tile(rows.clone(), columns),
                        stride: out.stride,
                        accumulate: *accumulate,
                    });
                }
            }
        }
    });
}

fn pack_panel(depth: usize, columns: usize, b: Strided, panel: &mut [f32]) {
    assert_eq!(panel.len(), AMX.panel(depth));
    b.check(depth, columns);
    // SAFETY: b and the panel have these values.
    unsafe {
        pack(
            Side::B,
            columns,
            depth,
            b.data.as_ptr(),
            b.column_stride,
            b.row_stride,
            panel.as_mut_ptr(),
        )
    }
}

/// `c[rows, columns] (+)= a[rows, depth] b[depth, columns]`, a and b packed.
struct Tile {
    rows: usize,
    columns: usize,
    depth: usize,
    a: *const f32,
    b: *const f32,
    c: *mut f32,
    stride: usize,
    accumulate: bool,
}

/// SAFETY: the pointers have the values of the tile, c is nobody else's, and the thread is [`Configured`].
unsafe fn kernel(tile: &Tile) {
    // SAFETY: passed on; the space has 32 rows of 32 values.
    unsafe {
        if tile.rows == ROWS && tile.columns == COLUMNS {
            return multiply(tile, tile.c, tile.stride, tile.accumulate);
        }
        #[repr(align(64))]
        struct Space([[f32; COLUMNS]; ROWS]);
        let mut space = Space([[0.0; COLUMNS]; ROWS]);
        let row = |i: usize| tile.c.add(i * tile.stride);
        if tile.accumulate {
            for (i, accumulators) in space.0.iter_mut().enumerate().take(tile.rows) {
                accumulators.as_mut_ptr().copy_from_nonoverlapping(row(i), tile.columns);
            }
        }
        multiply(tile, space.0.as_mut_ptr().cast(), COLUMNS, tile.accumulate);
        for (i, accumulators) in space.0.iter().enumerate().take(tile.rows) {
            row(i).copy_from_nonoverlapping(accumulators.as_ptr(), tile.columns);
        }
    }
}

/// The accumulators: zeros, or with `accumulate` the 32 x 32 values of c.
///
/// SAFETY: as [`multiply`].
#[inline(always)]
unsafe fn begin(c: *mut f32, stride: usize, accumulate: bool) {
    // SAFETY: tiles of c lie where the caller says.
    unsafe {
        if accumulate {
            asm!(
                "tileloadd tmm0, [{c} + {stride}]",
                "tileloadd tmm1, [{c} + {stride} + 64]",
                "tileloadd tmm2, [{below} + {stride}]",
                "tileloadd tmm3, [{below} + {stride} + 64]",
                c = in(reg) c, below = in(reg) c.byte_add(4 * 16 * stride), stride = in(reg) 4 * stride,
                options(nostack, readonly)
            );
        } else {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                options(nostack, nomem)
            );
        }
    }
}

/// SAFETY: as [`kernel`], and c has 32 x 32 values.
unsafe fn multiply(tile: &Tile, c: *mut f32, stride: usize, accumulate: bool) {
    // SAFETY: tiles of c lie where the caller says; a and b have a block for each 32 steps of k.
    unsafe {
        begin(c, stride, accumulate);
        // From each pair of pieces to the next only one of the two is loaded anew; the smallest products come first.
        asm!(
            "2:",
            "tileloadd tmm4, [{a} + {line} + 4096]", // a: last bits
            "tileloadd tmm6, [{b} + {line}]",        // b: first bits
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{b} + {line} + 1024]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{a} + {line} + 5120]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "tileloadd tmm4, [{a} + {line} + 2048]", // a: middle bits
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{a} + {line} + 3072]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "tileloadd tmm6, [{b} + {line} + 2048]", // b: middle bits
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tileloadd tmm7, [{b} + {line} + 3072]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "tileloadd tmm4, [{a} + {line}]", // a: first bits
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{a} + {line} + 1024]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "tileloadd tmm6, [{b} + {line} + 4096]", // b: last bits
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tileloadd tmm7, [{b} + {line} + 5120]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "tileloadd tmm6, [{b} + {line}]", // b: first bits
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tileloadd tmm7, [{b} + {line} + 1024]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {a}, {block}",
            "add {b}, {block}",
            "dec {blocks}",
            "jnz 2b",
            a = inout(reg) tile.a => _, b = inout(reg) tile.b => _, blocks = inout(reg) tile.depth.div_ceil(DEPTH) => _,
            line = in(reg) 64usize, block = const 4 * BLOCK,
            options(nostack, readonly)
        );
        asm!(
            "tilestored [{c} + {stride}], tmm0",
            "tilestored [{c} + {stride} + 64], tmm1",
            "tilestored [{below} + {stride}], tmm2",
            "tilestored [{below} + {stride} + 64], tmm3",
            c = in(reg) c, below = in(reg) c.byte_add(4 * 16 * stride), stride = in(reg) 4 * stride,
            options(nostack)
        );
    }
}

/// Which operand is packed: a unit's rows are rows of a, or pairs of steps of k of b.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    A,
    B,
}

/// Up to 32 rows of a (or columns of b) and `depth` steps of k, split in three, where element (r, l) is
/// `data[r * stride + l * step]` and one of the two is 1.
///
/// A pair of bf16 in a dword are the steps l and l + 16 of a block of 32: as the order of a sum's terms is free, so is that
/// of steps in a block, as long as a and b agree; and so no lane has to change its place.
///
/// SAFETY: data has these values, `to` space for `depth.div_ceil(32)` blocks and lies at a cache line.
#[target_feature(enable = "avx512f")]
unsafe fn pack(
    side: Side,
    rows: usize,
    depth: usize,
    data: *const f32,
    stride: usize,
    step: usize,
    to: *mut f32,
) {
    debug_assert!(rows <= ROWS && (stride == 1 || step == 1));
    let along_k = step == 1;
    for l in (0..depth).step_by(DEPTH) {
        for row in [0, 16] {
            let (rows, depth) = (rows.saturating_sub(row).min(16), (depth - l).min(DEPTH));
            // SAFETY: the caller's promise.
            unsafe {
                let data = data.wrapping_add(row * stride + l * step);
                let to = to.add(l / DEPTH * BLOCK + row / 16 * UNIT);
                let whole = rows == 16 && depth == DEPTH;
                match (along_k == (side == Side::A), whole) {
                    (true, true) => {
                        let next = if along_k { stride } else { step };
                        for i in 0..16 {
                            let data = data.add(i * next);
                            store(
                                i,
                                _mm512_loadu_ps(data),
                                _mm512_loadu_ps(data.add(16 * step)),
                                to,
                            );
                        }
                    }
                    (false, true) => {
                        let next = if along_k { stride } else { step };
                        let load = |data: *const f32| {
                            transpose(std::array::from_fn(|i| _mm512_loadu_ps(data.add(i * next))))
                        };
                        store_all(load(data), load(data.add(16 * step)), to);
                    }
                    (straight, false) => {
                        let [first, second] = [0, 16].map(|later| {
                            // Vectors of 16 values side by side: of each row, or of each step of k.
                            let depth = depth.saturating_sub(later);
                            let (vectors, lanes, next) =
                                if along_k { (rows, depth, stride) } else { (depth, rows, step) };
                            let mask = ((1u32 << lanes.min(16)) - 1) as __mmask16;
                            let load = |i: usize| {
                                let mask = if i < vectors { mask } else { 0 };
                                _mm512_maskz_loadu_ps(
                                    mask,
                                    data.wrapping_add(later * step + i * next),
                                )
                            };
                            let values = std::array::from_fn(load);
                            if straight { values } else { transpose(values) }
                        });
                        store_all(first, second, to);
                    }
                }
            }
        }
    }
}

/// SAFETY: as [`store`].
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn store_all(first: [__m512; 16], second: [__m512; 16], to: *mut f32) {
    for (i, (low, high)) in first.into_iter().zip(second).enumerate() {
        // SAFETY: passed on.
        unsafe { store(i, low, high, to) };
    }
}

/// Row i of a unit, in three pieces.
///
/// SAFETY: `to` is a unit of a block.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn store(i: usize, low: __m512, high: __m512, to: *mut f32) {
    for (piece, value) in split(low, high).into_iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe { _mm512_store_si512(to.add(piece * 2 * UNIT + 16 * i).cast(), value) };
    }
}

/// Three bf16 of each value of `low` and of `high`, in the halves of dwords.
#[target_feature(enable = "avx512f")]
#[inline]
fn split(low: __m512, high: __m512) -> [__m512i; 3] {
    let upper = _mm512_set1_epi32(0xffff_0000u32 as i32);
    let half = _mm512_set1_epi32(0x8000);
    let rounded = |x: __m512| {
        _mm512_castsi512_ps(_mm512_and_si512(_mm512_add_epi32(_mm512_castps_si512(x), half), upper))
    };
    let joined = |low: __m512, high: __m512| {
        _mm512_or_si512(
            _mm512_srli_epi32::<16>(_mm512_castps_si512(low)),
            _mm512_castps_si512(high),
        )
    };
    // The first bits are cut off, not rounded: what is left is rounded next, so its errors have both signs.
    let cut = |x: __m512| _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(x), upper));
    let (first_low, first_high) = (cut(low), cut(high));
    let (low, high) = (_mm512_sub_ps(low, first_low), _mm512_sub_ps(high, first_high));
    let (middle_low, middle_high) = (rounded(low), rounded(high));
    // What is left has eight significant bits or fewer, so its lower half is zero.
    let (low, high) = (_mm512_sub_ps(low, middle_low), _mm512_sub_ps(high, middle_high));
    [joined(first_low, first_high), joined(middle_low, middle_high), joined(low, high)]
}

/// The transpose of 16 x 16 values.
#[target_feature(enable = "avx512f")]
#[inline]
fn transpose(rows: [__m512; 16]) -> [__m512; 16] {
    // Within lanes of four values: 4 x 4 blocks; then the lanes themselves.
    let mut blocks = [_mm512_setzero_ps(); 16];
    for g in 0..4 {
        let [a, b, c, d] = [rows[4 * g], rows[4 * g + 1], rows[4 * g + 2], rows[4 * g + 3]];
        let (ab, cd) = (
            _mm512_castps_pd(_mm512_unpacklo_ps(a, b)),
            _mm512_castps_pd(_mm512_unpacklo_ps(c, d)),
        );
        let (ab_high, cd_high) = (
            _mm512_castps_pd(_mm512_unpackhi_ps(a, b)),
            _mm512_castps_pd(_mm512_unpackhi_ps(c, d)),
        );
        blocks[g] = _mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd));
        blocks[4 + g] = _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd));
        blocks[8 + g] = _mm512_castpd_ps(_mm512_unpacklo_pd(ab_high, cd_high));
        blocks[12 + g] = _mm512_castpd_ps(_mm512_unpackhi_pd(ab_high, cd_high));
    }
    // Now lane q of blocks[4 j + g] has column 4 q + j of rows 4 g to 4 g + 3.
    let mut columns = [_mm512_setzero_ps(); 16];
    for j in 0..4 {
        let [a, b, c, d] = [blocks[4 * j], blocks[4 * j + 1], blocks[4 * j + 2], blocks[4 * j + 3]];
        let (ab, cd) = (
            _mm512_shuffle_f32x4::<0b01_00_01_00>(a, b),
            _mm512_shuffle_f32x4::<0b01_00_01_00>(c, d),
        );
        let (ab_high, cd_high) = (
            _mm512_shuffle_f32x4::<0b11_10_11_10>(a, b),
            _mm512_shuffle_f32x4::<0b11_10_11_10>(c, d),
        );
        columns[j] = _mm512_shuffle_f32x4::<0b10_00_10_00>(ab, cd);
        columns[4 + j] = _mm512_shuffle_f32x4::<0b11_01_11_01>(ab, cd);
        columns[8 + j] = _mm512_shuffle_f32x4::<0b10_00_10_00>(ab_high, cd_high);
        columns[12 + j] = _mm512_shuffle_f32x4::<0b11_01_11_01>(ab_high, cd_high);
    }
    columns
}
