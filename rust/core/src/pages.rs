//! Pages of the system's memory, huge where it has them, and a few that were given back.
//!
//! Touching a page for the first time costs some microseconds (3.5 on a virtual machine: 7 ms for the 8 MB of p = 1024, as long as the
//! factorisation takes). Pages of 2 MB need 512 times fewer of them, and what a call leaves serves the next one, as an allocator
//! would keep it.

use std::sync::Mutex;

use memmap2::MmapMut;

/// Size of a huge page: a smaller mapping gets none.
const HUGE_PAGE: usize = 2 << 20;

/// Bytes that are kept at most, and at most for how many uses: glibc's allocator keeps blocks up to 32 MB.
const KEPT_BYTES: usize = 32 << 20;

/// Mappings that are kept at most.
const KEPT: usize = 16;

/// What was given back and not yet taken again.
static SPARE: Mutex<Vec<MmapMut>> = Mutex::new(Vec::new());

/// A mapping, from its first byte on a page and so on a cache line.
pub(crate) struct Pages {
    /// Always there, until dropped.
    map: Option<MmapMut>,
    /// Whether it may hold other numbers than zeros.
    used: bool,
}

impl Pages {
    /// At least so many bytes, of any contents; nothing where the system refuses.
    pub fn take(bytes: usize) -> Option<Self> {
        let size = bytes.checked_next_multiple_of(HUGE_PAGE)?;
        let spare = spare(|kept| {
            let fits = kept.iter().position(|map| (size..=2 * size).contains(&map.len()))?;
            Some(kept.swap_remove(fits))
        });
        if let Some(map) = spare.flatten() {
            return Some(Self { map: Some(map), used: true });
        }
        let map = MmapMut::map_anon(size).ok()?;
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage); // a hint: where it is not followed the memory is only slower
        Some(Self { map: Some(map), used: false })
    }

    pub fn bytes(&self) -> &[u8] {
        self.map.as_deref().unwrap_or_default()
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.used = true;
        self.map.as_deref_mut().unwrap_or_default()
    }

    /// Make all of it zero.
    pub fn clear(&mut self) {
        if self.used {
            self.bytes_mut().fill(0);
        }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        let Some(map) = self.map.take().filter(|map| map.len() <= KEPT_BYTES) else { return };
        spare(|kept| {
            kept.push(map);
            while kept.len() > KEPT || kept.iter().map(|map| map.len()).sum::<usize>() > KEPT_BYTES {
                kept.remove(0);
            }
        });
    }
}

/// What is kept, unless another thread is at it (one that a fork has left behind may be at it for ever).
fn spare<R>(f: impl FnOnce(&mut Vec<MmapMut>) -> R) -> Option<R> {
    SPARE.try_lock().ok().map(|mut kept| f(&mut kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_serves_again_and_is_zero_where_zeros_are_wanted() -> Result<(), &'static str> {
        let size = 3 << 20;
        for _ in 0..4 {
            let mut pages = Pages::take(size).ok_or("4 MB are there")?;
            assert!(pages.bytes().len() >= size);
            pages.clear();
            assert!(pages.bytes().iter().all(|byte| *byte == 0));
            pages.bytes_mut().fill(7);
        }
        drop(Pages::take(KEPT_BYTES + 1).ok_or("34 MB are there")?);
        spare(|kept| assert!(kept.iter().all(|map| map.len() <= KEPT_BYTES)));
        Ok(())
    }
}
