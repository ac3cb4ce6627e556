//! Memory that a computation takes without a way to refuse: asked for before it starts.
//!
//! The process ends where such memory is lacking, as under a limit on address space (`ulimit -v`).
//! Small pieces need little. faer's kernels for x86-64 take a workspace at the first product of
//! each thread: twice the third-level cache, or rather a thread's share of it times the number of
//! cores.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

use rigidities_core::{Result, require, take_workspace};

/// The third-level cache where the system does not say; the kernels take no less than a half.
const CACHE: usize = 8 << 20;

thread_local! {
    /// Calls on this thread, once the kernels have its workspace.
    static CALLS: Cell<usize> = const { Cell::new(0) };
}

/// Small calls between two looks at the memory that is left: they take a MB each at most.
const BETWEEN_LOOKS: usize = 16;

/// Refuse to compute on this thread where memory is lacking; where it is there, take it.
pub fn prepare_thread() -> Result<()> {
    if CALLS.get() == 0 {
        require(workspace())?;
        take_workspace();
    }
    if CALLS.get().is_multiple_of(BETWEEN_LOOKS) && is_limited() {
        require(0)?;
    }
    CALLS.set(CALLS.get() + 1);
    Ok(())
}

/// Bytes that the kernels take for each thread, at most.
fn workspace() -> usize {
    static BYTES: AtomicUsize = AtomicUsize::new(0);
    if BYTES.load(Ordering::Relaxed) == 0 {
        BYTES.store(2 * third_level_cache().unwrap_or(0).max(CACHE), Ordering::Relaxed);
    }
    BYTES.load(Ordering::Relaxed)
}

/// The largest share of a processor in a third-level cache, times the number of processors.
#[cfg(target_os = "linux")]
fn third_level_cache() -> Option<usize> {
    let folders = std::fs::read_dir("/sys/devices/system/cpu").ok()?.flatten();
    let caches: Vec<_> =
        folders.map(|folder| folder.path().join("cache/index3")).filter(|path| path.is_dir()).collect();
    let share = |path: &std::path::PathBuf| {
        let read = |name: &str| std::fs::read_to_string(path.join(name)).ok();
        let size = read("size")?;
        let digits = size.trim().trim_end_matches(['K', 'M', 'G']);
        let unit = match size.trim().chars().last()? {
            'K' => 1 << 10,
            'M' => 1 << 20,
            'G' => 1 << 30,
            _ => 1,
        };
        let ends = |item: &str| item.split('-').map(|end| end.trim().parse::<usize>().ok()).collect::<Option<Vec<_>>>();
        let count = |item: &str| ends(item).and_then(|ends| Some(ends.last()? + 1 - ends.first()?));
        let sharing: usize = read("shared_cpu_list")?.split(',').map(count).sum::<Option<_>>()?;
        digits.parse::<usize>().ok()?.checked_mul(unit)?.checked_div(sharing)
    };
    caches.iter().filter_map(share).max()?.checked_mul(caches.len())
}

/// Other systems have no such limit on address space.
#[cfg(not(target_os = "linux"))]
fn third_level_cache() -> Option<usize> {
    None
}

/// Whether the address space of this process has a limit.
#[cfg(target_os = "linux")]
fn is_limited() -> bool {
    rustix::process::getrlimit(rustix::process::Resource::As).current.is_some()
}

#[cfg(not(target_os = "linux"))]
fn is_limited() -> bool {
    false
}
