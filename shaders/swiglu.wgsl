// out = silu(gate) * up, gate_up [rows, 2 width] (Shazeer, arXiv 2002.05202)
//
// Dispatch: up to 65,535 workgroups of 256, each invocation strides over out.
#import lib/store

struct Params {
    len: u32,
    width: u32,
    gate_up_at: u32,
    out_at: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> gate_up: array<Stored>;
@group(0) @binding(2) var<storage, read_write> out: array<Stored>;

@compute @workgroup_size(256)
fn swiglu_forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    for (var i = id.x; i < p.len; i += groups.x * 256u) {
        let at = p.gate_up_at + i / p.width * 2u * p.width + i % p.width;
        let gate = widen(gate_up[at]);
        out[p.out_at + i] = narrow(gate / (1.0 + exp(-gate)) * widen(gate_up[at + p.width]));
    }
}
