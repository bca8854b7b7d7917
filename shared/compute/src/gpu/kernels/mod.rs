//! The trait's methods as dispatches of kernels, one or a few each.
mod attention;
mod embedding;
mod matmul;
mod muon;
mod optimizer;
mod partials;

use super::dispatch::{Params, counted, params, striding, word};
use super::engine::Gpu;
use super::pipeline::Element;
use super::table::*;
use crate::elementwise::Elementwise;
use crate::kernels::{
    AttentionShape, Counts, F32View, GROWTH_INTERVAL, HalfView, KernelTime, Kernels, Memory,
    Precision, Queue, Result, Snapshot, Ticket, Tokens, View,
};
use crate::optimizer::{Optimizer, Update};
use crate::wgsl::PARTIAL_ROWS;

use matmul::{Matmul, MatmulRope};
use optimizer::Operands;

params! {
    Rows { len: u32, width: u32 }
    Norm { rows: u32, width: u32, eps: f32 }
    NormBackward { rows: u32, width: u32 }
    Rope { pairs: u32, heads: u32, kv_heads: u32, width: u32 }
    Loss { rows: u32, vocab: u32, pitch: u32, scale: f32 }
    Length { len: u32 }
    Fill { len: u32, value: f32 }
    LossScale { clip: f32, beta1: f32, beta2: f32, dynamic_scale: u32, growth_interval: f32 }
    Append { len: u32, queries: u32, columns: u32, context: u32 }
    Decode { rows: u32, heads: u32, kv_heads: u32, context: u32, scale: f32 }
}

/// Workgroups that take squares for the norm of the gradient.
const NORM_PARTIALS: u32 = 512;

fn loss(vocab: usize, scale: f32, logits: HalfView, losses: F32View) -> Loss {
    let pitch = logits.len / losses.len.max(1);
    Loss { rows: word(losses.len), vocab: word(vocab), pitch: word(pitch), scale }
}

impl Memory for Gpu {
    fn precision(&self) -> Precision {
        self.precision
    }

    fn allocate(&mut self, label: &'static str, len: usize) -> F32View {
        F32View::of(self.create(label, Element::Value(Precision::F32), len))
    }

    fn allocate_stored(&mut self, label: &'static str, len: usize) -> HalfView {
        HalfView::of(self.create(label, Element::Value(self.precision), len))
    }

    fn allocate_tokens(&mut self, label: &'static str, len: usize) -> Tokens {
        self.create_tokens(label, len)
    }

    fn reserve_scratch(&mut self, len: usize) {
        self.scratch_reserved = self.scratch_reserved.max(len);
    }

    fn allocated(&mut self) -> Result<()> {
        self.scratch();
        self.asked = true;
        self.check()
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn upload(&mut self, to: View, values: &[f32]) {
        self.write_values(to, values);
    }

    fn upload_tokens(&mut self, to: Tokens, values: &[u32]) {
        self.write_tokens(to, values);
    }

    fn download(&mut self, from: View) -> Result<Vec<f32>> {
        self.read_values(from)
    }

    fn snapshot(&mut self, views: &[F32View]) -> Result<Box<dyn Snapshot>> {
        self.start_snapshot(&views.iter().map(|&view| *view).collect::<Vec<View>>())
    }
}

impl Queue for Gpu {
    fn submit(&mut self, report: F32View) -> Ticket {
        self.submit_report(*report)
    }

    fn collect(&mut self, ticket: Ticket, wait: bool) -> Result<Option<Vec<f32>>> {
        self.take_report(ticket, wait)
    }

    fn counts(&self) -> Counts {
        Counts {
            buffers: self.buffers.len() as u64,
            bind_groups: self.recorder.bind_groups(),
            dispatches: self.recorder.dispatches,
            barriers: self.recorder.barriers,
            submits: self.recorder.submits,
        }
    }

