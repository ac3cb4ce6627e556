//! The square array of which one triangle is in use.
//!
//! C and its factor are in the lower triangle of a column-major array. While an update or a
//! factorisation that may fail is under way, the upper triangle keeps a copy of the lower one. So a
//! failure leaves no trace, and no third array is needed.

use faer::{MatMut, MatRef};

use crate::error::Result;
use crate::execution::Execution;
use crate::panel::Panel;
use crate::tiles::mirror;

/// Columns below which a second thread is not worth waking to go through a triangle.
const SMALL: usize = 512;

/// A square array, column-major.
pub(crate) struct Square(Panel);

impl Square {
    /// n × n zeros.
    pub fn zeros(n: usize) -> Result<Self> {
        Ok(Self(Panel::zeros(n, n)?))
    }

    /// n × n numbers without meaning, to be written before they are read.
    pub(crate) fn unset(n: usize) -> Result<Self> {
        Ok(Self(Panel::unset(n, n)?))
    }

    /// A copy, where memory allows.
    pub fn try_clone(&self) -> Result<Self> {
        Ok(Self(self.0.try_clone()?))
    }

    /// A copy of the lower triangle, where memory allows.
    pub fn lower_copy(&self, run: &Execution) -> Result<Self> {
        let mut copy = Self::unset(self.n())?;
        copy.for_each_lower_column(run, |j, column| column.copy_from_slice(self.lower_column(j)));
        Ok(copy)
    }

    /// Number of rows and columns.
    pub fn n(&self) -> usize {
        self.0.n_rows()
    }

    /// All entries, to read.
    pub fn as_ref(&self) -> MatRef<'_, f64> {
        self.0.columns(self.n())
    }

    /// All entries, to write.
    pub fn as_mut(&mut self) -> MatMut<'_, f64> {
        let n = self.n();
        self.0.columns_mut(n)
    }

    /// Column `j`.
    pub(crate) fn column(&self, j: usize) -> &[f64] {
        self.0.row(j)
    }

    /// Entries on and below the diagonal of column `j`.
    pub(crate) fn lower_column(&self, j: usize) -> &[f64] {
        &self.0.row(j)[j..]
    }

    /// The same, to write.
    pub(crate) fn lower_column_mut(&mut self, j: usize) -> &mut [f64] {
        &mut self.0.row_mut(j)[j..]
    }

    /// Call `f(j, column)` with the lower part of every column, to write.
    pub(crate) fn for_each_lower_column(&mut self, run: &Execution, f: impl Fn(usize, &mut [f64]) + Sync) {
        let run = if self.n() > SMALL { *run } else { Execution::sequential() };
        self.on_all_threads(&run, f);
    }

    /// The same on threads that are awake already, however few columns there are.
    pub(crate) fn on_all_threads(&mut self, run: &Execution, f: impl Fn(usize, &mut [f64]) + Sync) {
        self.0.for_each_row(0..self.n(), run, |j, column| f(j, &mut column[j..]));
    }

    /// The diagonal.
    pub(crate) fn diagonal(&self) -> Vec<f64> {
        (0..self.n()).map(|j| self.0.row(j)[j]).collect()
    }

    pub(crate) fn set_diagonal(&mut self, diagonal: &[f64]) {
        diagonal.iter().enumerate().for_each(|(j, &d)| self.0.row_mut(j)[j] = d);
    }

    /// Copy the lower triangle into the upper one; return the diagonal.
    pub(crate) fn back_up(&mut self, run: &Execution) -> Vec<f64> {
        mirror(self.as_mut(), run);
        self.diagonal()
    }

    /// Copy the upper triangle back into the lower one, and set the diagonal.
    pub(crate) fn restore(&mut self, diagonal: &[f64], run: &Execution) {
        mirror(self.as_mut().transpose_mut(), run);
        self.set_diagonal(diagonal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_triangle_survives_in_the_other() -> Result<()> {
        let n = 150;
        let mut a = Square::zeros(n)?;
        let run = Execution::sequential();
        let entry = |i: usize, j: usize| (i * n + j) as f64;
        a.for_each_lower_column(&run, |j, column| {
            column.iter_mut().enumerate().for_each(|(i, x)| *x = entry(j + i, j))
        });
        let diagonal = a.back_up(&run);
        a.for_each_lower_column(&run, |_, column| column.fill(-1.0));
        a.restore(&diagonal, &run);
        for j in 0..n {
            assert!(a.lower_column(j).iter().enumerate().all(|(i, x)| *x == entry(j + i, j)));
        }
        Ok(())
    }
}
