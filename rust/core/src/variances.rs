//! Variances d = zᵀ(I + ZᵀZ)⁻¹z of candidate rows, Z the rows picked so far: upper bounds, brought up
//! to date where they matter.
//!
//! A variance never grows as more is picked, so an old one is an upper bound. With directions u of the
//! picks since then (`Posterior::directions`), d falls by Σ (uᵀz)²: one blocked product for many
//! candidates, 2p operations for each pick, where a solve takes p². A bound may be loose, so that the
//! product runs in float32, on rows and directions of norm 1: with γ = (p + 4)·2⁻²⁴ the most that
//! rounding changes it by, d falls by ‖u‖²‖z‖² (|uᵀz| − γ)² at least.

use faer::MatRef;

use crate::error::Result;
use crate::execution::Execution;
use crate::panel::Panel;
use crate::pool::{Pool, for_each};
use crate::posterior::Posterior;
use crate::real::squared_norm;
use crate::tiles::{self, TILE};

/// Part of its last exact value to which a bound may fall before it is computed anew: rounding of
/// float32, about 1e-4 of the exact value, would be seen in it.
const RESOLVED: f64 = 0.02;

/// Variances of all candidates, with the factor of what was picked.
pub(crate) struct Variances {
    pub posterior: Posterior,
    /// Upper bounds of d, as of `age` picks.
    bounds: Vec<f64>,
    age: Vec<usize>,
    /// d when it was last computed from the row.
    exact: Vec<f64>,
    /// ‖z‖
    norms: Vec<f64>,
    /// u/‖u‖ of the last picks, row-major, the first of them that of pick number `first`.
    directions: Vec<f32>,
    /// ‖u‖² of the same.
    lengths: Vec<f64>,
    first: usize,
    picks: usize,
}

impl Variances {
    /// ‖z‖² of each candidate, before any pick.
    pub fn new(pool: &Pool<'_>, run: &Execution) -> Result<Self> {
        let posterior = Posterior::new(pool.width())?;
        let n = pool.len();
        let norms = for_each(
            n.div_ceil(TILE),
            run,
            || Ok(()),
            |(), i, _| {
                let rows = i * TILE..n.min((i + 1) * TILE);
                Ok(rows.map(|row| squared_norm(pool.row(row))).collect::<Vec<_>>())
            },
        )?;
        let bounds: Vec<f64> = norms.into_iter().flatten().collect();
        let (exact, norms) = (bounds.clone(), bounds.iter().map(|d| d.sqrt()).collect());
        let (directions, lengths) = (vec![], vec![]);
        Ok(Self { posterior, bounds, age: vec![0; n], exact, norms, directions, lengths, first: 0, picks: 0 })
    }

    /// An upper bound of d, or d.
    pub fn bound(&self, candidate: usize) -> f64 {
        self.bounds[candidate]
    }

    /// Whether the bound takes all picks into account, and is close to d.
    pub fn is_current(&self, candidate: usize) -> bool {
        self.age[candidate] == self.picks && self.is_resolved(candidate)
    }

    /// Whether d was computed from the row since the last pick.
    pub fn is_exact(&self, candidate: usize) -> bool {
        self.age[candidate] == self.picks && self.bounds[candidate] == self.exact[candidate]
    }

    fn is_resolved(&self, candidate: usize) -> bool {
        self.bounds[candidate] >= RESOLVED * self.exact[candidate]
    }

    /// Set a bound as of now, and d when it was last computed from the row.
    pub fn set(&mut self, candidate: usize, bound: f64, exact: f64) {
        (self.bounds[candidate], self.exact[candidate], self.age[candidate]) = (bound, exact, self.picks);
    }

    /// Count picks that the posterior has taken up, with their directions.
    pub fn count(&mut self, directions: &Panel) {
        let n = directions.n_rows();
        for u in directions.rows(0..n) {
            let length = squared_norm(u);
            let inverse = if length > 0.0 { 1.0 / length.sqrt() } else { 0.0 };
            self.directions.extend(u.iter().map(|x| (x * inverse) as f32));
            self.lengths.push(length);
        }
        self.picks += n;
        // older ones cost more than a solve
        let p = self.directions.len() / self.lengths.len().max(1);
        let old = self.lengths.len().saturating_sub(p.max(n));
        self.directions.drain(..old * p);
        self.lengths.drain(..old);
        self.first += old;
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

    /// How far the variances of candidates of the same age have fallen since then, at least.
    fn fallen(&self, pool: &Pool<'_>, group: &[usize], run: &Execution) -> Result<Vec<f64>> {
        let (p, start) = (pool.width(), self.age[group[0]] - self.first);
        let lengths = &self.lengths[start..];
        let u = MatRef::from_row_major_slice(&self.directions[start * p..], lengths.len(), p);
        let rounding = (p + 4) as f64 * f64::from(f32::EPSILON) / 2.0;
        let memory = || Ok((Panel::<f32>::unset(TILE, p)?, Panel::zeros(TILE, lengths.len())?));
        let strips: Vec<&[usize]> = group.chunks(TILE).collect();
        let falls = for_each(strips.len(), run, memory, |(z, products), i, run| {
            let n = strips[i].len();
            for (out, &c) in z.rows_mut(0..n).zip(strips[i]) {
                let inverse = if self.norms[c] > 0.0 { 1.0 / self.norms[c] } else { 0.0 };
                out.iter_mut().zip(pool.row(c)).for_each(|(out, x)| *out = (x * inverse) as f32);
            }
            products.rows_mut(0..n).for_each(|row| row.fill(0.0));
            tiles::product(products.columns_mut(n), &u.transpose(), &z.columns(n), 1.0, run);
            let fall = |c: &[f64]| -> f64 {
                c.iter().zip(lengths).map(|(c, length)| length * (c.abs() - rounding).max(0.0).powi(2)).sum()
            };
            let falls = products.rows(0..n).zip(strips[i]).map(|(row, &c)| self.norms[c] * self.norms[c] * fall(row));
            Ok(falls.collect::<Vec<_>>())
        })?;
        run.check()?; // a stop leaves products unfinished
        Ok(falls.into_iter().flatten().collect())
    }

    /// Compute the variances of some candidates from their rows.
    pub fn compute(&mut self, pool: &Pool<'_>, candidates: &[usize], run: &Execution) -> Result<()> {
        let strips: Vec<&[usize]> = candidates.chunks(TILE).collect();
        let width = candidates.len().min(TILE);
        let norms = for_each(
            strips.len(),
            run,
            || Panel::unset(width, pool.width()),
            |z, i, run| {
                let n = strips[i].len();
                pool.gather(strips[i].iter().copied(), z);
                self.posterior.whiten(z.columns_mut(n), run);
                Ok(z.rows(0..n).map(squared_norm).collect::<Vec<_>>())
            },
        )?;
        run.check()?; // a stop leaves solves unfinished
        for (&c, d) in candidates.iter().zip(norms.into_iter().flatten()) {
            self.set(c, d, d);
        }
        Ok(())
    }
}
