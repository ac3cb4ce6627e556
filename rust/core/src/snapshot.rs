//! The whole state of an accumulator or a factor as plain vectors, for files and pickles. A
//! restored object continues with the same bits; a state that does not fit together is refused.

use std::sync::Arc;

use crate::absorb::Columns;
use crate::covariance::Covariance;
use crate::error::{Error, Result};
use crate::execution::Execution;
use crate::hessian::Hessian;
use crate::moments::Moments;
use crate::pages::{copied, zeros};
use crate::penalty::{Form, Penalty};
use crate::regularizer::{Choice, Reason};
use crate::stage::Precision;
use crate::triangle::Square;

/// State of a `Covariance`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// p
    pub n_features: usize,
    /// Precision of its products.
    pub precision: Precision,
    /// The least precision of anything that was merged into it.
    pub least: Precision,
    /// Lower triangle of the summed part of C, or of Rᵀ if `moments` are those of a factor, column by
    /// column.
    pub lower: Vec<f64>,
    /// Sums beside it; `cross` without the waiting rows.
    pub moments: Moments,
    /// Whether an update has settled if there are targets.
    pub decided: bool,
    /// Waiting rows, row-major, times √w.
    pub waiting_rows: Vec<f64>,
    /// Their targets, row-major, times √w.
    pub waiting_targets: Vec<f64>,
}

/// State of a `Hessian`.
#[derive(Debug, Clone, PartialEq)]
pub struct HessianSnapshot {
    /// p
    pub n_features: usize,
    /// L, column by column.
    pub lower: Vec<f64>,
    /// b, Σ w y², n and Σ ln w of the data.
    pub moments: Moments,
    /// λ
    pub regularizer: f64,
    /// What a guaranteed λ added to every diagonal entry of Λ; `penalty` is without it.
    pub jitter: f64,
    /// Why λ has its value.
    pub reason: Reason,
    /// Λ
    pub penalty: PenaltySnapshot,
    /// What a criterion added to the diagonal of Λ; `penalty` contains it.
    pub penalty_jitter: f64,
}

/// State of a `Penalty`.
#[derive(Debug, Clone, PartialEq)]
pub enum PenaltySnapshot {
    /// All features alike.
    Identity,
    /// Its diagonal.
    Diagonal(Vec<f64>),
    /// Its lower triangle, column by column, and the machine precision of its numbers.
    Matrix(Vec<f64>, f64),
}

impl Covariance {
    /// The whole state, to be stored.
    pub fn snapshot(&self) -> Result<Snapshot> {
        Ok(Snapshot {
            n_features: self.n_features(),
            precision: self.precision,
            least: self.least,
            lower: pack(self.sums()?)?,
            moments: self.moments.try_clone()?,
            decided: self.decided,
            waiting_rows: self.stage.to_vec()?,
            waiting_targets: copied(&self.stage.targets)?,
        })
    }

    /// The accumulator of a snapshot.
    pub fn from_snapshot(snapshot: Snapshot) -> Result<Self> {
        let Snapshot { n_features: p, lower, moments, waiting_rows, waiting_targets, decided, .. } = snapshot;
        check_moments(&moments, p)?;
        if !decided && moments.n_outputs > 0 {
            return Err(Error::StoredState("it has targets, but no update was counted"));
        }
        let sums = unpack(&lower, p, "lower triangle")?;
        let mut covariance = Self::new(p, snapshot.precision)?;
        if moments.unexplained.is_some() {
            covariance.columns = Some(Columns::new(p, moments.n_outputs)?);
        }
        let len = waiting_rows.len() / p;
        check_length("waiting rows", waiting_rows.len(), Some(len.min(covariance.stage.room() - 1) * p))?;
        check_length("waiting targets", waiting_targets.len(), len.checked_mul(moments.n_outputs))?;
        check_finite("waiting rows", &waiting_rows)?;
        check_finite("waiting targets", &waiting_targets)?;
        covariance.least = snapshot.least.min(snapshot.precision);
        covariance.sums = Some(sums);
        covariance.moments = moments;
        covariance.decided = decided;
        covariance.stage.make_for(&waiting_rows, &waiting_targets)?;
        covariance.stage.extend(&waiting_rows, &waiting_targets);
        covariance.size = covariance.trace()?;
        Ok(covariance)
    }
}

