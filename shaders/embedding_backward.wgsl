// dtable[tokens[r], :] += dout[r, :], each token's rows summed in a fixed order and without atomics: the rows are sorted by
// token beforehand, and every workgroup owns one token.
//
//   order    [rows] the rows, sorted by token, and among equal tokens by row
//   segments [segments, 2] a token, and where its rows begin in order; a last pair ends the last one
//
// Dispatch: segments workgroups of 256: 64 columns at a time, by four invocations each, whose sums are added in order.
#import lib/groups

struct Params {
    segments: u32,
    width: u32,
    order_at: u32,
    segment_at: u32,
    dout_at: u32,
    dtable_at: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> order: array<u32>;
@group(0) @binding(2) var<storage, read> segment: array<u32>;
@group(0) @binding(3) var<storage, read> dout: array<f32>;
@group(0) @binding(4) var<storage, read_write> dtable: array<f32>;

var<workgroup> quarters: array<f32, 256>;

@compute @workgroup_size(256)
fn embedding_backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let s = group_index(group, groups);
    if s >= p.segments {
        return;
    }
    let token = segment[p.segment_at + 2u * s];
    let first = segment[p.segment_at + 2u * s + 1u];
    let end = segment[p.segment_at + 2u * s + 3u];
    let quarter = lane / 64u;
    for (var start = 0u; start < p.width; start += 64u) {
        let column = start + lane % 64u;
        var sum = 0.0;
        if column < p.width {
            for (var at = first + quarter; at < end; at += 4u) {
                sum += dout[p.dout_at + order[p.order_at + at] * p.width + column];
            }
        }
        quarters[lane] = sum;
        workgroupBarrier();
        if quarter == 0u && column < p.width {
            let total = quarters[lane] + quarters[lane + 64u] + quarters[lane + 128u] + quarters[lane + 192u];
            dtable[p.dtable_at + token * p.width + column] += total;
        }
        workgroupBarrier();
    }
}
