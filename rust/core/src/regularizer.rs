//! The strength λ of the penalty: a number, or the smallest at which a factorisation is guaranteed.

use std::fmt;

use crate::error::{Error, Result};
use crate::execution::Execution;
use crate::penalty::Penalty;

/// Times the textbook bound on λ. Cholesky succeeds where λ_min(H) exceeds (p + 1) u trace(H) (Higham, Accuracy and Stability of
/// Numerical Algorithms, theorem 10.7); C itself carries rounding of the same order, so that twice the bound is taken.
const SAFETY: f64 = 2.0;

/// What the caller asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Regularizer {
    /// λ as given, unsquared.
    Value(f64),
    /// The smallest λ at which rounding cannot make the factorisation fail.
    Guaranteed,
}

/// Why λ has the value it has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reason {
    /// The caller said so.
    Given,
    /// λ·λ_min(Λ) = 2 (p + 1) u trace(C).
    Guaranteed,
    /// Λ is singular: λ·λ_max(Λ) has that value, and so has the λ·jitter on every diagonal entry.
    GuaranteedWithJitter,
}

impl Reason {
    const ALL: [Self; 3] = [Self::Given, Self::Guaranteed, Self::GuaranteedWithJitter];

    /// A word for it, for files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Given => "given",
            Self::Guaranteed => "guaranteed",
            Self::GuaranteedWithJitter => "guaranteed with jitter",
        }
    }

    /// Back from the word.
    pub fn of_name(name: &str) -> Result<Self> {
        let unknown = || Error::UnknownReason(name.to_owned());
        Self::ALL.into_iter().find(|reason| reason.name() == name).ok_or_else(unknown)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Given => "given",
            Self::Guaranteed => {
                "guaranteed: the smallest at which rounding cannot make the factorisation fail"
            }
            Self::GuaranteedWithJitter => {
                "guaranteed: the smallest at which rounding cannot make the factorisation fail; the penalty is singular, so \
                 that as much as its largest eigenvalue adds was also added to every diagonal entry of H"
            }
        })
    }
}

/// λ, the jitter that goes on Λ (0 unless Λ is singular), and why.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Choice {
    pub regularizer: f64,
    pub jitter: f64,
    pub reason: Reason,
}

impl Regularizer {
    /// Settle λ for sums of this trace and unit roundoff. At once, never by trial.
    pub(crate) fn settle(self, penalty: &Penalty, trace: f64, unit: f64, n: usize, run: &Execution) -> Result<Choice> {
        let shift = SAFETY * (n as f64 + 1.0) * unit * trace;
        let value = match self {
            Self::Value(value) if value.is_finite() && value >= 0.0 => value,
            Self::Value(value) => return Err(Error::Regularizer(value)),
            Self::Guaranteed if shift < f64::MIN_POSITIVE => return Err(Error::NothingSummed(trace)),
            Self::Guaranteed => return guaranteed(penalty, shift, n, run),
        };
        Ok(Choice { regularizer: value, jitter: 0.0, reason: Reason::Given })
    }
}

/// λ that adds at least `shift` to every eigenvalue of C.
fn guaranteed(penalty: &Penalty, shift: f64, n_features: usize, run: &Execution) -> Result<Choice> {
    let (smallest, largest) = penalty.extreme_eigenvalues(run)?;
    if largest == 0.0 {
        return Err(Error::PenaltyZero);
    }
    // an eigenvalue below rounding would ask for a λ at which rounding of λΛ itself is as large as the shift
    Ok(if smallest > n_features as f64 * f64::EPSILON * largest {
        Choice { regularizer: shift / smallest, jitter: 0.0, reason: Reason::Guaranteed }
    } else {
        Choice { regularizer: shift / largest, jitter: largest, reason: Reason::GuaranteedWithJitter }
    })
}
