//! Everything an accumulator or a factor is made of, for files and pickles: what is restored continues to the same bits.

use crate::covariance::Covariance;
use crate::error::{Error, Result};
use crate::execution::Execution;
use crate::hessian::Hessian;
use crate::moments::Moments;
use crate::pages::zeros;
use crate::penalty::Penalty;
use crate::regularizer::{Choice, Reason};
use crate::stage::Precision;
use crate::triangle::Square;

/// A `Covariance`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// p
    pub n_features: usize,
    /// Precision of its products.
    pub precision: Precision,
    /// The least precision of anything that was merged into it.
    pub least: Precision,
    /// Lower triangle of the summed part of C, column by column.
    pub lower: Vec<f64>,
    /// Sums beside it; `cross` without the rows that wait.
    pub moments: Moments,
    /// Whether any update said if there are targets.
    pub decided: bool,
    /// Rows that wait, row-major, times √w.
    pub waiting_rows: Vec<f64>,
    /// Their targets, row-major, times √w.
    pub waiting_targets: Vec<f64>,
}

/// A `Hessian`.
#[derive(Debug, Clone, PartialEq)]
pub struct HessianSnapshot {
    /// p
    pub n_features: usize,
    /// L, column by column.
    pub lower: Vec<f64>,
    /// Sums that came with the data.
    pub moments: Moments,
    /// λ
    pub regularizer: f64,
    /// On Λ.
    pub jitter: f64,
    /// Why λ has its value.
    pub reason: Reason,
    /// Λ
    pub penalty: PenaltySnapshot,
}

/// A `Penalty`.
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
    /// All state, to be stored.
    pub fn snapshot(&self) -> Result<Snapshot> {
        Ok(Snapshot {
            n_features: self.n_features(),
            precision: self.precision,
            least: self.least,
            lower: pack(self.sums()?)?,
            moments: self.moments.clone(),
            decided: self.decided,
            waiting_rows: self.stage.to_vec()?,
            waiting_targets: self.stage.targets.clone(),
        })
    }

    /// The accumulator that a snapshot was taken of.
    pub fn from_snapshot(snapshot: Snapshot) -> Result<Self> {
        let p = snapshot.n_features;
        let mut covariance = Self::new(p, snapshot.precision)?;
        covariance.least = snapshot.least.min(snapshot.precision);
        let Snapshot { lower, moments, waiting_rows, waiting_targets, decided, .. } = snapshot;
        let len = waiting_rows.len() / p;
        check_moments(&moments, p)?;
        check_length("waiting rows", waiting_rows.len(), len.min(covariance.stage.room() - 1) * p)?;
        check_length("waiting targets", waiting_targets.len(), len * moments.n_outputs)?;
        covariance.sums = Some(unpack(&lower, p)?);
        covariance.moments = moments;
        covariance.decided = decided;
        covariance.stage.extend(&waiting_rows, &waiting_targets)?;
        Ok(covariance)
    }
}

impl Hessian {
    /// All state, to be stored.
    pub fn snapshot(&self) -> Result<HessianSnapshot> {
        let penalty = match &self.penalty {
            Penalty::Identity => PenaltySnapshot::Identity,
            Penalty::Diagonal(values) => PenaltySnapshot::Diagonal(values.clone()),
            Penalty::Matrix(matrix, eps) => PenaltySnapshot::Matrix(pack(matrix)?, *eps),
        };
        Ok(HessianSnapshot {
            n_features: self.n_features(),
            lower: pack(self.factor())?,
            moments: self.moments().clone(),
            regularizer: self.regularizer(),
            jitter: self.jitter(),
            reason: self.reason(),
            penalty,
        })
    }

    /// The factor that a snapshot was taken of.
    pub fn from_snapshot(snapshot: HessianSnapshot) -> Result<Self> {
        let HessianSnapshot { n_features: p, lower, moments, regularizer, jitter, reason, penalty } = snapshot;
        if p == 0 {
            return Err(Error::NoFeatures);
        }
        check_moments(&moments, p)?;
        let factor = unpack(&lower, p)?;
        let diagonal = factor.diagonal();
        if let Some(index) = diagonal.iter().position(|d| !(d.is_finite() && *d > 0.0)) {
            return Err(Error::StoredFactor { index, value: diagonal[index] });
        }
        let penalty = match penalty {
            PenaltySnapshot::Identity => Penalty::Identity,
            PenaltySnapshot::Diagonal(values) => Penalty::diagonal(values, p)?,
            PenaltySnapshot::Matrix(lower, eps) => {
                let mut matrix = unpack(&lower, p)?;
                matrix.back_up(&Execution::sequential()); // both triangles are read
                Penalty::Matrix(matrix, eps)
            }
        };
        Ok(Self::new(factor, penalty, Choice { regularizer, jitter, reason }, moments))
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

fn unpack(lower: &[f64], n: usize) -> Result<Square> {
    check_length("lower triangle", lower.len(), n * (n + 1) / 2)?;
    let mut square = Square::zeros(n)?;
    let start = |j: usize| j * (2 * n + 1 - j) / 2; // columns of n, n − 1, … entries
    square.for_each_lower_column(&Execution::sequential(), |j, column| {
        column.copy_from_slice(&lower[start(j)..start(j + 1)]);
    });
    Ok(square)
}

fn check_moments(moments: &Moments, p: usize) -> Result<()> {
    check_length("cross", moments.cross.len(), p * moments.n_outputs)?;
    check_length("squares", moments.squares.len(), moments.n_outputs)
}

fn check_length(what: &'static str, got: usize, expected: usize) -> Result<()> {
    if got == expected { Ok(()) } else { Err(Error::Length { what, got, expected, of: "entries in the state" }) }
}
