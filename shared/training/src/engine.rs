//! What the stages with a model share: the engine, the model of a folder, results on stdout.
use std::io::Write;
use std::path::Path;

use compute::Cpu;
use model::{Config, load_folder};
use stage::{Failure, Pipeline, Result};

/// The engine that `device` and `precision` name. `key` is the section they come from, for the error.
pub fn engine(section: &str, device: &str, precision: &str) -> Result<Cpu> {
    if !["auto", "cpu"].contains(&device) {
        return Err(Failure::usage(format!("{section}.device = {device:?}: expected \"auto\" or \"cpu\", the engines there are")));
    }
    if !["auto", "f32"].contains(&precision) {
        return Err(Failure::usage(format!(
            "{section}.precision = {precision:?}: expected \"auto\" or \"f32\", what the CPU engine computes in"
        )));
    }
    Ok(Cpu::new())
}

/// Reads the trained model of `folder`. Refuses a pipeline whose context is larger than the model's.
pub fn open_model(pipeline: &Pipeline, folder: &Path) -> Result<(Config, Vec<f32>)> {
    for path in ["config.json", "model.safetensors", "tokenizer.json"].map(|name| folder.join(name)) {
        if !path.is_file() {
            return Err(Failure::input(&path, "not found", "a trained model", "run `make train`, or name another folder with --model"));
        }
    }
    let (config, weights) = load_folder(folder)?;
    let asked = pipeline.model.context as usize;
    if asked > config.context {
        let expected = format!("model.context of at most {}, what this model was trained with", config.context);
        return Err(Failure::input(
            folder,
            format_args!("model.context is {asked}"),
            expected,
            "set model.context to it, or train anew with `make train`",
        ));
    }
    Ok((config, weights))
}

/// Prints a result on stdout. A reader that leaves early has had enough: false.
pub fn print(text: &str) -> Result<bool> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true).map_err(|error| Failure::try_again(format!("stdout: {error}"))),
    }
}
