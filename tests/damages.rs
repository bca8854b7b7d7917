//! The damages of a file, and what every reader has to do with them: the memory it takes is counted.
use std::alloc::{GlobalAlloc, Layout, System};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use stage::{AtomicFile, Failure, Random, Result};

/// Live bytes of the heap, their peak, and the largest request, granted or not.
struct Counting;

pub(crate) static LIVE: AtomicUsize = AtomicUsize::new(0);
pub(crate) static PEAK: AtomicUsize = AtomicUsize::new(0);
pub(crate) const GIB: usize = 1 << 30;

impl Counting {
    fn grow(bytes: usize) {
        let live = LIVE.fetch_add(bytes, Ordering::Relaxed) + bytes;
        PEAK.fetch_max(live, Ordering::Relaxed);
    }
}

// SAFETY: hands everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::grow(layout.size());
        // SAFETY: the caller's promise about the layout is handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::grow(layout.size());
        // SAFETY: the caller's promise about the layout is handed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: `alloc` took the memory from the system's allocator, with this layout.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::grow(size);
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as in `dealloc`; the caller promises that the size is not 0.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A file of at most this number of bytes has every bit flipped and every end cut off; a larger one this number at random.
const SMALL: usize = 3000;
const AT_RANDOM: usize = 1000;

/// Every damage of a file, with words for it. `BEDTIME_LONG=SECONDS` goes on with several damages at once for so long.
fn damages(good: &[u8], mut each: impl FnMut(&str, &[u8])) {
    let mut random = Random::new(1, "damage", good.len() as u64);
    let small = good.len() <= SMALL;
    let mut any = |below: usize| random.below(below as u64) as usize;
    let flips: Vec<(usize, u8)> = match small {
        true => (0..good.len()).flat_map(|at| (0..8).map(move |bit| (at, 1 << bit))).collect(),
        // Half of them where lengths and places stand: at both ends.
        false => (0..3 * AT_RANDOM)
            .map(|i| match i % 4 {
                0 => any(512),
                1 => good.len() - 1 - any(1024),
                _ => any(good.len()),
            })
            .collect::<Vec<_>>()
            .into_iter()
            .map(|at| (at, 1 << any(8)))
            .collect(),
    };
    let mut bad = good.to_vec();
    for (at, bit) in flips {
        bad[at] ^= bit;
        each(&format!("bit {bit:#04x} of byte {at} flipped"), &bad);
        bad[at] = good[at];
    }
    for _ in 0..AT_RANDOM {
        let (at, byte) = (any(good.len()), any(256) as u8);
        bad[at] = byte;
        each(&format!("byte {at} set to {byte:#04x}"), &bad);
        bad[at] = good[at];
    }
    let cuts: Vec<usize> = if small {
        (0..good.len()).collect()
    } else {
        (0..AT_RANDOM).map(|_| any(good.len())).collect()
    };
    for cut in cuts {
        each(&format!("cut at {cut}"), &good[..cut]);
    }
    let Some(seconds) = long_seconds() else { return };
    let end = Instant::now() + seconds;
    let mut number = 0;
    while Instant::now() < end {
        number += 1;
        let mut random = Random::new(number, "damages", good.len() as u64);
        let mut bad = good.to_vec();
        for _ in 0..1 + random.below(8) {
            mutate(&mut bad, &mut random);
        }
        each(&format!("{number} of the long form"), &bad);
    }
}

/// How long the long form of each file takes.
fn long_seconds() -> Option<Duration> {
    let text = std::env::var("BEDTIME_LONG").ok()?;
    Some(Duration::from_secs(text.parse().ok().filter(|seconds| *seconds > 1).unwrap_or(60)))
}

/// One change of those that find most: a byte or a number set to what lies at a border, bytes taken out, repeated or put
/// elsewhere.
fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    const BORDERS: [u64; 10] =
        [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, u64::MAX];
    let mut any = |below: usize| random.below(below.max(1) as u64) as usize;
    let (at, kind, width, border) = (any(bytes.len()), any(6), 1 << any(4), BORDERS[any(10)]);
    let length = 1 + any(64);
    let end = (at + length).min(bytes.len());
    let to = any(bytes.len());
    let byte = any(256) as u8;
    match kind {
        0 => bytes.iter_mut().skip(at).take(1).for_each(|old| *old = byte),
        1 => bytes
            .iter_mut()
            .skip(at)
            .zip(border.to_le_bytes())
            .take(width)
            .for_each(|(old, new)| *old = new),
        2 => drop(bytes.drain(at..end)),
        3 => {
            let piece = bytes[at..end].to_vec();
            drop(bytes.splice(to..to, piece));
        }
        4 => {
            let digits = border.to_string();
            drop(bytes.splice(at..end.min(at + 2), digits.into_bytes()));
        }
        _ => bytes.truncate(at),
    }
}

/// Reads a file in all its damages. `read` gives what has to be equal to what the good file gave; where the format itself
/// cannot tell, `read` compares the hash that the pipeline keeps, as the stages do.
pub(crate) fn survives<T: PartialEq>(
    what: &str,
    good: &[u8],
    codes: &[u8],
    mut read: impl FnMut(&[u8]) -> Result<T>,
) {
    let right = read(good).unwrap_or_else(|error| panic!("{what}, undamaged: {error}"));
    let mut wrong = Vec::new();
    let mut cases = 0;
    damages(good, |damage, bad| {
        cases += 1;
        match catch_unwind(AssertUnwindSafe(|| read(bad))) {
            Err(_) => wrong.push(format!("{damage}: it panicked")),
            Ok(Ok(found)) if found != right => wrong.push(format!("{damage}: another result")),
            Ok(Ok(_)) => {}
            Ok(Err(error)) if !codes.contains(&error.exit_code()) => {
                wrong.push(format!("{damage}: exit code {}", error.exit_code()))
            }
            Ok(Err(error)) if error.to_string().len() < 20 => {
                wrong.push(format!("{damage}: says only {error}"))
            }
            Ok(Err(_)) => {}
        }
        let peak = PEAK.swap(LIVE.load(Ordering::Relaxed), Ordering::Relaxed);
        if peak > GIB {
            wrong.push(format!("{damage}: {peak} bytes of memory"));
        }
    });
    println!("{what}: {cases} cases, {} faults", wrong.len());
    let first: Vec<&String> = wrong.iter().take(20).collect();
    assert!(wrong.is_empty(), "{what}: {} of {cases} cases\n{first:#?}", wrong.len());
}

/// As a stage does before it reads: content that the hash in a manifest does not fit is refused.
pub(crate) fn caught_by_hash(good: &[u8], bad: &[u8]) -> Result<()> {
    if good == bad {
        Ok(())
    } else {
        Err(Failure::bad_input("another hash than the manifest says"))
    }
}

/// With `BEDTIME_FUZZ_SEEDS=DIR` the good files are kept: what fuzzing starts from. Several files of one input are divided
/// by a zero byte.
pub(crate) fn seed(target: &str, name: &str, files: &[&[u8]]) {
    if let Some(folder) = std::env::var_os("BEDTIME_FUZZ_SEEDS") {
        AtomicFile::write(&Path::new(&folder).join(target).join(name), &files.join(&0)).unwrap();
    }
}
