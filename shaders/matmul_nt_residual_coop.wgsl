// out[m, n] = x[m, n] + a[m, k] b[n, k]^T on cooperative matrices: a branch is added to the residual stream, in f32, where its product ends.
//
// Dispatch: (ceil(n / TILE_N), ceil(m / TILE_M)) workgroups of LANES.
#import lib/staged
#import lib/accumulators
#import lib/coop
#import lib/columns

const A_ALONG_K: bool = true;
const B_ALONG_K: bool = true;

struct Params {
    m: u32,
    n: u32,
    k: u32,
    a_at: u32,
    b_at: u32,
    x_at: u32,
    out_at: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4<f16>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f16>>;
@group(0) @binding(3) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> out: array<vec4<f32>>;

fn epilogue(row: u32, column: u32, values: vec4<f32>) {
    let at = row * p.n + column;
    out[(p.out_at + at) / 4u] = x[(p.x_at + at) / 4u] + values;
}

fn a_pitch() -> u32 { return p.k; }

@compute @workgroup_size(LANES)
fn matmul_nt_residual_coop(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    matmul_tile(group, lane, vec2(0u, p.k));
}
