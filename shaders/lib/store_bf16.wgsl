// Activation precision bf16: the upper half of an f32, rounded to nearest, ties to even; a NaN stays one.
//
// Needs: nothing.
// Gives: Stored, widen, narrow.
alias Stored = u16;
fn widen(x: Stored) -> f32 { return bitcast<f32>(u32(x) << 16u); }
fn narrow(x: f32) -> Stored {
    let bits = bitcast<u32>(x);
    let rounded = (bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u;
    let nan = (bits >> 16u) | 0x40u;
    return u16(select(rounded, nan, (bits & 0x7fffffffu) > 0x7f800000u));
}
