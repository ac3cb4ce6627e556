//! Greedy selection: the next candidate that gains most per cost, one after the other.
//!
//! | objective | gain of a candidate | how it is found |
//! |---|---|---|
//! | ln\|H\| | ln\|I + W Wᵀ\| of its whitened rows W | `shortlist` for single rows, `block_gains` for blocks |
//! | mean rigidity or variance of targets | what it changes the mean by | `target_gains` |
//! | variance | Σ ‖z‖² of its rows, as of today | once |
//!
//! Picks are those of plain greedy selection, which computes every gain anew in each step.

use crate::block_gains::BlockGains;
use crate::choice::{Open, best};
use crate::error::{Error, Result};
use crate::execution::Execution;
use crate::pool::Pool;
use crate::real::squared_norm;
use crate::sampling::Sampling;
use crate::selection_error::SelectionError;
use crate::shortlist::Shortlists;
use crate::target_gains::TargetGains;

/// What picks are to raise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Objective<'a> {
    /// ln|H|
    Determinant,
    /// The sum of the variances that candidates have before any pick.
    Variance,
    /// The mean of 1/v over targets.
    TargetRigidity(Targets<'a>),
    /// The mean of −v over targets.
    TargetVariance(Targets<'a>),
}

/// Predictions that a selection is to make rigid.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Targets<'a> {
    /// Their whitened rows, row-major.
    pub rows: &'a [f64],
    /// Weights of their mean; empty: equal ones.
    pub weights: &'a [f64],
}

/// A pick.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pick {
    /// The candidate.
    pub candidate: usize,
    /// What it has gained, not divided by its cost.
    pub gain: f64,
    /// The objective after the pick: a mean over targets, or the sum of all gains so far.
    pub value: f64,
}

/// A selection under way.
pub struct Selection {
    gains: Gains,
    open: Open,
    sampling: Option<Sampling>,
    picks: Vec<Pick>,
    value: f64,
    /// Rows and columns of the pool, and where its candidates begin.
    shape: (usize, usize),
    starts: Option<Vec<usize>>,
    /// Whether a stop has spoilt it.
    is_spoilt: bool,
}

enum Gains {
    Rows(Box<Shortlists>),
    Blocks(Box<BlockGains>),
    Targets(Box<TargetGains>),
    Fixed(Vec<f64>),
}

impl Selection {
    /// Before any pick: all candidates are open, at costs above 0 (none: 1 each), within a budget.
    pub fn new(
        pool: &Pool<'_>,
        objective: Objective<'_>,
        costs: Vec<f64>,
        budget: f64,
        run: &Execution,
    ) -> Result<Self> {
        if budget.is_nan() {
            return Err(SelectionError::Budget(budget).into());
        }
        let open = Open::new(pool.len(), costs, budget)?;
        pool.require_finite(run)?;
        let gains = match objective {
            Objective::Determinant if pool.is_of_rows() => Gains::Rows(Box::new(Shortlists::new(pool, run)?)),
            Objective::Determinant => Gains::Blocks(Box::new(BlockGains::new(pool)?)),
            Objective::TargetRigidity(of) => Gains::for_targets(pool, of, true, run)?,
            Objective::TargetVariance(of) => Gains::for_targets(pool, of, false, run)?,
            Objective::Variance => Gains::Fixed(variances(pool)),
        };
        let value = match &gains {
            Gains::Targets(gains) => gains.value(),
            _ => 0.0,
        };
        let (shape, starts) = ((pool.n_rows(), pool.width()), pool.starts().map(<[usize]>::to_vec));
        Ok(Self { gains, open, sampling: None, picks: vec![], value, shape, starts, is_spoilt: false })
    }

    /// Look at a random sample of so many candidates for each pick (stochastic greedy selection). Only
    /// where the objective is ln|H|, and before the first pick.
    pub fn sample(&mut self, pool: &Pool<'_>, size: usize, seed: u64) -> Result<()> {
        match self.gains {
            Gains::Rows(_) if self.picks.is_empty() => self.gains = Gains::Blocks(Box::new(BlockGains::new(pool)?)),
            Gains::Blocks(_) if self.picks.is_empty() => {}
            _ => return Err(SelectionError::NoSampling.into()),
        }
        self.sampling = Some(Sampling::new(size.max(1), seed));
        Ok(())
    }

    /// The objective before the first pick that counts: 0, or the mean over targets.
    pub fn value(&self) -> f64 {
        self.value
    }

    /// The picks so far, in their order. They stand after a stop, too.
    pub fn picks(&self) -> &[Pick] {
        &self.picks
    }

    /// Never pick a candidate.
    pub fn forbid(&mut self, candidate: usize) -> Result<()> {
        self.open.require(candidate)?;
        self.open.close(candidate);
        Ok(())
    }

