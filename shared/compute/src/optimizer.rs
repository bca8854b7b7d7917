//! The optimizers: what each keeps beside the weights, its constants, and the kernels of its update.
//!
//! To add one: its kind and its rule here, its twin and its formula in `cpu/optimizer.rs`, its shader, and the shader's row
//! in the kernel table. Settings, steps, checkpoints and resuming follow from the rule.
/// Which rule updates the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptimizerKind {
    /// Loshchilov and Hutter, arXiv 1711.05101
    AdamW,
}

/// What a kind is made of.
#[derive(Debug)]
pub struct Rule {
    /// In `train.optimizer.kind`; also that of the kernel.
    pub name: &'static str,
    /// The kernel that writes the half copy of the weights, too.
    pub half_kernel: &'static str,
    /// What it keeps beside the weights: f32 buffers in their layout, by the names they have in checkpoints, sorted.
    pub slots: &'static [&'static str],
    /// Where the settings give none.
    pub betas: [f64; 2],
    /// Added to the divisor, where the settings give none.
    pub eps: f64,
}

const ADAMW: Rule = Rule {
    name: "adamw",
    half_kernel: "adamw_half",
    slots: &["adam_m", "adam_v"],
    betas: [0.9, 0.95],
    eps: 1e-8,
};

impl OptimizerKind {
    /// Every kind there is.
    pub const ALL: &[OptimizerKind] = &[OptimizerKind::AdamW];

    /// What it is made of.
    pub fn rule(self) -> &'static Rule {
        match self {
            OptimizerKind::AdamW => &ADAMW,
        }
    }
}

impl std::str::FromStr for OptimizerKind {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        let found = Self::ALL.iter().copied().find(|kind| kind.rule().name == name);
        found.ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|kind| kind.rule().name).collect();
            format!("{name:?}: expected {}", names.join(" or "))
        })
    }
}

/// A kind with its constants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Optimizer {
    /// The rule.
    pub kind: OptimizerKind,
    /// Decay of the running mean of the gradient.
    pub beta1: f32,
    /// Decay of the running mean of its square.
    pub beta2: f32,
    /// Added to the divisor.
    pub eps: f32,
    /// On matrices only.
    pub weight_decay: f32,
}

impl Optimizer {
    /// With the rule's own constants, and no weight decay.
    pub fn new(kind: OptimizerKind) -> Self {
        let Rule { betas: [beta1, beta2], eps, .. } = *kind.rule();
        Optimizer {
            kind,
            beta1: beta1 as f32,
            beta2: beta2 as f32,
            eps: eps as f32,
            weight_decay: 0.0,
        }
    }
}

impl Default for Optimizer {
    /// AdamW with the weight decay of the house's model.
    fn default() -> Self {
        Optimizer { weight_decay: 0.1, ..Optimizer::new(OptimizerKind::AdamW) }
    }
}

/// One update.
#[derive(Clone, Copy, Debug)]
pub struct Update {
    /// The rule and its constants.
    pub optimizer: Optimizer,
    /// That of the step.
    pub learning_rate: f32,
    /// The first `decay_len` weights decay.
    pub decay_len: usize,
    /// Largest norm of the gradient; a larger one is scaled down to it.
    pub clip: f32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_have_sorted_slots_and_their_names_are_found() {
        for &kind in OptimizerKind::ALL {
            let Rule { name, slots, .. } = kind.rule();
            assert!(slots.is_sorted(), "{name}: checkpoints keep slots by name");
            assert_eq!(name.parse(), Ok(kind));
        }
        let error = "adam".parse::<OptimizerKind>().unwrap_err();
        assert_eq!(error, "\"adam\": expected adamw");
    }

    /// The constants of 0.1 were written as f32.
    #[test]
    fn the_constants_of_adamw_are_what_they_were() {
        let Optimizer { beta1, beta2, eps, .. } = Optimizer::new(OptimizerKind::AdamW);
        assert_eq!((beta1, beta2, eps), (0.9f32, 0.95f32, 1e-8f32));
    }
}
