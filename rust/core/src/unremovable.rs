//! Why rows cannot be removed from a factorised system: they are not in it, or nothing else would be.

use thiserror::Error;

/// A removal that is refused. Indices count from 0.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum Unremovable {
    /// H without the rows is not positive definite.
    #[error(
        "without these rows pivot {pivot} of {size} (counted from 0) would be {value:?}, nothing to rounding, at regularizer \
         {regularizer:?}: pass rows and weights as they were added; if they were, only they cover a direction: keep some of \
         them, or factorise the rows that remain with a larger regularizer"
    )]
    Pivot {
        /// index of the pivot
        pivot: usize,
        /// number of pivots
        size: usize,
        /// what would be left of it
        value: f64,
        /// λ
        regularizer: f64,
    },

    /// More rows than there are.
    #[error("{got} rows of positive weight cannot be removed: only {left} were added")]
    Rows {
        /// rows to be removed
        got: usize,
        /// rows there are
        left: usize,
    },

    /// Targets that were not added.
    #[error(
        "targets[:, {output}] cannot be removed: their {squares}, {got:?}, is more than that of all targets, {left:?}: pass \
         targets and weights as they were added"
    )]
    Targets {
        /// index of the output
        output: usize,
        /// which squares were compared
        squares: &'static str,
        /// those to be removed
        got: f64,
        /// those there are
        left: f64,
    },
}
