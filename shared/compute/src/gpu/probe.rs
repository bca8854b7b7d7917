//! A small input of each method with asymmetric data, on the very pipelines that will be used, compared with the CPU engine: a driver
//! that gets it wrong is found out before a run of hours.
//!
//! Matmuls are of integers, so that sums are exact: no two rows or columns are alike, every subgroup of a workgroup has other data, and
//! k is long enough for accumulators to live across many turns of the loop (on NVIDIA's Blackwell a driver doubled some of them:
//! kvark/meganeura, docs).
use stage::Problem;

use super::engine::Gpu;
use super::table::Kernel;
use crate::EngineError;
use crate::cpu::Cpu;
use crate::kernels::{AttentionShape, F32View, HalfView, Kernels, Memory, Precision, Result, View};

/// Contraction: 65 turns of a loop over 16, and no multiple of one.
const LONG: usize = 1044;
/// Rows of a matmul over rows: split into parts, and not.
const ROWS: [usize; 2] = [1044, 212];

/// Integers from -3 to 3, others for another seed.
fn integers(len: usize, seed: u32) -> Vec<f32> {
    let hash = |i: u32| i.wrapping_mul(2_654_435_761).wrapping_add(seed.wrapping_mul(40_503)) >> 13;
    (0..len as u32).map(|i| (hash(i) % 7) as f32 - 3.0).collect()
}

/// The same times a power of two.
fn fractions(len: usize, seed: u32, unit: f32) -> Vec<f32> {
    integers(len, seed).iter().map(|value| value * unit).collect()
}

/// Operands on an engine.
struct Operands<'a>(&'a mut dyn Kernels);

impl Operands<'_> {
    fn stored(&mut self, values: &[f32]) -> HalfView {
        let view = self.0.allocate_stored("probe", values.len());
        self.0.upload(*view, values);
        view
    }

    fn f32(&mut self, values: &[f32]) -> F32View {
        let view = self.0.allocate("probe", values.len());
        self.0.upload(*view, values);
        view
    }

    fn out(&mut self, len: usize) -> HalfView {
        self.0.allocate_stored("probe", len)
    }
}

