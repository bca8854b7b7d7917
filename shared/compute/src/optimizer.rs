//! The optimizers: what each keeps beside the weights, its constants, and the kernels of its update.
//!
//! To add one: its kind and its rule here, its twin and its formula in `cpu/optimizer.rs`, its shader. The rows of the kernel
//! table, settings, steps, checkpoints and resuming follow from the rule.
use crate::matrices::MatrixGroup;

/// Which rule updates the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptimizerKind {
    /// Loshchilov and Hutter, arXiv 1711.05101
    AdamW,
    /// See [`Muon`]; AdamW for the embedding and the norms.
    Muon,
}

/// What a kind is made of.
#[derive(Debug)]
pub struct Rule {
    /// In `train.optimizer.kind`; also that of the kernel and of its file in `shaders/`.
    pub name: &'static str,
    /// The kernel that writes the half copy of the weights, too.
    pub half_kernel: &'static str,
    /// What it keeps beside the weights: f32 buffers in their layout, by the names they have in checkpoints, sorted.
    pub slots: &'static [&'static str],
    /// Where the settings give none.
    pub betas: [f64; 2],
    /// Added to the divisor, where the settings give none.
    pub eps: f64,
    /// Of the running mean of gradients that matrices go by; None where they go as all else.
    pub momentum: Option<f64>,
}

const ADAMW: Rule = Rule {
    name: "adamw",
    half_kernel: "adamw_half",
    slots: &["adam_m", "adam_v"],
    betas: [0.9, 0.95],
    eps: 1e-8,
    momentum: None,
};

/// `momentum` is the running mean of gradients of all weights, AdamW's first moment where they are no matrices; `adam_v` is 0 for
/// matrices.
const MUON: Rule = Rule {
    name: "muon",
    half_kernel: "muon_half",
    slots: &["adam_v", "momentum"],
    betas: [0.9, 0.95],
    eps: 1e-8,
    momentum: Some(0.95),
};

impl OptimizerKind {
    /// Every kind there is.
    pub const ALL: &[OptimizerKind] = &[OptimizerKind::AdamW, OptimizerKind::Muon];

    /// What it is made of.
    pub const fn rule(self) -> &'static Rule {
        match self {
            OptimizerKind::AdamW => &ADAMW,
            OptimizerKind::Muon => &MUON,
        }
    }
}

/// A name that no kind has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?}: expected {}", .known.join(" or "))]
pub struct UnknownOptimizer {
    /// The name that was asked for.
    pub found: String,
    /// The names that there are.
    pub known: Vec<&'static str>,
}

impl std::str::FromStr for OptimizerKind {
    type Err = UnknownOptimizer;

    fn from_str(name: &str) -> std::result::Result<Self, UnknownOptimizer> {
        let found = Self::ALL.iter().copied().find(|kind| kind.rule().name == name);
        found.ok_or_else(|| UnknownOptimizer {
            found: name.to_owned(),
            known: Self::ALL.iter().map(|kind| kind.rule().name).collect(),
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
    /// Of Muon.
    pub momentum: f32,
    /// Of Muon: weights decay only where the update makes them smaller, too (arXiv 2510.12402).
    pub cautious_decay: bool,
}

impl Optimizer {
    /// With the rule's own constants, and no weight decay.
    pub fn new(kind: OptimizerKind) -> Self {
        let Rule { betas: [beta1, beta2], eps, momentum, .. } = *kind.rule();
        Optimizer {
            kind,
            beta1: beta1 as f32,
            beta2: beta2 as f32,
            eps: eps as f32,
            weight_decay: 0.0,
            momentum: momentum.unwrap_or(0.0) as f32,
            cautious_decay: false,
        }
    }
}

impl Default for Optimizer {
    /// AdamW with the weight decay of the house's model.
    fn default() -> Self {
        Optimizer { weight_decay: 0.1, ..Optimizer::new(OptimizerKind::AdamW) }
    }
}

/// Muon (Jordan, 2024, kellerjordan.github.io/posts/muon): with M the running mean of a matrix's gradients G, Nesterov's
/// N = beta M + (1 - beta) G is made nearly orthogonal by Newton and Schulz's iteration from X = N / ||N||_F:
/// X = a X + (b X Xᵀ + c (X Xᵀ)²) X.
pub struct Muon;

impl Muon {
    /// Turns of the iteration.
    pub const STEPS: usize = 5;
    /// a, b and c
    pub const COEFFICIENTS: [f32; 3] = [3.4445, -4.7750, 2.0315];

    /// With it the update has the root mean square of AdamW's, so that its learning rate and decay hold (Liu et al., "Moonlight",
    /// arXiv 2502.16982).
    pub fn scale(rows: usize, columns: usize) -> f32 {
        0.2 * (rows.max(columns) as f32).sqrt()
    }

    /// Values of scratch for one matrix: x twice, x xᵀ and the polynomial of it.
    pub fn scratch(short: usize, long: usize) -> usize {
        2 * short * (short + long)
    }
}

/// One update.
#[derive(Clone, Copy, Debug)]
pub struct Update<'a> {
    /// The rule and its constants.
    pub optimizer: Optimizer,
    /// That of the step.
    pub learning_rate: f32,
    /// The first `decay_len` weights decay: those of the matrices.
    pub decay_len: usize,
    /// Largest norm of the gradient; a larger one is scaled down to it.
    pub clip: f32,
    /// What these weights are, for a rule that takes them as matrices.
    pub matrices: &'a [MatrixGroup],
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
        assert_eq!(error.to_string(), "\"adam\": expected adamw or muon");
    }

    /// The constants of 0.1 were written as f32.
    #[test]
    fn the_constants_of_adamw_are_what_they_were() {
        let Optimizer { beta1, beta2, eps, .. } = Optimizer::new(OptimizerKind::AdamW);
        assert_eq!((beta1, beta2, eps), (0.9f32, 0.95f32, 1e-8f32));
    }
}
