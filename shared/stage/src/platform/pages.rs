//! Memory in large pages, where there are such.

/// Asks for large pages under memory that begins with a page, as a mapping does. Nothing is promised: without them it is only
/// slower.
pub fn ask_for_large_pages(memory: &mut [u8]) {
    #[cfg(target_os = "linux")]
    // SAFETY: the range is that of the slice, and the advice changes no content.
    let _ = unsafe { libc::madvise(memory.as_mut_ptr().cast(), memory.len(), libc::MADV_HUGEPAGE) };
    #[cfg(not(target_os = "linux"))]
    let _ = memory;
}
