//! The core's errors as Python's.

use pyo3::exceptions::{PyKeyboardInterrupt, PyMemoryError, PyValueError};
use pyo3::prelude::*;
use rigidities_core::{Error, Unremovable};

pyo3::import_exception!(numpy.linalg, LinAlgError);
pyo3::import_exception!(rigidities.exceptions, NotFittedError);
pyo3::import_exception!(rigidities.exceptions, NotPositiveDefiniteError);

/// Lets `?` cross the border from either side.
pub struct Raised(PyErr);

/// What a call from Python returns.
pub type Outcome<T> = Result<T, Raised>;

impl From<PyErr> for Raised {
    fn from(error: PyErr) -> Self {
        Self(error)
    }
}

impl From<Raised> for PyErr {
    fn from(raised: Raised) -> Self {
        raised.0
    }
}

impl From<Error> for Raised {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        Self(match error {
            Error::OutOfMemory { .. } => PyMemoryError::new_err(text),
            Error::Interrupted => PyKeyboardInterrupt::new_err(()),
            Error::NotConverged => LinAlgError::new_err(text),
            Error::NotFitted => NotFittedError::new_err(text),
            Error::NotPositiveDefinite { pivot, regularizer, .. }
            | Error::Unremovable(Unremovable::Pivot { pivot, regularizer, .. }) => {
                NotPositiveDefiniteError::new_err((text, pivot, regularizer))
            }
            _ => PyValueError::new_err(text),
        })
    }
}
