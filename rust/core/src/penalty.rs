//! The penalty Λ in H = C + λΛ: checked when it is made, added to C, and asked for its eigenvalues.

use faer::MatMut;
use ndarray::ArrayView2;

use crate::cholesky;
use crate::error::{Error, Result};
use crate::execution::Execution;
use crate::real::squared_norm;
use crate::tiles;
use crate::triangle::Square;

/// Entries of a symmetric penalty may differ across the diagonal by this much of the largest one:
/// the rounding of a product such as K_MM.
const SYMMETRY_TOLERANCE: f64 = 1e-10;

/// Steps of a power iteration: (λ₂/λ₁)¹⁰⁰ is below 1 % unless two eigenvalues are within 5 %, and
/// then either will do.
const POWER_STEPS: usize = 100;

/// Λ in H = C + λΛ, symmetric and positive semi-definite.
pub struct Penalty {
    form: Form,
    /// The part of the diagonal that a criterion added, see `with_jitter`.
    jitter: f64,
}

/// How Λ is stored.
pub(crate) enum Form {
    Identity,
    Diagonal(Vec<f64>),
    Matrix(Matrix),
}

/// A penalty with all its entries.
pub(crate) struct Matrix {
    /// Both triangles are set.
    pub values: Square,
    /// Machine precision of the numbers that were passed.
    pub eps: f64,
}

impl Penalty {
    /// All features alike.
    pub fn identity() -> Self {
        Form::Identity.into()
    }

    /// Λ_00
    pub(crate) fn first(&self) -> f64 {
        match &self.form {
            Form::Identity => 1.0,
            Form::Diagonal(values) => values[0],
            Form::Matrix(matrix) => matrix.values.column(0)[0],
        }
    }

    /// One entry a feature, finite and not negative. A zero leaves its feature (an intercept)
    /// unpenalised.
    pub fn diagonal(values: Vec<f64>) -> Result<Self> {
        match values.iter().position(|d| !(d.is_finite() && *d >= 0.0)) {
            Some(i) => Err(Error::PenaltyEntry { row: i, column: i, value: values[i] }),
            None => Ok(Form::Diagonal(values).into()),
        }
    }

    /// A matrix such as K_MM of a sparse kernel model: finite, its diagonal not negative, symmetric
    /// to rounding (the mean of both triangles is taken). `eps` is the machine precision of its
    /// numbers.
    pub fn matrix(values: ArrayView2<'_, f64>, eps: f64) -> Result<Self> {
        let (n, columns) = values.dim();
        if n != columns {
            return Err(Error::PenaltySquare { rows: n, columns });
        }
        let mut square = Square::zeros(n)?;
        let mut a = square.as_mut();
        let mut largest = 0.0_f64;
        for (row, column) in (0..n).flat_map(|j| (0..n).map(move |i| (i, j))) {
            let value = values[[row, column]];
            check_entry(row, column, value)?;
            largest = largest.max(value.abs());
            a[(row, column)] = value;
        }
        for column in 0..n {
            for row in column + 1..n {
                let (lower, upper) = (a[(row, column)], a[(column, row)]);
                if (lower - upper).abs() > SYMMETRY_TOLERANCE.max(10.0 * eps) * largest {
                    return Err(Error::PenaltyAsymmetric { row, column, lower, upper });
                }
                a[(row, column)] = 0.5 * lower + 0.5 * upper;
                a[(column, row)] = a[(row, column)];
            }
        }
        Self::of_matrix(square, eps)
    }

    /// A matrix of which the lower triangle is set: that of a snapshot.
    pub(crate) fn of_lower(mut values: Square, eps: f64) -> Result<Self> {
        for column in 0..values.n() {
            for (i, &value) in values.lower_column(column).iter().enumerate() {
                check_entry(column + i, column, value)?;
            }
        }
        values.back_up(&Execution::sequential());
        Self::of_matrix(values, eps)
    }

    fn of_matrix(values: Square, eps: f64) -> Result<Self> {
        if (0.0..1.0).contains(&eps) {
            Ok(Form::Matrix(Matrix { values, eps }).into())
        } else {
            Err(Error::PenaltyPrecision(eps))
        }
    }

