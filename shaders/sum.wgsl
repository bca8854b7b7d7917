// total[0] += sum(values), by one workgroup in a fixed order.
//
// Dispatch: one workgroup of LANES.
#import lib/reduce

struct Params {
    len: u32,
    values_at: u32,
    total_at: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> values: array<f32>;
@group(0) @binding(2) var<storage, read_write> total: array<f32>;

@compute @workgroup_size(LANES)
fn sum(@builtin(local_invocation_index) lane: u32) {
    var own = 0.0;
    for (var i = lane; i < p.len; i += LANES) {
        own += values[p.values_at + i];
    }
    own = reduce_sum(lane, own);
    if lane == 0u {
        total[p.total_at] += own;
    }
}