    fn profile(&mut self) -> Result<Vec<KernelTime>> {
        self.flush();
        self.check()?;
        Ok(self.recorder.take_times())
    }
}

impl Kernels for Gpu {
    fn device(&self) -> String {
        format!("gpu {}", self.device.adapter.name())
    }

    fn plan(&self) -> String {
        self.device.plan_text(self.plan.as_ref())
    }

    fn rows_at_once(&self, widest: usize) -> usize {
        self.largest_matrix() / widest.max(1)
    }

    fn logits_at_once(&self) -> usize {
        // Large enough to fill the GPU, small enough for its cache to hold what the next kernel reads.
        1 << 25
    }

    fn logits_pitch(&self, vocab: usize) -> usize {
        // Cooperative matrices take rows of whole vectors.
        vocab.next_multiple_of(4)
    }

    fn fill(&mut self, out: F32View, value: f32) {
        self.run(&FILL, Fill { len: word(out.len), value }, &[*out], striding(out.len), 0.0);
    }

    fn round(&mut self, x: F32View, half: HalfView) {
        if *x != *half {
            self.run(
                &ROUND_STORED,
                Length { len: word(x.len) },
                &[*x, *half],
                striding(x.len),
                0.0,
            );
        }
    }

    fn embedding_forward(&mut self, width: usize, tokens: Tokens, table: F32View, out: F32View) {
        self.embed(width, tokens, *table, *out);
    }

    fn embedding_backward(&mut self, width: usize, tokens: Tokens, dout: F32View, dtable: F32View) {
        self.embed_backward(width, tokens, *dout, *dtable);
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
        let params = Norm { rows: word(rstd.len), width: word(width), eps };
        self.run(&RMSNORM_FORWARD, params, &[*x, *gain, *out, *rstd], counted(rstd.len), 0.0);
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
        let rows = rstd.len;
        let params = NormBackward { rows: word(rows), width: word(width) };
        let parts = rows.div_ceil(PARTIAL_ROWS as usize);
        let part = self.partials_for(parts, *dgain);
        let operands = [*x, *gain, *rstd, *dout, *dx, part, *dx_half];
        if *dx == *dx_half {
            self.run(&RMSNORM_BACKWARD, params, &operands[..6], counted(parts), 0.0);
        } else {
            self.run(&RMSNORM_BACKWARD_HALF, params, &operands, counted(parts), 0.0);
        }
    }

    fn matmul_nt(&mut self, m: usize, n: usize, k: usize, a: HalfView, b: HalfView, c: HalfView) {
        self.matmul(&MATMUL_NT, [m, n, k], *a, *b, *c);
    }

    fn matmul_nn(&mut self, m: usize, n: usize, k: usize, a: HalfView, b: HalfView, c: HalfView) {
        self.matmul(&MATMUL_NN, [m, n, k], *a, *b, *c);
    }

    fn matmul_tn(&mut self, m: usize, n: usize, k: usize, a: HalfView, b: HalfView, c: F32View) {
        self.matmul_split(&MATMUL_TN, [m, n, k], *a, *b, *c);
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
        self.head_width_is(shape);
        let (m, n, turned) = (shape.rows(), shape.qkv_columns(), shape.turned_columns());
        let params = MatmulRope { m: word(m), n: word(n), k: word(k), turned: word(turned) };
        // Four elements of half a head turn together.
        let fused = shape.width.is_multiple_of(8)
            && self
                .matmul_coop(
                    &MATMUL_NT_ROPE_COOP,
                    [m, n, k],
                    params,
                    &[n, k],
                    &[*a, *b, self.ids(positions), *table, *qkv],
                    &[*a, *b, *table, *qkv],
                )
                .is_ok();
        if !fused {
            self.matmul_nt(m, n, k, a, b, qkv);
            self.rope_forward(shape, positions, table, qkv);
        }
    }

