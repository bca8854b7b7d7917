//! The sources of shared/compute but for the GPU, and small runs of all that they do through pointers. Miri has no vector
//! instructions but those of SSE2: what runs is the portable set of kernels.
#![allow(dead_code, unused_imports, clippy::all)]

#[path = "../../../shared/compute/src/block.rs"]
mod block;
#[path = "../../../shared/compute/src/cpu/mod.rs"]
mod cpu;
#[path = "../../../shared/compute/src/decode.rs"]
mod decode;
#[path = "../../../shared/compute/src/decoder.rs"]
mod decoder;
#[path = "../../../shared/compute/src/error.rs"]
mod error;
#[path = "../../../shared/compute/src/kernel_decoder.rs"]
mod kernel_decoder;
#[path = "../../../shared/compute/src/kernels.rs"]
mod kernels;
#[path = "../../../shared/compute/src/not_finite.rs"]
mod not_finite;
#[path = "../../../shared/compute/src/optimizer.rs"]
mod optimizer;
#[path = "../../../shared/compute/src/slots.rs"]
mod slots;
#[path = "../../../shared/compute/src/step.rs"]
mod step;

use cpu::Cpu;
use decode::Row;
use decoder::Decoder;
use error::EngineError;
use kernels::{AttentionShape, NO_TARGET, Tokens, View, state};
use optimizer::{Optimizer, OptimizerKind};
use step::{Model, Trainer};

#[cfg(test)]
mod runs {
    use model::{Config, TensorTable, initial_weights};

    use super::*;
    use crate::cpu::decode::Storage;

    /// Sizes that no tile divides; query heads in groups; sequences longer than a strip of attention.
    fn config() -> Config {
        Config {
            vocab_size: 37,
            n_layer: 1,
            n_head: 4,
            n_kv_head: 2,
            d_model: 24,
            d_mlp: 18,
            context: 50,
            rms_eps: Config::RMS_EPS,
            rope_base: Config::ROPE_BASE,
            tied: true,
        }
    }

    fn weights(config: &Config) -> Vec<f32> {
        initial_weights(&TensorTable::new(config), 1)
    }

    fn tokens(len: usize) -> Vec<u32> {
        (0..len as u32).map(|i| i * 2_654_435 % 37).collect()
    }

    fn on_threads<T: Send>(run: impl FnOnce() -> T + Send) -> T {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        pool.install(run)
    }

    #[test]
    fn a_step_and_an_evaluation() {
        on_threads(|| {
            let (config, sequence) = (config(), 50);
            let weights = weights(&config);
            let mut trainer =
                Trainer::new(Cpu::boxed(), config, Optimizer::default(), &weights, 1, sequence)
                    .unwrap();
            trainer.begin();
            trainer.accumulate(&tokens(sequence + 1), 1.0 / sequence as f32);
            let ticket = trainer.update(1e-3, 1.0);
            let metrics = trainer.metrics(ticket, 1.0 / sequence as f32, true).unwrap().unwrap();
            assert!((metrics.loss - 37f32.ln()).abs() < 0.2, "{metrics:?}");
            let losses = trainer.model.losses(&tokens(sequence), &tokens(sequence)).unwrap();
            assert!(losses.iter().all(|loss| loss.is_finite()));
        });
    }

    /// Four tokens of two stories: read together, then one after the other.
    fn generate(mut decoder: Decoder) {
        let row = |slot: u32, position: u32| Row { token: 3 + position, slot, position };
        decoder.read(&[row(0, 0), row(0, 1), row(1, 0)]);
        for position in 2..4 {
            let logits = decoder.next(&[row(0, position), row(1, position - 1)]).unwrap();
            assert!(logits.len() == 2 * 37 && logits.iter().all(|logit| logit.is_finite()));
        }
    }

    #[test]
    fn decoding_kernel_by_kernel() {
        let config = config();
        on_threads(|| generate(Decoder::new(Cpu::boxed(), config, &weights(&config), 2).unwrap()));
    }

    #[test]
    fn decoding_in_passes_of_a_team() {
        for n_kv_head in [2, 4] {
            let config = Config { n_kv_head, ..config() };
            for storage in [Storage::F32, Storage::Q8] {
                generate(Decoder::on_cpu(config, weights(&config), 2, 2, storage).unwrap());
            }
        }
    }
}
