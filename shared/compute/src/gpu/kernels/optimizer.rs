//! An update of all weights: by one elementwise rule, or with the matrices by Muon.
use super::muon::MuonViews;
use crate::gpu::dispatch::{Params, params, striding, word};
use crate::gpu::engine::Gpu;
use crate::gpu::table;
use crate::kernels::{F32View, HalfView};
use crate::optimizer::{Optimizer, OptimizerKind, Update};

params! {
    OptimizerParams { len: u32, decay_len: u32, learning_rate: f32, beta1: f32, beta2: f32, eps: f32, weight_decay: f32 }
}

/// What an update reads and writes.
#[derive(Clone, Copy)]
pub(super) struct Operands<'a> {
    pub(super) state: F32View,
    pub(super) weights: F32View,
    /// The same buffer as the weights where the engine stores f32.
    pub(super) weights_half: HalfView,
    pub(super) gradients: F32View,
    pub(super) slots: &'a [F32View],
}

impl Gpu {
    /// One update by the rule of the optimizer.
    pub(super) fn update_weights(&mut self, update: &Update, operands: Operands) {
        let Operands { state, weights, weights_half, gradients, slots } = operands;
        let (kind, matrices) = (update.optimizer.kind, update.decay_len);
        let (OptimizerKind::Muon, &[v, momentum]) = (kind, slots) else {
            return self.elementwise_update(kind, update, operands);
        };
        self.muon(
            update,
            MuonViews {
                state,
                gradients: gradients.slice(0, matrices),
                momentum: momentum.slice(0, matrices),
                weights: weights.slice(0, matrices),
                weights_half: weights_half.slice(0, matrices),
            },
        );
        let others = weights.len - matrices;
        let rest = |view: F32View| view.slice(matrices, others);
        let operands = Operands {
            state,
            weights: rest(weights),
            weights_half: weights_half.slice(matrices, others),
            gradients: rest(gradients),
            slots: &[momentum, v].map(rest),
        };
        let update = Update { decay_len: 0, ..*update };
        self.elementwise_update(OptimizerKind::AdamW, &update, operands);
    }

    /// A rule that updates each weight by its own gradient and slots.
    fn elementwise_update(&mut self, kind: OptimizerKind, update: &Update, on: Operands) {
        let Optimizer { beta1, beta2, eps, weight_decay, .. } = update.optimizer;
        let params = OptimizerParams {
            len: word(on.weights.len),
            decay_len: word(update.decay_len),
            learning_rate: update.learning_rate,
            beta1,
            beta2,
            eps,
            weight_decay,
        };
        let mut operands = vec![*on.state, *on.gradients, *on.weights];
        operands.extend(on.slots.iter().map(|&slot| *slot));
        let kernel = if *on.weights == *on.weights_half {
            kind.rule().name
        } else {
            operands.push(*on.weights_half);
            kind.rule().half_kernel
        };
        let kernel = table::named(kernel).expect("an optimizer's kernels are in the table");
        self.run(kernel, params, &operands, striding(on.weights.len), 0.0);
    }
}
