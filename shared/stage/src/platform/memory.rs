//! What the machine, the control group and the limits of the process leave of memory, in bytes; None where the system does not
//! say.

#[cfg(target_os = "linux")]
pub(crate) fn machine() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kib = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_start_matches(':').trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    };
    Some(kib("MemAvailable")?.saturating_add(kib("SwapFree").unwrap_or(0)).saturating_mul(1024))
}

/// All of the machine's memory, since what is free changes from moment to moment.
#[cfg(target_os = "macos")]
pub(crate) fn machine() -> Option<u64> {
    let (mut bytes, mut length) = (0u64, size_of::<u64>());
    // SAFETY: the name ends in a zero byte, and the value is as long as `length` says.
    let failed = unsafe {
        let value = std::ptr::from_mut(&mut bytes).cast();
        libc::sysctlbyname(c"hw.memsize".as_ptr(), value, &mut length, std::ptr::null_mut(), 0)
    };
    (failed == 0).then_some(bytes)
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
pub(crate) fn machine() -> Option<u64> {
    None
}

/// What is left to the control group (version 2) of this process, as containers and job schedulers set it.
#[cfg(target_os = "linux")]
pub(crate) fn control_group() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mut folder = std::path::Path::new("/sys/fs/cgroup").join(group);
    let number = |folder: &std::path::Path, name: &str| {
        std::fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok()
    };
    // The tightest limit of the group and its parents.
    let mut least = None;
    loop {
        if let (Some(most), Some(used)) =
            (number(&folder, "memory.max"), number(&folder, "memory.current"))
        {
            // File pages count as used, but are reclaimed when memory is needed.
            let cached = std::fs::read_to_string(folder.join("memory.stat")).ok();
            let cached = cached.and_then(|text| {
                text.lines().find_map(|line| line.strip_prefix("inactive_file "))?.parse().ok()
            });
            let left = most.saturating_sub(used.saturating_sub(cached.unwrap_or(0)));
            least = Some(least.unwrap_or(u64::MAX).min(left));
        }
        if !folder.pop() || !folder.starts_with("/sys/fs/cgroup") {
            return least;
        }
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn control_group() -> Option<u64> {
    None
}

/// What `ulimit -v` leaves to this process.
#[cfg(target_os = "linux")]
pub(crate) fn address_space() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: fills the struct it is given.
    if unsafe { libc::getrlimit(libc::RLIMIT_AS, &mut limit) } != 0
        || limit.rlim_cur == libc::RLIM_INFINITY
    {
        return None;
    }
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = pages.split(' ').next()?.parse().ok()?;
    // SAFETY: asks for a number.
    let page = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok()?;
    Some(limit.rlim_cur.saturating_sub(pages.saturating_mul(page)))
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn address_space() -> Option<u64> {
    None
}
