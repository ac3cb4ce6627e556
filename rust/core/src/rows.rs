//! Feature rows at the door.
//!
//! Strided f32 or f64 rows, labels that say which of them form one target, weights and targets enter; reduced, weighted rows
//! in float64 leave, a small block at a time, row-major. Nothing of the size of the input is ever allocated.

use std::ops::Range;

use ndarray::ArrayView2;
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::execution::Execution;
use crate::panel::Strip;
use crate::triangle::zeros;

/// Targets that one task reduces. Rows that are not contiguous are read by columns over so many targets, so that a cache line
/// of the input serves several of them.
const TARGETS_PER_TASK: usize = 16;

/// Columns that are read side by side where rows are not contiguous: one cache line of the output.
const COLUMN_TILE: usize = 8;

/// Entries of a block below which it is not worth waking a second thread (about 10 µs of copying).
const PARALLEL_ENTRIES: usize = 1 << 16;

/// A number that features come in.
pub trait Element: Copy + Send + Sync + Into<f64> {}
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

/// Which rows form which target: targets in the order of the sorted labels, rows of each in the order in which they came.
#[derive(Debug, Clone)]
pub struct Groups {
    /// Rows sorted by label; `None` where they came sorted.
    order: Option<Vec<usize>>,
    /// Target t is made of rows `order[bounds[t]..bounds[t + 1]]`.
    bounds: Vec<usize>,
}

impl Groups {
    /// Groups of equal labels. Labels come in any order and with gaps.
    pub fn from_labels(labels: &[i64]) -> Self {
        let order = (!labels.is_sorted()).then(|| stable_order(labels));
        let label = |i: usize| labels[order.as_ref().map_or(i, |order| order[i])];
        let starts = (0..labels.len()).filter(|&i| i == 0 || label(i) != label(i - 1));
        let bounds = starts.chain([labels.len()]).collect();
        Self { order, bounds }
    }

    /// Number of targets.
    pub fn len(&self) -> usize {
        self.bounds.len() - 1
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn n_rows(&self) -> usize {
        self.bounds[self.len()]
    }
}

/// Stable sort of the row indices by label: by counting where labels are dense (structure numbers are), else by comparison.
fn stable_order(labels: &[i64]) -> Vec<usize> {
    let low = labels.iter().copied().min().unwrap_or(0);
    let high = labels.iter().copied().max().unwrap_or(0);
    let span = high.wrapping_sub(low) as u64; // as unsigned, right even where it exceeds i64
    if span >= 4 * labels.len() as u64 {
        let mut order: Vec<usize> = (0..labels.len()).collect();
        order.sort_by_key(|&i| labels[i]);
        return order;
    }
    let mut next = vec![0; span as usize + 2];
    labels.iter().for_each(|label| next[(label - low) as usize + 1] += 1);
    (1..next.len()).for_each(|slot| next[slot] += next[slot - 1]);
    let mut order = vec![0; labels.len()];
    for (i, label) in labels.iter().enumerate() {
        let slot = &mut next[(label - low) as usize];
        order[*slot] = i;
        *slot += 1;
    }
    order
}

/// Rows with their grouping: what `variance` and `update` read their targets from.
#[derive(Clone, Copy)]
pub struct RowBlock<'a, T> {
    values: ArrayView2<'a, T>,
    groups: Option<&'a Groups>,
    reduction: Reduction,
}

