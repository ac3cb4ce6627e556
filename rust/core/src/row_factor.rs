//! The triangular factor of the rows in place of their sums: RᵀR = C, Rᵀz = b.
//!
//! With Q[R z] the QR decomposition of the weighted rows and targets √w[F Y], neither C nor b is
//! formed. So singular values are known to u‖R‖, and λ may be as small as u²‖C‖, where the sums end
//! at u‖C‖. H = C + λΛ is factorised by the same reflections: with Λ = MMᵀ the rows √λMᵀ are taken
//! up as data are, and what they leave of the targets is S = Σwy² − bᵀH⁻¹b, a sum of squares that
//! is not a difference (Golub, Numer. Math. 7 (1965) 206; square-root information filters: Bierman,
//! Factorization Methods for Discrete Sequential Estimation, 1977).
//!
//! Rᵀ is in the lower triangle of the array that would hold C; z and Σwy² − ‖z‖² are in `Moments`.

use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::{Accum, MatMut, MatRef, Par};

use crate::absorb::{Columns, Triangle};
use crate::cholesky;
use crate::error::{Error, Result};
use crate::execution::Execution;
use crate::moments::Moments;
use crate::pages::copied;
use crate::panel::Panel;
use crate::penalty::{Form, Penalty};
use crate::real::squared_norm;
use crate::regularizer::Choice;
use crate::stage::{ROWS, Stage};
use crate::tiles;
use crate::triangle::Square;

/// R and z of some rows, and the memory to take up more.
pub(crate) struct RowFactor<'a> {
    pub lower: &'a mut Square,
    pub moments: &'a mut Moments,
    pub columns: &'a mut Columns,
}

impl RowFactor<'_> {
    /// Take up the rows of a stage. After a stop all is spoilt, as in `Columns::absorb`.
    pub fn add_stage(&mut self, stage: &Stage, run: &Execution) {
        for start in (0..stage.len).step_by(ROWS) {
            let rows = start..stage.len.min(start + ROWS);
            let (b, y) = self.columns.next_mut(rows.len());
            stage.copy_rows(rows, b, y);
            self.absorb(0, run);
        }
    }

    /// Take up the rows of another triangle: [R; R'] has the factor of both parts of the data.
    pub fn add_factor(&mut self, other: &Square, theirs: &Moments, run: &Execution) {
        let p = other.n();
        let z = MatRef::from_column_major_slice(&theirs.cross, p, theirs.n_outputs);
        for start in (0..p).step_by(ROWS) {
            let n = ROWS.min(p - start);
            let (mut b, mut y) = self.columns.next_mut(n);
            copy_triangle(b.as_mut().subcols_mut(start, p - start), other, start, 1.0);
            y.copy_from(z.subrows(start, n));
            self.absorb(start, run);
        }
        add(&mut self.moments.unexplained, &theirs.unexplained);
    }

    /// Take up √λMᵀ with MMᵀ = Λ + jitter.
    pub fn add_penalty(&mut self, penalty: &Penalty, choice: Choice, run: &Execution) -> Result<()> {
        let (p, lambda, jitter) = (self.lower.n(), choice.regularizer, choice.jitter);
        match penalty.form() {
            _ if lambda == 0.0 => {}
            Form::Identity => self.add_diagonal(|_| (lambda * (1.0 + jitter)).sqrt(), run),
            Form::Diagonal(values) => self.add_diagonal(|j| (lambda * (values[j] + jitter)).sqrt(), run),
            Form::Matrix(matrix) => {
                let mut root = matrix.values.try_clone()?;
                (0..p).for_each(|j| root.as_mut()[(j, j)] += jitter);
                if cholesky::factorize(root.as_mut(), run)?.is_ok() {
                    self.add_triangle(&root, lambda.sqrt(), run);
                } else {
                    self.add_semidefinite(&matrix.values, (lambda, jitter), run)?;
                }
            }
        }
        run.check()
    }

    fn add_diagonal(&mut self, root: impl Fn(usize) -> f64, run: &Execution) {
        let p = self.lower.n();
        for start in (0..p).step_by(ROWS) {
            let n = ROWS.min(p - start);
            let (mut b, mut y) = self.columns.next_mut(n);
            b.as_mut().subcols_mut(start, p - start).fill(0.0);
            (0..n).for_each(|i| b[(i, start + i)] = root(start + i));
            y.fill(0.0);
            self.absorb(start, run);
        }
    }

    fn add_triangle(&mut self, lower: &Square, factor: f64, run: &Execution) {
        let p = lower.n();
        for start in (0..p).step_by(ROWS) {
            let (b, mut y) = self.columns.next_mut(ROWS.min(p - start));
            copy_triangle(b.subcols_mut(start, p - start), lower, start, factor);
            y.fill(0.0);
            self.absorb(start, run);
        }
    }

    /// Λ = U diag(d) Uᵀ where Cholesky's factorisation meets a pivot that rounding has made negative:
    /// M = U diag(√d), d ≥ 0.
    fn add_semidefinite(&mut self, matrix: &Square, (lambda, jitter): (f64, f64), run: &Execution) -> Result<()> {
        let p = matrix.n();
        let mut vectors = crate::pages::zero_matrix(p, p)?;
        vectors.chunks_mut(p).enumerate().for_each(|(j, out)| out.copy_from_slice(matrix.column(j)));
        let values = crate::eigen::eigenvectors(&mut vectors, run)?;
        let u = MatRef::from_column_major_slice(&vectors, p, p);
        for start in (0..p).step_by(ROWS) {
            let n = ROWS.min(p - start);
            let (mut b, mut y) = self.columns.next_mut(n);
            b.copy_from(u.subcols(start, n).transpose());
            for i in 0..n {
                let root = (lambda * (values[start + i].max(0.0) + jitter)).sqrt();
                b.as_mut().row_mut(i).iter_mut().for_each(|x| *x *= root);
            }
            y.fill(0.0);
            self.absorb(0, run);
        }
        Ok(())
    }

    fn absorb(&mut self, first: usize, run: &Execution) {
        let Moments { n_outputs, cross, unexplained, .. } = &mut *self.moments;
        let z = MatMut::from_column_major_slice_mut(cross, self.lower.n(), *n_outputs);
        let triangle = Triangle { lower: self.lower.as_mut(), z };
        self.columns.absorb(triangle, unexplained.as_deref_mut().unwrap_or_default(), first, run);
    }

    /// Turn R into the factor of H, Rᵀ = L with a positive diagonal. A pivot that is no larger than
    /// rounding of its column, √p·u of its norm, is an error as one that is zero.
    pub fn finish(&mut self, regularizer: f64) -> Result<()> {
        let p = self.lower.n();
        let mut norms = vec![0.0; p];
        for j in 0..p {
            let column = self.lower.lower_column(j);
            norms[j..].iter_mut().zip(column).for_each(|(norm, x)| *norm += x * x);
        }
        for j in 0..p {
            let pivot = self.lower.lower_column(j)[0];
            let sound = pivot * pivot > p as f64 * UNIT_SQUARED * norms[j]; // NaN is not
            if !sound {
                return Err(Error::NotPositiveDefinite { pivot: j, size: p, value: pivot * pivot, regularizer });
            }
            if pivot < 0.0 {
                self.lower.lower_column_mut(j).iter_mut().for_each(|x| *x = -*x);
                self.moments.cross.chunks_mut(p).for_each(|z| z[j] = -z[j]);
            }
        }
        Ok(())
    }
}

