//! Cross entropy.
use compute::NO_TARGET;

use crate::lab::{Lab, assert_close, assert_gradient, normal, tokens, wide};
use crate::plain;
use crate::update::fresh_state;

#[test]
fn cross_entropy() {
    for (rows, vocab) in [(1, 1), (1, 257), (67, 257), (5, 8000)] {
        let logits: Vec<f32> =
            normal(rows * vocab, 1).into_iter().map(|v| v * 3.0 + 40.0).collect();
        let mut targets = tokens(rows, vocab, 2);
        targets[rows / 2] = vocab as u32 - 1;
        if rows > 2 {
            targets[1] = NO_TARGET;
        }
        let mut lab = Lab::new();
        let (x, t, forward, backward) =
            (lab.put(&logits), lab.ids(&targets), lab.out(rows), lab.out(rows));
        lab.k.cross_entropy_forward(vocab, x, t, forward);
        assert_eq!(lab.get(x), logits, "forward leaves the logits alone");
        let state = lab.put(&fresh_state(4.0));
        lab.k.cross_entropy_backward(vocab, 0.125 / 4.0, state, x, t, backward);
        let expected = plain::cross_entropy(vocab, &wide(&logits), &targets);
        assert_close("losses of forward", &lab.get(forward), &expected);
        assert_close("losses of backward", &lab.get(backward), &expected);
        let dlogits = lab.get(x);
        for ((logits, found), &target) in
            logits.chunks_exact(vocab).zip(dlogits.chunks_exact(vocab)).zip(&targets)
        {
            if target == NO_TARGET {
                assert!(found.iter().all(|&v| v == 0.0));
                continue;
            }
            // The gradient in closed form, element by element: the target's does not hide the others.
            let logits = wide(logits);
            let total = plain::log_sum_exp(&logits);
            let expected: Vec<f64> = (0..vocab)
                .map(|i| 0.125 * ((logits[i] - total).exp() - f64::from(i == target as usize)))
                .collect();
            let others = |values: &mut dyn Iterator<Item = f64>| {
                values
                    .enumerate()
                    .filter(|(i, _)| *i != target as usize)
                    .map(|(_, v)| v)
                    .collect::<Vec<f64>>()
            };
            let found_others: Vec<f32> =
                others(&mut wide(found).into_iter()).into_iter().map(|v| v as f32).collect();
            assert_close(
                "dlogits but for the target's",
                &found_others,
                &others(&mut expected.iter().copied()),
            );
            assert!(
                (f64::from(found[target as usize]) - expected[target as usize]).abs() < 1e-7,
                "dlogit of the target"
            );
        }
        // And by central differences, in pieces of rows.
        let scalar =
            |x: &[f64]| 0.125 * plain::cross_entropy(vocab, x, &targets).iter().sum::<f64>();
        if rows < 10 && vocab > 1 {
            assert_gradient("dlogits", vocab.div_ceil(40), &logits, &dlogits, scalar);
        }
    }
}
