#![no_main]
use corpus::shards::ShardReader;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Ok(reader) = ShardReader::open(&fuzz::file("train-00000-of-00001.arrow", input)) {
        let _ = reader.read_batches(|stories| {
            let (ids, width) = (stories.ids.to_bytes(), stories.ids.width());
            stories.above(300);
            stories.bounds().for_each(|(start, end)| assert!(ids[start * width..end * width].len() <= ids.len()));
            Ok(())
        });
    }
});
