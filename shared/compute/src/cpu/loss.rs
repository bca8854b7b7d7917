//! The end of the step: cross entropy, the norm of the gradient, and what it says of the update.
use multiversion::multiversion;

use super::math::{exp, map_sum, max_of, sum_of};
use super::matmul::{STRIP, Scratch, Strided, strips};
use super::parallel::each_part;
use crate::kernels::{NO_TARGET, state};
use crate::optimizer::Update;

/// Elements per task over flat buffers.
const PART: usize = 1 << 14;
/// Rows of logits per task.
const LOGIT_ROWS: usize = 8;

pub(super) fn cross_entropy_forward(
    vocab: usize,
    logits: &[f32],
    targets: &[u32],
    losses: &mut [f32],
) {
    each_part([(losses, LOGIT_ROWS)], |part, [losses]| {
        let first = part * LOGIT_ROWS;
        for ((loss, logits), &target) in losses
            .iter_mut()
            .zip(logits[first * vocab..].chunks_exact(vocab))
            .zip(&targets[first..])
        {
            *loss = if target == NO_TARGET {
                0.0
            } else {
                log_sum_exp(logits) - logits[target as usize]
            };
        }
    });
}

#[multiversion(targets("x86_64+avx512f", "x86_64+avx2+fma"))]
fn log_sum_exp(logits: &[f32]) -> f32 {
    let max = max_of(logits);
    max + sum_of([logits], |[logit]| exp(logit - max)).ln()
}

/// The head's matmul and its cross entropy by tiles that stay in the second cache: no logit is ever written to memory.
pub(super) fn head_loss_forward<'a>(
    scratch: &mut Scratch,
    vocab: usize,
    d: usize,
    x: &[f32],
    head: &[f32],
    targets: &'a [u32],
    losses: &'a mut [f32],
) {
    let of_strip = |(losses, targets): (&'a mut [f32], &'a [u32])| {
        losses.fill(0.0);
        // Strips whose rows are context only are not computed.
        let rows = || vec![Row { max: f32::NEG_INFINITY, sum: 0.0, chosen: 0.0 }; targets.len()];
        targets.iter().any(|&target| target != NO_TARGET).then(|| Strip {
            rows: rows(),
            targets,
            losses,
        })
    };
    let states: Vec<Option<Strip<'a>>> =
        losses.chunks_mut(STRIP).zip(targets.chunks(STRIP)).map(of_strip).collect();
    strips(
        scratch,
        targets.len(),
        vocab,
        d,
        Strided::rows(x, d),
        Strided::transposed(head, d),
        states,
        |strip, columns, tile| {
            for (row, logits) in strip.rows.iter_mut().zip(tile.chunks_exact(columns.len())) {
                (row.max, row.sum) = add_to_sum(logits, row.max, row.sum);
            }
            for (i, &target) in strip
                .targets
                .iter()
                .enumerate()
                .filter(|(_, target)| columns.contains(&(**target as usize)))
            {
                strip.rows[i].chosen = tile[i * columns.len() + target as usize - columns.start];
            }
            if columns.end == vocab {
                for ((row, &target), loss) in
                    strip.rows.iter().zip(strip.targets).zip(strip.losses.iter_mut())
                {
                    *loss =
                        if target == NO_TARGET { 0.0 } else { row.max + row.sum.ln() - row.chosen };
                }
            }
        },
    );
}

/// What is known of a row of logits so far: the largest, the sum of their exponentials over that of the largest, the target's.
#[derive(Clone)]
struct Row {
    max: f32,
    sum: f32,
    chosen: f32,
}

/// The rows of a strip, and where their losses go.
struct Strip<'a> {
    rows: Vec<Row>,
    targets: &'a [u32],
    losses: &'a mut [f32],
}

/// The running maximum and sum (Milakov and Gimelshein, arXiv 1805.02867) after more logits.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2+fma"))]
fn add_to_sum(logits: &[f32], max: f32, sum: f32) -> (f32, f32) {
    let here = max_of(logits);
    let larger = if here > max { here } else { max };
    (larger, sum * exp(max - larger) + sum_of([logits], |[logit]| exp(logit - larger)))
}

pub(super) fn cross_entropy_backward(
    vocab: usize,
    scale: f32,
    logits: &mut [f32],
    targets: &[u32],
    losses: &mut [f32],
) {
    each_part([(losses, LOGIT_ROWS), (logits, LOGIT_ROWS * vocab)], |part, [losses, logits]| {
        for ((loss, logits), &target) in
            losses.iter_mut().zip(logits.chunks_exact_mut(vocab)).zip(&targets[part * LOGIT_ROWS..])
        {
            if target == NO_TARGET {
                *loss = 0.0;
                logits.fill(0.0);
                continue;
            }
            let chosen = logits[target as usize];
            *loss = softmax_scaled(scale, logits) - chosen;
            logits[target as usize] -= scale;
        }
    });
}

/// `logits = scale * softmax(logits)`; returns the logarithm of the sum of their exponentials.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2+fma"))]
fn softmax_scaled(scale: f32, logits: &mut [f32]) -> f32 {
    let max = max_of(logits);
    let sum = map_sum(logits, |logit| exp(logit - max));
    let factor = scale / sum;
    for logit in &mut *logits {
        *logit *= factor;
    }
    max + sum.ln()
}

/// Sums of squares per part in f32 lanes, over the parts in f64.
pub(super) fn grad_norm(gradients: &[f32]) -> f32 {
    let mut sums = vec![0.0; gradients.len().div_ceil(PART)];
    each_part([(&mut sums[..], 1)], |part, [sum]| {
        let values = &gradients[part * PART..];
        sum[0] = f64::from(sum_of_squares(&values[..PART.min(values.len())]));
    });
    sums.iter().sum::<f64>().sqrt() as f32
}

#[multiversion(targets("x86_64+avx512f", "x86_64+avx2+fma"))]
fn sum_of_squares(values: &[f32]) -> f32 {
    sum_of([values], |[value]| value * value)
}

/// The scale stays what it is: f32 needs none.
pub(super) fn loss_scale_update(update: &Update, s: &mut [f32]) {
    let scale = s[state::LOSS_SCALE];
    s[state::GRAD_NORM] /= scale;
    if !s[state::GRAD_NORM].is_finite() {
        s[state::SKIPPED] += 1.0;
        s[state::GOOD_STEPS] = 0.0;
        s[state::FACTOR] = 0.0;
        return;
    }
    s[state::GOOD_STEPS] += 1.0;
    s[state::BETA1_POWER] *= update.optimizer.beta1;
    s[state::BETA2_POWER] *= update.optimizer.beta2;
    s[state::FACTOR] = (update.clip / (s[state::GRAD_NORM] + 1e-6)).min(1.0) / scale;
}
