//! The kernel table: for every kernel its shader, its workgroup and how it is chosen, all that is not in the shader itself.
//!
//! To add one: its shader, its row here, its method in `kernels.rs`, its dispatch in `gpu/kernels/`, its twin in `cpu/`, its
//! tests. Element-wise kernels have their row, dispatch and twin from `elementwise.rs`, optimizers their rows from
//! `optimizer.rs`. `tests/gradients/coverage.rs` says what is missing.
use crate::elementwise::{self, Elementwise};
use crate::kernels::Precision;
use crate::optimizer::{OptimizerKind, Rule};
use crate::wgsl::{CoopShape, Tiles, Variant};

/// A kernel: an entry point of a shader, and how it is compiled and chosen.
#[derive(Debug)]
pub struct Kernel {
    /// The entry point.
    pub name: &'static str,
    /// Its file in `shaders/`, without `.wgsl`.
    pub file: &'static str,
    /// What runs it.
    pub workgroup: Workgroup,
    /// The method of [`Kernels`](crate::Kernels) it serves.
    pub method: &'static str,
    /// Compiled for one head width, `HEAD_WIDTH` in the shader.
    pub heads: bool,
    /// A contraction over the rows of the batch, split into partials where the output has few tiles.
    pub split_k: bool,
    /// The same on cooperative matrices, where the device has them and the operands allow it.
    pub coop: Option<&'static Kernel>,
    /// Keeps its bounds checks on software adapters.
    pub checked_on_software: bool,
    /// Part of a gradient or of what has one: a test compares the method with central differences or its formula.
    pub differentiable: bool,
}

/// What a workgroup is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workgroup {
    /// Number of invocations: `LANES` in the shader.
    Lanes(u32),
    /// The subgroups of a matmul's block tile; a `Plan` says how many.
    CoopMatmul,
    /// The subgroups of an attention tile; `attention_tiles` says how many.
    CoopAttention,
}

/// Head width of the kernels that are the same for all.
const NO_HEADS: u32 = 4;

impl Kernel {
    /// A kernel of workgroups of `lanes`, which serves the method of its name.
    pub const fn lanes(name: &'static str, file: &'static str, lanes: u32) -> Self {
        Kernel {
            name,
            file,
            workgroup: Workgroup::Lanes(lanes),
            method: name,
            heads: false,
            split_k: false,
            coop: None,
            checked_on_software: false,
            differentiable: false,
        }
    }

    /// An element-wise kernel.
    const fn elementwise(kernel: &Elementwise) -> Self {
        Self::lanes(kernel.name, kernel.file, 256).differentiable()
    }

    /// A matmul on cooperative matrices, alone in the file of its name.
    pub const fn coop_matmul(name: &'static str, method: &'static str) -> Self {
        let workgroup = Workgroup::CoopMatmul;
        Kernel { workgroup, ..Self::lanes(name, name, 0).serves(method).differentiable() }
    }

    /// Attention on cooperative matrices.
    pub const fn coop_attention(
        name: &'static str,
        file: &'static str,
        method: &'static str,
    ) -> Self {
        let workgroup = Workgroup::CoopAttention;
        Kernel { workgroup, ..Self::lanes(name, file, 0).serves(method).heads().differentiable() }
    }

    /// Of another method than that of its name.
    pub const fn serves(self, method: &'static str) -> Self {
        Kernel { method, ..self }
    }

    /// Sets [`heads`](Self#structfield.heads).
    pub const fn heads(self) -> Self {
        Kernel { heads: true, ..self }
    }

    /// Sets [`split_k`](Self#structfield.split_k).
    pub const fn split_k(self) -> Self {
        Kernel { split_k: true, ..self }
    }

    /// Sets [`coop`](Self#structfield.coop).
    pub const fn with_coop(self, coop: &'static Kernel) -> Self {
        Kernel { coop: Some(coop), ..self }
    }

    /// Sets [`checked_on_software`](Self#structfield.checked_on_software).
    pub const fn checked_on_software(self) -> Self {
        Kernel { checked_on_software: true, ..self }
    }

    /// Sets [`differentiable`](Self#structfield.differentiable).
    pub const fn differentiable(self) -> Self {
        Kernel { differentiable: true, ..self }
    }