    pub(crate) fn form(&self) -> &Form {
        &self.form
    }

    /// The part of the diagonal that a criterion added.
    pub(crate) fn jitter(&self) -> f64 {
        self.jitter
    }

    /// The same penalty, of which `jitter` is known to be a part: that of a snapshot.
    pub(crate) fn including(self, jitter: f64) -> Self {
        Self { jitter, ..self }
    }

    /// Refuse a penalty that is not for `p` features.
    pub(crate) fn require_features(&self, p: usize) -> Result<()> {
        let shape = match &self.form {
            Form::Diagonal(values) if values.len() != p => format!("({},)", values.len()),
            Form::Matrix(matrix) if matrix.values.n() != p => format!("({0}, {0})", matrix.values.n()),
            _ => return Ok(()),
        };
        Err(Error::PenaltyShape { got: shape, expected: p })
    }

    /// Λ with jitter on the diagonal of its `p` features, but for those whose row is zero: they
    /// stay unpenalised.
    pub(crate) fn with_jitter(self, jitter: f64, p: usize) -> Self {
        if jitter == 0.0 {
            return self;
        }
        let form = match self.form {
            Form::Identity => Form::Diagonal(vec![1.0 + jitter; p]),
            Form::Diagonal(mut values) => {
                values.iter_mut().filter(|d| **d > 0.0).for_each(|d| *d += jitter);
                Form::Diagonal(values)
            }
            Form::Matrix(mut matrix) => {
                for j in 0..p {
                    if matrix.values.column(j).iter().any(|x| *x != 0.0) {
                        matrix.values.as_mut()[(j, j)] += jitter;
                    }
                }
                Form::Matrix(matrix)
            }
        };
        Self { form, jitter }
    }

    /// Smallest and largest eigenvalue, the smallest 0 where it is not above rounding.
    pub(crate) fn extreme_eigenvalues(&self, run: &Execution) -> Result<(f64, f64)> {
        match &self.form {
            Form::Identity => Ok((1.0, 1.0)),
            Form::Diagonal(values) => {
                let largest = values.iter().copied().fold(0.0, f64::max);
                Ok((values.iter().copied().fold(f64::INFINITY, f64::min), largest))
            }
            Form::Matrix(Matrix { values, eps }) => matrix_extremes(values, values.n() as f64 * eps, run),
        }
    }

    /// lower(C) += λ(Λ + jitter·I)
    pub(crate) fn add_to(&self, mut c: MatMut<'_, f64>, lambda: f64, jitter: f64) {
        let p = c.nrows();
        match &self.form {
            Form::Identity => (0..p).for_each(|j| c[(j, j)] += lambda),
            Form::Diagonal(values) => values.iter().enumerate().for_each(|(j, d)| c[(j, j)] += lambda * d),
            Form::Matrix(matrix) => {
                for j in 0..p {
                    let column = matrix.values.lower_column(j);
                    column.iter().enumerate().for_each(|(i, value)| c[(j + i, j)] += lambda * value);
                }
            }
        }
        if jitter > 0.0 {
            (0..p).for_each(|j| c[(j, j)] += lambda * jitter);
        }
    }
}

impl From<Form> for Penalty {
    fn from(form: Form) -> Self {
        Self { form, jitter: 0.0 }
    }
}

fn check_entry(row: usize, column: usize, value: f64) -> Result<()> {
    if value.is_finite() && (row != column || value >= 0.0) {
        Ok(())
    } else {
        Err(Error::PenaltyEntry { row, column, value })
    }
}

/// Largest eigenvalue by powers of A, smallest by powers of A⁻¹. Both come out inside the spectrum,
/// close enough for a λ that has a margin of two. Unlike an eigensolver, a factorisation can be
/// interrupted and gives the same bits on any number of threads.
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

/// ‖A x‖ for the unit vector x that steps of x ← A x/‖A x‖ lead to: at most the largest eigenvalue,
/// and mostly within a per cent of it.
fn power_iteration(n: usize, mut apply: impl FnMut(&mut [f64])) -> f64 {
    // no two entries alike, signs without a period: orthogonal to no eigenvector that data would
    // have
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
