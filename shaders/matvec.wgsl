// The product for few rows (decoding): c[m, n] = a[m, k] b[n, k]^T, one workgroup per output, so that the bits of a row do
// not depend on how many rows there are.
//
// Dispatch: m * n workgroups of LANES.
#import lib/store
#import lib/groups
#import lib/reduce

struct Params {
    m: u32,
    n: u32,
    k: u32,
    a_at: u32,
    b_at: u32,
    c_at: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<Stored>;
@group(0) @binding(2) var<storage, read> b: array<Stored>;
@group(0) @binding(3) var<storage, read_write> c: array<Stored>;

@compute @workgroup_size(LANES)
fn matvec_nt(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let output = group_index(group, groups);
    if output >= p.m * p.n {
        return;
    }
    let row = output / p.n;
    let column = output % p.n;
    var sum = 0.0;
    for (var l = lane; l < p.k; l += LANES) {
        sum += widen(a[p.a_at + row * p.k + l]) * widen(b[p.b_at + column * p.k + l]);
    }
    sum = reduce_sum(lane, sum);
    if lane == 0u {
        c[p.c_at + output] = narrow(sum);
    }
}
