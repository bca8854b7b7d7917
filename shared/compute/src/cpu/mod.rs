//! The CPU engine: each kernel a function, parallel over parts whose bounds do not depend on the number of threads,
//! so the same input gives the same bits on any number of them.
mod attention;
pub(crate) mod decode;
mod elementwise;
mod engine;
mod large;
mod loss;
pub(crate) mod math;
mod matmul;
mod muon;
mod normalise;
mod optimizer;
mod parallel;

use crate::elementwise::{Elementwise, Twin};
use crate::kernels::{AttentionShape, F32View, HalfView, Kernels, Tokens, View};
use crate::optimizer::Update;
pub use engine::Cpu;

impl Kernels for Cpu {
    fn device(&self) -> String {
        format!("cpu {} {}", std::env::consts::ARCH, matmul::best().name).trim_end().to_owned()
    }

    fn plan(&self) -> String {
        "tiles of the microkernel".into() // and that is part of the device's name
    }

    fn fill(&mut self, out: F32View, value: f32) {
        self.write([out], |_, [out]| {
            parallel::each_part([(out, 1 << 16)], |_, [part]| part.fill(value))
        });
    }

    fn round(&mut self, x: F32View, half: HalfView) {
        assert_eq!(*x, *half, "the half copy in f32 is the view itself");
    }

    fn rows_at_once(&self, _widest: usize) -> usize {
        // Enough that threads seldom wait for one another, and memory does not grow with the batch.
        4096
    }

    fn logits_at_once(&self) -> usize {
        1 << 22
    }

    fn matmul_nt_rope(
        &mut self,
        shape: AttentionShape,
        k: usize,
        a: HalfView,
        b: HalfView,
        positions: Tokens,
        table: F32View,
        qkv: HalfView,
    ) {
        let size = [shape.rows(), shape.qkv_columns(), k];
        self.matmul_then(size, a, (b, true), *qkv, None, |cpu, row, qkv, _| {
            elementwise::rope_rows(shape, &cpu.ids(positions)[row..], cpu.get(table), qkv, 1.0);
        });
    }

    fn matmul_nt_residual(
        &mut self,
        m: usize,
        n: usize,
        k: usize,
        a: HalfView,
        b: HalfView,
        x: F32View,
        _branch: HalfView,
        out: F32View,
    ) {
        self.matmul_then([m, n, k], a, (b, true), *out, None, |cpu, row, out, _| {
            elementwise::add(&cpu.get(x)[row * n..], out)
        });
    }

    fn matmul_nt_swiglu(
        &mut self,
        m: usize,
        width: usize,
        k: usize,
        a: HalfView,
        b: HalfView,
        gate_up: HalfView,
        out: HalfView,
    ) {
        self.matmul_then(
            [m, 2 * width, k],
            a,
            (b, true),
            *gate_up,
            Some(*out),
            |_, _, gate_up, out| {
                elementwise::swiglu_rows(width, gate_up, out);
            },
        );
    }

    fn matmul_nn_swiglu(
        &mut self,
        m: usize,
        width: usize,
        k: usize,
        a: HalfView,
        b: HalfView,
        gate_up: HalfView,
        dout: HalfView,
        dgate_up: HalfView,
    ) {
        self.matmul_then(
            [m, width, k],
            a,
            (b, false),
            *dout,
            Some(*dgate_up),
            |cpu, row, dout, dgate_up| {
                elementwise::swiglu_backward_rows(
                    width,
                    &cpu.get(gate_up)[row * 2 * width..],
                    dout,
                    dgate_up,
                );
            },
        );
    }

    fn attention_backward_rope(
        &mut self,
        shape: AttentionShape,
        qkv: HalfView,
        out: HalfView,
        lse: F32View,
        dout: HalfView,
        positions: Tokens,
        table: F32View,
        dqkv: HalfView,
    ) {
        self.write([dqkv], |cpu, [dqkv]| {
            let rope = Some((cpu.ids(positions), cpu.get(table)));
            attention::backward(
                shape,
                cpu.get(qkv),
                cpu.get(out),
                cpu.get(lse),
                cpu.get(dout),
                dqkv,
                rope,
            );
        });
    }

