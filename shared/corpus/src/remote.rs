//! Files elsewhere: what every protocol has to offer, and the patience that all of them get.
//!
//! Each protocol answers one question, [`RemoteFile::get`]: bytes from here to there, if the file is still the same.
//! Trying again, resuming ([`download`]) and reading parts of a parquet file ([`Ranged`]) are written once, here.
use std::future::Future;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::{Either, select};
use stage::{Failure, Log, Result, interrupt};

use crate::stories::RangeRead;

pub mod buckets;
mod client;
mod documents;
pub mod download;
pub mod http;
pub mod hub;

/// Less than this arriving over `BEDTIME_STALL_S` counts as a broken connection.
const LEAST_BYTES_PER_SECOND: u64 = 1024;
/// Of one listing.
pub(crate) const MOST_PAGES: usize = 1000;
pub(crate) const MOST_FILES: usize = 100_000;
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A server may ask for more patience than our own, within reason.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(600);

/// Why one try did not give what was asked for.
#[derive(Debug)]
pub enum Trouble {
    /// May work again, at the earliest after this time where the server said so.
    Again(String, Option<Duration>),
    /// Too little arrived for too long: tried again, but no sign that it gets further.
    Slow(String),
    /// The file is not what it was when its first part was read.
    Changed(String),
    /// Will not work again.
    Stop(Failure),
}

/// What a source says of a file before its bytes are there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// Its length, where the listing has it.
    pub bytes: Option<u64>,
    /// Lower case, 64 digits.
    pub sha256: Option<String>,
}

/// The answer to one request.
pub struct Body {
    /// Offset of the first byte: what was asked for, or 0 from a server that gives only whole files.
    pub from: u64,
    /// Length of the whole file, where known.
    pub total: Option<u64>,
    /// Name of this state of the file, fit for a condition.
    pub etag: Option<String>,
    /// SHA-256 of the whole file, where the server gives it: lower case, 64 digits.
    pub sha256: Option<String>,
    /// The next bytes; None at the end.
    pub next: Box<dyn FnMut() -> Result<Option<Bytes>, Trouble> + Send>,
}

/// A file at a remote place.
pub trait RemoteFile: Send + Sync {
    /// What messages call it.
    fn address(&self) -> &str;
    /// What the listing said of it.
    fn published(&self) -> Published;
    /// One try at the bytes from `from` to before `to` (None: to the end). With `etag`, a file that has changed is
    /// [`Trouble::Changed`] or comes whole, from 0.
    fn get(&self, from: u64, to: Option<u64>, etag: Option<&str>) -> Result<Body, Trouble>;
}

/// Asks everything that is under way to stop: another file failed, or the user wants the end.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether anyone asked, or a signal came.
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::Relaxed) || interrupt::requested()
    }

    /// # Errors
    /// Exit code 130 once it was asked for.
    pub fn check(&self) -> Result<()> {
        match self.requested() {
            true => Err(Failure::interrupted(
                "what is whole is kept, and a broken download goes on where it broke; run the same command again",
            )),
            false => Ok(()),
        }
    }
}

/// The network of one run: one runtime, one connection pool, one measure of patience.
pub struct Network {
    /// Where messages go.
    pub log: Log,
    /// Ends all requests.
    pub cancel: Cancel,
    runtime: tokio::runtime::Runtime,
    client: client::Client,
    tries: u32,
    first_pause: Duration,
    /// How long nothing, or next to nothing, may arrive.
    silence: Duration,
    /// The most of a file whose length nobody announces.
    unannounced: u64,
}

/// What one answer brought, and how long was waited for it, since the last look.
#[derive(Default)]
pub(crate) struct Pace {
    waited: Duration,
    bytes: u64,
}

