//! NumPy arrays in and out.

use ndarray::ArrayView2;
use numpy::{PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2};
use pyo3::prelude::*;
use rigidities_core::{Element, Groups, Reduction, RowBlock};

use crate::raised::Outcome;
use crate::threads::execute;
use crate::words::to_reduction;

/// Features: of either precision, any strides.
#[derive(FromPyObject)]
pub enum Features<'py> {
    Double(PyReadonlyArray2<'py, f64>),
    Single(PyReadonlyArray2<'py, f32>),
}

/// Call `$f` with the view in `$features`, whichever type its numbers have.
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

/// Labels and how they reduce: what turns an array into target rows.
pub struct Grouping<'py> {
    labels: Option<PyReadonlyArray1<'py, i64>>,
    reduction: Reduction,
}

impl<'py> Grouping<'py> {
    pub fn new(labels: Option<PyReadonlyArray1<'py, i64>>, reduction: &str) -> PyResult<Self> {
        Ok(Self { labels, reduction: to_reduction(reduction)? })
    }

    /// The labels as a slice, to be taken along while detached.
    pub fn parts(&self) -> PyResult<(Option<&[i64]>, Reduction)> {
        let labels = self.labels.as_ref().map(|labels| labels.as_slice()).transpose()?;
        Ok((labels, self.reduction))
    }
}

/// Group, then hand the target rows to `f`.
pub fn with_rows<'a, T: Element, R>(
    view: ArrayView2<'a, T>,
    (labels, reduction): (Option<&[i64]>, Reduction),
    n_features: usize,
    f: impl FnOnce(&RowBlock<'_, T>) -> Outcome<R>,
) -> Outcome<R> {
    let groups = labels.map(Groups::from_labels);
    f(&RowBlock::new(view, groups.as_ref(), reduction, n_features)?)
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

/// An array by NumPy itself, which says so where memory is short.
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
    let (rows, p) = with_view!(features, |view| py.detach(|| with_rows(view, parts, view.ncols(), |rows| {
        let p = view.ncols();
        execute(view.len() as f64, |run| rows.reduce(run)).map(|out| (out, p))
    })))?;
    let n = rows.len() / p.max(1);
    to_matrix(py, rows, n, p)
}
