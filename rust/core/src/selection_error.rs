//! What can be wrong with a selection, one variant a cause.

use thiserror::Error;

use crate::error::short;

/// Why a selection is refused. Indices count from 0.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum SelectionError {
    /// Candidates of a selection whose rows do not follow one another.
    #[error("the rows of candidates begin at places that rise from 0 and end at {n_rows}, the number of rows")]
    CandidateRows {
        /// number of rows
        n_rows: usize,
    },

    /// A candidate that does not exist.
    #[error("candidate {index} does not exist: there are {n}, counted from 0")]
    CandidateRange {
        /// its index
        index: usize,
        /// number of candidates
        n: usize,
    },

    /// A candidate that was picked already, or must not be.
    #[error("candidate {0} was picked or forbidden already")]
    CandidateClosed(usize),

    /// A cost that is not positive.
    #[error("costs[{index}] is {}: costs must be positive and finite", short(value))]
    Cost {
        /// index of the candidate
        index: usize,
        /// its cost
        value: f64,
    },

    /// A budget that is no number.
    #[error("budget is {}: expected a number", short(.0))]
    Budget(f64),

    /// A target of a selection that no pick can make more rigid, or whose rigidity is no number.
    #[error(
        "target {index} of the selection has the variance {value:?}: expected one above 0 that float64 can divide by; \
         leave out targets with rows of zeros"
    )]
    TargetVariance {
        /// index of the target
        index: usize,
        /// its variance
        value: f64,
    },

    /// Weights of targets without a mean.
    #[error("the weights of the targets sum to {}: expected a positive number", short(.0))]
    TargetWeights(f64),

    /// Samples where there is no guarantee for them.
    #[error("samples are drawn for ln|H| alone, from the first pick on: for other objectives nothing is guaranteed")]
    NoSampling,
}
