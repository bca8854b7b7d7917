// Ends a sum that was split: out[i] += parts[0][i] + parts[1][i] + ..., in this order.
//
// Dispatch: up to 65,535 workgroups of 256, each invocation strides over out.
struct Params {
    parts: u32,
    len: u32,
    part_at: u32,
    out_at: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> part: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(256)
fn add_parts(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    for (var i = id.x; i < p.len; i += groups.x * 256u) {
        var sum = 0.0;
        for (var z = 0u; z < p.parts; z++) {
            sum += part[p.part_at + z * p.len + i];
        }
        out[p.out_at + i] += sum;
    }
}
