//! `_core.Hessian`: a factor behind a lock. Who reads takes hold of the present one, and computes without
//! the lock; who changes it while others read leaves theirs as it is, and puts another in its place.

use std::sync::Arc;

use ndarray::ArrayView2;
use numpy::{PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use rigidities_core as core;
use rigidities_core::{
    Batch, Change, Components, Element, Execution, HessianSnapshot, PenaltySnapshot, Precision, Reason, Reduction,
    RowBlock, zeros,
};

use crate::arrays::{Addend, Extras, Features, Grouping, to_matrix, with_rows, with_view};
use crate::guarded::Guarded;
use crate::raised::Outcome;
use crate::state::{moments_of_dict, moments_to_dict, scalar, vector};
use crate::threads::{change, execute};
use crate::words::{accumulation_name, to_precision};

/// The factorised system H = C + λΛ.
#[pyclass(frozen, module = "rigidities._core")]
pub struct Hessian(Guarded<Arc<core::Hessian>>);

/// Multiplications of a triangular solve for target rows.
fn solve_work<T: Element>(rows: &RowBlock<'_, T>) -> f64 {
    let p = rows.n_features() as f64;
    0.5 * rows.n_targets() as f64 * p * p
}

/// Multiplications of a solve for `columns` right-hand sides.
fn columns_work(hessian: &core::Hessian, columns: usize) -> f64 {
    let p = hessian.n_features() as f64;
    p * p * columns as f64
}

impl Hessian {
    pub fn new(hessian: core::Hessian) -> Self {
        Self(Guarded::new(Arc::new(hessian)))
    }

    /// The present factor. Waits while it is being changed.
    fn current(&self, py: Python<'_>) -> Outcome<Arc<core::Hessian>> {
        py.detach(|| Ok(Arc::clone(&*self.0.lock()?)))
    }

    /// Replace a copy of the columns of B, (p, k).
    fn for_columns<'py>(
        &self,
        py: Python<'py>,
        b: &PyReadonlyArray2<'py, f64>,
        replace: impl Fn(&core::Hessian, &mut [f64], &Execution) -> core::Result<()> + Sync,
    ) -> Outcome<Bound<'py, PyArray2<f64>>> {
        let hessian = &*self.current(py)?;
        let view = b.as_array();
        let (p, k) = (hessian.n_features(), view.ncols());
        if view.nrows() != p {
            return Err(core::Error::RightHandSide { got: view.nrows(), expected: p }.into());
        }
        let replaced = py.detach(|| {
            let mut columns = zeros(p * k)?;
            columns.iter_mut().zip(view.t()).for_each(|(out, x)| *out = *x);
            let values = &mut columns;
            execute(columns_work(hessian, k), |run| replace(hessian, values, run))?;
            Outcome::Ok(columns)
        })?;
        Ok(to_matrix(py, replaced, k, p)?.transpose()?)
    }

    /// Add rows or remove them.
    fn change_rows<T: Element>(
        &self,
        view: ArrayView2<'_, T>,
        groups: (Option<&[i64]>, Reduction),
        (weights, targets): Extras<'_>,
        what: Change,
    ) -> Outcome<()> {
        let guard = &mut *self.0.lock_last()?; // after those who wait to read
        with_rows(view, groups, |rows| {
            rows.require_features(guard.n_features())?; // before weights and targets, which it may explain
            let batch = Batch::new(*rows, weights, targets)?;
            let work = guard.update_work(view.nrows(), rows.n_targets());
            if Arc::get_mut(guard).is_none() {
                *guard = Arc::new(guard.shared()?); // somebody computes with this one
            }
            let hessian = Arc::get_mut(guard).ok_or(core::Error::Interrupted)?; // nobody else has this one
            let prepare = |run: &Execution| {
                let hessian = hessian; // lent to the revision
                hessian.prepare_update(&batch, what, run)
            };
            change(work, prepare, |revision, run| revision.commit(run))
        })
    }

    fn change(&self, addend: &Bound<'_, PyAny>, what: Change) -> Outcome<()> {
        let (features, groups, reduction, weights, targets) = addend.extract::<Addend<'_>>()?;
        let grouping = Grouping::new(groups, &reduction)?;
        let groups = grouping.parts()?;
        let weights = weights.as_ref().map(|weights| weights.as_slice()).transpose().map_err(PyErr::from)?;
        let extras = (weights, targets.as_ref().map(|targets| targets.as_array()));
        with_view!(features, |view| addend.py().detach(|| self.change_rows(view, groups, extras, what)))
    }
}