    /// Whether it computes on cooperative matrices.
    pub fn on_coop(&self) -> bool {
        !matches!(self.workgroup, Workgroup::Lanes(_))
    }

    /// How it is compiled for this precision, where it is scalar.
    pub fn scalar_variant(&self, precision: Precision, head_width: u32) -> Variant {
        let lanes = if let Workgroup::Lanes(lanes) = self.workgroup { lanes } else { 0 };
        Variant { precision, lanes, head_width: self.head_width(head_width), coop: None }
    }

    /// How it is compiled for these tiles, where it is on cooperative matrices.
    pub fn coop_variant(&self, head_width: u32, shape: CoopShape, tiles: Tiles) -> Variant {
        Variant {
            precision: Precision::F16,
            lanes: tiles.lanes(shape),
            head_width: self.head_width(head_width),
            coop: Some((shape, tiles)),
        }
    }

    fn head_width(&self, head_width: u32) -> u32 {
        if self.heads { head_width } else { NO_HEADS }
    }
}

macro_rules! kernels {
    ($($name:ident = $kernel:expr;)*) => {
        $(
            /// The row of the kernel of this name.
            pub static $name: Kernel = $kernel;)*
        const ROWS: &[&Kernel] = &[$(&$name),*];
    };
}

/// Rows that follow from other declarations: two of each optimizer, one of each element-wise kernel.
const OPTIMIZERS: &[OptimizerKind] = OptimizerKind::ALL;
const DERIVED: usize = 2 * OPTIMIZERS.len() + elementwise::ALL.len();

static DERIVED_ROWS: [Kernel; DERIVED] = {
    let mut rows = [const { Kernel::lanes("", "", 0) }; DERIVED];
    let mut i = 0;
    while i < OPTIMIZERS.len() {
        let Rule { name, half_kernel, .. } = *OPTIMIZERS[i].rule();
        rows[2 * i] = Kernel::lanes(name, name, 256).serves("optimizer_update");
        rows[2 * i + 1] = Kernel::lanes(half_kernel, name, 256).serves("optimizer_update");
        i += 1;
    }
    let mut j = 0;
    while j < elementwise::ALL.len() {
        rows[2 * i + j] = Kernel::elementwise(elementwise::ALL[j]);
        j += 1;
    }
    rows
};

static ALL_ROWS: [&Kernel; ROWS.len() + DERIVED] = {
    let mut all = [ROWS[0]; ROWS.len() + DERIVED];
    let mut i = 0;
    while i < all.len() {
        all[i] = if i < ROWS.len() { ROWS[i] } else { &DERIVED_ROWS[i - ROWS.len()] };
        i += 1;
    }
    all
};

/// The table: what is compiled, dispatched and tested follows from it.
pub static KERNELS: &[&Kernel] = &ALL_ROWS;

