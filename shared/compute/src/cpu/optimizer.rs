//! The optimizers' updates: the twins of their shaders.
use multiversion::multiversion;

use super::muon::muon;
use super::parallel::each_part;
use crate::kernels::state;
use crate::optimizer::{Optimizer, OptimizerKind, Update};

/// Elements per task.
const PART: usize = 1 << 14;

/// One update of all weights and slots; none where the factor of `state` is 0.
pub(super) fn optimizer_update(
    update: &Update,
    state: &[f32],
    gradients: &[f32],
    weights: &mut [f32],
    slots: Vec<&mut [f32]>,
) {
    if state[state::FACTOR] == 0.0 {
        return;
    }
    match update.optimizer.kind {
        OptimizerKind::AdamW => adamw(update, state, gradients, weights, named(slots)),
        OptimizerKind::Muon => muon_and_adamw(update, state, gradients, weights, named(slots)),
    }
}

/// As many as the rule has.
fn named<const N: usize>(slots: Vec<&mut [f32]>) -> [&mut [f32]; N] {
    let found = slots.len();
    slots.try_into().unwrap_or_else(|_| panic!("{found} slots, expected {N}"))
}

/// `f(weight decay, weights and slots, gradients)` for each part, first those that decay.
fn each_group<const N: usize>(
    update: &Update,
    gradients: &[f32],
    outputs: [&mut [f32]; N],
    f: impl Fn(f32, [&mut [f32]; N], &[f32]) + Sync,
) {
    let mut rest = Vec::with_capacity(N);
    let decayed = outputs.map(|output| {
        let (decayed, others) = output.split_at_mut(update.decay_len);
        rest.push(others);
        decayed
    });
    let (gradients, others) = gradients.split_at(update.decay_len);
    let groups = [(update.optimizer.weight_decay, decayed, gradients), (0.0, named(rest), others)];
    for (decay, outputs, gradients) in groups {
        each_part(outputs.map(|output| (output, PART)), |part, outputs| {
            let first = part * PART;
            let len = outputs[0].len();
            f(decay, outputs, &gradients[first..first + len]);
        });
    }
}

/// Muon for the matrices, AdamW for what follows them; `momentum` is the first moment there.
fn muon_and_adamw(
    update: &Update,
    state: &[f32],
    gradients: &[f32],
    weights: &mut [f32],
    [v, momentum]: [&mut [f32]; 2],
) {
    let (of_matrices, gradients) = gradients.split_at(update.decay_len);
    let [(matrices, weights), (mean, m), (_, v)] =
        [weights, momentum, v].map(|output| output.split_at_mut(update.decay_len));
    muon(update, state, of_matrices, matrices, mean);
    adamw(&Update { decay_len: 0, ..*update }, state, gradients, weights, [m, v]);
}

/// The factors of one AdamW update, the same for every weight of a part.
#[derive(Clone, Copy)]
struct Factors {
    gradient: f32,
    /// 1 - learning rate * weight decay
    keep: f32,
    /// learning rate / (1 - beta1^step)
    rate: f32,
    /// 1 / (1 - beta2^step)
    correction2: f32,
    beta1: f32,
    beta2: f32,
    eps: f32,
}

fn adamw(
    update: &Update,
    state: &[f32],
    gradients: &[f32],
    weights: &mut [f32],
    [m, v]: [&mut [f32]; 2],
) {
    let Optimizer { beta1, beta2, eps, .. } = update.optimizer;
    let factors = |decay: f32| Factors {
        gradient: state[state::FACTOR],
        keep: 1.0 - update.learning_rate * decay,
        rate: update.learning_rate / (1.0 - state[state::BETA1_POWER]),
        correction2: 1.0 / (1.0 - state[state::BETA2_POWER]),
        beta1,
        beta2,
        eps,
    };
    each_group(update, gradients, [weights, m, v], |decay, [weights, m, v], gradients| {
        adamw_part(factors(decay), weights, gradients, m, v);
    });
}

