//! `_core.Selection`: a selection under way, of candidates in an array that Python keeps.

use numpy::{PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray2};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use rigidities_core as core;
use rigidities_core::{Execution, Objective, Pool, Targets};

use crate::guarded::Guarded;
use crate::raised::Outcome;
use crate::threads::execute;

type Vector<'py> = Bound<'py, PyArray1<f64>>;

/// Multiplications per number of the pool to compute all gains anew: p/2, of which so many are there
/// in all but the smallest problems.
const GAINS: usize = 100;

/// A selection under way.
#[pyclass(frozen, module = "rigidities._core")]
pub struct Selection {
    state: Guarded<core::Selection>,
    rows: Py<PyArray2<f64>>,
    starts: Option<Vec<usize>>,
}

impl Selection {
    /// Call `f`, which goes through the pool about `times`, detached from the interpreter.
    fn with_pool<R: Send>(
        &self,
        py: Python<'_>,
        times: usize,
        f: impl FnOnce(&mut core::Selection, &Pool<'_>, &Execution) -> core::Result<R> + Send,
    ) -> Outcome<R> {
        let rows = self.rows.bind(py).try_readonly().map_err(|error| PyValueError::new_err(error.to_string()))?;
        let (width, values) = (rows.as_array().ncols(), rows.as_slice().map_err(PyErr::from)?);
        py.detach(|| {
            let pool = Pool::new(values, width, self.starts.as_deref())?;
            let mut state = self.state.lock()?;
            let state = &mut *state;
            execute(times as f64 * values.len() as f64, |run| f(state, &pool, run))
        })
    }
}

#[pymethods]
impl Selection {
    /// Before any pick. `starts`: where the rows of each candidate begin, and the last end. `limits`:
    /// costs, and the budget.
    #[new]
    #[pyo3(signature = (rows, starts, objective, targets, target_weights, limits))]
    fn new(
        py: Python<'_>,
        rows: PyReadonlyArray2<'_, f64>,
        starts: Option<Vec<usize>>,
        objective: &str,
        targets: Option<PyReadonlyArray2<'_, f64>>,
        target_weights: Vec<f64>,
        limits: (Vec<f64>, f64),
    ) -> Outcome<Self> {
        let (costs, budget) = limits;
        let (width, values) = (rows.as_array().ncols(), rows.as_slice().map_err(PyErr::from)?);
        let of = Targets {
            rows: targets.as_ref().map(|rows| rows.as_slice()).transpose().map_err(PyErr::from)?.unwrap_or_default(),
            weights: &target_weights,
        };
        let objective = to_objective(objective, of)?;
        let state = py.detach(|| {
            let pool = Pool::new(values, width, starts.as_deref())?;
            execute(values.len() as f64, |run| core::Selection::new(&pool, objective, costs, budget, run))
        })?;
        Ok(Self { state: Guarded::new(state), rows: rows.as_unbound().clone_ref(py), starts })
    }

    /// Look at a random sample of so many candidates for each pick.
    fn sample(&self, py: Python<'_>, size: usize, seed: u64) -> Outcome<()> {
        self.with_pool(py, 0, |selection, pool, _| selection.sample(pool, size, seed))
    }

    fn forbid(&self, py: Python<'_>, candidates: Vec<usize>) -> Outcome<()> {
        self.with_pool(py, 0, |selection, _, _| candidates.into_iter().try_for_each(|c| selection.forbid(c)))
    }

    fn add_present(&self, py: Python<'_>, candidates: Vec<usize>) -> Outcome<()> {
        self.with_pool(py, candidates.len(), |selection, pool, run| {
            candidates.into_iter().try_for_each(|c| selection.add_present(pool, c, run))
        })
    }

    fn force(&self, py: Python<'_>, candidates: Vec<usize>) -> Outcome<()> {
        self.with_pool(py, candidates.len(), |selection, pool, run| {
            candidates.into_iter().try_for_each(|c| selection.force(pool, c, run))
        })
    }

    /// Pick up to `n` more with scores above `least`; how many were.
    #[pyo3(signature = (n, least=f64::NEG_INFINITY))]
    fn advance(&self, py: Python<'_>, n: usize, least: f64) -> Outcome<usize> {
        self.with_pool(py, n, |selection, pool, run| selection.advance(pool, n, least, run))
    }

    /// What picking each candidate would gain now.
    fn gains<'py>(&self, py: Python<'py>) -> Outcome<Vector<'py>> {
        let gains = self.with_pool(py, GAINS, |selection, pool, run| selection.gains(pool, run))?;
        Ok(PyArray1::from_vec(py, gains))
    }

    /// The objective now.
    fn value(&self) -> Outcome<f64> {
        Ok(self.state.lock()?.value())
    }

    /// Candidates, gains, and the objective after each pick.
    fn picks<'py>(&self, py: Python<'py>) -> Outcome<(Bound<'py, PyArray1<i64>>, Vector<'py>, Vector<'py>)> {
        let picks = self.state.lock()?.picks().to_vec();
        Ok((
            PyArray1::from_iter(py, picks.iter().map(|pick| pick.candidate as i64)),
            PyArray1::from_iter(py, picks.iter().map(|pick| pick.gain)),
            PyArray1::from_iter(py, picks.iter().map(|pick| pick.value)),
        ))
    }
}

fn to_objective<'a>(name: &str, of: Targets<'a>) -> PyResult<Objective<'a>> {
    match name {
        "determinant" => Ok(Objective::Determinant),
        "variance" => Ok(Objective::Variance),
        "target_rigidity" => Ok(Objective::TargetRigidity(of)),
        "target_variance" => Ok(Objective::TargetVariance(of)),
        other => Err(PyValueError::new_err(format!(
            "objective is {other:?}: expected \"determinant\", \"target_rigidity\", \"target_variance\" or \"variance\""
        ))),
    }
}
