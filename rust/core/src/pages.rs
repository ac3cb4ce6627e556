//! Pages of the system's memory: huge ones where it has them, and a few that earlier calls gave
//! back.
//!
//! Touching a page for the first time costs microseconds (3.5 on a virtual machine: 7 ms for the 8
//! MB of p = 1024, as long as the factorisation takes). Pages of 2 MB are 512 times fewer, and
//! pages that one call gives back serve the next, as an allocator would keep them. A mapping that
//! is too large to be kept is lent to the system meanwhile.

use std::sync::Mutex;

use memmap2::MmapMut;

use crate::error::{Error, Result};

/// Size of a huge page. A smaller mapping gets none.
const HUGE_PAGE: usize = 2 << 20;

/// Size of the smallest pages: one written byte in each of them takes all memory back that was
/// lent.
const PAGE: usize = 4096;

/// Bytes that are kept at most: glibc's allocator keeps blocks up to 32 MB.
const KEPT_BYTES: usize = 32 << 20;

/// Bytes that are lent to the system at most: the factor of p = 4096 (135 MB) and its two panels
/// (13 MB). Pages of 2 MB for p = 2048 (34 MB) cost 3.7 ms when they are new, of 40 ms in all, and
/// 55 to 100 ms where a virtual machine has given them to its host (Linux does so two seconds after
/// they are free). To copy C of p = 2048 and 4096 into such pages took 3.3 and 11 ms (best of 7,
/// two AMD cores under KVM); 1.6 and 5.4 ms into pages that were lent, and giving them back 0.06 ms
/// instead of 0.15.
const LENT_BYTES: usize = 160 << 20;

/// Mappings that are kept and lent at most.
const KEPT: usize = 16;

/// Mappings that were given back and not yet taken again.
static SPARE: Mutex<Vec<MmapMut>> = Mutex::new(Vec::new());

/// Bytes that stay free beside every large block: small pieces of memory, here, in the kernels and
/// in the allocator, are taken without a way to refuse, and the process ends where one is lacking.
const ROOM: usize = 32 << 20;

/// Refuse where the system would not give `bytes` and room for small pieces: under a limit on
/// address space (`ulimit -v`), or where it counts what it promises.
pub fn require(bytes: usize) -> Result<()> {
    let refused = Error::OutOfMemory { bytes };
    MmapMut::map_anon(bytes.saturating_add(ROOM)).map(drop).map_err(|_| refused)
}

/// The same where that is more than a small piece.
pub(crate) fn require_large(bytes: usize) -> Result<()> {
    if bytes < HUGE_PAGE { Ok(()) } else { require(bytes) }
}

/// Make room for more numbers, where memory allows.
pub(crate) fn reserve(values: &mut Vec<f64>, more: usize) -> Result<()> {
    let bytes = more.saturating_mul(size_of::<f64>());
    require_large(bytes)?;
    values.try_reserve(more).map_err(|_| Error::OutOfMemory { bytes })
}

/// A vector of zeros, or an error where the allocator refuses. The pages are first touched when
/// written.
pub fn zeros(len: usize) -> Result<Vec<f64>> {
    reserve(&mut vec![], len)?;
    Ok(vec![0.0; len])
}

/// A copy, where memory allows.
pub(crate) fn copied(values: &[f64]) -> Result<Vec<f64>> {
    let mut copy = vec![];
    reserve(&mut copy, values.len())?;
    copy.extend_from_slice(values);
    Ok(copy)
}

/// The same for a matrix.
pub(crate) fn zero_matrix(rows: usize, columns: usize) -> Result<Vec<f64>> {
    zeros(rows.checked_mul(columns).ok_or(Error::OutOfMemory { bytes: usize::MAX })?)
}

/// A mapping. It begins on a page, and so on a cache line.
pub(crate) struct Pages {
    /// Always there, until dropped.
    map: Option<MmapMut>,
    /// Whether it may hold other numbers than zeros.
    used: bool,
}

impl Pages {
    /// At least `bytes` bytes, of any contents; nothing where the system refuses.
    pub fn take(bytes: usize) -> Option<Self> {
        let size = bytes.checked_next_multiple_of(HUGE_PAGE)?;
        let spare = spare(|kept| {
            let fits = kept.iter().position(|map| (size..=size.saturating_mul(2)).contains(&map.len()))?;
            Some(kept.swap_remove(fits))
        });
        if let Some(mut map) = spare.flatten() {
            if is_lent(&map) {
                map.chunks_mut(PAGE).for_each(|page| page[0] = 0);
            }
            return Some(Self { map: Some(map), used: true });
        }
        require(size).ok()?;
        let map = MmapMut::map_anon(size).ok()?;
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage); // a hint: without it memory is only slower
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
        let Some(map) = self.map.take().filter(|map| map.len() <= LENT_BYTES) else { return };
        if is_lent(&map) && !lend(&map) {
            return;
        }
        spare(|kept| {
            kept.push(map);
            while kept.len() > KEPT || bytes_of(kept, false) > KEPT_BYTES || bytes_of(kept, true) > LENT_BYTES {
                kept.remove(0);
            }
        });
    }
}

/// Whether a mapping is lent to the system while nothing uses it: it is too large to be kept.
fn is_lent(map: &MmapMut) -> bool {
    map.len() > KEPT_BYTES
}

