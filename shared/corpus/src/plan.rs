//! What is to be fetched: the parts of a source, each of which becomes one file of training stories, of validation
//! stories, or one of each. The parts depend on the source and the settings alone, so shards agree on them.
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use parking_lot::Mutex;
use serde_json::{Value, json};
use stage::config::Fetch;
use stage::{Failure, Log, Result, Temporary, Unit};

use crate::local_files::{Kind, LocalFile};
use crate::raw::{RawFolder, TRAIN, VALIDATION, file_name};
use crate::remote::download::{Meter, begin, download};
use crate::remote::http::HttpFile;
use crate::remote::{Cancel, Network, Published, Ranged, RemoteFile, buckets, hub};
use crate::source::{DEFAULT_SYNTHETIC_STORIES, Source};
use crate::splits::{
    DEFAULT_VALIDATION_FRACTION, Names, Splits, Validation, fraction_note, share_instead,
    tell_apart,
};
use crate::stories::ParquetStories;
use crate::text_files::{self, Mended, Separator};

/// One file of `stories:`; what one thread makes in some seconds.
const SYNTHETIC_STORIES_PER_FILE: u64 = 100_000;
/// About 80 GB of text, and more than the grammar tells apart.
const MOST_SYNTHETIC_STORIES: u64 = 100_000_000;
/// What a token is taken for where only a number of tokens is asked for.
const BYTES_PER_TOKEN: u64 = 4;

/// Where the stories of a part come from.
pub enum Input {
    /// The grammar's stories of these numbers.
    Synthetic {
        /// `fetch.seed`
        seed: u64,
        /// Numbers of the stories, from 0.
        stories: Range<u64>,
    },
    /// A file of this machine.
    Local(Arc<LocalFile>),
    /// To be downloaded whole.
    Remote(Arc<dyn RemoteFile>),
    /// Footer read; the rest on demand, over the network or from `scratch`, a download that goes when the part is made.
    Open {
        /// What messages call it.
        address: String,
        /// The file, its footer read.
        stories: Arc<ParquetStories>,
        /// The download, where the file is downloaded first.
        scratch: Mutex<Option<Temporary>>,
    },
}

/// One piece of work.
pub struct Part {
    /// Where its stories come from.
    pub input: Input,
    /// Take only this number of stories, the first ones.
    pub limit: Option<u64>,
    /// `train` or `validation`.
    pub split: &'static str,
    /// Name of the file it makes.
    pub output: String,
    /// The share that goes to a validation file, and its name.
    pub aside: Option<(f64, String)>,
    /// The file is taken as it is, byte for byte.
    pub whole: bool,
}

