//! What picked rows leave of whitened data: the factor of I + ZᵀZ = L Lᵀ, Z their rows.
//!
//! Rows are taken up by reflections (`absorb`), so that L is known to u‖L‖ and variances zᵀ(I + Z
//! ᵀZ)⁻¹z = ‖L⁻¹z‖² keep their digits however far the picks lower them.

use faer::linalg::triangular_solve::solve_lower_triangular_in_place;
use faer::{Mat, MatMut, MatRef, Par};

use crate::absorb::{Columns, Triangle};
use crate::error::Result;
use crate::execution::Execution;
use crate::panel::Panel;
use crate::stage::ROWS;
use crate::tiles;
use crate::triangle::Square;

/// The factor, and the memory to take up more rows.
pub(crate) struct Posterior {
    lower: Square,
    columns: Columns,
}

impl Posterior {
    /// Before any pick: L = I, of p numbers a row.
    pub fn new(p: usize) -> Result<Self> {
        let mut lower = Square::zeros(p)?;
        lower.set_diagonal(&vec![1.0; p]);
        Ok(Self { lower, columns: Columns::new(p, 0)? })
    }

    /// A copy of L, with zeros above the diagonal.
    pub fn lower(&self) -> Mat<f64> {
        let p = self.lower.n();
        let mut copy = Mat::zeros(p, p);
        copy.as_mut().copy_from_triangular_lower(self.lower.as_ref());
        copy
    }

    /// Take up rows, (n, p). After a stop all is spoilt.
    pub fn absorb(&mut self, rows: MatRef<'_, f64>, run: &Execution) -> Result<()> {
        for start in (0..rows.nrows()).step_by(ROWS) {
            let n = ROWS.min(rows.nrows() - start);
            self.columns.next_mut(n).0.copy_from(rows.subrows(start, n));
            let z = MatMut::from_column_major_slice_mut(&mut [], self.lower.n(), 0);
            self.columns.absorb(Triangle { lower: self.lower.as_mut(), z }, &mut [], 0, run);
            run.check()?;
        }
        Ok(())
    }

    /// L⁻¹Z in place of columns Z, (p, n).
    pub fn whiten(&self, z: MatMut<'_, f64>, run: &Execution) {
        tiles::solve_lower(self.lower.as_ref(), z, run);
    }

    /// L⁻ᵀW in place of columns W, (p, n).
    pub fn whiten_back(&self, w: MatMut<'_, f64>, run: &Execution) {
        tiles::solve_lower_transposed(self.lower.as_ref(), w, run);
    }

    /// Directions u = L⁻ᵀWT⁻ᵀ of rows with the columns W = L⁻¹Zᵀ, (p, n), where T Tᵀ = I + WᵀW: once
    /// the rows are taken up, the covariance of z and z' is less by Σ (uᵀz)(uᵀz').
    pub fn directions(&self, w: &mut Panel, t: MatRef<'_, f64>, run: &Execution) {
        let n = w.n_rows();
        let mut columns = w.columns_mut(n);
        solve_lower_triangular_in_place(t, columns.as_mut().transpose_mut(), Par::Seq);
        self.whiten_back(columns, run);
    }
}
