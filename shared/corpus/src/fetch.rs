//! A plan carried out: parts made by several threads, each file whole before it has its name, each part remembered
//! until the manifest has them all.
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use rayon::prelude::*;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use stage::config::Fetch;
use stage::{
    Action, AtomicFile, Failure, FailureKind, FileRecord, Log, Result, Temporary, Unchanged,
    commit_recorded, publish_file, remember,
};

use crate::local_files::{Kind, LocalFile};
use crate::plan::{FetchPlan, Input, Part, texts};
use crate::raw::{Count, Made, RawFolder, VALIDATION};
use crate::remote::download::{Meter, begin, discard, download};
use crate::remote::{Cancel, Network, RemoteFile};
use crate::rewrite::StoryWriter;
use crate::source;
use crate::stories::ParquetStories;
use crate::text_files::{END, Mended, Separator, stories_of};

/// Downloads at once, however few the processors.
const DOWNLOADS: usize = 4;

/// Carries plans out.
pub struct Fetcher<'a> {
    /// Where the files go.
    pub raw: &'a RawFolder,
    /// The `[fetch]` section.
    pub settings: &'a Fetch,
    /// The settings in the manifest: parts made under others are not kept.
    pub config: &'a Value,
    /// Files made before are made again.
    pub force: bool,
    /// Parts made at once.
    pub threads: usize,
    /// Where messages and progress go.
    pub log: Log,
    /// Ends all parts.
    pub cancel: Cancel,
}

