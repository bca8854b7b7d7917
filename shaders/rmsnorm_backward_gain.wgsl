// The gradient of the gain, dgain = sum_r dout[r] * x[r] * rstd[r], in parts of PART_ROWS rows that add_parts adds up.
//
// Dispatch: (ceil(width / 64), ceil(rows / PART_ROWS)) workgroups of 64: an invocation per column.
#import lib/store

struct Params {
    rows: u32,
    width: u32,
    x_at: u32,
    rstd_at: u32,
    dout_at: u32,
    part_at: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> rstd: array<f32>;
@group(0) @binding(3) var<storage, read> dout: array<Stored>;
@group(0) @binding(4) var<storage, read_write> part: array<f32>;

@compute @workgroup_size(64)
fn rmsnorm_backward_gain(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = group.x * 64u + lane;
    if column >= p.width {
        return;
    }
    let end = min((group.y + 1u) * PART_ROWS, p.rows);
    var sum = 0.0;
    for (var row = group.y * PART_ROWS; row < end; row++) {
        let i = row * p.width + column;
        sum += widen(dout[p.dout_at + i]) * x[p.x_at + i] * rstd[p.rstd_at + row];
    }
    part[p.part_at + group.y * p.width + column] = sum;
}
