// Ends sums that were split: out[i] += parts[0][i] + parts[1][i] + ..., in this order, for up to SEGMENTS of them in one dispatch.
//
// A segment is (first, parts, part_at, out_at): it has the values from `first` to the next segment's, of `len` in all; part_at
// and out_at count from where the bindings begin. Of its [parts, values] in `part`.
//
// Dispatch: up to 65,535 workgroups of 256, each invocation strides over the values.
const SEGMENTS: u32 = 12u;

struct Params {
    count: u32,
    len: u32,
    unused: u32,
    unused_too: u32,
    segments: array<vec4<u32>, SEGMENTS>,
    part_at: u32,
    out_at: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> part: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(256)
fn reduce_partials(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    for (var i = id.x; i < p.len; i += groups.x * 256u) {
        var segment = p.segments[0];
        var end = p.len;
        for (var s = 1u; s < p.count; s++) {
            if p.segments[s].x > i {
                end = p.segments[s].x;
                break;
            }
            segment = p.segments[s];
        }
        let values = end - segment.x;
        let at = i - segment.x;
        var sum = 0.0;
        for (var z = 0u; z < segment.y; z++) {
            sum += part[p.part_at + segment.z + z * values + at];
        }
        out[p.out_at + segment.w + at] += sum;
    }
}
