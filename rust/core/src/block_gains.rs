//! Gains of ln|H| by blocks of rows, each computed from the rows when it is needed.
//!
//! The gain of a block, ln|I + W Wᵀ| with W its rows whitened by all picks so far, never grows as more
//! is picked (ln|H| is submodular). So a gain that was computed earlier is an upper bound, and only
//! the blocks whose bound could win are looked at again (Minoux, Optimization Techniques, Springer
//! 1978, 234).

use crate::choice::{Open, best};
use crate::error::Result;
use crate::execution::Execution;
use crate::information::information;
use crate::panel::Panel;
use crate::pool::{Pool, for_each};
use crate::posterior::Posterior;
use crate::tiles::TILE;

/// Blocks that are looked at first when a bound could win. A fixed number, whatever the threads.
const AT_FIRST: usize = 4;

/// A bound wins if it exceeds the best gain less this part: rounding must not hide a tie.
const MARGIN: f64 = 1e-10;

/// Gains of all candidates: some as of now, others bounds.
pub(crate) struct BlockGains {
    posterior: Posterior,
    gains: Vec<f64>,
    /// Picks that the gain accounts for; `None`: it was not computed yet.
    age: Vec<Option<usize>>,
    picks: usize,
}

impl BlockGains {
    pub fn new(pool: &Pool<'_>) -> Result<Self> {
        let posterior = Posterior::new(pool.width())?;
        Ok(Self { posterior, gains: vec![f64::INFINITY; pool.len()], age: vec![None; pool.len()], picks: 0 })
    }

    /// The best of the candidates that are open; `among` them, if these are a sample.
    pub fn best(
        &mut self,
        pool: &Pool<'_>,
        open: &Open,
        among: Option<&[usize]>,
        run: &Execution,
    ) -> Result<Option<usize>> {
        let candidates: Vec<usize> = match among {
            Some(some) => some.iter().copied().filter(|&c| open.may(c)).collect(),
            None => open.candidates().collect(),
        };
        let unknown: Vec<usize> = candidates.iter().copied().filter(|&c| self.age[c].is_none()).collect();
        self.compute(pool, &unknown, run)?;
        let mut at_once = AT_FIRST;
        loop {
            let score = |&c: &usize| (c, open.score(c, self.gains[c]));
            let known = candidates.iter().filter(|&&c| self.age[c] == Some(self.picks)).map(score);
            let winner = best(known);
            let least = winner.map_or(f64::NEG_INFINITY, |(_, score)| score - MARGIN * score.abs());
            let old = candidates.iter().filter(|&&c| self.age[c] != Some(self.picks)).map(score);
            let mut able: Vec<(usize, f64)> = old.filter(|(_, bound)| *bound >= least).collect();
            if able.is_empty() {
                return Ok(winner.map(|(c, _)| c));
            }
            able.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            able.truncate(at_once);
            at_once *= 2;
            let able: Vec<usize> = able.iter().map(|(c, _)| *c).collect();
            self.compute(pool, &able, run)?;
        }
    }

    /// Take a candidate up; its gain.
    pub fn take(&mut self, pool: &Pool<'_>, candidate: usize, run: &Execution) -> Result<f64> {
        self.compute(pool, &[candidate], run)?;
        self.posterior.absorb(pool.matrix(pool.rows_of(candidate)), run)?;
        self.picks += 1;
        Ok(self.gains[candidate])
    }

    /// Gains as of now of all candidates.
    pub fn all(&mut self, pool: &Pool<'_>, run: &Execution) -> Result<Vec<f64>> {
        let all: Vec<usize> = (0..pool.len()).collect();
        self.compute(pool, &all, run)?;
        Ok(self.gains.clone())
    }

    /// Compute the gains of some candidates, as many together as fill a tile of rows.
    fn compute(&mut self, pool: &Pool<'_>, candidates: &[usize], run: &Execution) -> Result<()> {
        let stale: Vec<usize> = candidates.iter().copied().filter(|&c| self.age[c] != Some(self.picks)).collect();
        let gains = for_each(
            strips(pool, &stale),
            run,
            || Ok(()),
            |(), (members, n_rows), run| {
                let mut panel = Panel::unset(n_rows, pool.width())?;
                pool.gather(members.iter().flat_map(|&c| pool.rows_of(c)), &mut panel);
                self.posterior.whiten(panel.columns_mut(n_rows), run);
                run.check()?;
                let mut start = 0;
                let gain = |&c: &usize| {
                    let n = pool.rows_of(c).len();
                    start += n;
                    information(panel.columns(n_rows).subcols(start - n, n), run)
                };
                members.iter().map(gain).collect::<Result<Vec<f64>>>()
            },
        )?;
        for (&c, gain) in stale.iter().zip(gains.iter().flatten()) {
            self.gains[c] = *gain;
            self.age[c] = Some(self.picks);
        }
        Ok(())
    }
}

/// Candidates one after the other, cut where their rows fill a tile; with the number of rows.
fn strips<'a>(pool: &Pool<'_>, mut candidates: &'a [usize]) -> Vec<(&'a [usize], usize)> {
    let mut strips = vec![];
    while !candidates.is_empty() {
        let (mut n, mut n_rows) = (0, 0);
        while n < candidates.len() && (n == 0 || n_rows + pool.rows_of(candidates[n]).len() <= TILE) {
            n_rows += pool.rows_of(candidates[n]).len();
            n += 1;
        }
        let (strip, rest) = candidates.split_at(n);
        strips.push((strip, n_rows));
        candidates = rest;
    }
    strips
}
