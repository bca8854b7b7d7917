//! The one driver of a stage: up to date? Else lock, look again, work, publish.
use crate::{FileRecord, Freshness, Lock, Manifest, Result, Shard, Stage, Work};

/// What a stage ends with.
pub struct Done {
    /// The manifest that was published, or found.
    pub manifest: Manifest,
    /// False if it was up to date.
    pub made: bool,
    /// What the manifest before it named and it does not.
    pub replaced: Vec<FileRecord>,
    /// Held until everything is done.
    _lock: Option<Lock>,
}

impl Stage {
    /// Does the work unless its result is up to date. `make` gets the reason and returns the manifest, which is published
    /// last. Of two attempts at once, the second waits and then finds what the first has made.
    ///
    /// # Errors
    /// Those of `make`; of a manifest that cannot be written; 130 when interrupted.
    pub fn perform(
        &self,
        work: &Work,
        part: Option<Shard>,
        make: impl FnOnce(&str) -> anyhow::Result<Manifest>,
    ) -> anyhow::Result<Done> {
        let made_before = |manifest: Box<Manifest>| {
            work.touch();
            Done { manifest: *manifest, made: false, replaced: Vec::new(), _lock: None }
        };
        let why = match work.state(self.force)? {
            Freshness::UpToDate(manifest) => return Ok(made_before(manifest)),
            Freshness::Stale(why) => why,
        };
        let (lock, waited) = Lock::wait(&self.out, self.name, part, &self.log)?;
        let why = match waited {
            false => why,
            true => match work.state(self.force)? {
                Freshness::UpToDate(manifest) => return Ok(made_before(manifest)),
                Freshness::Stale(why) => why,
            },
        };
        let manifest = make(&why)?;
        let replaced = work.publish(&manifest)?;
        Ok(Done { manifest, made: true, replaced, _lock: Some(lock) })
    }

    /// Prints the summary on stdout if the result was made; else logs that it is up to date.
    ///
    /// # Errors
    /// Exit code 4 when stdout cannot be written.
    pub fn report(&self, done: &Done, summary: &str) -> Result<()> {
        if !done.made {
            self.log.say(format!("up to date: {summary}"));
            return Ok(());
        }
        crate::print(&format!("{summary}\n")).map(drop)
    }
}
