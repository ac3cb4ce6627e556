//! What is summed beside C when targets are given.

/// What is summed beside C: b = Σ w f yᵀ, Σ w y², n, Σ ln w. Rows of weight 0 count nowhere.
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
    /// The sums of another part of the data on top.
    pub(crate) fn add(&mut self, other: &Self) {
        self.cross.iter_mut().zip(&other.cross).for_each(|(b, o)| *b += o);
        self.squares.iter_mut().zip(&other.squares).for_each(|(s, o)| *s += o);
        self.n_rows += other.n_rows;
        self.log_weight += other.log_weight;
    }

    /// All weights times `weight`: Σ ln(k w) = Σ ln w + n ln k; nothing is left at weight 0.
    pub(crate) fn scale(&mut self, weight: f64) {
        self.cross.iter_mut().chain(&mut self.squares).for_each(|s| *s *= weight);
        if weight == 0.0 {
            (self.n_rows, self.log_weight) = (0, 0.0);
        } else if weight != 1.0 {
            self.log_weight += self.n_rows as f64 * weight.ln();
        }
    }
}
