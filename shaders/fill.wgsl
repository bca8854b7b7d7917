// out = value
//
// Dispatch: up to 65,535 workgroups of 256, each invocation strides over out.
struct Params {
    len: u32,
    value: f32,
    out_at: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(256)
fn fill(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    for (var i = id.x; i < p.len; i += groups.x * 256u) {
        out[p.out_at + i] = p.value;
    }
}
