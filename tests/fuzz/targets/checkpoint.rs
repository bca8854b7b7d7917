#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let _ = model::Checkpoint::load(&fuzz::file("last.safetensors", input));
});
