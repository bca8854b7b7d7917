//! The decoder of a model: one of the two ways to decode.
use std::borrow::Cow;

use model::Config;
use stage::Problem;

use crate::EngineError;
use crate::cpu::decode::{Session, Storage};
use crate::decode::{Decode, PROMPT_ROWS, Row};
use crate::kernel_decoder::KernelDecoder;
use crate::kernels::{Kernels, Result};

/// A model that generates. Which of the two ways it goes, only its maker knows.
pub struct Decoder(Box<dyn Decode>);

impl Decoder {
    /// A decoder of up to `slots` stories at once, kernel by kernel on any engine.
    pub fn new(
        kernels: Box<dyn Kernels>,
        config: Config,
        weights: &[f32],
        slots: usize,
    ) -> Result<Self> {
        Ok(Decoder(Box::new(KernelDecoder::new(kernels, config, weights, slots)?)))
    }

    /// The same on the CPU, as fast as it can: see [`cpu::decode`](crate::cpu). Its results differ from the other way's by
    /// rounding only. `threads` changes nothing but the speed; while it decodes they do nothing else.
    ///
    /// # Errors
    /// Where it does not fit into memory: how many stories do.
    pub fn on_cpu(
        config: Config,
        weights: Vec<f32>,
        slots: usize,
        threads: usize,
        storage: Storage,
    ) -> Result<Self> {
        let rows = slots.max(PROMPT_ROWS);
        let (needed, available) =
            (Session::bytes(&config, slots, rows, storage), stage::memory::available());
        if needed > available {
            // Each slot takes the same beside what the weights take.
            let one = Session::bytes(&config, 1, PROMPT_ROWS, storage);
            let each = needed.saturating_sub(one) / (slots as u64).max(2).saturating_sub(1);
            let fit = available.saturating_sub(one) / each.max(1) + u64::from(available >= one);
            let fit = match fit {
                0 => "not even one story".to_owned(),
                _ => format!("{} stories side by side", fit.min(slots as u64)),
            };
            return Err(EngineError::OutOfMemory {
                problem: Problem::new(format_args!(
                    "{slots} stories side by side need {} of memory",
                    stage::memory::mib(needed)
                ))
                .note(
                    "fits",
                    format_args!(
                        "{fit} into the {} that can be had",
                        stage::memory::mib(available)
                    ),
                )
                .into(),
                needed,
                available,
            });
        }
        Ok(Decoder(Box::new(Session::new(config, weights, slots, rows, threads, storage))))
    }

    /// The model's sizes.
    pub fn config(&self) -> &Config {
        self.0.config()
    }

    /// See [`Decode::read`].
    pub fn read(&mut self, rows: &[Row]) {
        self.0.read(rows);
    }

    /// See [`Decode::next`].
    pub fn next(&mut self, rows: &[Row]) -> Result<Cow<'_, [f32]>> {
        self.0.next(rows)
    }

    /// See [`Decode::weight_bytes`].
    pub fn weight_bytes(&self) -> Option<usize> {
        self.0.weight_bytes()
    }
}