    /// Take up a candidate that is there already: it costs nothing and is no pick.
    pub fn add_present(&mut self, pool: &Pool<'_>, candidate: usize, run: &Execution) -> Result<()> {
        let picks = std::mem::take(&mut self.picks);
        let outcome = self.pick(pool, candidate, run);
        self.picks = picks;
        outcome?;
        self.open.close(candidate);
        if !matches!(self.gains, Gains::Targets(_)) {
            self.value = 0.0;
        }
        Ok(())
    }

    /// Pick this candidate, whatever it gains.
    pub fn force(&mut self, pool: &Pool<'_>, candidate: usize, run: &Execution) -> Result<()> {
        self.pick(pool, candidate, run)?;
        self.open.pay(candidate);
        Ok(())
    }

    /// Pick up to `n` more candidates, as long as some are open; how many were picked. With ln|H| and
    /// candidates of one row it ends where no score exceeds `least`, the most that candidates
    /// elsewhere may have. After an error the picks so far stand, and no more can be made.
    pub fn advance(&mut self, pool: &Pool<'_>, n: usize, least: f64, run: &Execution) -> Result<usize> {
        for made in 0..n {
            let Some(candidate) = self.next(pool, least, run)? else { return Ok(made) };
            self.open.pay(candidate);
        }
        Ok(n)
    }

    /// What picking each candidate would gain now.
    pub fn gains(&mut self, pool: &Pool<'_>, run: &Execution) -> Result<Vec<f64>> {
        self.require(pool)?;
        match &mut self.gains {
            Gains::Rows(gains) => gains.all(pool, run),
            Gains::Blocks(gains) => gains.all(pool, run),
            Gains::Targets(gains) => Ok(gains.all(pool, run)?.to_vec()),
            Gains::Fixed(gains) => Ok(gains.clone()),
        }
    }

    /// Pick the best candidate.
    fn next(&mut self, pool: &Pool<'_>, least: f64, run: &Execution) -> Result<Option<usize>> {
        self.require(pool)?;
        let candidate = match &mut self.gains {
            Gains::Rows(gains) => {
                self.is_spoilt = true;
                let picked = gains.pick(pool, &self.open, least, run)?;
                self.is_spoilt = false;
                let Some((candidate, gain)) = picked else { return Ok(None) };
                self.note(candidate, gain);
                return Ok(Some(candidate));
            }
            Gains::Blocks(gains) => {
                let sample = self.sampling.as_mut().map(|sampling| sampling.of(self.open.candidates().collect()));
                gains.best(pool, &self.open, sample.as_deref(), run)?
            }
            Gains::Targets(gains) => gains.best(pool, &self.open, run)?,
            Gains::Fixed(gains) => {
                let scores = self.open.candidates().map(|c| (c, self.open.score(c, gains[c])));
                best(scores).map(|(c, _)| c)
            }
        };
        if let Some(candidate) = candidate {
            self.pick(pool, candidate, run)?;
        }
        Ok(candidate)
    }

    /// Take up a candidate and note its gain.
    fn pick(&mut self, pool: &Pool<'_>, candidate: usize, run: &Execution) -> Result<()> {
        self.require(pool)?;
        self.open.require(candidate)?;
        self.is_spoilt = true;
        let gain = match &mut self.gains {
            Gains::Rows(gains) => gains.take(pool, candidate, run)?,
            Gains::Blocks(gains) => gains.take(pool, candidate, run)?,
            Gains::Targets(gains) => gains.take(pool, candidate, run)?,
            Gains::Fixed(gains) => gains[candidate],
        };
        self.is_spoilt = false;
        self.note(candidate, gain);
        Ok(())
    }

    fn note(&mut self, candidate: usize, gain: f64) {
        self.value = match &self.gains {
            Gains::Targets(gains) => gains.value(),
            _ => self.value + gain,
        };
        self.picks.push(Pick { candidate, gain, value: self.value });
    }

    /// Refuse another pool than the one at the start, and a selection that a stop has spoilt.
    fn require(&self, pool: &Pool<'_>) -> Result<()> {
        if self.is_spoilt {
            return Err(Error::Interrupted);
        }
        if pool.width() != self.shape.1 {
            return Err(Error::ColumnCount { got: pool.width(), expected: self.shape.1 });
        }
        if pool.n_rows() != self.shape.0 || pool.starts() != self.starts.as_deref() {
            let (what, of) = ("the pool", "candidates at the start");
            return Err(Error::Length { what, got: pool.len(), expected: self.open.len(), of });
        }
        Ok(())
    }
}

impl Gains {
    fn for_targets(pool: &Pool<'_>, of: Targets<'_>, of_rigidity: bool, run: &Execution) -> Result<Self> {
        Ok(Self::Targets(Box::new(TargetGains::new(pool, of.rows, of.weights, of_rigidity, run)?)))
    }
}

/// Σ ‖z‖² over the rows of each candidate.
fn variances(pool: &Pool<'_>) -> Vec<f64> {
    (0..pool.len()).map(|c| pool.rows_of(c).map(|i| squared_norm(pool.row(i))).sum()).collect()
}
