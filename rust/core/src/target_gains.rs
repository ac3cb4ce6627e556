//! Gains for targets: how far each candidate raises their mean rigidity, or lowers their mean variance.
//!
//! With P = (I + ZᵀZ)⁻¹ of all picked rows Z, a target y has the variance v = yᵀPy. A candidate with the
//! rows B has K = B P Bᵀ and q = B P y for each target, and once it is picked
//!
//! > v' = v − qᵀ(I + K)⁻¹q = v − ‖T⁻¹q‖²,  T Tᵀ = I + K
//!
//! (Woodbury). K and q of all candidates are kept. A pick with directions u (`Posterior::directions`)
//! changes them by C = B Uᵀ: K ← K − C Cᵀ, q ← q − C (Uy). So each pick reads the pool once. The mean
//! of 1/v is not submodular: there is no bound, and every gain is computed after every pick.
//!
//! Choosing data that make targets rigid: Faraday Discuss. 256 (2025) 322, whose code inverts H for
//! every candidate in each step.

use faer::linalg::triangular_solve::solve_lower_triangular_in_place;
use faer::{MatMut, MatRef, Par};

use crate::choice::{Open, best, tie};
use crate::error::{Error, Result};
use crate::execution::Execution;
use crate::information::{multiply, of_kernel, root};
use crate::kernels::{Candidate, Kernels, Part};
use crate::near_targets::variances_after;
use crate::pages::{copied, zeros};
use crate::panel::Panel;
use crate::pool::{Pool, for_each};
use crate::posterior::Posterior;
use crate::real::{dot, squared_norm};
use crate::target_means::Means;
use crate::triangle::Square;

/// Variances up to which the factor of I + K is taken from K. Beyond, rounding of K could be 1e-10 of
/// a gain, and the factor is computed from the rows.
const FORMED: f64 = 1e6;

/// Part of its value to which a variance may fall by differences: rounding is 1e-12 of it then.
const RESOLVED: f64 = 1e-4;

/// Candidates whose gains are computed from their rows first, where bounds could win. A fixed number,
/// whatever the threads.
const AT_FIRST: usize = 8;

/// Gains of all candidates for targets.
pub(crate) struct TargetGains {
    posterior: Posterior,
    /// Targets, row-major, whitened before any pick.
    targets: Vec<f64>,
    means: Means,
    /// Variances of the targets when q of all rows was last computed from the rows.
    at_start: Vec<f64>,
    kernels: Kernels,
}

/// What a pick changes.
struct Change<'a> {
    /// u of the pick, (r, p).
    directions: &'a Panel,
    /// Uy of each target, row-major: (r, m).
    onto: &'a [f64],
}

impl TargetGains {
    /// For targets with weights (none: equal ones), before any pick. `of_rigidity`: of the mean of
    /// 1/v; else of the mean of −v.
    pub fn new(pool: &Pool<'_>, targets: &[f64], weights: &[f64], of_rigidity: bool, run: &Execution) -> Result<Self> {
        let p = pool.width();
        if targets.is_empty() || !targets.len().is_multiple_of(p) {
            return Err(Error::RightHandSide { got: targets.len(), expected: p });
        }
        let means = Means::new(targets.chunks(p).map(squared_norm).collect(), weights, of_rigidity)?;
        let mut made = Self {
            posterior: Posterior::new(p)?,
            targets: copied(targets)?,
            at_start: means.variances().to_vec(),
            kernels: Kernels::new(pool, means.len())?,
            means,
        };
        made.kernels.on_parts(pool, run, |part, run| {
            part.each(pool, |mut candidate| {
                let z = pool.matrix(candidate.rows.clone());
                multiply(candidate.kernel_mut(), z, z.transpose());
                candidate.keep_exact();
                run.check()
            })
        })?;
        made.compute_cross(pool, run)?;
        Ok(made)
    }

    /// Mean rigidity, or mean variance, of the targets as of now.
    pub fn value(&self) -> f64 {
        self.means.value()
    }

