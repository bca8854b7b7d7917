#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let _ = stage::Manifest::read(&fuzz::file("manifest.json", input));
});
