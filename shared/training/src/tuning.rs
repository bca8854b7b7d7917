//! `--tune`: finds the fastest tiles for the matmuls of this model on this GPU.
//!
//! Each tile that the device supports runs all matmuls of a few real training steps, timed kernel by kernel; each matmul keeps its
//! fastest tile. A tile that fails its probe is never used.
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use compute::gpu::table::{self, Kernel};
use compute::gpu::{Device, Options};
use compute::{EngineError, Gpu, KernelTime, Optimizer, Precision, Trainer};
use inference::{Engine, failed};
use model::Config;
use stage::{Action, Failure, Log, Result, interrupt};

/// Tiles that are not tried by then are left out.
const MOST: Duration = Duration::from_secs(120);
/// Steps that compile and warm up, and steps that are timed.
const WARM: usize = 2;
const TIMED: usize = 5;

/// Sizes of the step that is tuned for.
pub(crate) struct Tuned<'a> {
    pub config: Config,
    pub weights: &'a [f32],
    pub batch: usize,
    /// [batch, context + 1] tokens
    pub windows: Vec<u32>,
}

/// Times the tiles, switches to the best, and saves them for later runs.
pub(crate) fn tune(engine: &Engine, tuned: &Tuned, log: &Log) -> Result<()> {
    let Engine::Gpu { device, precision: precision @ Precision::F16, head_width } = engine else {
        return Err(Failure::usage("only cooperative matrices have tiles to choose from")
            .at(Action::Switch("tune"))
            .expected(format_args!("a GPU, and {}", Action::Option("precision", "f16"))));
    };
    let Some(plan) = device.shipped_plan() else {
        log.say(format!(
            "tune: {} has no cooperative matrices: nothing to choose",
            device.adapter.name()
        ));
        return Ok(());
    };
    let options = Options { profile: true, ..device.options.clone() };
    let timing = Device::open(device.adapter.clone(), options).map_err(failed)?;
    let started = Instant::now();
    let candidates = plan.candidates();
    // For a kernel and a shape the fastest tile so far, and its seconds.
    let mut best: BTreeMap<(String, [usize; 3]), (compute::wgsl::Tiles, f64)> = BTreeMap::new();
    let progress = log.progress("tune", stage::Unit::Steps, Some(candidates.len() as u64));
    let mut tried = Vec::new();
    for tiles in &candidates {
        interrupt::check("nothing is changed; run the same command again")?;
        if started.elapsed() > MOST {
            log.warn(format!(
                "tune: {} of {} tiles tried in two minutes, the rest is left out",
                tried.len(),
                candidates.len()
            ));
            break;
        }
        tried.push(*tiles);
        timing.set_plan(Some(plan.only(*tiles)));
        let kernels = match Gpu::open(&timing, *precision, *head_width) {
            Ok(kernels) => kernels,
            Err(error @ EngineError::Probe(_)) => {
                log.warn(format!("tune: {tiles:?} is not used: {error}"));
                continue;
            }
            Err(error) => return Err(failed(error)),
        };
        for KernelTime { kernel, shape, calls, seconds, .. } in
            times(kernels, tuned).map_err(failed)?
        {
            let coop = table::named(&kernel).is_some_and(Kernel::on_coop);
            let (Some(shape), true) = (shape, coop) else { continue };
            let each = seconds / calls.max(1) as f64;
            let found = best.entry((kernel, shape)).or_insert((*tiles, each));
            if each < found.1 {
                *found = (*tiles, each);
            }
        }
        progress.add(1);
    }
    progress.finish();
    // A matmul whose default tile was not timed keeps it.
    let compared = best.into_iter().filter(|((kernel, shape), _)| {
        table::named(kernel).is_some_and(|kernel| {
            plan.tiles(kernel, *shape).is_some_and(|tiles| tried.contains(&tiles))
        })
    });
    let tuned = compared.map(|(of, (tiles, _))| (of, tiles)).collect();
    let mut chosen = plan.clone();
    chosen.tuned = tuned;
    match device.keep_plan(&chosen) {
        Ok(Some(path)) => {
            log.say(format!("tune: {} products, kept in {}", chosen.tuned.len(), path.display()))
        }
        Ok(None) => log.warn("tune: there is no folder to keep the choice in (BEDTIME_CACHE)"),
        Err(error) => log.warn(format!("tune: the choice cannot be kept: {error}")),
    }
    device.set_plan(Some(chosen));
    Ok(())
}

/// The kernel times of a few steps.
fn times(
    kernels: Box<dyn compute::Kernels>,
    tuned: &Tuned,
) -> compute::kernels::Result<Vec<KernelTime>> {
    let Tuned { config, weights, batch, windows } = tuned;
    let mut trainer =
        Trainer::new(kernels, *config, Optimizer::default(), weights, *batch, config.context)?;
    let scale = 1.0 / (batch * config.context) as f32;
    for step in 0..WARM + TIMED {
        if step == WARM {
            trainer.model.kernels.profile()?;
        }
        trainer.begin();
        trainer.accumulate(windows, scale);
        let ticket = trainer.update(0.0, 1.0);
        trainer.metrics(ticket, scale, true)?;
    }
    trainer.model.kernels.profile()
}
