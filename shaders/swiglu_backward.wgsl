// With s = sigmoid(gate):  dgate = dout * up * (s + gate s (1 - s)),  dup = dout * gate * s;  dgate_up [rows, 2 width]
//
// Dispatch: up to 65,535 workgroups of 256, each invocation strides over dout.
#import lib/store

struct Params {
    len: u32,
    width: u32,
    gate_up_at: u32,
    dout_at: u32,
    dgate_up_at: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> gate_up: array<Stored>;
@group(0) @binding(2) var<storage, read> dout: array<Stored>;
@group(0) @binding(3) var<storage, read_write> dgate_up: array<Stored>;

@compute @workgroup_size(256)
fn swiglu_backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    for (var i = id.x; i < p.len; i += groups.x * 256u) {
        let at = i / p.width * 2u * p.width + i % p.width;
        let gate = widen(gate_up[p.gate_up_at + at]);
        let up = widen(gate_up[p.gate_up_at + at + p.width]);
        let d = widen(dout[p.dout_at + i]);
        let s = 1.0 / (1.0 + exp(-gate));
        dgate_up[p.dgate_up_at + at] = narrow(d * up * (s + gate * s * (1.0 - s)));
        dgate_up[p.dgate_up_at + at + p.width] = narrow(d * gate * s);
    }
}
