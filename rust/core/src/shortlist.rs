//! The next picks by ln|H|, from a short list of candidate rows.
//!
//! The candidates with the greatest bounds are whitened by what was picked so far, and the products
//! K of all pairs of them formed. From then on a pick s costs a few numbers for each of them:
//!
//! > c = (K_s − Σ c_s c)/√(1 + d_s),  d ← d − c²
//!
//! (pivoted Cholesky of I + K), and its gain is ln(1 + d_s). The list is left when a bound outside of
//! it could win, or tie.

use faer::MatRef;

use crate::choice::{Open, best};
use crate::error::Result;
use crate::execution::Execution;
use crate::panel::Panel;
use crate::pool::Pool;
use crate::real::squared_norm;
use crate::tiles;
use crate::variances::Variances;

/// Candidates in the list at first, and at most. A list of M costs M p² to whiten and M² p for its
/// products.
const SIZES: (usize, usize) = (256, 384);

/// Picks from one list at most.
const PICKS: usize = 128;

/// A list that ends before so many picks is followed by a larger one.
const FEW: usize = 8;

/// A bound outside of the list could win if it exceeds the best score less this part: rounding must
/// not hide a tie.
const MARGIN: f64 = 1e-10;

/// Rounding of d in a list at most, as a part of what it was at its start.
const ROUNDING: f64 = 1e-13;

/// Part of its start to which d may fall in a list and still be known: rounding, mostly 1e-16 of the
/// start, is 1e-12 of it then.
const RESOLVED: f64 = 1e-4;

/// Gains of ln|H| by single rows.
pub(crate) struct Shortlists {
    variances: Variances,
    list: Option<Shortlist>,
    size: usize,
    /// Candidates that had to be brought up to date for the last list.
    reach: usize,
}

/// Candidates that are kept up to date pick by pick.
struct Shortlist {
    members: Vec<usize>,
    /// L⁻¹z of each.
    whitened: Panel,
    /// K, row-major.
    products: Panel,
    /// c of each pick.
    coefficients: Vec<Vec<f64>>,
    d: Vec<f64>,
    at_start: Vec<f64>,
    /// Places of the picks among the members, and √(1 + d) of each.
    picks: Vec<(usize, f64)>,
    /// Greatest score of a candidate that is not in the list.
    outside: f64,
}

impl Shortlists {
    pub fn new(pool: &Pool<'_>, run: &Execution) -> Result<Self> {
        Ok(Self { variances: Variances::new(pool, run)?, list: None, size: SIZES.0, reach: 0 })
    }

    /// Pick the best of the candidates that are open: which it is, and its gain. None if its score does
    /// not exceed `least`.
    pub fn pick(&mut self, pool: &Pool<'_>, open: &Open, least: f64, run: &Execution) -> Result<Option<(usize, f64)>> {
        loop {
            run.check()?;
            if self.list.is_none() {
                self.list = self.make_list(pool, open, run)?;
            }
            let Some(list) = &mut self.list else { return Ok(None) };
            let is_new = list.picks.is_empty();
            match list.best(open) {
                Some((place, score))
                    if score - MARGIN * score.abs() > list.outside && (is_new || !list.hides_better(open, score)) =>
                {
                    if score <= least {
                        return Ok(None);
                    }
                    let gain = list.take(place);
                    let pick = list.members[place];
                    if list.picks.len() == PICKS {
                        self.leave_list(pool, run)?;
                    }
                    return Ok(Some((pick, gain)));
                }
                _ if is_new => return self.pick_of_equals(pool, open, least, run),
                _ => {}
            }
            self.leave_list(pool, run)?;
        }
    }

    /// Take up a candidate; its gain.
    pub fn take(&mut self, pool: &Pool<'_>, candidate: usize, run: &Execution) -> Result<f64> {
        self.leave_list(pool, run)?;
        self.variances.compute(pool, &[candidate], run)?;
        let gain = self.variances.bound(candidate).ln_1p();
        let mut list = self.list_of(pool, vec![candidate], f64::NEG_INFINITY, run)?;
        list.take(0);
        self.list = Some(list);
        self.leave_list(pool, run)?;
        Ok(gain)
    }

