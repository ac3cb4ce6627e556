//! `_core.Covariance`: an accumulator behind a lock, so that no thread sees half an update.

use ndarray::ArrayView2;
use numpy::{PyArray1, PyArray2, PyArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use rigidities_core as core;
use rigidities_core::{Batch, Element, Execution, Penalty, Precision, Reason, Reduction, Regularizer, Snapshot};

use crate::arrays::{Addend, Extras, Grouping, PenaltyValues, empty_matrix, to_matrix, with_rows, with_view};
use crate::guarded::{Guard, Guarded};
use crate::hessian::Hessian;
use crate::raised::Outcome;
use crate::state::{moments_of_dict, moments_to_dict, scalar, vector};
use crate::threads::{change, execute};
use crate::words::{accumulation_name, is_factor, precision_name, to_precision};

/// Sums over the data.
#[pyclass(frozen, module = "rigidities._core")]
pub struct Covariance(Guarded<core::Covariance>);

/// Rᵀ, z and what z leaves of the squares of the targets.
type Factored<'py> = (Bound<'py, PyArray2<f64>>, Bound<'py, PyArray2<f64>>, Bound<'py, PyArray1<f64>>);

impl Covariance {
    /// Wait for the lock, and undo what an interrupted call has left.
    fn lock(&self) -> Outcome<Guard<'_, core::Covariance>> {
        let mut guard = self.0.lock()?;
        guard.settle(&Execution::sequential());
        Ok(guard)
    }

    fn update_rows<T: Element>(
        &self,
        view: ArrayView2<'_, T>,
        groups: (Option<&[i64]>, Reduction),
        (weights, targets): Extras<'_>,
    ) -> Outcome<()> {
        let guard = &mut *self.lock()?;
        with_rows(view, groups, |rows| {
            rows.require_features(guard.n_features())?; // before weights and targets, which it may explain
            let batch = Batch::new(*rows, weights, targets)?;
            let work = guard.work(view.nrows(), rows.n_targets());
            let prepare = |run: &Execution| guard.prepare(&batch, run).map(|prepared| (guard, prepared));
            change(work, prepare, |(guard, prepared), run| guard.commit(prepared, run))
        })
    }

    /// Both locks are taken in the order of their addresses. So two threads that merge crosswise
    /// cannot wait for each other.
    fn merge(&self, py: Python<'_>, other: &Self) -> Outcome<()> {
        if std::ptr::eq(self, other) {
            return self.merge(py, &self.copy(py)?);
        }
        py.detach(|| {
            let (mine, theirs);
            if std::ptr::from_ref(self) < std::ptr::from_ref(other) {
                mine = self.lock()?;
                theirs = other.lock()?;
            } else {
                theirs = other.lock()?;
                mine = self.lock()?;
            }
            let (mut mine, theirs) = (mine, &*theirs);
            let mine = &mut *mine;
            let merging = |run: &Execution| mine.prepare_merge(theirs, run).map(|prepared| (mine, prepared));
            change(merge_work(theirs), merging, |(mine, prepared), run| mine.commit_merge(prepared, run))
        })
    }
}

#[pymethods]
impl Covariance {
    #[new]
    fn new(n_features: usize, precision: &str, accumulation: &str) -> Outcome<Self> {
        let empty = match (is_factor(accumulation)?, to_precision(precision)?) {
            (false, precision) => core::Covariance::new(n_features, precision)?,
            (true, Precision::Double) => core::Covariance::of_factor(n_features)?,
            (true, Precision::Single) => {
                let text = "accumulation \"qr\" is in float64: expected precision \"float64\"";
                return Err(PyValueError::new_err(text).into());
            }
        };
        Ok(Self(Guarded::new(empty)))
    }

