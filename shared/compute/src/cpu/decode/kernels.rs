//! The kernels of decoding in f32, written once over [`Lanes`] and compiled for each kind of processor.
use std::sync::LazyLock;

#[cfg(target_arch = "x86_64")]
use super::lanes::{Avx2, Avx512};
use super::lanes::{LANES, Lanes, Portable};
use crate::cpu::math::{exp, map_sum, max_of};

/// `out[i, j] = a[i] · b[j]` for all `rows` of a and `outputs` rows of b, both `depth` long. One sum of sixteen lanes per
/// output whatever the tile, so the bits of a row do not depend on the rows beside it.
pub(super) struct Matmul {
    pub rows: usize,
    pub outputs: usize,
    pub depth: usize,
    pub a: *const f32,
    pub b: *const f32,
    /// out[i, j] is `out[i * stride + j]`.
    pub out: *mut f32,
    pub stride: usize,
}

/// One query over the keys and values of its story so far.
pub(super) struct Attention {
    /// Elements of a head.
    pub width: usize,
    /// Positions to look at, and for how many there is space in a row of `keys` and in `weights`: a multiple of [`BLOCK`].
    pub length: usize,
    pub key_stride: usize,
    pub query: *const f32,
    /// [width, key_stride]: transposed, so that a vector holds sixteen positions.
    pub keys: *const f32,
    /// [positions, width], and sixteen values that may be read behind them.
    pub values: *const f32,
    pub weights: *mut f32,
    pub out: *mut f32,
}

/// Positions whose scores are computed at once.
pub(super) const BLOCK: usize = 4 * LANES;

/// SAFETY: pointers reach what the fields say, outputs are nobody else's, and the processor has what the kernel needs.
pub(super) type MatmulKernel = unsafe fn(&Matmul);
pub(super) type AttentionKernel = unsafe fn(&Attention);

/// The kernels for one kind of processor.
pub(super) struct Set {
    #[cfg_attr(not(test), expect(dead_code, reason = "tests say which set fails"))]
    pub name: &'static str,
    pub matmul: MatmulKernel,
    pub attention: AttentionKernel,
}

static PORTABLE: Set =
    Set { name: "", matmul: matmul::<Portable>, attention: attention::<Portable> };

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::*;

    pub(super) static AVX512: Set =
        Set { name: "avx512", matmul: matmul_avx512, attention: attention_avx512 };
    pub(super) static AVX2: Set =
        Set { name: "avx2 fma", matmul: matmul_avx2, attention: attention_avx2 };

    #[target_feature(enable = "avx512f,avx2,fma")]
    unsafe fn matmul_avx512(p: &Matmul) {
        // SAFETY: passed on.
        unsafe { matmul::<Avx512>(p) }
    }

    #[target_feature(enable = "avx512f,avx2,fma")]
    unsafe fn attention_avx512(a: &Attention) {
        // SAFETY: passed on.
        unsafe { attention::<Avx512>(a) }
    }

    #[target_feature(enable = "avx2,fma")]
    unsafe fn matmul_avx2(p: &Matmul) {
        // SAFETY: passed on.
        unsafe { matmul::<Avx2>(p) }
    }

    #[target_feature(enable = "avx2,fma")]
    unsafe fn attention_avx2(a: &Attention) {
        // SAFETY: passed on.
        unsafe { attention::<Avx2>(a) }
    }
}

/// The sets this machine can run, the fastest first.
pub(super) fn available() -> Vec<&'static Set> {
    let mut sets = Vec::new();
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
        if std::arch::is_x86_feature_detected!("avx512f") {
            sets.push(&x86::AVX512);
        }
        sets.push(&x86::AVX2);
    }
    sets.push(&PORTABLE);
    sets
}

/// The fastest of them.
pub(super) fn best() -> &'static Set {
    static BEST: LazyLock<&Set> = LazyLock::new(|| available()[0]);
    &BEST
}

#[inline(always)]
unsafe fn matmul<V: Lanes>(p: &Matmul) {
    // SAFETY: passed on.
    unsafe {
        if !V::MANY_REGISTERS {
            outputs::<V, 4, 1>(p)
        } else if p.rows == 1 {
            outputs::<V, 8, 1>(p)
        } else {
            outputs::<V, 4, 5>(p)
        }
    }
}

