#![no_main]
use corpus::bin::Bin;
use corpus::batch_sampler::BatchSampler;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let (sidecar, content) = fuzz::halves(input);
    let path = fuzz::file("train.bin", content);
    fuzz::file("train.bin.json", sidecar);
    if let Ok(bin) = Bin::open(&path) {
        let _ = bin.verify();
        if let Ok(sampler) = BatchSampler::new(&bin, 1, 2, 4) {
            let _ = sampler.batch(0, 0, &mut Vec::new());
        }
    }
});
