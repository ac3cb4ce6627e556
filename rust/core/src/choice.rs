//! Which of the candidates may still be picked, and which is the best of them: the greatest gain
//! per cost, and of equal ones the first.

use crate::error::{Error, Result};
use crate::selection_error::SelectionError;

/// Two scores are equal if they differ by less than this part of the greater: symmetric twins and
/// copies of a row differ by rounding alone.
const TIE: f64 = 1e-12;

/// Part of a budget by which sums of costs may exceed it: ten times 0.1 are within a budget of 1.
const ROUNDED: f64 = 1e-12;

/// Candidates that may be picked.
pub(crate) struct Open {
    open: Vec<bool>,
    /// Cost of each candidate; none: 1.
    costs: Vec<f64>,
    spent: f64,
    budget: f64,
}

impl Open {
    /// All of `n` candidates, at costs above 0 (none: 1 each), within a budget.
    pub fn new(n: usize, costs: Vec<f64>, budget: f64) -> Result<Self> {
        if !costs.is_empty() && costs.len() != n {
            return Err(Error::Length { what: "costs", got: costs.len(), expected: n, of: "candidates" });
        }
        if let Some(index) = costs.iter().position(|cost| !(*cost > 0.0 && cost.is_finite())) {
            return Err(SelectionError::Cost { index, value: costs[index] }.into());
        }
        Ok(Self { open: vec![true; n], costs, spent: 0.0, budget })
    }

    /// Number of candidates, open or not.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether a candidate may be picked: it was not, and the budget has room for it.
    pub fn may(&self, candidate: usize) -> bool {
        self.open[candidate] && self.spent + self.cost(candidate) <= self.budget * (1.0 + ROUNDED)
    }

    /// Candidates that may be picked.
    pub fn candidates(&self) -> impl Iterator<Item = usize> + Clone {
        (0..self.len()).filter(|&candidate| self.may(candidate))
    }

    fn cost(&self, candidate: usize) -> f64 {
        self.costs.get(candidate).copied().unwrap_or(1.0)
    }

    /// Gain per cost.
    pub fn score(&self, candidate: usize, gain: f64) -> f64 {
        gain / self.cost(candidate)
    }

    /// Refuse a candidate that does not exist or is closed.
    pub fn require(&self, candidate: usize) -> Result<()> {
        match self.open.get(candidate) {
            None => Err(SelectionError::CandidateRange { index: candidate, n: self.len() }.into()),
            Some(false) => Err(SelectionError::CandidateClosed(candidate).into()),
            Some(true) => Ok(()),
        }
    }

    /// Never pick a candidate.
    pub fn close(&mut self, candidate: usize) {
        self.open[candidate] = false;
    }

    /// Pick a candidate.
    pub fn pay(&mut self, candidate: usize) {
        self.close(candidate);
        self.spent += self.cost(candidate);
    }
}

/// Least score that is equal to this one.
pub(crate) fn tie(score: f64) -> f64 {
    score - TIE * score.abs()
}

/// The first candidate of those with the greatest score; scores may come in any order.
pub(crate) fn best(scores: impl Iterator<Item = (usize, f64)> + Clone) -> Option<(usize, f64)> {
    let greatest = scores.clone().map(|(_, score)| score).fold(f64::NEG_INFINITY, f64::max);
    scores.filter(|(_, score)| *score >= tie(greatest)).min_by_key(|(candidate, _)| *candidate)
}
