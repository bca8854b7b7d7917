// Activation precision f16: rounded when stored; beyond 65,504 it becomes infinite, which the gradient's norm shows.
//
// Needs: nothing.
// Gives: Stored, widen, narrow.
alias Stored = f16;
fn widen(x: Stored) -> f32 { return f32(x); }
fn narrow(x: f32) -> Stored { return f16(x); }