/// All that is to be made of a source.
pub struct FetchPlan {
    /// Those of this run; of a shard its share.
    pub parts: Vec<Part>,
    /// Splits with their number of files, over all shards.
    pub files: Vec<(&'static str, usize)>,
    /// None for sources of this machine.
    pub network: Option<Arc<Network>>,
    /// SHA-256 of what the source says of all files, whoever fetches them.
    pub listing: String,
    /// The state that a dataset of the Hub was in.
    pub commit: Option<hub::Commit>,
}

impl FetchPlan {
    /// Lists the source, tells its splits apart and divides it into parts. `known` is the commit that other jobs have fetched
    /// from.
    ///
    /// # Errors
    /// Where the source has no such files or splits, or cannot be listed.
    pub fn new(
        source: Source,
        settings: &Fetch,
        raw: &RawFolder,
        known: Option<hub::Commit>,
        log: Log,
        cancel: &Cancel,
    ) -> Result<Self> {
        let network = match source {
            Source::Synthetic | Source::Local(_) => None,
            _ => Some(Network::new(log, cancel.clone())?),
        };
        let (splits, commit) = inputs(source, settings, network.as_ref(), known)?;
        splits.notes.iter().for_each(|note| log.say(note));
        let limited = settings.max_stories.is_some() || settings.max_tokens_hint.is_some();
        let train = match limited {
            true => limit(splits.train, settings, raw, network.as_ref(), cancel, log)?,
            false => splits.train.into_iter().map(|input| (input, None)).collect(),
        };
        let for_training = train.len();
        let (fraction, validation) = match splits.validation {
            Validation::Fraction(fraction) => (Some(fraction), Vec::new()),
            Validation::Files(files) => (None, files),
        };
        let for_validation = if fraction.is_some() { for_training } else { validation.len() };
        let mut parts = Vec::new();
        let rewritten = limited || fraction.is_some();
        for (index, (input, limit)) in train.into_iter().enumerate() {
            let whole = !rewritten && input.is_parquet();
            let aside =
                fraction.map(|fraction| (fraction, file_name(VALIDATION, index, for_validation)));
            let output = file_name(TRAIN, index, for_training);
            parts.push(Part { input, limit, split: TRAIN, output, aside, whole });
        }
        for (index, input) in validation.into_iter().enumerate() {
            let whole = input.is_parquet();
            let output = file_name(VALIDATION, index, for_validation);
            parts.push(Part { input, limit: None, split: VALIDATION, output, aside: None, whole });
        }
        let said: Vec<Value> =
            parts.iter().map(|part| json!([part.output, part.input.listed()])).collect();
        let listing = stage::sha256(Value::from(said).to_string().as_bytes());
        if let Some(shard) = raw.shard() {
            let mut jobs = share_out(&parts, shard.of).into_iter();
            parts.retain(|_| jobs.next() == Some(shard.index - 1));
        }
        let files = vec![(TRAIN, for_training), (VALIDATION, for_validation)];
        Ok(FetchPlan { parts, files, network, listing, commit })
    }

    /// Bytes are counted where files are downloaded whole, else stories, whose total the footers say.
    pub fn unit(&self) -> Unit {
        if self.parts.iter().any(|part| matches!(part.input, Input::Remote(_))) {
            Unit::Bytes
        } else {
            Unit::Stories
        }
    }

    /// Stories of all parts; None where a file would have to be read to know. Opens the local files' footers.
    pub fn stories(&self, column: &str) -> Result<Option<u64>> {
        let mut total = Some(0);
        for part in &self.parts {
            let stories = match &part.input {
                Input::Synthetic { stories, .. } => Some(stories.end - stories.start),
                Input::Open { stories, .. } => Some(part.limit.unwrap_or(stories.stories())),
                Input::Local(file) if file.kind == Kind::Parquet => {
                    Some(part.limit.unwrap_or(ParquetStories::open(&file.path, column)?.stories()))
                }
                Input::Local(_) => part.limit,
                Input::Remote(_) => None,
            };
            total = total.zip(stories).map(|(total, stories)| total + stories);
        }
        Ok(total)
    }
}

/// Which of `of` jobs, from 0, makes each part: the longest first, each for the job that has the least so far, so that all
/// have about as many bytes. Where a length is not known, each part counts the same.
fn share_out(parts: &[Part], of: u32) -> Vec<u32> {
    let lengths: Option<Vec<u64>> =
        parts.iter().map(|part| part.input.length(part.limit)).collect();
    let lengths = lengths.unwrap_or_else(|| vec![1; parts.len()]);
    let mut longest: Vec<(usize, u64)> = lengths.into_iter().enumerate().collect();
    longest.sort_by_key(|&(part, length)| (Reverse(length), part));
    let mut loads: BinaryHeap<Reverse<(u64, u32)>> = (0..of).map(|job| Reverse((0, job))).collect();
    let mut jobs: Vec<(usize, u32)> = Vec::new();
    for (part, length) in longest {
        let Some(Reverse((load, job))) = loads.pop() else { break };
        jobs.push((part, job));
        // A file without a byte is work, too.
        loads.push(Reverse((load.saturating_add(length.max(1)), job)));
    }
    jobs.sort_unstable();
    jobs.into_iter().map(|(_, job)| job).collect()
}

impl Input {
    /// What decides how long it takes: bytes, or stories.
    fn length(&self, limit: Option<u64>) -> Option<u64> {
        match self {
            Input::Synthetic { stories, .. } => Some(stories.end - stories.start),
            Input::Local(file) => std::fs::metadata(&file.path).ok().map(|metadata| metadata.len()),
            Input::Remote(file) => file.published().bytes,
            Input::Open { stories, .. } => Some(limit.unwrap_or(stories.stories())),
        }
    }