#[multiversion(targets("x86_64+avx512f", "x86_64+avx2+fma"))]
fn adamw_part(f: Factors, weights: &mut [f32], gradients: &[f32], m: &mut [f32], v: &mut [f32]) {
    let n = weights.len();
    let (gradients, m, v) = (&gradients[..n], &mut m[..n], &mut v[..n]);
    for i in 0..n {
        let g = gradients[i] * f.gradient;
        m[i] = f.beta1 * m[i] + (1.0 - f.beta1) * g;
        v[i] = f.beta2 * v[i] + (1.0 - f.beta2) * g * g;
        weights[i] = weights[i] * f.keep - f.rate * m[i] / ((v[i] * f.correction2).sqrt() + f.eps);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A weight and its slots in f64.
    struct Element {
        weight: f64,
        slots: Vec<f64>,
    }

    /// The formula of a rule, for one weight: `g` is clipped, `step` counts from 1, `decay` is 0 where the weight does not decay.
    fn formula(o: &Optimizer, lr: f64, decay: f64, step: i32, g: f64, e: &mut Element) {
        let [beta1, beta2, eps] = [o.beta1, o.beta2, o.eps].map(f64::from);
        match (o.kind, &mut e.slots[..]) {
            (OptimizerKind::AdamW, [m, v]) => {
                *m = beta1 * *m + (1.0 - beta1) * g;
                *v = beta2 * *v + (1.0 - beta2) * g * g;
                let (m_hat, v_hat) = (*m / (1.0 - beta1.powi(step)), *v / (1.0 - beta2.powi(step)));
                e.weight = e.weight * (1.0 - lr * decay) - lr * m_hat / (v_hat.sqrt() + eps);
            }
            (kind, slots) => panic!("{} slots of {kind:?}", slots.len()),
        }
    }

    /// From -2 to 2, as if at random.
    fn values(len: usize, seed: u32) -> Vec<f32> {
        let hashed = |i: u32| (i ^ seed << 20).wrapping_mul(2_654_435_761) >> 8;
        (0..len as u32).map(|i| hashed(i) as f32 / (1 << 22) as f32 - 2.0).collect()
    }

    #[test]
    fn every_rule_is_its_formula() {
        let lengths = [(1, 0), (40_001, 17_003), (40_001, 40_001), (65_536, 32_768)];
        // Rules for matrices are tested where they are.
        let rules = OptimizerKind::ALL.iter().filter(|kind| kind.rule().momentum.is_none());
        for (&kind, (len, decay_len)) in
            rules.flat_map(|kind| lengths.map(|lengths| (kind, lengths)))
        {
            let name = kind.rule().name;
            let optimizer = Optimizer { weight_decay: 0.3, ..Optimizer::new(kind) };
            let update =
                Update { optimizer, learning_rate: 0.05, decay_len, clip: 1.0, matrices: &[] };
            let mut weights = values(len, 1);
            let mut slots = vec![vec![0.0; len]; kind.rule().slots.len()];
            let mut expected: Vec<Element> = weights
                .iter()
                .map(|&weight| Element { weight: weight.into(), slots: vec![0.0; slots.len()] })
                .collect();
            let mut state = [0.0; state::LEN];
            state[state::FACTOR] = 0.125;
            (state[state::BETA1_POWER], state[state::BETA2_POWER]) = (1.0, 1.0);
            for step in 1..=3 {
                state[state::BETA1_POWER] *= optimizer.beta1;
                state[state::BETA2_POWER] *= optimizer.beta2;
                let gradients = values(len, 10 + step as u32);
                let views = slots.iter_mut().map(|slot| &mut slot[..]).collect();
                optimizer_update(&update, &state, &gradients, &mut weights, views);
                for (i, element) in expected.iter_mut().enumerate() {
                    let decay = if i < decay_len { optimizer.weight_decay.into() } else { 0.0 };
                    let (lr, g) =
                        (f64::from(update.learning_rate), f64::from(gradients[i]) * 0.125);
                    formula(&optimizer, lr, decay, step, g, element);
                    let found = std::iter::once(weights[i]).chain(slots.iter().map(|slot| slot[i]));
                    for (found, expected) in
                        found.zip(std::iter::once(&element.weight).chain(&element.slots))
                    {
                        assert!(
                            (f64::from(found) - expected).abs() <= 1e-6 + 1e-5 * expected.abs(),
                            "{name}, weight {i} of {len} after {step}: {found}, expected {expected}"
                        );
                    }
                }
            }
            // A factor of 0 changes nothing.
            state[state::FACTOR] = 0.0;
            let before = (weights.clone(), slots.clone());
            let views = slots.iter_mut().map(|slot| &mut slot[..]).collect();
            optimizer_update(&update, &state, &values(len, 2), &mut weights, views);
            assert!(before == (weights, slots), "{name}");
        }
    }
}