#[pymethods]
impl Hessian {
    /// Add rows. As for sums, Python looks for no signal after an operator: who finds KeyboardInterrupt
    /// raised by it finds nothing changed.
    fn __iadd__(&self, addend: &Bound<'_, PyAny>) -> Outcome<()> {
        self.change(addend, Change::Add)
    }

    /// Remove rows.
    fn __isub__(&self, addend: &Bound<'_, PyAny>) -> Outcome<()> {
        self.change(addend, Change::Remove)
    }

    /// The same factor, to be changed without changing this one.
    fn copy(&self, py: Python<'_>) -> Outcome<Self> {
        Ok(Self::new(self.current(py)?.shared()?))
    }

    /// How many times rows were added or removed.
    #[getter]
    fn revision(&self, py: Python<'_>) -> Outcome<u64> {
        Ok(self.current(py)?.revision())
    }

    /// ‖H‖₁, estimated.
    fn norm(&self, py: Python<'_>) -> Outcome<f64> {
        let hessian = &*self.current(py)?;
        let p = hessian.n_features() as f64;
        py.detach(|| execute(10.0 * p * p, |run| hessian.norm(run)))
    }

    #[getter]
    fn n_features(&self, py: Python<'_>) -> Outcome<usize> {
        Ok(self.current(py)?.n_features())
    }

    #[getter]
    fn n_rows(&self, py: Python<'_>) -> Outcome<usize> {
        Ok(self.current(py)?.moments().n_rows)
    }

    #[getter]
    fn n_outputs(&self, py: Python<'_>) -> Outcome<usize> {
        Ok(self.current(py)?.moments().n_outputs)
    }

    #[getter]
    fn regularizer(&self, py: Python<'_>) -> Outcome<f64> {
        Ok(self.current(py)?.regularizer())
    }

    #[getter]
    fn jitter(&self, py: Python<'_>) -> Outcome<f64> {
        Ok(self.current(py)?.jitter())
    }

    #[getter]
    fn reason(&self, py: Python<'_>) -> Outcome<&'static str> {
        Ok(self.current(py)?.reason().name())
    }

    #[getter]
    fn accumulation(&self, py: Python<'_>) -> Outcome<&'static str> {
        Ok(accumulation_name(self.current(py)?.moments().unexplained.is_some()))
    }

    /// S = Σ w y² − bᵀH⁻¹b of each output, where R was kept; nothing elsewhere.
    fn unexplained<'py>(&self, py: Python<'py>) -> Outcome<Bound<'py, PyArray1<f64>>> {
        Ok(PyArray1::from_vec(py, self.current(py)?.moments().unexplained.clone().unwrap_or_default()))
    }

    #[getter]
    fn log_determinant(&self, py: Python<'_>) -> Outcome<f64> {
        Ok(self.current(py)?.log_determinant())
    }

