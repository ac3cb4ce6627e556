//! Variances d = zᵀ(I + ZᵀZ)⁻¹z of candidate rows, Z the rows picked so far: upper bounds, brought up
//! to date where they matter.
//!
//! A variance never grows as more is picked, so an old one is an upper bound. With directions u of the
//! picks since then (`Posterior::directions`), d falls by Σ (uᵀz)²: one blocked product for many
//! candidates, 2p operations for each pick, where a solve takes p². Where d has fallen to a small part
//! of what it was, that difference has lost digits, and d is computed from the row itself.

use faer::MatRef;

use crate::error::Result;
use crate::execution::Execution;
use crate::panel::Panel;
use crate::pool::{Pool, for_each};
use crate::posterior::Posterior;
use crate::real::squared_norm;
use crate::tiles::{self, TILE};

/// Part of its value to which a variance may fall by differences: 1e-16/1e-4 of it is rounding then.
pub(crate) const RESOLVED: f64 = 1e-4;

/// Variances of all candidates, with the factor of what was picked.
pub(crate) struct Variances {
    pub posterior: Posterior,
    /// d as of `age` picks.
    bounds: Vec<f64>,
    age: Vec<usize>,
    /// d when it was last computed from the row.
    exact: Vec<f64>,
    /// u of the last picks, row-major, the first of them that of pick number `first`.
    directions: Vec<f64>,
    first: usize,
    picks: usize,
}

impl Variances {
    /// ‖z‖² of each candidate, before any pick.
    pub fn new(pool: &Pool<'_>, run: &Execution) -> Result<Self> {
        let posterior = Posterior::new(pool.width())?;
        let n = pool.len();
        let norms = for_each(n.div_ceil(TILE), run, |i, _| {
            let rows = i * TILE..n.min((i + 1) * TILE);
            Ok(rows.map(|row| squared_norm(pool.row(row))).collect::<Vec<_>>())
        })?;
        let bounds: Vec<f64> = norms.into_iter().flatten().collect();
        let exact = bounds.clone();
        Ok(Self { posterior, bounds, age: vec![0; n], exact, directions: vec![], first: 0, picks: 0 })
    }

    /// An upper bound of d, or d.
    pub fn bound(&self, candidate: usize) -> f64 {
        self.bounds[candidate]
    }

    /// Whether the bound is d as of now, to rounding.
    pub fn is_current(&self, candidate: usize) -> bool {
        self.age[candidate] == self.picks && self.is_resolved(candidate)
    }

    /// Whether d was computed from the row since the last pick.
    pub fn is_exact(&self, candidate: usize) -> bool {
        self.is_current(candidate) && self.bounds[candidate] == self.exact[candidate]
    }

    fn is_resolved(&self, candidate: usize) -> bool {
        self.bounds[candidate] >= RESOLVED * self.exact[candidate]
    }

    /// Set d as of now, and what it was when it was last computed from the row.
    pub fn set(&mut self, candidate: usize, d: f64, exact: f64) {
        (self.bounds[candidate], self.exact[candidate], self.age[candidate]) = (d, exact, self.picks);
    }

    /// Count picks that the posterior has taken up, with their directions.
    pub fn count(&mut self, directions: &Panel) {
        let p = directions.matrix(0..0).ncols();
        // older ones cost more than a solve
        let old = (self.picks - self.first).saturating_sub(p / 2);
        self.directions.drain(..old * p);
        self.first += old;
        directions.rows(0..directions.n_rows()).for_each(|u| self.directions.extend_from_slice(u));
        self.picks += directions.n_rows();
    }

    /// Bring the bounds of some candidates up to date.
    pub fn refresh(&mut self, pool: &Pool<'_>, candidates: &[usize], run: &Execution) -> Result<()> {
        let by_product = |&c: &usize| self.age[c] >= self.first && self.is_resolved(c) && self.age[c] < self.picks;
        let (mut near, mut far): (Vec<usize>, Vec<usize>) =
            candidates.iter().filter(|&&c| !self.is_current(c)).partition(|c| by_product(c));
        near.sort_by_key(|&c| (self.age[c], c));
        let mut near = &near[..];
        while let Some(first) = near.first() {
            let (group, rest) = near.split_at(near.partition_point(|c| self.age[*c] == self.age[*first]));
            near = rest;
            let fallen = self.fallen(pool, group, run)?;
            for (&c, fall) in group.iter().zip(fallen) {
                self.bounds[c] -= fall;
                self.age[c] = self.picks;
                if !self.is_resolved(c) {
                    far.push(c);
                }
            }
        }
        far.sort_unstable();
        self.compute(pool, &far, run)
    }

    /// Σ (uᵀz)² of candidates of the same age, over the picks since then.
    fn fallen(&self, pool: &Pool<'_>, group: &[usize], run: &Execution) -> Result<Vec<f64>> {
        let (p, age) = (pool.width(), self.age[group[0]]);
        let n = self.picks - age;
        let u = MatRef::from_row_major_slice(&self.directions[(age - self.first) * p..], n, p);
        let strips: Vec<&[usize]> = group.chunks(TILE).collect();
        let falls = for_each(strips.len(), run, |i, run| {
            let mut z = Panel::unset(strips[i].len(), p)?;
            pool.gather(strips[i].iter().copied(), &mut z);
            let mut products = Panel::zeros(strips[i].len(), n)?;
            tiles::product(products.columns_mut(strips[i].len()), &u.transpose(), &z.columns(strips[i].len()), 1.0, run);
            Ok(products.rows(0..strips[i].len()).map(squared_norm).collect::<Vec<_>>())
        })?;
        Ok(falls.into_iter().flatten().collect())
    }

    /// Compute the variances of some candidates from their rows.
    pub fn compute(&mut self, pool: &Pool<'_>, candidates: &[usize], run: &Execution) -> Result<()> {
        let strips: Vec<&[usize]> = candidates.chunks(TILE).collect();
        let norms = for_each(strips.len(), run, |i, run| {
            let n = strips[i].len();
            let mut z = Panel::unset(n, pool.width())?;
            pool.gather(strips[i].iter().copied(), &mut z);
            self.posterior.whiten(z.columns_mut(n), run);
            Ok(z.rows(0..n).map(squared_norm).collect::<Vec<_>>())
        })?;
        run.check()?; // a stop leaves solves unfinished
        for (&c, d) in candidates.iter().zip(norms.into_iter().flatten()) {
            self.set(c, d, d);
        }
        Ok(())
    }
}