impl Hessian {
    /// The whole state, to be stored.
    pub fn snapshot(&self) -> Result<HessianSnapshot> {
        let penalty = match self.penalty.form() {
            Form::Identity => PenaltySnapshot::Identity,
            Form::Diagonal(values) => PenaltySnapshot::Diagonal(copied(values)?),
            Form::Matrix(matrix) => PenaltySnapshot::Matrix(pack(&matrix.values)?, matrix.eps),
        };
        Ok(HessianSnapshot {
            n_features: self.n_features(),
            lower: pack(&self.factor)?,
            moments: self.moments().try_clone()?,
            regularizer: self.regularizer(),
            jitter: self.choice.jitter,
            reason: self.reason(),
            penalty,
            penalty_jitter: self.penalty.jitter(),
        })
    }

    /// The factor of a snapshot.
    pub fn from_snapshot(snapshot: HessianSnapshot) -> Result<Self> {
        let HessianSnapshot { n_features: p, lower, moments, regularizer, jitter, reason, penalty, penalty_jitter } =
            snapshot;
        check_moments(&moments, p)?;
        let choice = Choice { regularizer, jitter, reason }.checked()?;
        if !(penalty_jitter.is_finite() && penalty_jitter >= 0.0) {
            return Err(Error::Jitter(penalty_jitter));
        }
        let factor = unpack(&lower, p, "lower triangle")?;
        let diagonal = factor.diagonal();
        if let Some(index) = diagonal.iter().position(|d| *d <= 0.0) {
            return Err(Error::StoredFactor { index, value: diagonal[index] });
        }
        let penalty = match penalty {
            PenaltySnapshot::Identity => Penalty::identity(),
            PenaltySnapshot::Diagonal(values) => Penalty::diagonal(values)?,
            PenaltySnapshot::Matrix(lower, eps) => Penalty::of_lower(unpack(&lower, p, "penalty")?, eps)?,
        };
        penalty.require_features(p)?;
        Ok(Self::new(Arc::new(factor), penalty.including(penalty_jitter), choice, moments))
    }
}

/// The lower triangle, column by column.
fn pack(square: &Square) -> Result<Vec<f64>> {
    let n = square.n();
    let mut lower = zeros(n * (n + 1) / 2)?;
    let mut rest = &mut lower[..];
    for j in 0..n {
        let (column, behind) = rest.split_at_mut(n - j);
        column.copy_from_slice(square.lower_column(j));
        rest = behind;
    }
    Ok(lower)
}

/// The square array of a lower triangle, column by column.
fn unpack(lower: &[f64], n: usize, what: &'static str) -> Result<Square> {
    check_length(what, lower.len(), n.checked_add(1).and_then(|m| n.checked_mul(m)).map(|twice| twice / 2))?;
    check_finite(what, lower)?;
    let mut square = Square::zeros(n)?;
    let start = |j: usize| j * (2 * n + 1 - j) / 2; // columns of n, n − 1, … entries
    square.for_each_lower_column(&Execution::sequential(), |j, column| {
        column.copy_from_slice(&lower[start(j)..start(j + 1)]);
    });
    Ok(square)
}

fn check_moments(moments: &Moments, p: usize) -> Result<()> {
    if p == 0 {
        return Err(Error::NoFeatures);
    }
    check_length("cross", moments.cross.len(), p.checked_mul(moments.n_outputs))?;
    check_length("squares", moments.squares.len(), Some(moments.n_outputs))?;
    check_finite("cross", &moments.cross)?;
    check_finite("squares", &moments.squares)?;
    if let Some(unexplained) = &moments.unexplained {
        check_length("unexplained squares", unexplained.len(), Some(moments.n_outputs))?;
        check_finite("unexplained squares", unexplained)?;
    }
    check_finite("log_weight", &[moments.log_weight])
}

/// Refuse another length than `expected`; `None` is one that no vector has.
fn check_length(what: &'static str, got: usize, expected: Option<usize>) -> Result<()> {
    match expected.unwrap_or(usize::MAX) {
        expected if expected == got => Ok(()),
        expected => Err(Error::Length { what, got, expected, of: "in a state of this size" }),
    }
}

/// Refuse NaN and infinity.
fn check_finite(what: &'static str, values: &[f64]) -> Result<()> {
    match values.iter().position(|x| !x.is_finite()) {
        Some(index) => Err(Error::StoredNumber { what, index, value: values[index] }),
        None => Ok(()),
    }
}
