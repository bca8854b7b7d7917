#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Ok((llama, tensors)) = model::read_llama2c(&fuzz::file("stories.bin", input)) {
        assert_eq!(tensors.len(), model::Weights::expected(&llama).len());
    }
});