/// u², the unit roundoff of the C that a factor stands for.
pub(crate) const UNIT_SQUARED: f64 = 0.25 * f64::EPSILON * f64::EPSILON;

/// `factor` times the rows `start..` of the transpose of a lower triangle, from column `start` on.
fn copy_triangle(mut b: MatMut<'_, f64>, lower: &Square, start: usize, factor: f64) {
    let (n, rest) = (b.nrows(), b.ncols());
    for i in 0..n {
        let column = lower.lower_column(start + i);
        let mut row = b.as_mut().row_mut(i);
        row.as_mut().subcols_mut(0, i).fill(0.0);
        row.subcols_mut(i, rest - i).iter_mut().zip(column).for_each(|(out, x)| *out = factor * x);
    }
}

fn add(sums: &mut Option<Vec<f64>>, others: &Option<Vec<f64>>) {
    sums.iter_mut().flatten().zip(others.iter().flatten()).for_each(|(sum, other)| *sum += other);
}

/// trace(RᵀR)
pub(crate) fn squared_norm_of(lower: &Square) -> f64 {
    (0..lower.n()).map(|j| squared_norm(lower.lower_column(j))).sum()
}

/// b = Rᵀz, (p, k) column-major.
pub(crate) fn cross(lower: &Square, moments: &Moments) -> Result<Vec<f64>> {
    let (p, k) = (lower.n(), moments.n_outputs);
    let mut cross = copied(&moments.cross)?;
    let (triangle, full) = (BlockStructure::TriangularLower, BlockStructure::Rectangular);
    let z = MatRef::from_column_major_slice(&moments.cross, p, k);
    let b = MatMut::from_column_major_slice_mut(&mut cross, p, k);
    triangular::matmul(b, full, Accum::Replace, lower.as_ref(), triangle, z, full, 1.0, Par::Seq);
    Ok(cross)
}

/// lower(out) += RᵀR, some rows of R at a time.
pub(crate) fn add_product(lower: &Square, mut out: MatMut<'_, f64>, run: &Execution) -> Result<()> {
    let p = lower.n();
    for start in (0..p).step_by(ROWS) {
        let (n, rest) = (ROWS.min(p - start), p - start);
        let mut rows = Panel::zeros(n, rest)?;
        (0..n).for_each(|i| rows.row_mut(i)[i..].copy_from_slice(lower.lower_column(start + i)));
        tiles::gram(out.as_mut().submatrix_mut(start, start, rest, rest), &rows.matrix(0..n), 1.0, run);
    }
    run.check()
}
