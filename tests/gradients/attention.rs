//! Rope, attention, and attention over a cache.
use compute::AttentionShape;

use crate::lab::{Lab, assert_close, assert_gradient, normal, weighted, wide};
use crate::plain;

/// Head widths and sequences below, at and beyond strips and tiles; groups of query heads.
pub(crate) fn attention_shapes() -> Vec<AttentionShape> {
    let grouped = |batch, sequence, heads, kv_heads, width| AttentionShape {
        batch,
        sequence,
        heads,
        kv_heads,
        width,
    };
    let shape = |batch, sequence, heads, width| grouped(batch, sequence, heads, heads, width);
    let mut shapes = vec![shape(1, 1, 1, 2), shape(3, 48, 3, 10), shape(2, 97, 2, 10)];
    for width in [10, 40, 64] {
        shapes.extend([1, 7, 50].map(|sequence| shape(2, sequence, 2, width)));
    }
    shapes.extend([shape(1, 97, 2, 40), shape(1, 97, 1, 64)]);
    shapes.extend([grouped(3, 1, 2, 1, 10), grouped(2, 50, 6, 2, 10), grouped(1, 97, 3, 1, 40)]);
    shapes
}

pub(crate) fn rope_table(context: usize, width: usize) -> Vec<f32> {
    let angle = |position: usize, i: usize| {
        position as f64 * 10_000f64.powf(-2.0 * i as f64 / width as f64)
    };
    let row = |p: usize| {
        (0..width / 2)
            .map(move |i| angle(p, i).cos())
            .chain((0..width / 2).map(move |i| angle(p, i).sin()))
    };
    (0..context).flat_map(row).map(|v| v as f32).collect()
}

#[test]
fn rope() {
    for shape in attention_shapes() {
        let (rows, len) = (shape.rows(), shape.rows() * shape.qkv_columns());
        let positions: Vec<u32> = (0..rows).map(|row| (row % shape.sequence) as u32 + 5).collect();
        let (qkv, dout) = (normal(len, 1), normal(len, 2));
        let mut lab = Lab::new();
        let (p, table, x, dx) = (
            lab.ids(&positions),
            lab.put(&rope_table(128, shape.width)),
            lab.put(&qkv),
            lab.put(&dout),
        );
        lab.k.rope_forward(shape, p, table, x);
        lab.k.rope_backward(shape, p, table, dx);
        let forward = |qkv: &[f64]| plain::rope(shape, 10_000.0, &positions, qkv);
        assert_close("rope", &lab.get(x), &forward(&wide(&qkv)));
        let scalar = weighted(&dout);
        assert_gradient("dqkv of rope", len / rows, &qkv, &lab.get(dx), |qkv| {
            scalar(&forward(qkv))
        });
    }
}

#[test]
fn attention() {
    for shape in attention_shapes() {
        let (rows, d, columns) = (shape.rows(), shape.query_columns(), shape.qkv_columns());
        let (qkv, dout) = (normal(rows * columns, 1), normal(rows * d, 2));
        let mut lab = Lab::new();
        let (x, o) = (lab.put(&qkv), lab.put(&dout));
        let (out, lse, dqkv) =
            (lab.out(rows * d), lab.out(rows * shape.heads), lab.out(rows * columns));
        lab.k.attention_forward(shape, x, out, lse);
        lab.k.attention_backward(shape, x, out, lse, o, dqkv);
        let (expected, expected_lse) = plain::attention(shape, &wide(&qkv));
        assert_close(&format!("out of {shape:?}"), &lab.get(out), &expected);
        assert_close(&format!("lse of {shape:?}"), &lab.get(lse), &expected_lse);
        let scalar = weighted(&dout);
        assert_gradient(&format!("dqkv of {shape:?}"), columns, &qkv, &lab.get(dqkv), |qkv| {
            scalar(&plain::attention(shape, qkv).0)
        });
    }
}

#[test]
fn attention_over_a_cache_equals_causal_attention() {
    for (heads, kv_heads) in [(3, 3), (4, 2), (3, 1)] {
        over_a_cache(AttentionShape { batch: 3, sequence: 13, heads, kv_heads, width: 10 });
    }
}

fn over_a_cache(shape: AttentionShape) {
    let (context, rows, columns) = (17, shape.rows(), shape.kv_columns());
    let qkv = normal(rows * shape.qkv_columns(), 1);
    let slots: Vec<u32> = (0..rows).map(|row| [2, 0, 3][row / 13]).collect();
    let positions: Vec<u32> = (0..rows).map(|row| row as u32 % 13).collect();
    let mut lab = Lab::new();
    let (s, p, x, out, cache) = (
        lab.ids(&slots),
        lab.ids(&positions),
        lab.put(&qkv),
        lab.out(rows * shape.query_columns()),
        lab.out(4 * context * columns),
    );
    let shape_of_rows = AttentionShape { batch: rows, sequence: 1, ..shape };
    lab.k.cache_append(shape_of_rows, context, s, p, x, cache);
    lab.k.attention_decode(shape_of_rows, context, s, p, x, cache, out);
    assert_close("out", &lab.get(out), &plain::attention(shape, &wide(&qkv)).0);
    let cache = lab.get(cache);
    let whole = |slot: usize, position: usize| {
        cache[(slot * context + position) * columns..][..columns].iter().all(|v| v.is_finite())
    };
    let found: Vec<(usize, usize)> = (0..4)
        .flat_map(|s| (0..context).map(move |p| (s, p)))
        .filter(|&(s, p)| whole(s, p))
        .collect();
    let expected: Vec<(usize, usize)> =
        [0, 2, 3].into_iter().flat_map(|s| (0..13).map(move |p| (s, p))).collect();
    assert_eq!(found, expected);
}