/// R outputs at a time, so that a row of b is read once for all rows of a and stays in the first cache meanwhile.
#[inline(always)]
unsafe fn outputs<V: Lanes, const R: usize, const M: usize>(p: &Matmul) {
    let mut j = 0;
    // SAFETY: passed on.
    unsafe {
        while j + R <= p.outputs {
            rows::<V, R, M>(p, j);
            j += R;
        }
        while j < p.outputs {
            rows::<V, 1, M>(p, j);
            j += 1;
        }
    }
}

#[inline(always)]
unsafe fn rows<V: Lanes, const R: usize, const M: usize>(p: &Matmul, j: usize) {
    let mut i = 0;
    // SAFETY: passed on.
    unsafe {
        while i + M <= p.rows {
            tile::<V, R, M>(p, i, j);
            i += M;
        }
        while M > 2 && i + 2 <= p.rows {
            tile::<V, R, 2>(p, i, j);
            i += 2;
        }
        while i < p.rows {
            tile::<V, R, 1>(p, i, j);
            i += 1;
        }
    }
}

#[inline(always)]
unsafe fn tile<V: Lanes, const R: usize, const M: usize>(p: &Matmul, i: usize, j: usize) {
    let depth = p.depth;
    // SAFETY: the rows i.. i + M of a and j.. j + R of b are there.
    unsafe {
        let (a, b) = (p.a.add(i * depth), p.b.add(j * depth));
        let mut accumulators = [[V::splat(0.0); R]; M];
        let mut l = 0;
        while l + LANES <= depth {
            let b: [V; R] = std::array::from_fn(|r| {
                let at = b.add(r * depth + l);
                if M == 1 {
                    V::prefetch(at.wrapping_add(R * depth)); // of the next tile
                }
                V::load(at)
            });
            for (m, accumulators) in accumulators.iter_mut().enumerate() {
                let a = V::load(a.add(m * depth + l));
                for (sum, b) in accumulators.iter_mut().zip(b) {
                    *sum = sum.add_product(a, b);
                }
            }
            l += LANES;
        }
        if l < depth {
            for (m, accumulators) in accumulators.iter_mut().enumerate() {
                let a = V::load_part(a.add(m * depth + l), depth - l);
                for (r, sum) in accumulators.iter_mut().enumerate() {
                    *sum = sum.add_product(a, V::load_part(b.add(r * depth + l), depth - l));
                }
            }
        }
        for (m, accumulators) in accumulators.into_iter().enumerate() {
            for (r, sum) in accumulators.into_iter().enumerate() {
                *p.out.add((i + m) * p.stride + j + r) = sum.sum();
            }
        }
    }
}

#[inline(always)]
unsafe fn attention<V: Lanes>(a: &Attention) {
    let Attention { width, length, key_stride, .. } = *a;
    let scale = 1.0 / (width as f32).sqrt();
    // SAFETY: blocks end within `key_stride`; what is computed beyond `length` is not used.
    unsafe {
        for j in (0..length).step_by(BLOCK) {
            let mut scores = [V::splat(0.0); 4];
            for i in 0..width {
                let query = V::splat(*a.query.add(i) * scale);
                for (c, score) in scores.iter_mut().enumerate() {
                    *score = score
                        .add_product(query, V::load(a.keys.add(i * key_stride + j + c * LANES)));
                }
            }
            for (c, score) in scores.into_iter().enumerate() {
                score.store(a.weights.add(j + c * LANES));
            }
        }
        let weights = std::slice::from_raw_parts_mut(a.weights, length);
        let max = max_of(weights);
        let inverse = 1.0 / map_sum(weights, |weight| exp(weight - max));
        let mut first = 0;
        while first < width {
            match (width - first).div_ceil(LANES) {
                1 => values::<V, 1>(a, first, inverse),
                2 => values::<V, 2>(a, first, inverse),
                _ => values::<V, 3>(a, first, inverse),
            }
            first += 3 * LANES;
        }
    }
}

