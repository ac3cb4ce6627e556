//! Strided rows in, reduced, weighted rows out, a small block at a time. Sums over the rows of a
//! target run in their order, in float64; nothing of the size of the input is ever allocated.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::execution::Execution;
use crate::pages::{require_large, zeros};
use crate::panel::Strip;
use crate::prefetch::prefetch;
use crate::real::{Real, squared_norm, squared_norm_by};
use crate::rows::{Element, RowBlock};
use crate::slab::Pieces;

/// Targets that one task reduces. Rows that are not contiguous are read by columns over so many
/// targets, so that a cache line of the input serves several of them.
const TARGETS_PER_TASK: usize = 16;

/// Columns that are read side by side where rows are not contiguous: one cache line of the output.
const COLUMN_TILE: usize = 8;

/// Entries of a block below which it is not worth waking a second thread (about 10 µs of copying).
const PARALLEL_ENTRIES: usize = 1 << 16;

/// Rows of a target that are added at once: their sum is read and written once for all of them, and
/// memory is asked for as many rows side by side. Two Zen 4 cores, p = 256, 64 rows a target,
/// shuffled: 23 to 25 GB/s with 4, 18 to 22 with 1.
const AT_ONCE: usize = 4;

/// Numbers of each row that are added between requests for others.
const PIECE: usize = 32;

/// How far ahead rows are asked of memory, and at least the next `AT_ONCE` of them. 32 kB: what two
/// cores read at 13 GB/s each in 2.5 µs, many times as long as a request takes; 8, 16 and 32 rows
/// of 2 kB are as good as one another.
const AHEAD_BYTES: usize = 32 << 10;

/// Squared norms of rows of which products in float32 neither overflow in a sum of many nor lose
/// digits to underflow.
const SINGLE_RANGE: Range<f64> = 1e-30..1e30;

impl<T: Element> RowBlock<'_, T> {
    /// Fill the pieces of some rows with the reduced rows of `targets`, each times
    /// `factor(target)`. Returns the sum of their squared norms. Refuses rows that are not finite,
    /// or whose squared norm is not (in float32: is out of its range).
    pub(crate) fn reduce_into<U: Real>(
        &self,
        targets: Range<usize>,
        factor: impl Fn(usize) -> f64 + Sync,
        out: Pieces<'_, U>,
        run: &Execution,
    ) -> Result<f64> {
        let first = targets.start;
        let parallel = run.is_parallel() && self.n_members(&targets) * self.n_features() > PARALLEL_ENTRIES;
        let reduce = |(first, out): (usize, Pieces<'_, U>)| Task { rows: self, first, out }.run(&factor);
        let norms: Vec<f64> = if parallel && targets.len() <= TARGETS_PER_TASK {
            let by_columns: Vec<_> = out.into_par_iter().map(|piece| reduce((first, vec![piece]))).collect();
            let add = |a: Vec<f64>, b: Vec<f64>| a.iter().zip(&b).map(|(a, b)| a + b).collect();
            by_columns.into_iter().reduce(add).unwrap_or_default()
        } else {
            let tasks = by_rows(first, out);
            if parallel {
                tasks.into_par_iter().flat_map_iter(reduce).collect()
            } else {
                tasks.into_iter().flat_map(reduce).collect()
            }
        };
        let bad = norms.iter().position(|norm| !norm.is_finite());
        if let Some(i) = bad {
            return Err(self.locate(first + i));
        }
        let out_of_range = |norm: &f64| *norm != 0.0 && !SINGLE_RANGE.contains(norm);
        match norms.iter().position(out_of_range).filter(|_| size_of::<U>() < size_of::<f64>()) {
            Some(i) => {
                let target = first + i;
                Err(Error::SingleRange { target, norm: self.norm(target, factor(target)) })
            }
            None => Ok(norms.iter().sum()),
        }
    }

    /// The norm of a target row, however small or large.
    fn norm(&self, target: usize, factor: f64) -> f64 {
        let mut sum = vec![0.0; self.n_features()];
        for row in self.members(target) {
            sum.iter_mut().zip(self.values().row(row)).for_each(|(sum, &x)| *sum += x.into());
        }
        let largest = sum.iter().fold(0.0_f64, |largest, x| largest.max(x.abs()));
        largest / self.divisor(target) * factor * squared_norm_by(&sum, |x| x / largest).sqrt()
    }

    /// All reduced rows, row-major.
    pub fn reduce(&self, run: &Execution) -> Result<Vec<f64>> {
        let (n, p) = (self.n_targets(), self.n_features());
        let mut out = zeros(n * p)?;
        require_large(n * size_of::<f64>())?; // the norms
        self.reduce_into(0..n, |_| 1.0, vec![(0, Strip::contiguous(&mut out, p))], run)?;
        Ok(out)
    }
}

