//! What the engine could do at best: the rate of a large product, measured on the spot.
use std::time::Instant;

use stage::Result;

use crate::engine::{Engine, failed};

/// A measurement takes at least this long, and one product of it not much longer.
const SECONDS: f64 = 0.03;

/// Multiplications and additions per second of a large product in the engine's storage precision.
pub fn measure(engine: &Engine) -> Result<f64> {
    let mut kernels = engine.kernels()?;
    const LARGEST: usize = 4096;
    let mut n = 512;
    loop {
        let [a, b, c] = [(); 3].map(|()| kernels.allocate_stored("peak", n * n));
        let last = kernels.allocate("peak last", 1);
        if kernels.allocated().is_err() {
            return Err(stage::Failure::try_again("no memory for measuring the peak"));
        }
        let mut timed = |products: usize| -> Result<f64> {
            let started = Instant::now();
            (0..products).for_each(|_| kernels.matmul_nt(n, n, n, a, b, c));
            kernels.fill(last, 0.0);
            kernels.download(last).map_err(failed)?;
            Ok(started.elapsed().as_secs_f64())
        };
        timed(1)?; // compiles, and fills caches
        let once = timed(1)?;
        if once * 8.0 < SECONDS && n < LARGEST {
            n *= 2;
            kernels = engine.kernels()?;
            continue;
        }
        let products = (SECONDS / once).ceil().clamp(1.0, 64.0) as usize;
        let seconds = timed(products)?;
        return Ok((products * 2 * n * n * n) as f64 / seconds);
    }
}