impl Network {
    /// `BEDTIME_RETRIES` (5), `BEDTIME_RETRY_BASE_MS` (500, doubled each time) and `BEDTIME_STALL_S` (60) set the patience.
    pub fn new(log: Log, cancel: Cancel) -> Result<Arc<Self>> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|error| {
            Failure::try_again(format_args!("no threads for the network: {error}"))
        })?;
        let tries = number_from_env("BEDTIME_RETRIES", 5, 1..=100)? as u32;
        let first_pause = number_from_env("BEDTIME_RETRY_BASE_MS", 500, 0..=3_600_000)?;
        let first_pause = Duration::from_millis(first_pause);
        let silence = Duration::from_secs(number_from_env("BEDTIME_STALL_S", 60, 1..=86_400)?);
        let unannounced = number_from_env("BEDTIME_UNANNOUNCED_GIB", 64, 1..=1 << 30)? << 30;
        let client = client::Client::new()?;
        let network =
            Network { log, cancel, runtime, client, tries, first_pause, silence, unannounced };
        Ok(Arc::new(network))
    }

    /// Waits for a step of the network; silence, Ctrl-C and the failure of another file end it.
    pub(crate) fn wait<T>(&self, what: &str, step: impl Future<Output = T>) -> Result<T, Trouble> {
        let stop = async {
            let start = Instant::now();
            while start.elapsed() < self.silence && !self.cancel.requested() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        match self.runtime.block_on(async {
            select(std::pin::pin!(step), std::pin::pin!(stop)).await.factor_ready()
        }) {
            Some(value) => Ok(value),
            None => match self.cancel.check() {
                Err(failure) => Err(Trouble::Stop(failure)),
                Ok(()) => Err(Trouble::Again(
                    format!("{what}: nothing arrived for {} s", self.silence.as_secs()),
                    None,
                )),
            },
        }
    }

    /// Waits for the next piece of a body; a server that gives next to nothing for long ends it, too.
    pub(crate) fn receive<T>(
        &self,
        what: &str,
        pace: &mut Pace,
        step: impl Future<Output = T>,
        length: impl Fn(&T) -> usize,
    ) -> Result<T, Trouble> {
        let start = Instant::now();
        let piece = self.wait(what, step)?;
        pace.waited += start.elapsed(); // not the time that our own disk takes
        pace.bytes += length(&piece) as u64;
        if pace.waited < self.silence {
            return Ok(piece);
        }
        let Pace { waited, bytes } = std::mem::take(pace);
        match bytes < LEAST_BYTES_PER_SECOND * self.silence.as_secs() {
            true => Err(Trouble::Slow(format!("{bytes} bytes in {} s", waited.as_secs()))),
            false => Ok(piece),
        }
    }

    /// Tries until it works, cannot work, or patience ends.
    pub(crate) fn persist<T>(
        &self,
        what: &str,
        mut attempt: impl FnMut() -> Result<T, Trouble>,
    ) -> Result<T> {
        let mut patience = self.patience();
        loop {
            match attempt() {
                Ok(value) => return Ok(value),
                Err(trouble) => patience.after(what, trouble)?,
            }
        }
    }

    pub(crate) fn patience(&self) -> Patience<'_> {
        Patience { network: self, failed: 0 }
    }
}

/// The side of a race that was ready, if it was the first.
trait FactorReady<T> {
    fn factor_ready(self) -> Option<T>;
}

impl<T, A, B> FactorReady<T> for Either<(T, A), ((), B)> {
    fn factor_ready(self) -> Option<T> {
        match self {
            Either::Left((value, _)) => Some(value),
            Either::Right(_) => None,
        }
    }
}

fn number_from_env(name: &str, default: u64, range: RangeInclusive<u64>) -> Result<u64> {
    let Some(text) = std::env::var_os(name) else { return Ok(default) };
    let number = text.to_str().and_then(|text| text.trim().parse().ok());
    // The value is not repeated: it may have been meant for another variable, a secret one.
    number.filter(|number| range.contains(number)).ok_or_else(|| {
        let (least, most) = range.into_inner();
        Failure::usage(format_args!("expected a whole number from {least} to {most}"))
            .at(name)
            .remedy(format_args!("set it so, or unset it ({default})"))
    })
}

/// How often something failed in a row, and how long to pause before the next try: exponential, with jitter so that
/// many clients do not come back in step.
pub(crate) struct Patience<'a> {
    network: &'a Network,
    failed: u32,
}

