//! The norm of the gradient, the optimizers and the loss scale against the CPU engine.
use compute::{MatrixGroup, Optimizer, OptimizerKind, Precision, Update, state};

use crate::Bench;
use crate::kernels::fresh_state;
use crate::lab::{compare, normal};

fn an_update(kind: OptimizerKind, decay_len: usize, clip: f32) -> Update<'static> {
    let optimizer = Optimizer { weight_decay: 0.3, ..Optimizer::new(kind) };
    Update { optimizer, learning_rate: 0.05, decay_len, clip, matrices: &[] }
}

pub(crate) fn norm_and_optimizers(bench: &Bench) {
    let cases = [(1, 0, 1e9), (40_001, 17_003, 1.0), (262_147, 262_147, 1e9)];
    let rules = OptimizerKind::ALL.iter().filter(|kind| kind.rule().momentum.is_none());
    for (&kind, (len, decay_len, clip)) in rules.flat_map(|kind| cases.map(|case| (kind, case))) {
        compare_updates(bench, len, an_update(kind, decay_len, clip));
    }
}

/// Wide, tall and square matrices that fill no tile, side by side and in layers, and weights that are none after them.
pub(crate) fn muon(bench: &Bench) {
    for (rows, columns, side_by_side, layers) in
        [(1, 1, 1, 1), (70, 33, 2, 2), (33, 140, 1, 3), (65, 65, 4, 2), (192, 96, 1, 1)]
    {
        let stride = side_by_side * rows * columns + 96 * 40;
        let groups = [
            MatrixGroup { rows, columns, offset: 0, side_by_side, layers, stride },
            MatrixGroup {
                rows: 96,
                columns: 40,
                offset: stride - 96 * 40,
                side_by_side: 1,
                layers,
                stride,
            },
        ];
        // Where an update is about 0 its sign is a matter of rounding: a decay within the tolerance of one weight.
        for (cautious_decay, weight_decay) in [(false, 0.3), (true, 1e-3)] {
            let update = an_update(OptimizerKind::Muon, layers * stride, 30.0);
            let optimizer = Optimizer { cautious_decay, weight_decay, ..update.optimizer };
            let update = Update { optimizer, matrices: &groups, ..update };
            compare_updates(bench, layers * stride + 1001, update);
        }
    }
}

/// Three updates, and all that they leave.
fn compare_updates(bench: &Bench, len: usize, update: Update) {
    let rule = update.optimizer.kind.rule();
    compare(bench, 2, &format!("{} of {len}", rule.name), |lab| {
        let w = lab.put(&normal(len, 1));
        let slots: Vec<_> = rule.slots.iter().map(|_| lab.put(&vec![0.0; len])).collect();
        let (s, half) = (lab.put(&fresh_state(8.0)), lab.k.half_copy("half", w));
        let mut outputs = Vec::new();
        for step in 1..=3 {
            let g = lab.put(&normal(len, 10 + step));
            lab.k.grad_norm(g, s.slice(state::GRAD_NORM, 1));
            lab.k.loss_scale_update(&update, s);
            lab.k.optimizer_update(&update, s, w, half, g, &slots);
            let (_, state) = lab.get("state", s);
            outputs.push((format!("norm {step}"), vec![state[state::GRAD_NORM]]));
            outputs.push((format!("factor {step}"), vec![state[state::FACTOR]]));
            outputs.push((
                format!("powers {step}"),
                state[state::BETA1_POWER..=state::BETA2_POWER].to_vec(),
            ));
        }
        let rounded = lab.k.download(*half).unwrap();
        outputs.extend([lab.get("weights", w), ("half copy".into(), rounded)]);
        outputs.extend(rule.slots.iter().zip(slots).map(|(name, slot)| lab.get(*name, slot)));
        outputs
    });
}

/// An overflow skips the update and halves the scale in f16; the scale doubles after a number of good steps.
pub(crate) fn loss_scale(bench: &Bench) {
    use compute::{GROWTH_INTERVAL, Gpu, Kernels};
    let mut k: Box<dyn Kernels> = Gpu::open(&bench.device, bench.precision, 2).unwrap();
    let dynamic = bench.precision == Precision::F16;
    let [w, m, v, g, s] = [100, 100, 100, 100, state::LEN].map(|len| k.allocate("test", len));
    let half = k.half_copy("half", w);
    for (view, seed) in [(w, 1), (m, 2)] {
        k.upload(*view, &normal(100, seed));
    }
    k.upload(*v, &[1.0; 100]);
    let mut fresh = fresh_state(1024.0);
    fresh[state::GOOD_STEPS] = GROWTH_INTERVAL as f32 - 2.0;
    k.upload(*s, &fresh);
    let mut update = |value: f32| {
        let mut gradients = normal(100, 3);
        gradients[17] = value;
        k.upload(*g, &gradients);
        k.grad_norm(g, s.slice(state::GRAD_NORM, 1));
        let an_update = an_update(OptimizerKind::AdamW, 0, 1.0);
        k.loss_scale_update(&an_update, s);
        k.optimizer_update(&an_update, s, w, half, g, &[m, v]);
        (k.download(*s).unwrap(), [*w, *m, *v, *half].map(|view| k.download(view).unwrap()))
    };
    let (_, first) = update(1.0);
    let (state_after, grown) = update(1.0);
    assert_eq!(
        state_after[state::LOSS_SCALE],
        if dynamic { 2048.0 } else { 1024.0 },
        "doubled after {GROWTH_INTERVAL} good steps"
    );
    assert!(first != grown, "a good step updates");
    for (i, value) in [f32::INFINITY, f32::NAN, f32::NEG_INFINITY].into_iter().enumerate() {
        let (state_after, kept) = update(value);
        assert!(kept == grown, "{value}: weights, slots and half copy stay");
        assert_eq!(state_after[state::SKIPPED], i as f32 + 1.0);
        assert_eq!(
            state_after[state::LOSS_SCALE],
            if dynamic { 2048.0 / 2f32.powi(i as i32 + 1) } else { 1024.0 }
        );
        assert!(!state_after[state::GRAD_NORM].is_finite());
    }
    let (state_after, after) = update(1.0);
    assert!(after != grown && state_after[state::SKIPPED] == 3.0, "and it goes on");
}
