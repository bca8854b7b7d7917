//! A team of threads for work of microseconds: its members meet at barriers by spinning.
//!
//! A token of a small model is forty steps of some microseconds each; a thread pool's hand-over would cost as much as the
//! step. Here a whole token is one job that all members run, and a barrier costs a few hundred nanoseconds.
//!
//! Who has spun for [`SPIN`] sleeps. On a machine with more to run than it has cores, a member is taken off its core sooner or
//! later, for milliseconds. If the others spun meanwhile, they would use up their own turns; asleep they keep them, and the
//! members run together again once the late one is back.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Longer than members with equal parts of a step wait for one another, and than choosing a token takes; much shorter than the
/// milliseconds for which another process gets a core.
const SPIN: Duration = Duration::from_micros(100);
/// Looks at a flag between two at the clock.
const LOOKS: u32 = 64;

/// On cache lines of its own, and those that the processor fetches along.
#[repr(align(128))]
#[derive(Default)]
struct Line<T>(T);

/// The job of the hour. Its lifetime ends with [`Team::run`], which waits for all members.
#[derive(Clone, Copy)]
struct Job(*const (dyn Fn(Member) + Sync));
// SAFETY: the closure is Sync, and `run` outlives every use of it.
unsafe impl Send for Job {}

struct Shared {
    threads: usize,
    /// Jobs given out so far.
    number: Line<AtomicUsize>,
    job: Mutex<Option<Job>>,
    /// For those that sleep, whatever they wait for.
    wake: Condvar,
    sleepers: Line<AtomicUsize>,
    /// Members other than the caller that are at the job.
    busy: Line<AtomicUsize>,
    /// Barrier: who has come, and how often all have.
    arrived: Line<AtomicUsize>,
    phase: Line<AtomicUsize>,
    stop: AtomicBool,
    /// A member panicked: nobody is to wait for it.
    broken: AtomicBool,
}

/// One member of the team at work.
#[derive(Clone, Copy)]
pub(super) struct Member<'a> {
    pub index: usize,
    shared: &'a Shared,
}

pub(super) struct Team {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

/// Marks the team as broken when a member unwinds.
struct Alarm<'a>(&'a Shared);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.broken.store(true, Ordering::SeqCst);
            self.0.wake();
        }
    }
}

impl Shared {
    fn new(threads: usize) -> Self {
        Shared {
            threads,
            number: Line::default(),
            job: Mutex::new(None),
            wake: Condvar::new(),
            sleepers: Line::default(),
            busy: Line::default(),
            arrived: Line::default(),
            phase: Line::default(),
            stop: AtomicBool::new(false),
            broken: AtomicBool::new(false),
        }
    }

    /// Waits until `ready`, first spinning, then asleep. What makes it so is stored with `SeqCst` and followed by
    /// [`wake`](Self::wake).
    fn wait_until(&self, ready: impl Fn() -> bool) {
        let mut begin = None;
        while begin.is_none_or(|begin: Instant| begin.elapsed() < SPIN) {
            for _ in 0..LOOKS {
                if ready() {
                    return;
                }
                std::hint::spin_loop();
            }
            begin = begin.or_else(|| Some(Instant::now()));
        }
        let mut job = self.job.lock();
        // Before the last look: either that sees the change, or `wake` sees the sleeper.
        self.sleepers.0.fetch_add(1, Ordering::SeqCst);
        while !ready() {
            self.wake.wait(&mut job);
        }
        self.sleepers.0.fetch_sub(1, Ordering::SeqCst);
    }

    /// Lets those that sleep look again.
    fn wake(&self) {
        if self.sleepers.0.load(Ordering::SeqCst) > 0 {
            let _job = self.job.lock();
            self.wake.notify_all();
        }
    }

    fn check(&self) {
        assert!(!self.broken.load(Ordering::Acquire), "another thread of the decoder failed");
    }
}

impl Member<'_> {
    /// Waits for all members; what they wrote before is then seen by all.
    pub(super) fn barrier(&self) {
        let Shared { threads, arrived, phase, .. } = self.shared;
        if *threads == 1 {
            return;
        }
        let before = phase.0.load(Ordering::Relaxed);
        if arrived.0.fetch_add(1, Ordering::AcqRel) + 1 == *threads {
            arrived.0.store(0, Ordering::Relaxed);
            phase.0.store(before.wrapping_add(1), Ordering::SeqCst);
            self.shared.wake();
        } else {
            self.shared.wait_until(|| {
                phase.0.load(Ordering::SeqCst) != before
                    || self.shared.broken.load(Ordering::SeqCst)
            });
            self.shared.check();
        }
    }

    /// This member's part of `0..items`, in whole units but for the last.
    pub(super) fn part(&self, items: usize, unit: usize) -> std::ops::Range<usize> {
        let units = items.div_ceil(unit);
        let at = |index: usize| (units * index / self.shared.threads * unit).min(items);
        at(self.index)..at(self.index + 1)
    }
}

