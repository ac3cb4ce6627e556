//! What a block of rows says about a model: ln|I + W Wᵀ| of its whitened rows W.

use faer::linalg::matmul::matmul;
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::{Accum, MatMut, MatRef, Par};

use crate::absorb::{Columns, Triangle};
use crate::cholesky;
use crate::error::Result;
use crate::execution::Execution;
use crate::stage::ROWS;
use crate::triangle::Square;

/// Variances up to which I + K is formed and factorised: rounding then changes a pivot by 1e-16 ·
/// 1e4, and ln|I + K| by 1e-12. Beyond, reflections leave K unformed.
const FORMED: f64 = 1e4;

/// T with T Tᵀ = I + A, and ln|I + A|.
pub(crate) struct Root {
    pub lower: Square,
    pub log_determinant: f64,
}

/// ln(1 + ‖w‖²), or ln|I + W Wᵀ| of some columns W, (p, n). The smaller of W Wᵀ and WᵀW is factorised:
/// both have the same determinant.
pub(crate) fn information(w: MatRef<'_, f64>, run: &Execution) -> Result<f64> {
    match w.ncols() {
        1 => Ok(w.squared_norm_l2().ln_1p()),
        n if n <= w.nrows() => Ok(root(w, run)?.log_determinant),
        _ => Ok(root(w.transpose(), run)?.log_determinant),
    }
}

/// The factor of I + WᵀW, for columns W, (p, n).
pub(crate) fn root(w: MatRef<'_, f64>, run: &Execution) -> Result<Root> {
    let variances = w.col_iter().map(|column| column.squared_norm_l2());
    if variances.fold(0.0, f64::max) > FORMED {
        return reflected(w, run);
    }
    let mut product = Square::zeros(w.ncols())?;
    let (lower, full) = (BlockStructure::TriangularLower, BlockStructure::Rectangular);
    let out = product.as_mut();
    triangular::matmul(out, lower, Accum::Replace, w.transpose(), full, w, full, 1.0, Par::Seq);
    run.check()?;
    match of_kernel(product, run)? {
        Some(root) => Ok(root),
        None => reflected(w, run),
    }
}

/// The factor of I + K for the lower triangle of K; nothing where rounding has made it indefinite.
pub(crate) fn of_kernel(mut kernel: Square, run: &Execution) -> Result<Option<Root>> {
    let mut variances = kernel.diagonal();
    let with_unit: Vec<f64> = variances.iter().map(|v| 1.0 + v).collect();
    kernel.set_diagonal(&with_unit);
    if cholesky::factorize(kernel.as_mut(), run)?.is_err() {
        return Ok(None);
    }
    // Pivots are 1 + e with e = K_jj − Σ T_jk²: ln(1 + e) keeps the digits of a small e
    let n = kernel.n();
    for k in 0..n {
        let column = &kernel.lower_column(k)[1..];
        variances[k + 1..].iter_mut().zip(column).for_each(|(e, t)| *e -= t * t);
    }
    let log_determinant = variances.iter().map(|e| e.max(0.0).ln_1p()).sum();
    Ok(Some(Root { lower: kernel, log_determinant }))
}

/// The same by reflections of [I; W], which leave I + WᵀW unformed.
fn reflected(w: MatRef<'_, f64>, run: &Execution) -> Result<Root> {
    let n = w.ncols();
    let mut lower = Square::zeros(n)?;
    lower.set_diagonal(&vec![1.0; n]);
    let mut columns = Columns::new(n, 0)?;
    for start in (0..w.nrows()).step_by(ROWS) {
        let rows = ROWS.min(w.nrows() - start);
        columns.next_mut(rows).0.copy_from(w.subrows(start, rows));
        let z = MatMut::from_column_major_slice_mut(&mut [], n, 0);
        columns.absorb(Triangle { lower: lower.as_mut(), z }, &mut [], 0, run);
        run.check()?;
    }
    let log_determinant = lower.diagonal().iter().map(|t| 2.0 * t.abs().ln()).sum();
    Ok(Root { lower, log_determinant })
}

/// C ← A B of small matrices, on one thread.
pub(crate) fn multiply(c: MatMut<'_, f64>, a: MatRef<'_, f64>, b: MatRef<'_, f64>) {
    matmul(c, Accum::Replace, a, b, 1.0, Par::Seq);
}
