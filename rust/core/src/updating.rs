//! H ← H ± Σ w f fᵀ: rows are added to a factorised system or removed from it, in O(k p²).
//!
//! Added rows are reflected into L (`absorb`), which cannot fail. Rows are removed by orthogonal
//! transformations (`removal`), once H without them is known to be positive definite. Neither forms H,
//! so the error is that of a small change of L and of the rows, and many updates do not drift.
//!
//! A few rows go into the array of L itself (`revision`). More of them go into a copy of L, a block at a
//! time; and so many that it is cheaper are summed, and L Lᵀ ± C factorised anew.

use std::ops::Range;
use std::sync::Arc;

use faer::MatRef;

use crate::absorb::Columns;
use crate::cholesky::{self, Pivot};
use crate::covariance::{Covariance, check_size, check_squares};
use crate::error::{Error, Result};
use crate::execution::Execution;
use crate::few_columns::Sign;
use crate::hessian::Hessian;
use crate::moments::Moments;
use crate::panel::Panel;
use crate::removal::{Removal, TOGETHER};
use crate::revision::{Change, Revision, Step, Work, raise_first};
use crate::row_factor::add_product;
use crate::rows::{Batch, Element};
use crate::stage::{Precision, add_cross};
use crate::triangle::Square;
use crate::unremovable::Unremovable;

/// Rows that are taken up in the array of L itself, without a copy. 64: at p = 16,384 that takes about a
/// second on two cores, so long Ctrl-C may wait.
pub const ROWS_IN_PLACE: usize = TOGETHER;

impl Hessian {
    /// Cost of a change by `n_rows` rows that form `n_targets` targets, in multiplications.
    pub fn update_work(&self, n_rows: usize, n_targets: usize) -> f64 {
        let (p, k) = (self.n_features() as f64, n_targets as f64);
        16.0 * n_rows as f64 * p + p * p * (2.0 * k).min(0.5 * k + p / 3.0)
    }

    /// Add rows or remove them. An error, or a stop, leaves everything as it was, to the bit.
    pub fn update<T: Element>(&mut self, batch: &Batch<'_, T>, change: Change, run: &Execution) -> Result<()> {
        self.prepare_update(batch, change, run)?.commit(run);
        Ok(())
    }

    /// A system with rows added or removed; this one stays as it is.
    pub fn updated<T: Element>(&self, batch: &Batch<'_, T>, change: Change, run: &Execution) -> Result<Self> {
        let mut copy = self.shared()?;
        copy.update(batch, change, run)?;
        Ok(copy)
    }

