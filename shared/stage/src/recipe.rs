//! How a model is trained: the choices in `[train]`, and checks of their numbers that types cannot express.
use serde::{Deserialize, Serialize};

/// How the learning rate moves after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LrSchedule {
    /// Half a period of a cosine (Loshchilov and Hutter, arXiv 1608.03983)
    Cosine,
    /// A straight line.
    Linear,
    /// Warm-up, stable, decay: constant, then a straight line (Hu et al., arXiv 2404.06395)
    Wsd,
}

/// Which windows of train.bin make a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sampling {
    /// Anywhere, each with the same chance.
    Random,
    /// Each once per epoch, in an order that changes with the epoch.
    Epochs,
}

/// Where windows begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Align {
    /// Anywhere.
    None,
    /// With a story, where one begins within a context.
    Stories,
}

/// Refuses a fraction outside 0 to 1.
///
/// # Errors
/// Names the key.
pub(crate) fn check_share(key: &str, share: f64) -> Result<(), String> {
    match (0.0..=1.0).contains(&share) {
        true => Ok(()),
        false => Err(format!("{key} = {share}: expected a share from 0 to 1")),
    }
}
