// weights_half = x, rounded to the storage precision.
//
// Dispatch: up to 65,535 workgroups of 256, each invocation strides over weights_half.
#import lib/store

struct Params {
    len: u32,
    x_at: u32,
    weights_half_at: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> weights_half: array<Stored>;

@compute @workgroup_size(256)
fn round_stored(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    for (var i = id.x; i < p.len; i += groups.x * 256u) {
        weights_half[p.weights_half_at + i] = narrow(x[p.x_at + i]);
    }
}