impl Fetcher<'_> {
    /// Makes every part and adds up. The first failure stops the others, which keep what they have downloaded.
    pub fn run(&self, plan: &FetchPlan) -> Result<Made> {
        let stories = match plan.unit() {
            stage::Unit::Stories => plan.stories(&self.settings.column)?,
            _ => None,
        };
        let meter = Meter::new(
            self.log.progress("fetching", plan.unit(), stories),
            plan.parts.len() as u64,
        );
        let all: Vec<usize> = (0..plan.parts.len()).collect();
        let mut made = vec![Made::default(); all.len()];
        self.make(plan, &all, None, &meter, &mut made)?;
        if let Some((parts, threshold)) = self.one_sided(plan, &made) {
            let again = parts.iter().filter_map(|&index| made.get(index));
            let again: u64 = again.map(|made| made.train.stories + made.validation.stories).sum();
            if let Some(stories) = stories {
                meter.progress.set_total(stories + again);
            }
            self.make(plan, &parts, Some(threshold), &meter, &mut made)?;
        }
        meter.progress.finish();
        let mut total = Made::default();
        made.into_iter().for_each(|made| total.add(made));
        total.outputs.sort_by(|a, b| a.name.cmp(&b.name));
        self.tell(plan, &total);
        Ok(total)
    }

    /// Makes some parts, on several threads.
    fn make(
        &self,
        plan: &FetchPlan,
        parts: &[usize],
        threshold: Option<u64>,
        meter: &Meter,
        made: &mut [Made],
    ) -> Result<()> {
        let remote = plan.network.is_some();
        let workers =
            if remote { self.threads.max(DOWNLOADS) } else { self.threads }.min(parts.len());
        let next = AtomicUsize::new(0);
        let results: Mutex<Vec<(usize, Made)>> = Mutex::default();
        let failure: Mutex<Option<Failure>> = Mutex::default();
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| {
                    while !self.cancel.requested() {
                        let next = parts.get(next.fetch_add(1, Ordering::Relaxed));
                        let part = next.and_then(|&index| Some((index, plan.parts.get(index)?)));
                        let Some((index, part)) = part else { break };
                        match self.part(plan, part, threshold, meter) {
                            Ok(made) => {
                                results.lock().push((index, made));
                            }
                            Err(error) => {
                                failure.lock().get_or_insert(error);
                                self.cancel.cancel();
                            }
                        }
                    }
                });
            }
        });
        let failure = failure.into_inner();
        if let Some(failure) = failure.filter(|failure| failure.kind != FailureKind::Interrupted) {
            meter.progress.clear();
            return Err(failure);
        }
        let results = results.into_inner();
        let (done, all) = (results.len(), parts.len());
        if done < all {
            meter.progress.clear();
            let kept = format!(
                "{done} of {all} parts are whole and kept, and a broken download goes on where it broke; run the same command again"
            );
            return Err(Failure::interrupted(kept));
        }
        for (index, part) in results {
            if let Some(place) = made.get_mut(index) {
                *place = part;
            }
        }
        Ok(())
    }

    /// Where a share leaves one side without a story and there are two: the parts to be made again, and the hash below which
    /// a story is for validation then. A shard does not know what the others have.
    fn one_sided(&self, plan: &FetchPlan, made: &[Made]) -> Option<(Vec<usize>, u64)> {
        let shares = |part: &Part| part.split != VALIDATION && part.aside.is_none();
        if self.raw.is_shard() || plan.parts.iter().any(shares) {
            return None;
        }
        let mut total = Made::default();
        made.iter().cloned().for_each(|made| total.add(made));
        let (smallest, largest) = total.hashes.filter(|(smallest, largest)| smallest < largest)?;
        let holds = |hash: u64| -> Vec<usize> {
            let has = |made: &Made| made.hashes.is_some_and(|(a, b)| a == hash || b == hash);
            made.iter().enumerate().filter(|(_, made)| has(made)).map(|(i, _)| i).collect()
        };
        match (total.train.stories, total.validation.stories) {
            (_, 0) => Some((holds(smallest), smallest.saturating_add(1))),
            (0, _) => Some((holds(largest), largest)),
            _ => None,
        }
    }

    /// What was mended, and what is too little.
    fn tell(&self, plan: &FetchPlan, total: &Made) {
        total.mended.sentences().iter().for_each(|sentence| self.log.say(sentence));
        if let Some(name) = &total.mended.undivided {
            let separator = Separator::of(self.settings.separator.as_deref());
            self.log.warn(format!(
                "{name}: one story, for there is no {separator} in it\n  remedy: say what stands between its stories with {} or any other text",
                Action::Set("fetch.separator", "blank-line")
            ));
        }
        let stories = total.train.stories + total.validation.stories;
        if self.raw.is_shard() || total.validation.stories > 0 {
            return;
        }
        if stories == 1 && plan.parts.iter().any(|part| part.aside.is_some()) {
            self.log.warn(
                "one story in all, which is for training: none is left for validation, and `train` needs both",
            );
        } else {
            self.log.warn("no validation story: set another fetch.validation_fraction or fetch.validation_split");
        }
    }

    fn part(
        &self,
        plan: &FetchPlan,
        part: &Part,
        threshold: Option<u64>,
        meter: &Meter,
    ) -> Result<Made> {
        let identity = json!({ "config": self.config, "input": part.input.identity(), "limit": part.limit,
            "threshold": threshold });
        if !self.force
            && let Some(made) = self.raw.kept(&part.output, &identity)
            && made.outputs.iter().all(|output| made.row_groups.contains_key(&output.name))
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
        let source = match &part.input {
            Input::Local(file) => Some(Unchanged::of(&file.path)),
            _ => None,
        };
        let mut made = self.made_of(plan, part, threshold, meter)?;
        source.map_or(Ok(()), |source| source.check())?;
        for FileRecord { name, .. } in &made.outputs {
            let row_groups =
                ParquetStories::checksums(&self.raw.path(name), &self.settings.column)?;
            made.row_groups.insert(name.clone(), row_groups);
        }
        self.raw.remember(&part.output, &identity, &made)?;
        Ok(made)
    }

    /// The part's files, made of its input.
    fn made_of(
        &self,
        plan: &FetchPlan,
        part: &Part,
        threshold: Option<u64>,
        meter: &Meter,
    ) -> Result<Made> {
        let network =
            || plan.network.as_ref().ok_or_else(|| Failure::usage("this source needs the network"));
        Ok(match &part.input {
            Input::Remote(file) if part.whole => {
                self.downloaded_whole(network()?, part, file.as_ref(), threshold, meter)?
            }
            Input::Remote(file) => {
                self.downloaded(network()?, part, file.as_ref(), threshold, meter)?
            }
            Input::Local(file) if part.whole => match self.copied(file, part, meter)? {
                Some(made) => made,
                None => {
                    let stories = ParquetStories::open(&file.path, &self.settings.column)?;
                    self.rewrite(part, threshold, None, |each| read_all(&stories, None, each))?
                }
            },
            Input::Local(file) if file.kind == Kind::Parquet => {
                let stories = ParquetStories::open(&file.path, &self.settings.column)?;
                self.rewrite(part, threshold, Some(meter), |each| {
                    read_all(&stories, part.limit, each)
                })?
            }
            Input::Local(file) => {
                let mut mended = Mended::default();
                let mut made = self.rewrite(part, threshold, Some(meter), |each| {
                    first(part.limit, each, |each| texts(file, self.settings, &mut mended, each))
                })?;
                made.mended.add(mended);
                made
            }
            Input::Synthetic { seed, stories } => {
                self.rewrite(part, threshold, Some(meter), |each| {
                    stories.clone().try_for_each(|index| each(&grammar::story(*seed, index)))
                })?
            }
            Input::Open { stories, scratch, .. } => {
                let made = self.rewrite(part, threshold, Some(meter), |each| {
                    read_all(stories, part.limit, each)
                })?;
                if !may_be_made_again(part, threshold, &made) {
                    let scratch = scratch.lock().take();
                    scratch.map_or(Ok(()), discard)?;
                }
                made
            }
        })
    }

    /// The file as it was published, or rewritten where something in it has to be mended.
    fn downloaded_whole(
        &self,
        network: &Network,
        part: &Part,
        file: &dyn RemoteFile,
        threshold: Option<u64>,
        meter: &Meter,
    ) -> Result<Made> {
        let path = self.raw.path(&part.output);
        let partial = begin(&path)?;
        let record = download(network, file, &partial, meter)?;
        let (address, column) = (Path::new(file.address()), &self.settings.column);
        let stories = ParquetStories::open_named(partial.path(), address, column);
        let verified = stories.and_then(|stories| Ok((self.verify(&stories, None)?, stories)));
        match verified {
            Ok((Some(count), _)) => {
                self.raw.unpublish()?;
                let named = FileRecord { name: part.output.clone(), ..record.clone() };
                remember(&path, &named)?;
                publish_file(partial, &path, record.bytes)?;
                Ok(self.made_whole(part, record, count))
            }
            Ok((None, stories)) => {
                let read =
                    |each: &mut dyn FnMut(&str) -> Result<()>| read_all(&stories, None, each);
                let made = self.rewrite(part, threshold, None, read)?;
                drop(stories);
                discard(partial).map(|()| made)
            }
            Err(error) => Err(drop_if_bad(partial, error)),
        }
    }

    /// Stories of a download that stays only while the part may have to be made again.
    fn downloaded(
        &self,
        network: &Network,
        part: &Part,
        file: &dyn RemoteFile,
        threshold: Option<u64>,
        meter: &Meter,
    ) -> Result<Made> {
        let partial = begin(&self.raw.scratch(&part.output))?;
        download(network, file, &partial, meter)?;
        let (address, column) = (Path::new(file.address()), &self.settings.column);
        let stories = ParquetStories::open_named(partial.path(), address, column);
        let made = stories.and_then(|stories| {
            self.rewrite(part, threshold, None, |each| read_all(&stories, part.limit, each))
        });
        match made {
            Ok(made) if may_be_made_again(part, threshold, &made) => Ok(made),
            Ok(made) => discard(partial).map(|()| made),
            Err(error) => Err(drop_if_bad(partial, error)),
        }
    }

    /// A parquet file of this machine, taken as it is; None where its texts have to be mended.
    fn copied(&self, file: &LocalFile, part: &Part, meter: &Meter) -> Result<Option<Made>> {
        // The disk takes the copy in while its stories are read.
        let bad = Cancel::default();
        let (count, copy) = std::thread::scope(|scope| {
            let copy = scope.spawn(|| self.copy(file, &part.output, &bad));
            let stories = ParquetStories::open(&file.path, &self.settings.column);
            let count = stories
                .and_then(|stories| self.verify(&stories, Some(meter)))
                .inspect(|count| {
                    if count.is_none() {
                        bad.cancel()
                    }
                })
                .inspect_err(|_| bad.cancel());
            (count, copy.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        let Some(count) = count? else { return Ok(None) };
        let copy = copy?;
        self.raw.unpublish()?;
        Ok(Some(self.made_whole(part, commit_recorded(copy)?, count)))
    }

    /// Reads every story of a parquet file that is kept as it is: what cannot be read is found here, not two stages later.
    /// None where some text has [`END`]: the file cannot be kept.
    fn verify(&self, stories: &ParquetStories, meter: Option<&Meter>) -> Result<Option<Count>> {
        let read = |row_group: usize| {
            self.cancel.check()?;
            let mut count = Count { stories: stories.stories_in(row_group), bytes: 0 };
            let mut clean = true;
            stories.read(row_group, |text| {
                count.bytes += text.len() as u64;
                clean &= !text.contains(END);
                Ok(())
            })?;
            if let Some(meter) = meter {
                meter.progress.add(count.stories);
            }
            Ok(clean.then_some(count))
        };
        let counts: Vec<Result<Option<Count>>> =
            (0..stories.row_groups()).into_par_iter().map(read).collect();
        let mut sum = Some(Count::default());
        for count in counts {
            // Of several failures the first in the file.
            sum = sum.zip(count?).map(|(mut sum, count)| {
                sum.add(count);
                sum
            });
        }
        Ok(sum)
    }

    fn made_whole(&self, part: &Part, record: FileRecord, count: Count) -> Made {
        let outputs = vec![FileRecord { name: part.output.clone(), ..record }];
        let copies = vec![part.output.clone()];
        match part.split == VALIDATION {
            true => Made { outputs, copies, validation: count, ..Made::default() },
            false => Made { outputs, copies, train: count, ..Made::default() },
        }
    }

    /// Everything but the final name; `bad` ends it, too.
    fn copy(&self, file: &LocalFile, output: &str, bad: &Cancel) -> Result<AtomicFile> {
        let mut from = stage::open(&file.path)?;
        let mut to = AtomicFile::create(&self.raw.path(output))?;
        let mut piece = vec![0u8; 1 << 20];
        loop {
            self.cancel.check().and_then(|()| bad.check())?;
            match from.read(&mut piece).map_err(Failure::reading(&file.path))? {
                0 => return Ok(to),
                read => to.put(piece.get(..read).unwrap_or_default())?,
            }
        }
    }

    /// Writes the stories that `read` gives to the part's file, and those chosen by their hash to its validation file: those
    /// below `threshold` where it is given, else the share that was asked for.
    fn rewrite(
        &self,
        part: &Part,
        threshold: Option<u64>,
        meter: Option<&Meter>,
        read: impl FnOnce(&mut dyn FnMut(&str) -> Result<()>) -> Result<()>,
    ) -> Result<Made> {
        let column = &self.settings.column;
        let mut main = StoryWriter::create(&self.raw.path(&part.output), column)?;
        let mut aside = match &part.aside {
            Some((fraction, name)) => {
                Some((*fraction, StoryWriter::create(&self.raw.path(name), column)?))
            }
            None => None,
        };
        let (mut made, mut mended) = (Made::default(), Mended::default());
        let mut left = part.limit.unwrap_or(u64::MAX);
        let mut story = |text: &str| {
            if text.is_empty() || left == 0 {
                return Ok(());
            }
            left -= 1;
            let Some((fraction, writer)) = &mut aside else { return main.push(text) };
            let hash = hash_of(text);
            made.hashes =
                made.hashes.map(|(a, b)| (a.min(hash), b.max(hash))).or(Some((hash, hash)));
            match threshold {
                Some(threshold) if hash < threshold => writer.push(text),
                None if is_below(hash, *fraction) => writer.push(text),
                _ => main.push(text),
            }
        };
        read(&mut |text| {
            self.cancel.check()?;
            if let Some(meter) = meter {
                meter.progress.add(1);
            }
            stories_of(text, &mut mended, &mut story)
        })?;
        self.raw.unpublish()?;
        let count =
            |writer: &StoryWriter| Count { stories: writer.stories(), bytes: writer.text_bytes() };
        made.mended = mended;
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

/// Whether a share left one side of the part empty: then what was downloaded for it stays.
fn may_be_made_again(part: &Part, threshold: Option<u64>, made: &Made) -> bool {
    let sides = [made.train.stories, made.validation.stories];
    part.aside.is_some() && threshold.is_none() && sides.contains(&0)
}

/// A download that is whole but no good parquet would be no better the next time it was resumed.
fn drop_if_bad(partial: Temporary, error: Failure) -> Failure {
    if error.kind == FailureKind::BadInput {
        let _ = discard(partial);
    }
    error
}

/// The first 8 bytes of the text's SHA-256, as a number.
fn hash_of(text: &str) -> u64 {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(8).fold(0u64, |number, &byte| number << 8 | u64::from(byte))
}

/// Whether a hash is in the first `fraction` of all: the same text is on the same side wherever it stands.
fn is_below(hash: u64, fraction: f64) -> bool {
    (hash as f64) < fraction * 2f64.powi(64)
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

/// The first stories, up to a limit, of a reader that knows none.
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
pub fn require_stories(made: &Made, plan: &FetchPlan, raw: &RawFolder, shown: &str) -> Result<()> {
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
        let chosen = |i: &u64| is_below(hash_of(&format!("story {i}")), 0.1);
        let chosen = (0..10_000).filter(chosen).count();
        assert!((900..1100).contains(&chosen), "{chosen}");
        assert!(!is_below(hash_of("a"), 0.0) && is_below(hash_of("a"), 1.0));
    }
}
