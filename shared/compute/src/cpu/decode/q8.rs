//! Matmuls in eight bits: weights and activations as blocks of 32 small integers with a scale, as q8_0 of GGUF has them.
//!
//! `w = scale q` with q in -127..=127 and `scale = max |w| / 127`, kept in f16. The sum over a block is exact in integers,
//! and blocks are added in order without fused operations, so all processors give the same bits.
//!
//! Sixteen outputs lie side by side in a panel: per block of the depth sixteen f16 scales, then eight times sixteen groups of
//! four weights, one group per output, each weight with 128 added (`vpdpbusd` multiplies unsigned by signed bytes). What the
//! 128 adds to a sum, 128 times the sum of the block's activations, is taken off at its beginning.
use std::ops::Range;
use std::sync::LazyLock;

use bytemuck::{Pod, Zeroable};
use half::f16;
use multiversion::multiversion;
use rayon::prelude::*;

/// Weights that share a scale.
pub(super) const BLOCK: usize = 32;
/// Outputs of a panel.
pub(super) const PANEL: usize = 16;
/// Groups of four weights in a block.
const QUADS: usize = BLOCK / 4;

/// One block of the depth for the outputs of a panel.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(32))]
pub(super) struct PanelBlock {
    /// f16
    scales: [u16; PANEL],
    /// [quad][output][weight of the quad], 128 added
    weights: [[[u8; 4]; PANEL]; QUADS],
}

/// A matrix [outputs, depth] among others that lie one behind the other. Zeros fill it up to whole panels and blocks.
pub(super) struct Matrix {
    outputs: usize,
    depth: usize,
    /// [panels, blocks]
    place: Range<usize>,
}

/// Rows of activations, quantised like weights but for the scale, which stays f32.
#[derive(Default)]
pub(super) struct Activations {
    rows: usize,
    blocks: usize,
    values: Vec<i8>,
    scales: Vec<f32>,
    /// -128 times the sum of each block
    starts: Vec<i32>,
}

/// The scale and the integers of a block, padded with zeros.
#[inline(always)]
fn quantise(block: &[f32], out: &mut [i8; BLOCK]) -> f32 {
    let mut values = [0.0f32; BLOCK];
    values[..block.len()].copy_from_slice(block);
    let mut most = [0.0f32; 8];
    for eight in values.as_chunks::<8>().0 {
        for (most, value) in most.iter_mut().zip(eight) {
            *most = if value.abs() > *most { value.abs() } else { *most };
        }
    }
    let most = most.into_iter().fold(0.0, f32::max);
    let scale = most / 127.0;
    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    /// Adding it rounds to an integer, the even one of two equally near.
    const ROUND: f32 = 12_582_912.0;
    for (out, value) in out.iter_mut().zip(values) {
        let rounded = value * inverse + ROUND;
        *out = (rounded.to_bits().wrapping_sub(ROUND.to_bits()) as i32).clamp(-127, 127) as i8;
    }
    scale
}

impl Matrix {
    /// A matrix behind `len` blocks of others.
    pub(super) fn new(outputs: usize, depth: usize, len: usize) -> Self {
        Matrix { outputs, depth, place: len..len + outputs.div_ceil(PANEL) * depth.div_ceil(BLOCK) }
    }

    /// Blocks up to its end.
    pub(super) fn end(&self) -> usize {
        self.place.end
    }

    pub(super) fn bytes(&self) -> usize {
        self.place.len() * size_of::<PanelBlock>()
    }

    fn blocks(&self) -> usize {
        self.depth.div_ceil(BLOCK)
    }

    /// Quantises `weights` [outputs, depth] into its place in `all`.
    pub(super) fn set(&self, weights: &[f32], all: &mut [PanelBlock]) {
        assert_eq!(weights.len(), self.outputs * self.depth);
        let (depth, panels) = (self.depth, all[self.place.clone()].par_chunks_mut(self.blocks()));
        panels.zip(weights.par_chunks(PANEL * depth)).for_each(|(panel, rows)| {
            panel.fill(PanelBlock { scales: [0; PANEL], weights: [[[128; 4]; PANEL]; QUADS] });
            fill(depth, rows, panel);
        });
    }

