//! A plan carried out: parts made by several threads, each file whole before it has its name, each part remembered
//! until the manifest has them all.
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use stage::{
    AtomicFile, Failure, FileRecord, Log, Result, Temporary, commit_recorded, publish_file,
    remember,
};

use crate::local_files::{Kind, LocalFile};
use crate::plan::{Input, Part, Plan, texts};
use crate::raw::{Count, Made, RawFolder, VALIDATION};
use crate::remote::Cancel;
use crate::remote::download::{Meter, begin, discard, download};
use crate::rewrite::StoryWriter;
use crate::source;
use crate::stories::ParquetStories;

/// Downloads at once, however few the processors.
const DOWNLOADS: usize = 4;

/// Carries plans out.
pub struct Fetcher<'a> {
    pub raw: &'a RawFolder,
    pub column: &'a str,
    /// The settings in the manifest: parts made under others are not kept.
    pub config: &'a Value,
    pub force: bool,
    pub threads: usize,
    pub log: Log,
    pub cancel: Cancel,
}

impl Fetcher<'_> {
    /// Makes every part and adds up. The first failure stops the others, which keep what they have downloaded.
    pub fn run(&self, plan: &Plan) -> Result<Made> {
        let stories =
            if plan.unit() == stage::Unit::Stories { plan.stories(self.column)? } else { None };
        let meter = Meter::new(
            self.log.progress("fetching", plan.unit(), stories),
            plan.parts.len() as u64,
        );
        let remote = plan.network.is_some();
        let workers =
            if remote { self.threads.max(DOWNLOADS) } else { self.threads }.min(plan.parts.len());
        let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let results: Mutex<Vec<(usize, Made)>> = Mutex::default();
        let failure: Mutex<Option<Failure>> = Mutex::default();
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| {
                    while !self.cancel.requested() {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(part) = plan.parts.get(index) else { break };
                        match self.part(plan, part, &meter) {
                            Ok(made) => {
                                done.fetch_add(1, Ordering::Relaxed);
                                results
                                    .lock()
                                    .unwrap_or_else(|e| e.into_inner())
                                    .push((index, made));
                            }
                            Err(error) => {
                                failure
                                    .lock()
                                    .unwrap_or_else(|e| e.into_inner())
                                    .get_or_insert(error);
                                self.cancel.cancel();
                            }
                        }
                    }
                });
            }
        });
        meter.progress.finish();
        let failure = failure.into_inner().unwrap_or_else(|e| e.into_inner());
        if let Some(failure) = failure.filter(|failure| !matches!(failure, Failure::Interrupted(_)))
        {
            return Err(failure);
        }
        let (done, all) = (done.into_inner(), plan.parts.len());
        if done < all {
            let kept = format!(
                "{done} of {all} parts are whole and kept, and a broken download goes on where it broke; run the same command again"
            );
            return Err(Failure::Interrupted(kept));
        }
        let mut total = Made::default();
        let mut results = results.into_inner().unwrap_or_else(|e| e.into_inner());
        results.sort_by_key(|(index, _)| *index);
        for (_, made) in results {
            total.outputs.extend(made.outputs);
            total.train.add(made.train);
            total.validation.add(made.validation);
        }
        total.outputs.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(total)
    }

    fn part(&self, plan: &Plan, part: &Part, meter: &Meter) -> Result<Made> {
        let identity =
            json!({ "config": self.config, "input": part.input.identity(), "limit": part.limit });
        if !self.force
            && let Some(made) = self.raw.kept(&part.output, &identity)
        {
            if plan.unit() == stage::Unit::Stories {
                meter.progress.skip(made.train.stories + made.validation.stories);
            }
            return Ok(made);
        }
        self.raw.claim(&part.output)?;
        if let Some((_, name)) = &part.aside {
            self.raw.claim(name)?;
        }
        let network =
            || plan.network.as_ref().ok_or_else(|| Failure::usage("this source needs the network"));
        let made = match &part.input {
            Input::Remote(file) if part.whole => {
                let path = self.raw.path(&part.output);
                let partial = begin(&path)?;
                let record = download(network()?, file.as_ref(), &partial, meter)?;
                let address = Path::new(file.address());
                let stories = ParquetStories::open_mapped(partial.path(), address, self.column);
                let count = match stories.and_then(|stories| self.verify(&stories, None)) {
                    Ok(count) => count,
                    Err(error) => return Err(drop_if_bad(partial, error)),
                };
                self.raw.unpublish()?;
                let named = FileRecord { name: part.output.clone(), ..record.clone() };
                remember(&path, &named)?;
                publish_file(partial, &path, record.bytes)?;
                self.made_whole(part, record, count)
            }
            Input::Remote(file) => {
                let partial = begin(&self.raw.scratch(&part.output))?;
                download(network()?, file.as_ref(), &partial, meter)?;
                let address = Path::new(file.address());
                let stories = ParquetStories::open_named(partial.path(), address, self.column);
                let made = stories.and_then(|stories| {
                    self.rewrite(part, None, |each| read_all(&stories, part.limit, each))
                });
                match made {
                    Ok(made) => discard(partial).map(|()| made)?,
                    Err(error) => return Err(drop_if_bad(partial, error)),
                }
            }
            Input::Local(file) if part.whole => {
                // The disk takes the copy in while its stories are read.
                let bad = Cancel::default();
                let (count, copied) = std::thread::scope(|scope| {
                    let copy = scope.spawn(|| self.copy(file, &part.output, &bad));
                    let stories = ParquetStories::open(&file.path, self.column);
                    let count = stories
                        .and_then(|stories| self.verify(&stories, Some(meter)))
                        .inspect_err(|_| bad.cancel());
                    (count, copy.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                });
                let (count, copied) = (count?, copied?);
                self.raw.unpublish()?;
                self.made_whole(part, commit_recorded(copied)?, count)
            }
            Input::Local(file) if file.kind == Kind::Parquet => {
                let stories = ParquetStories::open(&file.path, self.column)?;
                self.rewrite(part, Some(meter), |each| read_all(&stories, part.limit, each))?
            }
            Input::Local(file) => self.rewrite(part, Some(meter), |each| {
                first(part.limit, each, |each| texts(file, self.column, each))
            })?,
            Input::Synthetic { seed, stories } => self.rewrite(part, Some(meter), |each| {
                stories.clone().try_for_each(|index| each(&grammar::story(*seed, index)))
            })?,
            Input::Open { stories, scratch, .. } => {
                let made =
                    self.rewrite(part, Some(meter), |each| read_all(stories, part.limit, each))?;
                let scratch = scratch.lock().unwrap_or_else(|e| e.into_inner()).take();
                scratch.map_or(Ok(()), discard)?;
                made
            }
        };
        self.raw.remember(&part.output, &identity, &made)?;
        Ok(made)
    }

    /// Reads every story of a parquet file that is kept as it is: what cannot be read is found here, not two stages later.
    fn verify(&self, stories: &ParquetStories, meter: Option<&Meter>) -> Result<Count> {
        let read = |row_group: usize| {
            self.cancel.check()?;
            let mut count = Count { stories: stories.stories_in(row_group), bytes: 0 };
            stories.read(row_group, |text| {
                count.bytes += text.len() as u64;
                Ok(())
            })?;
            if let Some(meter) = meter {
                meter.progress.add(count.stories);
            }
            Ok(count)
        };
        let counts: Vec<Result<Count>> =
            (0..stories.row_groups()).into_par_iter().map(read).collect();
        let mut sum = Count::default();
        counts.into_iter().try_for_each(|count| Ok(sum.add(count?)))?; // of several failures the first in the file
        Ok(sum)
    }

    fn made_whole(&self, part: &Part, record: FileRecord, count: Count) -> Made {
        let outputs = vec![FileRecord { name: part.output.clone(), ..record }];
        match part.split == VALIDATION {
            true => Made { outputs, train: Count::default(), validation: count },
            false => Made { outputs, train: count, validation: Count::default() },
        }
    }

    /// Everything but the final name; `bad` ends it, too.
    fn copy(&self, file: &LocalFile, output: &str, bad: &Cancel) -> Result<AtomicFile> {
        let mut from = File::open(&file.path).map_err(Failure::reading(&file.path))?;
        let mut to = AtomicFile::create(&self.raw.path(output))?;
        let mut piece = vec![0u8; 1 << 20];
        loop {
            self.cancel.check().and_then(|()| bad.check())?;
            match from.read(&mut piece).map_err(Failure::reading(&file.path))? {
                0 => return Ok(to),
                read => to.put(&piece[..read])?,
            }
        }
    }

    /// Writes the stories that `read` gives to the part's file, and those chosen by their hash to its validation file.
    fn rewrite(
        &self,
        part: &Part,
        meter: Option<&Meter>,
        read: impl FnOnce(&mut dyn FnMut(&str) -> Result<()>) -> Result<()>,
    ) -> Result<Made> {
        let mut main = StoryWriter::create(&self.raw.path(&part.output), self.column)?;
        let mut aside = match &part.aside {
            Some((fraction, name)) => {
                Some((*fraction, StoryWriter::create(&self.raw.path(name), self.column)?))
            }
            None => None,
        };
        read(&mut |text| {
            self.cancel.check()?;
            if let Some(meter) = meter {
                meter.progress.add(1);
            }
            match &mut aside {
                Some((fraction, writer)) if is_for_validation(text, *fraction) => writer.push(text),
                _ => main.push(text),
            }
        })?;
        self.raw.unpublish()?;
        let count =
            |writer: &StoryWriter| Count { stories: writer.stories(), bytes: writer.text_bytes() };
        let mut made = Made::default();
        *(if part.split == VALIDATION { &mut made.validation } else { &mut made.train }) =
            count(&main);
        made.outputs.push(main.finish()?);
        if let Some((_, writer)) = aside {
            made.validation = count(&writer);
            made.outputs.push(writer.finish()?);
        }
        Ok(made)
    }
}

