//! Matmuls, and the head with its loss.
use compute::NO_TARGET;

use crate::lab::{Lab, TOLERANCE, assert_close, dot, norm, normal, tokens, wide};
use crate::plain;

/// The layer c = a bᵀ: its output, and the gradients of input and weight as `step.rs` takes them.
#[test]
fn the_three_products() {
    for (rows, outputs, inputs) in [
        (1, 1, 1),
        (1, 257, 40),
        (50, 96, 33),
        (97, 257, 40),
        (130, 8000, 8),
        (7, 31, 856),
        (49, 17, 1),
    ] {
        let (a, b, dc, db0) = (
            normal(rows * inputs, 1),
            normal(outputs * inputs, 2),
            normal(rows * outputs, 3),
            normal(outputs * inputs, 4),
        );
        let mut lab = Lab::new();
        let [va, vb, vdc] = [&a, &b, &dc].map(|values| lab.put(values));
        let db = lab.put(&db0);
        let (c, da, few) =
            (lab.out(rows * outputs), lab.out(rows * inputs), lab.out(rows * outputs));
        lab.k.matmul_nt(rows, outputs, inputs, va, vb, c);
        lab.k.matvec_nt(rows, outputs, inputs, va, vb, few);
        lab.k.matmul_nn(rows, inputs, outputs, vdc, vb, da);
        lab.k.matmul_tn(outputs, inputs, rows, vdc, va, db);

        let (a, b, dc) = (wide(&a), wide(&b), wide(&dc));
        let expected = plain::matmul_nt(rows, outputs, inputs, &a, &b);
        assert_close("nt", &lab.get(c), &expected);
        assert_close("matvec", &lab.get(few), &expected);
        let (b_t, a_t, dc_t) = (
            plain::transpose(outputs, inputs, &b),
            plain::transpose(rows, inputs, &a),
            plain::transpose(rows, outputs, &dc),
        );
        let expected = plain::matmul_nt(rows, inputs, outputs, &dc, &b_t);
        assert_close("nn", &lab.get(da), &expected);
        let mut expected = plain::matmul_nt(outputs, inputs, rows, &dc_t, &a_t);
        expected.iter_mut().zip(&db0).for_each(|(sum, before)| *sum += f64::from(*before));
        assert_close("tn", &lab.get(db), &expected);

        // <dc, a bᵀ> = <da, a> = <db, b>: the three forms against each other.
        let (out, da, db) = (wide(&lab.get(c)), wide(&lab.get(da)), wide(&lab.get(db)));
        let scalar = dot(&dc, &out);
        let size = norm(&dc) * norm(&out);
        assert!((scalar - dot(&da, &a)).abs() <= TOLERANCE * size, "nn against nt");
        assert!(
            (scalar - (dot(&db, &b) - dot(&wide(&db0), &b))).abs() <= TOLERANCE * size,
            "tn against nt"
        );
    }
}

/// The output product and its loss in one, beyond every size of strip, tile and piece.
#[test]
fn head_loss() {
    for (rows, vocab, d) in [(1, 1, 1), (97, 385, 20), (200, 800, 400), (300, 37, 8)] {
        let (x, head) = (normal(rows * d, 1), normal(vocab * d, 2));
        let mut targets = tokens(rows, vocab, 3);
        targets[rows / 2] = vocab as u32 - 1;
        if rows > 100 {
            targets[1] = NO_TARGET;
            targets[96..192].fill(NO_TARGET); // a strip that is context only
        }
        let logits = plain::matmul_nt(rows, vocab, d, &wide(&x), &wide(&head));
        let expected = plain::cross_entropy(vocab, &logits, &targets);
        let mut lab = Lab::new();
        let (x, head, t, losses, space) =
            (lab.put(&x), lab.put(&head), lab.ids(&targets), lab.out(rows), lab.out(vocab));
        lab.k.head_loss_forward(vocab, d, x, head, space, t, losses);
        assert_close(&format!("losses of {rows} x {vocab} x {d}"), &lab.get(losses), &expected);
        assert!(
            lab.get(losses)
                .iter()
                .zip(&targets)
                .all(|(&loss, &target)| target != NO_TARGET || loss == 0.0)
        );
    }
}
