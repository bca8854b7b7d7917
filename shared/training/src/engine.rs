//! Which engine computes.
use compute::Cpu;
use stage::{Failure, Result};

/// The engine that `device` and `precision` name. `key` is the section they come from, for the error.
pub fn engine(section: &str, device: &str, precision: &str) -> Result<Cpu> {
    if !["auto", "cpu"].contains(&device) {
        return Err(Failure::usage(format!("{section}.device = {device:?}: expected \"auto\" or \"cpu\", the engines there are")));
    }
    if !["auto", "f32"].contains(&precision) {
        return Err(Failure::usage(format!("{section}.precision = {precision:?}: expected \"auto\" or \"f32\", what the CPU engine computes in")));
    }
    Ok(Cpu::new())
}