    fn embedding_forward(&mut self, width: usize, tokens: Tokens, table: F32View, out: F32View) {
        self.write([out], |cpu, [out]| {
            elementwise::embedding_forward(width, cpu.ids(tokens), cpu.get(table), out)
        });
    }

    fn embedding_backward(&mut self, width: usize, tokens: Tokens, dout: F32View, dtable: F32View) {
        self.write([dtable], |cpu, [dtable]| {
            elementwise::embedding_backward(width, cpu.ids(tokens), cpu.get(dout), dtable)
        });
    }

    fn rmsnorm_forward(
        &mut self,
        width: usize,
        eps: f32,
        x: F32View,
        gain: F32View,
        out: HalfView,
        rstd: F32View,
    ) {
        self.write([*out, *rstd], |cpu, [out, rstd]| {
            normalise::rmsnorm_forward(width, eps, cpu.get(x), cpu.get(gain), out, rstd)
        });
    }

    fn rmsnorm_backward(
        &mut self,
        width: usize,
        x: F32View,
        gain: F32View,
        rstd: F32View,
        dout: HalfView,
        dx: F32View,
        dx_half: HalfView,
        dgain: F32View,
    ) {
        self.round(dx, dx_half);
        let mut partial = std::mem::take(&mut self.partial);
        self.write([dx, dgain], |cpu, [dx, dgain]| {
            normalise::rmsnorm_backward(
                width,
                cpu.get(x),
                cpu.get(gain),
                cpu.get(rstd),
                cpu.get(dout),
                dx,
                dgain,
                &mut partial,
            );
        });
        self.partial = partial;
    }

    fn matmul_nt(&mut self, m: usize, n: usize, k: usize, a: HalfView, b: HalfView, c: HalfView) {
        self.matmul(m, n, k, (a, false), (b, true), *c, false);
    }

    fn matmul_nn(&mut self, m: usize, n: usize, k: usize, a: HalfView, b: HalfView, c: HalfView) {
        self.matmul(m, n, k, (a, false), (b, false), *c, false);
    }

    fn matmul_tn(&mut self, m: usize, n: usize, k: usize, a: HalfView, b: HalfView, c: F32View) {
        self.matmul(m, n, k, (a, true), (b, false), *c, true);
    }

    fn matvec_nt(&mut self, m: usize, n: usize, k: usize, a: HalfView, b: HalfView, c: HalfView) {
        self.write([c], |cpu, [c]| matmul::matvec_nt(m, n, k, cpu.get(a), cpu.get(b), c));
    }

    fn rope_forward(
        &mut self,
        shape: AttentionShape,
        positions: Tokens,
        table: F32View,
        qkv: HalfView,
    ) {
        self.write([qkv], |cpu, [qkv]| {
            elementwise::rope(shape, cpu.ids(positions), cpu.get(table), qkv, 1.0)
        });
    }

    fn rope_backward(
        &mut self,
        shape: AttentionShape,
        positions: Tokens,
        table: F32View,
        dqkv: HalfView,
    ) {
        self.write([dqkv], |cpu, [dqkv]| {
            elementwise::rope(shape, cpu.ids(positions), cpu.get(table), dqkv, -1.0)
        });
    }

    fn attention_forward(
        &mut self,
        shape: AttentionShape,
        qkv: HalfView,
        out: HalfView,
        lse: F32View,
    ) {
        self.write([*out, *lse], |cpu, [out, lse]| {
            attention::forward(shape, cpu.get(qkv), out, lse)
        });
    }

    fn attention_backward(
        &mut self,
        shape: AttentionShape,
        qkv: HalfView,
        out: HalfView,
        lse: F32View,
        dout: HalfView,
        dqkv: HalfView,
    ) {
        self.write([dqkv], |cpu, [dqkv]| {
            attention::backward(
                shape,
                cpu.get(qkv),
                cpu.get(out),
                cpu.get(lse),
                cpu.get(dout),
                dqkv,
                None,
            )
        });
    }

    fn swiglu_forward(&mut self, width: usize, gate_up: HalfView, out: HalfView) {
        self.write([out], |cpu, [out]| elementwise::swiglu_forward(width, cpu.get(gate_up), out));
    }

