//! The same kernels on the CPU engine and on the GPU, from the same values, compared.
use compute::{Cpu, F32View, Gpu, HalfView, Kernels, Precision, Tokens, View, ViewOf};
use stage::Random;

use crate::Bench;

/// Values around an output that nobody may write.
const GUARD: usize = 64;

/// An engine with operands put into it. Everything it is given is rounded to the precision compared in, so that both engines
/// start from the same values.
pub(crate) struct Lab {
    pub k: Box<dyn Kernels>,
    precision: Precision,
}

/// Named outputs of a kernel.
pub(crate) type Outputs = Vec<(String, Vec<f32>)>;

impl Lab {
    fn rounded(&self, values: &[f32]) -> Vec<f32> {
        values.iter().map(|&value| round(self.precision, value)).collect()
    }

    /// An f32 operand.
    pub(crate) fn put(&mut self, values: &[f32]) -> F32View {
        let view = self.out(values.len());
        self.k.upload(*view, values);
        view
    }

    /// An operand in the storage precision.
    pub(crate) fn put_stored(&mut self, values: &[f32]) -> HalfView {
        let (view, values) = (self.out_stored(values.len()), self.rounded(values));
        self.k.upload(*view, &values);
        view
    }

    pub(crate) fn ids(&mut self, ids: &[u32]) -> Tokens {
        let tokens = self.k.allocate_tokens("ids", ids.len());
        self.k.upload_tokens(tokens, ids);
        tokens
    }

    /// A place for `len` values, NaN there and around it.
    pub(crate) fn out(&mut self, len: usize) -> F32View {
        let all = self.k.allocate("test", len + 2 * GUARD);
        self.poison(all, len)
    }

    pub(crate) fn out_stored(&mut self, len: usize) -> HalfView {
        let all = self.k.allocate_stored("test", len + 2 * GUARD);
        self.poison(all, len)
    }

    /// A place for the rounded copy of an f32 operand, which is the operand itself where nothing is rounded.
    pub(crate) fn half_copy(&mut self, x: F32View) -> HalfView {
        match self.k.precision() {
            Precision::F32 => self.k.half_copy("test", x),
            _ => self.out_stored(x.len),
        }
    }

    fn poison<K>(&mut self, all: ViewOf<K>, len: usize) -> ViewOf<K> {
        self.k.upload(*all, &vec![f32::NAN; all.len]);
        all.slice(GUARD, len)
    }

    pub(crate) fn get(
        &mut self,
        name: impl Into<String>,
        view: impl Into<View>,
    ) -> (String, Vec<f32>) {
        let view = view.into();
        let name = name.into();
        for offset in [view.offset - GUARD, view.offset + view.len] {
            let guard = self.k.download(View { buffer: view.buffer, offset, len: GUARD }).unwrap();
            assert!(guard.iter().all(|v| v.is_nan()), "{name}: a kernel wrote beyond its output");
        }
        (name, self.k.download(view).unwrap())
    }
}

/// The nearest value that the precision has.
pub(crate) fn round(precision: Precision, value: f32) -> f32 {
    match precision {
        Precision::F32 => value,
        Precision::F16 => half::f16::from_f32(value).to_f32(),
        Precision::Bf16 => half::bf16::from_f32(value).to_f32(),
    }
}

/// Norm of the difference over norm of the reference, at most; and the same of a single element over the root mean square.
pub(crate) fn tolerance(precision: Precision) -> (f64, f64) {
    match precision {
        Precision::F32 => (1e-5, 1e-4),
        Precision::F16 => (2e-3, 2e-2),
        Precision::Bf16 => (1e-2, 1e-1),
    }
}

/// Runs `kernel` on both engines and compares its outputs.
#[track_caller]
pub(crate) fn compare(
    bench: &Bench,
    head_width: usize,
    what: &str,
    kernel: impl Fn(&mut Lab) -> Outputs,
) {
    let mut cpu = Lab { k: Cpu::boxed(), precision: bench.precision };
    let mut gpu = Lab {
        k: Gpu::open(&bench.device, bench.precision, head_width).unwrap(),
        precision: bench.precision,
    };
    for ((name, expected), (_, found)) in kernel(&mut cpu).into_iter().zip(kernel(&mut gpu)) {
        assert_close(bench.precision, &format!("{what}: {name}"), &found, &expected);
    }
}

#[track_caller]
pub(crate) fn assert_close(precision: Precision, what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    assert!(expected.iter().all(|v| v.is_finite()), "{what}: the reference is not finite");
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let difference = |i: usize| f64::from(found[i]) - f64::from(expected[i]);
    let reference = norm(&mut expected.iter().map(|&v| f64::from(v))).max(1e-6);
    let error = norm(&mut (0..found.len()).map(difference)) / reference;
    let rms = reference / (expected.len().max(1) as f64).sqrt();
    let (most, most_single) = tolerance(precision);
    let excess =
        |i: usize| difference(i).abs() / (most_single * (f64::from(expected[i]).abs() + rms));
    let worst = (0..found.len()).max_by(|&a, &b| excess(a).total_cmp(&excess(b))).unwrap_or(0);
    let words =
        || format!("worst at {worst} of {}: {} for {}", found.len(), found[worst], expected[worst]);
    assert!(found.iter().all(|v| v.is_finite()), "{what}: not finite, {}", words());
    assert!(error <= most, "{what}: {error:.2e} for {most:.0e}, {}", words());
    assert!(found.is_empty() || excess(worst) <= 1.0, "{what}: far out, {}", words());
}

/// N(0, 1) values, other ones for another seed.
pub(crate) fn normal(len: usize, seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed, "gpu", len as u64);
    (0..len.div_ceil(2))
        .flat_map(|_| <[f64; 2]>::from(random.normal_pair()))
        .take(len)
        .map(|v| v as f32)
        .collect()
}

pub(crate) fn tokens(len: usize, vocab: usize, seed: u64) -> Vec<u32> {
    let mut random = Random::new(seed, "gpu tokens", 0);
    (0..len).map(|_| random.below(vocab as u64) as u32).collect()
}
