//! The peak rates of the engine: a large matmul and a large copy, measured here.
use std::time::Instant;

use inference::{Engine, failed};
use stage::Result;

/// A measurement takes at least this long, and a single matmul not much longer.
const SECONDS: f64 = 0.03;

/// FLOP/s of a large matmul in the engine's activation precision.
pub(crate) fn measure(engine: &Engine) -> Result<f64> {
    let mut kernels = engine.kernels()?;
    const LARGEST: usize = 4096;
    let mut n = 512;
    loop {
        let [a, b, c] = [(); 3].map(|()| kernels.allocate_stored("peak", n * n));
        let last = kernels.allocate("peak last", 1);
        if kernels.allocated().is_err() {
            return Err(stage::Failure::try_again("no memory for measuring the peak"));
        }
        let mut timed = |matmuls: usize| -> Result<f64> {
            let started = Instant::now();
            (0..matmuls).for_each(|_| kernels.matmul_nt(n, n, n, a, b, c));
            kernels.fill(last, 0.0);
            kernels.download(*last).map_err(failed)?;
            Ok(started.elapsed().as_secs_f64())
        };
        timed(1)?; // compiles, and fills caches
        let once = timed(1)?;
        if once * 8.0 < SECONDS && n < LARGEST {
            n *= 2;
            kernels = engine.kernels()?;
            continue;
        }
        let matmuls = (SECONDS / once).ceil().clamp(1.0, 64.0) as usize;
        let seconds = timed(matmuls)?;
        return Ok((matmuls * 2 * n * n * n) as f64 / seconds);
    }
}

/// What a kernel is measured against.
#[derive(Clone, Copy, Debug)]
pub struct Peaks {
    /// FLOP/s of a large matmul.
    pub flop: f64,
    /// Bytes per second, read and written, of a large copy.
    pub bytes: f64,
}

impl Peaks {
    pub(crate) fn measure(engine: &Engine) -> Result<Self> {
        Ok(Peaks { flop: measure(engine)?, bytes: copy(engine)? })
    }
}

/// Bytes per second of `out = x + branch`, the pass over memory that the step itself makes.
fn copy(engine: &Engine) -> Result<f64> {
    let mut kernels = engine.kernels()?;
    let mut len = 1 << 20;
    loop {
        let (x, out, branch) = (
            kernels.allocate("copy", len),
            kernels.allocate("copy", len),
            kernels.allocate_stored("copy", len),
        );
        if kernels.allocated().is_err() {
            return Err(stage::Failure::try_again("no memory for measuring the peak"));
        }
        let mut timed = |passes: usize| -> Result<f64> {
            let started = Instant::now();
            (0..passes).for_each(|_| kernels.residual_forward(x, branch, out));
            kernels.download(*out.slice(0, 1)).map_err(failed)?;
            Ok(started.elapsed().as_secs_f64())
        };
        timed(1)?;
        let once = timed(1)?;
        // Far larger than any cache.
        if once * 8.0 < SECONDS && len < 1 << 24 {
            len *= 4;
            kernels = engine.kernels()?;
            continue;
        }
        let passes = (SECONDS / once).ceil().clamp(1.0, 256.0) as usize;
        let seconds = timed(passes)?;
        return Ok((passes * len * (8 + engine.precision().bytes())) as f64 / seconds);
    }
}
