//! `rigidities._core`: the compiled core as Python sees it.
//!
//! This crate only translates: it borrows arrays, detaches from the interpreter, calls
//! `rigidities-core` and wraps the result. Python types are checked in the Python package, which
//! also has the documentation; the arithmetic is in the core.

mod arrays;
mod covariance;
mod eigen;
mod guarded;
mod hessian;
#[cfg_attr(not(target_os = "linux"), path = "no_placement.rs")]
mod placement;
mod raised;
mod room;
mod selection;
mod state;
mod threads;
mod words;

use pyo3::prelude::*;
use pyo3::types::PyTuple;
use rigidities_core::{ROWS_IN_PLACE, Reason, SCALES};

use crate::threads::MAX_THREADS;

/// Safe without the interpreter lock: every class is frozen, and what changes is behind a mutex.
#[pymodule(gil_used = false)]
mod _core {
    #[pymodule_export]
    use crate::arrays::reduce_rows;
    #[pymodule_export]
    use crate::covariance::Covariance;
    #[pymodule_export]
    use crate::eigen::{eigenvectors, singular_vectors, tridiagonalise};
    #[pymodule_export]
    use crate::hessian::Hessian;
    #[pymodule_export]
    use crate::selection::Selection;
    #[pymodule_export]
    use crate::threads::{get_num_threads, set_num_threads};

    use super::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("REASONS", PyTuple::new(module.py(), Reason::ALL.map(Reason::name))?)?;
        crate::guarded::count_forks(module.py())?;
        module.add("MAX_THREADS", MAX_THREADS)?;
        module.add("ROWS_IN_PLACE", ROWS_IN_PLACE)?;
        module.add("SCALES", (*SCALES.start(), *SCALES.end()))?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
