//! Feature rows with their groups, weights and targets, checked before anything is computed.

use std::ops::Range;

use ndarray::{Array2, ArrayView2};

use crate::error::{Error, Result};
use crate::pages::{copied, require_large, reserve};

/// The numbers of features: float32 or float64.
pub trait Element: bytemuck::Pod + Send + Sync + Into<f64> {}
impl Element for f32 {}
impl Element for f64 {}

/// How the rows of one group become one target row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    /// Energy per atom, extensive properties divided by size.
    Mean,
    /// Total energy; force components.
    Sum,
}

/// Which rows form which target. Targets are in the order of the sorted labels, the rows of a
/// target in the order in which they came.
#[derive(Debug, Clone)]
pub struct Groups {
    /// Rows sorted by label; `None` where they came sorted.
    order: Option<Vec<usize>>,
    /// Target t is made of rows `order[bounds[t]..bounds[t + 1]]`.
    bounds: Vec<usize>,
}

impl Groups {
    /// Groups of equal labels. Labels come in any order and with gaps.
    pub fn from_labels(labels: &[i64]) -> Result<Self> {
        if labels.is_sorted() {
            require_large(2 * size_of_val(labels))?; // one number a label, in a vector that grows
            return Ok(Self { order: None, bounds: bounds(labels.len(), |i| labels[i]) });
        }
        require_large(6 * size_of_val(labels))?; // `by_counting` takes the most
        let low = labels.iter().copied().min().unwrap_or(0);
        let high = labels.iter().copied().max().unwrap_or(0);
        let span = high.wrapping_sub(low) as u64; // as unsigned, right even where it exceeds i64
        if span < 4 * labels.len() as u64 {
            return Ok(Self::by_counting(labels, low, span as usize));
        }
        let mut order: Vec<usize> = (0..labels.len()).collect();
        order.sort_by_key(|&i| labels[i]);
        let bounds = bounds(labels.len(), |i| labels[order[i]]);
        Ok(Self { order: Some(order), bounds })
    }

    /// Where labels are dense (structure numbers are): how often each occurs tells where its rows
    /// begin and end.
    fn by_counting(labels: &[i64], low: i64, span: usize) -> Self {
        let mut ends = vec![0; span + 2];
        labels.iter().for_each(|label| ends[(label - low) as usize + 1] += 1);
        (1..ends.len()).for_each(|slot| ends[slot] += ends[slot - 1]);
        let mut order = vec![0; labels.len()];
        for (i, label) in labels.iter().enumerate() {
            let end = &mut ends[(label - low) as usize];
            order[*end] = i;
            *end += 1;
        }
        let mut bounds = vec![0];
        bounds.extend(ends);
        bounds.dedup();
        Self { order: Some(order), bounds }
    }

    /// Number of targets.
    pub fn len(&self) -> usize {
        self.bounds.len() - 1
    }

    /// Whether there is no target.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn n_rows(&self) -> usize {
        self.bounds[self.len()]
    }
}

/// Where runs of equal labels begin, and the end of the last.
fn bounds(n: usize, label: impl Fn(usize) -> i64) -> Vec<usize> {
    let starts = (0..n).filter(|&i| i == 0 || label(i) != label(i - 1));
    starts.chain([n]).collect()
}

/// Rows with their groups and the reduction: the target rows of `update`, `variance` and the like.
#[derive(Clone, Copy)]
pub struct RowBlock<'a, T> {
    values: ArrayView2<'a, T>,
    groups: Option<&'a Groups>,
    reduction: Reduction,
}

impl<'a, T: Element> RowBlock<'a, T> {
    /// At least one row of at least one column. Without groups each row is a target.
    pub fn new(values: ArrayView2<'a, T>, groups: Option<&'a Groups>, reduction: Reduction) -> Result<Self> {
        if values.ncols() == 0 {
            return Err(Error::NoColumns);
        }
        if values.nrows() == 0 {
            return Err(Error::NoRows);
        }
        match groups.map(Groups::n_rows) {
            Some(got) if got != values.nrows() => {
                Err(Error::Length { what: "groups", got, expected: values.nrows(), of: "rows" })
            }
            _ => Ok(Self { values, groups, reduction }),
        }
    }

    /// Number of target rows.
    pub fn n_targets(&self) -> usize {
        self.groups.map_or(self.values.nrows(), Groups::len)
    }

    /// Number of columns.
    pub fn n_features(&self) -> usize {
        self.values.ncols()
    }

    /// Refuse rows that do not have `expected` columns.
    pub fn require_features(&self, expected: usize) -> Result<()> {
        match self.n_features() {
            got if got == expected => Ok(()),
            got => Err(Error::ColumnCount { got, expected }),
        }
    }

