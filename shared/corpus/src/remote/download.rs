//! Whole files, resumed where they broke and verified before they are used.
//!
//! A [`Temporary`] holds what has arrived, its note which state of which file it belongs to: the next run goes on with
//! them. A wrong hash is tried once more from the start if the file had been put together from several answers; from one answer it is final.
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use stage::{
    AtomicFile, Failure, FailureKind, FileRecord, Progress, Result, Temporary, WriteBehind,
    hash_content, remove_if_present,
};

use super::{Body, Network, Patience, RemoteFile, Trouble};

/// What arrived is given to the file after this long, however little it is: a kill costs no more.
const LONGEST_UNWRITTEN: Duration = Duration::from_millis(200);

/// Progress over several files whose lengths become known one by one: the total is estimated from those seen.
pub struct Meter {
    /// Bytes of all files.
    pub progress: Progress,
    /// Number of files.
    pub files: u64,
    seen: Mutex<(u64, u64)>,
}

impl Meter {
    /// No file seen yet.
    pub fn new(progress: Progress, files: u64) -> Self {
        Meter { progress, files, seen: Mutex::new((0, 0)) }
    }

    fn saw(&self, bytes: u64) {
        let mut seen = self.seen.lock();
        *seen = (seen.0 + 1, seen.1 + bytes);
        self.progress.set_total(seen.1 / seen.0 * self.files.max(seen.0));
    }
}

/// What the bytes in a partial file belong to.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Note {
    address: String,
    etag: Option<String>,
    sha256: Option<String>,
    bytes: Option<u64>,
}

impl Note {
    /// Without a tag to ask for or a hash to check in the end, two parts might be of two files.
    fn can_resume(&self) -> bool {
        self.etag.is_some() || self.sha256.is_some()
    }

    fn fits(&self, body: &Body) -> bool {
        let agree = |a: &Option<String>, b: &Option<String>| a.is_none() || b.is_none() || a == b;
        agree(&self.etag, &body.etag)
            && agree(&self.sha256, &body.sha256)
            && (self.bytes.is_none() || body.total.is_none() || self.bytes == body.total)
    }
}

/// Removes a download and its note.
pub fn discard(partial: Temporary) -> Result<()> {
    let path = partial.path().to_owned();
    partial.discard().map_err(Failure::writing(&path))
}

/// Where the file for `target` arrives: what an earlier run left of it, where there is such.
pub fn begin(target: &Path) -> Result<Temporary> {
    Temporary::download(target).map_err(Failure::writing(target))
}

/// Brings the whole file to `partial`, checked for length and published hash.
pub fn download(
    network: &Network,
    file: &dyn RemoteFile,
    partial: &Temporary,
    meter: &Meter,
) -> Result<FileRecord> {
    let mut second = false;
    loop {
        let (note, joined, (hasher, bytes)) = Transfer::new(network, file, partial, meter).run()?;
        let name = partial.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let record = FileRecord { name, bytes, sha256: hex::encode(hasher.finalize()) };
        let length = note.bytes.or(file.published().bytes);
        let found = match (&note.sha256, length) {
            (_, Some(bytes)) if bytes != record.bytes => format!("{} bytes arrived", record.bytes),
            (Some(sha256), _) if *sha256 != record.sha256 => {
                format!("its SHA-256 is {}", record.sha256)
            }
            _ => return Ok(record),
        };
        remove_if_present(partial.path())?;
        remove_if_present(&partial.note())?;
        if !joined || second {
            let published = [
                length.map(|bytes| format!("{bytes} bytes")),
                note.sha256.map(|sha256| format!("SHA-256 {sha256}")),
            ];
            let expected = format!(
                "what was published: {}",
                published.into_iter().flatten().collect::<Vec<_>>().join(", ")
            );
            return Err(Failure::input(
                Path::new(file.address()),
                found,
                expected,
                "run the same command again; if it stays, the source is damaged: take another revision or mirror",
            ));
        }
        second = true;
        network.log.warn(format!(
            "{}: {found}, not what was published; fetching it once more from the start",
            file.address()
        ));
    }
}

