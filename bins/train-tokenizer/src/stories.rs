//! The stories that the tokenizer is trained on.
use std::path::{Path, PathBuf};

use corpus::fetched::raw_files;
use corpus::reading::{Batch, Reading};
use corpus::stories::ParquetStories;
use corpus::tokenizer::WordCounts;
use stage::{Progress, Stage};

/// Stories whose ids give the bytes per token, and that have to come back as they were.
pub(crate) const SAMPLE: u64 = 2000;

/// The first `wanted` training stories of OUT/raw, and the files that hold them.
pub(crate) struct Stories {
    wanted: u64,
    files: Vec<(PathBuf, ParquetStories)>,
}

impl Stories {
    pub(crate) fn first(stage: &Stage, wanted: u64) -> stage::Result<Self> {
        let (mut files, mut found) = (Vec::new(), 0);
        for path in raw_files(&stage.path("raw"), "train")? {
            if found >= wanted {
                break;
            }
            let file = ParquetStories::open(&path, &stage.pipeline.fetch.column)?;
            found += file.stories();
            files.push((path, file));
        }
        Ok(Stories { wanted, files })
    }

    pub(crate) fn total(&self) -> u64 {
        self.files.iter().map(|(_, file)| file.stories()).sum::<u64>().min(self.wanted)
    }

    pub(crate) fn inputs(&self) -> Vec<(String, PathBuf)> {
        let name =
            |path: &Path| format!("raw/{}", path.file_name().unwrap_or_default().to_string_lossy());
        self.files.iter().map(|(path, _)| (name(path), path.clone())).collect()
    }

    /// Row groups that hold them, and how many of each are wanted.
    fn row_groups(&self, wanted: u64) -> (Vec<(&ParquetStories, usize)>, Vec<u64>) {
        let mut left = wanted;
        let all = self
            .files
            .iter()
            .flat_map(|(_, file)| (0..file.row_groups()).map(move |row_group| (file, row_group)));
        let taken = all.map_while(|(file, row_group)| {
            let take = file.stories_in(row_group).min(left);
            left -= take;
            (take > 0 || left > 0).then_some(((file, row_group), take))
        });
        taken.unzip()
    }

    /// Counts the words of all, with all threads. Returns the bytes of text.
    pub(crate) fn count(&self, words: &WordCounts, progress: &Progress) -> stage::Result<u64> {
        let (row_groups, wanted) = self.row_groups(self.wanted);
        let reading = Reading::new(row_groups, rayon::current_num_threads());
        let one = || {
            let (mut counter, mut bytes) = (words.counter(), 0);
            while let Some(Batch { place: (row_group, _), before, texts, .. }) =
                reading.next(true)?
            {
                stage::interrupt::check("the tokenizer from before is kept")?;
                let texts = texts.iter().take(wanted[row_group].saturating_sub(before) as usize);
                progress.add(texts.fold(0, |count, text| {
                    counter.add(text);
                    bytes += text.len() as u64;
                    count + 1
                }));
            }
            Ok(bytes)
        };
        rayon::broadcast(|_| one().inspect_err(|_| reading.stop())).into_iter().sum()
    }

    /// The first few of them, in order, while `each` wants more.
    pub(crate) fn sample(
        &self,
        mut each: impl FnMut(&str) -> stage::Result<bool>,
    ) -> stage::Result<()> {
        let (row_groups, wanted) = self.row_groups(self.wanted.min(SAMPLE));
        for ((file, row_group), mut left) in row_groups.into_iter().zip(wanted) {
            let mut batches = file.batches(row_group)?;
            while left > 0
                && let Some(texts) = batches.next_batch()?
            {
                for text in texts.iter().take(left as usize) {
                    if !each(text)? {
                        return Ok(());
                    }
                }
                left = left.saturating_sub(texts.len() as u64);
            }
        }
        Ok(())
    }
}
