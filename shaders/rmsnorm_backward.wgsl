// dx[r] += rstd (g - x * rstd^2 * mean(g * x)) with g = dout[r] * gain
//
// Dispatch: a workgroup of LANES per row.
#import lib/store
#import lib/groups
#import lib/reduce

struct Params {
    rows: u32,
    width: u32,
    x_at: u32,
    gain_at: u32,
    rstd_at: u32,
    dout_at: u32,
    dx_at: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> gain: array<f32>;
@group(0) @binding(3) var<storage, read> rstd: array<f32>;
@group(0) @binding(4) var<storage, read> dout: array<Stored>;
@group(0) @binding(5) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(LANES)
fn rmsnorm_backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group_index(group, groups);
    if row >= p.rows {
        return;
    }
    let first = row * p.width;
    var product = 0.0;
    for (var i = lane; i < p.width; i += LANES) {
        product += widen(dout[p.dout_at + first + i]) * gain[p.gain_at + i] * x[p.x_at + first + i];
    }
    let scale = rstd[p.rstd_at + row];
    let factor = scale * scale * reduce_sum(lane, product) / f32(p.width);
    for (var i = lane; i < p.width; i += LANES) {
        let g = widen(dout[p.dout_at + first + i]) * gain[p.gain_at + i];
        dx[p.dx_at + first + i] += scale * (g - x[p.x_at + first + i] * factor);
    }
}
