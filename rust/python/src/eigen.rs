//! `_core.eigenvectors`, `_core.tridiagonalise`: symmetric arrays, in place; `_core.singular_vectors`.

use numpy::{PyArray1, PyReadwriteArray2};
use pyo3::prelude::*;
use rigidities_core as core;

use crate::raised::Outcome;
use crate::threads::execute;

type Vector<'py> = Bound<'py, PyArray1<f64>>;

/// Multiplications of a decomposition of n² numbers: about n³.
fn work(numbers: &[f64]) -> f64 {
    (numbers.len() as f64).powf(1.5)
}

/// Rising eigenvalues. The array is overwritten: eigenvectors are the columns of an array in
/// Fortran order.
#[pyfunction]
pub fn eigenvectors<'py>(py: Python<'py>, mut a: PyReadwriteArray2<'py, f64>) -> PyResult<Vector<'py>> {
    let a = a.as_slice_mut()?;
    let values: Outcome<Vec<f64>> = py.detach(|| execute(work(a), |run| core::eigenvectors(a, run)));
    Ok(PyArray1::from_vec(py, values?))
}

/// Falling singular values of R = U diag(σ) Vᵀ. The array, in Fortran order, becomes V, and `b` Uᵀb.
#[pyfunction]
pub fn singular_vectors<'py>(
    py: Python<'py>,
    mut a: PyReadwriteArray2<'py, f64>,
    mut b: PyReadwriteArray2<'py, f64>,
) -> PyResult<Vector<'py>> {
    let (a, b) = (a.as_slice_mut()?, b.as_slice_mut()?);
    let values: Outcome<Vec<f64>> = py.detach(|| execute(10.0 * work(a), |run| core::singular_vectors(a, b, run)));
    Ok(PyArray1::from_vec(py, values?))
}

/// Diagonal and off-diagonal of T = QᵀAQ. The array is spoilt; `b`, in Fortran order, becomes Qᵀb.
#[pyfunction]
pub fn tridiagonalise<'py>(
    py: Python<'py>,
    mut a: PyReadwriteArray2<'py, f64>,
    mut b: PyReadwriteArray2<'py, f64>,
) -> PyResult<(Vector<'py>, Vector<'py>)> {
    let (a, b) = (a.as_slice_mut()?, b.as_slice_mut()?);
    let t: Outcome<core::Tridiagonal> = py.detach(|| execute(work(a), |run| core::tridiagonalise(a, b, run)));
    let t = t?;
    Ok((PyArray1::from_vec(py, t.diagonal), PyArray1::from_vec(py, t.beside)))
}