/// Tasks of a few targets each: the first of them, and their rows of every piece.
fn by_rows<U: Real>(first: usize, out: Pieces<'_, U>) -> Vec<(usize, Pieces<'_, U>)> {
    let mut tasks: Vec<(usize, Pieces<'_, U>)> = vec![];
    for (column, strip) in out {
        for (i, rows) in strip.strips(TARGETS_PER_TASK).enumerate() {
            if i == tasks.len() {
                tasks.push((first + i * TARGETS_PER_TASK, vec![]));
            }
            tasks[i].1.push((column, rows));
        }
    }
    tasks
}

/// A few targets, from `first` on, and the columns of them that are to be filled.
struct Task<'t, 'r, 'o, T, U> {
    rows: &'t RowBlock<'r, T>,
    first: usize,
    out: Pieces<'o, U>,
}

impl<T: Element, U: Real> Task<'_, '_, '_, T, U> {
    /// Squared norms of the rows, before they are rounded.
    fn run(mut self, factor: &impl Fn(usize) -> f64) -> Vec<f64> {
        let n = self.out.first_mut().map_or(0, |(_, strip)| strip.rows_mut().count());
        if self.rows.values().row(0).as_slice().is_none() {
            return self.read_columns(n, factor);
        }
        (0..n).map(|i| self.read_rows(i, factor(self.first + i))).collect()
    }

    /// Rows are contiguous: a few at once, the next few on their way from memory meanwhile.
    fn read_rows(&mut self, i: usize, factor: f64) -> f64 {
        let target = self.first + i;
        let divisor = self.rows.divisor(target);
        let (values, members) = (self.rows.values(), self.rows.span(target));
        let row = |i: usize| values.row(self.rows.member(i)).to_slice().unwrap_or_default();
        if members.len() == 1 {
            let pieces = self.out.iter_mut();
            let row = row(members.start);
            return pieces.map(|(start, out)| write_row(out.row_mut(i), &row[*start..], divisor, factor)).sum();
        }
        let (start, end) = self.span();
        let at = |i: usize| if i < values.nrows() { &row(i)[start..end] } else { &[] };
        let mut sum = vec![-0.0; end - start]; // which added to a number leaves it as it is, 0 and -0 too
        let ahead = (AHEAD_BYTES / size_of_val(at(members.start))).max(AT_ONCE);
        let (arch, mut next) = (Arch::new(), members.start);
        while next + AT_ONCE <= members.end {
            let rows = std::array::from_fn::<_, AT_ONCE, _>(|k| at(next + k));
            let following = std::array::from_fn(|k| at(next + ahead + k));
            arch.dispatch(AddRows { sum: &mut sum, rows, following });
            next += AT_ONCE;
        }
        for i in next..members.end {
            arch.dispatch(AddRows { sum: &mut sum, rows: [at(i)], following: [at(i + ahead)] });
        }
        let pieces = self.out.iter_mut();
        pieces.map(|(column, out)| write_row(out.row_mut(i), &sum[*column - start..], divisor, factor)).sum()
    }

    /// Any strides (Fortran order, every second column, …): some columns at a time over all rows of
    /// the task.
    fn read_columns(&mut self, n: usize, factor: &impl Fn(usize) -> f64) -> Vec<f64> {
        let values = self.rows.values();
        let (start, end) = self.span();
        let width = end - start;
        let mut sums = vec![0.0; n * width];
        for tile in (0..width).step_by(COLUMN_TILE) {
            let tile = tile..(tile + COLUMN_TILE).min(width);
            for (i, sum) in sums.chunks_mut(width).enumerate() {
                for row in self.rows.members(self.first + i) {
                    for column in tile.clone() {
                        sum[column] += values[[row, start + column]].into();
                    }
                }
            }
        }
        let mut norms = vec![0.0; n];
        for (i, sum) in sums.chunks(width).enumerate() {
            let target = self.first + i;
            for (column, out) in &mut self.out {
                let sum = &sum[*column - start..];
                norms[i] += write_row(out.row_mut(i), sum, self.rows.divisor(target), factor(target));
            }
        }
        norms
    }

    /// Columns from the first piece to the last.
    fn span(&mut self) -> (usize, usize) {
        let start = self.out.first().map_or(0, |(column, _)| *column);
        let end = self.out.last_mut().map_or(0, |(column, strip)| *column + strip.row_mut(0).len());
        (start, end)
    }
}

