//! What the factor H = L Lᵀ answers: H⁻¹B, variances v = gᵀH⁻¹g = ‖L⁻¹g‖² (so that R = 1/v), joint covariances, ln|H|.
//!
//! Rows enter as they enter a covariance, reduced block by block; a triangular solve and the row norms follow on the same block, so
//! that scoring needs O(block·p) memory however many rows there are.

use std::ops::Range;

use faer::{MatMut, MatRef};
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::execution::Execution;
use crate::panel::Panel;
use crate::penalty::{Choice, Penalty, Reason};
use crate::rows::{Element, RowBlock, squared_norm};
use crate::tiles::{self, mirror};
use crate::triangle::{Moments, Square, zeros};

/// Target rows that are solved for together: strips for eight cores; 4 MB at p = 1024.
pub(crate) const SOLVE_ROWS: usize = 512;

/// The factorised system.
pub struct Hessian {
    /// L in the lower triangle; the upper one is not defined.
    factor: Square,
    pub(crate) penalty: Penalty,
    choice: Choice,
    moments: Moments,
}

impl Hessian {
    pub(crate) fn new(factor: Square, penalty: Penalty, choice: Choice, moments: Moments) -> Self {
        Self { factor, penalty, choice, moments }
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

    /// What was added to Λ on the diagonal: H = C + λ(Λ + jitter·I). 0 unless λ was chosen for a singular Λ.
    pub fn jitter(&self) -> f64 {
        self.choice.jitter
    }

    /// Sums that came with the data.
    pub fn moments(&self) -> &Moments {
        &self.moments
    }

    /// L; only the lower triangle is defined.
    pub(crate) fn lower(&self) -> MatRef<'_, f64> {
        self.factor.as_ref()
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
        let mut coef = self.moments.cross.clone();
        self.solve_in_place(&mut coef, run)?;
        Ok(coef)
    }

    /// Replace B, column-major of shape (p, k), by H⁻¹B.
    pub fn solve_in_place(&self, b: &mut [f64], run: &Execution) -> Result<()> {
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
            let mut z = MatMut::from_column_major_slice_mut(block, p, columns);
            self.forward_substitute(z.as_mut(), run);
            self.back_substitute(z, run);
        }
        Ok(())
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
        let mut variances = Vec::with_capacity(rows.n_targets());
        for_each_block(rows, run, |targets, block| {
            self.forward_substitute(block.columns_mut(targets.len()), run);
            variances.extend(row_norms(block, targets.len(), run));
            Ok(())
        })?;
        Ok(variances)
    }

    /// L⁻¹g of every target row g.
    fn whitened<T: Element>(&self, rows: &RowBlock<'_, T>, run: &Execution) -> Result<Panel> {
        let n = rows.n_targets();
        let mut whitened = Panel::zeros(n, self.n_features())?;
        for start in (0..n).step_by(SOLVE_ROWS) {
            run.check()?;
            let targets = start..(start + SOLVE_ROWS).min(n);
            rows.reduce_into(targets.clone(), |_| 1.0, whitened.strip_mut(targets.clone()), run)?;
            self.forward_substitute(whitened.columns_mut(n).subcols_mut(start, targets.len()), run);
        }
        Ok(whitened)
    }

    /// G H⁻¹ Gᵀ of the target rows G: (n, n), exactly symmetric.
    pub fn prediction_covariance<T: Element>(&self, rows: &RowBlock<'_, T>, run: &Execution) -> Result<Vec<f64>> {
        let n = rows.n_targets();
        let whitened = self.whitened(rows, run)?;
        let z = whitened.columns(n);
        let mut joint = zeros(n * n)?;
        let mut out = MatMut::from_column_major_slice_mut(&mut joint, n, n);
        tiles::gram(out.as_mut(), z.transpose(), 1.0, run);
        mirror(out, run);
        Ok(joint)
    }

    /// G H⁻¹ G'ᵀ of two sets of target rows: (n, m), row-major. L⁻¹Gᵀ is held at once, L⁻¹G'ᵀ block by block.
    pub fn prediction_cross_covariance<T: Element, U: Element>(
        &self,
        rows: &RowBlock<'_, T>,
        others: &RowBlock<'_, U>,
        run: &Execution,
    ) -> Result<Vec<f64>> {
        let (n, m) = (rows.n_targets(), others.n_targets());
        let whitened = self.whitened(rows, run)?;
        let z = whitened.columns(n);
        let mut joint = zeros(n * m)?;
        let mut out = MatMut::from_row_major_slice_mut(&mut joint, n, m);
        for_each_block(others, run, |targets, block| {
            self.forward_substitute(block.columns_mut(targets.len()), run);
            let out = out.as_mut().subcols_mut(targets.start, targets.len());
            tiles::product(out, z.transpose(), block.columns(targets.len()), 1.0, run);
            Ok(())
        })?;
        Ok(joint)
    }
}

/// Reduce the rows in blocks of `SOLVE_ROWS` targets and hand each to `f`.
pub(crate) fn for_each_block<T: Element>(
    rows: &RowBlock<'_, T>,
    run: &Execution,
    mut f: impl FnMut(Range<usize>, &mut Panel) -> Result<()>,
) -> Result<()> {
    let n = rows.n_targets();
    let mut block = Panel::zeros(SOLVE_ROWS.min(n), rows.n_features())?;
    for start in (0..n).step_by(SOLVE_ROWS) {
        run.check()?;
        let targets = start..(start + SOLVE_ROWS).min(n);
        rows.reduce_into(targets.clone(), |_| 1.0, block.strip_mut(0..targets.len()), run)?;
        f(targets, &mut block)?;
    }
    Ok(())
}

/// ‖z‖² of the first `n` rows.
pub(crate) fn row_norms(block: &Panel, n: usize, run: &Execution) -> Vec<f64> {
    if run.is_parallel() {
        (0..n).into_par_iter().map(|i| squared_norm(block.row(i))).collect()
    } else {
        block.rows(0..n).map(squared_norm).collect()
    }
}