impl Patience<'_> {
    /// Something arrived: what fails from here on is a new row.
    pub(crate) fn renew(&mut self) {
        self.failed = 0;
    }

    /// Pauses before another try, or gives up.
    pub(crate) fn after(&mut self, what: &str, trouble: Trouble) -> Result<()> {
        let network = self.network;
        let (found, asked) = match trouble {
            Trouble::Stop(failure) => return Err(failure),
            Trouble::Again(found, asked) => (found, asked),
            Trouble::Changed(found) | Trouble::Slow(found) => (found, None),
        };
        self.failed += 1;
        if self.failed >= network.tries {
            return Err(Failure::try_again(format_args!("{found} ({} tries)", self.failed))
                .at(what)
                .kept("what has arrived so far")
                .remedy(
                    "check the network and the proxy settings, then run the same command again",
                ));
        }
        let doubled = network.first_pause.saturating_mul(1 << (self.failed - 1).min(16));
        let pause = asked.map_or(doubled.mul_f64(0.5 + jitter()).min(LONGEST_PAUSE), |asked| {
            asked.min(LONGEST_RETRY_AFTER)
        });
        network.log.warn(format!(
            "{what}: {found}; trying again in {:.1} s ({} of {})",
            pause.as_secs_f64(),
            self.failed + 1,
            network.tries
        ));
        let until = Instant::now() + pause;
        while Instant::now() < until {
            network.cancel.check()?;
            std::thread::sleep(
                until.saturating_duration_since(Instant::now()).min(Duration::from_millis(50)),
            );
        }
        network.cancel.check()
    }
}

/// 0 to 1; never part of a result, so the clock may decide.
fn jitter() -> f64 {
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    f64::from(now.subsec_nanos() % 1009) / 1009.0
}

/// A remote file read in ranges, all of one state of it.
pub struct Ranged {
    network: Arc<Network>,
    file: Arc<dyn RemoteFile>,
    length: u64,
    etag: Option<String>,
}

impl Ranged {
    /// None where the server gives only whole files.
    pub fn open(network: &Arc<Network>, file: &Arc<dyn RemoteFile>) -> Result<Option<Self>> {
        let body = network.persist(file.address(), || {
            file.get(0, Some(4), None).map_err(|trouble| match trouble {
                Trouble::Changed(_) => Trouble::Stop(Failure::input(
                    Path::new(file.address()),
                    "an empty file",
                    "a whole parquet file",
                    "take another source",
                )),
                other => other,
            })
        })?;
        let whole = body.total == Some(4) || body.total.is_none();
        let (length, etag) = (body.total.unwrap_or(0), body.etag.clone());
        let mut received = 0;
        let mut next = body.next;
        while received <= 4 {
            match next() {
                Ok(Some(bytes)) => received += bytes.len() as u64,
                _ => break,
            }
        }
        let ranges = received == 4 && !whole;
        Ok(ranges.then(|| Ranged { network: network.clone(), file: file.clone(), length, etag }))
    }
}

impl RangeRead for Ranged {
    fn length(&self) -> u64 {
        self.length
    }

    fn read_range(&self, start: u64, bytes: u64) -> Result<Bytes> {
        let what = self.file.address();
        self.network.persist(what, || {
            let mut body =
                self.file.get(start, Some(start.saturating_add(bytes)), self.etag.as_deref())?;
            if body.from != start
                || body.total != Some(self.length)
                || (self.etag.is_some() && body.etag != self.etag)
            {
                return Err(Trouble::Stop(
                    Failure::try_again("it changed while it was read")
                        .at(what)
                        .remedy("run the same command again"),
                ));
            }
            // The length is what a stranger said: memory is taken as bytes arrive.
            let mut read = Vec::with_capacity(bytes.min(1 << 20) as usize);
            while let Some(piece) = (body.next)()? {
                read.extend_from_slice(&piece);
                if read.len() as u64 > bytes {
                    break;
                }
            }
            match read.len() as u64 == bytes {
                true => Ok(Bytes::from(read)),
                false => {
                    Err(Trouble::Again(format!("{} bytes instead of {bytes}", read.len()), None))
                }
            }
        })
    }
}
