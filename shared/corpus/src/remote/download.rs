//! Whole files, resumed where they broke and verified before they are used.
//!
//! A [`Temporary`] holds what has arrived, its note which state of which file it belongs to: the next run goes on with
//! them. A wrong hash is tried once more from the start if the file had been put together from several answers; from one answer it is final.
use std::fs::{self, OpenOptions};
use std::path::Path;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use stage::{
    AtomicFile, Failure, FailureKind, FileRecord, Progress, Result, Temporary, WriteBehind,
    hash_content, remove_if_present,
};

use super::{Body, Network, RemoteFile, Trouble};

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
        let (note, joined, (hasher, bytes)) = transfer(network, file, partial, meter)?;
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

/// Bytes until the end, over as many connections as it takes. True when they came in more than one answer.
fn transfer(
    network: &Network,
    file: &dyn RemoteFile,
    partial: &Temporary,
    meter: &Meter,
) -> Result<(Note, bool, Hashed)> {
    let address = file.address();
    let (note_path, partial) = (partial.note(), partial.path());
    let mut note: Note = stage::read(&note_path)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    if note.address != address {
        note = Note::default();
    }
    let mut patience = network.patience();
    let (mut joined, mut counted, mut furthest) = (false, false, 0);
    // Of what arrived in this run; what an earlier one left is hashed when more is appended to it.
    let mut hashed: Option<Hashed> = None;
    loop {
        network.cancel.check()?;
        let have = if note.can_resume() {
            fs::metadata(partial).map_or(0, |metadata| metadata.len())
        } else {
            0
        };
        if have > 0 && note.bytes == Some(have) {
            if !counted {
                meter.saw(have);
                meter.progress.skip(have);
            }
            let hashed = hashed
                .filter(|(_, bytes)| *bytes == have)
                .map_or_else(|| hash_content(partial), Ok)?;
            return Ok((note, true, hashed));
        }
        let mut body = match file.get(have, None, note.etag.as_deref().filter(|_| have > 0)) {
            Ok(body) => body,
            Err(Trouble::Changed(_)) if have > 0 => {
                network.log.say(format!(
                    "{address}: it has changed since {have} bytes of it arrived; starting over"
                ));
                note = Note::default();
                continue;
            }
            Err(trouble) => {
                patience.after(address, trouble)?;
                continue;
            }
        };
        if body.from != 0 && body.from != have {
            patience.after(
                address,
                Trouble::Again(
                    format!("bytes from {} came where {have} were asked for", body.from),
                    None,
                ),
            )?;
            continue;
        }
        if have > 0 && (body.from == 0 || !note.fits(&body)) {
            network.log.say(format!(
                "{address}: it has changed or cannot be resumed; {have} bytes start over"
            ));
            if body.from != 0 {
                note = Note::default();
                continue;
            }
        }
        let published = file.published().bytes;
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
        if !std::mem::replace(&mut counted, true) {
            meter.saw(body.total.or(published).unwrap_or(0));
            meter.progress.skip(body.from);
        }
        joined |= body.from > 0;
        note = Note {
            address: address.to_owned(),
            etag: body.etag.take(),
            sha256: body.sha256.take(),
            bytes: body.total.or(published),
        };
        let text = serde_json::to_vec(&note).map_err(|error| Failure::usage(error.to_string()))?;
        if body.from == 0 {
            remove_if_present(partial)?; // before the note: old bytes must not look like this file's
        }
        AtomicFile::write(&note_path, &text)?;
        let start = match hashed.take().filter(|(_, bytes)| *bytes == body.from) {
            _ if body.from == 0 => (Sha256::new(), 0),
            Some(hashed) => hashed,
            None => hash_content(partial)?,
        };
        let arrived;
        (arrived, hashed) = append(network, partial, &mut body, meter, start, note.bytes);
        if let (Err(Trouble::Stop(Failure { kind: FailureKind::BadInput, .. })), None) =
            (&arrived, note.bytes)
        {
            remove_if_present(partial)?; // without an end
        }
        // Patience starts anew only where the download got further: a server that always breaks at the same byte ends it.
        let length = fs::metadata(partial).map_or(0, |metadata| metadata.len());
        if length > furthest && !matches!(arrived, Err(Trouble::Slow(_))) {
            furthest = length;
            patience.renew();
        }
        match arrived {
            Ok(()) if note.bytes.is_none_or(|bytes| bytes <= length) => {
                let hashed = hashed
                    .filter(|(_, bytes)| *bytes == length)
                    .map_or_else(|| hash_content(partial), Ok)?;
                return Ok((note, joined, hashed));
            }
            Ok(()) => patience.after(
                address,
                Trouble::Again(
                    format!("the body ended at {length} of {} bytes", note.bytes.unwrap_or(0)),
                    None,
                ),
            )?,
            Err(trouble) => patience.after(address, trouble)?,
        }
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