/// `sum += row` for one row after the other, while others (of the same length, or none) are asked
/// of memory, piece by piece: all at once would be more requests than a core keeps on the way.
struct AddRows<'a, T, const N: usize> {
    sum: &'a mut [f64],
    rows: [&'a [T]; N],
    following: [&'a [T]; N],
}

impl<T: Element, const N: usize> WithSimd for AddRows<'_, T, N> {
    type Output = ();

    #[inline(always)] // or it would not be compiled for the vector units
    fn with_simd<S: Simd>(self, _: S) {
        let (pieces, rest) = self.sum.as_chunks_mut::<PIECE>();
        let following = self.following.map(|row| row.as_chunks::<PIECE>());
        let rows = self.rows.map(|row| row.as_chunks::<PIECE>());
        for (k, piece) in pieces.iter_mut().enumerate() {
            for (pieces, _) in following {
                prefetch(pieces.get(k).map_or(&[], |piece| piece));
            }
            let mut sum = *piece;
            for (pieces, _) in rows {
                sum.iter_mut().zip(&pieces[k]).for_each(|(sum, &x)| *sum += x.into());
            }
            *piece = sum;
        }
        for ((_, ahead), (_, row)) in following.into_iter().zip(rows) {
            prefetch(ahead);
            rest.iter_mut().zip(row).for_each(|(sum, &x)| *sum += x.into());
        }
    }
}

/// Divide a sum by the number of its rows, weight it, round it, and return the square of its norm
/// (in float32 never 0 but for zeros).
struct WriteRow<'a, T, U> {
    out: &'a mut [U],
    sum: &'a [T],
    divisor: f64,
    factor: f64,
}

impl<T: Element, U: Real> WithSimd for WriteRow<'_, T, U> {
    type Output = f64;

    #[inline(always)] // as above
    fn with_simd<S: Simd>(self, _: S) -> f64 {
        let Self { out, sum, divisor, factor } = self;
        let sum = &sum[..out.len()];
        if divisor == 1.0 && factor == 1.0 {
            return write_and_square(out, sum, Into::into);
        }
        write_and_square(out, sum, |x| x.into() / divisor * factor)
    }
}