impl<'a, T: Element> RowBlock<'a, T> {
    /// Rows of `n_features` columns; without groups each row is a target.
    pub fn new(
        values: ArrayView2<'a, T>,
        groups: Option<&'a Groups>,
        reduction: Reduction,
        n_features: usize,
    ) -> Result<Self> {
        if values.ncols() != n_features {
            return Err(Error::ColumnCount { got: values.ncols(), expected: n_features });
        }
        if values.nrows() == 0 {
            return Err(Error::NoRows);
        }
        if n_features == 0 {
            return Err(Error::NoColumns);
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

    /// Rows of the input that form `target`, in the order in which they came.
    fn members(&self, target: usize) -> impl Iterator<Item = usize> + Clone + '_ {
        let range = self.groups.map_or(target..target + 1, |g| g.bounds[target]..g.bounds[target + 1]);
        let order = self.groups.and_then(|g| g.order.as_deref());
        range.map(move |i| order.map_or(i, |order| order[i]))
    }

    /// What a sum over the rows of `target` is divided by.
    fn divisor(&self, target: usize) -> f64 {
        match (self.reduction, self.groups) {
            (Reduction::Mean, Some(groups)) => (groups.bounds[target + 1] - groups.bounds[target]) as f64,
            _ => 1.0,
        }
    }

    /// Fill `out` with the reduced rows of `targets`, each times `factor(target)`. Sums run over the rows in their
    /// order, in float64. Refuses rows that are not finite, or whose squared norm is not.
    pub(crate) fn reduce_into(
        &self,
        targets: Range<usize>,
        factor: impl Fn(usize) -> f64 + Sync,
        out: Strip<'_>,
        run: &Execution,
    ) -> Result<()> {
        let task = |(i, out): (usize, Strip<'_>)| self.reduce_task(targets.start + i * TARGETS_PER_TASK, &factor, out);
        let read = self.values.len() / self.n_targets() * targets.len();
        let bad = if run.is_parallel() && read > PARALLEL_ENTRIES {
            out.par_strips(TARGETS_PER_TASK).enumerate().filter_map(task).min()
        } else {
            out.strips(TARGETS_PER_TASK).enumerate().find_map(task)
        };
        bad.map_or(Ok(()), |target| Err(self.locate(target)))
    }

    /// All reduced rows, row-major.
    pub fn reduce(&self, run: &Execution) -> Result<Vec<f64>> {
        let (n, p) = (self.n_targets(), self.n_features());
        let mut out = zeros(n * p)?;
        self.reduce_into(0..n, |_| 1.0, Strip::contiguous(&mut out, p), run)?;
        Ok(out)
    }

    /// Reduce the targets from `first` on that `out` has room for; the first of them that is not finite, if any.
    fn reduce_task(&self, first: usize, factor: &impl Fn(usize) -> f64, mut out: Strip<'_>) -> Option<usize> {
        if self.values.row(0).as_slice().is_some() {
            self.add_rows(first, &mut out);
        } else {
            self.add_columns(first, &mut out);
        }
        let mut bad = None;
        for (i, row) in out.rows_mut().enumerate() {
            let norm = finish_row(row, self.divisor(first + i), factor(first + i));
            if !norm.is_finite() && bad.is_none() {
                bad = Some(first + i);
            }
        }
        bad
    }

    /// Rows are contiguous: one after the other.
    fn add_rows(&self, first: usize, out: &mut Strip<'_>) {
        for (i, sum) in out.rows_mut().enumerate() {
            sum.fill(0.0);
            for row in self.members(first + i) {
                if let Some(row) = self.values.row(row).as_slice() {
                    sum.iter_mut().zip(row).for_each(|(sum, &x)| *sum += x.into());
                }
            }
        }
    }

    /// Any strides (Fortran order, every second column, …): some columns at a time over all rows of the task.
    fn add_columns(&self, first: usize, out: &mut Strip<'_>) {
        let p = self.n_features();
        for start in (0..p).step_by(COLUMN_TILE) {
            let tile = start..(start + COLUMN_TILE).min(p);
            for (i, sum) in out.rows_mut().enumerate() {
                sum[tile.clone()].fill(0.0);
                for row in self.members(first + i) {
                    for column in tile.clone() {
                        sum[column] += self.values[[row, column]].into();
                    }
                }
            }
        }
    }

    /// The entry that made `target` not finite, in the order of the input. Only looked for once something is known to be wrong.
    fn locate(&self, target: usize) -> Error {
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

/// Divide a sum by the number of its rows, weight it, and return the square of its norm.
fn finish_row(row: &mut [f64], divisor: f64, factor: f64) -> f64 {
    if divisor != 1.0 {
        row.iter_mut().for_each(|x| *x /= divisor);
    }
    if factor != 1.0 {
        row.iter_mut().for_each(|x| *x *= factor);
    }
    squared_norm(row)
}

/// ‖z‖², in four chains of additions: the compiler may not reorder them, and one chain would wait for each.
pub(crate) fn squared_norm(z: &[f64]) -> f64 {
    let mut sums = [0.0; 4];
    let chunks = z.chunks_exact(4);
    let rest: f64 = chunks.remainder().iter().map(|x| x * x).sum();
    chunks.for_each(|chunk| sums.iter_mut().zip(chunk).for_each(|(sum, x)| *sum += x * x));
    sums.iter().sum::<f64>() + rest
}

/// Rows of a loss: with weights, and with the targets y where the fit is wanted.
pub struct Batch<'r, 'a, T> {
    pub(crate) rows: RowBlock<'r, T>,
    pub(crate) weights: Option<&'a [f64]>,
    pub(crate) targets: Option<ArrayView2<'a, f64>>,
}

impl<'r, 'a, T: Element> Batch<'r, 'a, T> {
    /// Weights and targets are per target, in the order of the sorted labels.
    pub fn new(
        rows: RowBlock<'r, T>,
        weights: Option<&'a [f64]>,
        targets: Option<ArrayView2<'a, f64>>,
    ) -> Result<Self> {
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
        let Some(weights) = self.weights else { return Ok(()) };
        self.check_length("weights", weights.len())?;
        match weights.iter().position(|w| !(w.is_finite() && *w >= 0.0)) {
            Some(index) => Err(Error::Weight { index, value: weights[index] }),
            None => Ok(()),
        }
    }

    fn check_targets(&self) -> Result<()> {
        let Some(targets) = self.targets else { return Ok(()) };
        self.check_length("targets", targets.nrows())?;
        match targets.indexed_iter().find(|(_, y)| !y.is_finite()) {
            Some(((row, output), &value)) => Err(Error::Target { row, output, value }),
            None => Ok(()),
        }
    }

    /// w of a target; 1 where none were given.
    pub(crate) fn weight(&self, target: usize) -> f64 {
        self.weights.map_or(1.0, |weights| weights[target])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::panel::Panel;
    use ndarray::array;

    #[test]
    fn labels_in_any_order_give_targets_in_sorted_order() {
        for labels in [vec![7, -2, 7, 5, -2], vec![i64::MAX, i64::MIN, i64::MAX, 0, i64::MIN]] {
            let groups = Groups::from_labels(&labels);
            assert_eq!(groups.bounds, [0, 2, 3, 5]);
            assert_eq!(groups.order, Some(vec![1, 4, 3, 0, 2]));
        }
        assert_eq!(Groups::from_labels(&[1, 1, 4]).order, None);
    }

    #[test]
    fn layouts_reduce_to_the_same_bits() -> Result<()> {
        let c = ndarray::Array2::from_shape_fn((40, 13), |(i, j)| ((i * 31 + j * 17) as f64).sin());
        let mut f = ndarray::Array2::zeros((13, 40)).reversed_axes();
        f.assign(&c);
        let labels: Vec<i64> = (0..40).map(|i| (i * 7) % 9).collect();
        let groups = Groups::from_labels(&labels);
        let reduce = |x: ArrayView2<'_, f64>| {
            let mut out = Panel::zeros(9, 13)?;
            let rows = RowBlock::new(x, Some(&groups), Reduction::Mean, 13)?;
            rows.reduce_into(0..9, |_| 1.0, out.strip_mut(0..9), &Execution::sequential())?;
            Ok::<_, Error>(out.rows(0..9).flatten().copied().collect::<Vec<_>>())
        };
        assert_eq!(reduce(c.view())?, reduce(f.view())?);
        Ok(())
    }

    #[test]
    fn what_is_not_finite_is_named_where_it_stands() -> Result<()> {
        let x = array![[1.0, 2.0], [3.0, f64::NAN], [1e200, 0.0]];
        let groups = Groups::from_labels(&[1, 0, 2]);
        let rows = RowBlock::new(x.view(), Some(&groups), Reduction::Sum, 2)?;
        let mut out = Panel::zeros(2, 2)?;
        let mut reduce = |range| rows.reduce_into(range, |_| 1.0, out.strip_mut(0..2), &Execution::sequential());
        assert!(matches!(reduce(0..2), Err(Error::NonFinite { row: 1, column: 1, .. })));
        assert_eq!(reduce(1..3), Err(Error::Overflow { target: 2 }));
        Ok(())
    }
}
