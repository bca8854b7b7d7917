//! The kernels of the trait, each a dispatch of the shader of its name, or a few.
mod attention;
mod matmul;

pub(super) use attention::Space;
pub use attention::attention_tiles;
pub(super) use matmul::Split;

use super::device::variant_of;
use super::pipeline::Element;
use super::plan;
use super::record::{Bound, Copies, Cost, Reading};
use super::{Gpu, Report, TokenBuffer, View, decode, encode};
use crate::kernels::{
    AttentionShape, Counts, GROWTH_INTERVAL, KernelTime, Kernels, Precision, Result, Snapshot,
    Ticket, Tokens,
};
use crate::optimizer::{Optimizer, Update};
use crate::wgsl::{PARTIAL_ROWS, Variant};

/// `Params` as Rust knows them: the fields before those that say where operands begin. A kernel's first call compares
/// them with what naga read from the shader.
trait Params: bytemuck::Pod {
    /// Names, and whether the value is f32 (else u32).
    const FIELDS: &'static [(&'static str, bool)];
}

macro_rules! params {
    ($($name:ident { $($field:ident: $type:ident),* })*) => {$(
        #[repr(C)]
        #[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
        struct $name { $($field: $type,)* }
        impl Params for $name {
            const FIELDS: &'static [(&'static str, bool)] = &[$((stringify!($field), params!(@float $type)),)*];
        }
    )*};
    (@float f32) => { true };
    (@float $other:ident) => { false };
}

use params;

params! {
    Matmul { m: u32, n: u32, k: u32 }
    Rows { len: u32, width: u32 }
    Segments { segments: u32, width: u32 }
    Norm { rows: u32, width: u32, eps: f32 }
    NormBackward { rows: u32, width: u32 }
    Rope { pairs: u32, heads: u32, width: u32 }
    Loss { rows: u32, vocab: u32, scale: f32 }
    Length { len: u32 }
    Fill { len: u32, value: f32 }
    LossScale { clip: f32, beta1: f32, beta2: f32, dynamic_scale: u32, growth_interval: f32 }
    OptimizerParams { len: u32, decay_len: u32, learning_rate: f32, beta1: f32, beta2: f32, eps: f32, weight_decay: f32 }
    Append { len: u32, d: u32, context: u32 }
    Decode { rows: u32, heads: u32, context: u32, scale: f32 }
}

/// Workgroups that take squares for the norm of the gradient.
const NORM_PARTIALS: u32 = 512;

/// A size as shaders take it.
fn word(value: usize) -> u32 {
    u32::try_from(value).expect("sizes of a kernel fit 32 bits")
}

/// Workgroups of 256 that stride over so many values.
fn striding(len: usize) -> [u32; 3] {
    [word(len.div_ceil(256)).clamp(1, 65_535), 1, 1]
}

/// So many workgroups over two dimensions: lib/groups.wgsl counts them.
fn counted(groups: usize) -> [u32; 3] {
    let rows = groups.div_ceil(65_535).max(1);
    [word(groups.div_ceil(rows)), word(rows), 1]
}

/// Whether views begin and end at multiples of four values.
fn in_fours(views: &[View]) -> bool {
    views.iter().all(|view| view.offset.is_multiple_of(4) && view.len.is_multiple_of(4))
}

impl Gpu {
    /// Records a kernel. `operands` in binding order: inputs, then outputs.
    fn run<P: Params>(
        &mut self,
        kernel: &'static str,
        params: P,
        operands: &[View],
        groups: [u32; 3],
        flop: f64,
    ) {
        let variant = variant_of(kernel, self.precision, self.head_width);
        self.run_variant(
            kernel,
            &variant,
            params,
            operands,
            groups,
            Cost { flop, ..Cost::default() },
        );
    }

    /// The same for one of several variants; `cost` without the bytes.
    fn run_variant<P: Params>(
        &mut self,
        kernel: &'static str,
        variant: &Variant,
        params: P,
        operands: &[View],
        groups: [u32; 3],
        cost: Cost,
    ) {
        if let Err(error) = self.try_run(kernel, variant, params, operands, groups, cost) {
            self.trouble.get_or_insert(error);
        }
    }

