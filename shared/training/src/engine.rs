//! Which engine computes, and whether a model fits the settings it is used with.
use std::path::Path;

use compute::Cpu;
use model::Config;
use stage::{Failure, Pipeline, Result};

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

/// Refuses a pipeline whose context is larger than the one the model of `folder` was trained with.
pub fn check_context(pipeline: &Pipeline, config: &Config, folder: &Path) -> Result<()> {
    let asked = pipeline.model.context as usize;
    if asked > config.context {
        let expected = format!("model.context of at most {}, what this model was trained with", config.context);
        return Err(Failure::input(folder, format_args!("model.context is {asked}"), expected, "set model.context to it, or train anew with `make train`"));
    }
    Ok(())
}
