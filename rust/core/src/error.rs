//! What can go wrong, one variant a cause: each message says what was expected, what came, and what to try.

use thiserror::Error;

/// `std::result::Result` with this crate's error.
pub type Result<T> = std::result::Result<T, Error>;

/// Every way in which a call is refused. Indices count from 0.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum Error {
    /// Rows of another width than the covariance or factor was built for.
    #[error("features have {got} columns but {expected} were expected: pass rows of the same descriptor")]
    ColumnCount {
        /// columns of the rows
        got: usize,
        /// columns that were expected
        expected: usize,
    },

    /// A matrix of right-hand sides of another height than the factor.
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

    /// Labels, weights or targets that do not match the rows.
    #[error("{what} has {got} entries but there are {expected} {of}")]
    Length {
        /// the argument
        what: &'static str,
        /// its length
        got: usize,
        /// the length that was expected
        expected: usize,
        /// what there are so many of
        of: &'static str,
    },

    /// An array without a single column.
    #[error("features have no columns: pass at least one")]
    NoColumns,

    /// NaN or infinity among the features, or among right-hand sides.
    #[error("{what}[{row}, {column}] is {value}: only finite numbers are taken")]
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

    /// Finite features whose squares are not.
    #[error("target row {target} is finite but the square of its norm is not: rescale the features or weights")]
    Overflow {
        /// index of the target, in the order of the sorted labels
        target: usize,
    },

    /// Features whose products float32 cannot hold.
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
    #[error("weights[{index}] is {value}: weights of the loss must be finite and not negative")]
    Weight {
        /// index into the weights
        index: usize,
        /// its value
        value: f64,
    },

    /// A target that is NaN or infinite.
    #[error("targets[{row}, {output}] is {value}: targets must be finite; leave rows without a target out")]
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

    /// Another number of outputs than before.
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

    /// A weight of a loss term that is negative, NaN or infinite.
    #[error("a covariance cannot be scaled by {0}: the weight of a loss term must be finite and not negative")]
    TermWeight(f64),

    /// The array was handed to a factor.
    #[error("this covariance was consumed by factorize(consume=True): accumulate again or factorize without consume")]
    Consumed,

    /// A λ that is negative, NaN or infinite.
    #[error("regularizer is {0}: it must be finite and not negative, or \"auto\"")]
    Regularizer(f64),

    /// λ is to be found from the data, and there are none.
    #[error(
        "nothing was summed (the trace of C is {0:?}), so \"auto\" has no scale to choose a regularizer from: add data or pass a \
         number"
    )]
    NothingSummed(f64),

    /// The sums overflowed.
    #[error("the trace of C is {0}: the sums have overflowed; rescale the features or weights")]
    SumOverflow(f64),

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

    /// A penalty with an entry that is NaN or infinite, or with a negative diagonal.
    #[error("penalty[{row}, {column}] is {value}: a penalty is finite and positive semi-definite")]
    PenaltyEntry {
        /// row
        row: usize,
        /// column
        column: usize,
        /// its value
        value: f64,
    },

    /// A penalty that is not symmetric.
    #[error("penalty is not symmetric: [{row}, {column}] is {lower} but [{column}, {row}] is {upper}")]
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

    /// No component at all.
    #[error("components are empty: name at least one set of features")]
    NoComponents,

    /// A component without features.
    #[error("component {0} is empty: each must have at least one feature")]
    EmptyComponent(usize),

    /// A component that names a feature that does not exist.
    #[error("component {component} has feature index {feature}, but there are {n_features} features (0 to {})", n_features - 1)]
    ComponentRange {
        /// index of the component
        component: usize,
        /// offending index
        feature: i64,
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

    /// A stored state that says something else than this version knows.
    #[error("the stored reason for the regularizer is {0:?}, which this version does not know")]
    UnknownReason(String),

    /// A stored factor that is none.
    #[error("the stored factor has {value:?} on its diagonal at {index}, where a positive number must stand")]
    StoredFactor {
        /// row and column
        index: usize,
        /// what stands there
        value: f64,
    },

    /// No targets were accumulated.
    #[error("no targets were accumulated, so there is no fit: pass targets to every update")]
    NotFitted,

    /// The allocator refused.
    #[error("could not allocate {bytes} bytes")]
    OutOfMemory {
        /// bytes asked for
        bytes: usize,
    },

    /// Somebody asked to stop.
    #[error("interrupted")]
    Interrupted,
}
