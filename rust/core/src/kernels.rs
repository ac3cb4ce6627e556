//! Covariances of each candidate's rows with one another and with targets, part by part.

use std::ops::Range;

use faer::MatMut;

use crate::error::Result;
use crate::execution::Execution;
use crate::pages::zeros;
use crate::pool::{Pool, for_each};

/// Rows that one task takes from memory to gains: 0.5 MB at p = 512, which stay in L2.
const ROWS_AT_ONCE: usize = 128;

/// K = B P Bᵀ and q = B P Yᵀ of every candidate with the rows B.
pub(crate) struct Kernels {
    /// K of each candidate, column-major, one after the other.
    within: Vec<f64>,
    /// q of each row of the pool, row-major: (n_rows, m).
    cross: Vec<f64>,
    /// Diagonal entries of K when they were last computed from the rows.
    exact: Vec<f64>,
    /// What picking each candidate would gain, or an upper bound of it.
    pub gains: Vec<f64>,
    /// Whether the gain is an upper bound.
    pub rough: Vec<bool>,
    /// Candidates that are worked on together.
    parts: Vec<Range<usize>>,
    m: usize,
}

/// Some candidates, one after the other.
pub(crate) struct Part<'a> {
    /// Their rows in the pool.
    pub rows: Range<usize>,
    pub candidates: Range<usize>,
    pub within: &'a mut [f64],
    pub cross: &'a mut [f64],
    pub exact: &'a mut [f64],
    pub gains: &'a mut [f64],
    pub rough: &'a mut [bool],
}

/// One candidate.
pub(crate) struct Candidate<'a> {
    pub index: usize,
    /// Its rows in the pool.
    pub rows: Range<usize>,
    /// K, column-major.
    pub within: &'a mut [f64],
    /// q of its rows, row-major.
    pub cross: &'a mut [f64],
    pub exact: &'a mut [f64],
    pub gain: &'a mut f64,
    pub is_rough: &'a mut bool,
}

impl Kernels {
    /// Zeros, for m targets.
    pub fn new(pool: &Pool<'_>, m: usize) -> Result<Self> {
        let entries = (0..pool.len()).map(|c| pool.rows_of(c).len().pow(2)).sum();
        let mut parts: Vec<Range<usize>> = vec![];
        let (mut start, mut n_rows) = (0, 0);
        for c in 0..pool.len() {
            n_rows += pool.rows_of(c).len();
            if n_rows >= ROWS_AT_ONCE || c + 1 == pool.len() {
                parts.push(start..c + 1);
                (start, n_rows) = (c + 1, 0);
            }
        }
        let (within, cross) = (zeros(entries)?, zeros(pool.n_rows().saturating_mul(m))?);
        Ok(Self {
            within,
            cross,
            exact: zeros(pool.n_rows())?,
            gains: zeros(pool.len())?,
            rough: vec![false; pool.len()],
            parts,
            m,
        })
    }

    /// Call `f` on all parts, side by side; what it returns, in their order.
    pub fn on_parts<R: Send>(
        &mut self,
        pool: &Pool<'_>,
        run: &Execution,
        f: impl Fn(Part<'_>, &Execution) -> Result<R> + Sync,
    ) -> Result<Vec<R>> {
        let mut parts = vec![];
        let (mut within, mut cross) = (&mut self.within[..], &mut self.cross[..]);
        let (mut exact, mut gains, mut rough) = (&mut self.exact[..], &mut self.gains[..], &mut self.rough[..]);
        for candidates in &self.parts {
            let rows = pool.rows_of(candidates.start).start..pool.rows_of(candidates.end - 1).end;
            let entries = candidates.clone().map(|c| pool.rows_of(c).len().pow(2)).sum();
            parts.push(Part {
                within: take(&mut within, entries),
                cross: take(&mut cross, rows.len() * self.m),
                exact: take(&mut exact, rows.len()),
                gains: take(&mut gains, candidates.len()),
                rough: take(&mut rough, candidates.len()),
                candidates: candidates.clone(),
                rows,
            });
        }
        for_each(parts, run, || Ok(()), |(), part, run| f(part, run))
    }
}

impl<'a> Part<'a> {
    /// One candidate after the other.
    pub fn each(self, pool: &Pool<'_>, mut f: impl FnMut(Candidate<'_>) -> Result<()>) -> Result<()> {
        let m = self.cross.len() / self.rows.len().max(1);
        let (mut within, mut cross, mut exact) = (self.within, self.cross, self.exact);
        for ((index, gain), is_rough) in self.candidates.zip(self.gains).zip(self.rough) {
            let rows = pool.rows_of(index);
            let r = rows.len();
            let (within, cross) = (take(&mut within, r * r), take(&mut cross, r * m));
            f(Candidate { index, rows, within, cross, exact: take(&mut exact, r), gain, is_rough })?;
        }
        Ok(())
    }
}

impl Candidate<'_> {
    /// K, (r, r).
    pub fn kernel_mut(&mut self) -> MatMut<'_, f64> {
        let r = self.rows.len();
        MatMut::from_column_major_slice_mut(self.within, r, r)
    }

    /// Diagonal entries of K.
    pub fn variances(&self) -> impl Iterator<Item = f64> {
        self.within.iter().step_by(self.rows.len() + 1).copied()
    }

    /// Remember that K was computed from the rows.
    pub fn keep_exact(&mut self) {
        let r = self.rows.len();
        self.exact.iter_mut().zip(self.within.iter().step_by(r + 1)).for_each(|(exact, v)| *exact = *v);
    }
}

/// The first `n` entries, which are taken off the front.
fn take<'a, T>(values: &mut &'a mut [T], n: usize) -> &'a mut [T] {
    let (front, rest) = std::mem::take(values).split_at_mut(n);
    *values = rest;
    front
}
