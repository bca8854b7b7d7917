//! Muon (Jordan, 2024, kellerjordan.github.io/posts/muon) on the CPU: each matrix a task of one thread, so that the bits do not
//! depend on the number of threads.
use std::cell::RefCell;

use multiversion::multiversion;

use super::math::sum_of;
use super::matmul::{Packed, Strided, multiply, scratch};
use super::parallel::each_part;
use crate::kernels::state;
use crate::matrices::MatrixGroup;
use crate::optimizer::{Muon, Optimizer, Update};

/// Rows of the lower triangle of a symmetric product that are computed at once: a multiple of each microkernel's rows.
const STRIP: usize = 48;
/// Side of the squares that transposing goes by.
const SQUARE: usize = 16;

thread_local! {
    /// Kept from matrix to matrix: allocating it anew would cost as much as one of the steps.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

#[derive(Default)]
struct Scratch {
    /// The update as the matrix lies, and lying on its longer side.
    update: Vec<f32>,
    x: Vec<f32>,
    /// x xᵀ, and the polynomial of it.
    gram: Vec<f32>,
    polynomial: Vec<f32>,
    packed: Packed,
}

/// A matrix, its gradient and its momentum.
struct Task<'a> {
    rows: usize,
    columns: usize,
    weights: &'a mut [f32],
    momentum: &'a mut [f32],
    gradients: &'a [f32],
}

/// The factors of one update, but for the shape of the matrix.
#[derive(Clone, Copy)]
struct Factors {
    gradient: f32,
    momentum: f32,
    learning_rate: f32,
    decay: f32,
    cautious: bool,
}

/// One update of the matrices, which are all of `weights`.
pub(crate) fn muon(
    update: &Update,
    state: &[f32],
    gradients: &[f32],
    weights: &mut [f32],
    momentum: &mut [f32],
) {
    let Optimizer { momentum: share, cautious_decay, weight_decay, .. } = update.optimizer;
    let factors = Factors {
        gradient: state[state::FACTOR],
        momentum: share,
        learning_rate: update.learning_rate,
        decay: weight_decay,
        cautious: cautious_decay,
    };
    let mut tasks = tasks(update.matrices, gradients, weights, momentum);
    each_part([(&mut tasks[..], 1)], |_, [task]| {
        SCRATCH.with_borrow_mut(|own| task.iter_mut().for_each(|task| task.update(factors, own)));
    });
}

/// The matrices in the order in which they lie.
fn tasks<'a>(
    groups: &[MatrixGroup],
    mut gradients: &'a [f32],
    mut weights: &'a mut [f32],
    mut momentum: &'a mut [f32],
) -> Vec<Task<'a>> {
    let of_group = |group: &'_ MatrixGroup| {
        let (rows, columns, group) = (group.rows, group.columns, *group);
        (0..group.count()).map(move |number| (group.offset_of(number), rows, columns))
    };
    let mut places: Vec<(usize, usize, usize)> = groups.iter().flat_map(of_group).collect();
    places.sort_unstable();
    let mut at = 0;
    let mut tasks = Vec::with_capacity(places.len());
    for (offset, rows, columns) in places {
        assert_eq!(offset, at, "matrices lie one after the other");
        let len = rows * columns;
        let own;
        (own, gradients) = gradients.split_at(len);
        tasks.push(Task {
            rows,
            columns,
            weights: weights.split_off_mut(..len).expect("a matrix lies among the weights"),
            momentum: momentum.split_off_mut(..len).expect("momentum has the weights' layout"),
            gradients: own,
        });
        at += len;
    }
    assert!(weights.is_empty() && gradients.is_empty(), "all weights here are of matrices");
    tasks
}

