#![no_main]
use corpus::stories::ParquetStories;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Ok(stories) = ParquetStories::open(&fuzz::file("a.parquet", input), "text") {
        for row_group in 0..stories.row_groups().min(16) {
            let mut bytes = 0;
            let _ = stories.read(row_group, |text| {
                bytes += text.len();
                Ok(())
            });
        }
    }
});
