//! Embedding, norm, SwiGLU, residual, fill and sum.
use crate::lab::{Lab, assert_close, assert_gradient, normal, tokens, weighted, wide};
use crate::plain;

#[test]
fn embedding() {
    for (rows, width, vocab) in [(1, 1, 1), (97, 33, 257), (300, 40, 11)] {
        let (ids, table, dout, before) = (
            tokens(rows, vocab, 1),
            normal(vocab * width, 2),
            normal(rows * width, 3),
            normal(vocab * width, 4),
        );
        let mut lab = Lab::new();
        let (t, w, o, out, dtable) = (
            lab.ids(&ids),
            lab.put(&table),
            lab.put(&dout),
            lab.out(rows * width),
            lab.put(&before),
        );
        lab.k.embedding_forward(width, t, w, out);
        assert_eq!(wide(&lab.get(out)), plain::embedding(width, &ids, &wide(&table)));
        lab.k.embedding_backward(width, t, o, dtable);
        let mut expected = wide(&before);
        for (&id, dout) in ids.iter().zip(dout.chunks_exact(width)) {
            expected[id as usize * width..][..width]
                .iter_mut()
                .zip(dout)
                .for_each(|(sum, d)| *sum += f64::from(*d));
        }
        assert_close("dtable", &lab.get(dtable), &expected);
    }
}

#[test]
fn rmsnorm() {
    for (rows, width, eps) in [(1, 1, 1e-6), (1, 320, 1e-6), (67, 33, 0.3), (70, 40, 1e-6)] {
        let scale =
            |values: Vec<f32>, by: f32| values.into_iter().map(|v| v * by).collect::<Vec<f32>>();
        let (x, gain, dout) =
            (scale(normal(rows * width, 1), 0.7), normal(width, 2), normal(rows * width, 3));
        let (dx0, dgain0) = (normal(rows * width, 4), normal(width, 5));
        let mut lab = Lab::new();
        let [vx, vg, dx, dgain] = [&x, &gain, &dx0, &dgain0].map(|values| lab.put(values));
        let (vo, dx_half) = (lab.put(&dout), lab.k.half_copy("dx_half", dx));
        let (out, rstd) = (lab.out(rows * width), lab.out(rows));
        lab.k.rmsnorm_forward(width, eps, vx, vg, out, rstd);
        let eps = f64::from(eps);
        assert_close("out", &lab.get(out), &plain::rmsnorm(width, eps, &wide(&x), &wide(&gain)));
        assert_close("rstd", &lab.get(rstd), &plain::rstd(width, eps, &wide(&x)));
        lab.k.rmsnorm_backward(width, vx, vg, rstd, vo, dx, dx_half, dgain);
        let (scalar, fx, fg) = (weighted(&dout), wide(&x), wide(&gain));
        // What was there is added to: its own scalar is linear.
        let (onto_x, onto_gain) = (weighted(&dx0), weighted(&dgain0));
        assert_gradient("dx", width, &x, &lab.get(dx), |x| {
            scalar(&plain::rmsnorm(width, eps, x, &fg)) + onto_x(x)
        });
        assert_gradient("dgain", 1, &gain, &lab.get(dgain), |gain| {
            scalar(&plain::rmsnorm(width, eps, &fx, gain)) + onto_gain(gain)
        });
    }
}

#[test]
fn swiglu() {
    for (rows, width) in [(1, 1), (67, 33), (40, 856)] {
        let gate_up: Vec<f32> = normal(rows * 2 * width, 1).into_iter().map(|v| v * 3.0).collect();
        let dout = normal(rows * width, 2);
        let mut lab = Lab::new();
        let (x, o, out, dx) =
            (lab.put(&gate_up), lab.put(&dout), lab.out(rows * width), lab.out(rows * 2 * width));
        lab.k.swiglu_forward(width, x, out);
        lab.k.swiglu_backward(width, x, o, dx);
        assert_close("out", &lab.get(out), &plain::swiglu(width, &wide(&gate_up)));
        // A row depends on its own input only, so rows are differenced one by one.
        let dx = lab.get(dx);
        for ((x, dx), dout) in gate_up
            .chunks_exact(2 * width)
            .zip(dx.chunks_exact(2 * width))
            .zip(dout.chunks_exact(width))
        {
            let scalar = weighted(dout);
            assert_gradient("dgate_up", width.div_ceil(8), x, dx, |x| {
                scalar(&plain::swiglu(width, x))
            });
        }
    }
}

#[test]
fn residual_fill_and_sum() {
    for len in [1, 33, 40_001] {
        let (a, b) = (normal(len, 1), normal(len, 2));
        let mut lab = Lab::new();
        let (x, branch, out, filled, total) =
            (lab.put(&a), lab.put(&b), lab.out(len), lab.out(len), lab.put(&[2.5]));
        lab.k.residual_forward(x, branch, out);
        lab.k.fill(filled, -3.5);
        lab.k.sum(x, total);
        assert_eq!(lab.get(out), a.iter().zip(&b).map(|(a, b)| a + b).collect::<Vec<f32>>());
        assert!(lab.get(filled).iter().all(|&v| v == -3.5));
        assert_close("sum", &lab.get(total), &[2.5 + wide(&a).iter().sum::<f64>()]);
    }
}
