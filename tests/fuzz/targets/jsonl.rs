#![no_main]
use corpus::text_files::{Mended, json_texts};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let _ = json_texts(&fuzz::file("a.jsonl", input), "text", &mut Mended::default(), |_| Ok(()));
});