    /// The best of the candidates that are open. Of gains that are upper bounds those are computed that
    /// could win, or tie.
    pub fn best(&mut self, pool: &Pool<'_>, open: &Open, run: &Execution) -> Result<Option<usize>> {
        let mut at_once = AT_FIRST;
        loop {
            let score = |c: usize| (c, open.score(c, self.kernels.gains[c]));
            let known = open.candidates().filter(|&c| !self.kernels.rough[c]).map(score);
            let winner = best(known);
            let least = winner.map_or(f64::NEG_INFINITY, |(_, score)| tie(score));
            let rough = open.candidates().filter(|&c| self.kernels.rough[c]).map(score);
            let mut able: Vec<(usize, f64)> = rough.filter(|(_, bound)| *bound >= least).collect();
            if able.is_empty() {
                return Ok(winner.map(|(c, _)| c));
            }
            able.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            able.truncate(at_once);
            at_once *= 2;
            self.compute_gains(pool, able.into_iter().map(|(c, _)| c).collect(), run)?;
        }
    }

    /// Gains of all candidates as of now.
    pub fn all(&mut self, pool: &Pool<'_>, run: &Execution) -> Result<&[f64]> {
        let rough: Vec<usize> = (0..pool.len()).filter(|&c| self.kernels.rough[c]).collect();
        self.compute_gains(pool, rough, run)?;
        Ok(&self.kernels.gains)
    }

    /// Compute some gains from rows.
    fn compute_gains(&mut self, pool: &Pool<'_>, candidates: Vec<usize>, run: &Execution) -> Result<()> {
        let whitened = self.whitened_targets(run)?;
        let (posterior, means) = (&self.posterior, &self.means);
        let gains = for_each(
            candidates.clone(),
            run,
            || Ok(()),
            |(), c, run| {
                let left = variances_after(pool, c, posterior, &whitened, run)?;
                Ok(means.gain_to(left.into_iter()))
            },
        )?;
        for (c, gain) in candidates.into_iter().zip(gains) {
            (self.kernels.gains[c], self.kernels.rough[c]) = (gain, false);
        }
        Ok(())
    }

    /// Take a candidate up; its gain. After a stop all is spoilt.
    pub fn take(&mut self, pool: &Pool<'_>, candidate: usize, run: &Execution) -> Result<f64> {
        let (rows, p, m) = (pool.rows_of(candidate), pool.width(), self.means.len());
        let r = rows.len();
        let small = alone_if_small(r * p * p, run);
        let mut directions = Panel::unset(r, p)?;
        pool.gather(rows.clone(), &mut directions);
        self.posterior.whiten(directions.columns_mut(r), &small);
        run.check()?;
        let root = root(directions.columns(r), &run.alone())?;
        self.posterior.directions(&mut directions, root.lower.as_ref(), &small);
        let mut onto = zeros(r * m)?;
        let y = MatRef::from_row_major_slice(&self.targets, m, p).transpose();
        multiply(MatMut::from_row_major_slice_mut(&mut onto, r, m), directions.matrix(0..r), y);
        self.posterior.absorb(pool.matrix(rows), &small)?;
        let whitened = self.whitened_targets(run)?;
        let gain = self.means.fall(&squares(&onto, m), whitened.rows(0..m).map(squared_norm).collect());
        self.change(pool, &Change { directions: &directions, onto: &onto }, &whitened, run)?;
        if self.means.variances().iter().zip(&self.at_start).any(|(v, start)| *v < RESOLVED * start) {
            self.compute_cross(pool, run)?;
        }
        Ok(gain)
    }

    /// L⁻¹y of each target.
    fn whitened_targets(&self, run: &Execution) -> Result<Panel> {
        let (m, p) = (self.means.len(), self.targets.len() / self.means.len());
        let mut whitened = Panel::unset(m, p)?;
        whitened.rows_mut(0..m).zip(self.targets.chunks(p)).for_each(|(out, y)| out.copy_from_slice(y));
        self.posterior.whiten(whitened.columns_mut(m), &alone_if_small(m * p * p, run));
        run.check()?;
        Ok(whitened)
    }