    fn matmul_nt_residual(
        &mut self,
        m: usize,
        n: usize,
        k: usize,
        a: HalfView,
        b: HalfView,
        x: F32View,
        branch: HalfView,
        out: F32View,
    ) {
        let (params, operands) =
            (Matmul { m: word(m), n: word(n), k: word(k) }, [*a, *b, *x, *out]);
        let shape = [m, n, k];
        let coop = &MATMUL_NT_RESIDUAL_COOP;
        let fused = self.matmul_coop(coop, shape, params, &[n, k], &operands, &operands);
        if fused.is_err() {
            self.matmul_nt(m, n, k, a, b, branch);
            self.residual_forward(x, branch, out);
        }
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
        let (n, operands) = (2 * width, [*a, *b, *gate_up, *out]);
        let params = Matmul { m: word(m), n: word(n), k: word(k) };
        let fused = width.is_multiple_of(4)
            && self
                .matmul_coop(
                    &MATMUL_NT_SWIGLU_COOP,
                    [m, n, k],
                    params,
                    &[n, k],
                    &operands,
                    &operands,
                )
                .is_ok();
        if !fused {
            self.matmul_nt(m, n, k, a, b, gate_up);
            self.swiglu_forward(width, gate_up, out);
        }
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
        let (params, operands) =
            (Matmul { m: word(m), n: word(width), k: word(k) }, [*a, *b, *gate_up, *dgate_up]);
        let shape = [m, width, k];
        let coop = &MATMUL_NN_SWIGLU_COOP;
        let fused = self.matmul_coop(coop, shape, params, &[width, k], &operands, &operands);
        if fused.is_err() {
            self.matmul_nn(m, width, k, a, b, dout);
            self.swiglu_backward(width, gate_up, dout, dgate_up);
        }
    }

    fn matvec_nt(&mut self, m: usize, n: usize, k: usize, a: HalfView, b: HalfView, c: HalfView) {
        let params = Matmul { m: word(m), n: word(n), k: word(k) };
        self.run(&MATVEC_NT, params, &[*a, *b, *c], counted(m * n), 2.0 * (m * n * k) as f64);
    }

    fn rope_forward(
        &mut self,
        shape: AttentionShape,
        positions: Tokens,
        table: F32View,
        qkv: HalfView,
    ) {
        self.rope(&ROPE_FORWARD, shape, positions, *table, *qkv);
    }

    fn rope_backward(
        &mut self,
        shape: AttentionShape,
        positions: Tokens,
        table: F32View,
        dqkv: HalfView,
    ) {
        self.rope(&ROPE_BACKWARD, shape, positions, *table, *dqkv);
    }

    fn attention_forward(
        &mut self,
        shape: AttentionShape,
        qkv: HalfView,
        out: HalfView,
        lse: F32View,
    ) {
        self.attend_forward(shape, *qkv, *out, *lse);
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
        self.attend_backward(shape, *qkv, *out, *lse, *dout, None, *dqkv);
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
        let rope = Some((positions, *table));
        self.attend_backward(shape, *qkv, *out, *lse, *dout, rope, *dqkv);
    }

    fn swiglu_forward(&mut self, width: usize, gate_up: HalfView, out: HalfView) {
        let params = Rows { len: word(out.len), width: word(width) };
        self.run(&SWIGLU_FORWARD, params, &[*gate_up, *out], striding(out.len), 0.0);
    }

    fn swiglu_backward(
        &mut self,
        width: usize,
        gate_up: HalfView,
        dout: HalfView,
        dgate_up: HalfView,
    ) {
        let params = Rows { len: word(dout.len), width: word(width) };
        self.run(&SWIGLU_BACKWARD, params, &[*gate_up, *dout, *dgate_up], striding(dout.len), 0.0);
    }

    fn elementwise(&mut self, kernel: &'static Elementwise, inputs: &[View], out: View) {
        let row = named(kernel.name).expect("all element-wise kernels are in the table");
        let operands: Vec<View> = inputs.iter().copied().chain([out]).collect();
        self.run(row, Length { len: word(out.len) }, &operands, striding(out.len), 0.0);
    }

