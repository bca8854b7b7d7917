//! What the CPU engine fuses with a product or with attention has the bits of the kernels one after the other, for any number
//! of threads.
use compute::{AttentionShape, Cpu, Kernels, Tokens, View, ViewOf};
use stage::Random;
use tests::kinds::Kind;

/// Values around an output that nobody may write.
const GUARD: usize = 64;

struct Lab {
    k: Box<dyn Kernels>,
    seed: u64,
}

impl Lab {
    /// A view of N(0, 1) values.
    fn normal<K: Kind>(&mut self, len: usize) -> ViewOf<K> {
        self.seed += 1;
        let mut random = Random::new(self.seed, "fused", len as u64);
        let values: Vec<f32> = (0..len.div_ceil(2))
            .flat_map(|_| <[f64; 2]>::from(random.normal_pair()))
            .take(len)
            .map(|v| v as f32)
            .collect();
        let view = self.out(len);
        self.k.upload(*view, &values);
        view
    }

    fn positions(&mut self, shape: AttentionShape) -> Tokens {
        let positions: Vec<u32> =
            (0..shape.rows()).map(|row| (row % shape.sequence) as u32).collect();
        let tokens = self.k.allocate_tokens("positions", positions.len());
        self.k.upload_tokens(tokens, &positions);
        tokens
    }

    /// A place for `len` values, NaN there and around it.
    fn out<K: Kind>(&mut self, len: usize) -> ViewOf<K> {
        let all = K::allocate(&mut *self.k, len + 2 * GUARD);
        self.k.upload(*all, &vec![f32::NAN; all.len]);
        all.slice(GUARD, len)
    }

    fn bits(&mut self, view: View) -> Vec<u32> {
        for offset in [view.offset - GUARD, view.offset + view.len] {
            let guard = self.k.download(View { buffer: view.buffer, offset, len: GUARD }).unwrap();
            assert!(guard.iter().all(|v| v.is_nan()), "a kernel wrote beyond its output");
        }
        let values = self.k.download(view).unwrap();
        assert!(values.iter().all(|value| value.is_finite()), "not all of the output was written");
        values.into_iter().map(f32::to_bits).collect()
    }
}

/// `fused` and `apart` give the outputs to compare, on one thread and on three.
fn assert_same(
    what: &str,
    fused: impl Fn(&mut Lab) -> Vec<View> + Sync,
    apart: impl Fn(&mut Lab) -> Vec<View> + Sync,
) {
    let run = |threads: usize, f: &(dyn Fn(&mut Lab) -> Vec<View> + Sync)| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut lab = Lab { k: Cpu::boxed(), seed: 0 };
            let views = f(&mut lab);
            views.into_iter().map(|view| lab.bits(view)).collect::<Vec<_>>()
        })
    };
    let expected = run(1, &apart);
    for threads in [1, 3] {
        assert!(run(threads, &fused) == expected, "{what} on {threads} threads");
    }
}

/// Rows, columns (even, for halves), depth: below, at and beyond the rows of a task and the pieces of a product.
const SIZES: [(usize, usize, usize); 5] =
    [(1, 2, 1), (24, 32, 64), (97, 130, 385), (50, 1712, 320), (48, 40, 800)];

#[test]
fn a_product_and_what_is_added_to_it() {
    for (m, n, k) in SIZES {
        let operands = |lab: &mut Lab| {
            (
                lab.normal(m * k),
                lab.normal(n * k),
                lab.normal(m * n),
                lab.out(m * n),
                lab.out(m * n),
            )
        };
        assert_same(
            &format!("residual {m} x {n} x {k}"),
            |lab| {
                let (a, b, x, branch, out) = operands(lab);
                lab.k.matmul_nt_residual(m, n, k, a, b, x, branch, out);
                vec![*out]
            },
            |lab| {
                let (a, b, x, branch, out) = operands(lab);
                lab.k.matmul_nt(m, n, k, a, b, branch);
                lab.k.residual_forward(x, branch, out);
                vec![*out]
            },
        );
    }
}

