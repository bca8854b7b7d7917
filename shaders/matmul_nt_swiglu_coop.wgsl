// gate_up[m, n] = a[m, k] b[n, k]^T on cooperative matrices, and out[m, n / 2] = silu(gate) * up: a pair of columns is a gate and its up.
//
// Dispatch: (ceil(n / TILE_N), ceil(m / TILE_M)) workgroups of LANES.
#import lib/staged
#import lib/accumulators
#import lib/coop
#import lib/pairs

const A_ALONG_K: bool = true;
const B_ALONG_K: bool = true;

struct Params {
    m: u32,
    n: u32,
    k: u32,
    a_at: u32,
    b_at: u32,
    gate_up_at: u32,
    out_at: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4<f16>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f16>>;
@group(0) @binding(3) var<storage, read_write> gate_up: array<vec4<f16>>;
@group(0) @binding(4) var<storage, read_write> out: array<vec4<f16>>;

fn pair(j: u32) -> vec2<u32> { return vec2(j, p.n / 2u + j); }

fn epilogue(row: u32, j: u32, gate: vec4<f32>, up: vec4<f32>) {
    let width = p.n / 2u;
    gate_up[(p.gate_up_at + row * p.n + j) / 4u] = vec4<f16>(gate);
    gate_up[(p.gate_up_at + row * p.n + width + j) / 4u] = vec4<f16>(up);
    out[(p.out_at + row * width + j) / 4u] = vec4<f16>(gate / (1.0 + exp(-gate)) * up);
}

fn a_pitch() -> u32 { return p.k; }

@compute @workgroup_size(LANES)
fn matmul_nt_swiglu_coop(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    matmul_tile(group, lane, vec2(0u, p.k));
}