    fn swiglu_backward(
        &mut self,
        width: usize,
        gate_up: HalfView,
        dout: HalfView,
        dgate_up: HalfView,
    ) {
        self.write([dgate_up], |cpu, [dgate_up]| {
            elementwise::swiglu_backward(width, cpu.get(gate_up), cpu.get(dout), dgate_up)
        });
    }

    fn elementwise(&mut self, kernel: &'static Elementwise, inputs: &[View], out: View) {
        self.write([out], |cpu, [out]| match (kernel.twin, inputs) {
            (Twin::Unary(twin), [x]) => elementwise::unary(twin, cpu.get(*x), out),
            (Twin::Binary(twin), [x, y]) => {
                elementwise::binary(twin, cpu.get(*x), cpu.get(*y), out);
            }
            _ => panic!("{}: {} inputs", kernel.name, inputs.len()),
        });
    }

    fn cross_entropy_forward(
        &mut self,
        vocab: usize,
        logits: HalfView,
        targets: Tokens,
        losses: F32View,
    ) {
        self.write([losses], |cpu, [losses]| {
            loss::cross_entropy_forward(vocab, cpu.get(logits), cpu.ids(targets), losses)
        });
    }

    fn head_loss_forward(
        &mut self,
        vocab: usize,
        d: usize,
        x: HalfView,
        head: HalfView,
        _logits: HalfView,
        targets: Tokens,
        losses: F32View,
    ) {
        let mut scratch = std::mem::take(&mut self.scratch);
        self.write([losses], |cpu, [losses]| {
            loss::head_loss_forward(
                &mut scratch,
                vocab,
                d,
                cpu.get(x),
                cpu.get(head),
                cpu.ids(targets),
                losses,
            );
        });
        self.scratch = scratch;
    }

    fn cross_entropy_backward(
        &mut self,
        vocab: usize,
        scale: f32,
        state: F32View,
        logits: HalfView,
        targets: Tokens,
        losses: F32View,
    ) {
        let scale = scale * self.get(state)[crate::state::LOSS_SCALE];
        self.write([*logits, *losses], |cpu, [logits, losses]| {
            loss::cross_entropy_backward(vocab, scale, logits, cpu.ids(targets), losses)
        });
    }

    fn sum(&mut self, values: F32View, total: F32View) {
        self.write([total], |cpu, [total]| {
            total[0] += cpu.get(values).iter().map(|&v| f64::from(v)).sum::<f64>() as f32
        });
    }

    fn grad_norm(&mut self, gradients: F32View, norm: F32View) {
        self.write([norm], |cpu, [norm]| norm[0] = loss::grad_norm(cpu.get(gradients)));
    }

    fn loss_scale_update(&mut self, update: &Update, state: F32View) {
        self.write([state], |_, [state]| loss::loss_scale_update(update, state));
    }

    fn optimizer_update(
        &mut self,
        update: &Update,
        state: F32View,
        weights: F32View,
        weights_half: HalfView,
        gradients: F32View,
        slots: &[F32View],
    ) {
        let outputs: Vec<View> = [weights].iter().chain(slots).map(|&view| *view).collect();
        self.write_all(&outputs, |cpu, mut outputs| {
            let (state, gradients) = (cpu.get(state), cpu.get(gradients));
            let slots = outputs.split_off(1);
            optimizer::optimizer_update(update, state, gradients, outputs[0], slots);
        });
        self.round(weights, weights_half);
    }

    fn cache_append(
        &mut self,
        shape: AttentionShape,
        context: usize,
        slots: Tokens,
        positions: Tokens,
        qkv: HalfView,
        cache: HalfView,
    ) {
        self.write([cache], |cpu, [cache]| {
            elementwise::cache_append(
                shape,
                context,
                cpu.ids(slots),
                cpu.ids(positions),
                cpu.get(qkv),
                cache,
            );
        });
    }

    fn attention_decode(
        &mut self,
        shape: AttentionShape,
        context: usize,
        slots: Tokens,
        positions: Tokens,
        qkv: HalfView,
        cache: HalfView,
        out: HalfView,
    ) {
        self.write([out], |cpu, [out]| {
            elementwise::attention_decode(
                shape,
                context,
                cpu.ids(slots),
                cpu.ids(positions),
                cpu.get(qkv),
                cpu.get(cache),
                out,
            );
        });
    }
}
