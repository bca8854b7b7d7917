//! A small product of each form with asymmetric data, on the very pipelines that will be used: a driver that gets it wrong is
//! told so before a run of hours.
use stage::{Action, Problem};

use crate::error::{CPU, EngineError, LIST_DEVICES};
use crate::kernels::{Kernels, Result};

/// m, n and k: not a multiple of any tile, and no two alike; in fours, for cooperative matrices, with slices enough for sums to live
/// across a loop.
const SIZES: [[usize; 3]; 2] = [[70, 45, 37], [148, 76, 204]];

/// Integers from -3 to 3: exact in every precision, as are their sums of 204 products, up to 1,836.
fn values(len: usize, seed: u32) -> Vec<f32> {
    (0..len as u32)
        .map(|i| {
            ((i.wrapping_mul(2_654_435_761).wrapping_add(seed.wrapping_mul(40_503)) >> 13) % 7)
                as f32
                - 3.0
        })
        .collect()
}

pub(super) fn probe(gpu: &mut dyn Kernels) -> Result<()> {
    SIZES.into_iter().try_for_each(|sizes| products(gpu, sizes))
}

fn products(gpu: &mut dyn Kernels, [m, n, k]: [usize; 3]) -> Result<()> {
    let (a, b) = (values(m * k, 1), values(n * k, 2));
    let mut put = |values: &[f32]| {
        let view = gpu.allocate_stored("probe", values.len());
        gpu.upload(*view, values);
        view
    };
    // a [m, k] and b [n, k] serve all forms: transposed they are the other operands.
    let transposed = |rows: usize, columns: usize, x: &[f32]| -> Vec<f32> {
        (0..rows * columns).map(|i| x[i % rows * columns + i / rows]).collect()
    };
    let (va, vb, va_t, vb_t) =
        (put(&a), put(&b), put(&transposed(m, k, &a)), put(&transposed(n, k, &b)));
    let (nt, nn, tn) = (
        gpu.allocate_stored("probe", m * n),
        gpu.allocate_stored("probe", m * n),
        gpu.allocate("probe", m * n),
    );
    gpu.matmul_nt(m, n, k, va, vb, nt);
    gpu.matmul_nn(m, n, k, va, vb_t, nn);
    gpu.matmul_tn(m, n, k, va_t, vb_t, tn);
    gpu.allocated()?;
    let expected: Vec<f32> =
        (0..m * n).map(|i| (0..k).map(|l| a[i / n * k + l] * b[i % n * k + l]).sum()).collect();
    for (kernel, out) in [("matmul_nt", *nt), ("matmul_nn", *nn), ("matmul_tn", *tn)] {
        let found = gpu.download(out)?;
        // Beyond 256, bf16 keeps even numbers only, beyond 512 multiples of four, ...
        let wrong = (0..m * n)
            .find(|&i| (found[i] - expected[i]).abs() > 2.0 * (expected[i].abs() / 256.0).floor());
        if let Some(i) = wrong {
            return Err(EngineError::Probe(Problem::new(format_args!("its {kernel} in {} gives {} for {} at row {}, column {} of a small product", gpu.precision(), found[i], expected[i], i / n, i % n)).at(gpu.device()).expected("the exact integer").remedy(format_args!("update the driver; until then another precision ({}), another GPU ({LIST_DEVICES}) or {CPU}", Action::Option("precision", "f32"))).into()));
        }
    }
    Ok(())
}
