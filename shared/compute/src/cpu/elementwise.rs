//! Kernels that go over rows once: embedding, rope, SwiGLU, element-wise ones, and attention over a cache.
use multiversion::multiversion;

use super::math::{dot, exp, map_sum, max_of, sigmoid};
use super::parallel::{ROWS, each_part};
use crate::AttentionShape;

pub(super) fn embedding_forward(width: usize, tokens: &[u32], table: &[f32], out: &mut [f32]) {
    each_part([(out, ROWS * width)], |part, [out]| {
        for (row, &token) in out.chunks_exact_mut(width).zip(&tokens[part * ROWS..]) {
            row.copy_from_slice(&table[token as usize * width..][..width]);
        }
    });
}

/// Every task adds all tokens in order to its own columns, so the order of sums is fixed.
pub(super) fn embedding_backward(width: usize, tokens: &[u32], dout: &[f32], dtable: &mut [f32]) {
    // Tasks own ranges of the vocabulary: rows of the table, which are contiguous.
    let vocab = dtable.len() / width;
    let part = vocab.div_ceil(16).max(1);
    each_part([(dtable, part * width)], |p, [dtable]| {
        let owned = p * part..p * part + dtable.len() / width;
        for (&token, dout) in tokens.iter().zip(dout.chunks_exact(width)) {
            if owned.contains(&(token as usize)) {
                let row = &mut dtable[(token as usize - owned.start) * width..][..width];
                row.iter_mut().zip(dout).for_each(|(sum, d)| *sum += d);
            }
        }
    });
}

/// Turns queries and keys by their angle; `direction` -1 turns back.
pub(super) fn rope(
    shape: AttentionShape,
    positions: &[u32],
    table: &[f32],
    qkv: &mut [f32],
    direction: f32,
) {
    each_part([(qkv, ROWS * shape.qkv_columns())], |part, [qkv]| {
        rope_rows(shape, &positions[part * ROWS..], table, qkv, direction);
    });
}

/// The same for some rows, on the calling thread.
pub(super) fn rope_rows(
    shape: AttentionShape,
    positions: &[u32],
    table: &[f32],
    qkv: &mut [f32],
    direction: f32,
) {
    let width = shape.width;
    for (row, &position) in qkv.chunks_exact_mut(shape.qkv_columns()).zip(positions) {
        let (cos, sin) = angles(width, table, position);
        for head in row[..shape.turned_columns()].chunks_exact_mut(width) {
            rotate(head, cos, sin, direction);
        }
    }
}

/// Cosines and sines of a position.
pub(super) fn angles(width: usize, table: &[f32], position: u32) -> (&[f32], &[f32]) {
    table[position as usize * width..][..width].split_at(width / 2)
}

#[multiversion(targets("x86_64+avx512f", "x86_64+avx2+fma"))]
pub(super) fn rotate(head: &mut [f32], cos: &[f32], sin: &[f32], direction: f32) {
    let (first, second) = head.split_at_mut(cos.len());
    for (((a, b), &cos), &sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
        let (x, y, sin) = (*a, *b, sin * direction);
        *a = x * cos - y * sin;
        *b = y * cos + x * sin;
    }
}

pub(super) fn swiglu_forward(width: usize, gate_up: &[f32], out: &mut [f32]) {
    each_part([(out, ROWS * width)], |part, [out]| {
        swiglu_rows(width, &gate_up[part * ROWS * 2 * width..], out)
    });
}

/// The same for the rows of `out`, on the calling thread.
pub(super) fn swiglu_rows(width: usize, gate_up: &[f32], out: &mut [f32]) {
    for (out, gate_up) in out.chunks_exact_mut(width).zip(gate_up.chunks_exact(2 * width)) {
        let (gate, up) = gate_up.split_at(width);
        swiglu_row(gate, up, out);
    }
}

#[multiversion(targets("x86_64+avx512f", "x86_64+avx2+fma"))]
fn swiglu_row(gate: &[f32], up: &[f32], out: &mut [f32]) {
    for ((out, &g), &u) in out.iter_mut().zip(gate).zip(up) {
        *out = g * sigmoid(g) * u;
    }
}

/// d silu(g) / dg = s + g s (1 - s), s the sigmoid of g.
pub(super) fn swiglu_backward(width: usize, gate_up: &[f32], dout: &[f32], dgate_up: &mut [f32]) {
    each_part([(dgate_up, ROWS * 2 * width)], |part, [dgate_up]| {
        swiglu_backward_rows(
            width,
            &gate_up[part * ROWS * 2 * width..],
            &dout[part * ROWS * width..],
            dgate_up,
        );
    });
}