/// A hasher that has seen the first bytes of a partial file, up to a length.
type Hashed = (Sha256, u64);

/// A file on its way to `partial`, over as many connections as it takes.
struct Transfer<'a> {
    network: &'a Network,
    file: &'a dyn RemoteFile,
    partial: &'a Path,
    note_path: PathBuf,
    meter: &'a Meter,
    note: Note,
    patience: Patience<'a>,
    /// It came in more than one answer.
    joined: bool,
    /// The meter knows of it.
    counted: bool,
    /// The longest that the partial file was.
    furthest: u64,
    /// Of what arrived in this run; what an earlier one left is hashed when more is appended to it.
    hashed: Option<Hashed>,
}

impl<'a> Transfer<'a> {
    fn new(
        network: &'a Network,
        file: &'a dyn RemoteFile,
        partial: &'a Temporary,
        meter: &'a Meter,
    ) -> Self {
        let (note_path, partial) = (partial.note(), partial.path());
        let note: Note = stage::read(&note_path)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .filter(|note: &Note| note.address == file.address())
            .unwrap_or_default();
        Transfer {
            network,
            file,
            partial,
            note_path,
            meter,
            note,
            patience: network.patience(),
            joined: false,
            counted: false,
            furthest: 0,
            hashed: None,
        }
    }

    /// All bytes until the end. True when they came in more than one answer.
    fn run(mut self) -> Result<(Note, bool, Hashed)> {
        let address = self.file.address();
        loop {
            self.network.cancel.check()?;
            let have = if self.note.can_resume() { self.length() } else { 0 };
            if have > 0 && self.note.bytes == Some(have) {
                self.count(have, have);
                let hashed = self.hashed_to(have)?;
                return Ok((self.note, true, hashed));
            }
            let Some(mut body) = self.ask(have)? else { continue };
            let start = self.accept(&mut body)?;
            let arrived = self.receive(&mut body, start)?;
            let length = self.length();
            match arrived {
                Ok(()) if self.note.bytes.is_none_or(|bytes| bytes <= length) => {
                    let hashed = self.hashed_to(length)?;
                    return Ok((self.note, self.joined, hashed));
                }
                Ok(()) => self.patience.after(
                    address,
                    Trouble::Again(
                        format!(
                            "the body ended at {length} of {} bytes",
                            self.note.bytes.unwrap_or(0)
                        ),
                        None,
                    ),
                )?,
                Err(trouble) => self.patience.after(address, trouble)?,
            }
        }
    }

    fn length(&self) -> u64 {
        fs::metadata(self.partial).map_or(0, |metadata| metadata.len())
    }

    /// A hasher that has seen these bytes, all of the partial file.
    fn hashed_to(&mut self, length: u64) -> Result<Hashed> {
        let seen = self.hashed.take().filter(|(_, bytes)| *bytes == length);
        seen.map_or_else(|| hash_content(self.partial), Ok)
    }

    /// Tells the meter of the file once.
    fn count(&mut self, bytes: u64, skipped: u64) {
        if !std::mem::replace(&mut self.counted, true) {
            self.meter.saw(bytes);
            self.meter.progress.skip(skipped);
        }
    }

    /// An answer that goes on behind the `have` bytes, or begins anew. None: ask again.
    fn ask(&mut self, have: u64) -> Result<Option<Body>> {
        let address = self.file.address();
        let etag = self.note.etag.as_deref().filter(|_| have > 0);
        let body = match self.file.get(have, None, etag) {
            Ok(body) => body,
            Err(Trouble::Changed(_)) if have > 0 => {
                self.network.log.say(format!(
                    "{address}: it has changed since {have} bytes of it arrived; starting over"
                ));
                self.note = Note::default();
                return Ok(None);
            }
            Err(trouble) => {
                self.patience.after(address, trouble)?;
                return Ok(None);
            }
        };
        if body.from != 0 && body.from != have {
            let found = format!("bytes from {} came where {have} were asked for", body.from);
            self.patience.after(address, Trouble::Again(found, None))?;
            return Ok(None);
        }
        if have > 0 && (body.from == 0 || !self.note.fits(&body)) {
            self.network.log.say(format!(
                "{address}: it has changed or cannot be resumed; {have} bytes start over"
            ));
            if body.from != 0 {
                self.note = Note::default();
                return Ok(None);
            }
        }
        Ok(Some(body))
    }

