//! How fast this machine trains a model: measured for a second, before anybody waits for it.
use std::time::{Duration, Instant};

use compute::{EngineError, Optimizer, Trainer};
use inference::{Engine, EngineOptions, failed};
use model::{Config, TensorTable, initial_weights};
use serde::Serialize;
use stage::{Result, Stage};

use crate::optimizer;

/// Steps are timed until they have taken this long; the first one, which warms up, does not count.
const ENOUGH: Duration = Duration::from_secs(1);
/// Tokens of a timed step on the CPU: a whole batch would take many seconds.
const TOKENS_ON_CPU: usize = 1024;

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Speed {
    /// The device's name.
    pub device: String,
    /// Of activations: f32, f16 or bf16.
    pub precision: String,
    /// Weights of the model.
    pub parameters: u64,
    /// Of whole training steps.
    pub tokens_per_second: f64,
}

/// Times steps of the pipeline's model, with the vocabulary that its tokenizer is to have. Reads and writes no file.
///
/// # Errors
/// Exit code 2 for a device that is not there, 4 where the memory does not suffice.
pub fn speed(stage: &Stage) -> Result<Speed> {
    let t = &stage.pipeline.train;
    let config = Config::new(&stage.pipeline.model, stage.pipeline.tokenizer.vocab_size as usize);
    let engine = Engine::open(
        &EngineOptions {
            section: "train",
            device: &t.device,
            precision: &t.precision,
            shaders: None,
            profile: false,
            head_width: config.head_width(),
        },
        &stage.log,
    )?;
    let optimizer = optimizer::optimizer(&t.optimizer)?;
    let tokens_per_second = tokens_per_second(&engine, config, optimizer, t.batch)?;
    Ok(Speed {
        device: engine.kernels()?.device(),
        precision: engine.precision().name().to_owned(),
        parameters: TensorTable::new(&config).len as u64,
        tokens_per_second,
    })
}

/// Times steps on made-up tokens, on a trainer of their own: nothing of them is left.
pub(crate) fn tokens_per_second(
    engine: &Engine,
    config: Config,
    optimizer: Optimizer,
    batch: u32,
) -> Result<f64> {
    let table = TensorTable::new(&config);
    crate::open_trainer::check_weights(&config)?;
    let most = if engine.is_gpu() { usize::MAX } else { TOKENS_ON_CPU.div_ceil(config.context) };
    let batch = (batch as usize).min(most);
    let weights = initial_weights(&table, 1);
    let trainer =
        Trainer::new(engine.kernels()?, config, optimizer, &weights, batch, config.context);
    let mut trainer = trainer.map_err(failed)?;
    let tokens = batch * (config.context + 1);
    let windows: Vec<u32> = (0..tokens).map(|i| (i * 7919 % config.vocab_size) as u32).collect();
    let mut step = || -> Result<(), EngineError> {
        let scale = 1.0 / (batch * config.context) as f32;
        trainer.begin();
        trainer.accumulate(&windows, scale);
        let ticket = trainer.update(0.0, 1.0);
        trainer.metrics(ticket, scale, true).map(drop)
    };
    let warm_up = Instant::now();
    step().map_err(failed)?;
    let (mut seconds, mut steps) = (warm_up.elapsed().as_secs_f64(), 1);
    if seconds < 10.0 * ENOUGH.as_secs_f64() {
        let started = Instant::now();
        steps = 0;
        while steps == 0 || started.elapsed() < ENOUGH {
            stage::interrupt::check("nothing was written")?;
            step().map_err(failed)?;
            steps += 1;
        }
        seconds = started.elapsed().as_secs_f64();
    }
    Ok((steps * batch * config.context) as f64 / seconds)
}