    fn try_run<P: Params>(
        &mut self,
        kernel: &'static str,
        variant: &Variant,
        params: P,
        operands: &[View],
        groups: [u32; 3],
        cost: Cost,
    ) -> Result<()> {
        if groups.contains(&0) || self.refused.is_some() {
            return Ok(());
        }
        // Whoever reads or writes a gradient needs what was split before.
        if self
            .splits
            .first()
            .is_some_and(|split| operands.iter().any(|view| view.buffer == split.out.buffer))
        {
            self.reduce_partials();
        }
        let pipeline = self.device.pipeline(kernel, variant)?;
        let interface = &pipeline.interface;
        assert_eq!(interface.bindings.len(), operands.len(), "{kernel}: operands");
        if self.called.insert(kernel) {
            for ((name, float), field) in P::FIELDS.iter().zip(&interface.fields) {
                assert_eq!(
                    (*name, *float),
                    (field.name.as_str(), field.float),
                    "{kernel}: Params in Rust and in WGSL"
                );
            }
            assert!(
                interface.fields[P::FIELDS.len()..].iter().all(|field| field.name.ends_with("_at")),
                "{kernel}: Params misses a field"
            );
        }
        let mut bytes = vec![0; interface.params_bytes];
        bytes[..size_of::<P>()].copy_from_slice(bytemuck::bytes_of(&params));
        let alignment = self.device.limits.min_storage_buffer_offset_alignment as usize;
        let mut bound = Vec::with_capacity(operands.len());
        let mut touched = 0;
        for (binding, view) in interface.bindings.iter().zip(operands) {
            let buffer = &self.buffers[view.buffer];
            assert_eq!(
                buffer.element, binding.element,
                "{kernel}: {} is {}",
                binding.name, buffer.label
            );
            assert!(
                view.offset + view.len <= buffer.len,
                "{kernel}: {} lies beyond {}",
                binding.name,
                buffer.label
            );
            assert!(
                !binding.vectors || in_fours(&[*view]),
                "{kernel}: {} is not in fours",
                binding.name
            );
            let size = buffer.element.bytes();
            // A binding begins at a multiple of the alignment; what remains is told to the shader.
            let start = view.offset * size;
            let first = start / alignment * alignment;
            let end = ((view.offset + view.len) * size).next_multiple_of(4);
            bytes[binding.at..binding.at + 4]
                .copy_from_slice(&word((start - first) / size).to_ne_bytes());
            bound.push(Bound {
                buffer: view.buffer,
                offset: first as u64,
                size: (end - first).max(4) as u64,
            });
            touched += view.len * size;
        }
        let buffers = &self.buffers;
        let cost = Cost { bytes: touched as f64, ..cost };
        self.recorder.dispatch(
            kernel,
            &pipeline,
            &bytes,
            &bound,
            |b| buffers[b].buffer.clone(),
            groups,
            cost,
        )
    }

    fn ids(&self, tokens: Tokens) -> View {
        View { buffer: self.tokens[tokens.buffer].buffer, offset: tokens.offset, len: tokens.len }
    }

    /// The rows of `tokens` sorted by token, and the segments of equal ones; see embedding_backward.wgsl.
    fn sort_rows(&mut self, tokens: Tokens) -> (View, View, usize) {
        let ids = &self.tokens[tokens.buffer].ids[tokens.offset..tokens.offset + tokens.len];
        // By counting: stable, and linear in rows and vocabulary.
        let largest = ids.iter().copied().max().unwrap_or(0) as usize;
        let mut ends = vec![0u32; largest + 2];
        ids.iter().for_each(|&id| ends[id as usize + 1] += 1);
        let mut segments = Vec::new();
        for token in 0..=largest {
            if ends[token + 1] > 0 {
                segments.extend([token as u32, ends[token]]);
            }
            ends[token + 1] += ends[token];
        }
        let count = segments.len() / 2;
        segments.extend([0, word(ids.len())]);
        let mut order = vec![0u32; ids.len()];
        for (row, &id) in ids.iter().enumerate() {
            order[ends[id as usize] as usize] = row as u32;
            ends[id as usize] += 1;
        }
        let all = self.tokens[tokens.buffer].ids.len();
        let (order_view, segment_view) = match self.tokens[tokens.buffer].sorted {
            Some(views) => views,
            None => (
                self.create("order", Element::U32, all),
                self.create("segments", Element::U32, 2 * all + 2),
            ),
        };
        self.tokens[tokens.buffer].sorted = Some((order_view, segment_view));
        self.write(order_view.slice(0, order.len()), bytemuck::cast_slice(&order));
        self.write(segment_view.slice(0, segments.len()), bytemuck::cast_slice(&segments));
        // Bound whole, whatever this batch's number of segments: the bind group is the same in every step.
        (order_view, segment_view, count)
    }
}

