// c[m, n] += a[k, m]^T b[k, n] on cooperative matrices, the gradient of a layer's weight: matmul_tn where the GPU has them for f16, n is a
// multiple of four and a's rows are of whole vectors. k is split as there: workgroup z sums rows [z * part, (z + 1) * part) into parts[z].
//
// Dispatch: (ceil(n / TILE_N), ceil(m / TILE_M), parts) workgroups of LANES.
#import lib/staged
#import lib/accumulators
#import lib/coop
#import lib/columns

const A_ALONG_K: bool = false;
const B_ALONG_K: bool = false;

struct Params {
    m: u32,
    n: u32,
    k: u32,
    // From one row of a to the next.
    a_pitch: u32,
    // Rows of a part, a multiple of TILE_K.
    part: u32,
    // 1: out is c and is added to; 0: out is [parts, m, n].
    accumulate: u32,
    a_at: u32,
    b_at: u32,
    out_at: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4<f16>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f16>>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4<f32>>;

// The part that the workgroup sums.
var<private> part: u32;

fn epilogue(row: u32, column: u32, values: vec4<f32>) {
    let at = (p.out_at + (part * p.m + row) * p.n + column) / 4u;
    if p.accumulate == 1u {
        out[at] += values;
    } else {
        out[at] = values;
    }
}

fn a_pitch() -> u32 { return p.a_pitch; }

@compute @workgroup_size(LANES)
fn matmul_tn_coop(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    part = group.z;
    matmul_tile(group, lane, vec2(group.z * p.part, min((group.z + 1u) * p.part, p.k)));
}
