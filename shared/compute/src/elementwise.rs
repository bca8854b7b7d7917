//! Element-wise kernels: each value of the output depends on the inputs at its own place. One declaration gives the row in the
//! kernel table, the dispatch on the GPU and the CPU twin.

/// An element-wise kernel.
///
/// Its shader has `len` as the first field of `Params`, and 256 invocations in a workgroup, which stride over the output.
#[derive(Debug)]
pub struct Elementwise {
    /// The entry point, and the method of [`Kernels`](crate::Kernels).
    pub name: &'static str,
    /// Its file in `shaders/`, without `.wgsl`.
    pub file: &'static str,
    /// What the CPU computes: the same formula.
    pub twin: Twin,
}

/// What an element-wise kernel computes, on some of its values: inputs, then the output, all of one length.
#[derive(Clone, Copy, Debug)]
pub enum Twin {
    /// Of one input.
    Unary(fn(&[f32], &mut [f32])),
    /// Of two inputs.
    Binary(fn(&[f32], &[f32], &mut [f32])),
}

macro_rules! elementwise {
    ($($(#[$doc:meta])* $name:ident = $kernel:expr;)*) => {
        $($(#[$doc])* pub static $name: Elementwise = $kernel;)*
        /// All of them.
        pub static ALL: &[&Elementwise] = &[$(&$name),*];
    };
}

elementwise! {
    /// `out = x + branch`
    RESIDUAL_FORWARD = Elementwise {
        name: "residual_forward",
        file: "residual",
        twin: Twin::Binary(residual_forward),
    };
}

fn residual_forward(x: &[f32], branch: &[f32], out: &mut [f32]) {
    for ((out, x), branch) in out.iter_mut().zip(x).zip(branch) {
        *out = x + branch;
    }
}
