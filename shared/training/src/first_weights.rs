//! The weights before the first step.
use model::{TensorTable, initial_weights, zero_residual};

use crate::setup::Setup;

/// A pure function of the settings: those of `train.init_from`, or drawn by the seed.
pub(crate) fn first_weights(setup: &Setup) -> Vec<f32> {
    let (t, table) = (&setup.pipeline.train, TensorTable::new(&setup.config));
    if let Some(model) = &setup.initial {
        return model.weights.clone();
    }
    let mut weights = initial_weights(&table, t.seed);
    if t.zero_init_residual {
        zero_residual(&table, &mut weights);
    }
    weights
}