kernels! {
    MUON_MOMENTUM = Kernel::lanes("muon_momentum", "muon", 256).serves("optimizer_update");
    MUON_NORMALISE = Kernel::lanes("muon_normalise", "muon", 256).serves("optimizer_update");
    MUON_GRAM = Kernel::lanes("muon_gram", "muon_matmul", 256).serves("optimizer_update");
    MUON_POLYNOMIAL = Kernel::lanes("muon_polynomial", "muon_matmul", 256)
        .serves("optimizer_update");
    REDUCE_PARTIALS = Kernel::lanes("reduce_partials", "reduce_partials", 256).serves("matmul_tn");
    ATTENTION_FORWARD = Kernel::lanes("attention_forward", "attention", 64)
        .heads().differentiable().with_coop(&ATTENTION_FORWARD_COOP);
    ATTENTION_BACKWARD_QUERIES = Kernel::lanes(
        "attention_backward_queries",
        "attention_backward",
        64,
    ).serves("attention_backward").heads().differentiable().with_coop(&ATTENTION_BACKWARD_QUERIES_COOP);
    ATTENTION_BACKWARD_KEYS = Kernel::lanes("attention_backward_keys", "attention_backward", 64)
        .serves("attention_backward").heads().differentiable()
        .with_coop(&ATTENTION_BACKWARD_KEYS_COOP);
    ATTENTION_FORWARD_COOP = Kernel::coop_attention(
        "attention_forward_coop",
        "attention_coop",
        "attention_forward",
    );
    ATTENTION_BACKWARD_QUERIES_COOP = Kernel::coop_attention(
        "attention_backward_queries_coop",
        "attention_backward_queries_coop",
        "attention_backward",
    );
    ATTENTION_BACKWARD_KEYS_COOP = Kernel::coop_attention(
        "attention_backward_keys_coop",
        "attention_backward_keys_coop",
        "attention_backward",
    );
    ATTENTION_DECODE = Kernel::lanes("attention_decode", "attention_decode", 64)
        .heads().checked_on_software();
    CACHE_APPEND = Kernel::lanes("cache_append", "cache_append", 256);
    CROSS_ENTROPY_FORWARD = Kernel::lanes("cross_entropy_forward", "cross_entropy", 256)
        .differentiable();
    CROSS_ENTROPY_BACKWARD = Kernel::lanes("cross_entropy_backward", "cross_entropy", 256)
        .differentiable();
    EMBEDDING_FORWARD = Kernel::lanes("embedding_forward", "embedding", 256).differentiable();
    EMBEDDING_BACKWARD = Kernel::lanes("embedding_backward", "embedding_backward", 256)
        .differentiable();
    FILL = Kernel::lanes("fill", "fill", 256);
    GRAD_NORM_PARTIALS = Kernel::lanes("grad_norm_partials", "grad_norm", 256).serves("grad_norm");
    GRAD_NORM = Kernel::lanes("grad_norm", "grad_norm", 256);
    LOSS_SCALE_UPDATE = Kernel::lanes("loss_scale_update", "loss_scale", 1);
    MATMUL_NT = Kernel::lanes("matmul_nt", "matmul", 256)
        .differentiable().with_coop(&MATMUL_NT_COOP);
    MATMUL_NN = Kernel::lanes("matmul_nn", "matmul", 256)
        .differentiable().with_coop(&MATMUL_NN_COOP);
    MATMUL_TN = Kernel::lanes("matmul_tn", "matmul_tn", 256)
        .split_k().differentiable().with_coop(&MATMUL_TN_COOP);
    MATMUL_NN_SWIGLU_COOP = Kernel::coop_matmul("matmul_nn_swiglu_coop", "matmul_nn_swiglu");
    MATMUL_NN_COOP = Kernel::coop_matmul("matmul_nn_coop", "matmul_nn");
    MATMUL_NT_RESIDUAL_COOP = Kernel::coop_matmul("matmul_nt_residual_coop", "matmul_nt_residual");
    MATMUL_NT_ROPE_COOP = Kernel::coop_matmul("matmul_nt_rope_coop", "matmul_nt_rope").heads();
    MATMUL_NT_SWIGLU_COOP = Kernel::coop_matmul("matmul_nt_swiglu_coop", "matmul_nt_swiglu");
    MATMUL_NT_COOP = Kernel::coop_matmul("matmul_nt_coop", "matmul_nt");
    MATMUL_TN_COOP = Kernel::coop_matmul("matmul_tn_coop", "matmul_tn").split_k();
    MATVEC_NT = Kernel::lanes("matvec_nt", "matvec", 64);
    RMSNORM_FORWARD = Kernel::lanes("rmsnorm_forward", "rmsnorm", 64).differentiable();
    RMSNORM_BACKWARD = Kernel::lanes("rmsnorm_backward", "rmsnorm_backward", 256).differentiable();
    RMSNORM_BACKWARD_HALF = Kernel::lanes("rmsnorm_backward_half", "rmsnorm_backward", 256)
        .serves("rmsnorm_backward").differentiable();
    ROPE_FORWARD = Kernel::lanes("rope_forward", "rope", 256).differentiable();
    ROPE_BACKWARD = Kernel::lanes("rope_backward", "rope", 256).differentiable();
    ROUND_STORED = Kernel::lanes("round_stored", "round", 256).serves("round");
    SUM = Kernel::lanes("sum", "sum", 256);
    SWIGLU_FORWARD = Kernel::lanes("swiglu_forward", "swiglu", 256).differentiable();
    SWIGLU_BACKWARD = Kernel::lanes("swiglu_backward", "swiglu_backward", 256).differentiable();
}

/// The kernel with this entry point.
pub fn named(name: &str) -> Option<&'static Kernel> {
    KERNELS.iter().copied().find(|kernel| kernel.name == name)
}