/// Let the system take pages when it needs memory. It counts them as available.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn lend(map: &MmapMut) -> bool {
    // SAFETY: a page that is lent may turn into zeros until it is written. The mapping is private
    // and unused, so that no reference to it sees that; `Pages::take` writes to each page before it
    // hands the mapping out again.
    unsafe { map.unchecked_advise(memmap2::UncheckedAdvice::Free) }.is_ok()
}

/// Other systems mean other things by this advice, or have none.
#[cfg(not(target_os = "linux"))]
fn lend(_map: &MmapMut) -> bool {
    false
}

/// Bytes of the mappings that are lent, or that are kept.
fn bytes_of(spare: &[MmapMut], lent: bool) -> usize {
    spare.iter().filter(|map| is_lent(map) == lent).map(|map| map.len()).sum()
}

/// Call `f` on the kept mappings, unless another thread holds the lock: after a fork, for ever.
fn spare<R>(f: impl FnOnce(&mut Vec<MmapMut>) -> R) -> Option<R> {
    SPARE.try_lock().ok().map(|mut kept| f(&mut kept))
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;
    use crate::{Batch, Components, Covariance, Execution, Penalty, Precision, Reduction, Regularizer, RowBlock};

    type Outcome<T> = std::result::Result<T, Box<dyn std::error::Error>>;

    /// Held by a test that counts on what is kept.
    static COUNTED: Mutex<()> = Mutex::new(());

    #[test]
    fn kept_pages_serve_again_and_are_cleared_on_request() -> Outcome<()> {
        let size = 3 << 20;
        for _ in 0..4 {
            let mut pages = Pages::take(size).ok_or("4 MB are there")?;
            assert!(pages.bytes().len() >= size);
            pages.clear();
            assert!(pages.bytes().iter().all(|byte| *byte == 0));
            pages.bytes_mut().fill(7);
        }
        drop(Pages::take(LENT_BYTES + 1).ok_or("162 MB are there")?);
        spare(|kept| assert!(kept.iter().all(|map| map.len() <= LENT_BYTES)));
        Ok(())
    }

    #[test]
    fn what_is_lent_serves_again_within_a_bound() -> Outcome<()> {
        let _alone = COUNTED.lock().map_err(|_| "a test has failed meanwhile")?;
        let take = |megabytes: usize| Pages::take(megabytes << 20).ok_or("memory is there");
        let mut pages = take(50)?;
        pages.bytes_mut().fill(7);
        drop(pages);
        let mut again = take(50)?;
        assert!(again.used || cfg!(not(target_os = "linux")));
        again.clear();
        assert!(again.bytes().iter().all(|byte| *byte == 0));
        drop((0..5).map(|_| take(50)).collect::<std::result::Result<Vec<_>, _>>()?);
        spare(|kept| {
            assert!(bytes_of(kept, true) <= LENT_BYTES);
            kept.clear();
        });
        Ok(())
    }

    /// Spare pages full of NaN, or none at all. Other tests may take some of them.
    fn prepare(spoilt: bool) -> Outcome<()> {
        let clear = || SPARE.lock().map(|mut kept| kept.clear()).map_err(|_| "a test has failed meanwhile");
        clear()?;
        let taken: Option<Vec<Pages>> = (0..KEPT).map(|_| Pages::take(HUGE_PAGE)).collect();
        taken.ok_or("32 MB are there")?.iter_mut().for_each(|pages| pages.bytes_mut().fill(0xff));
        if !spoilt {
            clear()?;
        }
        Ok(())
    }

    /// Results of every kernel, with pages prepared before each step.
    fn results(spoilt: bool) -> Outcome<Vec<f64>> {
        let (p, run) = (800, Execution::sequential());
        let x = Array2::from_shape_fn((900, p), |(i, j)| {
            ((i * 7919 + j * 104_729 + i * j * 31) % 1009) as f64 / 504.5 - 1.0
        });
        let g = Array2::from_shape_fn((700, p), |(i, j)| ((i * 31 + j * 17) as f64).sin());
        let rows = RowBlock::new(g.view(), None, Reduction::Mean)?;
        let mut all = vec![];
        let identity = Penalty::matrix(Array2::eye(p).view(), f64::EPSILON)?;
        for penalty in [Penalty::identity(), identity] {
            prepare(spoilt)?;
            let mut covariance = Covariance::new(p, Precision::Double)?;
            covariance.update(&Batch::new(RowBlock::new(x.view(), None, Reduction::Mean)?, None, None)?, &run)?;
            prepare(spoilt)?;
            let hessian = covariance.factorize(Regularizer::Value(1.0), penalty, false, &run)?;
            prepare(spoilt)?;
            all.extend([hessian.rcond(&run)?, hessian.effective_dimension(&run)?]);
            prepare(spoilt)?;
            all.extend(hessian.variance(&rows, &run)?);
            prepare(spoilt)?;
            all.extend(hessian.variance_single(&rows, &run)?);
            prepare(spoilt)?;
            let components = Components::new(&[(0..400).collect(), (200..800).collect()])?;
            all.extend(hessian.component_variance(&rows, &components, &run)?);
            prepare(spoilt)?;
            all.extend(hessian.prediction_covariance(&rows, &run)?);
            prepare(spoilt)?;
            all.extend(hessian.whiten(&rows, &run)?);
        }
        Ok(all)
    }

    #[test]
    fn contents_of_used_pages_are_in_no_result() -> Outcome<()> {
        let _alone = COUNTED.lock().map_err(|_| "a test has failed meanwhile")?;
        let clean = results(false)?;
        assert!(clean.iter().all(|x| x.is_finite()));
        assert!(results(true)? == clean);
        Ok(())
    }
}
