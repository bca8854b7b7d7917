//! Does nothing: a package without a build script asks for no build dependencies.
fn main() {}
