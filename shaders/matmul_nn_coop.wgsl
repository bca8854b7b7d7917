// c[m, n] = a[m, k] b[k, n] on cooperative matrices, the gradient of a layer's input: matmul_nn where the GPU has them for f16, n is a multiple of four and a's rows
// are of whole vectors, finite beyond k.
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
    // From one row of a to the next, and of c: logits are padded to whole vectors.
    a_pitch: u32,
    c_pitch: u32,
    a_at: u32,
    b_at: u32,
    c_at: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4<f16>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f16>>;
@group(0) @binding(3) var<storage, read_write> c: array<vec4<f16>>;

fn epilogue(row: u32, column: u32, values: vec4<f32>) {
    c[(p.c_at + row * p.c_pitch + column) / 4u] = vec4<f16>(values);
}

fn a_pitch() -> u32 { return p.a_pitch; }

@compute @workgroup_size(LANES)
fn matmul_nn_coop(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    matmul_tile(group, lane, vec2(0u, p.k));
}