/// A download that is whole but no good parquet would be no better the next time it was resumed.
fn drop_if_bad(partial: Temporary, error: Failure) -> Failure {
    if matches!(error, Failure::BadInput(_)) {
        let _ = discard(partial);
    }
    error
}

/// SHA-256 of the text, its first 8 bytes as a number in [0, 1): the same text is on the same side wherever it stands.
pub fn is_for_validation(text: &str, fraction: f64) -> bool {
    let digest = Sha256::digest(text.as_bytes());
    let first = digest.iter().take(8).fold(0u64, |number, &byte| number << 8 | u64::from(byte));
    (first as f64) < fraction * 2f64.powi(64)
}

fn read_all(
    stories: &ParquetStories,
    limit: Option<u64>,
    each: &mut dyn FnMut(&str) -> Result<()>,
) -> Result<()> {
    let mut left = limit.unwrap_or(u64::MAX);
    for row_group in 0..stories.row_groups() {
        let take = stories.stories_in(row_group).min(left);
        if take == 0 {
            continue;
        }
        left -= take;
        first(Some(take), each, |each| stories.read(row_group, each))?;
    }
    Ok(())
}

/// The first so many stories of a reader that knows no limit.
fn first(
    limit: Option<u64>,
    each: &mut dyn FnMut(&str) -> Result<()>,
    read: impl FnOnce(&mut dyn FnMut(&str) -> Result<()>) -> Result<()>,
) -> Result<()> {
    let mut left = limit.unwrap_or(u64::MAX);
    let mut enough = false;
    let result = read(&mut |text| {
        if left == 0 {
            enough = true;
            return Err(Failure::usage("enough")); // ends the reading, seen by nobody
        }
        left -= 1;
        each(text)
    });
    if enough { Ok(()) } else { result }
}

/// No story at all is a source misunderstood, not a result.
pub fn require_stories(made: &Made, plan: &Plan, raw: &RawFolder, shown: &str) -> Result<()> {
    if made.train.stories > 0 || !plan.parts.iter().any(|part| part.split != VALIDATION) {
        return Ok(());
    }
    for output in &made.outputs {
        stage::remove_if_present(&raw.path(&output.name))?;
    }
    let remedy = format!(
        "check fetch.source; with `stories:` instead of it {} stories are made up",
        source::DEFAULT_SYNTHETIC_STORIES
    );
    Err(Failure::input(Path::new(shown), "no training story in it", "at least one", remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_for_validation_is_what_was_asked_for() {
        let chosen = (0..10_000).filter(|i| is_for_validation(&format!("story {i}"), 0.1)).count();
        assert!((900..1100).contains(&chosen), "{chosen}");
        assert!(!is_for_validation("a", 0.0) && is_for_validation("a", 1.0));
    }
}
