//! The candidates of a selection: whitened rows, some of which belong together.
//!
//! A candidate is a block of rows that are taken together: the energy and the forces of a
//! structure. Whitened rows z = √w L⁻¹f have H for the unit of all that follows: H + Σ w f fᵀ = L (I + Z
//! ᵀZ) Lᵀ.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use faer::MatRef;
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::execution::Execution;
use crate::panel::Panel;
use crate::real::squared_norm;
use crate::selection_error::SelectionError;

/// Whitened rows of candidates.
#[derive(Clone, Copy)]
pub struct Pool<'a> {
    rows: &'a [f64],
    width: usize,
    /// Candidate c has the rows `starts[c]..starts[c + 1]`; `None`: each has one.
    starts: Option<&'a [usize]>,
}

impl<'a> Pool<'a> {
    /// Rows of `width` numbers, row-major, and where the rows of each candidate begin (and, as a last
    /// entry, where they end); without, each row is a candidate.
    pub fn new(rows: &'a [f64], width: usize, starts: Option<&'a [usize]>) -> Result<Self> {
        if width == 0 {
            return Err(Error::NoFeatures);
        }
        if rows.is_empty() {
            return Err(Error::NoRows);
        }
        if !rows.len().is_multiple_of(width) {
            return Err(Error::RightHandSide { got: rows.len(), expected: width });
        }
        let n = rows.len() / width;
        if let Some(starts) = starts {
            let rising = starts.windows(2).all(|pair| pair[0] < pair[1]);
            if !rising || starts.len() < 2 || starts.first() != Some(&0) || starts.last() != Some(&n) {
                return Err(SelectionError::CandidateRows { n_rows: n }.into());
            }
        }
        Ok(Self { rows, width, starts })
    }

    /// Refuse rows with numbers that are not finite, or with norms that are not.
    pub(crate) fn require_finite(&self, run: &Execution) -> Result<()> {
        const AT_ONCE: usize = 256;
        for_each(
            steps(self.n_rows(), AT_ONCE),
            run,
            || Ok(()),
            |(), rows, _| {
                for row in rows {
                    let z = self.row(row);
                    if !squared_norm(z).is_finite() {
                        return Err(match z.iter().position(|x| !x.is_finite()) {
                            Some(column) => Error::NonFinite { what: "whitened rows", row, column, value: z[column] },
                            None => Error::Overflow { target: row },
                        });
                    }
                }
                Ok(())
            },
        )?;
        Ok(())
    }

    /// Number of candidates.
    pub(crate) fn len(&self) -> usize {
        self.starts.map_or(self.n_rows(), |starts| starts.len() - 1)
    }

    pub(crate) fn n_rows(&self) -> usize {
        self.rows.len() / self.width
    }

    /// Where the rows of each candidate begin.
    pub(crate) fn starts(&self) -> Option<&'a [usize]> {
        self.starts
    }

    /// Numbers in a row.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Whether every candidate is one row.
    pub(crate) fn is_of_rows(&self) -> bool {
        self.starts.is_none() || self.len() == self.n_rows()
    }

    /// Which rows a candidate has.
    pub(crate) fn rows_of(&self, candidate: usize) -> Range<usize> {
        match self.starts {
            None => candidate..candidate + 1,
            Some(starts) => starts[candidate]..starts[candidate + 1],
        }
    }

    pub(crate) fn row(&self, i: usize) -> &'a [f64] {
        &self.rows[i * self.width..(i + 1) * self.width]
    }

    /// Some rows as a matrix, (rows, width).
    pub(crate) fn matrix(&self, rows: Range<usize>) -> MatRef<'a, f64> {
        let values = &self.rows[rows.start * self.width..rows.end * self.width];
        MatRef::from_row_major_slice(values, rows.len(), self.width)
    }

    /// Copy some rows into the first rows of a panel.
    pub(crate) fn gather(&self, rows: impl Iterator<Item = usize>, into: &mut Panel) {
        let n = into.n_rows();
        into.rows_mut(0..n).zip(rows).for_each(|(out, i)| out.copy_from_slice(self.row(i)));
    }
}

/// Call `f` with each of the items, side by side if work may be split; results in their order. Each
/// thread has memory, made by `memory`.
pub(crate) fn for_each<T: Send, M: Send, R: Send>(
    items: Vec<T>,
    run: &Execution,
    memory: impl Fn() -> Result<M> + Sync,
    f: impl Fn(&mut M, T, &Execution) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let unused = Mutex::new(vec![]);
    let lock = || unused.lock().unwrap_or_else(PoisonError::into_inner);
    let call = |item| {
        run.check()?;
        let taken = lock().pop();
        let mut memory = match taken {
            Some(memory) => memory,
            None => memory()?,
        };
        let result = f(&mut memory, item, &run.alone());
        lock().push(memory);
        result
    };
    if run.is_parallel() && items.len() > 1 {
        let results: Vec<Result<R>> = items.into_par_iter().map(call).collect();
        results.into_iter().collect()
    } else {
        items.into_iter().map(call).collect()
    }
}

/// 0..n in steps.
pub(crate) fn steps(n: usize, step: usize) -> Vec<Range<usize>> {
    (0..n).step_by(step.max(1)).map(|start| start..n.min(start + step)).collect()
}
