//! Which row groups go into which shard, and the files that have to be opened for them.
use std::collections::BTreeSet;
use std::path::Path;

use corpus::encode_shards::Task;
use corpus::fetched::Fetched;
use corpus::row_groups::RowGroup;
use corpus::shards::{self, ShardOrigin, TRAIN, VALIDATION};
use corpus::stories::ParquetStories;
use stage::{FileRecord, Result, Shard, TokenizerRecord, hash_file};

/// The stories to make shards of.
pub(crate) struct Splits {
    pub(crate) fetched: Fetched,
    pub(crate) files: Vec<(&'static str, Vec<FileRecord>)>,
}

impl Splits {
    /// # Errors
    /// Exit code 3: a part or a file of OUT/raw is missing, or of another fetch.
    pub(crate) fn open(raw: &Path) -> Result<Self> {
        let fetched = Fetched::open(raw)?;
        let mut files = vec![(TRAIN, fetched.files(TRAIN)?)];
        if fetched.has(VALIDATION) {
            files.push((VALIDATION, fetched.files(VALIDATION)?));
        }
        Ok(Splits { fetched, files })
    }
}

/// What is made of one split.
pub(crate) struct Opened<'a> {
    split: &'static str,
    files: &'a [FileRecord],
    /// Of each file, where a row group of it is wanted.
    stories: Vec<Option<ParquetStories>>,
    /// File and number of every row group.
    places: Vec<(usize, usize)>,
    own: Vec<u32>,
    of: u32,
}

impl<'a> Opened<'a> {
    /// Opens the files that hold what `job` (None: all) makes of the split, and compares them with their manifest: whole, or
    /// row group by row group where they are read.
    pub(crate) fn new(
        fetched: &Fetched,
        (split, files): (&'static str, &'a [FileRecord]),
        of: u32,
        job: Option<Shard>,
        column: &str,
    ) -> Result<Self> {
        let open = |file: &FileRecord| ParquetStories::open(&fetched.path(file), column);
        let (mut stories, mut known, mut places) = (Vec::new(), Vec::new(), Vec::new());
        for (index, file) in files.iter().enumerate() {
            let row_groups = job.and_then(|_| fetched.row_groups(file));
            let opened = if row_groups.is_none() { Some(open(file)?) } else { None };
            let number = row_groups
                .as_ref()
                .map_or(opened.as_ref().map_or(0, ParquetStories::row_groups), Vec::len);
            places.extend((0..number).map(|row_group| (index, row_group)));
            known.push(row_groups);
            stories.push(opened);
        }
        let own = (0..of).filter(|&shard| job.is_none_or(|job| job.makes(shard))).collect();
        let mut opened = Opened { split, files, stories, places, own, of };
        if job.is_some() {
            opened.narrow(fetched, known, open)?;
        }
        Ok(opened)
    }

    /// Only the files that are needed, each with what it has to be.
    fn narrow(
        &mut self,
        fetched: &Fetched,
        mut known: Vec<Option<Vec<RowGroup>>>,
        open: impl Fn(&FileRecord) -> Result<ParquetStories>,
    ) -> Result<()> {
        let own = self.own.iter().flat_map(|&shard| self.range(shard));
        let wanted: BTreeSet<usize> = own.map(|&(file, _)| file).collect();
        for (index, file) in self.files.iter().enumerate() {
            self.stories[index] = match known[index].take() {
                _ if !wanted.contains(&index) => None,
                Some(row_groups) => Some(open(file)?.expecting(row_groups)?),
                None => {
                    fetched.check(&[hash_file(&fetched.path(file))?])?;
                    Some(open(file)?)
                }
            };
        }
        Ok(())
    }

    /// The row groups of a shard: contiguous, and about as many as any other's.
    fn range(&self, shard: u32) -> &[(usize, usize)] {
        let bound = |shard: u32| {
            (u64::from(shard) * self.places.len() as u64 / u64::from(self.of)) as usize
        };
        &self.places[bound(shard)..bound(shard + 1)]
    }

    /// The shards to make.
    pub(crate) fn tasks(
        &'a self,
        tokenizer: &TokenizerRecord,
        column: &str,
        folder: &Path,
    ) -> impl Iterator<Item = Task<'a>> {
        self.own.iter().map(move |&shard| {
            let stories = |&(file, row_group): &(usize, usize)| {
                Some((self.stories[file].as_ref()?, row_group))
            };
            Task {
                path: folder.join(shards::file_name(self.split, shard, self.of)),
                origin: ShardOrigin::new(
                    tokenizer,
                    self.split,
                    (shard, self.of),
                    self.files,
                    column,
                ),
                row_groups: self.range(shard).iter().filter_map(stories).collect(),
            }
        })
    }
}
