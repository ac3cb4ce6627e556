//! H = L Lᵀ: right-looking, blocked, in the lower triangle, on faer's kernels.
//!
//! A step factorises a diagonal block, solves for the panel below it and subtracts the panel's product from what is left. Only the
//! last of these costs much, and it is a triangular matrix product that runs on all threads.

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt::factor::{cholesky_in_place, cholesky_in_place_scratch};
use faer::{Mat, MatMut, Par};

use crate::error::Result;
use crate::execution::Execution;
use crate::tiles;

/// Columns that a step eliminates. 128: deep enough for the product's peak, while the part that one core does alone (the diagonal
/// blocks, 128³/3 operations each) stays at 1.6 % at p = 1024. Two AVX2 cores: 62, 72, 72 Gflop/s at p = 1024, 2048, 4096 against
/// 60, 66, 71 with 256 and 66, 72, 69 with 64.
const BLOCK: usize = 128;

/// A pivot that is not positive and finite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Pivot {
    pub index: usize,
    pub value: f64,
}

/// Replace the lower triangle of `a` by L. `Ok(Err(pivot))` where it is not positive definite; `a` is then spoilt.
pub(crate) fn factorize(mut a: MatMut<'_, f64>, run: &Execution) -> Result<std::result::Result<(), Pivot>> {
    let p = a.nrows();
    for start in (0..p).step_by(BLOCK) {
        run.check()?;
        let size = BLOCK.min(p - start);
        let (mut head, _, mut panel, rest) =
            a.as_mut().submatrix_mut(start, start, p - start, p - start).split_at_mut(size, size);
        if let Err(pivot) = factorize_block(head.as_mut()) {
            return Ok(Err(Pivot { index: start + pivot.index, ..pivot }));
        }
        tiles::solve_lower(head.as_ref(), panel.as_mut().transpose_mut(), run);
        tiles::gram(rest, panel.as_ref(), -1.0, run);
    }
    Ok(Ok(()))
}

/// Factorise a block that one core does fastest alone. In a copy: faer's kernel also writes above the diagonal, where C may be kept.
fn factorize_block(mut block: MatMut<'_, f64>) -> std::result::Result<(), Pivot> {
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

/// The first pivot that is not positive, by the textbook's loop: what the kernel's failure does not tell.
fn failing_pivot(mut a: Mat<f64>) -> Pivot {
    let n = a.nrows();
    for j in 0..n {
        let value = a[(j, j)] - (0..j).map(|k| a[(j, k)] * a[(j, k)]).sum::<f64>();
        // the two loops round differently: at the last pivot the kernel has failed even if this one has not
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