    /// Writes down what is about to arrive; gives the hasher of what is there.
    fn accept(&mut self, body: &mut Body) -> Result<Hashed> {
        let (address, published) = (self.file.address(), self.file.published().bytes);
        if let (Some(listed), Some(total)) = (published, body.total)
            && listed != total
        {
            return Err(Failure::input(
                Path::new(address),
                format_args!("{total} bytes"),
                format_args!("the {listed} bytes of its listing"),
                "run the same command again",
            ));
        }
        self.count(body.total.or(published).unwrap_or(0), body.from);
        self.joined |= body.from > 0;
        self.note = Note {
            address: address.to_owned(),
            etag: body.etag.take(),
            sha256: body.sha256.take(),
            bytes: body.total.or(published),
        };
        let text =
            serde_json::to_vec(&self.note).map_err(|error| Failure::usage(error.to_string()))?;
        if body.from == 0 {
            remove_if_present(self.partial)?; // before the note: old bytes must not look like this file's
        }
        AtomicFile::write(&self.note_path, &text)?;
        match body.from {
            0 => Ok((Sha256::new(), 0)),
            from => self.hashed_to(from),
        }
    }

    /// Appends the body to the partial file.
    fn receive(&mut self, body: &mut Body, start: Hashed) -> Result<Result<(), Trouble>> {
        let announced = self.note.bytes;
        let (arrived, hashed) =
            append(self.network, self.partial, body, self.meter, start, announced);
        self.hashed = hashed;
        if let (Err(Trouble::Stop(Failure { kind: FailureKind::BadInput, .. })), None) =
            (&arrived, announced)
        {
            remove_if_present(self.partial)?; // without an end
        }
        // Patience starts anew only where the download got further: a server that always breaks at the same byte ends it.
        let length = self.length();
        if length > self.furthest && !matches!(arrived, Err(Trouble::Slow(_))) {
            self.furthest = length;
            self.patience.renew();
        }
        Ok(arrived)
    }
}

/// Writes and hashes what arrives behind what is there, of which `hashed` has seen all. Without a hasher in return it is
/// not known what the file holds.
fn append(
    network: &Network,
    partial: &Path,
    body: &mut Body,
    meter: &Meter,
    (hasher, mut bytes): Hashed,
    announced: Option<u64>,
) -> (Result<(), Trouble>, Option<Hashed>) {
    let stop = |error: std::io::Error| Trouble::Stop(Failure::writing(partial)(error));
    let mut file = match OpenOptions::new().create(true).append(true).open(partial) {
        Ok(file) => WriteBehind::new(file, hasher),
        Err(error) => return (Err(stop(error)), None),
    };
    let mut written = Instant::now();
    let mut receive = || -> Result<(), Trouble> {
        while let Some(piece) = (body.next)()? {
            file.put(&piece).map_err(stop)?;
            if written.elapsed() > LONGEST_UNWRITTEN {
                file.hurry().map_err(stop)?;
                written = Instant::now();
            }
            bytes += piece.len() as u64;
            meter.progress.add(piece.len() as u64);
            network.cancel.check().map_err(Trouble::Stop)?;
            if announced.is_some_and(|announced| bytes > announced) {
                break; // the lengths are compared by whoever asked
            }
            if announced.is_none() && bytes > network.unannounced {
                return Err(Trouble::Stop(
                    Failure::bad_input(format_args!(
                        "a file without an end: {bytes} bytes so far, and no length announced"
                    ))
                    .expected("at most BEDTIME_UNANNOUNCED_GIB")
                    .remedy("check fetch.source"),
                ));
            }
        }
        Ok(())
    };
    let received = receive();
    match file.end() {
        Ok(hasher) => (received, Some((hasher, bytes))),
        Err(error) => (received.and(Err(stop(error))), None),
    }
}
