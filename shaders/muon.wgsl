// Muon (Jordan, 2024, kellerjordan.github.io/posts/muon) for matrices of one shape, all but its matmuls (muon_matmul.wgsl). With
// g the gradient times FACTOR, S the shorter and L the longer side of a matrix:
//
//   muon_momentum    momentum = beta momentum + (1 - beta) g;  x = beta momentum + (1 - beta) g, as [S, L]
//   muon_normalise   x /= ||x||_F, or 0 where that is 0
//   muon             weights = weights (1 - learning_rate weight_decay) - rate x;  muon_half also their half copy
//
// Matrix j of a dispatch is number first + j of the group; `side_by_side` of them lie in each layer, layers `stride` apart. Its x
// lies in `space` from x_from + j rows columns on. With cautious = 1 weights decay only where the update makes them smaller, too
// (arXiv 2510.12402).
//
// Dispatch: muon_normalise one workgroup of LANES for each matrix; the others up to 65,535 workgroups, each invocation strides over
// the values.
#import lib/groups
#import lib/reduce
#import lib/store

struct Params {
    len: u32,
    rows: u32,
    columns: u32,
    offset: u32,
    first: u32,
    side_by_side: u32,
    stride: u32,
    x_from: u32,
    beta: f32,
    rate: f32,
    decay: f32,
    cautious: u32,
    state_at: u32,
    gradients_at: u32,
    momentum_at: u32,
    space_at: u32,
    weights_at: u32,
    weights_half_at: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> state: array<f32>;
@group(0) @binding(2) var<storage, read> gradients: array<f32>;
@group(0) @binding(3) var<storage, read_write> momentum: array<f32>;
@group(0) @binding(4) var<storage, read_write> space: array<f32>;
@group(0) @binding(5) var<storage, read_write> weights: array<f32>;
@group(0) @binding(6) var<storage, read_write> weights_half: array<Stored>;

// Where value i of the dispatch is among the weights.
fn place(i: u32) -> u32 {
    let values = p.rows * p.columns;
    let number = p.first + i / values;
    return p.offset + number / p.side_by_side * p.stride + number % p.side_by_side * values + i % values;
}

// Where it is in space: x lies on its longer side.
fn turned(i: u32) -> u32 {
    let values = p.rows * p.columns;
    let at = i % values;
    let across = at % p.columns * p.rows + at / p.columns;
    return p.space_at + p.x_from + i / values * values + select(at, across, p.rows > p.columns);
}

@compute @workgroup_size(LANES)
fn muon_momentum(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let factor = state[p.state_at + FACTOR];
    if factor == 0.0 {
        return;
    }
    for (var i = id.x; i < p.len; i += groups.x * LANES) {
        let at = place(i);
        let g = gradients[p.gradients_at + at] * factor;
        let mean = p.beta * momentum[p.momentum_at + at] + (1.0 - p.beta) * g;
        momentum[p.momentum_at + at] = mean;
        space[turned(i)] = p.beta * mean + (1.0 - p.beta) * g;
    }
}

@compute @workgroup_size(LANES)
fn muon_normalise(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let values = p.rows * p.columns;
    let matrix = group_index(group, groups);
    if matrix * values >= p.len {
        return;
    }
    let start = p.space_at + p.x_from + matrix * values;
    var own = 0.0;
    for (var i = lane; i < values; i += LANES) {
        own += space[start + i] * space[start + i];
    }
    let squares = reduce_sum(lane, own);
    let factor = select(0.0, 1.0 / sqrt(squares), squares > 0.0);
    for (var i = lane; i < values; i += LANES) {
        space[start + i] *= factor;
    }
}

// The weight after its update.
fn updated(i: u32, at: u32) -> f32 {
    let weight = weights[p.weights_at + at];
    let x = space[turned(i)];
    let decays = p.cautious == 0u || weight * x >= 0.0;
    return weight * select(1.0, 1.0 - p.decay, decays) - p.rate * x;
}

@compute @workgroup_size(LANES)
fn muon(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    if state[p.state_at + FACTOR] == 0.0 {
        return;
    }
    for (var i = id.x; i < p.len; i += groups.x * LANES) {
        let at = place(i);
        weights[p.weights_at + at] = updated(i, at);
    }
}

@compute @workgroup_size(LANES)
fn muon_half(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    if state[p.state_at + FACTOR] == 0.0 {
        return;
    }
    for (var i = id.x; i < p.len; i += groups.x * LANES) {
        let at = place(i);
        let weight = updated(i, at);
        weights[p.weights_at + at] = weight;
        weights_half[p.weights_half_at + at] = narrow(weight);
    }
}
