// Tiles in workgroup memory as vectors of four: 8 bytes a store. Not for Metal, whose matrices load from scalars alone.
alias StagedSlot = vec4<f16>;
const STAGED_SLOTS: u32 = 1u;
fn put(at: u32, values: vec4<f16>) { staged[at] = values; }
