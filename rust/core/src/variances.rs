//! Variances d = zᵀ(I + ZᵀZ)⁻¹z of candidate rows, Z the rows picked so far: upper bounds, brought up
//! to date where they matter.
//!
//! A variance never grows as more is picked, so an old one is an upper bound. With directions u of the
//! picks since then (`Posterior::directions`), d falls by Σ (uᵀz)²: one blocked product for many
//! candidates, 2p operations for each pick, where a solve takes p². A bound may be loose, so that the
//! product runs in float32, on rows and directions of norm 1: with γ = (p + 4)·2⁻²⁴ the most that
//! rounding changes it by, d falls by ‖u‖²‖z‖² (|uᵀz| − γ)² at least.
//!
//! These rows are z whitened by the picks up to a time, the base. Where many variances have fallen far
//! since then, γ²‖z‖² would be seen in them, and the base is moved to the present.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par};

use crate::error::Result;
use crate::execution::Execution;
use crate::information::multiply;
use crate::panel::{Panel, Strip};
use crate::pool::{Pool, for_each, steps};
use crate::posterior::Posterior;
use crate::real::squared_norm;
use crate::tiles::TILE;

/// Part of ‖z‖² at the base to which a bound may fall before it is computed from the row. Bounds that
/// rounding loosens end lists early, and moving the base costs p²: with 1e-4, 1e-3, 5e-3 and 2e-2,
/// 1,000 of 20,000 rows of p = 512, cold, with features of size 1 to 0.01, took 4.6, 4.3, 3.8 and 3.8
/// times as long as one product with the pool.
const RESOLVED: f64 = 5e-3;

/// The base is moved once this part of all candidates was computed from their rows: as much work as a
/// quarter of moving it.
const MOVED_AFTER: f64 = 0.25;

/// Rows that are multiplied at once, at most, where some between them are not needed: copying the
/// others to one place costs about as much as multiplying a fourth of them in vain.
const SPAN: usize = TILE + TILE / 4;

/// Variances of all candidates, with the factor of what was picked.
pub(crate) struct Variances {
    pub posterior: Posterior,
    /// Upper bounds of d, as of `age` picks.
    bounds: Vec<f64>,
    age: Vec<usize>,
    /// Whether the bound is d, computed from the row.
    exact: Vec<bool>,
    base: Base,
    picks: usize,
    /// γ
    rounding: f32,
}

/// Rows as they were whitened at some time, and directions of the picks since then.
struct Base {
    /// L of that time; none before any pick.
    lower: Option<Mat<f64>>,
    /// z/‖z‖ of each candidate.
    rows: Panel<f32>,
    /// ‖z‖²
    squares: Vec<f64>,
    /// u/‖u‖ of the last picks, row-major, the first of them that of pick number `first`.
    directions: Vec<f32>,
    /// ‖u‖² of the same: no more than 1, as uuᵀ is part of a covariance that began as I.
    lengths: Vec<f32>,
    first: usize,
    /// Variances that were computed from rows since then.
    computed: usize,
}

impl Variances {
    /// ‖z‖² of each candidate, before any pick.
    pub fn new(pool: &Pool<'_>, run: &Execution) -> Result<Self> {
        let n = pool.len();
        let mut variances = Self {
            posterior: Posterior::new(pool.width())?,
            bounds: vec![0.0; n],
            age: vec![0; n],
            exact: vec![true; n],
            base: Base {
                lower: None,
                rows: Panel::unset(n, pool.width())?,
                squares: vec![0.0; n],
                directions: vec![],
                lengths: vec![],
                first: 0,
                computed: 0,
            },
            picks: 0,
            rounding: (pool.width() + 4) as f32 * f32::EPSILON / 2.0,
        };
        variances.compute_in_base(pool, run)?;
        Ok(variances)
    }

    /// An upper bound of d, or d.
    pub fn bound(&self, candidate: usize) -> f64 {
        self.bounds[candidate]
    }

    /// Whether the bound takes all picks into account, and is close to d.
    pub fn is_current(&self, candidate: usize) -> bool {
        self.age[candidate] == self.picks && (self.exact[candidate] || self.is_resolved(candidate))
    }

