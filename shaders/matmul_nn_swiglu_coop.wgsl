// dgate_up[m, 2 n]: the gradients of gate and up, that of their SwiGLU being a[m, k] b[k, n], on cooperative matrices; see swiglu_backward.wgsl.
//
// Dispatch: (ceil(n / TILE_N), ceil(m / TILE_M)) workgroups of LANES.
#import lib/staged
#import lib/accumulators
#import lib/coop
#import lib/columns

const A_ALONG_K: bool = true;
const B_ALONG_K: bool = false;

struct Params {
    m: u32,
    n: u32,
    k: u32,
    a_at: u32,
    b_at: u32,
    gate_up_at: u32,
    dgate_up_at: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4<f16>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f16>>;
@group(0) @binding(3) var<storage, read> gate_up: array<vec4<f16>>;
@group(0) @binding(4) var<storage, read_write> dgate_up: array<vec4<f16>>;

fn epilogue(row: u32, column: u32, dy: vec4<f32>) {
    let at = 2u * row * p.n + column;
    let gate = vec4<f32>(gate_up[(p.gate_up_at + at) / 4u]);
    let up = vec4<f32>(gate_up[(p.gate_up_at + at + p.n) / 4u]);
    let sigmoid = 1.0 / (1.0 + exp(-gate));
    let silu = gate * sigmoid;
    dgate_up[(p.dgate_up_at + at) / 4u] = vec4<f16>(dy * up * (sigmoid + silu * (1.0 - sigmoid)));
    dgate_up[(p.dgate_up_at + at + p.n) / 4u] = vec4<f16>(dy * silu);
}

fn a_pitch() -> u32 { return p.k; }

@compute @workgroup_size(LANES)
fn matmul_nn_swiglu_coop(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    matmul_tile(group, lane, vec2(0u, p.k));
}
