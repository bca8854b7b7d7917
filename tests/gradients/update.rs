//! The norm of the gradient and the optimizer.
use compute::{Optimizer, OptimizerKind, Update, state};

use crate::lab::{Lab, assert_close, norm, normal, wide};

/// Of one update; what every rule does to weights and slots is tested beside it.
pub(crate) fn an_update(decay_len: usize, clip: f32) -> Update<'static> {
    let optimizer = Optimizer { weight_decay: 0.3, ..Optimizer::new(OptimizerKind::AdamW) };
    Update { optimizer, learning_rate: 0.05, decay_len, clip, matrices: &[] }
}

/// The state before the first update.
pub(crate) fn fresh_state(loss_scale: f32) -> [f32; state::LEN] {
    let mut fresh = [0.0; state::LEN];
    fresh[state::LOSS_SCALE] = loss_scale;
    (fresh[state::BETA1_POWER], fresh[state::BETA2_POWER]) = (1.0, 1.0);
    fresh
}

#[test]
fn grad_norm_and_adamw_equal_their_formulas() {
    for (len, decay_len, clip) in
        [(1, 0, 1e9), (40_001, 17_003, 1.0), (40_001, 40_001, 1e9), (65_536, 32_768, 30.0)]
    {
        let mut lab = Lab::new();
        let (mut weights, mut m, mut v) = (wide(&normal(len, 1)), vec![0.0; len], vec![0.0; len]);
        let [w, vm, vv] =
            [normal(len, 1), vec![0.0; len], vec![0.0; len]].map(|values| lab.put(&values));
        let half = lab.k.half_copy("half", w);
        let loss_scale = 8.0;
        let s = lab.put(&fresh_state(loss_scale));
        for step in 1..=3 {
            let gradients = normal(len, 10 + step);
            let g = lab.put(&gradients.iter().map(|g| g * loss_scale).collect::<Vec<f32>>());
            let update = an_update(decay_len, clip);
            let Optimizer { beta1, beta2, eps, weight_decay, .. } = update.optimizer;
            lab.k.grad_norm(g, s.slice(state::GRAD_NORM, 1));
            lab.k.loss_scale_update(&update, s);
            lab.k.optimizer_update(&update, s, w, half, g, &[vm, vv]);
            let gradients = wide(&gradients);
            assert_close("norm", &[lab.get(s)[state::GRAD_NORM]], &[norm(&gradients)]);
            let [beta1, beta2, lr, decay] =
                [beta1, beta2, update.learning_rate, weight_decay].map(f64::from);
            let factor = (f64::from(clip) / (norm(&gradients) + 1e-6)).min(1.0);
            for i in 0..len {
                let g = gradients[i] * factor;
                m[i] = beta1 * m[i] + (1.0 - beta1) * g;
                v[i] = beta2 * v[i] + (1.0 - beta2) * g * g;
                let (m_hat, v_hat) = (
                    m[i] / (1.0 - beta1.powi(step as i32)),
                    v[i] / (1.0 - beta2.powi(step as i32)),
                );
                let kept = if i < decay_len { weights[i] * (1.0 - lr * decay) } else { weights[i] };
                weights[i] = kept - lr * m_hat / (v_hat.sqrt() + f64::from(eps));
            }
            for (what, view, expected) in [("weights", w, &weights), ("m", vm, &m), ("v", vv, &v)] {
                assert_close(&format!("{what} of {len} after {step}"), &lab.get(view), expected);
            }
        }
    }
}

#[test]
fn a_norm_that_is_not_finite_skips_the_update() {
    let mut lab = Lab::new();
    let [w, m, v, s] = [normal(50, 1), normal(50, 2), vec![1.0; 50], fresh_state(1.0).to_vec()]
        .map(|values| lab.put(&values));
    let half = lab.k.half_copy("half", w);
    let before = [w, m, v].map(|view| lab.get(view));
    for (value, skipped) in [(f32::INFINITY, 1.0), (f32::NAN, 2.0), (1.0, 2.0)] {
        let mut gradients = normal(50, 3);
        gradients[17] = value;
        let g = lab.put(&gradients);
        lab.k.grad_norm(g, s.slice(state::GRAD_NORM, 1));
        lab.k.loss_scale_update(&an_update(0, 1.0), s);
        lab.k.optimizer_update(&an_update(0, 1.0), s, w, half, g, &[m, v]);
        let state = lab.get(s);
        assert_eq!((state[state::SKIPPED], state[state::LOSS_SCALE]), (skipped, 1.0));
        assert_eq!(
            state[state::BETA1_POWER],
            if value == 1.0 { 0.9 } else { 1.0 },
            "a skipped update counts for nothing"
        );
        assert_eq!([w, m, v].map(|view| lab.get(view)) == before, value != 1.0);
    }
}
