//! Everything that can go wrong, one variant a cause. A message says what was expected, what came,
//! and what to try.

use thiserror::Error;

use crate::selection_error::SelectionError;
use crate::unremovable::Unremovable;

/// `std::result::Result` with this crate's error.
pub type Result<T> = std::result::Result<T, Error>;

/// Every way in which a call is refused. Indices count from 0.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum Error {
    /// Rows that are not as wide as those of the covariance or factor.
    #[error("features have {got} columns but {expected} were expected: pass rows of the same descriptor")]
    ColumnCount {
        /// columns of the rows
        got: usize,
        /// columns that were expected
        expected: usize,
    },

    /// Right-hand sides that are not as high as the factor.
    #[error("right-hand sides have {got} rows but the Hessian has {expected}")]
    RightHandSide {
        /// rows of the right-hand side
        got: usize,
        /// size of the system
        expected: usize,
    },

    /// An array without a single row.
    #[error("features have no rows: pass at least one")]
    NoRows,

    /// A covariance without features.
    #[error("n_features is 0: at least one feature is needed")]
    NoFeatures,

    /// A vector of the wrong length: labels, weights, targets, or a part of a stored state.
    #[error("{what} has {got} entries but there are {expected} {of}")]
    Length {
        /// the argument
        what: &'static str,
        /// its length
        got: usize,
        /// the length that was expected
        expected: usize,
        /// what each entry belongs to
        of: &'static str,
    },

    /// An array without a single column.
    #[error("features have no columns: pass at least one")]
    NoColumns,

    /// NaN or infinity among the features, or among right-hand sides.
    #[error("{what}[{row}, {column}] is {}: only finite numbers are taken", short(value))]
    NonFinite {
        /// the argument
        what: &'static str,
        /// row of the array that was passed
        row: usize,
        /// its column
        column: usize,
        /// NaN or ±inf
        value: f64,
    },

    /// Finite features with squares that overflow.
    #[error("target row {target} is finite but the square of its norm is not: rescale the features or weights")]
    Overflow {
        /// index of the target, in the order of the sorted labels
        target: usize,
    },

    /// Features with products that float32 cannot hold.
    #[error(
        "target row {target} has norm {norm:e}, and in float32 squares below 1e-30 or above 1e30 are lost: rescale the \
         features or weights, or pass precision=\"float64\""
    )]
    SingleRange {
        /// index of the target, in the order of the sorted labels
        target: usize,
        /// its norm, weighted
        norm: f64,
    },

    /// A weight that is negative, NaN or infinite.
    #[error("weights[{index}] is {}: weights of the loss must be finite and not negative", short(value))]
    Weight {
        /// index into the weights
        index: usize,
        /// its value
        value: f64,
    },

    /// A target that is NaN or infinite.
    #[error("targets[{row}, {output}] is {}: targets must be finite; leave rows without a target out", short(value))]
    Target {
        /// index of the target
        row: usize,
        /// index of the output
        output: usize,
        /// its value
        value: f64,
    },

    /// Targets in one update and none in another.
    #[error("targets come with every update or with none: {0}")]
    TargetsMixed(&'static str),

    /// Targets that do not have as many outputs as those before.
    #[error("targets have {got} outputs but the targets so far have {expected}")]
    OutputCount {
        /// outputs now
        got: usize,
        /// outputs before
        expected: usize,
    },

    /// Covariances of different sizes.
    #[error("cannot merge a covariance of {got} features into one of {expected}")]
    MergeSize {
        /// features of the other
        got: usize,
        /// features of this one
        expected: usize,
    },

    /// Sums merged with a factor of the rows, or the other way round.
    #[error(
        "cannot merge \"sums\" and \"qr\": one covariance has summed its rows, and the other keeps their triangular \
         factor. Accumulate both with the same accumulation=..."
    )]
    MergeAccumulation,

    /// A weight of a loss term that is negative, NaN or infinite.
    #[error("a covariance cannot be scaled by {}: the weight of a loss term must be finite and not negative", short(.0))]
    TermWeight(f64),

    /// A covariance that gave its array to a factor.
    #[error("this covariance was consumed by factorize(consume=True): accumulate again or factorize without consume")]
    Consumed,

    /// A λ that is negative, NaN or infinite.
    #[error("regularizer is {}: it must be finite and not negative, or \"auto\"", short(.0))]
    Regularizer(f64),

    /// λ was to be chosen from the data, and there are none.
    #[error(
        "nothing was summed (the trace of C is {0:?}), so \"auto\" has no scale to choose a regularizer from: add data, \
         rescale features that are below 1e-140, or pass a number"
    )]
    NothingSummed(f64),

    /// Sums of rows that float64 cannot hold with room for what is computed from them.
    #[error("the trace of C would be {}, more than 1e300: rescale the features or weights", short(.0))]
    SumOverflow(f64),

    /// Sums of targets that float64 cannot hold.
    #[error(
        "the sum of w y² of targets[:, {output}] would be {}, more than 1e300: rescale the targets or weights",
        short(sum)
    )]
    TargetOverflow {
        /// index of the output
        output: usize,
        /// Σ w y²
        sum: f64,
    },

    /// Rows that were finite when they were looked at, and not when they were multiplied.
    #[error("features have changed while they were summed: let no other thread write to them meanwhile")]
    Changed,

    /// A system so small or so large that digits are lost.
    #[error(
        "the trace of H = C + λΛ is {}: expected 1e-280 to 1e300, beyond which digits are lost; rescale the features, \
         the weights or the regularizer",
        short(.0)
    )]
    Scale(f64),

    /// Answers that float64 cannot hold.
    #[error("{what} of row {row} is too large for float64: rescale the rows, or raise the regularizer")]
    AnswerOverflow {
        /// the answer
        what: &'static str,
        /// index of the row
        row: usize,
    },

    /// A jitter that is negative, NaN or infinite.
    #[error("jitter is {}: it must be finite and not negative", short(.0))]
    Jitter(f64),

    /// A guaranteed λ with a reason that belongs to a λ somebody chose.
    #[error("the reason {0:?} needs a regularizer: the guaranteed one is taken only where the evidence gives none")]
    ReasonNeedsValue(&'static str),

    /// A penalty of the wrong size.
    #[error(
        "penalty has shape {got} but there are {expected} features: pass ({expected},) or ({expected}, {expected})"
    )]
    PenaltyShape {
        /// its shape
        got: String,
        /// number of features
        expected: usize,
    },

    /// A penalty matrix that is not square.
    #[error("penalty has shape ({rows}, {columns}): a matrix must be square")]
    PenaltySquare {
        /// its rows
        rows: usize,
        /// its columns
        columns: usize,
    },

    /// A machine precision of a penalty that no numbers have.
    #[error("the machine precision of the penalty is {}: expected a number from 0 to 1", short(.0))]
    PenaltyPrecision(f64),

    /// A penalty with an entry that is NaN or infinite, or with a negative diagonal.
    #[error("penalty[{row}, {column}] is {}: a penalty is finite and positive semi-definite", short(value))]
    PenaltyEntry {
        /// row
        row: usize,
        /// column
        column: usize,
        /// its value
        value: f64,
    },

    /// A penalty that is not symmetric.
    #[error(
        "penalty is not symmetric: [{row}, {column}] is {} but [{column}, {row}] is {}",
        short(lower),
        short(upper)
    )]
    PenaltyAsymmetric {
        /// row
        row: usize,
        /// column
        column: usize,
        /// entry below the diagonal
        lower: f64,
        /// entry above the diagonal
        upper: f64,
    },

    /// A penalty that rewards some direction.
    #[error("penalty is not positive semi-definite: with its rounding on the diagonal, its pivot {pivot} is {value:?}")]
    PenaltyIndefinite {
        /// index of the pivot
        pivot: usize,
        /// its value
        value: f64,
    },

    /// A penalty of zeros.
    #[error(
        "penalty is zero: \"auto\" cannot choose the strength of nothing; pass a regularizer or a penalty that is not zero"
    )]
    PenaltyZero,

    /// The Cholesky factorisation met a pivot that is not positive.
    #[error(
        "pivot {pivot} of {size} (counted from 0) is {value:?} at regularizer {regularizer:?}: the data leave a direction \
         uncovered; raise the regularizer (\"auto\" takes the smallest that is guaranteed to work) or add data"
    )]
    NotPositiveDefinite {
        /// index of the pivot
        pivot: usize,
        /// number of pivots
        size: usize,
        /// its value
        value: f64,
        /// the λ that was tried
        regularizer: f64,
    },

    /// A selection that cannot be made.
    #[error(transparent)]
    Selection(#[from] SelectionError),

    /// Rows that cannot be removed from a factorised system.
    #[error(transparent)]
    Unremovable(#[from] Unremovable),

    /// The iterations for eigenvalues did not converge.
    #[error("the iterations for eigenvalues did not converge, which finite numbers should not cause: please report it")]
    NotConverged,

    /// No component at all.
    #[error("components are empty: name at least one set of features")]
    NoComponents,

    /// A component without features.
    #[error("component {0} is empty: each must have at least one feature")]
    EmptyComponent(usize),

    /// A component with an index below 0.
    #[error("component {component} has feature index {feature}: indices count from 0")]
    ComponentNegative {
        /// index of the component
        component: usize,
        /// offending index
        feature: i64,
    },

    /// A component that names a feature beyond the last.
    #[error(
        "component {component} has feature index {feature}, but there are {n_features} features (0 to {})",
        n_features.saturating_sub(1)
    )]
    ComponentRange {
        /// index of the component
        component: usize,
        /// offending index
        feature: usize,
        /// number of features
        n_features: usize,
    },

    /// A component that names a feature twice.
    #[error("component {component} has feature {feature} twice")]
    ComponentRepeats {
        /// index of the component
        component: usize,
        /// the feature
        feature: usize,
    },

    /// A stored state with a reason that this version does not know.
    #[error("the reason for the regularizer is {0:?}, which this version does not know")]
    UnknownReason(String),

    /// A stored factor with a diagonal that is not positive.
    #[error("the stored factor has {value:?} on its diagonal at {index}: expected a positive number")]
    StoredFactor {
        /// row and column
        index: usize,
        /// the entry
        value: f64,
    },

    /// A stored state with NaN or infinity.
    #[error("the stored {what} has {} at {index}: expected finite numbers", short(value))]
    StoredNumber {
        /// the vector
        what: &'static str,
        /// index into it
        index: usize,
        /// NaN or ±inf
        value: f64,
    },

    /// A stored state of which two parts contradict each other.
    #[error("the stored state contradicts itself: {0}")]
    StoredState(&'static str),

    /// A factor that float32 cannot hold.
    #[error(
        "the factor of H has entries beyond the range of float32 (1e-38 to 3e38): rescale the features or weights, or pass \
         precision=\"float64\""
    )]
    SingleFactor,

    /// No targets were accumulated.
    #[error("no targets were accumulated, so there is no fit: pass targets to every update")]
    NotFitted,

    /// The allocator refused.
    #[error("{} of memory could not be allocated: free some, or raise its limit (ulimit -v)", size(bytes))]
    OutOfMemory {
        /// bytes asked for
        bytes: usize,
    },

    /// Somebody asked to stop.
    #[error("interrupted")]
    Interrupted,
}

/// A number as short as it can be read back: -1, 0.5, 1e-300, NaN.
pub(crate) fn short(x: &f64) -> String {
    let text = format!("{x:?}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// Bytes in MB or GB.
fn size(bytes: &usize) -> String {
    let bytes = *bytes as f64;
    if bytes < 1e9 { format!("{:.0} MB", (bytes / 1e6).max(1.0)) } else { format!("{:.1} GB", bytes / 1e9) }
}