impl Team {
    pub(super) fn new(threads: usize) -> Self {
        let threads = threads.max(1);
        let shared = Arc::new(Shared::new(threads));
        let mut workers = Vec::new();
        for index in 1..threads {
            let shared = shared.clone();
            workers.push(std::thread::spawn(move || work(index, &shared)));
        }
        Team { shared, workers }
    }

    pub(super) fn threads(&self) -> usize {
        self.shared.threads
    }

    /// Runs `job` on all members, the caller being the first of them, and waits for all.
    pub(super) fn run(&mut self, job: &(dyn Fn(Member) + Sync)) {
        let shared = &*self.shared;
        shared.check();
        if shared.threads > 1 {
            // SAFETY: only the lifetime changes; this function waits below until nobody uses the job any more.
            let job: *const (dyn Fn(Member) + Sync + 'static) = unsafe { std::mem::transmute(job) };
            shared.busy.0.store(shared.threads - 1, Ordering::Relaxed);
            *shared.job.lock() = Some(Job(job));
            shared.number.0.fetch_add(1, Ordering::SeqCst);
            shared.wake();
        }
        /// Nobody may be left with the job when this function ends, even by a panic.
        struct Wait<'a>(&'a Shared);
        impl Drop for Wait<'_> {
            fn drop(&mut self) {
                let Shared { threads, busy, .. } = self.0;
                self.0.wait_until(|| *threads == 1 || busy.0.load(Ordering::SeqCst) == 0);
            }
        }
        let wait = Wait(shared);
        let alarm = Alarm(shared);
        job(Member { index: 0, shared });
        drop(alarm);
        drop(wait);
        shared.check();
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.number.0.fetch_add(1, Ordering::SeqCst);
        self.shared.wake();
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

fn work(index: usize, shared: &Shared) {
    let mut seen = 0;
    loop {
        shared.wait_until(|| shared.number.0.load(Ordering::SeqCst) != seen);
        seen = shared.number.0.load(Ordering::SeqCst);
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        let job = *shared.job.lock();
        if let Some(Job(job)) = job {
            let alarm = Alarm(shared);
            // A panic must reach `run` as words, not as a thread that is missing.
            // SAFETY: `run` waits for `busy` to fall to 0 before the job's lifetime ends.
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| unsafe {
                (*job)(Member { index, shared })
            }));
            if ended.is_err() {
                shared.broken.store(true, Ordering::SeqCst);
                shared.wake();
            }
            drop(alarm);
            shared.busy.0.fetch_sub(1, Ordering::SeqCst);
            shared.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    #[test]
    fn members_see_what_others_wrote_before_the_barrier() {
        for threads in [1, 2, 3, 5] {
            let mut team = Team::new(threads);
            let cells: Vec<AtomicU64> = (0..threads).map(|_| AtomicU64::new(0)).collect();
            for round in 1..200u64 {
                team.run(&|member| {
                    for step in 0..4 {
                        cells[member.index].store(round * 4 + step, Ordering::Relaxed);
                        member.barrier();
                        assert!(
                            cells
                                .iter()
                                .all(|cell| cell.load(Ordering::Relaxed) == round * 4 + step)
                        );
                        member.barrier();
                    }
                });
                if round % 97 == 0 {
                    std::thread::sleep(std::time::Duration::from_millis(20)); // until they sleep
                }
            }
        }
    }

    #[test]
    fn parts_cover_everything_once_in_whole_units() {
        for (threads, items, unit) in
            [(1, 10, 16), (2, 856, 16), (3, 40, 16), (5, 17, 1), (4, 0, 16)]
        {
            let shared = Shared::new(threads);
            let parts: Vec<_> = (0..threads)
                .map(|index| Member { index, shared: &shared }.part(items, unit))
                .collect();
            assert_eq!((parts[0].start, parts[threads - 1].end), (0, items));
            assert!(parts.windows(2).all(|pair| pair[0].end == pair[1].start), "{parts:?}");
            assert!(
                parts.iter().all(|part| part.start.is_multiple_of(unit) || part.is_empty()),
                "{parts:?}"
            );
        }
    }

    /// Processor time of the calling thread.
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    fn processor_time() -> Duration {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: fills the struct it is given.
        let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
        assert_eq!(failed, 0);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }

    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    #[test]
    fn who_waits_long_sleeps() {
        for late in [0, 1] {
            let used = Mutex::new(Duration::ZERO);
            Team::new(2).run(&|member| {
                if member.index == late {
                    std::thread::sleep(Duration::from_millis(200));
                    return member.barrier();
                }
                let before = processor_time();
                member.barrier();
                *used.lock() = processor_time() - before;
            });
            let used = used.into_inner();
            assert!(used < Duration::from_millis(20), "{used:?} of 200 ms spent waiting");
        }
    }

    #[test]
    fn a_member_that_fails_does_not_leave_the_others_waiting() {
        for bad in [0, 1] {
            let failed = std::panic::catch_unwind(|| {
                Team::new(2).run(&|member| {
                    assert_ne!(member.index, bad, "on purpose");
                    member.barrier();
                });
            });
            assert!(failed.is_err());
        }
    }
}
