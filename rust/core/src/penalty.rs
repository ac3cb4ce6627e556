//! The penalty Λ and its strength λ: a number, or the smallest at which a factorisation is guaranteed.

use faer::MatMut;
use ndarray::ArrayView2;

use crate::cholesky;
use crate::error::{Error, Result};
use crate::execution::Execution;
use crate::real::squared_norm;
use crate::tiles;
use crate::triangle::Square;

/// Entries of a symmetric penalty may differ across the diagonal by so much of the largest: what a product such as K_MM leaves.
const SYMMETRY_TOLERANCE: f64 = 1e-10;

/// Steps of a power iteration: (λ₂/λ₁)¹⁰⁰ is below 1 % unless two eigenvalues are within 5 %, and then either will do.
const POWER_STEPS: usize = 100;

/// Λ in H = C + λΛ.
pub enum Penalty {
    /// All features alike.
    Identity,
    /// One entry a feature; zeros leave a feature (an intercept) unpenalised.
    Diagonal(Vec<f64>),
    /// A symmetric positive semi-definite matrix, such as K_MM of a sparse kernel model.
    /// The second entry is the machine precision of the numbers that came in.
    Matrix(Square, f64),
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
    pub fn matrix(values: ArrayView2<'_, f64>, eps: f64, n_features: usize) -> Result<Self> {
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
                if (lower - upper).abs() > SYMMETRY_TOLERANCE.max(10.0 * eps) * largest {
                    return Err(Error::PenaltyAsymmetric { row, column, lower, upper });
                }
                a[(row, column)] = 0.5 * lower + 0.5 * upper;
                a[(column, row)] = a[(row, column)];
            }
        }
        Ok(Self::Matrix(square, eps))
    }

    /// Smallest and largest eigenvalue, the smallest 0 where it is not above rounding.
    pub(crate) fn extreme_eigenvalues(&self, run: &Execution) -> Result<(f64, f64)> {
        match self {
            Self::Identity => Ok((1.0, 1.0)),
            Self::Diagonal(values) => {
                let largest = values.iter().copied().fold(0.0, f64::max);
                Ok((values.iter().copied().fold(f64::INFINITY, f64::min), largest))
            }
            Self::Matrix(matrix, eps) => matrix_extremes(matrix, matrix.n() as f64 * eps, run),
        }
    }

    /// lower(C) += λ(Λ + jitter·I)
    pub(crate) fn add_to(&self, mut c: MatMut<'_, f64>, lambda: f64, jitter: f64) {
        let p = c.nrows();
        match self {
            Self::Identity => (0..p).for_each(|j| c[(j, j)] += lambda),
            Self::Diagonal(values) => values.iter().enumerate().for_each(|(j, d)| c[(j, j)] += lambda * d),
            Self::Matrix(matrix, _) => {
                for j in 0..p {
                    let column = matrix.lower_column(j);
                    column.iter().enumerate().for_each(|(i, value)| c[(j + i, j)] += lambda * value);
                }
            }
        }
        if jitter > 0.0 {
            (0..p).for_each(|j| c[(j, j)] += lambda * jitter);
        }
    }
}

/// Largest eigenvalue by powers of A, smallest by powers of A⁻¹: both from inside the spectrum, and close enough for a λ that has a
/// margin of two. A factorisation can be interrupted, and gives the same bits on any number of threads; an eigensolver's neither.
fn matrix_extremes(a: &Square, rounding: f64, run: &Execution) -> Result<(f64, f64)> {
    let largest = power_iteration(a.n(), |x| multiply(a, x));
    if largest == 0.0 {
        return Ok((0.0, 0.0));
    }
    let mut factor = a.try_clone()?;
    if cholesky::factorize(factor.as_mut(), run)?.is_ok() {
        let l = factor.as_ref();
        let inverse = power_iteration(a.n(), |x| {
            let mut x = MatMut::from_column_major_slice_mut(x, a.n(), 1);
            tiles::solve_lower(l, x.as_mut(), run);
            tiles::solve_lower_transposed(l, x, run);
        });
        let smallest = 1.0 / inverse;
        return Ok((if smallest > rounding * largest { smallest } else { 0.0 }, largest));
    }
    let mut shifted = a.try_clone()?;
    (0..a.n()).for_each(|j| shifted.as_mut()[(j, j)] += 2.0 * rounding * largest);
    match cholesky::factorize(shifted.as_mut(), run)? {
        Ok(()) => Ok((0.0, largest)),
        Err(pivot) => Err(Error::PenaltyIndefinite { pivot: pivot.index, value: pivot.value }),
    }
}

/// x ← A x for symmetric A.
fn multiply(a: &Square, x: &mut [f64]) {
    let product: Vec<f64> = (0..a.n()).map(|j| a.column(j).iter().zip(&*x).map(|(a, x)| a * x).sum()).collect();
    x.copy_from_slice(&product);
}

/// ‖A x‖ for the unit vector x that steps of x ← A x/‖A x‖ lead to: at most the largest eigenvalue, and mostly within a per cent of it.
fn power_iteration(n: usize, mut apply: impl FnMut(&mut [f64])) -> f64 {
    // no two entries alike, signs that follow no period: at right angles to no eigenvector that data would have
    let mut x: Vec<f64> = (0..n).map(|i| ((i * i) as f64 * 0.618 + 1.0).sin() + 0.1).collect();
    let mut norm = squared_norm(&x).sqrt();
    for _ in 0..POWER_STEPS {
        if norm == 0.0 {
            break;
        }
        x.iter_mut().for_each(|x| *x /= norm);
        apply(&mut x);
        norm = squared_norm(&x).sqrt();
    }
    norm
}
