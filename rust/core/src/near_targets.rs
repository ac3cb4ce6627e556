//! What a candidate leaves of the variances of targets, where it nearly determines one.
//!
//! The difference v − qᵀ(I + K)⁻¹q then has no digits left. With w the whitened rows of the candidate
//! and x = (I + K)⁻¹q
//!
//! > v' = ‖y − wᵀx‖² + ‖x‖²
//!
//! is the same, a sum of squares: the least one over x, so that an error of x counts by its square.

use faer::linalg::triangular_solve::{solve_lower_triangular_in_place, solve_upper_triangular_in_place};
use faer::{Mat, Par};

use crate::error::Result;
use crate::execution::Execution;
use crate::information::{multiply, root};
use crate::panel::Panel;
use crate::pool::Pool;
use crate::posterior::Posterior;

/// v' of each target once a candidate is picked; `targets`: L⁻¹y, whitened by the picks so far.
pub(crate) fn variances_after(
    pool: &Pool<'_>,
    candidate: usize,
    posterior: &Posterior,
    targets: &Panel,
    run: &Execution,
) -> Result<Vec<f64>> {
    let (rows, m) = (pool.rows_of(candidate), targets.n_rows());
    let r = rows.len();
    let mut whitened = Panel::unset(r, pool.width())?;
    pool.gather(rows, &mut whitened);
    posterior.whiten(whitened.columns_mut(r), run);
    run.check()?;
    let (w, y) = (whitened.columns(r), targets.columns(m));
    let root = root(w, run)?;
    let mut x = Mat::zeros(r, m);
    multiply(x.as_mut(), w.transpose(), y);
    solve_lower_triangular_in_place(root.lower.as_ref(), x.as_mut(), Par::Seq);
    solve_upper_triangular_in_place(root.lower.as_ref().transpose(), x.as_mut(), Par::Seq);
    let mut left = Mat::zeros(pool.width(), m);
    multiply(left.as_mut(), w, x.as_ref());
    left -= y;
    Ok((0..m).map(|t| left.col(t).squared_norm_l2() + x.col(t).squared_norm_l2()).collect())
}