    /// What all jobs see alike, wherever and whenever they look.
    fn listed(&self) -> Value {
        match self {
            Input::Local(file) => {
                json!([
                    file.name,
                    std::fs::metadata(&file.path).ok().map(|metadata| metadata.len())
                ])
            }
            other => other.identity(),
        }
    }

    fn is_parquet(&self) -> bool {
        match self {
            Input::Synthetic { .. } => false,
            Input::Local(file) => file.kind == Kind::Parquet,
            Input::Remote(_) | Input::Open { .. } => true,
        }
    }

    /// Changes when the part's bytes may have changed, as far as that can be told without reading them.
    pub fn identity(&self) -> Value {
        match self {
            Input::Synthetic { seed, stories } => {
                json!(["stories:", seed, stories.start, stories.end])
            }
            Input::Local(file) => {
                let metadata = std::fs::metadata(&file.path).ok();
                let modified = metadata
                    .as_ref()
                    .and_then(|m| m.modified().ok()?.duration_since(UNIX_EPOCH).ok())
                    .map(|t| t.as_nanos().to_string());
                json!([file.name, metadata.map(|m| m.len()), modified])
            }
            Input::Remote(file) => {
                json!([file.address(), file.published().bytes, file.published().sha256])
            }
            Input::Open { address, stories, .. } => json!([address, stories.stories()]),
        }
    }
}

/// The source's files, listed and told apart.
fn inputs(
    source: Source,
    settings: &Fetch,
    network: Option<&Arc<Network>>,
    known: Option<hub::Commit>,
) -> Result<(Splits<Input>, Option<hub::Commit>)> {
    let network = || network.ok_or_else(|| Failure::usage("this source needs the network"));
    let splits = match source {
        Source::Synthetic => synthetic(settings)?,
        Source::Local(local) => {
            let splits = local.splits(settings.source.reveal(), settings)?;
            map(splits, |file| Input::Local(Arc::new(file)))
        }
        Source::Hub { dataset, revision } => {
            let listing = hub::list(network()?, &dataset, revision.as_deref(), known, settings)?;
            return Ok((map(listing.splits, |file| Input::Remote(file.file)), listing.commit));
        }
        Source::Bucket(place) => {
            map(buckets::list(network()?, place.reveal(), settings)?, Input::Remote)
        }
        Source::Url(url) => {
            let path = url.reveal().split(['?', '#']).next().unwrap_or_default();
            if !path.ends_with(".parquet") {
                return Err(Failure::usage("not a .parquet file")
                    .at(format_args!("fetch.source {url:?}"))
                    .expected("https://HOST/FILE.parquet")
                    .remedy("download other files first and name the local copy"));
            }
            let name = path.rsplit('/').next().unwrap_or_default().to_owned();
            let file: Arc<dyn RemoteFile> =
                Arc::new(HttpFile::new(network()?, url.reveal(), Published::default())?);
            let splits = tell_apart(path, vec![file], settings, Names::Single, |_| name.clone())?;
            map(splits, Input::Remote)
        }
    };
    Ok((splits, None))
}

fn map<T>(splits: Splits<T>, f: impl Fn(T) -> Input + Copy) -> Splits<Input> {
    let validation = match splits.validation {
        Validation::Files(files) => Validation::Files(files.into_iter().map(f).collect()),
        Validation::Fraction(fraction) => Validation::Fraction(fraction),
    };
    Splits { train: splits.train.into_iter().map(f).collect(), validation, notes: splits.notes }
}

fn synthetic(settings: &Fetch) -> Result<Splits<Input>> {
    if let Some(split) = settings.validation_split.as_deref().filter(|split| !split.is_empty()) {
        return Err(Failure::usage("stories: has no splits")
            .at(format_args!("fetch.validation_split = {split:?}"))
            .remedy(share_instead()));
    }
    let seed = settings.seed;
    let hinted = settings.max_tokens_hint.map(|tokens| {
        let sample: u64 = (0..1000).map(|index| grammar::story(seed, index).len() as u64).sum();
        let stories = (u128::from(tokens) * u128::from(BYTES_PER_TOKEN) * 1000)
            .div_ceil(u128::from(sample.max(1)));
        u64::try_from(stories).unwrap_or(u64::MAX)
    });
    let total =
        settings.max_stories.into_iter().chain(hinted).min().unwrap_or(DEFAULT_SYNTHETIC_STORIES);
    if total > MOST_SYNTHETIC_STORIES {
        return Err(Failure::usage(format_args!(
            "{total} stories of stories: expected at most {MOST_SYNTHETIC_STORIES}"
        ))
        .remedy("a smaller fetch.max_stories or fetch.max_tokens_hint"));
    }
    let files = total.div_ceil(SYNTHETIC_STORIES_PER_FILE);
    let train = (0..files)
        .map(|i| i * SYNTHETIC_STORIES_PER_FILE..total.min((i + 1) * SYNTHETIC_STORIES_PER_FILE))
        .map(|stories| Input::Synthetic { seed, stories })
        .collect();
    let note = settings.validation_fraction.is_none().then(fraction_note);
    Ok(Splits {
        train,
        validation: Validation::Fraction(
            settings.validation_fraction.unwrap_or(DEFAULT_VALIDATION_FRACTION),
        ),
        notes: note.into_iter().collect(),
    })
}

/// What is left to take.
struct Budget {
    stories: u64,
    bytes: u64,
}

impl Budget {
    fn spent(&self) -> bool {
        self.stories == 0 || self.bytes == 0
    }

