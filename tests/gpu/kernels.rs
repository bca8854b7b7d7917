//! Every kernel against the CPU engine at awkward shapes.
use std::ops::Range;

use compute::gpu::{Device, Options, Plan};
use compute::wgsl::CoopShape;
use compute::{AttentionShape, NO_TARGET, Precision, state};

use crate::lab::{compare, normal, tokens};
use crate::{Bench, Case, updates};

pub(crate) const CASES: &[Case] = &[
    Case { name: "embedding", run: embedding },
    Case { name: "rmsnorm", run: rmsnorm },
    Case { name: "products", run: products },
    Case { name: "split_products", run: split_products },
    Case { name: "fused_products", run: fused_products },
    Case { name: "tiles_of_every_kind", run: tiles_of_every_kind },
    Case { name: "rope", run: rope },
    Case { name: "attention", run: attention },
    Case { name: "attention_as_elsewhere", run: attention_as_elsewhere },
    Case { name: "attention_over_a_cache", run: attention_over_a_cache },
    Case { name: "swiglu", run: swiglu },
    Case { name: "residual_fill_round_sum", run: residual_fill_round_sum },
    Case { name: "cross_entropy", run: cross_entropy },
    Case { name: "padded_head", run: padded_head },
    Case { name: "norm_and_optimizers", run: updates::norm_and_optimizers },
    Case { name: "muon", run: updates::muon },
    Case { name: "loss_scale", run: updates::loss_scale },
];

pub(crate) fn embedding(bench: &Bench) {
    for (rows, width, vocab) in [(1, 2, 1), (97, 33, 257), (300, 40, 11), (513, 320, 8000)] {
        let (ids, table, dout, before) = (
            tokens(rows, vocab, 1),
            normal(vocab * width, 2),
            normal(rows * width, 3),
            normal(vocab * width, 4),
        );
        compare(bench, 2, &format!("embedding {rows} x {width} of {vocab}"), |lab| {
            let (t, w, o, out, dtable) = (
                lab.ids(&ids),
                lab.put(&table),
                lab.put(&dout),
                lab.out(rows * width),
                lab.put(&before),
            );
            lab.k.embedding_forward(width, t, w, out);
            lab.k.embedding_backward(width, t, o, dtable);
            // And again from other tokens in the same place, with nothing in between that waits.
            lab.k.upload_tokens(t, &ids.iter().rev().copied().collect::<Vec<u32>>());
            lab.k.embedding_backward(width, t, o, dtable);
            vec![lab.get("out", out), lab.get("dtable", dtable)]
        });
    }
}

fn rmsnorm(bench: &Bench) {
    for (rows, width, eps) in
        [(1, 2, 1e-6), (1, 320, 1e-6), (67, 33, 0.3), (300, 40, 1e-6), (129, 768, 1e-6)]
    {
        let (x, gain, dout, dx0, dgain0) = (
            normal(rows * width, 1),
            normal(width, 2),
            normal(rows * width, 3),
            normal(rows * width, 4),
            normal(width, 5),
        );
        compare(bench, 2, &format!("rmsnorm {rows} x {width}"), |lab| {
            let [x, gain, dx, dgain] = [&x, &gain, &dx0, &dgain0].map(|values| lab.put(values));
            let (dout, out, rstd) =
                (lab.put_stored(&dout), lab.out_stored(rows * width), lab.out(rows));
            let dx_half = lab.half_copy(dx);
            lab.k.rmsnorm_forward(width, eps, x, gain, out, rstd);
            lab.k.rmsnorm_backward(width, x, gain, rstd, dout, dx, dx_half, dgain);
            vec![
                lab.get("out", out),
                lab.get("rstd", rstd),
                lab.get("dx", dx),
                lab.get("dx_half", dx_half),
                lab.get("dgain", dgain),
            ]
        });
    }
}