/// Write `value(x)` of each x, and return the square of the norm of what was written: what is found
/// good is what is summed, whoever writes to the caller's rows meanwhile. Where rounding to float32
/// takes that out of range, it is the norm before.
#[inline(always)]
fn write_and_square<T: Element, U: Real>(out: &mut [U], sum: &[T], value: impl Fn(T) -> f64) -> f64 {
    out.iter_mut().zip(sum).for_each(|(out, &x)| *out = U::round(value(x)));
    let written = squared_norm(out);
    if size_of::<U>() == size_of::<f64>() || SINGLE_RANGE.contains(&written) || written.is_nan() {
        return written;
    }
    let norm = squared_norm_by(sum, &value);
    if written.is_infinite() && SINGLE_RANGE.contains(&norm) {
        return written; // another thread has written meanwhile
    }
    let vanishes = norm < f64::MIN_POSITIVE && sum.iter().any(|&x| value(x) != 0.0);
    if vanishes { f64::MIN_POSITIVE } else { norm }
}

/// As `WriteRow` says.
fn write_row<T: Element, U: Real>(out: &mut [U], sum: &[T], divisor: f64, factor: f64) -> f64 {
    Arch::new().dispatch(WriteRow { out, sum, divisor, factor })
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, ArrayView2, array};

    use super::*;
    use crate::rows::{Groups, Reduction};

    fn reduce(rows: &RowBlock<'_, f64>, targets: Range<usize>) -> Result<Vec<f64>> {
        let p = rows.n_features();
        let mut out = vec![0.0; targets.len() * p];
        let pieces = vec![(0, Strip::contiguous(&mut out, p))];
        rows.reduce_into(targets, |_| 1.0, pieces, &Execution::sequential())?;
        Ok(out)
    }

    #[test]
    fn layouts_reduce_to_the_same_bits() -> Result<()> {
        let c = Array2::from_shape_fn((40, 13), |(i, j)| ((i * 31 + j * 17) as f64).sin());
        let mut f = Array2::zeros((13, 40)).reversed_axes();
        f.assign(&c);
        let labels: Vec<i64> = (0..40).map(|i| (i * 7) % 9).collect();
        let groups = Groups::from_labels(&labels)?;
        let means = |x: ArrayView2<'_, f64>| reduce(&RowBlock::new(x, Some(&groups), Reduction::Mean)?, 0..9);
        assert_eq!(means(c.view())?, means(f.view())?);
        Ok(())
    }

    #[test]
    fn what_is_not_finite_is_named_where_it_stands() -> Result<()> {
        let x = array![[1.0, 2.0], [3.0, f64::NAN], [1e200, 0.0]];
        let groups = Groups::from_labels(&[1, 0, 2])?;
        let rows = RowBlock::new(x.view(), Some(&groups), Reduction::Sum)?;
        assert!(matches!(reduce(&rows, 0..2), Err(Error::NonFinite { row: 1, column: 1, .. })));
        assert_eq!(reduce(&rows, 1..3), Err(Error::Overflow { target: 2 }));
        Ok(())
    }

    #[test]
    fn what_float32_cannot_hold_is_refused() -> Result<()> {
        let x = array![[1.0, 2.0], [0.0, 0.0], [1e-20, 0.0], [0.0, 1e20]];
        let rows = RowBlock::new(x.view(), None, Reduction::Sum)?;
        let mut out = [0.0_f32; 8];
        let mut single = |targets: Range<usize>, weight: f64| {
            let pieces = vec![(0, Strip::contiguous(&mut out[..2 * targets.len()], 2))];
            rows.reduce_into(targets, |_| weight, pieces, &Execution::sequential())
        };
        assert_eq!(single(0..2, 1.0), Ok(5.0));
        assert_eq!(single(1..3, 1.0), Err(Error::SingleRange { target: 2, norm: 1e-20 }));
        assert_eq!(single(2..3, 1e-150), Err(Error::SingleRange { target: 2, norm: 1e-170 }));
        assert_eq!(single(3..4, 1.0), Err(Error::SingleRange { target: 3, norm: 1e20 }));
        assert!(matches!(single(0..1, 1e-30), Err(Error::SingleRange { target: 0, .. })));
        Ok(())
    }
}