type Outputs = Vec<(&'static str, View)>;

/// A method on an engine: the views of its outputs. Matmuls have more rows and columns than a block tile.
fn run(k: &mut dyn Kernels, method: &str, tile: [usize; 2], head_width: usize) -> Outputs {
    let [m, n] = [tile[0] + 20, tile[1] + 12];
    match method {
        "matmul_nt" | "matmul_nn" => matmul(k, method, m, n),
        "matmul_tn" => matmul_tn(k, m, n),
        "matmul_nt_rope" => rope(k, m, n, head_width),
        "matmul_nt_residual" | "matmul_nt_swiglu" | "matmul_nn_swiglu" => fused(k, method, m, n),
        "round" => round(k),
        method => attention(k, method, tile[0], head_width),
    }
}

fn round(k: &mut dyn Kernels) -> Outputs {
    let x = Operands(k).f32(&[70_000.0, -70_000.0, 65_504.0, 1.0 / 3.0]);
    let half = k.half_copy("probe", x);
    k.round(x, half);
    vec![("half", *half)]
}

fn matmul(k: &mut dyn Kernels, method: &str, m: usize, n: usize) -> Outputs {
    let mut on = Operands(k);
    let (a, b) = (on.stored(&integers(m * LONG, 1)), on.stored(&integers(n * LONG, 2)));
    // Beyond 65,504: infinity in f16, by which the loss scale knows an overflow.
    let large = [256.0; 64];
    let (large_a, large_b) = (on.stored(&large), on.stored(&large));
    let (c, large_c) = (on.out(m * n), on.out(256));
    if method == "matmul_nt" {
        k.matmul_nt(m, n, LONG, a, b, c);
        k.matmul_nt(16, 16, 4, large_a, large_b, large_c);
    } else {
        k.matmul_nn(m, n, LONG, a, b, c);
        k.matmul_nn(16, 16, 4, large_a, large_b, large_c);
    }
    vec![("c", *c), ("overflow", *large_c)]
}

fn matmul_tn(k: &mut dyn Kernels, m: usize, n: usize) -> Outputs {
    ROWS.map(|rows| {
        let mut on = Operands(k);
        let (a, b) = (on.stored(&integers(rows * m, 1)), on.stored(&integers(rows * n, 2)));
        let c = on.f32(&integers(m * n, 3));
        k.matmul_tn(m, n, rows, a, b, c);
        ("c", *c)
    })
    .into()
}

fn rope(k: &mut dyn Kernels, m: usize, n: usize, width: usize) -> Outputs {
    let heads = n.div_ceil(3 * width);
    let shape = AttentionShape { batch: 1, sequence: m, heads, kv_heads: heads, width };
    let n = shape.qkv_columns();
    let mut on = Operands(k);
    let a = on.stored(&integers(m * LONG, 1));
    let b = on.stored(&fractions(n * LONG, 2, 1.0 / 64.0));
    let table = on.f32(&fractions(7 * width, 3, 0.25));
    let qkv = on.out(m * n);
    let positions = k.allocate_tokens("probe", m);
    k.upload_tokens(positions, &(0..m as u32).map(|row| row % 7).collect::<Vec<u32>>());
    k.matmul_nt_rope(shape, LONG, a, b, positions, table, qkv);
    vec![("qkv", *qkv)]
}

fn fused(k: &mut dyn Kernels, method: &str, m: usize, n: usize) -> Outputs {
    let mut on = Operands(k);
    let a = on.stored(&integers(m * LONG, 1));
    let b = on.stored(&fractions(2 * n * LONG, 2, 1.0 / 64.0));
    let (x, wide) = (on.f32(&integers(m * n, 3)), on.stored(&integers(m * 2 * n, 3)));
    let (half, wide_out) = (on.out(m * n), on.out(m * 2 * n));
    let first = b.slice(0, n * LONG);
    match method {
        "matmul_nt_residual" => {
            let out = on.f32(&vec![0.0; m * n]);
            k.matmul_nt_residual(m, n, LONG, a, first, x, half, out);
            vec![("out", *out)]
        }
        "matmul_nt_swiglu" => {
            k.matmul_nt_swiglu(m, n, LONG, a, b, wide_out, half);
            vec![("gate_up", *wide_out), ("out", *half)]
        }
        _ => {
            k.matmul_nn_swiglu(m, n, LONG, a, first, wide, half, wide_out);
            vec![("dgate_up", *wide_out)]
        }
    }
}

/// Two sequences that are longer than what a workgroup owns and no multiple of it, and heads in groups.
fn attention(k: &mut dyn Kernels, method: &str, own: usize, width: usize) -> Outputs {
    let shape = AttentionShape { batch: 2, sequence: 2 * own + 13, heads: 4, kv_heads: 2, width };
    let (rows, d, columns) = (shape.rows(), shape.query_columns(), shape.qkv_columns());
    let mut on = Operands(k);
    let (qkv, dout) =
        (on.stored(&fractions(rows * columns, 1, 0.5)), on.stored(&fractions(rows * d, 2, 0.5)));
    let (out, dqkv) = (on.out(rows * d), on.out(rows * columns));
    let lse = on.f32(&vec![0.0; rows * shape.heads]);
    k.attention_forward(shape, qkv, out, lse);
    if method == "attention_forward" {
        return vec![("out", *out), ("lse", *lse)];
    }
    k.attention_backward(shape, qkv, out, lse, dout, dqkv);
    vec![("dqkv", *dqkv)]
}

/// Relative and absolute difference that a method's outputs may have, the latter in units of their root mean square.
fn tolerance(method: &str, precision: Precision) -> f32 {
    match (method.starts_with("attention"), precision) {
        (false, Precision::F32) => 1e-5,
        (false, Precision::F16) => 1.0 / 1024.0,
        (false, Precision::Bf16) => 1.0 / 128.0,
        // The tests' own: weights of attention are rounded on the way, and small differences of large values remain.
        (true, Precision::F32) => 1e-4,
        (true, Precision::F16) => 2e-2,
        (true, Precision::Bf16) => 1e-1,
    }
}

/// The nearest value that is kept in this precision.
fn rounded(precision: Precision, value: f32) -> f32 {
    match precision {
        Precision::F32 => value,
        Precision::F16 => half::f16::from_f32(value).to_f32(),
        Precision::Bf16 => half::bf16::from_f32(value).to_f32(),
    }
}

/// Compares a method on the GPU with the CPU engine.
fn check(gpu: &mut Gpu, method: &str, tile: [usize; 2], head_width: usize) -> Result<()> {
    let mut cpu = Cpu::boxed();
    let expected = run(&mut *cpu, method, tile, head_width);
    let found = run(gpu, method, tile, head_width);
    gpu.allocated()?;
    let tolerance = tolerance(method, gpu.precision);
    for ((name, found), (_, expected)) in found.into_iter().zip(expected) {
        let (found, expected) = (gpu.download(found)?, cpu.download(expected)?);
        let squares: f32 = expected.iter().map(|value| value * value).sum();
        let rms = (squares / expected.len() as f32).sqrt();
        let right = |i: usize| {
            let stored = rounded(gpu.precision, expected[i]);
            found[i] == stored
                || (found[i] - expected[i]).abs() <= tolerance * (expected[i].abs() + rms)
        };
        if let Some(i) = (0..found.len()).find(|&i| !right(i)) {
            let what = format!(
                "{method} gives {} in place of {} as element {i} of {name}",
                found[i], expected[i]
            );
            return Err(EngineError::Probe(Problem::new(what).into()));
        }
    }
    Ok(())
}

/// A kernel on cooperative matrices, the only one in this engine, with block tiles of this size (of attention, rows that a workgroup owns).
pub(super) fn coop(gpu: &mut Gpu, kernel: &Kernel, tile: [u32; 2]) -> Result<()> {
    let head_width = if kernel.heads { gpu.head_width } else { 8 };
    check(gpu, kernel.method, tile.map(|side| side as usize), head_width as usize)
}

/// The scalar kernels that all others are measured against.
pub(super) fn scalar(gpu: &mut Gpu, head_width: u32) -> Result<()> {
    let methods =
        ["round", "matmul_nt", "matmul_nn", "matmul_tn", "attention_forward", "attention_backward"];
    methods.iter().try_for_each(|method| check(gpu, method, [64, 64], head_width as usize))
}
