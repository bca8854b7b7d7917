// Ends sums that were split: out[i] += parts[0][i] + parts[1][i] + ..., in this order, for up to SEGMENTS of them in one dispatch.
//
// Segment s is (first, parts, out_at, unused): it has the values from `first` to the next segment's, of `len` in all, of its [parts, values]
// in part_s; out_at counts from where `out` begins.
//
// Dispatch: up to 65,535 workgroups of 256, each invocation strides over the values.
const SEGMENTS: u32 = 7u;

struct Params {
    count: u32,
    len: u32,
    unused: u32,
    unused_too: u32,
    segments: array<vec4<u32>, SEGMENTS>,
    part_0_at: u32,
    part_1_at: u32,
    part_2_at: u32,
    part_3_at: u32,
    part_4_at: u32,
    part_5_at: u32,
    part_6_at: u32,
    out_at: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> part_0: array<f32>;
@group(0) @binding(2) var<storage, read> part_1: array<f32>;
@group(0) @binding(3) var<storage, read> part_2: array<f32>;
@group(0) @binding(4) var<storage, read> part_3: array<f32>;
@group(0) @binding(5) var<storage, read> part_4: array<f32>;
@group(0) @binding(6) var<storage, read> part_5: array<f32>;
@group(0) @binding(7) var<storage, read> part_6: array<f32>;
@group(0) @binding(8) var<storage, read_write> out: array<f32>;

fn part(segment: u32, at: u32) -> f32 {
    switch segment {
        case 0u: { return part_0[p.part_0_at + at]; }
        case 1u: { return part_1[p.part_1_at + at]; }
        case 2u: { return part_2[p.part_2_at + at]; }
        case 3u: { return part_3[p.part_3_at + at]; }
        case 4u: { return part_4[p.part_4_at + at]; }
        case 5u: { return part_5[p.part_5_at + at]; }
        default: { return part_6[p.part_6_at + at]; }
    }
}

@compute @workgroup_size(256)
fn reduce_partials(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    for (var i = id.x; i < p.len; i += groups.x * 256u) {
        var s = 0u;
        while s + 1u < p.count && p.segments[s + 1u].x <= i {
            s++;
        }
        let segment = p.segments[s];
        let end = select(p.len, p.segments[min(s + 1u, SEGMENTS - 1u)].x, s + 1u < p.count);
        let values = end - segment.x;
        let at = i - segment.x;
        var sum = 0.0;
        for (var z = 0u; z < segment.y; z++) {
            sum += part(s, z * values + at);
        }
        out[p.out_at + segment.z + at] += sum;
    }
}