    /// Whether d was computed from the row since the last pick.
    pub fn is_exact(&self, candidate: usize) -> bool {
        self.age[candidate] == self.picks && self.exact[candidate]
    }

    fn is_resolved(&self, candidate: usize) -> bool {
        self.bounds[candidate] >= RESOLVED * self.base.squares[candidate]
    }

    /// Set a bound as of now; `exact`: it is d.
    pub fn set(&mut self, candidate: usize, bound: f64, exact: bool) {
        (self.bounds[candidate], self.age[candidate], self.exact[candidate]) = (bound, self.picks, exact);
    }

    /// Count picks that the posterior has taken up, with their directions.
    pub fn count(&mut self, directions: &mut Panel) {
        let (n, base) = (directions.n_rows(), &mut self.base);
        if let Some(lower) = &base.lower {
            // z = L w, and so uᵀz = (Lᵀu)ᵀw
            let mut product = Mat::zeros(lower.nrows(), n);
            multiply(product.as_mut(), lower.transpose(), directions.columns(n));
            directions.columns_mut(n).copy_from(&product);
        }
        for u in directions.rows(0..n) {
            let length = squared_norm(u);
            base.directions.extend(unit(u, length));
            base.lengths.push(length as f32);
        }
        self.picks += n;
        // older ones cost more than a solve
        let p = base.directions.len() / base.lengths.len().max(1);
        let old = base.lengths.len().saturating_sub(p.max(n));
        base.directions.drain(..old * p);
        base.lengths.drain(..old);
        base.first += old;
    }

    /// Bring the bounds of some candidates up to date.
    pub fn refresh(&mut self, pool: &Pool<'_>, candidates: &[usize], run: &Execution) -> Result<()> {
        let by_product = |&c: &usize| self.age[c] >= self.base.first && self.is_resolved(c) && self.age[c] < self.picks;
        let (mut near, mut far): (Vec<usize>, Vec<usize>) =
            candidates.iter().filter(|&&c| !self.is_current(c)).partition(|c| by_product(c));
        near.sort_unstable_by_key(|&c| (self.age[c], c));
        let falls = self.falls(&near, run)?;
        for (&c, fall) in near.iter().zip(falls) {
            self.set(c, self.bounds[c] - fall, false);
            if !self.is_resolved(c) {
                far.push(c);
            }
        }
        if far.is_empty() {
            return Ok(());
        }
        self.base.computed += far.len();
        if self.base.computed as f64 > MOVED_AFTER * pool.len() as f64 {
            return self.move_base(pool, run);
        }
        far.sort_unstable();
        self.compute(pool, &far, run)
    }

    /// How far the variances of some candidates, the oldest bounds first, have fallen since then, at
    /// least. A strip is multiplied with the directions that its oldest bound needs.
    fn falls(&self, candidates: &[usize], run: &Execution) -> Result<Vec<f64>> {
        let Some(oldest) = candidates.first() else { return Ok(vec![]) };
        let (base, p) = (&self.base, self.base.rows.row(0).len());
        let offset = |c: usize| self.age[c] - base.first;
        let most = base.lengths.len() - offset(*oldest);
        let memory = || Ok((Panel::<f32>::unset(TILE, p)?, Panel::<f32>::unset(SPAN, most)?));
        let strips = candidates.chunks(TILE).collect();
        let falls = for_each(strips, run, memory, |(z, products), strip: &[usize], _| {
            let (n, first, last) = (strip.len(), strip[0], strip[strip.len() - 1]);
            let m = base.lengths.len() - offset(first);
            let u = MatRef::from_row_major_slice(&base.directions[offset(first) * p..], m, p);
            // of one age they are in order: where they lie close together, those between are taken too
            let is_dense = self.age[first] == self.age[last] && last - first < SPAN;
            let z = if is_dense {
                base.rows.matrix(first..last + 1).transpose()
            } else {
                z.rows_mut(0..n).zip(strip).for_each(|(out, &c)| out.copy_from_slice(base.rows.row(c)));
                z.columns(n)
            };
            let out = products.columns_mut(z.ncols()).subrows_mut(0, m);
            matmul(out, Accum::Replace, u, z, 1.0, Par::Seq);
            let fall = |(i, &c): (usize, &usize)| {
                let (row, own) = (products.row(if is_dense { c - first } else { i }), offset(c));
                base.squares[c] * fall(&row[own - offset(first)..m], &base.lengths[own..], self.rounding)
            };
            Ok(strip.iter().enumerate().map(fall).collect::<Vec<_>>())
        })?;
        Ok(falls.into_iter().flatten().collect())
    }

