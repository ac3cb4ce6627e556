//! State as a dictionary of numbers and vectors, for files and pickles.

use numpy::{PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use rigidities_core::Moments;

use crate::words::accumulation_name;

/// What only a factor of the rows has.
const UNEXPLAINED: &str = "unexplained";

/// One number of a state.
pub fn scalar<'py, T: for<'a> FromPyObject<'a, 'py, Error = PyErr>>(
    state: &Bound<'py, PyDict>,
    name: &str,
) -> PyResult<T> {
    state.as_any().get_item(name)?.extract()
}

/// One vector of a state.
pub fn vector(state: &Bound<'_, PyDict>, name: &str) -> PyResult<Vec<f64>> {
    Ok(state.as_any().get_item(name)?.extract::<PyReadonlyArray1<'_, f64>>()?.as_array().to_vec())
}

/// What is summed beside C.
pub fn moments_to_dict(py: Python<'_>, moments: Moments) -> PyResult<Bound<'_, PyDict>> {
    let state = PyDict::new(py);
    state.set_item("n_rows", moments.n_rows)?;
    state.set_item("log_weight", moments.log_weight)?;
    state.set_item("cross", PyArray1::from_vec(py, moments.cross))?;
    state.set_item("squares", PyArray1::from_vec(py, moments.squares))?;
    if let Some(unexplained) = moments.unexplained {
        state.set_item("accumulation", accumulation_name(true))?;
        state.set_item(UNEXPLAINED, PyArray1::from_vec(py, unexplained))?;
    }
    Ok(state)
}

/// The same, back.
pub fn moments_of_dict(state: &Bound<'_, PyDict>) -> PyResult<Moments> {
    let squares = vector(state, "squares")?;
    Ok(Moments {
        n_outputs: squares.len(),
        cross: vector(state, "cross")?,
        squares,
        n_rows: scalar(state, "n_rows")?,
        log_weight: scalar(state, "log_weight")?,
        unexplained: state.contains(UNEXPLAINED)?.then(|| vector(state, UNEXPLAINED)).transpose()?,
    })
}
