//! The words that stand for a choice on either side of the border.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use rigidities_core::{Precision, Reduction};

/// Read the name of a precision.
pub fn to_precision(name: &str) -> PyResult<Precision> {
    match name {
        "float64" => Ok(Precision::Double),
        "float32" => Ok(Precision::Single),
        other => Err(PyValueError::new_err(format!("precision is {other:?}: expected \"float64\" or \"float32\""))),
    }
}

/// The name of a precision.
pub fn precision_name(precision: Precision) -> &'static str {
    match precision {
        Precision::Double => "float64",
        Precision::Single => "float32",
    }
}

/// Read the name of an accumulation: whether it keeps the triangular factor of the rows.
pub fn is_factor(name: &str) -> PyResult<bool> {
    match name {
        "sums" => Ok(false),
        "qr" => Ok(true),
        other => Err(PyValueError::new_err(format!("accumulation is {other:?}: expected \"sums\" or \"qr\""))),
    }
}

/// The name of an accumulation.
pub fn accumulation_name(is_factor: bool) -> &'static str {
    if is_factor { "qr" } else { "sums" }
}

/// Read the name of a reduction.
pub fn to_reduction(name: &str) -> PyResult<Reduction> {
    match name {
        "mean" => Ok(Reduction::Mean),
        "sum" => Ok(Reduction::Sum),
        other => Err(PyValueError::new_err(format!("reduction is {other:?}: expected \"mean\" or \"sum\""))),
    }
}
