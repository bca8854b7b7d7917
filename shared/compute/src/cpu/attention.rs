//! Causal self-attention for training, one head of one sequence per task.
//!
//! A task takes a strip of queries at a time, so the scores held are a strip by the keys before its end, never the
//! whole square, and what lies above the diagonal is hardly computed. Forward keeps the logarithm of each row's sum;
//! backward recomputes the weights from it (Dao, arXiv 2307.08691).
use std::cell::RefCell;

use multiversion::multiversion;
use rayon::prelude::*;

use super::math::{dot, exp, max_of, sum_of};
use super::matmul::{Packed, Strided, multiply, room};
use crate::AttentionShape;

/// Queries per strip: a multiple of the microkernel's rows.
const STRIP: usize = 48;

thread_local! {
    /// Kept from task to task: allocating it anew would cost more than some kernels.
    static WORKSPACE: RefCell<Workspace> = RefCell::default();
}

/// Work space of one task: a few strips and one head's matrices, whatever the batch.
#[derive(Default)]
pub struct Workspace {
    keys_t: Packed,
    values: Packed,
    values_t: Packed,
    keys: Packed,
    strip: Packed,
    weights: Vec<f32>,
    dweights: Vec<f32>,
    dkeys: Vec<f32>,
    dvalues: Vec<f32>,
    delta: Vec<f32>,
}

/// `lse` of all heads, so that a task per head can write its part.
pub fn forward(shape: AttentionShape, qkv: &[f32], out: &mut [f32], lse: &mut [f32]) {
    let AttentionShape { sequence, heads, width, .. } = shape;
    let d = heads * width;
    let out = HeadColumns::new(out, shape, d);
    let scale = 1.0 / (width as f32).sqrt();
    lse.par_chunks_mut(sequence).enumerate().for_each(|(task, lse)| {
        WORKSPACE.with_borrow_mut(|work| {
            let (b, h) = (task / heads, task % heads);
            let [queries, keys, values] = head(shape, qkv, b, h);
            work.keys_t.pack(width, sequence, Strided { row_stride: 1, column_stride: 3 * d, data: keys });
            work.values.pack(sequence, width, Strided::rows(values, 3 * d));
            for start in (0..sequence).step_by(STRIP) {
                let rows = STRIP.min(sequence - start);
                let columns = start + rows;
                let weights = room(&mut work.weights, rows * columns);
                multiply(rows, width, Strided::rows(&queries[start * 3 * d..], 3 * d), &work.keys_t, 0..columns, weights, columns, false);
                softmax_strip(start, columns, scale, weights, &mut lse[start..columns]);
                // SAFETY: this task is the only one that writes head h of sequence b.
                let out = unsafe { out.rows(b, h, start) };
                multiply(rows, columns, Strided::rows(weights, columns), &work.values, 0..width, out, d, false);
            }
        })
    });
}

/// The gradients of queries, keys and values, written over `dqkv`.
pub fn backward(shape: AttentionShape, qkv: &[f32], out: &[f32], lse: &[f32], dout: &[f32], dqkv: &mut [f32]) {
    let AttentionShape { sequence, heads, width, .. } = shape;
    let d = heads * width;
    let dqkv = HeadColumns::new(dqkv, shape, 3 * d);
    let scale = 1.0 / (width as f32).sqrt();
    lse.par_chunks(sequence).enumerate().for_each(|(task, lse)| {
        WORKSPACE.with_borrow_mut(|work| {
            let (b, h) = (task / heads, task % heads);
            let [queries, keys, values] = head(shape, qkv, b, h);
            let at = b * sequence * d + h * width;
            let (out, dout) = (&out[at..], &dout[at..]);
            work.keys_t.pack(width, sequence, Strided { row_stride: 1, column_stride: 3 * d, data: keys });
            work.keys.pack(sequence, width, Strided::rows(keys, 3 * d));
            work.values_t.pack(width, sequence, Strided { row_stride: 1, column_stride: 3 * d, data: values });
            for gradient in [&mut work.dkeys, &mut work.dvalues] {
                gradient.clear();
                gradient.resize(sequence * width, 0.0);
            }
            work.delta.resize(sequence, 0.0);
            for (i, delta) in work.delta.iter_mut().enumerate() {
                *delta = row_dot(&out[i * d..][..width], &dout[i * d..][..width]);
            }
            for start in (0..sequence).step_by(STRIP) {
                let rows = STRIP.min(sequence - start);
                let columns = start + rows;
                let weights = room(&mut work.weights, rows * columns);
                let dweights = room(&mut work.dweights, rows * columns);
                let queries = Strided::rows(&queries[start * 3 * d..], 3 * d);
                let dout = Strided::rows(&dout[start * d..], d);
                multiply(rows, width, queries, &work.keys_t, 0..columns, weights, columns, false);
                multiply(rows, width, dout, &work.values_t, 0..columns, dweights, columns, false);
                softmax_backward_strip(start, columns, scale, &lse[start..columns], &work.delta[start..columns], weights, dweights);
                // dv += weightsᵀ dout, dk += dscoresᵀ q
                work.strip.pack(rows, width, dout);
                multiply(columns, rows, Strided::transposed(weights, columns), &work.strip, 0..width, &mut work.dvalues, width, true);
                work.strip.pack(rows, width, queries);
                multiply(columns, rows, Strided::transposed(dweights, columns), &work.strip, 0..width, &mut work.dkeys, width, true);
                // SAFETY: this task is the only one that writes head h of sequence b.
                let dqueries = unsafe { dqkv.rows(b, h, start) };
                multiply(rows, columns, Strided::rows(dweights, columns), &work.keys, 0..width, dqueries, 3 * d, false);
            }
            for (part, gradient) in [(1, &work.dkeys), (2, &work.dvalues)] {
                // SAFETY: as above; keys and values of head h.
                let target = unsafe { dqkv.rows(b, part * heads + h, 0) };
                for (i, row) in gradient.chunks_exact(width).enumerate() {
                    target[i * 3 * d..][..width].copy_from_slice(row);
                }
            }
        })
    });
}

