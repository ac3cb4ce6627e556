//! `rigidities._core`: the compiled core as Python sees it.
//!
//! Translation only: borrow arrays, detach from the interpreter, call `rigidities-core`, wrap the result. Checks of Python types
//! and all documentation are in the Python package; the arithmetic is in the core.

mod arrays;
mod covariance;
mod guarded;
mod hessian;
#[cfg_attr(not(target_os = "linux"), path = "unplaced.rs")]
mod muster;
mod raised;
mod state;
mod threads;

use pyo3::prelude::*;

/// Safe without the interpreter lock: every class is frozen, and what changes (`Covariance`) is behind a mutex.
#[pymodule(gil_used = false)]
mod _core {
    #[pymodule_export]
    use crate::arrays::reduce_rows;
    #[pymodule_export]
    use crate::covariance::Covariance;
    #[pymodule_export]
    use crate::hessian::Hessian;
    #[pymodule_export]
    use crate::threads::{get_num_threads, set_num_threads};

    use super::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