    /// Compute the variances of some candidates from their rows.
    pub fn compute(&mut self, pool: &Pool<'_>, candidates: &[usize], run: &Execution) -> Result<()> {
        let width = candidates.len().min(TILE);
        let strips = candidates.chunks(TILE).collect();
        let norms = for_each(
            strips,
            run,
            || Panel::unset(width, pool.width()),
            |z, strip: &[usize], run| {
                let n = strip.len();
                pool.gather(strip.iter().copied(), z);
                self.posterior.whiten(z.columns_mut(n), run);
                Ok(z.rows(0..n).map(squared_norm).collect::<Vec<_>>())
            },
        )?;
        run.check()?; // a stop leaves solves unfinished
        candidates.iter().zip(norms.into_iter().flatten()).for_each(|(&c, d)| self.set(c, d, true));
        Ok(())
    }

    /// Whiten all rows by the picks so far: bounds are exact, and directions begin anew.
    fn move_base(&mut self, pool: &Pool<'_>, run: &Execution) -> Result<()> {
        self.base.lower = Some(self.posterior.lower());
        self.base.directions.clear();
        self.base.lengths.clear();
        (self.base.first, self.base.computed) = (self.picks, 0);
        self.compute_in_base(pool, run)
    }

    /// Compute all variances from the rows, and keep the rows as of now.
    fn compute_in_base(&mut self, pool: &Pool<'_>, run: &Execution) -> Result<()> {
        let (posterior, is_first) = (&self.posterior, self.base.lower.is_none());
        let (n, width) = (pool.len(), TILE.min(pool.len()));
        let memory = || Panel::unset(width, pool.width());
        let strips = steps(n, width).into_iter().zip(self.base.rows.strip_mut(0..n).strips(width)).collect();
        let squares = for_each(strips, run, memory, |z, (rows, mut out): (_, Strip<'_, f32>), run| {
            let n = ExactSizeIterator::len(&rows);
            pool.gather(rows, z);
            if !is_first {
                posterior.whiten(z.columns_mut(n), run);
            }
            let squares: Vec<f64> = z.rows(0..n).map(squared_norm).collect();
            for ((out, z), square) in out.rows_mut().zip(z.rows(0..n)).zip(&squares) {
                out.iter_mut().zip(unit(z, *square)).for_each(|(out, x)| *out = x);
            }
            Ok(squares)
        })?;
        run.check()?;
        self.base.squares = squares.into_iter().flatten().collect();
        for c in 0..pool.len() {
            self.set(c, self.base.squares[c], true);
        }
        Ok(())
    }
}

/// Σ ‖u‖² (|c| − γ)² of those that exceed γ, at most. Of norm 1 or less, all fit in float32; its
/// rounding of the sum is less than 1e-4 of it.
fn fall(c: &[f32], lengths: &[f32], rounding: f32) -> f64 {
    let term = |c: f32, length: f32| {
        let least = (c.abs() - rounding).max(0.0);
        length * least * least
    };
    // sixteen sums: in one, each addition would wait for the one before
    let mut sums = [0.0_f32; 16];
    let ((c, c_rest), (lengths, rest)) = (c.as_chunks::<16>(), lengths.as_chunks::<16>());
    for (c, lengths) in c.iter().zip(lengths) {
        for k in 0..16 {
            sums[k] += term(c[k], lengths[k]);
        }
    }
    c_rest.iter().zip(rest).for_each(|(c, length)| sums[0] += term(*c, *length));
    (1.0 - 1e-4) * sums.iter().map(|sum| f64::from(*sum)).sum::<f64>()
}

/// x/‖x‖ in float32.
fn unit(x: &[f64], square: f64) -> impl Iterator<Item = f32> {
    let inverse = if square > 0.0 { 1.0 / square.sqrt() } else { 0.0 };
    x.iter().map(move |x| (x * inverse) as f32)
}
