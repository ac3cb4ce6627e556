//! The factorised system H = L Lᵀ and its answers: H⁻¹B, whitened rows L⁻¹g, variances
//! v = gᵀH⁻¹g = ‖L⁻¹g‖² (so that R = 1/v), joint covariances, ln|H|.
//!
//! Variances are computed strip by strip: rows are reduced, solved for and their norms taken while
//! they are in cache. Each thread needs memory for one strip, however many rows there are.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use faer::{MatMut, MatRef};

use crate::block_factors::BlockFactors;
use crate::error::{Error, Result};
use crate::execution::Execution;
use crate::moments::Moments;
use crate::pages::zero_matrix;
use crate::panel::Panel;
use crate::penalty::Penalty;
use crate::regularizer::{Choice, Reason};
use crate::rows::{Element, RowBlock};
use crate::strips::{finite, norms_by_strips};
use crate::tiles::{self, TILE, mirror};
use crate::triangle::Square;

/// Right-hand sides, or target rows of a joint covariance, between two looks at whether to stop:
/// strips for eight cores.
pub(crate) const SOLVE_ROWS: usize = 8 * TILE;

/// The factorised system.
pub struct Hessian {
    /// L in the lower triangle; the upper one is not defined.
    pub(crate) factor: Arc<Square>,
    pub(crate) derived: Derived,
    pub(crate) penalty: Arc<Penalty>,
    pub(crate) choice: Choice,
    pub(crate) moments: Moments,
    /// How many times rows were added or removed.
    pub(crate) revision: u64,
}

/// What is made of L when it is first asked for.
#[derive(Default)]
pub(crate) struct Derived {
    /// L rounded to float32. Nobody waits for the lock: after a fork another thread may hold it for
    /// ever.
    single: Mutex<Option<Arc<Panel<f32>>>>,
    pub block_factors: BlockFactors,
}

impl Hessian {
    pub(crate) fn new(factor: Arc<Square>, penalty: Penalty, choice: Choice, moments: Moments) -> Self {
        Self { factor, derived: Derived::default(), penalty: Arc::new(penalty), choice, moments, revision: 0 }
    }

    /// The same system, to be changed without changing this one: both have one array of L until then.
    pub fn shared(&self) -> Result<Self> {
        Ok(Self {
            factor: Arc::clone(&self.factor),
            derived: Derived::default(),
            penalty: Arc::clone(&self.penalty),
            moments: self.moments.try_clone()?,
            ..*self
        })
    }

    /// How many times rows were added or removed: what was computed at another number is out of date.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// p
    pub fn n_features(&self) -> usize {
        self.factor.n()
    }

    /// λ
    pub fn regularizer(&self) -> f64 {
        self.choice.regularizer
    }

    /// Why λ has that value.
    pub fn reason(&self) -> Reason {
        self.choice.reason
    }

    /// What was added to the diagonal of Λ: to every entry where a guaranteed λ met a singular Λ,
    /// and to the penalised features where a criterion chose λ. 0 otherwise.
    pub fn jitter(&self) -> f64 {
        self.penalty.jitter() + self.choice.jitter
    }

    /// b, Σ w y², n and Σ ln w of the data.
    pub fn moments(&self) -> &Moments {
        &self.moments
    }