    #[getter]
    fn accumulation(&self, py: Python<'_>) -> Outcome<&'static str> {
        py.detach(|| Ok(accumulation_name(self.lock()?.is_factor())))
    }

    #[getter]
    fn precision(&self, py: Python<'_>) -> Outcome<&'static str> {
        py.detach(|| Ok(precision_name(self.lock()?.least_precision())))
    }

    /// Add a batch or other sums. After an operator, unlike after a call, Python looks for no
    /// signal: who finds KeyboardInterrupt raised by `sums += batch` finds nothing added.
    fn __iadd__(&self, addend: &Bound<'_, PyAny>) -> Outcome<()> {
        let py = addend.py();
        if let Ok(other) = addend.cast::<Self>() {
            return self.merge(py, other.get());
        }
        let (features, groups, reduction, weights, targets) = addend.extract::<Addend<'_>>()?;
        let grouping = Grouping::new(groups, &reduction)?;
        let groups = grouping.parts()?;
        let weights = weights.as_ref().map(|weights| weights.as_slice()).transpose().map_err(PyErr::from)?;
        let extras = (weights, targets.as_ref().map(|targets| targets.as_array()));
        with_view!(features, |view| py.detach(|| self.update_rows(view, groups, extras)))
    }

    fn scaled(&self, py: Python<'_>, weight: f64) -> Outcome<Self> {
        py.detach(|| {
            let guard = &*self.lock()?;
            let scaled = execute(square(guard.n_features()), |run| guard.scaled(weight, run))?;
            Ok(Self(Guarded::new(scaled)))
        })
    }

    fn copy(&self, py: Python<'_>) -> Outcome<Self> {
        self.scaled(py, 1.0)
    }

    fn matrix<'py>(&self, py: Python<'py>) -> Outcome<Bound<'py, PyArray2<f64>>> {
        let p = self.n_features(py)?;
        let array = empty_matrix(py, p, p)?;
        let mut out = array.readwrite();
        let values = out.as_slice_mut().map_err(PyErr::from)?;
        py.detach(|| {
            let guard = &*self.lock()?;
            execute(square(p), |run| guard.write_matrix(values, run))
        })?;
        drop(out);
        Ok(array)
    }

    #[getter]
    fn n_features(&self, py: Python<'_>) -> Outcome<usize> {
        py.detach(|| Ok(self.lock()?.n_features()))
    }

    #[getter]
    fn n_rows(&self, py: Python<'_>) -> Outcome<usize> {
        py.detach(|| Ok(self.lock()?.n_rows()))
    }

    #[getter]
    fn n_outputs(&self, py: Python<'_>) -> Outcome<usize> {
        py.detach(|| Ok(self.lock()?.n_outputs()))
    }

    #[getter]
    fn trace(&self, py: Python<'_>) -> Outcome<f64> {
        py.detach(|| Ok(self.lock()?.trace()?))
    }

    #[pyo3(signature = (choice, penalty, penalty_eps, consume))]
    fn factorize(
        &self,
        py: Python<'_>,
        choice: (Option<f64>, String, f64),
        penalty: Option<PenaltyValues<'_>>,
        penalty_eps: f64,
        consume: bool,
    ) -> Outcome<Hessian> {
        let regularizer = to_regularizer(choice)?;
        let (diagonal, matrix) = match &penalty {
            None => (None, None),
            Some(PenaltyValues::Diagonal(values)) => (Some(values.as_array()), None),
            Some(PenaltyValues::Matrix(values)) => (None, Some(values.as_array())),
        };
        py.detach(|| {
            let guard = &mut *self.lock()?;
            let penalty = match (diagonal, matrix) {
                (Some(values), _) => Penalty::diagonal(values.to_vec())?,
                (None, Some(values)) => Penalty::matrix(values, penalty_eps)?,
                (None, None) => Penalty::identity(),
            };
            let p = guard.n_features();
            let work = square(p) * p as f64 / if guard.is_factor() { 3.0 } else { 6.0 };
            Ok(Hessian::new(execute(work, |run| guard.factorize(regularizer, penalty, consume, run))?))
        })
    }

    /// Whether C was left to the factor that `factorize(consume=True)` made in its place. Until
    /// that is set, C comes back when the factor is gone. To be set, and not called: see
    /// `__iadd__`.
    #[getter]
    fn consumed(&self, py: Python<'_>) -> Outcome<bool> {
        py.detach(|| Ok(self.lock()?.is_consumed()))
    }

