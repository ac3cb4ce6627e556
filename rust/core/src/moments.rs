//! Sums beside C: what a fit and its evidence need of the targets.

use crate::error::Result;
use crate::pages::{copied, zero_matrix, zeros};

/// b = Σ w f yᵀ, Σ w y², n, Σ ln w. Rows of weight 0 count nowhere.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Moments {
    /// Number of outputs; 0 where no targets were given.
    pub n_outputs: usize,
    /// b, shape (p, n_outputs), column-major.
    pub cross: Vec<f64>,
    /// Σ w y² of each output.
    pub squares: Vec<f64>,
    /// Rows of positive weight.
    pub n_rows: usize,
    /// Σ ln w over them.
    pub log_weight: f64,
}

impl Moments {
    /// Empty sums for `p` features and `n_outputs` outputs.
    pub(crate) fn zeros(p: usize, n_outputs: usize) -> Result<Self> {
        Ok(Self { n_outputs, cross: zero_matrix(p, n_outputs)?, squares: zeros(n_outputs)?, ..Self::default() })
    }

    /// A copy, where memory allows.
    pub(crate) fn try_clone(&self) -> Result<Self> {
        Ok(Self { cross: copied(&self.cross)?, squares: copied(&self.squares)?, ..*self })
    }

    /// Count a target row of weight `w`.
    pub(crate) fn count(&mut self, w: f64) {
        if w > 0.0 {
            self.n_rows = self.n_rows.saturating_add(1);
            self.log_weight += w.ln();
        }
    }

    /// Add the sums of another part of the data.
    pub(crate) fn add(&mut self, other: &Self) {
        self.cross.iter_mut().zip(&other.cross).for_each(|(b, o)| *b += o);
        self.squares.iter_mut().zip(&other.squares).for_each(|(s, o)| *s += o);
        self.n_rows = self.n_rows.saturating_add(other.n_rows);
        self.log_weight += other.log_weight;
    }

    /// Multiply all weights by `weight`: Σ ln(k w) = Σ ln w + n ln k. At weight 0 no row is left.
    pub(crate) fn scale(&mut self, weight: f64) {
        self.cross.iter_mut().chain(&mut self.squares).for_each(|s| *s *= weight);
        if weight == 0.0 {
            (self.n_rows, self.log_weight) = (0, 0.0);
        } else if weight != 1.0 {
            self.log_weight += self.n_rows as f64 * weight.ln();
        }
    }
}
