#![no_main]
use corpus::text_files::{Mended, Separator, separated_text};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let path = fuzz::file("a.txt", input);
    for separator in [None, Some("blank-line")] {
        let _ = separated_text(&path, &Separator::of(separator), &mut Mended::default(), |_| Ok(()));
    }
});