    /// The panels that lie in `all`, from output `first` on.
    fn panels<'a>(&self, all: &'a [PanelBlock], first: usize) -> &'a [PanelBlock] {
        &all[self.place.clone()][first / PANEL * self.blocks()..]
    }

    /// Row `row` as f32.
    pub(super) fn row(&self, all: &[PanelBlock], row: usize, out: &mut [f32]) {
        let lane = row % PANEL;
        for (out, block) in out.chunks_mut(BLOCK).zip(self.panels(all, row)) {
            let scale = f16::from_bits(block.scales[lane]).to_f32();
            for (i, out) in out.iter_mut().enumerate() {
                *out = scale * f32::from(i16::from(block.weights[i / 4][lane][i % 4]) - 128);
            }
        }
    }

    /// `out[i * stride + j] = a[i] · b[j]` for all rows i and the outputs j of `range`, which begins with a panel and ends with
    /// one or with the matrix.
    ///
    /// SAFETY: `out` reaches `rows * stride` values, of which those are nobody else's.
    pub(super) unsafe fn matmul(
        &self,
        kernel: Kernel,
        all: &[PanelBlock],
        a: &Activations,
        range: Range<usize>,
        out: *mut f32,
        stride: usize,
    ) {
        let blocks = self.blocks();
        assert!(
            a.blocks == blocks && range.end <= self.outputs && range.start.is_multiple_of(PANEL)
        );
        assert!(range.end.is_multiple_of(PANEL) || range.end == self.outputs || range.is_empty());
        let panels = self.panels(all, range.start).chunks_exact(blocks);
        for (j, panel) in range.clone().step_by(PANEL).zip(panels) {
            let wanted = PANEL.min(range.end - j);
            for i in 0..a.rows {
                let row = Row {
                    values: &a.values[i * blocks * BLOCK..][..blocks * BLOCK],
                    scales: &a.scales[i * blocks..][..blocks],
                    starts: &a.starts[i * blocks..][..blocks],
                };
                let mut accumulators = [0.0; PANEL];
                // SAFETY: the processor has what the kernel needs: only `available` makes one.
                unsafe {
                    (kernel.0)(panel, row, &mut accumulators);
                    std::ptr::copy_nonoverlapping(
                        accumulators.as_ptr(),
                        out.add(i * stride + j),
                        wanted,
                    );
                }
            }
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2+fma"))]
fn fill(depth: usize, rows: &[f32], panel: &mut [PanelBlock]) {
    for (lane, row) in rows.chunks_exact(depth).enumerate() {
        for (part, block) in row.chunks(BLOCK).zip(panel.iter_mut()) {
            let mut values = [0; BLOCK];
            block.scales[lane] = f16::from_f32(quantise(part, &mut values)).to_bits();
            for (quad, values) in block.weights.iter_mut().zip(values.as_chunks::<4>().0) {
                quad[lane] = values.map(|value| (value as u8) ^ 128);
            }
        }
    }
}

impl Activations {
    /// Quantises `rows` rows of `depth` values.
    pub(super) fn set(&mut self, rows: usize, depth: usize, values: &[f32]) {
        let blocks = depth.div_ceil(BLOCK);
        (self.rows, self.blocks) = (rows, blocks);
        self.values.resize(rows * blocks * BLOCK, 0);
        self.scales.resize(rows * blocks, 0.0);
        self.starts.resize(rows * blocks, 0);
        for (i, row) in values[..rows * depth].chunks_exact(depth).enumerate() {
            let at = i * blocks;
            quantise_row(
                row,
                &mut self.values[at * BLOCK..][..blocks * BLOCK],
                &mut self.scales[at..][..blocks],
                &mut self.starts[at..][..blocks],
            );
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2+fma"))]
fn quantise_row(row: &[f32], values: &mut [i8], scales: &mut [f32], starts: &mut [i32]) {
    for (((part, values), scale), start) in
        row.chunks(BLOCK).zip(values.as_chunks_mut::<BLOCK>().0).zip(scales).zip(starts)
    {
        *scale = quantise(part, values);
        *start = -128 * values.iter().map(|&value| i32::from(value)).sum::<i32>();
    }
}

/// A row of activations.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    values: &'a [i8],
    scales: &'a [f32],
    starts: &'a [i32],
}

/// Adds to sixteen accumulators the products of a panel with a row.
#[derive(Clone, Copy)]
pub(super) struct Kernel(unsafe fn(&[PanelBlock], Row, &mut [f32; PANEL]));

/// The kernels this machine can run, the fastest first, by name.
pub(super) fn available() -> Vec<(&'static str, Kernel)> {
    let mut kernels: Vec<(&'static str, Kernel)> = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as has;
        if has!("avx512f") && has!("avx512bw") && has!("avx512vnni") {
            kernels.push(("avx512 vnni", Kernel(vnni)));
        }
        if has!("avx2") && has!("f16c") {
            kernels.push(("avx2", Kernel(avx2)));
        }
    }
    kernels.push(("", Kernel(portable)));
    kernels
}

/// The fastest of them.
pub(super) fn best() -> Kernel {
    static BEST: LazyLock<Kernel> = LazyLock::new(|| available()[0].1);
    *BEST
}

unsafe fn portable(panel: &[PanelBlock], row: Row, accumulators: &mut [f32; PANEL]) {
    for (b, block) in panel.iter().enumerate() {
        let mut integers = [row.starts[b]; PANEL];
        for (quad, values) in
            block.weights.iter().zip(row.values[b * BLOCK..][..BLOCK].as_chunks::<4>().0)
        {
            for (sum, weights) in integers.iter_mut().zip(quad) {
                *sum += weights
                    .iter()
                    .zip(values)
                    .map(|(&w, &a)| i32::from(w) * i32::from(a))
                    .sum::<i32>();
            }
        }
        for ((sum, integer), scale) in accumulators.iter_mut().zip(integers).zip(block.scales) {
            *sum += integer as f32 * (f16::from_bits(scale).to_f32() * row.scales[b]);
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn vnni(panel: &[PanelBlock], row: Row, accumulators: &mut [f32; PANEL]) {
    use std::arch::x86_64::*;
    // SAFETY: `Matrix::matmul` gives a row as long as the panel; the processor has the instructions.
    unsafe {
        let mut total = _mm512_loadu_ps(accumulators.as_ptr());
        for (b, block) in panel.iter().enumerate() {
            let values = row.values.as_ptr().add(b * BLOCK).cast::<i32>();
            let mut even = _mm512_set1_epi32(*row.starts.get_unchecked(b));
            let mut odd = _mm512_setzero_si512();
            for quad in 0..QUADS / 2 {
                let weights =
                    |quad: usize| _mm512_loadu_si512(block.weights.as_ptr().add(quad).cast());
                let activations =
                    |quad: usize| _mm512_set1_epi32(values.add(quad).read_unaligned());
                even = _mm512_dpbusd_epi32(even, weights(2 * quad), activations(2 * quad));
                odd = _mm512_dpbusd_epi32(odd, weights(2 * quad + 1), activations(2 * quad + 1));
            }
            let scale = _mm512_cvtph_ps(_mm256_loadu_si256(block.scales.as_ptr().cast()));
            let scale = _mm512_mul_ps(scale, _mm512_set1_ps(*row.scales.get_unchecked(b)));
            total = _mm512_add_ps(
                total,
                _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_add_epi32(even, odd)), scale),
            );
        }
        _mm512_storeu_ps(accumulators.as_mut_ptr(), total);
    }
}

/// Without VNNI: `maddubs` adds pairs in 16 bits, which |w| times a with the sign of w cannot overflow: 2 x 127 x 127.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,f16c")]
unsafe fn avx2(panel: &[PanelBlock], row: Row, accumulators: &mut [f32; PANEL]) {
    use std::arch::x86_64::*;
    // SAFETY: `Matrix::matmul` gives a row as long as the panel; the processor has the instructions.
    unsafe {
        let mut totals =
            [_mm256_loadu_ps(accumulators.as_ptr()), _mm256_loadu_ps(accumulators.as_ptr().add(8))];
        let (ones, flip) = (_mm256_set1_epi16(1), _mm256_set1_epi8(-128));
        for (b, block) in panel.iter().enumerate() {
            let values = row.values.as_ptr().add(b * BLOCK).cast::<i32>();
            let mut integers = [_mm256_setzero_si256(); 2];
            for quad in 0..QUADS {
                let activations = _mm256_set1_epi32(values.add(quad).read_unaligned());
                for (half, sum) in integers.iter_mut().enumerate() {
                    let weights = _mm256_loadu_si256(
                        block.weights.as_ptr().add(quad).cast::<__m256i>().add(half),
                    );
                    let weights = _mm256_xor_si256(weights, flip);
                    let pairs = _mm256_maddubs_epi16(
                        _mm256_abs_epi8(weights),
                        _mm256_sign_epi8(activations, weights),
                    );
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
                }
            }
            for (half, (total, integers)) in totals.iter_mut().zip(integers).enumerate() {
                let scale = _mm256_cvtph_ps(_mm_loadu_si128(
                    block.scales.as_ptr().cast::<__m128i>().add(half),
                ));
                let scale = _mm256_mul_ps(scale, _mm256_set1_ps(*row.scales.get_unchecked(b)));
                *total = _mm256_add_ps(*total, _mm256_mul_ps(_mm256_cvtepi32_ps(integers), scale));
            }
        }
        _mm256_storeu_ps(accumulators.as_mut_ptr(), totals[0]);
        _mm256_storeu_ps(accumulators.as_mut_ptr().add(8), totals[1]);
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

    /// A matrix behind seven blocks of another, which stay as they are.
    fn quantised(outputs: usize, depth: usize, weights: &[f32]) -> (Matrix, Vec<PanelBlock>) {
        let matrix = Matrix::new(outputs, depth, 7);
        let mut all = vec![PanelBlock::zeroed(); matrix.end()];
        matrix.set(weights, &mut all);
        assert!(
            all[..7].iter().all(|block| bytemuck::bytes_of(block).iter().all(|&byte| byte == 0))
        );
        (matrix, all)
    }

    #[test]
    fn a_block_by_hand() {
        let mut out = [9; BLOCK];
        // The largest is 2.54, so the scale is 0.02: 1.27 is 63.5 of it and goes to the even 64.
        let scale = quantise(&[2.54, -1.27, 0.0, 0.01, -2.54], &mut out);
        assert!((scale - 0.02).abs() < 1e-8);
        assert!(
            out[0] == 127 && [-63, -64].contains(&out[1]) && out[2] == 0 && out[4] == -127,
            "{out:?}"
        );
        assert_eq!(out[5..], [0; BLOCK - 5]);
        assert_eq!((quantise(&[0.0; 32], &mut out), out), (0.0, [0; BLOCK]));
    }

    #[test]
    fn all_kernels_give_the_bits_of_the_portable_one_and_are_near_the_exact_product() {
        for (rows, outputs, depth) in
            [(1, 40, 856), (10, 856, 320), (3, 17, 33), (1, 1, 1), (2, 48, 40), (64, 16, 32)]
        {
            let (a, b) = (values(rows * depth, 1), values(outputs * depth, 2));
            let (matrix, all) = quantised(outputs, depth, &b);
            let mut activations = Activations::default();
            activations.set(rows, depth, &a);
            let run = |kernel: Kernel, activations: &Activations| {
                let mut out = vec![f32::NAN; activations.rows * outputs];
                // SAFETY: as large as the sizes say.
                unsafe {
                    matrix.matmul(kernel, &all, activations, 0..outputs, out.as_mut_ptr(), outputs)
                };
                out
            };
            let kernels = available();
            let reference = run(kernels[kernels.len() - 1].1, &activations);
            for (name, kernel) in kernels {
                assert!(
                    run(kernel, &activations) == reference,
                    "{name} gives other bits at {rows} x {outputs} x {depth}"
                );
            }
            let alone: Vec<f32> = a
                .chunks_exact(depth)
                .flat_map(|row| {
                    let mut activations = Activations::default();
                    activations.set(1, depth, row);
                    run(best(), &activations)
                })
                .collect();
            assert!(alone == reference, "the bits of a row depend on the batch");
            let mut row = vec![0.0; depth];
            for j in 0..outputs {
                matrix.row(&all, j, &mut row);
                for (l, (found, exact)) in row.iter().zip(&b[j * depth..]).enumerate() {
                    // Half a step of a block whose largest value is 0.5, and the scale's own rounding to f16.
                    assert!(
                        (found - exact).abs() <= 0.5 * 0.5 / 127.0 + exact.abs() / 1024.0,
                        "weight {j}, {l}: {found} {exact}"
                    );
                }
                for i in 0..rows {
                    let exact: f64 = (0..depth)
                        .map(|l| f64::from(a[i * depth + l]) * f64::from(b[j * depth + l]))
                        .sum();
                    let error = (f64::from(reference[i * outputs + j]) - exact).abs();
                    assert!(error < 4e-3 * (1.0 + depth as f64).sqrt(), "{i}, {j}: {error}");
                }
            }
        }
    }

    #[test]
    fn extremes_do_not_overflow() {
        // 127 times 127 in all 32 places, with both signs.
        let (rows, outputs, depth) = (2, 16, 64);
        let b = vec![1.0; outputs * depth];
        let a: Vec<f32> = (0..rows * depth).map(|i| if i < depth { 1.0 } else { -1.0 }).collect();
        let mut activations = Activations::default();
        activations.set(rows, depth, &a);
        for (name, kernel) in available() {
            let mut out = vec![0.0; rows * outputs];
            let (matrix, all) = quantised(outputs, depth, &b);
            // SAFETY: as large as the sizes say.
            unsafe {
                matrix.matmul(kernel, &all, &activations, 0..outputs, out.as_mut_ptr(), outputs)
            };
            let (plus, minus) = out.split_at(outputs);
            assert!(
                plus.iter().all(|v| (v - 64.0).abs() < 0.05)
                    && minus.iter().all(|v| (v + 64.0).abs() < 0.05),
                "{name} {out:?}"
            );
        }
    }
}
