//! R = U diag(σ) Vᵀ of a square array, by faer: what a path over λ takes where R is kept and not C.
//!
//! Singular values are known to u‖R‖, where the square roots of eigenvalues of RᵀR are known to
//! √u‖R‖. One thread, and a stop is answered at the end: faer's kernel cannot be stopped.

use faer::diag::DiagMut;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::matmul::matmul;
use faer::linalg::svd::{ComputeSvdVectors, svd, svd_scratch};
use faer::{Accum, ColMut, MatMut, MatRef, Par};

use crate::error::{Error, Result};
use crate::execution::Execution;
use crate::pages::{copied, require, zero_matrix, zeros};

/// Falling singular values of an array of n², which is overwritten by V; and B ← UᵀB for B of n rows,
/// column by column.
pub fn singular_vectors(a: &mut [f64], b: &mut [f64], run: &Execution) -> Result<Vec<f64>> {
    let n = a.len().isqrt();
    if n * n != a.len() {
        return Err(Error::Length { what: "the array", got: a.len(), expected: n * n, of: "entries of a square" });
    }
    if !b.len().is_multiple_of(n.max(1)) {
        return Err(Error::RightHandSide { got: b.len(), expected: n });
    }
    for (what, values) in [("the array", &*a), ("B", &*b)] {
        if let Some(i) = values.iter().position(|x| !x.is_finite()) {
            return Err(Error::NonFinite { what, row: i % n, column: i / n, value: values[i] });
        }
    }
    run.check()?;
    let (mut values, mut u) = (zeros(n)?, zero_matrix(n, n)?);
    let copy = copied(a)?;
    let full = ComputeSvdVectors::Full;
    let scratch = svd_scratch::<f64>(n, n, full, full, Par::Seq, Default::default());
    require(scratch.size_bytes())?;
    let mut memory = MemBuffer::try_new(scratch).map_err(|_| Error::OutOfMemory { bytes: scratch.size_bytes() })?;
    svd(
        MatRef::from_column_major_slice(&copy, n, n),
        DiagMut::from_slice_mut(&mut values),
        Some(MatMut::from_column_major_slice_mut(&mut u, n, n)),
        Some(MatMut::from_column_major_slice_mut(a, n, n)),
        Par::Seq,
        MemStack::new(&mut memory),
        Default::default(),
    )
    .map_err(|_| Error::NotConverged)?;
    run.check()?;
    let u = MatRef::from_column_major_slice(&u, n, n);
    for column in b.chunks_mut(n.max(1)) {
        let copy = copied(column)?;
        let out = ColMut::from_slice_mut(column).as_mat_mut();
        matmul(out, Accum::Replace, u.transpose(), MatRef::from_column_major_slice(&copy, n, 1), 1.0, Par::Seq);
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn vectors_diagonalise_a_graded_triangle() -> Result<()> {
        for n in [0, 1, 2, 33, 150] {
            let entry = |i: usize, j: usize| if i > j { 0.0 } else { ((i * 7 + j * 3) % 11) as f64 - 5.5 };
            let scaled =
                |k: usize| entry(k % n.max(1), k / n.max(1)) * 10.0_f64.powf(-14.0 * (k / n.max(1)) as f64 / n as f64);
            let a: Vec<f64> = (0..n * n).map(scaled).collect();
            let (mut v, mut b) = (a.clone(), a.clone());
            let values = singular_vectors(&mut v, &mut b, &Execution::sequential())?;
            let (v, b) = (MatRef::from_column_major_slice(&v, n, n), MatRef::from_column_major_slice(&b, n, n));
            let diagonal = b * v; // UᵀRV
            let largest = values.first().copied().unwrap_or(0.0);
            for (i, j) in (0..n).flat_map(|i| (0..n).map(move |j| (i, j))) {
                let expected = if i == j { values[i] } else { 0.0 };
                assert!((diagonal[(i, j)] - expected).abs() <= 1e-14 * n as f64 * largest);
            }
            assert!(values.is_sorted_by(|a, b| a >= b));
        }
        Ok(())
    }

    #[test]
    fn odd_input_is_refused() {
        let (run, stop) = (Execution::sequential(), AtomicBool::new(true));
        assert!(singular_vectors(&mut [1.0; 3], &mut [], &run).is_err());
        assert!(singular_vectors(&mut [1.0; 4], &mut [1.0], &run).is_err());
        assert!(singular_vectors(&mut [1.0, 2.0, f64::NAN, 0.0], &mut [], &run).is_err());
        assert_eq!(singular_vectors(&mut [1.0; 4], &mut [], &Execution::new(false, &stop)), Err(Error::Interrupted));
    }
}