impl Kernels for Gpu {
    fn device(&self) -> String {
        format!("gpu {}", self.device.adapter.name())
    }

    fn plan(&self) -> String {
        plan::text(&self.device, self.plan.as_ref())
    }

    fn precision(&self) -> Precision {
        self.precision
    }

    fn allocate(&mut self, label: &'static str, len: usize) -> View {
        self.create(label, Element::Value(Precision::F32), len)
    }

    fn allocate_stored(&mut self, label: &'static str, len: usize) -> View {
        self.create(label, Element::Value(self.precision), len)
    }

    fn allocate_tokens(&mut self, label: &'static str, len: usize) -> Tokens {
        let view = self.create(label, Element::U32, len);
        self.tokens.push(TokenBuffer { buffer: view.buffer, ids: vec![0; len], sorted: None });
        Tokens { buffer: self.tokens.len() - 1, offset: 0, len }
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
        assert_eq!(to.len, values.len(), "upload to {}", self.buffers[to.buffer].label);
        let bytes = encode(self.buffers[to.buffer].element, values);
        self.write(to, &bytes);
    }

    fn upload_tokens(&mut self, to: Tokens, values: &[u32]) {
        self.tokens[to.buffer].ids[to.offset..to.offset + to.len].copy_from_slice(values);
        let view = self.ids(to);
        self.write(view, bytemuck::cast_slice(values));
    }

    fn download(&mut self, from: View) -> Result<Vec<f32>> {
        let bytes = self.read(from)?;
        self.check()?;
        Ok(decode(self.buffers[from.buffer].element, &bytes))
    }

    fn snapshot(&mut self, views: &[View]) -> Result<Box<dyn Snapshot>> {
        self.reduce_partials();
        let mut copies = Vec::with_capacity(views.len());
        for view in views {
            let from = &self.buffers[view.buffer];
            assert_eq!(
                from.element,
                Element::Value(Precision::F32),
                "a snapshot of {}",
                from.label
            );
            let (offset, bytes) = (4 * view.offset as u64, 4 * view.len as u64);
            let buffer = self.spares.take(&self.device, bytes);
            self.recorder.encoder().copy_buffer_to_buffer(&from.buffer, offset, &buffer, 0, bytes);
            copies.push((buffer, bytes));
        }
        let submission = self.recorder.flush()?;
        self.check()?;
        let submission = submission.expect("the copies were recorded");
        let copies = copies
            .into_iter()
            .map(|(buffer, bytes)| (Reading::start(&buffer, bytes, submission.clone()), buffer))
            .collect();
        Ok(Box::new(Copies { device: self.device.clone(), spares: self.spares.clone(), copies }))
    }

    fn submit(&mut self, report: View) -> Ticket {
        self.reduce_partials();
        let ticket = Ticket(self.submitted);
        let place = (self.submitted % self.reports.len() as u64) as usize;
        assert!(
            self.submitted - self.collected < self.reports.len() as u64,
            "more steps in flight than the ring holds"
        );
        self.submitted += 1;
        let bytes = 4 * report.len as u64;
        let from = &self.buffers[report.buffer].buffer;
        self.recorder.encoder().copy_buffer_to_buffer(
            from,
            4 * report.offset as u64,
            &self.reports[place].buffer,
            0,
            bytes,
        );
        match self.recorder.flush() {
            Ok(Some(submission)) => {
                let report_place = &mut self.reports[place];
                report_place.len = report.len;
                report_place.reading =
                    Some(Reading::start(&report_place.buffer, bytes, submission));
            }
            Ok(None) => {}
            Err(error) => self.trouble = Some(error),
        }
        ticket
    }

