// qkv[m, n] = a[m, k] b[n, k]^T on cooperative matrices, then queries and keys are turned by their positions as in rope.wgsl: a pair of columns is an
// element of the first half of a head and its partner in the second.
//
// Dispatch: (ceil(n / TILE_N), ceil(m / TILE_M)) workgroups of LANES. HEAD_WIDTH is a multiple of eight.
#import lib/staged
#import lib/accumulators
#import lib/coop
#import lib/pairs

const A_ALONG_K: bool = true;
const B_ALONG_K: bool = true;
const HALF: u32 = HEAD_WIDTH / 2u;

struct Params {
    m: u32,
    n: u32,
    k: u32,
    turned: u32,
    a_at: u32,
    b_at: u32,
    positions_at: u32,
    table_at: u32,
    qkv_at: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4<f16>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f16>>;
@group(0) @binding(3) var<storage, read> positions: array<u32>;
@group(0) @binding(4) var<storage, read> table: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> qkv: array<vec4<f16>>;

fn pair(j: u32) -> vec2<u32> {
    let first = j / HALF * HEAD_WIDTH + j % HALF;
    return vec2(first, first + HALF);
}

fn epilogue(row: u32, j: u32, first: vec4<f32>, second: vec4<f32>) {
    let columns = pair(j);
    var cosine = vec4(1.0);
    var sine = vec4(0.0);
    // The last columns are values, which stay.
    if columns.x < p.turned {
        let at = p.table_at + positions[p.positions_at + row] * HEAD_WIDTH + j % HALF;
        cosine = table[at / 4u];
        sine = table[(at + HALF) / 4u];
    }
    let at = p.qkv_at + row * p.n;
    qkv[(at + columns.x) / 4u] = vec4<f16>(first * cosine - second * sine);
    qkv[(at + columns.y) / 4u] = vec4<f16>(second * cosine + first * sine);
}

fn a_pitch() -> u32 { return p.k; }

@compute @workgroup_size(LANES)
fn matmul_nt_rope_coop(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    matmul_tile(group, lane, vec2(0u, p.k));
}
