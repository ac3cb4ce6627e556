//! How well the factor determines its answers: reciprocal condition and effective dimension.

use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::{Accum, MatMut, MatRef, Par};

use crate::error::Result;
use crate::execution::Execution;
use crate::hessian::{Hessian, SOLVE_ROWS};
use crate::panel::Panel;
use crate::penalty::{Form, Matrix};
use crate::real::squared_norm;
use crate::tiles;

/// Steps of the norm estimate; it settles after two or three.
const MAX_STEPS: usize = 5;

impl Hessian {
    /// 1 / (‖H‖₁ ‖H⁻¹‖₁), both norms estimated from the factor in O(p²) (Higham, ACM TOMS 14 (1988)
    /// 381, as in LAPACK's dpocon): never smaller than the true value, and seldom more than three
    /// times larger.
    pub fn rcond(&self, run: &Execution) -> Result<f64> {
        let p = self.n_features();
        let norm = norm1_estimate(p, |x| self.multiply(x));
        let inverse = norm1_estimate(p, |x| {
            let mut x = MatMut::from_column_major_slice_mut(x, p, 1);
            self.forward_substitute(x.as_mut(), run);
            self.back_substitute(x, run);
        });
        run.check()?;
        Ok(1.0 / (norm * inverse))
    }

    /// ‖H‖₁, estimated: a lower bound, mostly sharp.
    pub fn norm(&self, run: &Execution) -> Result<f64> {
        run.check()?;
        Ok(norm1_estimate(self.n_features(), |x| self.multiply(x)))
    }

    /// x ← H x = L (Lᵀ x), on one thread: memory is the limit, and the sums must not be split.
    fn multiply(&self, x: &mut [f64]) {
        let (p, l) = (self.n_features(), self.lower());
        let (lower, upper, full) =
            (BlockStructure::TriangularLower, BlockStructure::TriangularUpper, BlockStructure::Rectangular);
        let mut half = vec![0.0; p];
        let y = MatMut::from_column_major_slice_mut(&mut half, p, 1);
        let column = MatRef::from_column_major_slice(&*x, p, 1);
        triangular::matmul(y, full, Accum::Replace, l.transpose(), upper, column, full, 1.0, Par::Seq);
        let y = MatRef::from_column_major_slice(&half, p, 1);
        let out = MatMut::from_column_major_slice_mut(x, p, 1);
        triangular::matmul(out, full, Accum::Replace, l, lower, y, full, 1.0, Par::Seq);
    }

    /// tr(C H⁻¹) = p − λ tr(ΛH⁻¹): how many features the data determine. Its error is about p·eps,
    /// since C itself is gone.
    pub fn effective_dimension(&self, run: &Execution) -> Result<f64> {
        let p = self.n_features() as f64;
        let lambda = self.regularizer();
        if lambda == 0.0 {
            return Ok(p);
        }
        let mut trace = 0.0;
        for start in (0..self.n_features()).step_by(SOLVE_ROWS) {
            run.check()?;
            trace += self.penalty_trace(start, run)?;
        }
        Ok((p - lambda * trace).max(0.0))
    }

    /// The part of tr((Λ + jitter·I) H⁻¹) that some columns of H⁻¹ contribute, the first of them
    /// `start`.
    fn penalty_trace(&self, start: usize, run: &Execution) -> Result<f64> {
        let p = self.n_features();
        let columns = start..(start + SOLVE_ROWS).min(p);
        let n = p - start; // rows above are zero: L is lower triangular
        let mut block = Panel::zeros(columns.len(), n)?;
        (0..columns.len()).for_each(|j| block.row_mut(j)[j] = 1.0);
        let tail = self.lower().submatrix(start, start, n, n);
        tiles::solve_lower(tail, block.columns_mut(columns.len()), run);
        let diagonal = |weight: &dyn Fn(usize) -> f64| {
            block.rows(0..columns.len()).zip(columns.clone()).map(|(z, j)| weight(j) * squared_norm(z)).sum()
        };
        let jitter = self.choice.jitter;
        Ok(match self.penalty.form() {
            Form::Identity => diagonal(&|_| 1.0 + jitter),
            Form::Diagonal(values) => diagonal(&|j| values[j] + jitter),
            Form::Matrix(Matrix { values, .. }) => {
                let mut inverse = Panel::zeros(columns.len(), p)?;
                (0..columns.len()).for_each(|j| inverse.row_mut(j)[start..].copy_from_slice(block.row(j)));
                self.back_substitute(inverse.columns_mut(columns.len()), run);
                let product = |(x, j): (&[f64], usize)| {
                    x.iter().zip(values.column(j)).map(|(x, a)| x * a).sum::<f64>() + jitter * x[j]
                };
                inverse.rows(0..columns.len()).zip(columns.clone()).map(product).sum()
            }
        })
    }
}

/// A lower bound of ‖A‖₁ for symmetric A, mostly sharp, from a few products x ← A x.
fn norm1_estimate(n: usize, mut apply: impl FnMut(&mut [f64])) -> f64 {
    let one_norm = |x: &[f64]| x.iter().map(|x| x.abs()).sum::<f64>();
    let mut x = vec![1.0 / n as f64; n];
    apply(&mut x);
    let mut estimate = one_norm(&x);
    for _ in 0..MAX_STEPS {
        let mut gradient: Vec<f64> = x.iter().map(|x| 1.0_f64.copysign(*x)).collect();
        apply(&mut gradient);
        let steepest = (0..n).fold(0, |best, j| if gradient[j].abs() > gradient[best].abs() { j } else { best });
        x = vec![0.0; n];
        x[steepest] = 1.0;
        apply(&mut x);
        let next = one_norm(&x);
        if next <= estimate {
            break;
        }
        estimate = next;
    }
    // a vector of alternating signs finds norms that smooth starts miss
    let alternating = |j: usize| 1.0 + j as f64 / (n.max(2) - 1) as f64;
    let mut x: Vec<f64> = (0..n).map(|j| if j % 2 == 0 { alternating(j) } else { -alternating(j) }).collect();
    apply(&mut x);
    estimate.max(2.0 * one_norm(&x) / (3.0 * n as f64))
}