/// The same for the rows of `dgate_up`, on the calling thread.
pub(super) fn swiglu_backward_rows(
    width: usize,
    gate_up: &[f32],
    dout: &[f32],
    dgate_up: &mut [f32],
) {
    let rows = dgate_up
        .chunks_exact_mut(2 * width)
        .zip(gate_up.chunks_exact(2 * width))
        .zip(dout.chunks_exact(width));
    for ((dgate_up, gate_up), dout) in rows {
        let (gate, up) = gate_up.split_at(width);
        let (dgate, dup) = dgate_up.split_at_mut(width);
        swiglu_backward_row(gate, up, dout, dgate, dup);
    }
}

#[multiversion(targets("x86_64+avx512f", "x86_64+avx2+fma"))]
fn swiglu_backward_row(gate: &[f32], up: &[f32], dout: &[f32], dgate: &mut [f32], dup: &mut [f32]) {
    let n = gate.len();
    let (up, dout, dgate, dup) = (&up[..n], &dout[..n], &mut dgate[..n], &mut dup[..n]);
    for i in 0..n {
        let s = sigmoid(gate[i]);
        dgate[i] = dout[i] * up[i] * (s + gate[i] * s * (1.0 - s));
        dup[i] = dout[i] * gate[i] * s;
    }
}

/// Values of an element-wise kernel that one task computes.
const PART: usize = 1 << 14;

pub(super) fn unary(twin: fn(&[f32], &mut [f32]), x: &[f32], out: &mut [f32]) {
    each_part([(out, PART)], |part, [out]| twin(&x[part * PART..][..out.len()], out));
}

pub(super) fn binary(twin: fn(&[f32], &[f32], &mut [f32]), x: &[f32], y: &[f32], out: &mut [f32]) {
    each_part([(out, PART)], |part, [out]| {
        let [x, y] = [x, y].map(|input| &input[part * PART..][..out.len()]);
        twin(x, y, out);
    });
}

/// `out = x + out`, on the calling thread.
pub(super) fn add(x: &[f32], out: &mut [f32]) {
    out.iter_mut().zip(x).for_each(|(out, x)| *out += x);
}

/// Keys and values of each row to its place in the cache [slots, context, keys and values].
pub(super) fn cache_append(
    shape: AttentionShape,
    context: usize,
    slots: &[u32],
    positions: &[u32],
    qkv: &[f32],
    cache: &mut [f32],
) {
    let columns = shape.kv_columns();
    let rows = qkv.chunks_exact(shape.qkv_columns());
    for ((row, &slot), &position) in rows.zip(slots).zip(positions) {
        let at = (slot as usize * context + position as usize) * columns;
        cache[at..at + columns].copy_from_slice(&row[shape.query_columns()..]);
    }
}

pub(super) fn attention_decode(
    shape: AttentionShape,
    context: usize,
    slots: &[u32],
    positions: &[u32],
    qkv: &[f32],
    cache: &[f32],
    out: &mut [f32],
) {
    let AttentionShape { heads, width, .. } = shape;
    let columns = shape.kv_columns();
    each_part([(out, width)], |task, [out]| {
        let (row, head) = (task / heads, task % heads);
        let query = &qkv[row * shape.qkv_columns() + head * width..][..width];
        let slot = &cache[slots[row] as usize * context * columns..][..context * columns];
        let keys = &slot[head / shape.group() * width..];
        let mut weights = vec![0.0; positions[row] as usize + 1];
        decode_head(query, keys, &keys[columns / 2..], columns, &mut weights, out);
    });
}

/// One query over the first `weights.len()` keys and values, `stride` apart.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2+fma"))]
fn decode_head(
    query: &[f32],
    keys: &[f32],
    values: &[f32],
    stride: usize,
    weights: &mut [f32],
    out: &mut [f32],
) {
    let width = query.len();
    let scale = 1.0 / (width as f32).sqrt();
    for (j, weight) in weights.iter_mut().enumerate() {
        *weight = dot(query, &keys[j * stride..][..width]) * scale;
    }
    let max = max_of(weights);
    let inverse = 1.0 / map_sum(weights, |weight| exp(weight - max));
    out.fill(0.0);
    for (j, weight) in weights.iter().enumerate() {
        let value = &values[j * stride..][..width];
        for (out, value) in out.iter_mut().zip(value) {
            *out += weight * inverse * value;
        }
    }
}
