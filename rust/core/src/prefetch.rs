//! Memory asked for before it is needed.
//!
//! Rows of a group may lie anywhere, and the processor's own prefetching starts anew with each: at
//! 2 kB a row (p = 256, shuffled labels) it was idle for more than half of the time. Two Zen 4
//! cores read such rows at 17 GB/s without requests, at 16 with requests for the first-level cache,
//! of which a core keeps few on the way, and at 23 to 25 with requests for the second-level one; 27
//! is what one core reads from one end of memory to the other.

/// Start to bring a row into the second-level cache. A hint: nothing is read, and nothing can fail.
#[inline(always)]
#[allow(unsafe_code)]
pub(crate) fn prefetch<T>(row: &[T]) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        /// Numbers of a cache line.
        const LINE: usize = 64;
        for x in row.iter().step_by(LINE / size_of::<T>()) {
            // SAFETY: every x86-64 processor has the instruction, which may be given any address;
            // this one is in the slice.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(std::ptr::from_ref(x).cast()) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = row;
}
