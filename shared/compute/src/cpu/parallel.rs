//! Work on all threads: tasks, each done once by whichever thread is free. What a task computes does not depend on who computes
//! it, so neither do the results.
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

/// Rows per task of kernels that work row by row.
pub(super) const ROWS: usize = 32;

/// Runs `task` for `0..tasks`, each once, on all threads of the calling thread's pool.
///
/// Each thread begins with its own part of them, from kernel to kernel the same: what it wrote in one is still in its cache
/// in the next. Then it takes what is left of the others' parts, one task at a time, so that a thread that came late, or was
/// taken away for a while, holds up the others for one task at most.
pub(super) fn each(tasks: usize, task: impl Fn(usize) + Sync + Send) {
    let threads = rayon::current_num_threads();
    if threads == 1 || tasks <= 1 {
        return (0..tasks).for_each(task);
    }
    let first = |thread: usize| thread * tasks / threads;
    let next: Vec<AtomicUsize> =
        (0..threads).map(|thread| AtomicUsize::new(first(thread))).collect();
    (0..threads).into_par_iter().with_max_len(1).for_each(|_| {
        let own = rayon::current_thread_index().unwrap_or(0);
        for part in (own..threads).chain(0..own) {
            let taken = std::iter::repeat_with(|| next[part].fetch_add(1, Ordering::Relaxed));
            taken.take_while(|&index| index < first(part + 1)).for_each(&task);
        }
    });
}

/// A slice in equal parts (the last may be shorter), for tasks of which each has one.
struct Parts<T> {
    data: *mut T,
    len: usize,
    part: usize,
}
// SAFETY: tasks get disjoint parts.
unsafe impl<T: Send> Sync for Parts<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Parts<T> {}

impl<T> Parts<T> {
    /// SAFETY: part `index` is in nobody else's hands.
    #[expect(clippy::mut_from_ref, reason = "tasks get disjoint parts")]
    unsafe fn get(&self, index: usize) -> &mut [T] {
        let start = (index * self.part).min(self.len);
        // SAFETY: within the slice that `each_part` borrows.
        unsafe {
            std::slice::from_raw_parts_mut(self.data.add(start), self.part.min(self.len - start))
        }
    }
}

/// `task(i, part i of each slice)`, each slice being given with the length of its parts; the first one says how many there are.
pub(super) fn each_part<T: Send, const N: usize>(
    slices: [(&mut [T], usize); N],
    task: impl Fn(usize, [&mut [T]; N]) + Sync + Send,
) {
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
                each_part(
                    [(&mut counts[..], part), (&mut lengths[..], 1)],
                    |index, [counts, lengths]| {
                        let inner = AtomicUsize::new(0);
                        each(5, |i| _ = inner.fetch_add(i, Ordering::Relaxed));
                        counts.iter_mut().enumerate().for_each(|(i, count)| {
                            *count += index * part + i + inner.load(Ordering::Relaxed)
                        });
                        lengths[0] = counts.len();
                    },
                );
            });
            assert!(counts.iter().enumerate().all(|(i, count)| *count == i + 10));
            assert_eq!(lengths.iter().sum::<usize>(), len);
        }
    }
}