/// `out = sum_j weights[j] values[j]` of C vectors from element `first` on.
#[inline(always)]
unsafe fn values<V: Lanes, const C: usize>(a: &Attention, first: usize, inverse: f32) {
    // SAFETY: sixteen values may be read behind the last of `values`; of `out` no more is written than there is.
    unsafe {
        let mut accumulators = [V::splat(0.0); C];
        for j in 0..a.length {
            let weight = V::splat(*a.weights.add(j) * inverse);
            for (c, sum) in accumulators.iter_mut().enumerate() {
                *sum =
                    sum.add_product(weight, V::load(a.values.add(j * a.width + first + c * LANES)));
            }
        }
        for (c, sum) in accumulators.into_iter().enumerate() {
            let mut lanes = [0.0; LANES];
            sum.store(lanes.as_mut_ptr());
            let start = first + c * LANES;
            std::ptr::copy_nonoverlapping(
                lanes.as_ptr(),
                a.out.add(start),
                LANES.min(a.width - start),
            );
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

    #[test]
    fn products_equal_plain_sums_and_a_row_does_not_know_its_neighbours() {
        for set in available() {
            for (rows, outputs, depth) in [
                (1, 40, 856),
                (10, 856, 320),
                (1, 1, 1),
                (3, 17, 15),
                (7, 9, 40),
                (64, 33, 17),
                (2, 8, 16),
            ] {
                let (a, b) = (values(rows * depth, 1), values(outputs * depth, 2));
                let run = |a: &[f32]| {
                    let rows = a.len() / depth;
                    let stride = outputs + 3;
                    let mut out = vec![f32::NAN; rows * stride];
                    // SAFETY: as large as the sizes say.
                    unsafe {
                        (set.matmul)(&Matmul {
                            rows,
                            outputs,
                            depth,
                            a: a.as_ptr(),
                            b: b.as_ptr(),
                            out: out.as_mut_ptr(),
                            stride,
                        });
                    }
                    let rows = out.chunks_exact(stride);
                    rows.flat_map(|row| {
                        assert!(
                            row[outputs..].iter().all(|v| v.is_nan()),
                            "{}: beyond the outputs",
                            set.name
                        );
                        row[..outputs].to_vec()
                    })
                    .collect::<Vec<f32>>()
                };
                let together = run(&a);
                let alone: Vec<f32> = a.chunks_exact(depth).flat_map(run).collect();
                assert!(
                    together == alone,
                    "{} {rows} x {outputs} x {depth}: bits depend on the batch",
                    set.name
                );
                for (at, found) in together.iter().enumerate() {
                    let (i, j) = (at / outputs, at % outputs);
                    let exact: f64 = (0..depth)
                        .map(|l| f64::from(a[i * depth + l]) * f64::from(b[j * depth + l]))
                        .sum();
                    assert!(
                        (f64::from(*found) - exact).abs() < 2e-6 * (1.0 + depth as f64).sqrt(),
                        "{} {i} {j}: {found} {exact}",
                        set.name
                    );
                }
            }
        }
    }

    #[test]
    fn attention_equals_the_formula_and_reads_nothing_beyond_its_length() {
        for set in available() {
            for (width, length) in
                [(40usize, 1usize), (40, 64), (40, 65), (10, 17), (16, 130), (64, 100), (112, 9)]
            {
                let key_stride = length.next_multiple_of(BLOCK);
                let (query, keys, seen) =
                    (values(width, 1), values(length * width, 2), values(length * width, 3));
                let mut transposed = vec![f32::NAN; width * key_stride];
                for j in 0..length {
                    (0..width).for_each(|i| transposed[i * key_stride + j] = keys[j * width + i]);
                }
                let behind = [seen.clone(), vec![f32::NAN; LANES]].concat();
                let (mut weights, mut out) = (vec![0.0; key_stride], vec![f32::NAN; width + 1]);
                // SAFETY: as large as the sizes say.
                unsafe {
                    (set.attention)(&Attention {
                        width,
                        length,
                        key_stride,
                        query: query.as_ptr(),
                        keys: transposed.as_ptr(),
                        values: behind.as_ptr(),
                        weights: weights.as_mut_ptr(),
                        out: out.as_mut_ptr(),
                    });
                }
                let dot = |j: usize| {
                    (0..width)
                        .map(|i| f64::from(query[i]) * f64::from(keys[j * width + i]))
                        .sum::<f64>()
                };
                let scores: Vec<f64> =
                    (0..length).map(|j| (dot(j) / (width as f64).sqrt()).exp()).collect();
                let total: f64 = scores.iter().sum();
                for i in 0..width {
                    let exact: f64 = (0..length)
                        .map(|j| scores[j] / total * f64::from(seen[j * width + i]))
                        .sum();
                    assert!(
                        (f64::from(out[i]) - exact).abs() < 1e-6,
                        "{} {width} x {length} at {i}: {} {exact}",
                        set.name,
                        out[i]
                    );
                }
                assert!(out[width].is_nan(), "{}: beyond the head", set.name);
            }
        }
    }
}
