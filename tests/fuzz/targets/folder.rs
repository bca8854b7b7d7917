#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let (config, weights) = fuzz::halves(input);
    let path = fuzz::file("config.json", config);
    fuzz::file("model.safetensors", weights);
    if let Some(folder) = path.parent() {
        let _ = model::load_folder(folder);
    }
});
