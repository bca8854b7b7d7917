//! The trainer, or what to do where it does not fit into the device's memory.
use compute::{EngineError, Trainer};
use inference::failed;
use model::Config;
use stage::{Action, Failure, Result, memory};

use crate::setup::Setup;

/// The trainer, or what to do where it does not fit into the device's memory.
pub(crate) fn open_trainer(setup: &Setup, weights: &[f32]) -> Result<Trainer> {
    let t = &setup.pipeline.train;
    let with = |batch: u32| {
        let kernels = setup.engine.kernels().map_err(Err)?;
        Trainer::new(
            kernels,
            setup.config,
            setup.optimizer,
            weights,
            batch as usize,
            setup.config.context,
        )
        .map_err(Ok)
    };
    let error = match with(t.batch) {
        Ok(trainer) => return Ok(trainer),
        Err(Err(failure)) => return Err(failure),
        Err(Ok(error)) => error,
    };
    let EngineError::OutOfMemory { problem, needed, available } = &error else {
        return Err(failed(error));
    };
    // Memory is a part that stays and a part per sequence: two sizes tell both.
    let one = match with(1) {
        Ok(trainer) => trainer.model.kernels.bytes(),
        Err(Ok(EngineError::OutOfMemory { needed, .. })) => needed,
        Err(Ok(error)) => return Err(failed(error)),
        Err(Err(failure)) => return Err(failure),
    };
    let per_sequence = needed.saturating_sub(one) as f64 / f64::from(t.batch.max(2) - 1);
    let fits = ((available.saturating_sub(one)) as f64 / per_sequence.max(1.0)) as u32 + 1;
    let remedy = if *available < one {
        format!(
            "a smaller model or model.context, a precision of two bytes, or {}",
            Action::Option("device", "cpu")
        )
    } else {
        // The largest part of the batch that fits; what is left goes into accumulation.
        let batch =
            (1..=fits.min(t.batch)).rev().find(|batch| t.batch.is_multiple_of(*batch)).unwrap_or(1);
        format!(
            "train.batch={batch} train.accumulate={} does the same step in parts",
            t.accumulate * (t.batch / batch)
        )
    };
    Err(Failure::try_again(format_args!("the memory does not suffice: {}", problem.headline()))
        .note(
            "needed",
            format_args!(
                "{} MiB for train.batch = {} of {} tokens ({} MiB, and {:.1} MiB per sequence)",
                needed >> 20,
                t.batch,
                setup.config.context,
                one >> 20,
                per_sequence / (1 << 20) as f64
            ),
        )
        .note(
            "fits",
            if *available < one {
                "not even a batch of 1".to_owned()
            } else {
                format!("a batch of {}", fits.min(t.batch))
            },
        )
        .remedy(remedy))
}

/// Refuses weights for which there is no memory. Gives what is left beside them.
pub(crate) fn check_weights(config: &Config) -> Result<u64> {
    let available = memory::available();
    let parameters = config.parameters().unwrap_or(u64::MAX);
    let weights = parameters.saturating_mul(4);
    if weights <= available {
        return Ok(available - weights);
    }
    let count = match parameters {
        u64::MAX => "more parameters than can be counted".to_owned(),
        _ => format!("{parameters} parameters, which are {}", memory::mib(weights)),
    };
    Err(Failure::try_again(format_args!("model.d_model = {}, model.d_mlp = {}, model.n_layer = {} make {count}; {} of memory can be had", config.d_model, config.d_mlp, config.n_layer, memory::mib(available))).remedy("a smaller model, or a machine with more memory"))
}

/// Refuses what is taken before the engine says what it needs: the weights, and the ids of a batch.
pub(crate) fn check_memory(setup: &Setup) -> Result<()> {
    let (t, config) = (&setup.pipeline.train, &setup.config);
    let left = check_weights(config)?;
    // Windows as they are drawn, and as inputs and targets.
    let sequence = 4 * 3 * (config.context as u64 + 1);
    if sequence.saturating_mul(u64::from(t.batch)) <= left {
        return Ok(());
    }
    Err(Failure::try_again(format_args!(
        "the tokens of a batch alone need {}; {} of memory can be had",
        memory::mib(sequence.saturating_mul(u64::from(t.batch))),
        memory::mib(left)
    ))
    .at(format_args!("train.batch = {}", t.batch))
    .note("fits", format_args!("a batch of {}", (left / sequence).max(1)))
    .remedy("a smaller train.batch; train.accumulate does the same step in parts"))
}
