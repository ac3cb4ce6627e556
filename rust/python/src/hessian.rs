//! `_core.Hessian`: an immutable factor.

use numpy::{PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use rigidities_core as core;
use rigidities_core::{
    Components, Element, Execution, HessianSnapshot, PenaltySnapshot, Precision, Reason, RowBlock, zeros,
};

use crate::arrays::{Features, Grouping, to_matrix, with_rows, with_view};
use crate::raised::Outcome;
use crate::state::{moments_of_dict, moments_to_dict, scalar, vector};
use crate::threads::execute;
use crate::words::{accumulation_name, to_precision};

/// The factorised system H = C + λΛ.
#[pyclass(frozen, module = "rigidities._core")]
pub struct Hessian(pub core::Hessian);

impl Hessian {
    /// Multiplications of a triangular solve for target rows.
    fn work<T: Element>(&self, rows: &RowBlock<'_, T>) -> f64 {
        let p = self.0.n_features() as f64;
        0.5 * rows.n_targets() as f64 * p * p
    }

    /// Replace a copy of the columns of B, (p, k).
    fn for_columns<'py>(
        &self,
        py: Python<'py>,
        b: &PyReadonlyArray2<'py, f64>,
        replace: impl Fn(&mut [f64], &Execution) -> core::Result<()> + Sync,
    ) -> Outcome<Bound<'py, PyArray2<f64>>> {
        let view = b.as_array();
        let (p, k) = (self.0.n_features(), view.ncols());
        if view.nrows() != p {
            return Err(core::Error::RightHandSide { got: view.nrows(), expected: p }.into());
        }
        let replaced = py.detach(|| {
            let mut columns = zeros(p * k)?;
            columns.iter_mut().zip(view.t()).for_each(|(out, x)| *out = *x);
            let values = &mut columns;
            execute(self.solve_work(k), |run| replace(values, run))?;
            Outcome::Ok(columns)
        })?;
        Ok(to_matrix(py, replaced, k, p)?.transpose()?)
    }

    /// Multiplications of a solve for `columns` right-hand sides.
    fn solve_work(&self, columns: usize) -> f64 {
        let p = self.0.n_features() as f64;
        p * p * columns as f64
    }
}

#[pymethods]
impl Hessian {
    #[getter]
    fn n_features(&self) -> usize {
        self.0.n_features()
    }

    #[getter]
    fn n_rows(&self) -> usize {
        self.0.moments().n_rows
    }

    #[getter]
    fn n_outputs(&self) -> usize {
        self.0.moments().n_outputs
    }

    #[getter]
    fn regularizer(&self) -> f64 {
        self.0.regularizer()
    }

    #[getter]
    fn jitter(&self) -> f64 {
        self.0.jitter()
    }

    #[getter]
    fn reason(&self) -> &'static str {
        self.0.reason().name()
    }

    #[getter]
    fn accumulation(&self) -> &'static str {
        accumulation_name(self.0.moments().unexplained.is_some())
    }

    /// S = Σ w y² − bᵀH⁻¹b of each output, where R was kept; nothing elsewhere.
    fn unexplained<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f64>> {
        PyArray1::from_vec(py, self.0.moments().unexplained.clone().unwrap_or_default())
    }

    #[getter]
    fn log_determinant(&self) -> f64 {
        self.0.log_determinant()
    }

    fn diagonal<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f64>> {
        PyArray1::from_vec(py, self.0.diagonal())
    }

    fn rcond(&self, py: Python<'_>) -> Outcome<f64> {
        let p = self.0.n_features() as f64;
        py.detach(|| execute(20.0 * p * p, |run| self.0.rcond(run)))
    }

    fn effective_dimension(&self, py: Python<'_>) -> Outcome<f64> {
        let p = self.0.n_features() as f64;
        py.detach(|| execute(p * p * p / 6.0, |run| self.0.effective_dimension(run)))
    }

    fn snapshot<'py>(&self, py: Python<'py>) -> Outcome<Bound<'py, PyDict>> {
        let snapshot = py.detach(|| self.0.snapshot())?;
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
        Ok(Self(core::Hessian::from_snapshot(snapshot)?))
    }

    /// θ, shape (p, n_outputs).
    fn coef<'py>(&self, py: Python<'py>) -> Outcome<Bound<'py, PyArray2<f64>>> {
        let (p, k) = (self.0.n_features(), self.0.moments().n_outputs);
        let coef = py.detach(|| execute(self.solve_work(k), |run| self.0.coef(run)))?;
        Ok(to_matrix(py, coef, k, p)?.transpose()?)
    }

    /// H⁻¹B for B of shape (p, k).
    fn solve<'py>(&self, py: Python<'py>, b: PyReadonlyArray2<'py, f64>) -> Outcome<Bound<'py, PyArray2<f64>>> {
        self.for_columns(py, &b, |values, run| self.0.solve_in_place(values, run))
    }

    /// L⁻ᵀZ for Z of shape (p, k).
    fn colour<'py>(&self, py: Python<'py>, z: PyReadonlyArray2<'py, f64>) -> Outcome<Bound<'py, PyArray2<f64>>> {
        self.for_columns(py, &z, |values, run| self.0.colour_in_place(values, run))
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
        let grouping = Grouping::new(groups, reduction)?;
        let groups = grouping.parts()?;
        let single = to_precision(precision)? == Precision::Single;
        let variances = with_view!(features, |view| py.detach(|| with_rows(view, groups, |rows| {
            execute(self.work(rows), |run| {
                if single { self.0.variance_single(rows, run) } else { self.0.variance(rows, run) }
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
        let grouping = Grouping::new(groups, reduction)?;
        let groups = grouping.parts()?;
        let components = Components::new(&components)?;
        let variances = with_view!(features, |view| py.detach(|| with_rows(view, groups, |rows| {
            execute(self.work(rows), |run| self.0.component_variance(rows, &components, run))
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
        let grouping = Grouping::new(groups, reduction)?;
        let groups = grouping.parts()?;
        let p = self.0.n_features();
        let whitened = with_view!(features, |view| py
            .detach(|| with_rows(view, groups, |rows| { execute(self.work(rows), |run| self.0.whiten(rows, run)) })))?;
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
        let grouping = Grouping::new(groups, reduction)?;
        let groups = grouping.parts()?;
        let (joint, n) = with_view!(features, |view| py.detach(|| with_rows(view, groups, |rows| {
            let joint = execute(self.work(rows), |run| self.0.prediction_covariance(rows, run))?;
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
        let ungrouped = (None, core::Reduction::Sum);
        let (joint, n, m) = with_view!(features, |view| with_view!(others, |other| py.detach(|| {
            with_rows(view, ungrouped, |rows| {
                with_rows(other, ungrouped, |others| {
                    let work = self.work(rows) + self.work(others);
                    let joint = execute(work, |run| self.0.prediction_cross_covariance(rows, others, run))?;
                    Ok((joint, rows.n_targets(), others.n_targets()))
                })
            })
        })))?;
        Ok(to_matrix(py, joint, n, m)?)
    }
}
