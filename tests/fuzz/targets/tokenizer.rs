#![no_main]
use std::path::Path;

use corpus::tokenizer::Tokenizer;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Ok(tokenizer) = Tokenizer::from_json(Path::new("tokenizer.json"), input) {
        let text = "Once upon a time, it's \"so\" 3.14!\n\n na\u{ef}ve \u{4f60}\u{597d} \u{1f469}\u{200d}\u{1f680}<|endoftext|>";
        if let Ok(ids) = tokenizer.try_encode(text) {
            assert!(ids.iter().all(|&id| id < tokenizer.vocab_size()), "an id outside the vocabulary");
            tokenizer.decode(&ids);
        }
    }
});