    fn collect(&mut self, ticket: Ticket, wait: bool) -> Result<Option<Vec<f32>>> {
        assert_eq!(ticket.0, self.collected, "reports are collected in order");
        self.check()?;
        let place = (ticket.0 % self.reports.len() as u64) as usize;
        let Report { reading, buffer, len } = &mut self.reports[place];
        let Some(mut under_way) = reading.take() else { return Ok(None) };
        if wait {
            under_way.wait(&self.device)?;
        } else if !under_way.is_there(&self.device) {
            *reading = Some(under_way);
            return Ok(None);
        }
        let mut report = Vec::with_capacity(*len);
        under_way.take(&self.device, buffer, |bytes| {
            report.extend(bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)))
        })?;
        self.collected += 1;
        Ok(Some(report))
    }

    fn counts(&self) -> Counts {
        Counts {
            buffers: self.buffers.len() as u64,
            bind_groups: self.recorder.bind_groups(),
            dispatches: self.recorder.dispatches,
            submits: self.recorder.submits,
        }
    }

    fn profile(&mut self) -> Result<Vec<KernelTime>> {
        self.flush();
        self.check()?;
        Ok(self.recorder.take_times())
    }

    fn rows_at_once(&self, widest: usize) -> usize {
        let largest = self
            .device
            .limits
            .max_buffer_size
            .min(self.device.limits.max_storage_buffer_binding_size);
        largest as usize / (widest * self.precision.bytes()).max(1)
    }

    fn logits_at_once(&self) -> usize {
        // Large enough to fill the GPU, small enough for its cache to hold what the next kernel reads.
        1 << 25
    }

    fn fill(&mut self, out: View, value: f32) {
        self.run("fill", Fill { len: word(out.len), value }, &[out], striding(out.len), 0.0);
    }

    fn round(&mut self, x: View, shadow: View) {
        if x != shadow {
            self.run(
                "round_stored",
                Length { len: word(x.len) },
                &[x, shadow],
                striding(x.len),
                0.0,
            );
        }
    }

    fn embedding_forward(&mut self, width: usize, tokens: Tokens, table: View, out: View) {
        let params = Rows { len: word(out.len), width: word(width) };
        self.run(
            "embedding_forward",
            params,
            &[self.ids(tokens), table, out],
            striding(out.len),
            0.0,
        );
    }

    fn embedding_backward(&mut self, width: usize, tokens: Tokens, dout: View, dtable: View) {
        let (order, segments, count) = self.sort_rows(tokens);
        let params = Segments { segments: word(count), width: word(width) };
        self.run(
            "embedding_backward",
            params,
            &[order, segments, dout, dtable],
            counted(count),
            0.0,
        );
    }

    fn rmsnorm_forward(
        &mut self,
        width: usize,
        eps: f32,
        x: View,
        gain: View,
        out: View,
        rstd: View,
    ) {
        let params = Norm { rows: word(rstd.len), width: word(width), eps };
        self.run("rmsnorm_forward", params, &[x, gain, out, rstd], counted(rstd.len), 0.0);
    }

    fn rmsnorm_backward(
        &mut self,
        width: usize,
        x: View,
        gain: View,
        rstd: View,
        dout: View,
        dx: View,
        dx_half: View,
        dgain: View,
    ) {
        let rows = rstd.len;
        let params = NormBackward { rows: word(rows), width: word(width) };
        let parts = rows.div_ceil(PARTIAL_ROWS as usize);
        let part = self.split(parts, dgain);
        let operands = [x, gain, rstd, dout, dx, part, dx_half];
        if dx == dx_half {
            self.run("rmsnorm_backward", params, &operands[..6], counted(parts), 0.0);
        } else {
            self.run("rmsnorm_backward_half", params, &operands, counted(parts), 0.0);
        }
    }

    fn matmul_nt(&mut self, m: usize, n: usize, k: usize, a: View, b: View, c: View) {
        self.matmul("matmul_nt", "matmul_nt_coop", [m, n, k], a, b, c);
    }

    fn matmul_nn(&mut self, m: usize, n: usize, k: usize, a: View, b: View, c: View) {
        self.matmul("matmul_nn", "matmul_nn_coop", [m, n, k], a, b, c);
    }

    fn matmul_tn(&mut self, m: usize, n: usize, k: usize, a: View, b: View, c: View) {
        self.matmul_tn_split([m, n, k], a, b, c);
    }

    fn matmul_nt_rope(
        &mut self,
        shape: AttentionShape,
        k: usize,
        a: View,
        b: View,
        positions: Tokens,
        table: View,
        qkv: View,
    ) {
        self.head_width_is(shape);
        let (m, n) = (shape.rows(), 3 * shape.heads * shape.width);
        let params = Matmul { m: word(m), n: word(n), k: word(k) };
        // Four elements of half a head turn together.
        let fused = shape.width.is_multiple_of(8)
            && self.matmul_coop(
                "matmul_nt_rope_coop",
                [m, n, k],
                params,
                &[a, b, self.ids(positions), table, qkv],
                &[a, b, table, qkv],
            );
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
        a: View,
        b: View,
        x: View,
        branch: View,
        out: View,
    ) {
        let (params, operands) = (Matmul { m: word(m), n: word(n), k: word(k) }, [a, b, x, out]);
        if !self.matmul_coop("matmul_nt_residual_coop", [m, n, k], params, &operands, &operands) {
            self.matmul_nt(m, n, k, a, b, branch);
            self.residual_forward(x, branch, out);
        }
    }

    fn matmul_nt_swiglu(
        &mut self,
        m: usize,
        width: usize,
        k: usize,
        a: View,
        b: View,
        gate_up: View,
        out: View,
    ) {
        let (n, operands) = (2 * width, [a, b, gate_up, out]);
        let params = Matmul { m: word(m), n: word(n), k: word(k) };
        let fused = width.is_multiple_of(4)
            && self.matmul_coop("matmul_nt_swiglu_coop", [m, n, k], params, &operands, &operands);
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
        a: View,
        b: View,
        gate_up: View,
        dout: View,
        dgate_up: View,
    ) {
        let (params, operands) =
            (Matmul { m: word(m), n: word(width), k: word(k) }, [a, b, gate_up, dgate_up]);
        if !self.matmul_coop("matmul_nn_swiglu_coop", [m, width, k], params, &operands, &operands) {
            self.matmul_nn(m, width, k, a, b, dout);
            self.swiglu_backward(width, gate_up, dout, dgate_up);
        }
    }

    fn matvec_nt(&mut self, m: usize, n: usize, k: usize, a: View, b: View, c: View) {
        let params = Matmul { m: word(m), n: word(n), k: word(k) };
        self.run("matvec_nt", params, &[a, b, c], counted(m * n), 2.0 * (m * n * k) as f64);
    }

    fn rope_forward(&mut self, shape: AttentionShape, positions: Tokens, table: View, qkv: View) {
        self.rope("rope_forward", shape, positions, table, qkv);
    }

    fn rope_backward(&mut self, shape: AttentionShape, positions: Tokens, table: View, dqkv: View) {
        self.rope("rope_backward", shape, positions, table, dqkv);
    }

    fn attention_forward(&mut self, shape: AttentionShape, qkv: View, out: View, lse: View) {
        self.attention_forward_on_device(shape, qkv, out, lse);
    }

    fn attention_backward(
        &mut self,
        shape: AttentionShape,
        qkv: View,
        out: View,
        lse: View,
        dout: View,
        dqkv: View,
    ) {
        self.attention_backward_on_device(shape, qkv, out, lse, dout, None, dqkv);
    }

    fn attention_backward_rope(
        &mut self,
        shape: AttentionShape,
        qkv: View,
        out: View,
        lse: View,
        dout: View,
        positions: Tokens,
        table: View,
        dqkv: View,
    ) {
        self.attention_backward_on_device(
            shape,
            qkv,
            out,
            lse,
            dout,
            Some((positions, table)),
            dqkv,
        );
    }

    fn swiglu_forward(&mut self, width: usize, gate_up: View, out: View) {
        let params = Rows { len: word(out.len), width: word(width) };
        self.run("swiglu_forward", params, &[gate_up, out], striding(out.len), 0.0);
    }

    fn swiglu_backward(&mut self, width: usize, gate_up: View, dout: View, dgate_up: View) {
        let params = Rows { len: word(dout.len), width: word(width) };
        self.run("swiglu_backward", params, &[gate_up, dout, dgate_up], striding(dout.len), 0.0);
    }

    fn residual_forward(&mut self, x: View, branch: View, out: View) {
        self.run(
            "residual_forward",
            Length { len: word(out.len) },
            &[x, branch, out],
            striding(out.len),
            0.0,
        );
    }

    fn cross_entropy_forward(&mut self, vocab: usize, logits: View, targets: Tokens, losses: View) {
        let params = Loss { rows: word(losses.len), vocab: word(vocab), scale: 0.0 };
        self.run(
            "cross_entropy_forward",
            params,
            &[self.ids(targets), logits, losses],
            counted(losses.len),
            0.0,
        );
    }

    fn cross_entropy_backward(
        &mut self,
        vocab: usize,
        scale: f32,
        state: View,
        logits: View,
        targets: Tokens,
        losses: View,
    ) {
        let params = Loss { rows: word(losses.len), vocab: word(vocab), scale };
        self.run(
            "cross_entropy_backward",
            params,
            &[state, self.ids(targets), logits, losses],
            counted(losses.len),
            0.0,
        );
    }

    fn sum(&mut self, values: View, total: View) {
        self.run("sum", Length { len: word(values.len) }, &[values, total], [1, 1, 1], 0.0);
    }

    fn grad_norm(&mut self, gradients: View, norm: View) {
        // Its own parts are used up at once: what was split before has to be added by then.
        self.reduce_partials();
        let parts = self.split(NORM_PARTIALS as usize, norm);
        self.splits.clear();
        self.run(
            "grad_norm_partials",
            Length { len: word(gradients.len) },
            &[gradients, parts],
            [NORM_PARTIALS, 1, 1],
            0.0,
        );
        self.run("grad_norm", Length { len: NORM_PARTIALS }, &[parts, norm], [1, 1, 1], 0.0);
    }

    fn loss_scale_update(&mut self, update: &Update, state: View) {
        let Update { clip, optimizer: Optimizer { beta1, beta2, .. }, .. } = *update;
        let dynamic_scale = u32::from(self.precision == Precision::F16);
        let params = LossScale {
            clip,
            beta1,
            beta2,
            dynamic_scale,
            growth_interval: GROWTH_INTERVAL as f32,
        };
        self.run("loss_scale_update", params, &[state], [1, 1, 1], 0.0);
    }

    fn optimizer_update(
        &mut self,
        update: &Update,
        state: View,
        weights: View,
        shadow: View,
        gradients: View,
        slots: &[View],
    ) {
        let Optimizer { kind, beta1, beta2, eps, weight_decay } = update.optimizer;
        let params = OptimizerParams {
            len: word(weights.len),
            decay_len: word(update.decay_len),
            learning_rate: update.learning_rate,
            beta1,
            beta2,
            eps,
            weight_decay,
        };
        let mut operands = [&[state, gradients, weights][..], slots].concat();
        let kernel = if weights == shadow {
            kind.rule().name
        } else {
            operands.push(shadow);
            kind.rule().half_kernel
        };
        self.run(kernel, params, &operands, striding(weights.len), 0.0);
    }

    fn cache_append(
        &mut self,
        shape: AttentionShape,
        context: usize,
        slots: Tokens,
        positions: Tokens,
        qkv: View,
        cache: View,
    ) {
        let d = shape.heads * shape.width;
        let len = shape.rows() * 2 * d;
        let params = Append { len: word(len), d: word(d), context: word(context) };
        self.run(
            "cache_append",
            params,
            &[self.ids(slots), self.ids(positions), qkv, cache],
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
        qkv: View,
        cache: View,
        out: View,
    ) {
        self.head_width_is(shape);
        let (rows, heads) = (shape.rows(), shape.heads);
        let params = Decode {
            rows: word(rows),
            heads: word(heads),
            context: word(context),
            scale: 1.0 / (shape.width as f32).sqrt(),
        };
        let operands = [self.ids(slots), self.ids(positions), qkv, cache, out];
        self.run("attention_decode", params, &operands, counted(rows * heads), 0.0);
    }
}

impl Gpu {
    fn rope(
        &mut self,
        kernel: &'static str,
        shape: AttentionShape,
        positions: Tokens,
        table: View,
        qkv: View,
    ) {
        let pairs = shape.rows() * shape.heads * shape.width;
        let params =
            Rope { pairs: word(pairs), heads: word(shape.heads), width: word(shape.width) };
        self.run(kernel, params, &[self.ids(positions), table, qkv], striding(pairs), 0.0);
    }

    fn head_width_is(&self, shape: AttentionShape) {
        assert_eq!(
            shape.width, self.head_width as usize,
            "the engine was opened for heads of another width"
        );
    }
}