impl Task<'_> {
    fn update(&mut self, factors: Factors, own: &mut Scratch) {
        let (rows, columns) = (self.rows, self.columns);
        let (short, long) = (rows.min(columns), rows.max(columns));
        let mut update = std::mem::take(&mut own.update);
        let values = scratch(&mut update, rows * columns);
        let squares = nesterov(factors, self.gradients, self.momentum, values);
        let mut x = std::mem::take(&mut own.x);
        {
            let x = scratch(&mut x, rows * columns);
            match rows > columns {
                true => transpose(rows, columns, values, x),
                false => x.copy_from_slice(values),
            }
            let norm = squares.sqrt() as f32;
            scale(if norm > 0.0 { 1.0 / norm } else { 0.0 }, x);
            for _ in 0..Muon::STEPS {
                own.newton_schulz(short, long, x);
            }
            match rows > columns {
                true => transpose(columns, rows, x, values),
                false => values.copy_from_slice(x),
            }
        }
        apply(factors, Muon::scale(rows, columns), values, self.weights);
        (own.update, own.x) = (update, x);
    }
}

impl Scratch {
    /// `x = a x + (b x xᵀ + c (x xᵀ)²) x`, x [short, long]. Of symmetric products the lower triangle is computed.
    fn newton_schulz(&mut self, short: usize, long: usize, x: &mut [f32]) {
        let [a, b, c] = Muon::COEFFICIENTS;
        let gram = scratch(&mut self.gram, short * short);
        let polynomial = scratch(&mut self.polynomial, short * short);
        let packed = &mut self.packed;
        packed.pack(long, short, Strided::transposed(x, long));
        symmetric(short, long, Strided::rows(x, long), packed, gram);
        mirror(short, gram);
        packed.pack(short, short, Strided::rows(gram, short));
        symmetric(short, short, Strided::rows(gram, short), packed, polynomial);
        combine(b, gram, c, polynomial);
        mirror(short, polynomial);
        packed.pack(short, long, Strided::rows(x, long));
        scale(a, x);
        let polynomial = Strided::rows(polynomial, short);
        multiply(short, 0..short, polynomial, packed, 0..long, x, long, true);
    }
}

/// The lower triangle of `out[n, n] = a[n, k] b[k, n]`, and a little above it.
fn symmetric(n: usize, k: usize, a: Strided, b: &Packed, out: &mut [f32]) {
    for first in (0..n).step_by(STRIP) {
        let rows = STRIP.min(n - first);
        multiply(rows, 0..k, a.from(first, 0), b, 0..first + rows, &mut out[first * n..], n, false);
    }
}

/// The upper triangle from the lower one.
fn mirror(n: usize, matrix: &mut [f32]) {
    for first in (0..n).step_by(SQUARE) {
        for start in (first..n).step_by(SQUARE) {
            for row in first..(first + SQUARE).min(n) {
                for column in start.max(row + 1)..(start + SQUARE).min(n) {
                    matrix[row * n + column] = matrix[column * n + row];
                }
            }
        }
    }
}

/// `out[columns, rows]` from `values[rows, columns]`.
fn transpose(rows: usize, columns: usize, values: &[f32], out: &mut [f32]) {
    for first in (0..rows).step_by(SQUARE) {
        for start in (0..columns).step_by(SQUARE) {
            for column in start..(start + SQUARE).min(columns) {
                for row in first..(first + SQUARE).min(rows) {
                    out[column * rows + row] = values[row * columns + column];
                }
            }
        }
    }
}

/// Momentum with this gradient in it, and what Nesterov's rule makes of both; returns the sum of its squares.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2+fma"))]
fn nesterov(f: Factors, gradients: &[f32], momentum: &mut [f32], update: &mut [f32]) -> f64 {
    let n = update.len();
    let (gradients, momentum) = (&gradients[..n], &mut momentum[..n]);
    for i in 0..n {
        let g = gradients[i] * f.gradient;
        momentum[i] = f.momentum * momentum[i] + (1.0 - f.momentum) * g;
        update[i] = f.momentum * momentum[i] + (1.0 - f.momentum) * g;
    }
    // In f64 from part to part: a large matrix loses nothing.
    update.chunks(4096).map(|part| f64::from(sum_of([part], |[value]| value * value))).sum()
}

#[multiversion(targets("x86_64+avx512f", "x86_64+avx2+fma"))]
fn scale(factor: f32, values: &mut [f32]) {
    values.iter_mut().for_each(|value| *value *= factor);
}

/// `squared = b gram + c squared`
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2+fma"))]
fn combine(b: f32, gram: &[f32], c: f32, squared: &mut [f32]) {
    squared.iter_mut().zip(gram).for_each(|(squared, gram)| *squared = b * gram + c * *squared);
}

