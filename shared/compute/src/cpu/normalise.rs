//! RMSNorm, forward and backward.
use multiversion::multiversion;

use super::math::sum_of;
use super::parallel::{ROWS, each_part};

pub(super) fn rmsnorm_forward(
    width: usize,
    eps: f32,
    x: &[f32],
    gain: &[f32],
    out: &mut [f32],
    rstd: &mut [f32],
) {
    each_part([(rstd, ROWS), (out, ROWS * width)], |part, [rstd, out]| {
        let rows =
            out.chunks_exact_mut(width).zip(x[part * ROWS * width..].chunks_exact(width)).zip(rstd);
        rows.for_each(|((out, x), rstd)| *rstd = forward_row(eps, x, gain, out));
    });
}

#[multiversion(targets("x86_64+avx512f", "x86_64+avx2+fma"))]
pub(super) fn forward_row(eps: f32, x: &[f32], gain: &[f32], out: &mut [f32]) -> f32 {
    let mean = sum_of([x], |[x]| x * x) / x.len() as f32;
    let rstd = 1.0 / (mean + eps).sqrt();
    for ((out, x), gain) in out.iter_mut().zip(x).zip(gain) {
        *out = x * rstd * gain;
    }
    rstd
}

/// The gain's gradient is summed per part of ROWS rows, then over the parts in order.
pub(super) fn rmsnorm_backward(
    width: usize,
    x: &[f32],
    gain: &[f32],
    rstd: &[f32],
    dout: &[f32],
    dx: &mut [f32],
    dgain: &mut [f32],
    partial: &mut Vec<f32>,
) {
    let part = ROWS * width;
    partial.clear();
    partial.resize(rstd.len().div_ceil(ROWS) * width, 0.0);
    each_part([(&mut partial[..], width), (dx, part)], |index, [dgain, dx]| {
        let (x, dout, rstd) = (&x[index * part..], &dout[index * part..], &rstd[index * ROWS..]);
        let rows = dx
            .chunks_exact_mut(width)
            .zip(x.chunks_exact(width))
            .zip(dout.chunks_exact(width))
            .zip(rstd);
        for (((dx, x), dout), &rstd) in rows {
            backward_row(x, gain, rstd, dout, dx, dgain);
        }
    });
    for partial in partial.chunks_exact(width) {
        dgain.iter_mut().zip(partial).for_each(|(sum, part)| *sum += part);
    }
}

#[multiversion(targets("x86_64+avx512f", "x86_64+avx2+fma"))]
fn backward_row(
    x: &[f32],
    gain: &[f32],
    rstd: f32,
    dout: &[f32],
    dx: &mut [f32],
    dgain: &mut [f32],
) {
    let n = x.len();
    let (gain, dout, dx, dgain) = (&gain[..n], &dout[..n], &mut dx[..n], &mut dgain[..n]);
    let mean = sum_of([dout, gain, x], |[dout, gain, x]| dout * gain * x) / n as f32;
    let factor = rstd * rstd * mean;
    for i in 0..n {
        dx[i] += rstd * (dout[i] * gain[i] - x[i] * factor);
        dgain[i] += dout[i] * x[i] * rstd;
    }
}
