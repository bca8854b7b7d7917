// rstd[r] = 1 / sqrt(mean(x[r]^2) + eps), out[r] = x[r] * rstd[r] * gain (Zhang and Sennrich, arXiv 1910.07467)
//
// Dispatch: a workgroup of LANES per row.
#import lib/store
#import lib/groups
#import lib/reduce

struct Params {
    rows: u32,
    width: u32,
    eps: f32,
    x_at: u32,
    gain_at: u32,
    out_at: u32,
    rstd_at: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> gain: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<Stored>;
@group(0) @binding(4) var<storage, read_write> rstd: array<f32>;

@compute @workgroup_size(LANES)
fn rmsnorm_forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group_index(group, groups);
    if row >= p.rows {
        return;
    }
    let x_row = p.x_at + row * p.width;
    var squares = 0.0;
    for (var i = lane; i < p.width; i += LANES) {
        squares += x[x_row + i] * x[x_row + i];
    }
    let scale = 1.0 / sqrt(reduce_sum(lane, squares) / f32(p.width) + p.eps);
    for (var i = lane; i < p.width; i += LANES) {
        out[p.out_at + row * p.width + i] = narrow(x[x_row + i] * scale * gain[p.gain_at + i]);
    }
    if lane == 0u {
        rstd[p.rstd_at + row] = scale;
    }
}
