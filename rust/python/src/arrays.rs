//! NumPy arrays as views of the core, and its vectors as NumPy arrays.

use ndarray::ArrayView2;
use numpy::{PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2};
use pyo3::prelude::*;
use rigidities_core::{Element, Groups, Reduction, RowBlock};

use crate::raised::Outcome;
use crate::threads::execute;
use crate::words::to_reduction;

/// Features of either precision and any strides.
#[derive(FromPyObject)]
pub enum Features<'py> {
    Double(PyReadonlyArray2<'py, f64>),
    Single(PyReadonlyArray2<'py, f32>),
}

/// A penalty: its diagonal, or all its entries.
#[derive(FromPyObject)]
pub enum PenaltyValues<'py> {
    Diagonal(PyReadonlyArray1<'py, f64>),
    Matrix(PyReadonlyArray2<'py, f64>),
}

/// Evaluate `$body` with the view of `$features`, of either precision.
macro_rules! with_view {
    ($features:expr, |$view:ident| $body:expr) => {
        match &$features {
            crate::arrays::Features::Double(array) => {
                let $view = array.as_array();
                $body
            }
            crate::arrays::Features::Single(array) => {
                let $view = array.as_array();
                $body
            }
        }
    };
}
pub(crate) use with_view;

/// Weights and targets of a batch.
pub type Extras<'a> = (Option<&'a [f64]>, Option<ArrayView2<'a, f64>>);

/// A batch of rows, as `+=` takes it: features, groups, reduction, weights, targets.
pub type Addend<'py> = (
    Features<'py>,
    Option<PyReadonlyArray1<'py, i64>>,
    String,
    Option<PyReadonlyArray1<'py, f64>>,
    Option<PyReadonlyArray2<'py, f64>>,
);

/// Labels and the reduction of rows that share one.
pub struct Grouping<'py> {
    labels: Option<PyReadonlyArray1<'py, i64>>,
    reduction: Reduction,
}

impl<'py> Grouping<'py> {
    pub fn new(labels: Option<PyReadonlyArray1<'py, i64>>, reduction: &str) -> PyResult<Self> {
        Ok(Self { labels, reduction: to_reduction(reduction)? })
    }

    /// The labels as a slice, for use while detached, and the reduction.
    pub fn parts(&self) -> PyResult<(Option<&[i64]>, Reduction)> {
        let labels = self.labels.as_ref().map(|labels| labels.as_slice()).transpose()?;
        Ok((labels, self.reduction))
    }
}

/// Group rows, and call `f` with the target rows.
pub fn with_rows<'a, T: Element, R>(
    view: ArrayView2<'a, T>,
    (labels, reduction): (Option<&[i64]>, Reduction),
    f: impl FnOnce(&RowBlock<'_, T>) -> Outcome<R>,
) -> Outcome<R> {
    let groups = labels.map(Groups::from_labels).transpose()?;
    f(&RowBlock::new(view, groups.as_ref(), reduction)?)
}

/// A vector of `rows * columns` numbers, row-major, as an array.
pub fn to_matrix<'py>(
    py: Python<'py>,
    values: Vec<f64>,
    rows: usize,
    columns: usize,
) -> PyResult<Bound<'py, PyArray2<f64>>> {
    PyArray1::from_vec(py, values).reshape([rows, columns])
}

/// An array allocated by NumPy, which raises where memory is short.
pub fn empty_matrix<'py>(py: Python<'py>, rows: usize, columns: usize) -> PyResult<Bound<'py, PyArray2<f64>>> {
    Ok(py.import("numpy")?.getattr("empty")?.call1(((rows, columns),))?.cast_into()?)
}

/// Target rows, in the order of the sorted labels.
#[pyfunction]
pub fn reduce_rows<'py>(
    py: Python<'py>,
    features: Features<'py>,
    groups: Option<PyReadonlyArray1<'py, i64>>,
    reduction: &str,
) -> PyResult<Bound<'py, PyArray2<f64>>> {
    let grouping = Grouping::new(groups, reduction)?;
    let parts = grouping.parts()?;
    let (rows, p) = with_view!(features, |view| py.detach(|| with_rows(view, parts, |rows| {
        let p = view.ncols();
        execute(view.len() as f64, |run| rows.reduce(run)).map(|out| (out, p))
    })))?;
    let n = rows.len() / p.max(1);
    to_matrix(py, rows, n, p)
}
