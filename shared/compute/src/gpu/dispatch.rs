//! One dispatch: a kernel with its parameters and operands, checked against what its shader takes.
use super::engine::Gpu;
use super::pipeline::{Binding, Interface};
use super::record::{Bound, Cost};
use super::table::Kernel;
use crate::kernels::{Result, View};
use crate::wgsl::Variant;

/// `Params` as Rust knows them: the fields before those that say where operands begin. A kernel's first call compares
/// them with what naga read from the shader.
pub trait Params: bytemuck::Pod {
    /// Names, and whether the value is f32 (else u32).
    const FIELDS: &'static [(&'static str, bool)];
}

macro_rules! params {
    ($($name:ident { $($field:ident: $type:ident),* })*) => {$(
        #[repr(C)]
        #[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
        pub(super) struct $name { $(pub $field: $type,)* }
        impl Params for $name {
            const FIELDS: &'static [(&'static str, bool)] = &[$((stringify!($field), params!(@float $type)),)*];
        }
    )*};
    (@float f32) => { true };
    (@float $other:ident) => { false };
}

pub(super) use params;

/// A size as shaders take it.
pub(super) fn word(value: usize) -> u32 {
    u32::try_from(value).expect("sizes of a kernel fit 32 bits")
}

/// Workgroups of 256 that stride over this number of values.
pub(super) fn striding(len: usize) -> [u32; 3] {
    [word(len.div_ceil(256)).clamp(1, 65_535), 1, 1]
}

/// This number of workgroups over two dimensions: lib/groups.wgsl counts them.
pub(super) fn counted(groups: usize) -> [u32; 3] {
    let rows = groups.div_ceil(65_535).max(1);
    [word(groups.div_ceil(rows)), word(rows), 1]
}

/// Whether views begin and end at multiples of four values.
pub(super) fn in_fours(views: &[View]) -> bool {
    views.iter().all(|view| view.offset.is_multiple_of(4) && view.len.is_multiple_of(4))
}

impl Gpu {
    /// Records a kernel. `operands` in binding order: inputs, then outputs.
    pub fn run<P: Params>(
        &mut self,
        kernel: &'static Kernel,
        params: P,
        operands: &[View],
        groups: [u32; 3],
        flop: f64,
    ) {
        let variant = kernel.scalar_variant(self.precision, self.head_width);
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
    pub fn run_variant<P: Params>(
        &mut self,
        kernel: &'static Kernel,
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
        kernel: &'static Kernel,
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
            .partials
            .first()
            .is_some_and(|first| operands.iter().any(|view| view.buffer == first.out.buffer))
        {
            self.reduce_partials();
        }
        let pipeline = self.device.pipeline(kernel, variant)?;
        let (name, interface) = (kernel.name, &pipeline.interface);
        assert_eq!(interface.bindings.len(), operands.len(), "{name}: operands");
        if self.called.insert(name) {
            compare_params::<P>(name, interface);
        }
        let mut bytes = vec![0; interface.params_bytes];
        bytes[..size_of::<P>()].copy_from_slice(bytemuck::bytes_of(&params));
        let (mut bound, mut touched) = (Vec::with_capacity(operands.len()), 0);
        for (binding, view) in interface.bindings.iter().zip(operands) {
            let (place, first) = self.bind(name, binding, *view);
            bytes[binding.at..binding.at + 4].copy_from_slice(&word(first).to_ne_bytes());
            touched += view.len * binding.element.bytes();
            bound.push(place);
        }
        self.fallbacks.add(cost.flop);
        let buffers = &self.buffers;
        let cost = Cost { bytes: touched as f64, ..cost };
        self.recorder.dispatch(
            name,
            &pipeline,
            &bytes,
            &bound,
            |b| buffers[b].buffer.clone(),
            groups,
            cost,
        )
    }

    /// Where a view is bound, and its first element from there: a binding begins at a multiple of the device's alignment.
    fn bind(&self, name: &str, binding: &Binding, view: View) -> (Bound, usize) {
        let buffer = &self.buffers[view.buffer];
        let of = &binding.name;
        assert_eq!(buffer.element, binding.element, "{name}: {of} is {}", buffer.label);
        let inside = view.offset + view.len <= buffer.len;
        assert!(inside, "{name}: {of} lies beyond {}", buffer.label);
        assert!(!binding.vectors || in_fours(&[view]), "{name}: {of} is not in fours");
        let alignment = self.device.limits.min_storage_buffer_offset_alignment as usize;
        let size = buffer.element.bytes();
        let start = view.offset * size;
        let first = start / alignment * alignment;
        let end = ((view.offset + view.len) * size).next_multiple_of(4);
        let size_bound = (end - first).max(4) as u64;
        let bound = Bound { buffer: view.buffer, offset: first as u64, size: size_bound };
        (bound, (start - first) / size)
    }
}

/// Compares `Params` of Rust with those that naga read from the shader.
fn compare_params<P: Params>(name: &str, interface: &Interface) {
    for ((field, float), read) in P::FIELDS.iter().zip(&interface.fields) {
        let (own, shader) = ((*field, *float), (read.name.as_str(), read.float));
        assert_eq!(own, shader, "{name}: Params in Rust and in WGSL");
    }
    assert!(
        interface.fields[P::FIELDS.len()..].iter().all(|field| field.name.ends_with("_at")),
        "{name}: Params misses a field"
    );
}