    /// Gains as of now of all candidates.
    pub fn all(&mut self, pool: &Pool<'_>, run: &Execution) -> Result<Vec<f64>> {
        self.leave_list(pool, run)?;
        let all: Vec<usize> = (0..pool.len()).collect();
        self.variances.compute(pool, &all, run)?;
        Ok(all.into_iter().map(|c| self.variances.bound(c).ln_1p()).collect())
    }

    /// A pick where a bound outside of a new list ties with the best in it, or wins by rounding.
    fn pick_of_equals(
        &mut self,
        pool: &Pool<'_>,
        open: &Open,
        limit: f64,
        run: &Execution,
    ) -> Result<Option<(usize, f64)>> {
        let Some(list) = self.list.take() else { return Ok(None) };
        list.members.iter().zip(&list.d).for_each(|(&c, &d)| self.variances.set(c, d, true));
        let least = list.best(open).map_or(f64::NEG_INFINITY, |(_, score)| score - MARGIN * score.abs());
        let score = |c: usize| open.score(c, self.variances.bound(c).ln_1p());
        let able: Vec<usize> = open.candidates().filter(|&c| score(c) >= least).collect();
        let not_exact: Vec<usize> = able.iter().copied().filter(|&c| !self.variances.is_exact(c)).collect();
        self.variances.compute(pool, &not_exact, run)?;
        let score = |&c: &usize| (c, open.score(c, self.variances.bound(c).ln_1p()));
        match best(able.iter().map(score)) {
            Some((pick, score)) if score > limit => Ok(Some((pick, self.take(pool, pick, run)?))),
            _ => Ok(None),
        }
    }

    /// The candidates with the greatest scores, all of them up to date.
    fn make_list(&mut self, pool: &Pool<'_>, open: &Open, run: &Execution) -> Result<Option<Shortlist>> {
        let bounds: Vec<(f64, usize)> = open.candidates().map(|c| (self.score(open, c), c)).collect();
        if bounds.is_empty() {
            return Ok(None);
        }
        let (mut scored, size) = (bounds.clone(), self.size.min(bounds.len()));
        let mut reach = self.reach.max(size);
        loop {
            greatest_first(&mut scored, size);
            if scored[..size].iter().all(|(_, c)| self.variances.is_current(*c)) {
                break;
            }
            // those between are cheaper to multiply than to leave out
            reach = if 2 * reach >= scored.len() { scored.len() } else { reach };
            greatest_first(&mut scored, reach);
            let old: Vec<usize> = scored[..reach].iter().map(|(_, c)| *c).collect();
            self.variances.refresh(pool, &old, run)?;
            scored[..reach].iter_mut().for_each(|(score, c)| *score = self.score(open, *c));
            reach *= 2;
        }
        let rest = scored.split_off(size);
        let outside = rest.iter().map(|(score, _)| *score).fold(f64::NEG_INFINITY, f64::max);
        // as many bounds were too high for this list: a good guess for the next one
        let least = scored.iter().map(|(score, _)| *score).fold(f64::INFINITY, f64::min);
        self.reach = bounds.iter().filter(|(bound, _)| *bound >= least).count();
        let members = scored.iter().map(|(_, c)| *c).collect();
        self.list_of(pool, members, outside, run).map(Some)
    }

    fn score(&self, open: &Open, candidate: usize) -> f64 {
        open.score(candidate, self.variances.bound(candidate).ln_1p())
    }

    fn list_of(&self, pool: &Pool<'_>, mut members: Vec<usize>, outside: f64, run: &Execution) -> Result<Shortlist> {
        members.sort_unstable();
        let n = members.len();
        let mut whitened = Panel::unset(n, pool.width())?;
        pool.gather(members.iter().copied(), &mut whitened);
        self.variances.posterior.whiten(whitened.columns_mut(n), run);
        run.check()?;
        let mut products = Panel::unset(n, n)?;
        tiles::gram_anew(products.columns_mut(n), &whitened.columns(n), run);
        tiles::mirror(products.columns_mut(n), run);
        run.check()?;
        let d: Vec<f64> = whitened.rows(0..n).map(squared_norm).collect();
        Ok(Shortlist {
            members,
            whitened,
            products,
            coefficients: vec![],
            at_start: d.clone(),
            d,
            picks: vec![],
            outside,
        })
    }

