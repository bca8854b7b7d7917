//! The CPU engine with operands put into it, and what its outputs are compared with.
use compute::{Cpu, Kernels, Tokens, View, ViewOf};
use stage::Random;
use tests::kinds::Kind;

/// Norm of the difference over norm of the reference.
pub(crate) const TOLERANCE: f64 = 1e-5;

/// Values around an output that nobody may write.
pub(crate) const GUARD: usize = 64;

/// An engine with operands put into it.
pub(crate) struct Lab {
    pub k: Box<dyn Kernels>,
}

impl Lab {
    pub(crate) fn new() -> Self {
        Lab { k: Cpu::boxed() }
    }

    pub(crate) fn put<K: Kind>(&mut self, values: &[f32]) -> ViewOf<K> {
        let view = self.out(values.len());
        self.k.upload(*view, values);
        view
    }

    pub(crate) fn ids(&mut self, ids: &[u32]) -> Tokens {
        let tokens = self.k.allocate_tokens("ids", ids.len());
        self.k.upload_tokens(tokens, ids);
        tokens
    }

    /// A place for `len` values, NaN there and around it.
    pub(crate) fn out<K: Kind>(&mut self, len: usize) -> ViewOf<K> {
        let all = K::allocate(&mut *self.k, len + 2 * GUARD);
        self.k.upload(*all, &vec![f32::NAN; all.len]);
        all.slice(GUARD, len)
    }

    pub(crate) fn get(&mut self, view: impl Into<View>) -> Vec<f32> {
        let view = view.into();
        for offset in [view.offset - GUARD, view.offset + view.len] {
            let guard = self.k.download(View { buffer: view.buffer, offset, len: GUARD }).unwrap();
            assert!(guard.iter().all(|v| v.is_nan()), "a kernel wrote beyond its output");
        }
        self.k.download(view).unwrap()
    }
}

/// N(0, 1) values, other ones for another seed.
pub(crate) fn normal(len: usize, seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed, "gradients", len as u64);
    (0..len.div_ceil(2))
        .flat_map(|_| <[f64; 2]>::from(random.normal_pair()))
        .take(len)
        .map(|v| v as f32)
        .collect()
}

pub(crate) fn tokens(len: usize, vocab: usize, seed: u64) -> Vec<u32> {
    let mut random = Random::new(seed, "tokens", 0);
    (0..len).map(|_| random.below(vocab as u64) as u32).collect()
}

pub(crate) fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

pub(crate) fn norm(values: &[f64]) -> f64 {
    values.iter().map(|v| v * v).sum::<f64>().sqrt()
}

pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[track_caller]
pub(crate) fn assert_close(what: &str, found: &[f32], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    if found.is_empty() {
        return;
    }
    let difference: Vec<f64> = found.iter().zip(expected).map(|(f, e)| f64::from(*f) - e).collect();
    let reference = norm(expected).max(1e-2); // what is 0 by cancellation alone has no norm to compare with
    let error = norm(&difference) / reference;
    let rms = reference / (expected.len() as f64).sqrt();
    let excess = |i: usize| difference[i].abs() / (1e-4 * expected[i].abs() + 1e-5 * rms);
    let worst = (0..found.len()).max_by(|&a, &b| excess(a).total_cmp(&excess(b))).unwrap_or(0);
    assert!(
        error <= TOLERANCE,
        "{what}: {error:.2e}, worst at {worst}: {} for {}",
        found[worst],
        expected[worst]
    );
    assert!(excess(worst) <= 1.0, "{what} at {worst}: {} for {}", found[worst], expected[worst]);
}

/// Compares `found`, the gradient of `f` at `x`, with central differences of `f`, rows of `width` at a time.
#[track_caller]
pub(crate) fn assert_gradient(
    what: &str,
    width: usize,
    x: &[f32],
    found: &[f32],
    f: impl Fn(&[f64]) -> f64,
) {
    const H: f64 = 1e-4;
    assert_eq!(x.len(), found.len(), "{what}");
    let (mut x, found, direction) = (wide(x), wide(found), wide(&normal(x.len(), 99)));
    let (mut slopes, mut expected) = (Vec::new(), Vec::new());
    for start in (0..x.len()).step_by(width) {
        let row = start..(start + width).min(x.len());
        let original = x[row.clone()].to_vec();
        let mut at = |h: f64| {
            for ((x, original), direction) in
                x[row.clone()].iter_mut().zip(&original).zip(&direction[row.clone()])
            {
                *x = original + h * direction;
            }
            f(&x)
        };
        // The error of this one is of fourth order.
        let slope = (8.0 * (at(H) - at(-H)) - (at(2.0 * H) - at(-2.0 * H))) / (12.0 * H);
        at(0.0);
        expected.push(slope);
        slopes.push(dot(&found[row.clone()], &direction[row]) as f32);
    }
    assert_close(what, &slopes, &expected);
}

/// A scalar of an output, whose gradient is `dout`.
pub(crate) fn weighted(dout: &[f32]) -> impl Fn(&[f64]) -> f64 {
    let dout = wide(dout);
    move |out| dot(&dout, out)
}
