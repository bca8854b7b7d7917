// out = x + branch: the residual stream is f32.
//
// Dispatch: up to 65,535 workgroups of 256, each invocation strides over out.
#import lib/store

struct Params {
    len: u32,
    x_at: u32,
    branch_at: u32,
    out_at: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> branch: array<Stored>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(256)
fn residual_forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    for (var i = id.x; i < p.len; i += groups.x * 256u) {
        out[p.out_at + i] = x[p.x_at + i] + widen(branch[p.branch_at + i]);
    }
}