    #[setter]
    fn set_consumed(&self, py: Python<'_>, consumed: bool) -> Outcome<()> {
        py.detach(|| {
            let mut guard = self.lock()?;
            if consumed {
                guard.renounce();
            }
            Ok(())
        })
    }

    /// b, Σ w y², n and Σ ln w, waiting rows included.
    fn moments<'py>(&self, py: Python<'py>) -> Outcome<Bound<'py, PyDict>> {
        let moments = py.detach(|| {
            let guard = &*self.lock()?;
            execute(square(guard.n_features()), |run| guard.all_moments(run))
        })?;
        Ok(moments_to_dict(py, moments)?)
    }

    /// Rᵀ (p, p), z (p, n_outputs) and Σ w y² − ‖z‖², waiting rows included.
    fn row_factor<'py>(&self, py: Python<'py>) -> Outcome<Factored<'py>> {
        let (lower, moments) = py.detach(|| {
            let guard = &*self.lock()?;
            execute(2.0 * 256.0 * square(guard.n_features()), |run| guard.row_factor(run))
        })?;
        let (p, k) = (lower.len().isqrt(), moments.n_outputs);
        let z = to_matrix(py, moments.cross, k, p)?.transpose()?;
        let unexplained = PyArray1::from_vec(py, moments.unexplained.unwrap_or_default());
        Ok((to_matrix(py, lower, p, p)?.transpose()?, z, unexplained))
    }

    fn snapshot<'py>(&self, py: Python<'py>) -> Outcome<Bound<'py, PyDict>> {
        let snapshot = py.detach(|| Outcome::Ok(self.lock()?.snapshot()?))?;
        let state = moments_to_dict(py, snapshot.moments)?;
        state.set_item("n_features", snapshot.n_features)?;
        state.set_item("precision", precision_name(snapshot.precision))?;
        state.set_item("least_precision", precision_name(snapshot.least))?;
        state.set_item("decided", snapshot.decided)?;
        let arrays = [
            ("lower", snapshot.lower),
            ("waiting_rows", snapshot.waiting_rows),
            ("waiting_targets", snapshot.waiting_targets),
        ];
        arrays.into_iter().try_for_each(|(name, values)| state.set_item(name, PyArray1::from_vec(py, values)))?;
        Ok(state)
    }

    #[staticmethod]
    fn from_snapshot(state: &Bound<'_, PyDict>) -> Outcome<Self> {
        let name = |key| state.as_any().get_item(key)?.extract::<String>();
        let snapshot = Snapshot {
            n_features: scalar(state, "n_features")?,
            precision: to_precision(&name("precision")?)?,
            least: to_precision(&name("least_precision")?)?,
            lower: vector(state, "lower")?,
            moments: moments_of_dict(state)?,
            decided: scalar(state, "decided")?,
            waiting_rows: vector(state, "waiting_rows")?,
            waiting_targets: vector(state, "waiting_targets")?,
        };
        Ok(Self(Guarded::new(core::Covariance::from_snapshot(snapshot)?)))
    }
}

/// λ, or None for the guaranteed one; the name of the reason; the jitter.
fn to_regularizer((value, reason, jitter): (Option<f64>, String, f64)) -> Outcome<Regularizer> {
    Ok(match (value, Reason::of_name(&reason)?) {
        (Some(value), reason) => Regularizer::Chosen { value, jitter, reason },
        (None, Reason::Guaranteed) => Regularizer::Guaranteed,
        (None, reason) => Regularizer::GuaranteedBecause(reason),
    })
}

/// Multiplications of a merge: of two triangles into one where rows are factors.
fn merge_work(other: &core::Covariance) -> f64 {
    let p = other.n_features();
    square(p) * if other.is_factor() { p as f64 / 3.0 } else { 1.0 }
}

fn square(p: usize) -> f64 {
    p as f64 * p as f64
}