/// All forms, and the product for few rows.
pub(crate) fn products(bench: &Bench) {
    let shapes = [
        (1, 1, 1),
        (1, 257, 40),
        (50, 96, 33),
        (97, 257, 40),
        (130, 8000, 8),
        (7, 31, 856),
        (49, 17, 1),
        (64, 64, 64),
        (65, 129, 320),
    ];
    for (rows, outputs, inputs) in shapes {
        let (a, b, dc, db0) = (
            normal(rows * inputs, 1),
            normal(outputs * inputs, 2),
            normal(rows * outputs, 3),
            normal(outputs * inputs, 4),
        );
        compare(bench, 2, &format!("product {rows} x {outputs} x {inputs}"), |lab| {
            let [a, b, dc] = [&a, &b, &dc].map(|values| lab.put_stored(values));
            let (db, c, few, da) = (
                lab.put(&db0),
                lab.out_stored(rows * outputs),
                lab.out_stored(rows * outputs),
                lab.out_stored(rows * inputs),
            );
            lab.k.matmul_nt(rows, outputs, inputs, a, b, c);
            lab.k.matvec_nt(rows, outputs, inputs, a, b, few);
            lab.k.matmul_nn(rows, inputs, outputs, dc, b, da);
            lab.k.matmul_tn(outputs, inputs, rows, dc, a, db);
            vec![lab.get("nt", c), lab.get("matvec", few), lab.get("nn", da), lab.get("tn", db)]
        });
    }
}

/// Contractions long enough to be split, into parts that do not come out even.
pub(crate) fn split_products(bench: &Bench) {
    split_products_of(bench, &[(1031, 40, 40), (2048, 129, 33), (4099, 1, 3)]);
}

/// Enough to notice a fault.
pub(crate) fn split_products_in_short(bench: &Bench) {
    split_products_of(bench, &[(1031, 40, 40)]);
}

fn split_products_of(bench: &Bench, shapes: &[(usize, usize, usize)]) {
    for &(rows, outputs, inputs) in shapes {
        let (a, dc, db0) =
            (normal(rows * inputs, 1), normal(rows * outputs, 3), normal(outputs * inputs, 4));
        compare(bench, 2, &format!("tn over {rows} rows"), |lab| {
            let (a, dc, db) = (lab.put_stored(&a), lab.put_stored(&dc), lab.put(&db0));
            lab.k.matmul_tn(outputs, inputs, rows, dc, a, db);
            lab.k.matmul_tn(outputs, inputs, rows, dc, a, db);
            vec![lab.get("tn", db)]
        });
    }
}

/// Tiles that tuning may choose, one for each number of sums: the probe passes, and what follows the products is right.
fn tiles_of_every_kind(bench: &Bench) {
    let device = Device::open(bench.device.adapter.clone(), bench.device.options.clone()).unwrap();
    let plan = device.plan(bench.precision);
    assert_eq!(
        plan.is_some(),
        bench.precision == Precision::F16 && bench.device.adapter.coop().is_some()
    );
    let mut tiles: Vec<_> = plan.iter().flat_map(|plan| plan.candidates()).collect();
    tiles.sort_by_key(|tiles| {
        (
            tiles.fragments,
            tiles.lanes(bench.device.adapter.coop().expect("there is a plan for them")),
        )
    });
    tiles.dedup_by_key(|tiles| tiles.fragments);
    for tiles in tiles {
        device.set_plan(plan.as_ref().map(|plan| plan.only(tiles)));
        fused_products(&Bench { device: device.clone(), precision: bench.precision });
    }
}

/// Products with what follows them, at shapes that go on cooperative matrices and shapes that do not.
pub(crate) fn fused_products(bench: &Bench) {
    fused_products_of(
        bench,
        &[
            (1, 40, 40, [1, 1]),
            (70, 216, 80, [2, 2]),
            (131, 856, 320, [8, 8]),
            (33, 34, 17, [3, 3]),
            (150, 12, 36, [5, 5]),
            (70, 216, 80, [6, 2]),
        ],
    );
}

/// Enough to notice a fault.
pub(crate) fn fused_products_in_short(bench: &Bench) {
    fused_products_of(bench, &[(70, 216, 80, [6, 2])]);
}

/// Rows, width and inputs, and query heads and those of keys and values.
type Fused = (usize, usize, usize, [usize; 2]);

