#![no_main]
use corpus::bin::Bin;
use corpus::batch_sampler::BatchSampler;
use stage::config::Train;
use stage::recipe::{Align, Sampling};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let (sidecar, content) = fuzz::halves(input);
    let path = fuzz::file("train.bin", content);
    fuzz::file("train.bin.json", sidecar);
    if let Ok(bin) = Bin::open(&path) {
        let _ = bin.verify();
        for (sampling, align) in [(Sampling::Random, Align::None), (Sampling::Epochs, Align::Stories)] {
            let train = Train { batch: 2, sampling, align, ..Train::default() };
            if let Ok(sampler) = BatchSampler::new(&bin, &train, 4) {
                let _ = sampler.batch(0, 0, &[], &mut Vec::new());
            }
        }
    }
});
