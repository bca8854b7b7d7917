// One AdamW update (Loshchilov and Hutter, arXiv 1711.05101) of all weights in one flat buffer, those before decay_len with
// decay. The state says how much of the gradient counts. adamw_half also writes the rounded copy that products read; in f32 that is
// the weights themselves, and nothing may be bound twice.
//
// Dispatch: up to 65,535 workgroups of 256, each invocation strides over the weights.
#import lib/store

struct Params {
    len: u32,
    decay_len: u32,
    learning_rate: f32,
    beta1: f32,
    beta2: f32,
    eps: f32,
    weight_decay: f32,
    state_at: u32,
    gradients_at: u32,
    weights_at: u32,
    m_at: u32,
    v_at: u32,
    weights_half_at: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> state: array<f32>;
@group(0) @binding(2) var<storage, read> gradients: array<f32>;
@group(0) @binding(3) var<storage, read_write> weights: array<f32>;
@group(0) @binding(4) var<storage, read_write> m: array<f32>;
@group(0) @binding(5) var<storage, read_write> v: array<f32>;
@group(0) @binding(6) var<storage, read_write> weights_half: array<Stored>;

// What holds for all weights: rate, correction of the second moment, factor of the gradient.
fn constants() -> vec3<f32> {
    let rate = p.learning_rate / (1.0 - state[p.state_at + BETA1_POWER]);
    return vec3(rate, 1.0 / (1.0 - state[p.state_at + BETA2_POWER]), state[p.state_at + FACTOR]);
}

// The weight after its update.
fn updated(i: u32, constants: vec3<f32>) -> f32 {
    let g = gradients[p.gradients_at + i] * constants.z;
    let first = p.beta1 * m[p.m_at + i] + (1.0 - p.beta1) * g;
    let second = p.beta2 * v[p.v_at + i] + (1.0 - p.beta2) * g * g;
    m[p.m_at + i] = first;
    v[p.v_at + i] = second;
    let keep = select(1.0, 1.0 - p.learning_rate * p.weight_decay, i < p.decay_len);
    return weights[p.weights_at + i] * keep - constants.x * first / (sqrt(second * constants.y) + p.eps);
}

@compute @workgroup_size(256)
fn adamw(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let constants = constants();
    if constants.z == 0.0 {
        return;
    }
    for (var i = id.x; i < p.len; i += groups.x * 256u) {
        weights[p.weights_at + i] = updated(i, constants);
    }
}

@compute @workgroup_size(256)
fn adamw_half(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let constants = constants();
    if constants.z == 0.0 {
        return;
    }
    for (var i = id.x; i < p.len; i += groups.x * 256u) {
        let weight = updated(i, constants);
        weights[p.weights_at + i] = weight;
        weights_half[p.weights_half_at + i] = narrow(weight);
    }
}