fn fused_products_of(bench: &Bench, shapes: &[Fused]) {
    for &(rows, width, inputs, [heads, kv_heads]) in shapes {
        let shape = AttentionShape { batch: 1, sequence: rows, heads, kv_heads, width: 40 };
        let columns = shape.qkv_columns();
        let positions: Vec<u32> = (0..rows).map(|row| row as u32 * 7 % 90).collect();
        let small = |len, seed| -> Vec<f32> { normal(len, seed).iter().map(|v| v * 0.3).collect() };
        let (a, qkv_w, out_w, gate_up_w, x) = (
            normal(rows * inputs, 1),
            small(columns * inputs, 2),
            small(width * inputs, 3),
            small(2 * width * inputs, 4),
            normal(rows * width, 5),
        );
        let (down, gate_up, table) =
            (small(inputs * width, 6), normal(rows * 2 * width, 7), rope_table(90, 40));
        compare(bench, 40, &format!("fused products {rows} x {width} x {inputs}"), |lab| {
            let p = lab.ids(&positions);
            let [a, qkv_w, out_w, gate_up_w, down, gate_up_in] =
                [&a, &qkv_w, &out_w, &gate_up_w, &down, &gate_up]
                    .map(|values| lab.put_stored(values));
            let (table, x) = (lab.put(&table), lab.put(&x));
            let (qkv, out) = (lab.out_stored(rows * columns), lab.out(rows * width));
            let [branch, swiglu, dout] = [(); 3].map(|()| lab.out_stored(rows * width));
            let [gate_up, dgate_up] = [(); 2].map(|()| lab.out_stored(rows * 2 * width));
            lab.k.matmul_nt_rope(shape, inputs, a, qkv_w, p, table, qkv);
            lab.k.matmul_nt_residual(rows, width, inputs, a, out_w, x, branch, out);
            lab.k.matmul_nt_swiglu(rows, width, inputs, a, gate_up_w, gate_up, swiglu);
            lab.k.matmul_nn_swiglu(rows, width, inputs, a, down, gate_up_in, dout, dgate_up);
            vec![
                lab.get("qkv", qkv),
                lab.get("residual", out),
                lab.get("gate_up", gate_up),
                lab.get("swiglu", swiglu),
                lab.get("dgate_up", dgate_up),
            ]
        });
    }
}

/// Head widths and sequences below, at and beyond tiles; groups of query heads.
fn attention_shapes() -> Vec<AttentionShape> {
    let grouped = |batch, sequence, heads, kv_heads, width| AttentionShape {
        batch,
        sequence,
        heads,
        kv_heads,
        width,
    };
    let shape = |batch, sequence, heads, width| grouped(batch, sequence, heads, heads, width);
    let mut shapes = vec![shape(1, 1, 1, 2), shape(3, 48, 3, 10)];
    for width in [40, 64] {
        shapes.extend([1, 31, 64, 65, 130].map(|sequence| shape(2, sequence, 2, width)));
    }
    // Narrower than a fragment, and padded to whole ones.
    shapes.extend([
        shape(2, 65, 3, 4),
        shape(1, 31, 2, 8),
        shape(2, 33, 3, 20),
        shape(1, 70, 1, 128),
    ]);
    shapes.extend([grouped(2, 65, 6, 2, 40), grouped(1, 33, 3, 1, 10), grouped(2, 1, 4, 2, 8)]);
    shapes
}

