// dx[r] += rstd (g - x * rstd^2 * mean(g * x)) with g = dout[r] * gain, and dx_half, its rounded copy; the gradient of the gain,
// sum_r dout[r] * x[r] * rstd[r], in parts of PARTIAL_ROWS rows that reduce_partials adds up.
//
// A workgroup takes PARTIAL_ROWS rows, TEAMS at a time, each by 64 invocations; then each invocation takes a column of all of them.
// rmsnorm_backward_half writes dx_half too: in f32 that is dx itself, and nothing may be bound twice.
//
// Dispatch: ceil(rows / PARTIAL_ROWS) workgroups of LANES.
#import lib/store
#import lib/groups

struct Params {
    rows: u32,
    width: u32,
    x_at: u32,
    gain_at: u32,
    rstd_at: u32,
    dout_at: u32,
    dx_at: u32,
    part_at: u32,
    dx_half_at: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> gain: array<f32>;
@group(0) @binding(3) var<storage, read> rstd: array<f32>;
@group(0) @binding(4) var<storage, read> dout: array<Stored>;
@group(0) @binding(5) var<storage, read_write> dx: array<f32>;
@group(0) @binding(6) var<storage, read_write> part: array<f32>;
@group(0) @binding(7) var<storage, read_write> dx_half: array<Stored>;

const TEAM: u32 = 64u;
const TEAMS: u32 = LANES / TEAM;
var<workgroup> staging: array<f32, LANES>;

// The sum over the lanes of a team, as a tree: always in the same order.
fn team_sum(lane: u32, value: f32) -> f32 {
    staging[lane] = value;
    for (var half = TEAM / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane % TEAM < half {
            staging[lane] += staging[lane + half];
        }
    }
    workgroupBarrier();
    let sum = staging[lane / TEAM * TEAM];
    workgroupBarrier();
    return sum;
}

// What the gradient of a row needs: rstd, and rstd^2 mean(g * x). All lanes of the workgroup call it.
fn scales_of(row: u32, lane: u32) -> vec2<f32> {
    let first = row * p.width;
    var product = 0.0;
    var scale = 0.0;
    if row < p.rows {
        scale = rstd[p.rstd_at + row];
        for (var i = lane % TEAM; i < p.width; i += TEAM) {
            product += widen(dout[p.dout_at + first + i]) * gain[p.gain_at + i] * x[p.x_at + first + i];
        }
    }
    return vec2(scale, scale * scale * team_sum(lane, product) / f32(p.width));
}

// dx of column i of the row that begins at `first`, the row's gradient added.
fn gradient(first: u32, i: u32, scales: vec2<f32>) -> f32 {
    let g = widen(dout[p.dout_at + first + i]) * gain[p.gain_at + i];
    return dx[p.dx_at + first + i] + scales.x * (g - x[p.x_at + first + i] * scales.y);
}

fn gain_part(index: u32, lane: u32) {
    let end = min((index + 1u) * PARTIAL_ROWS, p.rows);
    for (var column = lane; column < p.width; column += LANES) {
        var sum = 0.0;
        for (var row = index * PARTIAL_ROWS; row < end; row++) {
            let i = row * p.width + column;
            sum += widen(dout[p.dout_at + i]) * x[p.x_at + i] * rstd[p.rstd_at + row];
        }
        part[p.part_at + index * p.width + column] = sum;
    }
}

@compute @workgroup_size(LANES)
fn rmsnorm_backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group_index(group, groups);
    if index * PARTIAL_ROWS >= p.rows {
        return;
    }
    for (var start = 0u; start < PARTIAL_ROWS; start += TEAMS) {
        let row = index * PARTIAL_ROWS + start + lane / TEAM;
        let scales = scales_of(row, lane);
        for (var i = lane % TEAM; i < p.width && row < p.rows; i += TEAM) {
            dx[p.dx_at + row * p.width + i] = gradient(row * p.width, i, scales);
        }
    }
    gain_part(index, lane);
}

@compute @workgroup_size(LANES)
fn rmsnorm_backward_half(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group_index(group, groups);
    if index * PARTIAL_ROWS >= p.rows {
        return;
    }
    for (var start = 0u; start < PARTIAL_ROWS; start += TEAMS) {
        let row = index * PARTIAL_ROWS + start + lane / TEAM;
        let scales = scales_of(row, lane);
        for (var i = lane % TEAM; i < p.width && row < p.rows; i += TEAM) {
            let sum = gradient(row * p.width, i, scales);
            dx[p.dx_at + row * p.width + i] = sum;
            dx_half[p.dx_half_at + row * p.width + i] = narrow(sum);
        }
    }
    gain_part(index, lane);
}
