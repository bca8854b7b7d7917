// Tiles in workgroup memory as vectors of four: 8 bytes a store. Not for Metal, whose matrices load from scalars alone.
//
// Needs: staged, an array of StagedSlot, of the file that sizes it.
// Gives: StagedSlot, STAGED_SLOTS (of a vector), put.
alias StagedSlot = vec4<f16>;
const STAGED_SLOTS: u32 = 1u;
fn put(at: u32, values: vec4<f16>) { staged[at] = values; }
