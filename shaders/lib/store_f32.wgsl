// Activation precision f32: what is stored is what is computed.
//
// Needs: nothing.
// Gives: Stored, widen, narrow.
alias Stored = f32;
fn widen(x: Stored) -> f32 { return x; }
fn narrow(x: f32) -> Stored { return x; }