    /// q = B P y of all rows from the rows, and the gains: L⁻ᵀL⁻¹y first, then one product with the
    /// pool.
    fn compute_cross(&mut self, pool: &Pool<'_>, run: &Execution) -> Result<()> {
        let m = self.means.len();
        let mut solved = self.whitened_targets(run)?;
        self.posterior.whiten_back(solved.columns_mut(m), run);
        run.check()?;
        let (means, posterior) = (&self.means, &self.posterior);
        self.kernels.on_parts(pool, run, |part, run| {
            let rows = part.rows.clone();
            multiply(MatMut::from_row_major_slice_mut(part.cross, rows.len(), m), pool.matrix(rows), solved.columns(m));
            let mut falls = vec![0.0; m];
            part.each(pool, |mut candidate| {
                set_gain(&mut candidate, means, posterior, pool, &mut falls, run)?;
                run.check()
            })
        })?;
        self.at_start.copy_from_slice(self.means.variances());
        Ok(())
    }

    /// Change K, q and the gains of all candidates by a pick.
    fn change(&mut self, pool: &Pool<'_>, change: &Change<'_>, targets: &Panel, run: &Execution) -> Result<()> {
        let (means, posterior) = (&self.means, &self.posterior);
        let lost = self.kernels.on_parts(pool, run, |part, run| {
            let mut lost = vec![];
            let mut falls = vec![0.0; means.len()];
            let coefficients = coefficients(&part, pool, change.directions)?;
            let r = change.directions.n_rows();
            let first = part.rows.start;
            part.each(pool, |mut candidate| {
                let rows = candidate.rows.start - first..candidate.rows.end - first;
                subtract(&mut candidate, &coefficients[rows.start * r..rows.end * r], change.onto);
                if candidate.variances().zip(candidate.exact.iter()).any(|(v, exact)| v < RESOLVED * exact) {
                    lost.push(candidate.index);
                } else {
                    set_gain(&mut candidate, means, posterior, pool, &mut falls, run)?;
                }
                run.check()
            })?;
            Ok(lost)
        })?;
        let lost: Vec<usize> = lost.into_iter().flatten().collect();
        self.compute(pool, &lost, targets, run)
    }

    /// Compute K, q and the gains of some candidates from their rows.
    fn compute(&mut self, pool: &Pool<'_>, candidates: &[usize], targets: &Panel, run: &Execution) -> Result<()> {
        if candidates.is_empty() {
            return Ok(());
        }
        let (m, p) = (self.means.len(), pool.width());
        let (means, posterior) = (&self.means, &self.posterior);
        let wanted = |part: &Part<'_>| candidates.partition_point(|c| *c < part.candidates.start);
        self.kernels.on_parts(pool, run, |part, run| {
            let mut wanted =
                candidates[wanted(&part)..].iter().copied().take_while(|c| *c < part.candidates.end).peekable();
            if wanted.peek().is_none() {
                return Ok(());
            }
            let chosen: Vec<usize> = wanted.collect();
            let n: usize = chosen.iter().map(|&c| pool.rows_of(c).len()).sum();
            let mut whitened = Panel::unset(n, p)?;
            pool.gather(chosen.iter().flat_map(|&c| pool.rows_of(c)), &mut whitened);
            posterior.whiten(whitened.columns_mut(n), run);
            run.check()?;
            let (mut falls, mut start, mut next) = (vec![0.0; m], 0, 0);
            part.each(pool, |mut candidate| {
                if chosen.get(next) != Some(&candidate.index) {
                    return Ok(());
                }
                let r = candidate.rows.len();
                let w = whitened.matrix(start..start + r);
                (start, next) = (start + r, next + 1);
                multiply(candidate.kernel_mut(), w, w.transpose());
                multiply(MatMut::from_row_major_slice_mut(candidate.cross, r, m), w, targets.columns(m));
                candidate.keep_exact();
                set_gain(&mut candidate, means, posterior, pool, &mut falls, run)?;
                run.check()
            })
        })?;
        Ok(())
    }
}

