//! A change of a factorised system on its way: prepared, then committed.
//!
//! To prepare it takes most of the time, may fail and may be stopped, and changes nothing. To commit it
//! cannot fail and is not stopped: a few rows are then taken into the array of L or out of it, or another
//! array takes its place. So whoever stops a change, or gets an error, finds the system as it was.

use std::sync::Arc;

use faer::{MatMut, MatRef};

use crate::absorb::{Columns, Triangle};
use crate::execution::Execution;
use crate::hessian::Derived;
use crate::moments::Moments;
use crate::removal::{Removal, TOGETHER};
use crate::stage::ROWS;
use crate::triangle::Square;

/// Whether rows are added or removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// H + Σ w f fᵀ
    Add,
    /// H − Σ w f fᵀ
    Remove,
}

impl Change {
    /// Rows that are taken together.
    pub(crate) fn rows(self) -> usize {
        match self {
            Self::Add => ROWS,
            Self::Remove => TOGETHER,
        }
    }

    /// What C changes by.
    pub(crate) fn sign(self) -> f64 {
        match self {
            Self::Add => 1.0,
            Self::Remove => -1.0,
        }
    }

    /// Rows from which on H is factorised anew. One Zen 4 core, p = 2048: to add a row takes 0.23 ms, to
    /// remove one 0.64 ms; to sum them 0.1 ms each, and L Lᵀ and its factor 150 ms.
    pub(crate) fn anew(self, p: usize) -> usize {
        match self {
            Self::Add => (p / 2).max(ROWS),
            Self::Remove => (p / 8).max(ROWS),
        }
    }
}

/// A change of H that was found good.
pub struct Revision<'a> {
    pub(crate) moments: Moments,
    pub(crate) step: Step<'a>,
    /// What the change replaces.
    pub(crate) into: (&'a mut Moments, &'a mut Derived, &'a mut u64),
}

/// What becomes of L.
pub(crate) enum Step<'a> {
    InPlace(&'a mut Square, Box<Work>),
    Replace(&'a mut Arc<Square>, Square),
}

impl Revision<'_> {
    /// Make the change.
    pub fn commit(mut self, run: &Execution) {
        match self.step {
            Step::InPlace(lower, work) => work.apply(lower, &mut self.moments, &run.unstoppable()),
            Step::Replace(factor, lower) => *factor = Arc::new(lower),
        }
        let (moments, derived, revision) = self.into;
        (*moments, *derived) = (self.moments, Derived::default());
        *revision = revision.wrapping_add(1);
    }
}

/// What takes some rows into L, or out of it; with their targets, where z is kept in place of b.
pub(crate) enum Work {
    Absorb(Columns),
    /// With the least that L_00 can be.
    Remove(Removal, Vec<f64>, f64),
}

impl Work {
    /// After a stop L is spoilt.
    pub fn apply(self, lower: &mut Square, moments: &mut Moments, run: &Execution) {
        let (p, Moments { n_outputs, cross, unexplained, .. }) = (lower.n(), moments);
        let k = if unexplained.is_some() { *n_outputs } else { 0 };
        let z = MatMut::from_column_major_slice_mut(&mut cross[..p * k], p, k);
        match self {
            Self::Absorb(mut columns) => {
                let unexplained = unexplained.as_deref_mut().unwrap_or_default();
                columns.absorb(Triangle { lower: lower.as_mut(), z }, unexplained, 0, run);
            }
            Self::Remove(removal, y, least) => {
                removal.apply(lower.as_mut(), run);
                raise_first(lower, least);
                removal.apply_to_fit(z, MatRef::from_row_major_slice(&y, y.len().checked_div(k).unwrap_or(0), k));
            }
        }
    }
}

/// Raise L_00 to the least that it can be: rounding of the rows that were there leaves H_00 below λΛ_00.
pub(crate) fn raise_first(lower: &mut Square, least: f64) {
    let first = &mut lower.lower_column_mut(0)[0];
    *first = first.max(least);
}