/// Decay, and the update. With `cautious` weights decay only where the update makes them smaller, too (arXiv 2510.12402).
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2+fma"))]
fn apply(f: Factors, scale: f32, update: &[f32], weights: &mut [f32]) {
    let (rate, decay) = (f.learning_rate * scale, f.learning_rate * f.decay);
    for (weight, update) in weights.iter_mut().zip(update) {
        let decays = !f.cautious || *weight * update >= 0.0;
        let keep = if decays { 1.0 - decay } else { 1.0 };
        *weight = *weight * keep - rate * update;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::optimizer::optimizer_update;
    use crate::optimizer::OptimizerKind;

    /// From -2 to 2, as if at random.
    fn values(len: usize, seed: u32) -> Vec<f32> {
        let hashed = |i: u32| (i ^ seed << 20).wrapping_mul(2_654_435_761) >> 8;
        (0..len as u32).map(|i| hashed(i) as f32 / (1 << 22) as f32 - 2.0).collect()
    }

    fn transposed(rows: usize, columns: usize, x: &[f64]) -> Vec<f64> {
        (0..rows * columns).map(|i| x[i % rows * columns + i / rows]).collect()
    }

    fn product(m: usize, n: usize, k: usize, a: &[f64], b: &[f64]) -> Vec<f64> {
        let element = |i: usize, j: usize| (0..k).map(|l| a[i * k + l] * b[l * n + j]).sum();
        (0..m * n).map(|at| element(at / n, at % n)).collect()
    }

    /// The formula as it is written, in f64.
    fn orthogonal(rows: usize, columns: usize, update: &[f64]) -> Vec<f64> {
        let norm = update.iter().map(|v| v * v).sum::<f64>().sqrt();
        let mut x: Vec<f64> =
            update.iter().map(|v| if norm > 0.0 { v / norm } else { 0.0 }).collect();
        let [a, b, c] = Muon::COEFFICIENTS.map(f64::from);
        for _ in 0..5 {
            let gram = product(rows, rows, columns, &x, &transposed(rows, columns, &x));
            let square = product(rows, rows, rows, &gram, &gram);
            let polynomial: Vec<f64> =
                gram.iter().zip(&square).map(|(gram, square)| b * gram + c * square).collect();
            let turned = product(rows, columns, rows, &polynomial, &x);
            x = x.iter().zip(&turned).map(|(x, turned)| a * x + turned).collect();
        }
        x
    }

    /// Shapes that fill no tile, wide, tall and square; several layers; no momentum yet and some.
    #[test]
    fn an_update_is_its_formula_for_any_shape() {
        for (rows, columns, side_by_side, layers) in [
            (1, 1, 1, 1),
            (7, 7, 4, 2),
            (33, 70, 1, 2),
            (130, 49, 2, 1),
            (64, 64, 1, 1),
            (5, 1, 1, 1),
        ] {
            for cautious_decay in [false, true] {
                let each = rows * columns;
                let stride = each * side_by_side;
                let group = MatrixGroup { rows, columns, offset: 0, side_by_side, layers, stride };
                let (matrices, rest) = (stride * layers, 17);
                let optimizer = Optimizer {
                    weight_decay: 0.3,
                    cautious_decay,
                    ..Optimizer::new(OptimizerKind::Muon)
                };
                let update = Update {
                    optimizer,
                    learning_rate: 0.05,
                    decay_len: matrices,
                    clip: 1.0,
                    matrices: &[group],
                };
                let mut weights = values(matrices + rest, 1);
                let [mut v, mut momentum] = [(); 2].map(|()| vec![0.0; matrices + rest]);
                let mut expected: Vec<f64> = weights.iter().copied().map(f64::from).collect();
                let mut mean = vec![0.0f64; matrices];
                let mut state = [0.0; state::LEN];
                (state[state::BETA1_POWER], state[state::BETA2_POWER]) = (0.9, 0.95);
                state[state::FACTOR] = 0.125;
                for step in 1..=3 {
                    let gradients = values(matrices + rest, 10 + step);
                    let slots = vec![&mut v[..], &mut momentum[..]];
                    optimizer_update(&update, &state, &gradients, &mut weights, slots);
                    for (number, weights) in expected[..matrices].chunks_exact_mut(each).enumerate()
                    {
                        let at = number * each;
                        let mut nesterov = vec![0.0; each];
                        for i in 0..each {
                            let g = f64::from(gradients[at + i]) * 0.125;
                            mean[at + i] = 0.95 * mean[at + i] + 0.05 * g;
                            nesterov[i] = 0.05 * g + 0.95 * mean[at + i];
                        }
                        let scale = 0.2 * (rows.max(columns) as f64).sqrt();
                        for (weight, u) in
                            weights.iter_mut().zip(orthogonal(rows, columns, &nesterov))
                        {
                            let decays = !cautious_decay || *weight * u >= 0.0;
                            let keep = if decays { 1.0 - 0.05 * 0.3 } else { 1.0 };
                            *weight = *weight * keep - 0.05 * scale * u;
                        }
                    }
                    for (i, (found, expected)) in
                        weights[..matrices].iter().zip(&expected).enumerate()
                    {
                        assert!(
                            (f64::from(*found) - expected).abs() <= 2e-5 + 1e-5 * expected.abs(),
                            "{rows} x {columns}, weight {i} after {step}: {found}, expected {expected}"
                        );
                    }
                    let worst = momentum.iter().zip(&mean).map(|(a, b)| (f64::from(*a) - b).abs());
                    assert!(worst.fold(0.0, f64::max) < 1e-6);
                }
                assert!(v[..matrices].iter().all(|&v| v == 0.0), "matrices have no second moment");
                assert!(v[matrices..].iter().all(|&v| v > 0.0), "all else goes by AdamW");
            }
        }
    }

    /// Of a diagonal matrix each singular value goes its own way, by the polynomial five times: none is lost, and all come near 1.
    #[test]
    fn singular_values_go_by_the_polynomial() {
        let (rows, columns) = (20, 31);
        let mut x = vec![0.0f32; rows * columns];
        (0..rows).for_each(|i| x[i * columns + i] = 1.0 + i as f32);
        let norm = (0..rows).map(|i| (1.0 + i as f64).powi(2)).sum::<f64>().sqrt();
        scale((1.0 / norm) as f32, &mut x);
        (0..Muon::STEPS).for_each(|_| Scratch::default().newton_schulz(rows, columns, &mut x));
        let [a, b, c] = Muon::COEFFICIENTS.map(f64::from);
        for i in 0..rows {
            let start = (1.0 + i as f64) / norm;
            let expected = (0..5).fold(start, |s, _| a * s + b * s.powi(3) + c * s.powi(5));
            assert!((0.68..1.14).contains(&expected), "{start} to {expected}");
            for (j, found) in x[i * columns..][..columns].iter().enumerate() {
                let expected = if i == j { expected } else { 0.0 };
                assert!(
                    (f64::from(*found) - expected).abs() < 1e-5,
                    "{i}, {j}: {found}, {expected}"
                );
            }
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_bit_and_no_gradient_no_weight() {
        let group = MatrixGroup {
            rows: 50,
            columns: 90,
            offset: 0,
            side_by_side: 3,
            layers: 2,
            stride: 13_500,
        };
        let len = 27_000;
        let optimizer = Optimizer::new(OptimizerKind::Muon);
        let update =
            Update { optimizer, learning_rate: 0.1, decay_len: len, clip: 1.0, matrices: &[group] };
        let mut state = [0.0; state::LEN];
        state[state::FACTOR] = 1.0;
        let of = |threads, gradients: &[f32]| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let (mut weights, mut v, mut momentum) =
                (values(len, 1), vec![0.0; len], vec![0.0; len]);
            pool.install(|| {
                let slots = vec![&mut v[..], &mut momentum[..]];
                optimizer_update(&update, &state, gradients, &mut weights, slots);
            });
            (weights, momentum)
        };
        let gradients = values(len, 2);
        let one = of(1, &gradients);
        assert!(one.0 != values(len, 1));
        assert!([2, 3, 7].into_iter().all(|threads| of(threads, &gradients) == one));
        assert!(of(2, &vec![0.0; len]).0 == values(len, 1), "no decay, no gradient");
    }
}
