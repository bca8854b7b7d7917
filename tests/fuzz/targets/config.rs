#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    // The file, and behind a zero byte a setting for the command line.
    let (file, setting) = fuzz::halves(input);
    let settings: Vec<String> = String::from_utf8(setting.to_vec()).ok().filter(|text| !text.is_empty()).into_iter().collect();
    let _ = stage::Pipeline::load(&fuzz::file("pipeline.toml", file), &settings);
});
