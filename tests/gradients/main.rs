//! Every kernel of the engine, forward and backward, against plain f64 loops.
//!
//! A gradient is compared with central differences of the f64 forward: one random direction per row of the input, so a
//! row costs two evaluations and none of its elements can be wrong unseen. Outputs that a kernel writes with `=` are
//! NaN before, with NaN around them that has to stay.
mod attention;
mod coverage;
mod decode;
mod elementwise;
mod grouped;
mod lab;
mod loss;
mod matmul;
mod model;
mod plain;
mod update;
