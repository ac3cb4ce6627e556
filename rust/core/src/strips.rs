//! Strips of target rows, worked on side by side.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use faer::MatRef;
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::execution::Execution;
use crate::pages::reserve;
use crate::panel::Panel;
use crate::real::{Real, squared_norm};
use crate::rows::{Element, RowBlock};
use crate::tiles::{self, TILE};

/// ‖L⁻¹g‖² of each target row g.
pub(crate) fn norms_by_strips<T: Element, U: Real>(
    rows: &RowBlock<'_, T>,
    l: MatRef<'_, U>,
    run: &Execution,
) -> Result<Vec<f64>> {
    let memory = |n| Panel::unset(n, rows.n_features());
    let strips = by_strips(rows.n_targets(), run, memory, |strip: &mut Panel<U>, targets, run| {
        let n = targets.len();
        rows.reduce_into(targets, |_| 1.0, vec![(0, strip.strip_mut(0..n))], run)?;
        tiles::solve_lower(l, strip.columns_mut(n), run);
        Ok(strip.rows(0..n).map(squared_norm).collect::<Vec<_>>())
    })?;
    finite(joined(&strips)?, 1, "the variance")
}

/// The results of strips, one after the other.
pub(crate) fn joined(strips: &[Vec<f64>]) -> Result<Vec<f64>> {
    let mut all = vec![];
    reserve(&mut all, strips.iter().map(Vec::len).sum())?;
    strips.iter().for_each(|strip| all.extend_from_slice(strip));
    Ok(all)
}

/// Call `f` on strips of the targets, side by side; return the results in the order of the strips.
/// Each thread has memory for one strip, made by `memory`, and takes it from rows to results while
/// it is in cache.
pub(crate) fn by_strips<M: Send, R: Send>(
    n_targets: usize,
    run: &Execution,
    memory: impl Fn(usize) -> Result<M> + Sync,
    f: impl Fn(&mut M, Range<usize>, &Execution) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let threads = if run.is_parallel() { rayon::current_num_threads() } else { 1 };
    let width = n_targets.div_ceil(n_targets.div_ceil(TILE).next_multiple_of(threads));
    let unused = Mutex::new(vec![]);
    let failed = AtomicUsize::new(usize::MAX);
    let lock = || unused.lock().unwrap_or_else(PoisonError::into_inner);
    let strip = |i: usize| {
        run.check()?;
        if i > failed.load(Ordering::Relaxed) {
            return Err(Error::Interrupted); // never returned: the earlier failure comes first
        }
        let taken = lock().pop();
        let mut memory = match taken {
            Some(memory) => memory,
            None => memory(width)?,
        };
        let result = f(&mut memory, i * width..((i + 1) * width).min(n_targets), &run.alone());
        lock().push(memory);
        let result = run.check().and(result);
        if result.is_err() {
            failed.fetch_min(i, Ordering::Relaxed);
        }
        result
    };
    let n_strips = n_targets.div_ceil(width);
    if run.is_parallel() && n_strips > 1 {
        // returns the first failure in the order of the rows, whichever came first in time
        let results: Vec<Result<R>> = (0..n_strips).into_par_iter().map(strip).collect();
        results.into_iter().collect()
    } else {
        (0..n_strips).map(strip).collect()
    }
}

/// Refuse answers that are not finite, `width` of them for each row.
pub(crate) fn finite(values: Vec<f64>, width: usize, what: &'static str) -> Result<Vec<f64>> {
    match values.iter().position(|x| !x.is_finite()) {
        Some(i) => Err(Error::AnswerOverflow { what, row: i / width }),
        None => Ok(values),
    }
}
