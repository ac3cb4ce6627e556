//! H = L Lᵀ: right-looking, blocked, in the lower triangle, on faer's kernels.
//!
//! A step takes a panel of columns that is finished, L_·k, and subtracts its product from what is
//! left: A ← A − L_·k L_·kᵀ. That is nearly all of the work, and runs on all threads. The next
//! panel is updated first, and finished (its diagonal block factorised, the rows below it solved
//! for) while the rest is still being subtracted, so that no thread waits for the part that one
//! does alone.

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt::factor::{cholesky_in_place, cholesky_in_place_scratch};
use faer::{Mat, MatMut, Par};

use crate::error::Result;
use crate::execution::Execution;
use crate::slab::Slab;
use crate::tiles::{self, TILE};

/// Columns of a panel: as many as a tile has. Deep enough for the product's peak, and what one core
/// does alone (192³/3 operations a block, 90 µs) hides behind the product.
const BLOCK: usize = TILE;

/// A pivot that is not positive and finite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Pivot {
    pub index: usize,
    pub value: f64,
}

/// Whether a factorisation, or a part of it, went well; where not, at which pivot it ended.
type Outcome = std::result::Result<(), Pivot>;

/// Replace the lower triangle of `a` by L. `Ok(Err(pivot))` where it is not positive definite; `a`
/// is then spoilt, as it is after a stop.
pub(crate) fn factorize(mut a: MatMut<'_, f64>, run: &Execution) -> Result<Outcome> {
    let p = a.nrows();
    let width = p.saturating_sub(BLOCK).max(1);
    let (mut panel, mut next) = (Slab::unset(BLOCK, width)?, Slab::unset(BLOCK, width)?);
    let first = finish_panel(a.as_mut().subcols_mut(0, BLOCK.min(p)), &mut panel, run);
    if let Err(pivot) = first {
        return Ok(Err(pivot));
    }
    for start in (BLOCK..p).step_by(BLOCK) {
        run.check()?;
        let rest = a.as_mut().submatrix_mut(start, start, p - start, p - start);
        let done = eliminate(rest, &panel, &mut next, run);
        if let Err(pivot) = done {
            return Ok(Err(Pivot { index: start + pivot.index, ..pivot }));
        }
        std::mem::swap(&mut panel, &mut next);
    }
    run.check()?;
    Ok(Ok(()))
}

/// Subtract the product of the finished panel, and finish the next one.
fn eliminate(rest: MatMut<'_, f64>, panel: &Slab, next: &mut Slab, run: &Execution) -> Outcome {
    let n = rest.nrows();
    let size = BLOCK.min(n);
    let rows = panel.rows(BLOCK);
    let (mut left, right) = rest.split_at_col_mut(size);
    let below = right.subrows_mut(size, n - size);
    let mut outcome = Ok(());
    let ahead = || {
        let (head, tail) = left.as_mut().split_at_row_mut(size);
        tiles::gram_from(head, &rows, 0, -1.0, run);
        tiles::rectangle_from(tail, (&rows, size), (&rows, 0), -1.0, run);
        outcome = finish_panel(left, next, run);
    };
    tiles::join(run, ahead, || tiles::gram_from(below, &rows, size, -1.0, run));
    outcome
}

/// Factorise the diagonal block of a panel, solve for the rows below it, and keep a copy of these
/// for the products.
fn finish_panel(panel: MatMut<'_, f64>, copy: &mut Slab, run: &Execution) -> Outcome {
    let size = panel.ncols();
    let (mut head, mut tail) = panel.split_at_row_mut(size);
    factorize_block(head.as_mut())?;
    let n = tail.nrows();
    tiles::solve_lower(head.as_ref(), tail.as_mut().transpose_mut(), run);
    let tail = tail.as_ref();
    for (start, mut piece) in copy.pieces_mut(0..size) {
        if start >= n {
            break;
        }
        let width = TILE.min(n - start);
        for (k, row) in piece.rows_mut().enumerate() {
            if let Some(column) = tail.col(k).try_as_col_major() {
                row[..width].copy_from_slice(&column.as_slice()[start..start + width]);
            }
        }
    }
    Ok(())
}

/// Factorise a block that one core does fastest alone. In a copy: faer's kernel also writes above
/// the diagonal, where C may be kept.
fn factorize_block(mut block: MatMut<'_, f64>) -> Outcome {
    let mut copy = block.as_ref().to_owned();
    let scratch = cholesky_in_place_scratch::<f64>(copy.nrows(), Par::Seq, Default::default());
    let mut memory = MemBuffer::new(scratch);
    let stack = MemStack::new(&mut memory);
    let done = cholesky_in_place(copy.as_mut(), Default::default(), Par::Seq, stack, Default::default());
    let sound = |j: usize| copy[(j, j)].is_finite() && copy[(j, j)] > 0.0;
    if done.is_err() || !(0..copy.nrows()).all(sound) {
        return Err(failing_pivot(block.to_owned()));
    }
    block.copy_from_triangular_lower(copy);
    Ok(())
}

/// The first pivot that is not positive, by the textbook's loop: what the kernel's failure does not
/// tell.
fn failing_pivot(mut a: Mat<f64>) -> Pivot {
    let n = a.nrows();
    for j in 0..n {
        let value = a[(j, j)] - (0..j).map(|k| a[(j, k)] * a[(j, k)]).sum::<f64>();
        // the two loops round differently: at the last pivot the kernel has failed even if this one
        // has not
        if !(value > 0.0 && value.is_finite()) || j + 1 == n {
            return Pivot { index: j, value };
        }
        a[(j, j)] = value.sqrt();
        for i in j + 1..n {
            let dot = (0..j).map(|k| a[(i, k)] * a[(j, k)]).sum::<f64>();
            a[(i, j)] = (a[(i, j)] - dot) / a[(j, j)];
        }
    }
    Pivot { index: 0, value: f64::NAN }
}