    fn cross_entropy_forward(
        &mut self,
        vocab: usize,
        logits: HalfView,
        targets: Tokens,
        losses: F32View,
    ) {
        let params = loss(vocab, 0.0, logits, losses);
        self.run(
            &CROSS_ENTROPY_FORWARD,
            params,
            &[self.ids(targets), *logits, *losses],
            counted(losses.len),
            0.0,
        );
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
        let params = loss(vocab, scale, logits, losses);
        self.run(
            &CROSS_ENTROPY_BACKWARD,
            params,
            &[*state, self.ids(targets), *logits, *losses],
            counted(losses.len),
            0.0,
        );
    }

    fn sum(&mut self, values: F32View, total: F32View) {
        self.run(&SUM, Length { len: word(values.len) }, &[*values, *total], [1, 1, 1], 0.0);
    }

    fn grad_norm(&mut self, gradients: F32View, norm: F32View) {
        // Its own parts are used up at once: what was split before has to be added by then.
        self.reduce_partials();
        let parts = self.partials_for(NORM_PARTIALS as usize, *norm);
        self.partials.clear();
        self.run(
            &GRAD_NORM_PARTIALS,
            Length { len: word(gradients.len) },
            &[*gradients, parts],
            [NORM_PARTIALS, 1, 1],
            0.0,
        );
        self.run(&GRAD_NORM, Length { len: NORM_PARTIALS }, &[parts, *norm], [1, 1, 1], 0.0);
    }

    fn loss_scale_update(&mut self, update: &Update, state: F32View) {
        let Update { clip, optimizer: Optimizer { beta1, beta2, .. }, .. } = *update;
        let dynamic_scale = u32::from(self.precision == Precision::F16);
        let params = LossScale {
            clip,
            beta1,
            beta2,
            dynamic_scale,
            growth_interval: GROWTH_INTERVAL as f32,
        };
        self.run(&LOSS_SCALE_UPDATE, params, &[*state], [1, 1, 1], 0.0);
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
        self.update_weights(update, Operands { state, weights, weights_half, gradients, slots });
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
        let (queries, columns) = (shape.query_columns(), shape.kv_columns());
        let len = shape.rows() * columns;
        let params = Append {
            len: word(len),
            queries: word(queries),
            columns: word(columns),
            context: word(context),
        };
        self.run(
            &CACHE_APPEND,
            params,
            &[self.ids(slots), self.ids(positions), *qkv, *cache],
            striding(len),
            0.0,
        );
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
        self.head_width_is(shape);
        let (rows, heads) = (shape.rows(), shape.heads);
        let params = Decode {
            rows: word(rows),
            heads: word(heads),
            kv_heads: word(shape.kv_heads),
            context: word(context),
            scale: 1.0 / (shape.width as f32).sqrt(),
        };
        let operands = [self.ids(slots), self.ids(positions), *qkv, *cache, *out];
        self.run(&ATTENTION_DECODE, params, &operands, counted(rows * heads), 0.0);
    }
}

impl Gpu {
    fn rope(
        &mut self,
        kernel: &'static Kernel,
        shape: AttentionShape,
        positions: Tokens,
        table: View,
        qkv: View,
    ) {
        let pairs = shape.rows() * shape.turned_columns() / 2;
        let params = Rope {
            pairs: word(pairs),
            heads: word(shape.heads),
            kv_heads: word(shape.kv_heads),
            width: word(shape.width),
        };
        self.run(kernel, params, &[self.ids(positions), table, qkv], striding(pairs), 0.0);
    }

    fn head_width_is(&self, shape: AttentionShape) {
        assert_eq!(
            shape.width, self.head_width as usize,
            "the engine was opened for heads of another width"
        );
    }
}
