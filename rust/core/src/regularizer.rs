//! The strength λ of the penalty: a number that somebody chose, or the smallest at which a
//! factorisation is guaranteed; and why it was taken.

use crate::error::{Error, Result};
use crate::execution::Execution;
use crate::penalty::Penalty;

/// Times the textbook bound on λ. Cholesky succeeds where λ_min(H) exceeds (p + 1) u trace(H)
/// (Higham, Accuracy and Stability of Numerical Algorithms, theorem 10.7). C itself carries
/// rounding of the same order, so twice the bound is taken.
const SAFETY: f64 = 2.0;

/// The λ that the caller asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Regularizer {
    /// λ as the caller gives it, unsquared.
    Value(f64),
    /// λ that a criterion has chosen.
    Chosen {
        /// λ, unsquared
        value: f64,
        /// added to the diagonal of Λ, but for features whose row of Λ is zero; 0 for none
        jitter: f64,
        /// the criterion
        reason: Reason,
    },
    /// The smallest λ at which rounding cannot make the factorisation fail.
    Guaranteed,
    /// The same, because a criterion found no λ: `EvidenceUnresolved` or `EvidenceUndetermined`.
    GuaranteedBecause(Reason),
}

/// Why λ has its value. The text for people is the caller's: the criteria are computed there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The caller gave it.
    Given,
    /// λ·λ_min(Λ) = 2 (p + 1) u trace(C).
    Guaranteed,
    /// Λ is singular: λ·λ_max(Λ) has that value, and λ·jitter of the same size is on every diagonal
    /// entry.
    GuaranteedWithJitter,
    /// The evidence has its maximum there.
    EvidenceMaximum,
    /// The evidence is largest at the smallest λ at which rounding leaves it resolved.
    EvidenceEdge,
    /// The evidence still rises at the upper end of the search.
    EvidenceTop,
    /// The guaranteed λ, because rounding hides the evidence at every λ.
    EvidenceUnresolved,
    /// The guaranteed λ, because the data leave an unpenalised feature undetermined.
    EvidenceUndetermined,
    /// The largest evidence along a path of λ.
    PathEvidence,
    /// The least generalised cross-validation error along a path.
    PathGcv,
    /// The least leave-one-out error along a path.
    PathLeaveOneOut,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Given,
        Self::Guaranteed,
        Self::GuaranteedWithJitter,
        Self::EvidenceMaximum,
        Self::EvidenceEdge,
        Self::EvidenceTop,
        Self::EvidenceUnresolved,
        Self::EvidenceUndetermined,
        Self::PathEvidence,
        Self::PathGcv,
        Self::PathLeaveOneOut,
    ];

    /// Its name, as files have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Given => "given",
            Self::Guaranteed => "guaranteed",
            Self::GuaranteedWithJitter => "guaranteed with jitter",
            Self::EvidenceMaximum => "evidence maximum",
            Self::EvidenceEdge => "evidence edge",
            Self::EvidenceTop => "evidence top",
            Self::EvidenceUnresolved => "evidence unresolved",
            Self::EvidenceUndetermined => "evidence undetermined",
            Self::PathEvidence => "path evidence",
            Self::PathGcv => "path gcv",
            Self::PathLeaveOneOut => "path leave-one-out",
        }
    }

    /// Whether λ is the guaranteed one, with its jitter on every diagonal entry.
    fn is_guaranteed(self) -> bool {
        matches!(self, Self::Guaranteed | Self::GuaranteedWithJitter) || self.is_lack_of_evidence()
    }

    /// Whether the guaranteed λ was taken because the evidence gave none.
    fn is_lack_of_evidence(self) -> bool {
        matches!(self, Self::EvidenceUnresolved | Self::EvidenceUndetermined)
    }

    /// The reason of that name.
    pub fn of_name(name: &str) -> Result<Self> {
        let unknown = || Error::UnknownReason(name.to_owned());
        Self::ALL.into_iter().find(|reason| reason.name() == name).ok_or_else(unknown)
    }
}

/// λ as it was settled, and why.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Choice {
    pub regularizer: f64,
    /// On every diagonal entry of Λ; 0 unless a guaranteed λ met a singular Λ.
    pub jitter: f64,
    pub reason: Reason,
}

impl Choice {
    /// Refuse numbers that no λ and no jitter can be.
    pub fn checked(self) -> Result<Self> {
        let Self { regularizer, jitter, .. } = self;
        if !(regularizer.is_finite() && regularizer >= 0.0) {
            return Err(Error::Regularizer(regularizer));
        }
        if !(jitter.is_finite() && jitter >= 0.0) {
            return Err(Error::Jitter(jitter));
        }
        Ok(self)
    }
}

impl Regularizer {
    /// Settle λ for sums over `p` features of this trace and unit roundoff: at once, never by
    /// trial. The penalty comes back with the jitter that the criterion put on it.
    pub(crate) fn settle(
        self,
        penalty: Penalty,
        trace: f64,
        unit: f64,
        p: usize,
        run: &Execution,
    ) -> Result<(Choice, Penalty)> {
        let shift = SAFETY * (p as f64 + 1.0) * unit * trace;
        let (value, jitter, reason) = match self {
            Self::Value(value) => (value, 0.0, Reason::Given),
            Self::Chosen { value, jitter, reason } => (value, jitter, reason),
            Self::GuaranteedBecause(reason) if !reason.is_lack_of_evidence() => {
                return Err(Error::ReasonNeedsValue(reason.name()));
            }
            Self::Guaranteed | Self::GuaranteedBecause(_) if shift < f64::MIN_POSITIVE => {
                return Err(Error::NothingSummed(trace));
            }
            Self::Guaranteed => return Ok((guaranteed(&penalty, shift, p, run)?, penalty)),
            Self::GuaranteedBecause(reason) => {
                let choice = guaranteed(&penalty, shift, p, run)?;
                return Ok((Choice { reason, ..choice }, penalty));
            }
        };
        let choice = Choice { regularizer: value, jitter, reason }.checked()?;
        if reason.is_guaranteed() {
            return Ok((choice, penalty)); // a guaranteed λ of other sums
        }
        Ok((Choice { jitter: 0.0, ..choice }, penalty.with_jitter(jitter, p)))
    }
}

/// λ that adds at least `shift` to every eigenvalue of C.
fn guaranteed(penalty: &Penalty, shift: f64, p: usize, run: &Execution) -> Result<Choice> {
    let (smallest, largest) = penalty.extreme_eigenvalues(run)?;
    if largest == 0.0 {
        return Err(Error::PenaltyZero);
    }
    // an eigenvalue below rounding would ask for a λ at which rounding of λΛ itself is as large as
    // the shift
    if smallest > p as f64 * f64::EPSILON * largest {
        Choice { regularizer: shift / smallest, jitter: 0.0, reason: Reason::Guaranteed }.checked()
    } else {
        Choice { regularizer: shift / largest, jitter: largest, reason: Reason::GuaranteedWithJitter }.checked()
    }
}
