//! Rows that are multiplied with one another, laid out for the kernels.
//!
//! A slab cuts its rows into strips of columns and keeps each strip in one piece, so that a tile of
//! a product reads two small, dense blocks wherever it lies in a wide matrix. Measured for the
//! triangular product on one AVX2 core, depth 128: 43, 41 and 41.5 Gflop/s at p = 1024, 2048, 4096
//! against 41.5, 40 and 39 on whole rows.

use std::ops::Range;

use faer::MatRef;

use crate::error::Result;
use crate::panel::{Panel, Strip};
use crate::real::Real;
use crate::tiles::{Operand, TILE};

/// Rows of equal width, strip by strip.
pub(crate) struct Slab<T = f64> {
    /// Strip s of row i is row `s·capacity + i`.
    panel: Panel<T>,
    capacity: usize,
    width: usize,
}

/// The same rows of every strip, to write: (first column, rows).
pub(crate) type Pieces<'a, T> = Vec<(usize, Strip<'a, T>)>;

impl<T: Real> Slab<T> {
    /// Room for `capacity` rows of `width` columns, to be written before they are read.
    pub fn unset(capacity: usize, width: usize) -> Result<Self> {
        let n_rows = width.div_ceil(TILE).saturating_mul(capacity);
        Ok(Self { panel: Panel::unset(n_rows, width.min(TILE))?, capacity, width })
    }

    /// Columns of strip `s`.
    fn columns(&self, s: usize) -> Range<usize> {
        s * TILE..self.width.min((s + 1) * TILE)
    }

    /// Row `i`, strip after strip.
    pub fn row(&self, i: usize) -> impl Iterator<Item = &[T]> {
        let strips = 0..self.width.div_ceil(TILE);
        strips.map(move |s| &self.panel.row(s * self.capacity + i)[..self.columns(s).len()])
    }

    /// Rows `range` of every strip.
    pub fn pieces_mut(&mut self, range: Range<usize>) -> Pieces<'_, T> {
        let width = self.width;
        let whole = self.panel.strip_mut(0..self.panel.n_rows());
        let strips = whole.strips(self.capacity).enumerate();
        strips.map(|(s, strip)| (s * TILE, strip.part(range.clone(), (width - s * TILE).min(TILE)))).collect()
    }

    /// The first `n_rows` rows, as an operand of a product.
    pub fn rows(&self, n_rows: usize) -> SlabRows<'_, T> {
        self.part(0..n_rows)
    }

    /// The rows of a range, as an operand of a product.
    pub fn part(&self, rows: Range<usize>) -> SlabRows<'_, T> {
        SlabRows { slab: self, start: rows.start, n_rows: rows.len() }
    }
}

/// Some rows of a slab.
#[derive(Clone, Copy)]
pub(crate) struct SlabRows<'a, T> {
    slab: &'a Slab<T>,
    start: usize,
    n_rows: usize,
}

impl<T: Real> Operand<T> for SlabRows<'_, T> {
    fn depth(&self) -> usize {
        self.n_rows
    }

    fn columns(&self, start: usize, n: usize) -> MatRef<'_, T> {
        let first = start / TILE * self.slab.capacity + self.start;
        self.slab.panel.matrix(first..first + self.n_rows).subcols(start % TILE, n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strips_hold_the_rows() -> Result<()> {
        for width in [1, 191, 192, 193, 500] {
            let mut slab = Slab::<f64>::unset(5, width)?;
            for (column, mut piece) in slab.pieces_mut(1..4) {
                piece.rows_mut().enumerate().for_each(|(i, row)| {
                    row.iter_mut().enumerate().for_each(|(j, x)| *x = (1000 * (i + 1) + column + j) as f64);
                });
            }
            for i in 0..5 {
                let row: Vec<f64> = slab.row(i).flatten().copied().collect();
                let expected = |j: usize| if (1..4).contains(&i) { (1000 * i + j) as f64 } else { 0.0 };
                assert_eq!(row, (0..width).map(expected).collect::<Vec<_>>());
            }
            let last = width - 1;
            assert_eq!(slab.rows(4).columns(last, 1)[(3, 0)], (3000 + last) as f64);
        }
        Ok(())
    }
}
