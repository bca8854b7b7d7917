//! Causal self-attention for training. A task is a head of a sequence; backward, a head of keys and values with all queries it
//! serves, whose gradients add up.
//!
//! A task takes a strip of queries at a time, so the scores held are a strip by the keys before its end, never the
//! whole square, and goes through it by groups of rows, so that what lies above the diagonal is hardly computed. Forward
//! keeps the logarithm of each row's sum; backward recomputes the weights from it (Dao, arXiv 2307.08691).
use std::cell::RefCell;

use multiversion::multiversion;

use super::elementwise::{angles, rotate};
use super::math::{CHUNK, dot, exp, map_sum, max_of};
use super::matmul::{Output, Packed, Strided, multiply, multiply_into, scratch};
use super::parallel::{each, each_part};
use crate::AttentionShape;

/// Queries per strip, and per group within it: a multiple of each microkernel's rows.
const STRIP: usize = 48;
const GROUP: usize = 12;

thread_local! {
    /// Kept from task to task: allocating it anew would cost more than some kernels.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Scratch of one task: a few strips and one head's matrices, whatever the batch.
#[derive(Default)]
pub(super) struct Scratch {
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
pub(super) fn forward(shape: AttentionShape, qkv: &[f32], out: &mut [f32], lse: &mut [f32]) {
    let AttentionShape { sequence, heads, width, .. } = shape;
    let (d, stride_of_qkv) = (heads * width, shape.qkv_columns());
    let out = HeadColumns::new(out, shape, d);
    let scale = 1.0 / (width as f32).sqrt();
    each_part([(lse, sequence)], |task, [lse]| {
        SCRATCH.with_borrow_mut(|own| {
            let (b, h) = (task / heads, task % heads);
            let [queries, keys, values] = head(shape, qkv, b, h);
            own.keys_t.pack(width, sequence, Strided::transposed(keys, stride_of_qkv));
            own.values.pack(sequence, width, Strided::rows(values, stride_of_qkv));
            for start in (0..sequence).step_by(STRIP) {
                let rows = STRIP.min(sequence - start);
                let stride = stride_of(start + rows);
                let weights = scratch(&mut own.weights, rows * stride);
                for Group { first, count, seen } in groups(start, rows) {
                    let queries = &queries[(start + first) * stride_of_qkv..];
                    let queries = Strided::rows(queries, stride_of_qkv);
                    multiply(
                        count,
                        0..width,
                        queries,
                        &own.keys_t,
                        0..seen,
                        &mut weights[first * stride..],
                        stride,
                        false,
                    );
                }
                let mut inverse = [0.0; STRIP];
                softmax_strip(
                    start,
                    stride,
                    scale,
                    weights,
                    &mut lse[start..start + rows],
                    &mut inverse,
                );
                let out = out.from(b, h, start);
                for Group { first, count, seen } in groups(start, rows) {
                    let weights = Strided::rows(&weights[first * stride..], stride);
                    let (values, out) = (&own.values, out.from(first, 0));
                    // SAFETY: this task is the only one that has head h of sequence b.
                    unsafe { multiply_into(count, 0..seen, weights, values, 0..width, out, false) };
                }
                // SAFETY: as above, and the rows are lent one after the other.
                scale_rows(&inverse[..rows], |row| unsafe { out.row(row, width) });
            }
        })
    });
}

/// The gradients of queries, keys and values, written over `dqkv`; those of queries and keys turned back where `rope` gives
/// positions and the table of angles.
pub(super) fn backward(
    shape: AttentionShape,
    qkv: &[f32],
    out: &[f32],
    lse: &[f32],
    dout: &[f32],
    dqkv: &mut [f32],
    rope: Option<(&[u32], &[f32])>,
) {
    let AttentionShape { sequence, heads, kv_heads, width, .. } = shape;
    let (d, stride) = (shape.query_columns(), shape.qkv_columns());
    let dqkv = HeadColumns::new(dqkv, shape, stride);
    each(shape.batch * kv_heads, |task| {
        SCRATCH.with_borrow_mut(|own| {
            let (b, kv_head) = (task / kv_heads, task % kv_heads);
            let served = kv_head * shape.group()..(kv_head + 1) * shape.group();
            for h in served.clone() {
                let at = b * sequence * d + h * width;
                let one = HeadBackward {
                    shape,
                    qkv: head(shape, qkv, b, h),
                    out: &out[at..],
                    dout: &dout[at..],
                    lse: &lse[(b * heads + h) * sequence..][..sequence],
                    first_of_group: h == served.start,
                };
                one.pack(own);
                for start in (0..sequence).step_by(STRIP) {
                    // SAFETY: this task is the only one that has query head h of sequence b.
                    unsafe { one.strip(own, start, dqkv.from(b, h, start)) };
                }
            }
            let (key, value) = (heads + kv_head, heads + kv_heads + kv_head);
            for (head, gradient) in [(key, &mut own.dkeys), (value, &mut own.dvalues)] {
                let target = dqkv.from(b, head, 0);
                let rows = scratch(gradient, sequence * width).chunks_exact(width);
                for (i, row) in rows.enumerate() {
                    // SAFETY: keys and values that this task alone has, a row at a time.
                    unsafe { target.row(i, width) }.copy_from_slice(row);
                }
            }
            let Some((positions, table)) = rope else { return };
            for head in served.chain([key]) {
                let target = dqkv.from(b, head, 0);
                for (i, &position) in positions[b * sequence..][..sequence].iter().enumerate() {
                    let (cos, sin) = angles(width, table, position);
                    // SAFETY: queries and keys that this task alone has, a row at a time.
                    rotate(unsafe { target.row(i, width) }, cos, sin, -1.0);
                }
            }
        })
    });
}

/// What backward of one head of one sequence reads: each from its first element on.
struct HeadBackward<'a> {
    shape: AttentionShape,
    qkv: [&'a [f32]; 3],
    out: &'a [f32],
    dout: &'a [f32],
    lse: &'a [f32],
    /// The first query head of its group: what it adds to the gradients of keys and values is all there is so far.
    first_of_group: bool,
}

impl HeadBackward<'_> {
    /// Packs what all strips of a group multiply with, and computes the dot products of out and dout.
    fn pack(&self, own: &mut Scratch) {
        let AttentionShape { sequence, width, .. } = self.shape;
        let (d, stride) = (self.shape.query_columns(), self.shape.qkv_columns());
        let [_, keys, values] = self.qkv;
        if self.first_of_group {
            own.keys_t.pack(width, sequence, Strided::transposed(keys, stride));
            own.keys.pack(sequence, width, Strided::rows(keys, stride));
            own.values_t.pack(width, sequence, Strided::transposed(values, stride));
        }
        own.delta.resize(sequence, 0.0);
        for (i, delta) in own.delta.iter_mut().enumerate() {
            *delta = row_dot(&self.out[i * d..][..width], &self.dout[i * d..][..width]);
        }
    }

    /// The queries from `start` on: their gradients, and what they add to those of keys and values.
    ///
    /// SAFETY: nobody else reads or writes this head's columns of `dqueries`.
    unsafe fn strip(&self, own: &mut Scratch, start: usize, dqueries: Output) {
        let AttentionShape { sequence, width, .. } = self.shape;
        let (d, stride_of_qkv) = (self.shape.query_columns(), self.shape.qkv_columns());
        let scale = 1.0 / (width as f32).sqrt();
        let [dkeys, dvalues] =
            [&mut own.dkeys, &mut own.dvalues].map(|space| scratch(space, sequence * width));
        let rows = STRIP.min(sequence - start);
        let stride = stride_of(start + rows);
        let weights = scratch(&mut own.weights, rows * stride);
        let dweights = scratch(&mut own.dweights, rows * stride);
        let (queries, dout) = (&self.qkv[0][start * stride_of_qkv..], &self.dout[start * d..]);
        for Group { first, count, seen } in groups(start, rows) {
            let at = first * stride;
            let pairs = [
                (
                    Strided::rows(&queries[first * stride_of_qkv..], stride_of_qkv),
                    &own.keys_t,
                    &mut *weights,
                ),
                (Strided::rows(&dout[first * d..], d), &own.values_t, &mut *dweights),
            ];
            for (a, b, out) in pairs {
                multiply(count, 0..width, a, b, 0..seen, &mut out[at..], stride, false);
            }
        }
        let (lse, delta) = (&self.lse[start..start + rows], &own.delta[start..start + rows]);
        softmax_backward_strip(start, stride, scale, lse, delta, weights, dweights);
        // dv += weightsᵀ dout, dk += dscoresᵀ q
        own.strip.pack(rows, width, Strided::rows(dout, d));
        let add = !self.first_of_group;
        add_transposed(start, rows, width, weights, &own.strip, dvalues, add);
        own.strip.pack(rows, width, Strided::rows(queries, stride_of_qkv));
        add_transposed(start, rows, width, dweights, &own.strip, dkeys, add);
        for Group { first, count, seen } in groups(start, rows) {
            let dscores = Strided::rows(&dweights[first * stride..], stride);
            let (keys, out) = (&own.keys, dqueries.from(first, 0));
            // SAFETY: passed on.
            unsafe { multiply_into(count, 0..seen, dscores, keys, 0..width, out, false) };
        }
    }
}

/// Queries of a head, and the keys and values that serve it: each from its first element on, rows `qkv_columns` apart.
fn head(shape: AttentionShape, qkv: &[f32], b: usize, h: usize) -> [&[f32]; 3] {
    let (heads, kv_heads, kv_head) = (shape.heads, shape.kv_heads, h / shape.group());
    let first = b * shape.sequence * shape.qkv_columns();
    [h, heads + kv_head, heads + kv_heads + kv_head].map(|head| &qkv[first + head * shape.width..])
}

/// Rows of a strip that are multiplied together, and the keys that the last of them sees.
struct Group {
    first: usize,
    count: usize,
    seen: usize,
}

fn groups(start: usize, rows: usize) -> impl Iterator<Item = Group> {
    (0..rows).step_by(GROUP).map(move |first| {
        let count = GROUP.min(rows - first);
        Group { first, count, seen: start + first + count }
    })
}

/// Values from row to row of a strip of `columns` scores: whole chunks of the loops over a row, and an odd number of
/// cache lines, so that a column's values lie in different sets of the cache.
fn stride_of(columns: usize) -> usize {
    columns.next_multiple_of(CHUNK) + CHUNK / 2
}

/// `gradient[..start + rows, width] += weightsᵀ strip`, weights [rows, start + rows] being 0 above the diagonal. The last
/// `rows` rows of the gradient are written for the first time, unless `add`.
fn add_transposed(
    start: usize,
    rows: usize,
    width: usize,
    weights: &[f32],
    strip: &Packed,
    gradient: &mut [f32],
    add: bool,
) {
    let stride = stride_of(start + rows);
    multiply(
        start,
        0..rows,
        Strided::transposed(weights, stride),
        strip,
        0..width,
        gradient,
        width,
        true,
    );
    for Group { first, count, .. } in groups(start, rows) {
        let weights = Strided::transposed(&weights[first * stride + start + first..], stride);
        multiply(
            count,
            first..rows,
            weights,
            strip,
            0..width,
            &mut gradient[(start + first) * width..],
            width,
            add,
        );
    }
}

/// Scores of a strip of rows from `start` on to the numerators of weights, in place, and 1 / their sums. The causal mask is
/// here: keys after the row get weight 0.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2+fma"))]
fn softmax_strip(
    start: usize,
    stride: usize,
    scale: f32,
    weights: &mut [f32],
    lse: &mut [f32],
    inverse: &mut [f32],
) {
    for (i, ((row, lse), inverse)) in
        weights.chunks_exact_mut(stride).zip(lse).zip(inverse).enumerate()
    {
        let seen = start + i + 1;
        let (row, unseen) = row.split_at_mut(seen.next_multiple_of(CHUNK));
        row[seen..].fill(f32::NEG_INFINITY);
        unseen.fill(0.0);
        let max = max_of(row) * scale;
        let sum = map_sum(row, |weight| exp(weight * scale - max));
        *inverse = 1.0 / sum;
        *lse = max + sum.ln();
    }
}

/// Scores to weights, and gradients of weights to gradients of scores: `weights * (dweights - delta) * scale`.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2+fma"))]
fn softmax_backward_strip(
    start: usize,
    stride: usize,
    scale: f32,
    lse: &[f32],
    delta: &[f32],
    weights: &mut [f32],
    dweights: &mut [f32],
) {
    let rows = weights.chunks_exact_mut(stride).zip(dweights.chunks_exact_mut(stride));
    for (i, (weights, dweights)) in rows.enumerate() {
        let (lse, delta) = (lse[i], delta[i]);
        let seen = start + i + 1;
        weights[seen..].fill(f32::NEG_INFINITY);
        dweights[seen..].fill(0.0);
        let chunks =
            weights.as_chunks_mut::<CHUNK>().0.iter_mut().zip(dweights.as_chunks_mut::<CHUNK>().0);
        for (weights, dweights) in chunks.take(seen.div_ceil(CHUNK)) {
            for (weight, dweight) in weights.iter_mut().zip(dweights) {
                *weight = exp(*weight * scale - lse);
                *dweight = *weight * (*dweight - delta) * scale;
            }
        }
        weights[seen.next_multiple_of(CHUNK)..].fill(0.0);
    }
}

/// `row(i) *= factors[i]`
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2+fma"))]
fn scale_rows<'a>(factors: &[f32], row: impl Fn(usize) -> &'a mut [f32]) {
    for (i, factor) in factors.iter().enumerate() {
        row(i).iter_mut().for_each(|value| *value *= factor);
    }
}

#[multiversion(targets("x86_64+avx512f", "x86_64+avx2+fma"))]
fn row_dot(a: &[f32], b: &[f32]) -> f32 {
    dot(a, b)
}

/// A matrix whose columns belong to heads, shared by the tasks that have one or a few heads each.
struct HeadColumns<'a> {
    matrix: Output<'a>,
    sequence: usize,
    width: usize,
}

impl<'a> HeadColumns<'a> {
    fn new(matrix: &'a mut [f32], shape: AttentionShape, stride: usize) -> Self {
        assert_eq!(matrix.len(), shape.rows() * stride);
        let matrix = Output::new(matrix, stride);
        HeadColumns { matrix, sequence: shape.sequence, width: shape.width }
    }

    /// The matrix from row `row` of sequence `b` and the first column of `head` on, heads being counted over all of a row.
    fn from(&self, b: usize, head: usize, row: usize) -> Output<'a> {
        self.matrix.from(b * self.sequence + row, head * self.width)
    }
}