/// On one thread if there is little to multiply: to wake another one for each of its many short steps
/// may take longer, most of all where others use the processor.
fn alone_if_small<'a>(multiplications: usize, run: &Execution<'a>) -> Execution<'a> {
    /// About half a millisecond.
    const SMALL: usize = 1 << 24;
    if multiplications <= SMALL { run.alone() } else { *run }
}

/// Σ x² over the rows of a row-major array of m columns.
fn squares(x: &[f64], m: usize) -> Vec<f64> {
    let mut sums = vec![0.0; m];
    x.chunks(m).for_each(|row| sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x * x));
    sums
}

/// C = B Uᵀ of the rows of a part, row-major.
fn coefficients(part: &Part<'_>, pool: &Pool<'_>, directions: &Panel) -> Result<Vec<f64>> {
    let r = directions.n_rows();
    if r == 1 {
        return Ok(part.rows.clone().map(|i| dot(pool.row(i), directions.row(0))).collect());
    }
    let mut c = zeros(part.rows.len() * r)?;
    let rows = pool.matrix(part.rows.clone());
    multiply(MatMut::from_row_major_slice_mut(&mut c, rows.nrows(), r), rows, directions.columns(r));
    Ok(c)
}

/// K ← K − C Cᵀ, q ← q − C (Uy).
fn subtract(candidate: &mut Candidate<'_>, c: &[f64], onto: &[f64]) {
    let n = candidate.rows.len();
    let (r, m) = (c.len() / n, candidate.cross.len() / n);
    for (q, c) in candidate.cross.chunks_mut(m).zip(c.chunks(r)) {
        for (c, onto) in c.iter().zip(onto.chunks(m)) {
            q.iter_mut().zip(onto).for_each(|(q, x)| *q -= c * x);
        }
    }
    for j in 0..n {
        for i in 0..n {
            candidate.within[j * n + i] -= dot(&c[i * r..(i + 1) * r], &c[j * r..(j + 1) * r]);
        }
    }
}

/// Set what picking a candidate would gain, from its K and q.
fn set_gain(
    candidate: &mut Candidate<'_>,
    means: &Means,
    posterior: &Posterior,
    pool: &Pool<'_>,
    falls: &mut [f64],
    run: &Execution,
) -> Result<()> {
    let m = falls.len();
    // v' = v − qᵀ(I + K)⁻¹q is no less than v/(1 + the greatest eigenvalue of K)
    let least = 1.0 / (1.0 + candidate.variances().sum::<f64>());
    if let [d] = *candidate.within {
        let scale = 1.0 / (1.0 + d);
        falls.iter_mut().zip(&*candidate.cross).for_each(|(s, q)| *s = q * q * scale);
        (*candidate.gain, *candidate.is_rough) = means.gain(falls, least).parts();
        return Ok(());
    }
    let r = candidate.rows.len();
    let mut x = copied(candidate.cross)?;
    let t = factor(candidate, posterior, pool, run)?;
    let columns = MatMut::from_row_major_slice_mut(&mut x, r, m);
    solve_lower_triangular_in_place(t.as_ref(), columns, Par::Seq);
    falls.copy_from_slice(&squares(&x, m));
    (*candidate.gain, *candidate.is_rough) = means.gain(falls, least).parts();
    Ok(())
}

/// T with T Tᵀ = I + K: from K, or from the rows where rounding of K would be seen.
fn factor(candidate: &Candidate<'_>, posterior: &Posterior, pool: &Pool<'_>, run: &Execution) -> Result<Square> {
    let r = candidate.rows.len();
    if candidate.variances().fold(0.0, f64::max) <= FORMED {
        let mut kernel = Square::unset(r)?;
        kernel.as_mut().copy_from(MatRef::from_column_major_slice(candidate.within, r, r));
        if let Some(root) = of_kernel(kernel, run)? {
            return Ok(root.lower);
        }
    }
    let mut whitened = Panel::unset(r, pool.width())?;
    pool.gather(candidate.rows.clone(), &mut whitened);
    posterior.whiten(whitened.columns_mut(r), run);
    run.check()?;
    Ok(root(whitened.columns(r), run)?.lower)
}
