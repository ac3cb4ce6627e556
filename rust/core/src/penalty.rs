//! The penalty Λ and its strength λ: a number, or the smallest at which a factorisation is guaranteed.

use std::fmt;

use faer::MatMut;
use faer::diag::DiagMut;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::evd::{ComputeEigenvectors, self_adjoint_evd, self_adjoint_evd_scratch};
use ndarray::ArrayView2;

use crate::error::{Error, Result};
use crate::execution::Execution;
use crate::triangle::Square;

/// Unit roundoff of float64 sums.
const UNIT_ROUNDOFF: f64 = f64::EPSILON / 2.0;

/// Times the textbook bound on λ. Cholesky succeeds where λ_min(H) exceeds (p + 1) u trace(H) (Higham, Accuracy and Stability of
/// Numerical Algorithms, theorem 10.7); C itself carries rounding of the same order, so that twice the bound is taken.
const SAFETY: f64 = 2.0;

/// Entries of a symmetric penalty may differ across the diagonal by so much of the largest: what a product such as K_MM leaves.
const SYMMETRY_TOLERANCE: f64 = 1e-10;

/// Λ in H = C + λΛ.
pub enum Penalty {
    /// All features alike.
    Identity,
    /// One entry a feature; zeros leave a feature (an intercept) unpenalised.
    Diagonal(Vec<f64>),
    /// A symmetric positive semi-definite matrix, such as K_MM of a sparse kernel model.
    Matrix(Square),
}

impl Penalty {
    /// A diagonal penalty: finite, not negative.
    pub fn diagonal(values: Vec<f64>, n_features: usize) -> Result<Self> {
        if values.len() != n_features {
            return Err(Error::PenaltyShape { got: format!("({},)", values.len()), expected: n_features });
        }
        match values.iter().position(|d| !(d.is_finite() && *d >= 0.0)) {
            Some(i) => Err(Error::PenaltyEntry { row: i, column: i, value: values[i] }),
            None => Ok(Self::Diagonal(values)),
        }
    }

    /// A matrix, given by its entries: finite, symmetric to rounding (the mean of both triangles is taken), no negative diagonal.
    pub fn matrix(values: ArrayView2<'_, f64>, n_features: usize) -> Result<Self> {
        if values.dim() != (n_features, n_features) {
            return Err(Error::PenaltyShape { got: format!("{:?}", values.dim()), expected: n_features });
        }
        let mut square = Square::zeros(n_features)?;
        let mut a = square.as_mut();
        let mut largest = 0.0_f64;
        for (row, column) in (0..n_features).flat_map(|j| (0..n_features).map(move |i| (i, j))) {
            let value = values[[row, column]];
            if !value.is_finite() || (row == column && value < 0.0) {
                return Err(Error::PenaltyEntry { row, column, value });
            }
            largest = largest.max(value.abs());
            a[(row, column)] = value;
        }
        for column in 0..n_features {
            for row in column + 1..n_features {
                let (lower, upper) = (a[(row, column)], a[(column, row)]);
                if (lower - upper).abs() > SYMMETRY_TOLERANCE * largest {
                    return Err(Error::PenaltyAsymmetric { row, column, lower, upper });
                }
                a[(row, column)] = 0.5 * lower + 0.5 * upper;
                a[(column, row)] = a[(row, column)];
            }
        }
        Ok(Self::Matrix(square))
    }

    /// Smallest and largest eigenvalue.
    fn spectrum(&self, run: &Execution) -> Result<(f64, f64)> {
        let values = match self {
            Self::Identity => return Ok((1.0, 1.0)),
            Self::Diagonal(values) => values.clone(),
            Self::Matrix(matrix) => eigenvalues(matrix, run)?,
        };
        let smallest = values.iter().copied().fold(f64::INFINITY, f64::min);
        let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Ok((smallest, largest))
    }