    /// The rows as they came.
    pub(crate) fn values(&self) -> ArrayView2<'a, T> {
        self.values
    }

    /// Rows of the input that form `target`, in the order in which they came.
    pub(crate) fn members(&self, target: usize) -> impl Iterator<Item = usize> {
        self.span(target).map(|i| self.member(i))
    }

    /// Row of the input that is the `i`-th of the sorted ones.
    pub(crate) fn member(&self, i: usize) -> usize {
        self.groups.and_then(|g| g.order.as_ref()).map_or(i, |order| order[i])
    }

    /// Whether each row is a target of its own.
    pub(crate) fn is_ungrouped(&self) -> bool {
        self.groups.is_none()
    }

    /// Where the rows of `target` stand among the sorted ones.
    pub(crate) fn span(&self, target: usize) -> Range<usize> {
        self.groups.map_or(target..target + 1, |g| g.bounds[target]..g.bounds[target + 1])
    }

    /// Rows of the input that form the targets of a range.
    pub(crate) fn n_members(&self, targets: &Range<usize>) -> usize {
        self.groups.map_or(targets.len(), |g| g.bounds[targets.end] - g.bounds[targets.start])
    }

    /// Divisor of a sum over the rows of `target`.
    pub(crate) fn divisor(&self, target: usize) -> f64 {
        match (self.reduction, self.groups) {
            (Reduction::Mean, Some(_)) => self.span(target).len() as f64,
            _ => 1.0,
        }
    }

    /// The first entry that is not finite, in the order of the input; else the row is too large.
    /// Called only when `target` is known to be at fault.
    pub(crate) fn locate(&self, target: usize) -> Error {
        for row in self.members(target) {
            for (column, &value) in self.values.row(row).iter().enumerate() {
                let value = value.into();
                if !value.is_finite() {
                    return Error::NonFinite { what: "features", row, column, value };
                }
            }
        }
        Error::Overflow { target }
    }
}

/// Rows of a loss with their weights, and with the targets y where a fit is wanted. Weights and
/// targets are read several times. So they are copied, and the copy is checked: another thread may
/// write to the caller's arrays.
pub struct Batch<'r, T> {
    pub(crate) rows: RowBlock<'r, T>,
    pub(crate) weights: Option<Vec<f64>>,
    pub(crate) targets: Option<Array2<f64>>,
}

impl<'r, T: Element> Batch<'r, T> {
    /// Weights and targets have an entry (a row) per target, in the order of the sorted labels.
    pub fn new(rows: RowBlock<'r, T>, weights: Option<&[f64]>, targets: Option<ArrayView2<'_, f64>>) -> Result<Self> {
        let weights = weights.map(copied).transpose()?;
        let targets = targets.map(copied_rows).transpose()?;
        let batch = Self { rows, weights, targets };
        batch.check_weights()?;
        batch.check_targets()?;
        Ok(batch)
    }

    fn check_length(&self, what: &'static str, got: usize) -> Result<()> {
        match self.rows.n_targets() {
            expected if expected != got => Err(Error::Length { what, got, expected, of: "target rows" }),
            _ => Ok(()),
        }
    }

    fn check_weights(&self) -> Result<()> {
        let Some(weights) = &self.weights else { return Ok(()) };
        self.check_length("weights", weights.len())?;
        match weights.iter().position(|w| !(w.is_finite() && *w >= 0.0)) {
            Some(index) => Err(Error::Weight { index, value: weights[index] }),
            None => Ok(()),
        }
    }

    fn check_targets(&self) -> Result<()> {
        let Some(targets) = &self.targets else { return Ok(()) };
        self.check_length("targets", targets.nrows())?;
        match targets.indexed_iter().find(|(_, y)| !y.is_finite()) {
            Some(((row, output), &value)) => Err(Error::Target { row, output, value }),
            None => Ok(()),
        }
    }

    /// √w of a target: what its row and its y are multiplied by.
    pub(crate) fn factor(&self, target: usize) -> f64 {
        self.weights.as_ref().map_or(1.0, |weights| weights[target].sqrt())
    }

    /// Put y of a range of targets times √w behind what is there, row-major; nothing where there is
    /// no y.
    pub(crate) fn push_targets(&self, range: Range<usize>, out: &mut Vec<f64>) -> Result<()> {
        let Some(y) = &self.targets else { return Ok(()) };
        reserve(out, range.len() * y.ncols())?;
        out.extend(range.flat_map(|t| y.row(t).into_iter().map(move |y| self.factor(t) * y)));
        Ok(())
    }

    /// w of a target; 1 without weights.
    pub(crate) fn weight(&self, target: usize) -> f64 {
        self.weights.as_ref().map_or(1.0, |weights| weights[target])
    }
}

fn copied_rows(view: ArrayView2<'_, f64>) -> Result<Array2<f64>> {
    let mut values = vec![];
    reserve(&mut values, view.len())?;
    values.extend(view.iter());
    Array2::from_shape_vec(view.dim(), values).map_err(|_| Error::OutOfMemory { bytes: usize::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_in_any_order_give_targets_in_sorted_order() -> Result<()> {
        for labels in [vec![7, -2, 7, 5, -2], vec![i64::MAX, i64::MIN, i64::MAX, 0, i64::MIN]] {
            let groups = Groups::from_labels(&labels)?;
            assert_eq!(groups.bounds, [0, 2, 3, 5]);
            assert_eq!(groups.order, Some(vec![1, 4, 3, 0, 2]));
        }
        assert_eq!(Groups::from_labels(&[1, 1, 4])?.order, None);
        Ok(())
    }
}