    /// Do all that can fail. Nothing is changed before the commit.
    pub fn prepare_update<T: Element>(
        &mut self,
        batch: &Batch<'_, T>,
        change: Change,
        run: &Execution,
    ) -> Result<Revision<'_>> {
        let n = batch.rows.n_targets();
        batch.rows.require_features(self.n_features())?;
        let mut moments = self.counted(batch, change)?;
        if n <= ROWS_IN_PLACE && Arc::get_mut(&mut self.factor).is_some() {
            let work = self.prepare_rows(0..n, batch, change, &self.factor, &mut moments, run)?;
            run.check()?;
            let Self { factor, moments: of_fit, derived, revision, .. } = self;
            let lower = Arc::get_mut(factor).ok_or(Error::Interrupted)?; // there is no other owner, as was seen above
            return Ok(Revision {
                moments,
                step: Step::InPlace(lower, Box::new(work)),
                into: (of_fit, derived, revision),
            });
        }
        let anew = self.factorised_anew(batch, change, &mut moments, run)?;
        let lower = match anew {
            Some(lower) => lower,
            None => self.revised(batch, change, &mut moments, run)?,
        };
        run.check()?;
        let Self { factor, moments: of_fit, derived, revision, .. } = self;
        Ok(Revision { moments, step: Step::Replace(factor, lower), into: (of_fit, derived, revision) })
    }

    /// n, Σ ln w and Σ w y² after the change, with b as it was before. Without targets there is no fit
    /// any more.
    fn counted<T: Element>(&self, batch: &Batch<'_, T>, change: Change) -> Result<Moments> {
        let (known, p) = (self.moments(), self.n_features());
        let mut counted = match batch.targets.as_ref().map(|y| y.ncols()) {
            None => known.without_targets(),
            Some(0) => return Err(Error::OutputCount { got: 0, expected: known.n_outputs.max(1) }),
            Some(k) if k == known.n_outputs => known.try_clone()?,
            Some(k) if known.n_outputs == 0 && known.n_rows == 0 && known.unexplained.is_none() => {
                Moments::zeros(p, k)?
            }
            Some(k) if known.n_outputs == 0 && known.n_rows == 0 => Moments::of_factor(p, k)?,
            Some(_) if known.n_outputs == 0 => return Err(Error::TargetsMixed("they came now but not before")),
            Some(got) => return Err(Error::OutputCount { got, expected: known.n_outputs }),
        };
        let positive = |weights: &Vec<f64>| weights.iter().filter(|w| **w > 0.0).count();
        let got = batch.weights.as_ref().map_or(batch.rows.n_targets(), positive);
        let logarithm: f64 = batch.weights.iter().flatten().filter(|w| **w > 0.0).map(|w| w.ln()).sum();
        let n_rows = match change {
            Change::Add => Some(known.n_rows.saturating_add(got)),
            Change::Remove => known.n_rows.checked_sub(got),
        };
        counted.n_rows = n_rows.ok_or(Unremovable::Rows { got, left: known.n_rows })?;
        counted.log_weight = if counted.n_rows == 0 { 0.0 } else { known.log_weight + change.sign() * logarithm };
        for output in 0..counted.n_outputs {
            let y = batch.targets.iter().flat_map(|y| y.column(output)).enumerate();
            let got: f64 = y.map(|(t, y)| batch.weight(t) * y * y).sum();
            let left = counted.squares[output];
            counted.squares[output] = match change {
                Change::Add => left + got,
                Change::Remove => without(left, got, left).ok_or(Unremovable::Targets {
                    output,
                    squares: "sum of w y²",
                    got,
                    left,
                })?,
            };
        }
        check_squares(&counted.squares)?;
        Ok(counted)
    }

    /// Reduce some rows, prepare what takes them into L or out of it, and change b (or S) by them.
    fn prepare_rows<T: Element>(
        &self,
        targets: Range<usize>,
        batch: &Batch<'_, T>,
        change: Change,
        lower: &Square,
        moments: &mut Moments,
        run: &Execution,
    ) -> Result<Work> {
        let (n, p) = (targets.len(), lower.n());
        let mut rows = Panel::unset(n, p)?;
        let strip = vec![(0, rows.strip_mut(0..n))];
        check_size(batch.rows.reduce_into(targets.clone(), |t| batch.factor(t), strip, run)?)?;
        let mut y = vec![];
        batch.push_targets(targets, &mut y)?;
        let Moments { n_outputs, cross, unexplained, .. } = moments;
        if unexplained.is_none() {
            y.iter_mut().for_each(|y| *y *= change.sign());
            add_cross(cross, &rows.matrix(0..n), &y, run);
            y.clear();
        }
        let k = if unexplained.is_some() { *n_outputs } else { 0 };
        let targets = MatRef::from_row_major_slice(&y, n, k);
        if change == Change::Add {
            let mut columns = Columns::with_room(n, p, k, Sign::Same)?;
            let (mut features, mut outputs) = columns.next_mut(n);
            features.copy_from(rows.matrix(0..n));
            outputs.copy_from(targets);
            return Ok(Work::Absorb(columns));
        }
        let fit = MatRef::from_column_major_slice(&cross[..p * k], p, k);
        let (removal, left) =
            Removal::of(rows, lower.as_ref(), (targets, fit), run)?.map_err(|pivot| self.lost(pivot))?;
        for (output, sum) in unexplained.iter_mut().flatten().enumerate() {
            let got = left.row(output).squared_norm_l2();
            *sum = without(*sum, got, self.moments().squares[output]).ok_or(Unremovable::Targets {
                output,
                squares: "sum of squared residuals",
                got,
                left: *sum,
            })?;
        }
        Ok(Work::Remove(removal, y, self.least_first()))
    }

    /// The least that L_00 can be: H_00 ≥ λΛ_00, since C_00 ≥ 0.
    fn least_first(&self) -> f64 {
        (self.choice.regularizer * (self.penalty.first() + self.choice.jitter)).sqrt()
    }

    fn lost(&self, pivot: Pivot) -> Unremovable {
        let (size, regularizer) = (self.n_features(), self.regularizer());
        Unremovable::Pivot { pivot: pivot.index, size, value: pivot.value, regularizer }
    }

    /// Another L with rows added or removed, block after block.
    fn revised<T: Element>(
        &self,
        batch: &Batch<'_, T>,
        change: Change,
        moments: &mut Moments,
        run: &Execution,
    ) -> Result<Square> {
        let (n, mut lower) = (batch.rows.n_targets(), self.factor.lower_copy(run)?);
        for start in (0..n).step_by(change.rows()) {
            let rows = start..n.min(start + change.rows());
            let work = self.prepare_rows(rows, batch, change, &lower, moments, run)?;
            work.apply(&mut lower, moments, run);
            run.check()?;
        }
        Ok(lower)
    }

    /// The factor of L Lᵀ ± C, where so many rows are summed faster. Nothing where rounding leaves a pivot
    /// in doubt: reflections know better.
    fn factorised_anew<T: Element>(
        &self,
        batch: &Batch<'_, T>,
        change: Change,
        moments: &mut Moments,
        run: &Execution,
    ) -> Result<Option<Square>> {
        let p = self.n_features();
        if moments.unexplained.is_some() || batch.rows.n_targets() < change.anew(p) {
            return Ok(None);
        }
        let mut rows = Covariance::new(p, Precision::Double)?;
        rows.update(batch, run)?;
        let (mut h, of_rows) = rows.into_sums(run)?;
        h.for_each_lower_column(run, |_, column| column.iter_mut().for_each(|x| *x *= change.sign()));
        add_product(&self.factor, h.as_mut(), run)?;
        let diagonal = h.diagonal();
        let done = cholesky::factorize(h.as_mut(), run)?;
        let room = p as f64 * f64::EPSILON;
        if done.is_err() || h.diagonal().iter().zip(&diagonal).any(|(root, whole)| root * root <= room * whole) {
            return Ok(None);
        }
        raise_first(&mut h, self.least_first());
        moments.cross.iter_mut().zip(&of_rows.cross).for_each(|(b, x)| *b += change.sign() * x);
        Ok(Some(h))
    }
}

/// Squares without some of them; nothing if these are more by more than rounding, as a share of `scale`.
fn without(sum: f64, part: f64, scale: f64) -> Option<f64> {
    /// More than rounding makes of a sum of squares.
    const ROUNDING: f64 = 1e-8;
    (part - sum <= ROUNDING * scale).then(|| (sum - part).max(0.0))
}