/// Queries, keys and values of a head: each from its first element on, rows 3 d apart.
fn head(shape: AttentionShape, qkv: &[f32], b: usize, h: usize) -> [&[f32]; 3] {
    let d = shape.heads * shape.width;
    let first = b * shape.sequence * 3 * d + h * shape.width;
    [0, 1, 2].map(|part| &qkv[first + part * d..])
}

/// Scores of a strip of rows from `start` on to weights, in place; keys after the row get weight 0.
#[multiversion(targets("x86_64+avx2+fma"))]
fn softmax_strip(start: usize, columns: usize, scale: f32, weights: &mut [f32], lse: &mut [f32]) {
    for (i, (row, lse)) in weights.chunks_exact_mut(columns).zip(lse).enumerate() {
        let (seen, unseen) = row.split_at_mut(start + i + 1);
        let max = max_of(seen) * scale;
        for weight in &mut *seen {
            *weight = exp(*weight * scale - max);
        }
        let sum = sum_of(seen.len(), |j| seen[j]);
        let inverse = 1.0 / sum;
        for weight in &mut *seen {
            *weight *= inverse;
        }
        unseen.fill(0.0);
        *lse = max + sum.ln();
    }
}

/// Scores to weights, and gradients of weights to gradients of scores: `weights * (dweights - delta) * scale`.
#[multiversion(targets("x86_64+avx2+fma"))]
fn softmax_backward_strip(start: usize, columns: usize, scale: f32, lse: &[f32], delta: &[f32], weights: &mut [f32], dweights: &mut [f32]) {
    let rows = weights.chunks_exact_mut(columns).zip(dweights.chunks_exact_mut(columns));
    for (i, (weights, dweights)) in rows.enumerate() {
        let seen = start + i + 1;
        let (lse, delta) = (lse[i], delta[i]);
        for (weight, dweight) in weights[..seen].iter_mut().zip(&mut dweights[..seen]) {
            *weight = exp(*weight * scale - lse);
            *dweight = *weight * (*dweight - delta) * scale;
        }
        weights[seen..].fill(0.0);
        dweights[seen..].fill(0.0);
    }
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn row_dot(a: &[f32], b: &[f32]) -> f32 {
    dot(a, b)
}

/// A matrix whose columns belong to heads, shared by the tasks that write one head each.
struct HeadColumns {
    data: *mut f32,
    len: usize,
    stride: usize,
    sequence: usize,
    width: usize,
}
// SAFETY: each task writes the columns of its own head and sequence only.
unsafe impl Sync for HeadColumns {}

impl HeadColumns {
    fn new(matrix: &mut [f32], shape: AttentionShape, stride: usize) -> Self {
        assert_eq!(matrix.len(), shape.rows() * stride);
        HeadColumns { data: matrix.as_mut_ptr(), len: matrix.len(), stride, sequence: shape.sequence, width: shape.width }
    }

    /// The matrix from row `row` of sequence `b` and the first column of `head` to the end of that sequence's head.
    ///
    /// SAFETY: the caller touches only columns of `head` in rows of sequence `b`, and no other task touches those.
    #[expect(clippy::mut_from_ref, reason = "tasks write disjoint columns")]
    unsafe fn rows(&self, b: usize, head: usize, row: usize) -> &mut [f32] {
        let start = (b * self.sequence + row) * self.stride + head * self.width;
        let len = (self.sequence - row - 1) * self.stride + self.width;
        assert!(start + len <= self.len);
        // SAFETY: inside the matrix by the assertion; exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(start), len) }
    }
}
