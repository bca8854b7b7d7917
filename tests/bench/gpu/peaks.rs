//! What the GPU reaches on the spot with nothing but a large product, and with nothing but memory.
use std::time::Instant;

use compute::gpu::{Adapter, Device, Options};
use compute::{EngineError, Gpu, Kernels, Precision, View};
use stage::Random;

use crate::figures::median;

/// A window takes about this long; the median of several counts.
const WINDOW_SECONDS: f64 = 0.2;
const WINDOWS: usize = 5;
/// No call may take longer.
const MOST_SECONDS: f64 = 1.0;

/// FLOP a second of an n-cubed product of values kept in f16 and summed in f32, by the kernel that the step uses. Also n: less
/// than asked for where one product would take seconds.
pub(crate) fn product(adapter: &Adapter, largest: usize) -> Result<(usize, f64), String> {
    let mut kernels = open(adapter, Precision::F16)?;
    let mut seconds_of = |n: usize, windows: usize| {
        let [a, b, c] =
            ["left", "right", "product"].map(|name| kernels.allocate_stored(name, n * n));
        fill(kernels.as_mut(), &[*a, *b]);
        seconds_each(kernels.as_mut(), *c.slice(0, 8), windows, |k| k.matmul_nt(n, n, n, a, b, c))
    };
    let mut n = largest;
    let mut expected = seconds_of(n / 8, 1)? * 512.0;
    while expected > MOST_SECONDS && n > largest / 8 {
        (n, expected) = (n / 2, expected / 8.0);
    }
    let seconds = seconds_of(n, WINDOWS)?;
    Ok((n, 2.0 * (n * n * n) as f64 / seconds))
}

/// Bytes a second of a large `z = x + y` in f32: two reads and a write of each value.
pub(crate) fn memory(adapter: &Adapter, values: usize) -> Result<f64, String> {
    let mut kernels = open(adapter, Precision::F32)?;
    let [x, z] = ["x", "z"].map(|name| kernels.allocate(name, values));
    let y = kernels.allocate_stored("y", values);
    fill(kernels.as_mut(), &[*x, *y]);
    let seconds =
        seconds_each(kernels.as_mut(), *z.slice(0, 8), WINDOWS, |k| k.residual_forward(x, y, z))?;
    Ok(3.0 * 4.0 * values as f64 / seconds)
}

fn open(adapter: &Adapter, precision: Precision) -> Result<Box<dyn Kernels>, String> {
    let device = Device::open(adapter.clone(), Options::default()).map_err(line)?;
    Gpu::open(&device, precision, 40).map_err(line)
}

fn line(error: EngineError) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

/// No zeros: a product of these can be faster than one of values.
fn fill(kernels: &mut dyn Kernels, views: &[View]) {
    for (number, &view) in views.iter().enumerate() {
        let mut random = Random::new(number as u64, "bench-gpu", view.len as u64);
        let some: Vec<f32> =
            (0..1 << 16).map(|_| random.below(4096) as f32 / 2048.0 - 1.0).collect();
        let values: Vec<f32> = some.iter().copied().cycle().take(view.len).collect();
        kernels.upload(view, &values);
    }
}

/// Seconds of one call: the median over windows, each ended by reading some of the result.
fn seconds_each(
    kernels: &mut dyn Kernels,
    last: View,
    windows: usize,
    call: impl Fn(&mut dyn Kernels),
) -> Result<f64, String> {
    kernels.allocated().map_err(line)?;
    let mut window = |calls: usize| -> Result<f64, String> {
        let started = Instant::now();
        (0..calls).for_each(|_| call(kernels));
        let values = kernels.download(last).map_err(line)?;
        match values.iter().all(|value| value.is_finite()) {
            true => Ok(started.elapsed().as_secs_f64() / calls as f64),
            false => Err("the result is not finite".to_owned()),
        }
    };
    window(1)?; // compiles
    let calls = (WINDOW_SECONDS / window(2)?).ceil().clamp(1.0, 2000.0) as usize;
    let seconds = (0..windows).map(|_| window(calls)).collect::<Result<Vec<f64>, String>>()?;
    median(&seconds).ok_or_else(|| "no window".to_owned())
}
