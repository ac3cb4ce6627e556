//! Sums beside C: what a fit and its evidence need of the targets.

use crate::error::Result;
use crate::pages::{copied, zero_matrix, zeros};

/// b = Σ w f yᵀ, Σ w y², n, Σ ln w. Rows of weight 0 count nowhere.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Moments {
    /// Number of outputs; 0 where no targets were given.
    pub n_outputs: usize,
    /// b, shape (p, n_outputs), column-major. Where the triangular factor of the rows is kept, z with
    /// b = Rᵀz.
    pub cross: Vec<f64>,
    /// Σ w y² of each output.
    pub squares: Vec<f64>,
    /// Rows of positive weight.
    pub n_rows: usize,
    /// Σ ln w over them.
    pub log_weight: f64,
    /// Σ w y² − ‖z‖² of each output, what no weights explain, where the triangular factor of the rows
    /// is kept; `None` where C is summed.
    pub unexplained: Option<Vec<f64>>,
}

impl Moments {
    /// Empty sums for `p` features and `n_outputs` outputs.
    pub(crate) fn zeros(p: usize, n_outputs: usize) -> Result<Self> {
        Ok(Self { n_outputs, cross: zero_matrix(p, n_outputs)?, squares: zeros(n_outputs)?, ..Self::default() })
    }

    /// The same for a triangular factor.
    pub(crate) fn of_factor(p: usize, n_outputs: usize) -> Result<Self> {
        Ok(Self { unexplained: Some(zeros(n_outputs)?), ..Self::zeros(p, n_outputs)? })
    }

    /// What is left where rows come without targets: n and Σ ln w.
    pub(crate) fn without_targets(&self) -> Self {
        let unexplained = self.unexplained.as_ref().map(|_| vec![]);
        Self { n_rows: self.n_rows, log_weight: self.log_weight, unexplained, ..Self::default() }
    }

    /// A copy, where memory allows.
    pub(crate) fn try_clone(&self) -> Result<Self> {
        let unexplained = self.unexplained.as_deref().map(copied).transpose()?;
        Ok(Self { cross: copied(&self.cross)?, squares: copied(&self.squares)?, unexplained, ..*self })
    }

    /// The same sums, but for those that rows are added to one block at a time.
    pub(crate) fn with_parts_of(self, other: Self) -> Self {
        Self { cross: other.cross, unexplained: other.unexplained, ..self }
    }

    /// Count a target row of weight `w`.
    pub(crate) fn count(&mut self, w: f64) {
        if w > 0.0 {
            self.n_rows = self.n_rows.saturating_add(1);
            self.log_weight += w.ln();
        }
    }

    /// Add the sums of another part of the data; not z, which depends on R.
    pub(crate) fn add(&mut self, other: &Self) {
        if self.unexplained.is_none() {
            self.cross.iter_mut().zip(&other.cross).for_each(|(b, o)| *b += o);
        }
        self.squares.iter_mut().zip(&other.squares).for_each(|(s, o)| *s += o);
        self.n_rows = self.n_rows.saturating_add(other.n_rows);
        self.log_weight += other.log_weight;
    }

    /// Multiply all weights by `weight`: Σ ln(k w) = Σ ln w + n ln k. At weight 0 no row is left.
    pub(crate) fn scale(&mut self, weight: f64) {
        let of_cross = if self.unexplained.is_some() { weight.sqrt() } else { weight };
        self.cross.iter_mut().for_each(|b| *b *= of_cross);
        self.squares.iter_mut().chain(self.unexplained.iter_mut().flatten()).for_each(|s| *s *= weight);
        if weight == 0.0 {
            (self.n_rows, self.log_weight) = (0, 0.0);
        } else if weight != 1.0 {
            self.log_weight += self.n_rows as f64 * weight.ln();
        }
    }
}