fn rope_table(context: usize, width: usize) -> Vec<f32> {
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

fn rope(bench: &Bench) {
    for shape in attention_shapes() {
        let (rows, len) = (shape.rows(), shape.rows() * shape.qkv_columns());
        let positions: Vec<u32> = (0..rows).map(|row| (row % shape.sequence) as u32 + 5).collect();
        let (qkv, dqkv, table) = (normal(len, 1), normal(len, 2), rope_table(160, shape.width));
        compare(bench, shape.width, &format!("{shape:?}"), |lab| {
            let (p, table, x, dx) =
                (lab.ids(&positions), lab.put(&table), lab.put_stored(&qkv), lab.put_stored(&dqkv));
            lab.k.rope_forward(shape, p, table, x);
            lab.k.rope_backward(shape, p, table, dx);
            vec![lab.get("qkv", x), lab.get("dqkv", dx)]
        });
    }
}

pub(crate) fn attention(bench: &Bench) {
    attention_of(bench, &attention_shapes());
}

/// Enough to notice a fault: padded and whole fragments, one tile and a few, the last of them cut.
pub(crate) fn attention_in_short(bench: &Bench) {
    let shape = |sequence, heads, kv_heads, width| AttentionShape {
        batch: 2,
        sequence,
        heads,
        kv_heads,
        width,
    };
    attention_of(bench, &[shape(33, 3, 3, 20), shape(70, 4, 2, 8)]);
}

/// What other devices run: subgroups with several lanes for a row, and fragments from scalars. Subgroups that are said to be
/// wider than they are do the same work side by side.
fn attention_as_elsewhere(bench: &Bench) {
    let Some(coop) = bench.device.adapter.coop().filter(|_| bench.precision == Precision::F16)
    else {
        return;
    };
    for wider in [2, 4] {
        let device = Device::open(bench.device.adapter.clone(), Options::default()).unwrap();
        device.set_plan(Plan::shipped(
            CoopShape { subgroup: wider * coop.subgroup, scalars: true, ..coop },
            &device.limits,
            128,
        ));
        attention_in_short(&Bench { device, ..bench.clone() });
    }
}

fn attention_of(bench: &Bench, shapes: &[AttentionShape]) {
    for &shape in shapes {
        let (rows, d, columns) = (shape.rows(), shape.query_columns(), shape.qkv_columns());
        let (qkv, dout, table) =
            (normal(rows * columns, 1), normal(rows * d, 2), rope_table(160, shape.width));
        // Other positions in every sequence.
        let positions: Vec<u32> = (0..rows)
            .map(|row| (row % shape.sequence + 7 * (row / shape.sequence)) as u32)
            .collect();
        compare(bench, shape.width, &format!("{shape:?}"), |lab| {
            let (x, o) = (lab.put_stored(&qkv), lab.put_stored(&dout));
            let (out, lse, dqkv) = (
                lab.out_stored(rows * d),
                lab.out(rows * shape.heads),
                lab.out_stored(rows * columns),
            );
            lab.k.attention_forward(shape, x, out, lse);
            lab.k.attention_backward(shape, x, out, lse, o, dqkv);
            let (p, table, turned) =
                (lab.ids(&positions), lab.put(&table), lab.out_stored(rows * columns));
            lab.k.attention_backward_rope(shape, x, out, lse, o, p, table, turned);
            let mut outputs = vec![lab.get("out", out), lab.get("lse", lse)];
            for (name, dqkv) in [lab.get("dqkv", dqkv), lab.get("turned dqkv", turned)] {
                // Queries, keys and values apart: a fault in one must not drown in the others.
                let part = |part: Range<usize>| -> Vec<f32> {
                    dqkv.chunks_exact(columns).flat_map(|row| row[part.clone()].to_vec()).collect()
                };
                let turned = shape.turned_columns();
                outputs.push((format!("dv of {name}"), part(turned..columns)));
                // With one token there is nothing to choose: both gradients of the scores are zero but for rounding.
                if shape.sequence > 1 {
                    outputs.extend([
                        (format!("dq of {name}"), part(0..d)),
                        (format!("dk of {name}"), part(d..turned)),
                    ]);
                }
            }
            outputs
        });
    }
}

fn attention_over_a_cache(bench: &Bench) {
    for (sequence, [heads, kv_heads], width) in
        [(13, [3, 3], 10), (97, [2, 2], 40), (70, [1, 1], 64), (33, [6, 2], 10)]
    {
        let shape = AttentionShape { batch: 3, sequence, heads, kv_heads, width };
        let (context, rows, d) = (sequence + 4, shape.rows(), shape.query_columns());
        let qkv = normal(rows * shape.qkv_columns(), 1);
        let slots: Vec<u32> = (0..rows).map(|row| [2, 0, 3][row / sequence]).collect();
        let positions: Vec<u32> = (0..rows).map(|row| (row % sequence) as u32).collect();
        compare(bench, width, &format!("cache of {shape:?}"), |lab| {
            let (s, p, x, out) = (
                lab.ids(&slots),
                lab.ids(&positions),
                lab.put_stored(&qkv),
                lab.out_stored(rows * d),
            );
            let cache = lab.put_stored(&vec![0.5; 4 * context * shape.kv_columns()]);
            let shape_of_rows = AttentionShape { batch: rows, sequence: 1, ..shape };
            lab.k.cache_append(shape_of_rows, context, s, p, x, cache);
            lab.k.attention_decode(shape_of_rows, context, s, p, x, cache, out);
            vec![lab.get("out", out), lab.get("cache", cache)]
        });
    }
}

fn swiglu(bench: &Bench) {
    for (rows, width) in [(1, 1), (67, 33), (40, 856)] {
        let gate_up: Vec<f32> = normal(rows * 2 * width, 1).into_iter().map(|v| v * 3.0).collect();
        let dout = normal(rows * width, 2);
        compare(bench, 2, &format!("swiglu {rows} x {width}"), |lab| {
            let (x, o) = (lab.put_stored(&gate_up), lab.put_stored(&dout));
            let (out, dx) = (lab.out_stored(rows * width), lab.out_stored(rows * 2 * width));
            lab.k.swiglu_forward(width, x, out);
            lab.k.swiglu_backward(width, x, o, dx);
            vec![lab.get("out", out), lab.get("dgate_up", dx)]
        });
    }
}

fn residual_fill_round_sum(bench: &Bench) {
    for len in [1, 33, 40_001] {
        let (a, b) = (normal(len, 1), normal(len, 2));
        compare(bench, 2, &format!("{len} values"), |lab| {
            let (x, branch, out, filled, total) =
                (lab.put(&a), lab.put_stored(&b), lab.out(len), lab.out(len), lab.put(&[2.5]));
            lab.k.residual_forward(x, branch, out);
            lab.k.fill(filled, -3.5);
            lab.k.sum(x, total);
            let half = lab.k.half_copy("half", x);
            lab.k.round(x, half);
            let rounded = lab.k.download(*half).unwrap();
            vec![
                lab.get("residual", out),
                lab.get("fill", filled),
                lab.get("sum", total),
                ("round".into(), rounded),
            ]
        });
    }
}

/// The state before the first update.
pub(crate) fn fresh_state(loss_scale: f32) -> [f32; state::LEN] {
    let mut fresh = [0.0; state::LEN];
    fresh[state::LOSS_SCALE] = loss_scale;
    (fresh[state::BETA1_POWER], fresh[state::BETA2_POWER]) = (1.0, 1.0);
    fresh
}

/// The head and its gradients where rows of logits are padded, on the device as it lies there: what is beyond a row is 0 and stays so.
fn padded_head(bench: &Bench) {
    for (rows, vocab, d) in [(70, 257, 40), (300, 509, 80), (33, 50, 20), (5, 7, 33)] {
        let (x, head, dhead) = (normal(rows * d, 1), normal(vocab * d, 2), normal(vocab * d, 3));
        let targets = tokens(rows, vocab, 4);
        compare(bench, 2, &format!("head {rows} x {vocab} x {d}"), |lab| {
            let pitch = lab.k.logits_pitch(vocab);
            let [x, head] = [&x, &head].map(|values| lab.put_stored(values));
            let (logits, dx) = (lab.out_stored(rows * pitch), lab.out_stored(rows * d));
            let (t, losses, dhead) = (lab.ids(&targets), lab.out(rows), lab.put(&dhead));
            let state = lab.put(&fresh_state(64.0));
            let columns = |(name, values): (String, Vec<f32>)| {
                let rows = values.chunks_exact(pitch);
                assert!(rows.clone().all(|row| row[vocab..].iter().all(|&v| v == 0.0)), "{name}");
                (name, rows.flat_map(|row| &row[..vocab]).copied().collect())
            };
            lab.k.matmul_nt(rows, vocab, d, x, head, logits);
            let mut outputs = vec![columns(lab.get("logits", logits))];
            lab.k.cross_entropy_backward(vocab, 0.125, state, logits, t, losses);
            lab.k.matmul_nn(rows, d, vocab, logits, head, dx);
            lab.k.matmul_tn(vocab, d, rows, logits, x, dhead);
            outputs.push(columns(lab.get("dlogits", logits)));
            outputs.extend([lab.get("losses", losses), lab.get("dx", dx), lab.get("dhead", dhead)]);
            outputs
        });
    }
}

pub(crate) fn cross_entropy(bench: &Bench) {
    for (rows, vocab) in [(1, 1), (1, 257), (67, 257), (5, 8000)] {
        let logits: Vec<f32> = normal(rows * vocab, 1).into_iter().map(|v| v * 3.0).collect();
        let mut targets = tokens(rows, vocab, 2);
        targets[rows / 2] = vocab as u32 - 1;
        if rows > 2 {
            targets[1] = NO_TARGET;
        }
        compare(bench, 2, &format!("cross entropy {rows} x {vocab}"), |lab| {
            let (x, t, forward, backward) =
                (lab.put_stored(&logits), lab.ids(&targets), lab.out(rows), lab.out(rows));
            let state = lab.put(&fresh_state(64.0));
            lab.k.cross_entropy_forward(vocab, x, t, forward);
            lab.k.cross_entropy_backward(vocab, 0.125, state, x, t, backward);
            let (name, mut dlogits) = lab.get("dlogits", x);
            // The target's does not hide the others.
            let own: Vec<f32> = targets
                .iter()
                .enumerate()
                .filter(|(_, t)| **t != NO_TARGET)
                .map(|(r, &t)| dlogits[r * vocab + t as usize])
                .collect();
            targets
                .iter()
                .enumerate()
                .filter(|(_, t)| **t != NO_TARGET)
                .for_each(|(r, &t)| dlogits[r * vocab + t as usize] = 0.0);
            let mut outputs =
                vec![lab.get("forward", forward), lab.get("backward", backward), (name, dlogits)];
            if vocab > 1 {
                outputs.push(("dlogits of the targets".into(), own));
            }
            outputs
        });
    }
}