    /// Take up the picks of the list, and keep the variances of its members.
    fn leave_list(&mut self, pool: &Pool<'_>, run: &Execution) -> Result<()> {
        let Some(list) = self.list.take() else { return Ok(()) };
        let n = list.picks.len();
        if (1..FEW).contains(&n) && list.outside > f64::NEG_INFINITY {
            self.size = (2 * self.size).min(SIZES.1);
        }
        if n > 0 {
            let mut directions = Panel::unset(n, pool.width())?;
            let mut rows = Panel::unset(n, pool.width())?;
            pool.gather(list.picks.iter().map(|(place, _)| list.members[*place]), &mut rows);
            for (k, (place, _)) in list.picks.iter().enumerate() {
                directions.row_mut(k).copy_from_slice(list.whitened.row(*place));
            }
            let factor = list.factor();
            let t = MatRef::from_row_major_slice(&factor, n, n);
            self.variances.posterior.directions(&mut directions, t, run);
            run.check()?;
            self.variances.posterior.absorb(rows.matrix(0..n), run)?;
            self.variances.count(&mut directions);
        }
        for (place, &member) in list.members.iter().enumerate() {
            let (d, at_start) = (list.d[place], list.at_start[place]);
            // what is lost in rounding counts as if it were there: the bound stays one
            self.variances.set(member, d.max(0.0) + ROUNDING * at_start, false);
        }
        Ok(())
    }
}

impl Shortlist {
    /// The member with the greatest score: its place.
    fn best(&self, open: &Open) -> Option<(usize, f64)> {
        let places = (0..self.members.len()).filter(|&place| open.may(self.members[place]));
        best(places.map(|place| (place, open.score(self.members[place], self.gain(self.d[place])))))
    }

    fn gain(&self, d: f64) -> f64 {
        d.max(0.0).ln_1p()
    }

    /// Whether rounding may hide that a member is better than this score, or that the best is not.
    fn hides_better(&self, open: &Open, score: f64) -> bool {
        (0..self.members.len()).any(|place| {
            let (d, at_start) = (self.d[place], self.at_start[place]);
            d < RESOLVED * at_start
                && open.may(self.members[place])
                && open.score(self.members[place], self.gain(d + ROUNDING * at_start)) >= score - MARGIN * score.abs()
        })
    }

    /// Pick the member at a place; its gain.
    fn take(&mut self, place: usize) -> f64 {
        let gain = self.gain(self.d[place]);
        let root = (1.0 + self.d[place].max(0.0)).sqrt();
        let mut c = self.products.row(place).to_vec();
        for before in &self.coefficients {
            let factor = before[place];
            c.iter_mut().zip(before).for_each(|(c, x)| *c -= factor * x);
        }
        for (c, d) in c.iter_mut().zip(&mut self.d) {
            *c /= root;
            *d -= *c * *c;
        }
        self.coefficients.push(c);
        self.picks.push((place, root));
        gain
    }

    /// T of the picks, row-major: T Tᵀ = I + K.
    fn factor(&self) -> Vec<f64> {
        let n = self.picks.len();
        let mut t = vec![0.0; n * n];
        for (i, (place, root)) in self.picks.iter().enumerate() {
            t[i * n + i] = *root;
            (0..i).for_each(|k| t[i * n + k] = self.coefficients[k][*place]);
        }
        t
    }
}

/// Move the `n` entries with the greatest scores to the front; of equal ones those that come first.
fn greatest_first(scored: &mut [(f64, usize)], n: usize) {
    if n < scored.len() {
        scored.select_nth_unstable_by(n, |a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    }
}
