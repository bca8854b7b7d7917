// Decides over the update, on the device, so that the host need not wait for the norm: unscales the norm in the state, sets
// the factor of the gradients (0 where the norm is not finite: the update is skipped), and moves the loss scale (Micikevicius
// et al., arXiv 1710.03740): half after an overflow, twice after GROWTH_INTERVAL good steps. The indices are those of
// `compute::state`.
//
// Dispatch: one invocation.
struct Params {
    clip: f32,
    beta1: f32,
    beta2: f32,
    // 1 where the scale moves (f16), else 0.
    dynamic_scale: u32,
    growth_interval: f32,
    state_at: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> state: array<f32>;

@compute @workgroup_size(1)
fn loss_scale_update() {
    let s = p.state_at;
    let scale = state[s + LOSS_SCALE];
    let norm = state[s + GRAD_NORM] / scale;
    state[s + GRAD_NORM] = norm;
    // By its bits: compilers may take it that no value is infinite or NaN.
    if (bitcast<u32>(norm) & 0x7f800000u) == 0x7f800000u {
        state[s + SKIPPED] += 1.0;
        state[s + GOOD_STEPS] = 0.0;
        state[s + FACTOR] = 0.0;
        if p.dynamic_scale == 1u {
            state[s + LOSS_SCALE] = scale * 0.5;
        }
        return;
    }
    state[s + BETA1_POWER] *= p.beta1;
    state[s + BETA2_POWER] *= p.beta2;
    state[s + FACTOR] = min(1.0, p.clip / (norm + 1e-6)) / scale;
    state[s + GOOD_STEPS] += 1.0;
    if p.dynamic_scale == 1u && state[s + GOOD_STEPS] >= p.growth_interval {
        state[s + LOSS_SCALE] = scale * 2.0;
        state[s + GOOD_STEPS] = 0.0;
    }
}