    /// lower(C) += λ(Λ + jitter·I)
    pub(crate) fn add_to(&self, mut c: MatMut<'_, f64>, choice: &Choice) {
        let p = c.nrows();
        let lambda = choice.regularizer;
        match self {
            Self::Identity => (0..p).for_each(|j| c[(j, j)] += lambda),
            Self::Diagonal(values) => values.iter().enumerate().for_each(|(j, d)| c[(j, j)] += lambda * d),
            Self::Matrix(matrix) => {
                for j in 0..p {
                    let column = matrix.lower_column(j);
                    column.iter().enumerate().for_each(|(i, value)| c[(j + i, j)] += lambda * value);
                }
            }
        }
        if choice.jitter > 0.0 {
            (0..p).for_each(|j| c[(j, j)] += lambda * choice.jitter);
        }
    }
}

/// Eigenvalues of a symmetric matrix.
fn eigenvalues(matrix: &Square, run: &Execution) -> Result<Vec<f64>> {
    let n = matrix.n();
    let mut values = vec![0.0; n];
    let scratch = self_adjoint_evd_scratch::<f64>(n, ComputeEigenvectors::No, run.par, Default::default());
    let mut memory = MemBuffer::new(scratch);
    let diagonal = DiagMut::from_slice_mut(&mut values);
    self_adjoint_evd(matrix.as_ref(), diagonal, None, run.par, MemStack::new(&mut memory), Default::default())
        .map_err(|_| Error::Eigenvalues)?;
    Ok(values)
}

/// What the caller asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Regularizer {
    /// λ as given, unsquared.
    Value(f64),
    /// The smallest λ at which rounding cannot make the factorisation fail.
    Guaranteed,
}

/// Why λ has the value it has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reason {
    /// The caller said so.
    Given,
    /// λ·λ_min(Λ) = 2 (p + 1) u trace(C).
    Guaranteed,
    /// Λ is singular: λ·λ_max(Λ) has that value, and so has the λ·jitter on every diagonal entry.
    GuaranteedWithJitter,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Given => "given",
            Self::Guaranteed => {
                "guaranteed: the smallest at which rounding cannot make the factorisation fail"
            }
            Self::GuaranteedWithJitter => {
                "guaranteed: the smallest at which rounding cannot make the factorisation fail; the penalty is singular, so \
                 that as much as its largest eigenvalue adds was also added to every diagonal entry of H"
            }
        })
    }
}

/// λ, the jitter that goes on Λ (0 unless Λ is singular), and why.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Choice {
    pub regularizer: f64,
    pub jitter: f64,
    pub reason: Reason,
}

impl Regularizer {
    /// Settle λ for sums of this trace. At once, never by trial.
    pub(crate) fn settle(self, penalty: &Penalty, trace: f64, n_features: usize, run: &Execution) -> Result<Choice> {
        let value = match self {
            Self::Value(value) if value.is_finite() && value >= 0.0 => value,
            Self::Value(value) => return Err(Error::Regularizer(value)),
            Self::Guaranteed => return guaranteed(penalty, trace, n_features, run),
        };
        Ok(Choice { regularizer: value, jitter: 0.0, reason: Reason::Given })
    }
}

fn guaranteed(penalty: &Penalty, trace: f64, n_features: usize, run: &Execution) -> Result<Choice> {
    if trace == 0.0 {
        return Err(Error::NothingSummed);
    }
    let (smallest, largest) = penalty.spectrum(run)?;
    let rounding = n_features as f64 * f64::EPSILON * largest; // of the eigenvalues themselves
    if largest <= 0.0 || smallest < -rounding {
        return Err(Error::PenaltyIndefinite { smallest, largest });
    }
    let shift = SAFETY * (n_features as f64 + 1.0) * UNIT_ROUNDOFF * trace;
    Ok(if smallest > rounding {
        Choice { regularizer: shift / smallest, jitter: 0.0, reason: Reason::Guaranteed }
    } else {
        Choice { regularizer: shift / largest, jitter: largest, reason: Reason::GuaranteedWithJitter }
    })
}
