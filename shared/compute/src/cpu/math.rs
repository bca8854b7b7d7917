//! Small functions that compilers turn into vector instructions when they are inlined into a loop.
//!
//! Loops over rows are compiled three times, portable, for AVX2 with FMA and for AVX-512 (`multiversion`), and chosen when they
//! run: their bits are the same, since what is fused is written as `mul_add` and nothing is reordered. (Where a
//! processor has no fused operations, it computes them in software: the same bits, slowly.)

/// Values that loops take at once: arrays of this length become vector registers, without checks of bounds.
pub(crate) const CHUNK: usize = 32;

/// The sum of `term` over the elements of N slices of one length, in interleaved parts, then over those: a fixed order
/// that vector registers can keep.
#[inline(always)]
pub(crate) fn sum_of<const N: usize>(values: [&[f32]; N], term: impl Fn([f32; N]) -> f32) -> f32 {
    let n = values.iter().map(|values| values.len()).min().unwrap_or(0);
    let values = values.map(|values| values[..n].as_chunks::<CHUNK>());
    let mut parts = [0.0f32; CHUNK];
    for c in 0..n / CHUNK {
        let chunk = values.map(|(chunks, _)| &chunks[c]);
        for (j, part) in parts.iter_mut().enumerate() {
            *part += term(chunk.map(|chunk| chunk[j]));
        }
    }
    for (j, part) in parts[..n % CHUNK].iter_mut().enumerate() {
        *part += term(values.map(|(_, rest)| rest[j]));
    }
    sum_of_parts(parts)
}

/// `values = f(values)`, and their sum in the order of [`sum_of`].
#[inline(always)]
pub(crate) fn map_sum(values: &mut [f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut parts = [0.0f32; CHUNK];
    let (chunks, rest) = values.as_chunks_mut::<CHUNK>();
    for chunk in chunks {
        for (part, value) in parts.iter_mut().zip(chunk) {
            *value = f(*value);
            *part += *value;
        }
    }
    for (part, value) in parts.iter_mut().zip(rest) {
        *value = f(*value);
        *part += *value;
    }
    sum_of_parts(parts)
}

#[inline(always)]
fn sum_of_parts(mut parts: [f32; CHUNK]) -> f32 {
    for half in [16, 8, 4, 2, 1] {
        for j in 0..half {
            parts[j] += parts[j + half];
        }
    }
    parts[0]
}

/// `dot(a, b)`
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    sum_of([a, b], |[a, b]| a * b)
}

/// Largest value; -infinity of none.
#[inline(always)]
pub(crate) fn max_of(values: &[f32]) -> f32 {
    let mut parts = [f32::NEG_INFINITY; CHUNK];
    let (chunks, rest) = values.as_chunks::<CHUNK>();
    for chunk in chunks {
        for (part, &value) in parts.iter_mut().zip(chunk) {
            *part = if value > *part { value } else { *part };
        }
    }
    let largest = |a: f32, &b: &f32| if b > a { b } else { a };
    for half in [16, 8, 4, 2, 1] {
        for j in 0..half {
            parts[j] = largest(parts[j], &parts[j + half]);
        }
    }
    rest.iter().fold(parts[0], largest)
}

/// e^x within 2 units in the last place; 0 below -87.3, e^88.3 above 88.3.
///
/// x = n ln 2 + r with |r| <= ln 2 / 2; e^r by a polynomial of degree 6 (minimax, as in Cephes `expf`), times 2^n.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let clamped = if x > 88.3 { 88.3 } else { x };
    let clamped = if clamped < -87.3 { -87.3 } else { clamped };
    // Adding 1.5 * 2^23 rounds to an integer, which then lies in the low bits of the sum.
    const ROUND: f32 = 12_582_912.0;
    let shifted = clamped.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, clamped));
    let mut p = 1.987_569_1e-4f32;
    for coefficient in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5, 1.0, 1.0] {
        p = p.mul_add(r, coefficient);
    }
    let power =
        f32::from_bits((shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127)) << 23);
    if x < -87.3 { 0.0 } else { p * power }
}

/// x / (1 + e^-x)
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        let mut worst = 0.0f64;
        for i in -870_000..=882_000 {
            let x = i as f32 * 1e-4;
            let exact = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) / exact - 1.0).abs());
        }
        assert!(worst < 2.4e-7, "{worst}");
        assert_eq!((exp(0.0), exp(-100.0), exp(f32::NEG_INFINITY)), (1.0, 0.0, 0.0));
        assert!(exp(1000.0).is_finite() && exp(f32::NAN).is_nan());
    }

    #[test]
    fn sums_and_largest_of_any_length() {
        for n in [0, 1, 31, 32, 33, 100] {
            let values: Vec<f32> = (0..n).map(|i| (i * 7 % 13) as f32).collect();
            assert_eq!(sum_of([&values], |[v]| v), values.iter().sum::<f32>());
            let mut doubled = values.clone();
            assert_eq!(map_sum(&mut doubled, |v| 2.0 * v), 2.0 * values.iter().sum::<f32>());
            assert!(doubled.iter().zip(&values).all(|(d, v)| *d == 2.0 * v));
            assert_eq!(max_of(&values), values.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            assert_eq!(dot(&values, &values), values.iter().map(|v| v * v).sum::<f32>());
        }
    }
}
