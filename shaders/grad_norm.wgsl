// norm[0] = sqrt(sum(gradients^2)) in two passes: grad_norm_partials sums squares per workgroup, grad_norm the parts.
//
// Dispatch: grad_norm_partials as many workgroups of LANES as there are parts; grad_norm one.
#import lib/reduce

struct Params {
    len: u32,
    values_at: u32,
    out_at: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> values: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(LANES)
fn grad_norm_partials(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    var own = 0.0;
    for (var i = group.x * LANES + lane; i < p.len; i += groups.x * LANES) {
        own += values[p.values_at + i] * values[p.values_at + i];
    }
    own = reduce_sum(lane, own);
    if lane == 0u {
        out[p.out_at + group.x] = own;
    }
}

@compute @workgroup_size(LANES)
fn grad_norm(@builtin(local_invocation_index) lane: u32) {
    var own = 0.0;
    for (var i = lane; i < p.len; i += LANES) {
        own += values[p.values_at + i];
    }
    own = reduce_sum(lane, own);
    if lane == 0u {
        out[p.out_at] = sqrt(own);
    }
}