    fn diagonal<'py>(&self, py: Python<'py>) -> Outcome<Bound<'py, PyArray1<f64>>> {
        Ok(PyArray1::from_vec(py, self.current(py)?.diagonal()))
    }

    fn rcond(&self, py: Python<'_>) -> Outcome<f64> {
        let hessian = &*self.current(py)?;
        let p = hessian.n_features() as f64;
        py.detach(|| execute(20.0 * p * p, |run| hessian.rcond(run)))
    }

    fn effective_dimension(&self, py: Python<'_>) -> Outcome<f64> {
        let hessian = &*self.current(py)?;
        let p = hessian.n_features() as f64;
        py.detach(|| execute(p * p * p / 6.0, |run| hessian.effective_dimension(run)))
    }

    fn snapshot<'py>(&self, py: Python<'py>) -> Outcome<Bound<'py, PyDict>> {
        let hessian = &*self.current(py)?;
        let snapshot = py.detach(|| hessian.snapshot())?;
        let state = moments_to_dict(py, snapshot.moments)?;
        state.set_item("n_features", snapshot.n_features)?;
        state.set_item("regularizer", snapshot.regularizer)?;
        state.set_item("jitter", snapshot.jitter)?;
        state.set_item("penalty_jitter", snapshot.penalty_jitter)?;
        state.set_item("reason", snapshot.reason.name())?;
        state.set_item("lower", PyArray1::from_vec(py, snapshot.lower))?;
        match snapshot.penalty {
            PenaltySnapshot::Identity => {}
            PenaltySnapshot::Diagonal(values) => {
                state.set_item("penalty_diagonal", PyArray1::from_vec(py, values))?;
            }
            PenaltySnapshot::Matrix(lower, eps) => {
                state.set_item("penalty_lower", PyArray1::from_vec(py, lower))?;
                state.set_item("penalty_eps", eps)?;
            }
        }
        Ok(state)
    }

    #[staticmethod]
    fn from_snapshot(state: &Bound<'_, PyDict>) -> Outcome<Self> {
        let penalty = if state.contains("penalty_diagonal")? {
            PenaltySnapshot::Diagonal(vector(state, "penalty_diagonal")?)
        } else if state.contains("penalty_lower")? {
            PenaltySnapshot::Matrix(vector(state, "penalty_lower")?, scalar(state, "penalty_eps")?)
        } else {
            PenaltySnapshot::Identity
        };
        // files written before there was one hold a penalty that nothing is known to be added to
        let known = state.contains("penalty_jitter")?;
        let penalty_jitter = if known { scalar(state, "penalty_jitter")? } else { 0.0 };
        let reason: String = state.as_any().get_item("reason")?.extract()?;
        let snapshot = HessianSnapshot {
            n_features: scalar(state, "n_features")?,
            lower: vector(state, "lower")?,
            moments: moments_of_dict(state)?,
            regularizer: scalar(state, "regularizer")?,
            jitter: scalar(state, "jitter")?,
            reason: Reason::of_name(&reason)?,
            penalty,
            penalty_jitter,
        };
        Ok(Self::new(core::Hessian::from_snapshot(snapshot)?))
    }

    /// θ, shape (p, n_outputs).
    fn coef<'py>(&self, py: Python<'py>) -> Outcome<Bound<'py, PyArray2<f64>>> {
        let hessian = &*self.current(py)?;
        let (p, k) = (hessian.n_features(), hessian.moments().n_outputs);
        let coef = py.detach(|| execute(columns_work(hessian, k), |run| hessian.coef(run)))?;
        Ok(to_matrix(py, coef, k, p)?.transpose()?)
    }

    /// H⁻¹B for B of shape (p, k).
    fn solve<'py>(&self, py: Python<'py>, b: PyReadonlyArray2<'py, f64>) -> Outcome<Bound<'py, PyArray2<f64>>> {
        self.for_columns(py, &b, |hessian, values, run| hessian.solve_in_place(values, run))
    }

    /// L⁻ᵀZ for Z of shape (p, k).
    fn colour<'py>(&self, py: Python<'py>, z: PyReadonlyArray2<'py, f64>) -> Outcome<Bound<'py, PyArray2<f64>>> {
        self.for_columns(py, &z, |hessian, values, run| hessian.colour_in_place(values, run))
    }

    /// gᵀH⁻¹g of each target row.
    fn variance<'py>(
        &self,
        py: Python<'py>,
        features: Features<'py>,
        groups: Option<PyReadonlyArray1<'py, i64>>,
        reduction: &str,
        precision: &str,
    ) -> Outcome<Bound<'py, PyArray1<f64>>> {
        let hessian = &*self.current(py)?;
        let grouping = Grouping::new(groups, reduction)?;
        let groups = grouping.parts()?;
        let single = to_precision(precision)? == Precision::Single;
        let variances = with_view!(features, |view| py.detach(|| with_rows(view, groups, |rows| {
            execute(solve_work(rows), |run| {
                if single { hessian.variance_single(rows, run) } else { hessian.variance(rows, run) }
            })
        })))?;
        Ok(PyArray1::from_vec(py, variances))
    }

    /// Variances of the components of each target row: (n_targets, n_components).
    fn component_variance<'py>(
        &self,
        py: Python<'py>,
        features: Features<'py>,
        components: Vec<Vec<i64>>,
        groups: Option<PyReadonlyArray1<'py, i64>>,
        reduction: &str,
    ) -> Outcome<Bound<'py, PyArray2<f64>>> {
        let hessian = &*self.current(py)?;
        let grouping = Grouping::new(groups, reduction)?;
        let groups = grouping.parts()?;
        let components = Components::new(&components)?;
        let variances = with_view!(features, |view| py.detach(|| with_rows(view, groups, |rows| {
            execute(solve_work(rows), |run| hessian.component_variance(rows, &components, run))
        })))?;
        let n = variances.len() / components.len();
        Ok(to_matrix(py, variances, n, components.len())?)
    }

    /// L⁻¹g of each target row g: (n_targets, n_features).
    fn whiten<'py>(
        &self,
        py: Python<'py>,
        features: Features<'py>,
        groups: Option<PyReadonlyArray1<'py, i64>>,
        reduction: &str,
    ) -> Outcome<Bound<'py, PyArray2<f64>>> {
        let hessian = &*self.current(py)?;
        let grouping = Grouping::new(groups, reduction)?;
        let groups = grouping.parts()?;
        let p = hessian.n_features();
        let whitened = with_view!(features, |view| py.detach(|| with_rows(view, groups, |rows| {
            execute(solve_work(rows), |run| hessian.whiten(rows, run))
        })))?;
        let n = whitened.len() / p;
        Ok(to_matrix(py, whitened, n, p)?)
    }

    /// G H⁻¹ Gᵀ of the target rows G.
    fn prediction_covariance<'py>(
        &self,
        py: Python<'py>,
        features: Features<'py>,
        groups: Option<PyReadonlyArray1<'py, i64>>,
        reduction: &str,
    ) -> Outcome<Bound<'py, PyArray2<f64>>> {
        let hessian = &*self.current(py)?;
        let grouping = Grouping::new(groups, reduction)?;
        let groups = grouping.parts()?;
        let (joint, n) = with_view!(features, |view| py.detach(|| with_rows(view, groups, |rows| {
            let joint = execute(solve_work(rows), |run| hessian.prediction_covariance(rows, run))?;
            Ok((joint, rows.n_targets()))
        })))?;
        Ok(to_matrix(py, joint, n, n)?)
    }

    /// G H⁻¹ G'ᵀ of the target rows of two arrays, already reduced.
    fn prediction_cross_covariance<'py>(
        &self,
        py: Python<'py>,
        features: Features<'py>,
        others: Features<'py>,
    ) -> Outcome<Bound<'py, PyArray2<f64>>> {
        let hessian = &*self.current(py)?;
        let ungrouped = (None, core::Reduction::Sum);
        let (joint, n, m) = with_view!(features, |view| with_view!(others, |other| py.detach(|| {
            with_rows(view, ungrouped, |rows| {
                with_rows(other, ungrouped, |others| {
                    let work = solve_work(rows) + solve_work(others);
                    let joint = execute(work, |run| hessian.prediction_cross_covariance(rows, others, run))?;
                    Ok((joint, rows.n_targets(), others.n_targets()))
                })
            })
        })))?;
        Ok(to_matrix(py, joint, n, m)?)
    }
}
