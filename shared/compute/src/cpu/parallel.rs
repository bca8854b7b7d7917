//! Work on all threads: tasks that members of a team take one after the other.
//!
//! A step is hundreds of kernels of a millisecond or less. A thread pool puts its threads to sleep between them and wakes them
//! again; here they spin. What a task computes does not depend on who computes it, so neither do the results.
use std::sync::Mutex;
use std::sync::TryLockError;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::decode::team::Team;

/// Runs `task` for `0..tasks`, each once, on as many threads as the calling thread's pool has. A task that calls this itself, and
/// a thread that calls it while another one does, works alone.
pub fn each(tasks: usize, task: impl Fn(usize) + Sync) {
    static TEAM: Mutex<Option<Team>> = Mutex::new(None);
    let threads = rayon::current_num_threads();
    let place = match TEAM.try_lock() {
        Ok(place) => Some(place),
        Err(TryLockError::Poisoned(place)) => Some(place.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    };
    let (Some(mut place), true) = (place, threads > 1 && tasks > 1) else {
        return (0..tasks).for_each(task);
    };
    // Out of its place, so that a team with a member that panicked is not met again.
    let mut team = place.take().filter(|team| team.threads() == threads).unwrap_or_else(|| Team::new(threads));
    let next = AtomicUsize::new(0);
    team.run(&|_| {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= tasks {
                break;
            }
            task(index);
        }
    });
    *place = Some(team);
}

/// A slice in equal parts (the last may be shorter), for tasks of which each has one.
struct Parts<T> {
    data: *mut T,
    len: usize,
    part: usize,
}
// SAFETY: tasks get disjoint parts.
unsafe impl<T: Send> Sync for Parts<T> {}

impl<T> Parts<T> {
    /// SAFETY: part `index` is in nobody else's hands.
    #[expect(clippy::mut_from_ref, reason = "tasks get disjoint parts")]
    unsafe fn get(&self, index: usize) -> &mut [T] {
        let start = (index * self.part).min(self.len);
        // SAFETY: within the slice that `each_part` borrows.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(start), self.part.min(self.len - start)) }
    }
}

/// `task(i, part i of each slice)`, each slice being given with the length of its parts; the first one says how many there are.
pub fn each_part<T: Send, const N: usize>(slices: [(&mut [T], usize); N], task: impl Fn(usize, [&mut [T]; N]) + Sync) {
    let tasks = slices[0].0.len().div_ceil(slices[0].1);
    let parts = slices.map(|(slice, part)| {
        assert!(slice.len() <= tasks * part, "{} values in {tasks} parts of {part}", slice.len());
        Parts { data: slice.as_mut_ptr(), len: slice.len(), part }
    });
    // SAFETY: `each` gives every index to one task only.
    each(tasks, |index| task(index, parts.each_ref().map(|parts| unsafe { parts.get(index) })));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_given_once_nested_or_not() {
        for (threads, len, part) in [(1, 10, 3), (2, 1000, 7), (3, 64, 64), (2, 0, 5), (4, 3, 1)] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let (mut counts, mut lengths) = (vec![0; len], vec![0; len.div_ceil(part)]);
            pool.install(|| {
                each_part([(&mut counts[..], part), (&mut lengths[..], 1)], |index, [counts, lengths]| {
                    let inner = AtomicUsize::new(0);
                    each(5, |i| _ = inner.fetch_add(i, Ordering::Relaxed));
                    counts.iter_mut().enumerate().for_each(|(i, count)| *count += index * part + i + inner.load(Ordering::Relaxed));
                    lengths[0] = counts.len();
                });
            });
            assert!(counts.iter().enumerate().all(|(i, count)| *count == i + 10));
            assert_eq!(lengths.iter().sum::<usize>(), len);
        }
    }

    #[test]
    fn a_task_that_panics_leaves_the_next_call_whole() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        assert!(std::panic::catch_unwind(|| pool.install(|| each(8, |i| assert_ne!(i, 5, "on purpose")))).is_err());
        let sum = AtomicUsize::new(0);
        pool.install(|| each(100, |i| _ = sum.fetch_add(i, Ordering::Relaxed)));
        assert_eq!(sum.into_inner(), 4950);
    }
}