    /// L; only the lower triangle is defined.
    pub(crate) fn lower(&self) -> MatRef<'_, f64> {
        Square::as_ref(&self.factor)
    }

    /// The diagonal of L: square roots of the pivots.
    pub fn diagonal(&self) -> Vec<f64> {
        self.factor.diagonal()
    }

    /// ln|H| = 2 Σ ln L_jj
    pub fn log_determinant(&self) -> f64 {
        2.0 * self.diagonal().iter().map(|d| d.ln()).sum::<f64>()
    }

    /// θ = H⁻¹b, shape (p, n_outputs), column-major.
    pub fn coef(&self, run: &Execution) -> Result<Vec<f64>> {
        if self.moments.n_outputs == 0 {
            return Err(Error::NotFitted);
        }
        let mut coef = self.moments.try_clone()?.cross;
        if self.moments.unexplained.is_none() {
            self.solve_in_place(&mut coef, run)?;
            return Ok(coef);
        }
        let (p, k) = (self.n_features(), self.moments.n_outputs);
        self.back_substitute(MatMut::from_column_major_slice_mut(&mut coef, p, k), run); // z is L⁻¹b
        run.check()?;
        finite(coef, p, "H⁻¹b")
    }

    /// Replace B, column-major of shape (p, k), by H⁻¹B.
    pub fn solve_in_place(&self, b: &mut [f64], run: &Execution) -> Result<()> {
        self.for_columns(b, "H⁻¹B", run, |mut z| {
            self.forward_substitute(z.as_mut(), run);
            self.back_substitute(z, run);
        })
    }

    /// Replace Z, column-major of shape (p, k), by L⁻ᵀZ: of independent normal numbers it makes samples of
    /// N(0, H⁻¹).
    pub fn colour_in_place(&self, z: &mut [f64], run: &Execution) -> Result<()> {
        self.for_columns(z, "L⁻ᵀZ", run, |z| self.back_substitute(z, run))
    }

    /// Replace columns, some at a time; refuse numbers that are not finite, before and after.
    fn for_columns(
        &self,
        b: &mut [f64],
        what: &'static str,
        run: &Execution,
        replace: impl Fn(MatMut<'_, f64>),
    ) -> Result<()> {
        let p = self.n_features();
        if b.is_empty() || !b.len().is_multiple_of(p) {
            return Err(Error::RightHandSide { got: b.len(), expected: p });
        }
        if let Some(i) = b.iter().position(|x| !x.is_finite()) {
            return Err(Error::NonFinite { what: "B", row: i % p, column: i / p, value: b[i] });
        }
        for block in b.chunks_mut(SOLVE_ROWS * p) {
            run.check()?;
            let columns = block.len() / p;
            replace(MatMut::from_column_major_slice_mut(block, p, columns));
        }
        run.check()?;
        match b.iter().position(|x| !x.is_finite()) {
            Some(i) => Err(Error::AnswerOverflow { what, row: i % p }),
            None => Ok(()),
        }
    }

    /// Z = L⁻¹B in place of B.
    pub(crate) fn forward_substitute(&self, b: MatMut<'_, f64>, run: &Execution) {
        tiles::solve_lower(self.lower(), b, run);
    }

    /// X = L⁻ᵀZ in place of Z.
    pub(crate) fn back_substitute(&self, z: MatMut<'_, f64>, run: &Execution) {
        tiles::solve_lower_transposed(self.lower(), z, run);
    }

    /// v = gᵀH⁻¹g = ‖L⁻¹g‖² of each target row g. Dimensionless for unit weights; R = 1/v.
    pub fn variance<T: Element>(&self, rows: &RowBlock<'_, T>, run: &Execution) -> Result<Vec<f64>> {
        rows.require_features(self.n_features())?;
        norms_by_strips(rows, self.lower(), run)
    }

    /// The same with rows and factor rounded to float32: twice as fast, with a relative error of a
    /// few eps32·√cond(H).
    pub fn variance_single<T: Element>(&self, rows: &RowBlock<'_, T>, run: &Execution) -> Result<Vec<f64>> {
        rows.require_features(self.n_features())?;
        norms_by_strips(rows, self.single(run)?.columns(self.n_features()), run)
    }

    /// L in float32.
    fn single(&self, run: &Execution) -> Result<Arc<Panel<f32>>> {
        if let Some(single) = self.derived.single.try_lock().ok().and_then(|kept| kept.clone()) {
            return Ok(single);
        }
        let p = self.n_features();
        let mut single = Panel::unset(p, p)?;
        let lost = AtomicBool::new(false);
        single.for_each_row(0..p, run, |j, column| {
            let column = &mut column[j..];
            column.iter_mut().zip(self.factor.lower_column(j)).for_each(|(out, &x)| *out = x as f32);
            if !(column[0].is_normal() && column.iter().all(|x| x.is_finite())) {
                lost.store(true, Ordering::Relaxed);
            }
        });
        if lost.into_inner() {
            return Err(Error::SingleFactor);
        }
        let single = Arc::new(single);
        if let Ok(mut kept) = self.derived.single.try_lock() {
            *kept = Some(Arc::clone(&single));
        }
        Ok(single)
    }

    /// z = L⁻¹g of each target row g, so that ‖z‖² is its variance: (n, p), row-major.
    pub fn whiten<T: Element>(&self, rows: &RowBlock<'_, T>, run: &Execution) -> Result<Vec<f64>> {
        let (n, p) = (rows.n_targets(), self.n_features());
        rows.require_features(p)?;
        let mut whitened = zero_matrix(n, p)?;
        let mut block = Panel::unset(SOLVE_ROWS.min(n), p)?;
        for (out, targets) in whitened.chunks_mut(SOLVE_ROWS * p).zip(blocks(n)) {
            let n = self.whiten_block(rows, targets, &mut block, run)?;
            out.chunks_mut(p).zip(block.rows(0..n)).for_each(|(out, z)| out.copy_from_slice(z));
        }
        finite(whitened, p, "L⁻¹g")
    }

    /// Put L⁻¹g of some target rows g into the first rows of a block; their number.
    fn whiten_block<T: Element>(
        &self,
        rows: &RowBlock<'_, T>,
        targets: Range<usize>,
        block: &mut Panel,
        run: &Execution,
    ) -> Result<usize> {
        let n = targets.len();
        rows.reduce_into(targets, |_| 1.0, vec![(0, block.strip_mut(0..n))], run)?;
        self.forward_substitute(block.columns_mut(n), run);
        run.check()?;
        Ok(n)
    }

    /// L⁻¹g of every target row g, on memory for products.
    fn whitened<T: Element>(&self, rows: &RowBlock<'_, T>, run: &Execution) -> Result<Panel> {
        let n = rows.n_targets();
        let mut whitened = Panel::unset(n, self.n_features())?;
        for targets in blocks(n) {
            run.check()?;
            rows.reduce_into(targets.clone(), |_| 1.0, vec![(0, whitened.strip_mut(targets.clone()))], run)?;
            self.forward_substitute(whitened.columns_mut(n).subcols_mut(targets.start, targets.len()), run);
        }
        Ok(whitened)
    }

    /// G H⁻¹ Gᵀ of the target rows G: (n, n), exactly symmetric.
    pub fn prediction_covariance<T: Element>(&self, rows: &RowBlock<'_, T>, run: &Execution) -> Result<Vec<f64>> {
        rows.require_features(self.n_features())?;
        let n = rows.n_targets();
        let mut joint = zero_matrix(n, n)?;
        let whitened = self.whitened(rows, run)?;
        let z = whitened.columns(n);
        let mut out = MatMut::from_column_major_slice_mut(&mut joint, n, n);
        tiles::gram(out.as_mut(), &z, 1.0, run);
        mirror(out, run);
        run.check()?;
        finite(joint, n, "the covariance")
    }

    /// G H⁻¹ G'ᵀ of two sets of target rows: (n, m), row-major. L⁻¹Gᵀ is held as a whole, L⁻¹G'ᵀ
    /// block by block.
    pub fn prediction_cross_covariance<T: Element, U: Element>(
        &self,
        rows: &RowBlock<'_, T>,
        others: &RowBlock<'_, U>,
        run: &Execution,
    ) -> Result<Vec<f64>> {
        rows.require_features(self.n_features())?;
        others.require_features(self.n_features())?;
        let (n, m) = (rows.n_targets(), others.n_targets());
        let mut joint = zero_matrix(n, m)?;
        let whitened = self.whitened(rows, run)?;
        let z = whitened.columns(n);
        let mut out = MatMut::from_row_major_slice_mut(&mut joint, n, m);
        let mut block = Panel::unset(SOLVE_ROWS.min(m), self.n_features())?;
        for targets in blocks(m) {
            let start = targets.start;
            let n = self.whiten_block(others, targets, &mut block, run)?;
            tiles::product(out.as_mut().subcols_mut(start, n), &z, &block.columns(n), 1.0, run);
            run.check()?;
        }
        finite(joint, m, "the covariance")
    }
}

/// `n` targets, at most `SOLVE_ROWS` at a time.
fn blocks(n: usize) -> impl Iterator<Item = Range<usize>> {
    (0..n).step_by(SOLVE_ROWS).map(move |start| start..(start + SOLVE_ROWS).min(n))
}