#[test]
fn a_product_and_its_swiglu() {
    for (m, n, k) in SIZES {
        let width = n / 2;
        let operands = |lab: &mut Lab| {
            (lab.normal(m * k), lab.normal(n * k), lab.out(m * n), lab.out(m * width))
        };
        assert_same(
            &format!("swiglu {m} x {width} x {k}"),
            |lab| {
                let (a, b, gate_up, out) = operands(lab);
                lab.k.matmul_nt_swiglu(m, width, k, a, b, gate_up, out);
                vec![*gate_up, *out]
            },
            |lab| {
                let (a, b, gate_up, out) = operands(lab);
                lab.k.matmul_nt(m, n, k, a, b, gate_up);
                lab.k.swiglu_forward(width, gate_up, out);
                vec![*gate_up, *out]
            },
        );
        let operands = |lab: &mut Lab| {
            (
                lab.normal(m * k),
                lab.normal(k * width),
                lab.normal(m * n),
                lab.out(m * width),
                lab.out(m * n),
            )
        };
        assert_same(
            &format!("swiglu backward {m} x {width} x {k}"),
            |lab| {
                let (a, b, gate_up, dout, dgate_up) = operands(lab);
                lab.k.matmul_nn_swiglu(m, width, k, a, b, gate_up, dout, dgate_up);
                vec![*dgate_up]
            },
            |lab| {
                let (a, b, gate_up, dout, dgate_up) = operands(lab);
                lab.k.matmul_nn(m, width, k, a, b, dout);
                lab.k.swiglu_backward(width, gate_up, dout, dgate_up);
                vec![*dgate_up]
            },
        );
    }
}

/// One head and one token, odd widths, more rows than one task has, and groups of query heads.
fn shapes() -> impl Iterator<Item = AttentionShape> {
    [(1, 1, [1, 1], 2), (2, 61, [3, 3], 6), (1, 100, [2, 2], 32), (2, 61, [6, 2], 6)]
        .into_iter()
        .map(|(batch, sequence, [heads, kv_heads], width)| AttentionShape {
            batch,
            sequence,
            heads,
            kv_heads,
            width,
        })
}

#[test]
fn a_product_and_its_rope() {
    for (shape, k) in shapes().zip([3, 40, 400, 40]) {
        let (rows, columns) = (shape.rows(), shape.qkv_columns());
        let operands = |lab: &mut Lab| {
            let table = lab.normal(shape.sequence * shape.width);
            (
                lab.normal(rows * k),
                lab.normal(columns * k),
                lab.positions(shape),
                table,
                lab.out(rows * columns),
            )
        };
        assert_same(
            &format!("{shape:?}"),
            |lab| {
                let (a, b, positions, table, qkv) = operands(lab);
                lab.k.matmul_nt_rope(shape, k, a, b, positions, table, qkv);
                vec![*qkv]
            },
            |lab| {
                let (a, b, positions, table, qkv) = operands(lab);
                lab.k.matmul_nt(rows, columns, k, a, b, qkv);
                lab.k.rope_forward(shape, positions, table, qkv);
                vec![*qkv]
            },
        );
    }
}

#[test]
fn attention_backward_and_its_rope() {
    for shape in shapes() {
        let (rows, d, columns) = (shape.rows(), shape.query_columns(), shape.qkv_columns());
        let operands = |lab: &mut Lab| {
            let (qkv, dout) = (lab.normal(rows * columns), lab.normal(rows * d));
            let (out, lse) = (lab.out(rows * d), lab.out(rows * shape.heads));
            lab.k.attention_forward(shape, qkv, out, lse);
            let table = lab.normal(shape.sequence * shape.width);
            (qkv, out, lse, dout, lab.positions(shape), table, lab.out(rows * columns))
        };
        assert_same(
            &format!("{shape:?}"),
            |lab| {
                let (qkv, out, lse, dout, positions, table, dqkv) = operands(lab);
                lab.k.attention_backward_rope(shape, qkv, out, lse, dout, positions, table, dqkv);
                vec![*dqkv]
            },
            |lab| {
                let (qkv, out, lse, dout, positions, table, dqkv) = operands(lab);
                lab.k.attention_backward(shape, qkv, out, lse, dout, dqkv);
                lab.k.rope_backward(shape, positions, table, dqkv);
                vec![*dqkv]
            },
        );
    }
}