    fn spend(&mut self, stories: u64, bytes: u64) {
        self.stories = self.stories.saturating_sub(stories);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// The first files that together have as many stories, and as much text, as is wanted. Of parquet only footers are read.
fn limit(
    inputs: Vec<Input>,
    settings: &Fetch,
    raw: &RawFolder,
    network: Option<&Arc<Network>>,
    cancel: &Cancel,
    log: Log,
) -> Result<Vec<(Input, Option<u64>)>> {
    let bytes =
        settings.max_tokens_hint.map_or(u64::MAX, |tokens| tokens.saturating_mul(BYTES_PER_TOKEN));
    let mut budget = Budget { stories: settings.max_stories.unwrap_or(u64::MAX), bytes };
    let mut taken = Vec::new();
    for (index, input) in inputs.into_iter().enumerate() {
        cancel.check()?;
        if budget.spent() {
            break;
        }
        let (input, limit) = match input {
            Input::Synthetic { ref stories, .. } => {
                let all = stories.end - stories.start;
                (input, all)
            }
            Input::Local(file) if file.kind == Kind::Parquet => {
                let limit = first_stories(
                    &ParquetStories::open(&file.path, &settings.column)?,
                    &mut budget,
                );
                (Input::Local(file), limit)
            }
            Input::Local(file) => {
                let limit = first_texts(&file, settings, &mut budget, cancel)?;
                (Input::Local(file), limit)
            }
            Input::Remote(file) => {
                let network =
                    network.ok_or_else(|| Failure::usage("this source needs the network"))?;
                let (stories, scratch) =
                    open_remote(network, &file, &settings.column, raw, index, log)?;
                let limit = first_stories(&stories, &mut budget);
                (
                    Input::Open {
                        address: file.address().to_owned(),
                        stories: Arc::new(stories),
                        scratch: Mutex::new(scratch),
                    },
                    limit,
                )
            }
            open => (open, u64::MAX),
        };
        taken.push((input, Some(limit)));
    }
    Ok(taken)
}

fn open_remote(
    network: &Arc<Network>,
    file: &Arc<dyn RemoteFile>,
    column: &str,
    raw: &RawFolder,
    index: usize,
    log: Log,
) -> Result<(ParquetStories, Option<Temporary>)> {
    let name = Path::new(file.address());
    if let Some(ranged) = Ranged::open(network, file)? {
        return Ok((ParquetStories::open_remote(name, Arc::new(ranged), column)?, None));
    }
    log.say(format!("{}: the server gives only whole files", file.address()));
    let scratch = begin(&raw.scratch_of_shard(index))?;
    download(
        network,
        file.as_ref(),
        &scratch,
        &Meter::new(log.progress("fetching", Unit::Bytes, None), 1),
    )?;
    Ok((ParquetStories::open_named(scratch.path(), name, column)?, Some(scratch)))
}

/// By stories exactly, by bytes to the end of a row group.
fn first_stories(stories: &ParquetStories, budget: &mut Budget) -> u64 {
    let mut limit = 0;
    for row_group in 0..stories.row_groups() {
        if budget.spent() {
            break;
        }
        let take = stories.stories_in(row_group).min(budget.stories);
        budget.spend(take, stories.text_bytes_in(row_group).max(1));
        limit += take;
    }
    limit
}

fn first_texts(
    file: &LocalFile,
    settings: &Fetch,
    budget: &mut Budget,
    cancel: &Cancel,
) -> Result<u64> {
    let (mut limit, mut enough) = (0, false);
    let result = texts(file, settings, &mut Mended::default(), |text| {
        cancel.check()?;
        if budget.spent() {
            enough = true;
            return Err(Failure::usage("enough")); // ends the reading, seen by nobody
        }
        limit += 1;
        budget.spend(1, text.len() as u64);
        Ok(())
    });
    if enough { Ok(limit) } else { result.map(|()| limit) }
}

/// The stories of a local file that is not parquet.
pub fn texts(
    file: &LocalFile,
    settings: &Fetch,
    mended: &mut Mended,
    each: impl FnMut(&str) -> Result<()>,
) -> Result<()> {
    match file.kind {
        Kind::JsonLines | Kind::Json => {
            text_files::json_texts(&file.path, &settings.column, mended, each)
        }
        Kind::Parquet | Kind::Text => {
            let separator = Separator::of(settings.separator.as_deref());
            text_files::separated_text(&file.path, &separator, mended, each)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(lengths: &[u64]) -> Vec<Part> {
        let part = |&length: &u64| Part {
            input: Input::Synthetic { seed: 1, stories: 0..length },
            limit: None,
            split: TRAIN,
            output: String::new(),
            aside: None,
            whole: false,
        };
        lengths.iter().map(part).collect()
    }

    #[test]
    fn jobs_get_about_the_same_number_of_bytes() {
        assert_eq!(share_out(&parts(&[5, 5, 5, 5, 5]), 2), [0, 1, 0, 1, 0]);
        assert_eq!(share_out(&parts(&[0, 9, 1, 4, 4]), 2), [0, 0, 1, 1, 1]);
        assert_eq!(share_out(&parts(&[7]), 3), [0]);
        let lengths: Vec<u64> = (0..600).map(|i| 1 + i * 7919 % 1000).collect();
        let mut loads = vec![0; 64];
        for (job, length) in share_out(&parts(&lengths), 64).into_iter().zip(&lengths) {
            loads[job as usize] += length;
        }
        let mean = lengths.iter().sum::<u64>() / 64;
        assert!(
            loads.iter().all(|load| load.abs_diff(mean) * 100 < mean),
            "{loads:?}, mean {mean}"
        );
    }
}
