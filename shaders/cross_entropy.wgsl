// losses[r] = logsumexp(logits[r]) - logits[r, targets[r]], a target of 0xffffffff counting 0; and in place of the logits
// their gradients, logits[r] = scale * loss_scale * (softmax(logits[r]) - onehot(targets[r])).
//
// Each lane keeps a running maximum and sum of its columns (Milakov and Gimelshein, arXiv 1805.02867), then the lanes' are joined.
//
// Dispatch: a workgroup of LANES per row.
#import lib/store
#import lib/groups
#import lib/reduce

struct Params {
    rows: u32,
    vocab: u32,
    // From one row of logits to the next.
    pitch: u32,
    scale: f32,
    state_at: u32,
    targets_at: u32,
    logits_at: u32,
    losses_at: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> state: array<f32>;
@group(0) @binding(2) var<storage, read> targets: array<u32>;
@group(0) @binding(3) var<storage, read_write> logits: array<Stored>;
@group(0) @binding(4) var<storage, read_write> losses: array<f32>;

const LOWEST: f32 = -3.4028234e38;
const NO_TARGET: u32 = 0xffffffffu;

// Maximum of the row's logits, and the logarithm of the sum of their exponentials.
fn log_sum_exp(first: u32, lane: u32) -> vec2<f32> {
    var largest = LOWEST;
    var sum = 0.0;
    for (var i = lane; i < p.vocab; i += LANES) {
        let logit = widen(logits[first + i]);
        let larger = max(largest, logit);
        sum = sum * exp(largest - larger) + exp(logit - larger);
        largest = larger;
    }
    let row_largest = reduce_max(lane, largest);
    let row_sum = reduce_sum(lane, sum * exp(largest - row_largest));
    return vec2(row_largest, row_largest + log(row_sum));
}

@compute @workgroup_size(LANES)
fn cross_entropy_forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group_index(group, groups);
    if row >= p.rows {
        return;
    }
    let first = p.logits_at + row * p.pitch;
    let lse = log_sum_exp(first, lane).y;
    if lane == 0u {
        let t = targets[p.targets_at + row];
        var loss = 0.0;
        if t != NO_TARGET {
            loss = lse - widen(logits[first + t]);
        }
        losses[p.losses_at + row] = loss;
    }
}

@compute @workgroup_size(LANES)
fn cross_entropy_backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group_index(group, groups);
    if row >= p.rows {
        return;
    }
    let first = p.logits_at + row * p.pitch;
    let lse = log_sum_exp(first, lane).y;
    let t = targets[p.targets_at + row];
    if lane == 0u {
        var loss = 0.0;
        if t != NO_TARGET {
            loss = lse - widen(logits[first + t]);
        }
        losses[p.losses_at + row] = loss;
    }
    // The loss has to be read before another lane writes over its logit, which lies in storage.
    storageBarrier();
    let scale = select(p.scale * state[p.state_at + LOSS_SCALE], 0.0, t == NO_TARGET);
    for (var i = lane; i < p.vocab; i += LANES) {
        let weight = exp(widen(logits[first + i]) - lse);
        logits[first + i] = narrow(scale * (weight - select(0.0, 1.0, i == t)));
    }
}
