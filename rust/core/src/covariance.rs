//! Sums over the data: C = Σ w f fᵀ, and with targets b = Σ w f yᵀ, Σ w y², n, Σ ln w.
//!
//! Reduced, weighted rows wait in a block of fixed size and are summed when it is full. So the
//! boundaries of batches change no bit of C, and single structures cost as little as big batches.
//! Reading the sums leaves the waiting rows where they are.

use faer::MatMut;

use crate::cholesky;
use crate::error::{Error, Result};
use crate::execution::Execution;
use crate::hessian::Hessian;
use crate::moments::Moments;
use crate::narrow::{Backup, Blocks, NARROW};
use crate::penalty::Penalty;
use crate::regularizer::Regularizer;
use crate::rows::{Batch, Element};
use crate::stage::{Precision, ROWS, Stage};
use crate::tiles::{self, mirror};
use crate::triangle::Square;

/// Accumulator of the sums over the data.
pub struct Covariance {
    n_features: usize,
    pub(crate) precision: Precision,
    /// The least precision of anything summed: a merged accumulator may have had less than this
    /// one.
    pub(crate) least: Precision,
    /// C in the lower triangle, without the rows that wait; `None` once consumed.
    pub(crate) sums: Option<Square>,
    pub(crate) moments: Moments,
    /// Whether an update has settled if there are targets.
    pub(crate) decided: bool,
    pub(crate) stage: Stage,
    /// Rows behind a full stage are checked here, and wait while those before them are summed.
    behind: [Stage; 2],
}

impl Covariance {
    /// An empty accumulator for rows of `n_features` columns.
    pub fn new(n_features: usize, precision: Precision) -> Result<Self> {
        if n_features == 0 {
            return Err(Error::NoFeatures);
        }
        Ok(Self {
            n_features,
            precision,
            least: precision,
            sums: Some(Square::zeros(n_features)?),
            moments: Moments::default(),
            decided: false,
            stage: Stage::new(n_features, precision),
            behind: [Stage::new(n_features, precision), Stage::new(n_features, precision)],
        })
    }

    /// The least precision of the products that were summed.
    pub fn least_precision(&self) -> Precision {
        self.least
    }

    /// p
    pub fn n_features(&self) -> usize {
        self.n_features
    }

    /// Target rows of positive weight that were summed.
    pub fn n_rows(&self) -> usize {
        self.moments.n_rows
    }

    /// Outputs of the targets; 0 where there are none.
    pub fn n_outputs(&self) -> usize {
        self.moments.n_outputs
    }

    pub(crate) fn sums(&self) -> Result<&Square> {
        self.sums.as_ref().ok_or(Error::Consumed)
    }

    /// trace(C)
    pub fn trace(&self) -> Result<f64> {
        let summed: f64 = self.sums()?.diagonal().iter().sum();
        Ok(summed + self.stage.trace())
    }

    /// Cost of an update with `n_rows` rows that form `n_targets` targets, in multiplications.
    /// Reading counts too: a number takes about as long to arrive from memory as sixteen
    /// multiplications. (A stream of structures of 64 atoms at p = 1024 was three times slower when
    /// each was handed to the pool.)
    pub fn work(&self, n_rows: usize, n_targets: usize) -> f64 {
        let p = self.n_features as f64;
        let blocks = self.stage.len.saturating_add(n_targets) / self.precision.block_rows();
        16.0 * n_rows as f64 * p + 0.5 * (blocks * self.precision.block_rows()) as f64 * p * p
    }

    /// Add a batch. A batch that is refused leaves the accumulator as it was, to the bit.
    pub fn update<T: Element>(&mut self, batch: &Batch<'_, '_, T>, run: &Execution) -> Result<()> {
        self.sums()?;
        batch.rows.require_features(self.n_features)?;
        let n_outputs = batch.targets.map_or(0, |y| y.ncols());
        self.check_outputs(batch.targets.is_some(), n_outputs)?;
        let was_decided = self.decided;
        self.decide(n_outputs)?;
        let outcome = self.take(batch, run);
        match outcome {
            Ok(()) => self.count(batch),
            Err(_) if !was_decided => self.undecide(),
            Err(_) => {}
        }
        outcome
    }

    /// Targets come with every update or with none, always as many outputs.
    fn check_outputs(&self, with_targets: bool, n_outputs: usize) -> Result<()> {
        let expected = self.moments.n_outputs;
        match (self.decided, with_targets, expected) {
            (false, true, _) if n_outputs == 0 => Err(Error::OutputCount { got: 0, expected: 1 }),
            (true, true, 0) => Err(Error::TargetsMixed("they came now but not before")),
            (true, false, 1..) => Err(Error::TargetsMixed("they came before but not now")),
            (true, true, _) if n_outputs != expected => Err(Error::OutputCount { got: n_outputs, expected }),
            _ => Ok(()),
        }
    }

    fn decide(&mut self, n_outputs: usize) -> Result<()> {
        if !self.decided {
            self.moments = Moments::zeros(self.n_features, n_outputs)?;
            self.decided = true;
        }
        Ok(())
    }

    fn undecide(&mut self) {
        self.decided = false;
        self.moments = Moments::default();
    }

    /// Stage the rows, and sum what is full: a stage is never full between two calls.
    fn take<T: Element>(&mut self, batch: &Batch<'_, '_, T>, run: &Execution) -> Result<()> {
        let waiting = self.stage.len;
        let n = batch.rows.n_targets();
        if n < self.stage.room() {
            self.stage.push(batch, 0..n, run)?;
            return run.check().inspect_err(|_| self.stage.truncate(waiting));
        }
        let mut backup = None;
        let outcome = if self.n_features <= NARROW && self.precision == Precision::Double {
            self.take_narrow(batch, run, &mut backup)
        } else {
            self.take_blocks(batch, run, &mut backup)
        };
        if outcome.is_ok() {
            let [last, _] = &mut self.behind;
            std::mem::swap(&mut self.stage, last);
        } else {
            if let (Some((diagonal, cross)), Some(sums)) = (backup, self.sums.as_mut()) {
                sums.restore(&diagonal, run);
                self.moments.cross = cross;
            }
            self.stage.truncate(waiting);
        }
        self.behind.iter_mut().for_each(|stage| stage.truncate(0));
        outcome
    }

    /// Fill the stage and sum it and all whole blocks behind it, side by side; what is left over
    /// ends in the first of `behind`.
    fn take_narrow<T: Element>(
        &mut self,
        batch: &Batch<'_, '_, T>,
        run: &Execution,
        backup: &mut Option<Backup>,
    ) -> Result<()> {
        let Self { sums, moments, stage, behind: [rest, _], .. } = self;
        let sums = sums.as_mut().ok_or(Error::Consumed)?;
        let (n, start) = (batch.rows.n_targets(), stage.room());
        let end = n - (n - start) % ROWS;
        stage.push(batch, 0..start, run)?;
        let outcome = rest.push(batch, end..n, run); // held back: what is wrong before it is named first
        Blocks { stage, batch, targets: start..end }.add_to(sums, moments, outcome, backup, run)
    }

    /// Fill the stage and sum it, then block after block of what is behind it; what is left over
    /// ends in the first of `behind`.
    ///
    /// A block is read and checked while the one before it is summed. So that a bad row leaves no
    /// trace, C is first kept in its upper triangle. Where little is behind the stage that costs
    /// more than it gains: that little is then found good before anything is summed, and nothing
    /// stops the sum. The stage itself is not touched again until the call has succeeded.
    fn take_blocks<T: Element>(
        &mut self,
        batch: &Batch<'_, '_, T>,
        run: &Execution,
        backup: &mut Option<Backup>,
    ) -> Result<()> {
        let Self { sums, moments, stage, behind: [now, next], .. } = self;
        let sums = sums.as_mut().ok_or(Error::Consumed)?;
        let (n, block, most) = (batch.rows.n_targets(), now.room(), stage.capacity());
        let mut start = stage.room();
        let few = n - start <= block / 2;
        let mut pushed = Ok(());
        let keep = || *backup = (!few).then(|| (sums.back_up(run), moments.cross.clone()));
        tiles::join(run, || pushed = stage.push(batch, 0..start, run), keep);
        pushed?;
        run.check()?;
        if few {
            now.push(batch, start..n, run)?;
            run.check()?;
            add_stage(sums, moments, stage, &run.unstoppable());
            return Ok(());
        }
        let mut advance = |summed: &Stage, into: &mut Stage| {
            let left = n - start;
            let end = start + if left < block { left } else { most.min(left / block * block) };
            let mut pushed = Ok(());
            let push = || pushed = into.push(batch, start..end, run);
            tiles::join(run, push, || add_stage(sums, moments, summed, run));
            start = end;
            pushed.and_then(|()| run.check())
        };
        advance(stage, now)?;
        while now.len >= block {
            advance(now, next)?;
            now.truncate(0);
            std::mem::swap(now, next);
        }
        Ok(())
    }

    /// n, Σ ln w and Σ w y², one row after the other: so they do not depend on the boundaries of
    /// batches.
    fn count<T: Element>(&mut self, batch: &Batch<'_, '_, T>) {
        match batch.weights {
            None => self.moments.n_rows = self.moments.n_rows.saturating_add(batch.rows.n_targets()),
            Some(weights) => weights.iter().for_each(|w| self.moments.count(*w)),
        }
        for (t, y) in batch.targets.iter().flat_map(|y| y.rows()).enumerate() {
            let w = batch.weight(t);
            self.moments.squares.iter_mut().zip(y).for_each(|(sum, y)| *sum += w * y * y);
        }
    }

    /// C += C', b += b', …: the sums of two parts of the data.
    pub fn merge(&mut self, other: &Self, run: &Execution) -> Result<()> {
        if other.n_features != self.n_features {
            return Err(Error::MergeSize { got: other.n_features, expected: self.n_features });
        }
        self.sums()?;
        let (theirs, waiting) = (other.sums()?, other.stage.to_vec()?);
        if !waiting.is_empty() {
            self.stage.make()?;
        }
        if other.decided {
            self.check_outputs(other.n_outputs() > 0, other.n_outputs())?;
            self.decide(other.n_outputs())?;
        } // all memory is there: nothing fails from here on
        if let Some(sums) = self.sums.as_mut() {
            sums.for_each_lower_column(run, |j, mine| {
                mine.iter_mut().zip(theirs.lower_column(j)).for_each(|(c, o)| *c += o);
            });
        }
        self.moments.add(&other.moments);
        if other.n_rows() > 0 {
            self.least = self.least.min(other.least);
        }
        self.take_waiting(&waiting, &other.stage.targets, run)
    }

    /// Put rows that waited elsewhere behind those that wait here, and sum full blocks.
    fn take_waiting(&mut self, mut rows: &[f64], mut targets: &[f64], run: &Execution) -> Result<()> {
        let (p, k) = (self.n_features, self.moments.n_outputs);
        while !rows.is_empty() {
            let n = self.stage.room().min(rows.len() / p);
            let (now, later) = (rows.split_at(n * p), targets.split_at(n * k));
            self.stage.extend(now.0, later.0)?;
            (rows, targets) = (now.1, later.1);
            if let Some(sums) = self.sums.as_mut().filter(|_| self.stage.room() == 0) {
                add_stage(sums, &mut self.moments, &self.stage, &run.unstoppable());
                self.stage.truncate(0);
            }
        }
        Ok(())
    }

    /// The same data with `weight` times its weight in the loss.
    pub fn scaled(&self, weight: f64, run: &Execution) -> Result<Self> {
        if !(weight.is_finite() && weight >= 0.0) {
            return Err(Error::TermWeight(weight));
        }
        let mut scaled = Self::new(self.n_features, self.precision)?;
        scaled.least = self.least;
        scaled.decided = self.decided;
        scaled.moments = self.moments.try_clone()?;
        scaled.moments.scale(weight);
        let sums = self.sums()?;
        if let Some(copy) = scaled.sums.as_mut().filter(|_| weight > 0.0) {
            copy.for_each_lower_column(run, |j, column| {
                column.iter_mut().zip(sums.lower_column(j)).for_each(|(c, o)| *c = weight * o);
            });
            let factor = if weight == 1.0 { 1.0 } else { weight.sqrt() };
            let (mut rows, mut targets) = (self.stage.to_vec()?, self.stage.targets.clone());
            rows.iter_mut().chain(&mut targets).for_each(|x| *x *= factor);
            scaled.stage.extend(&rows, &targets)?;
        }
        Ok(scaled)
    }

    /// Write C, both triangles, into an array of p × p numbers.
    pub fn write_matrix(&self, out: &mut [f64], run: &Execution) -> Result<()> {
        let (p, sums) = (self.n_features, self.sums()?);
        if out.len() != p * p {
            return Err(Error::Length { what: "the array", got: out.len(), expected: p * p, of: "entries of C" });
        }
        for (j, column) in out.chunks_mut(p).enumerate() {
            column[j..].copy_from_slice(sums.lower_column(j));
        }
        let mut c = MatMut::from_column_major_slice_mut(out, p, p);
        self.stage.add_gram(c.as_mut(), run);
        mirror(c, run);
        run.check()
    }

    /// The lower triangle of C in an array of its own, waiting rows included.
    fn lower_copy(&self, run: &Execution) -> Result<Square> {
        let sums = self.sums()?;
        let mut copy = Square::unset(self.n_features)?;
        copy.for_each_lower_column(run, |j, column| column.copy_from_slice(sums.lower_column(j)));
        self.stage.add_gram(copy.as_mut(), run);
        run.check()?;
        Ok(copy)
    }

    /// b, Σ w y², n, Σ ln w, waiting rows included.
    pub fn all_moments(&self, run: &Execution) -> Result<Moments> {
        let mut moments = self.moments.try_clone()?;
        self.stage.add_cross(&mut moments.cross, &run.unstoppable());
        Ok(moments)
    }

    /// H = C + λΛ = L Lᵀ. With `consume`, L takes the place of C; without, it gets an array of its
    /// own.
    pub fn factorize(
        &mut self,
        regularizer: Regularizer,
        penalty: Penalty,
        consume: bool,
        run: &Execution,
    ) -> Result<Hessian> {
        let trace = self.trace()?;
        if !trace.is_finite() {
            return Err(Error::SumOverflow(trace));
        }
        penalty.require_features(self.n_features)?;
        let unit = self.least.unit_roundoff();
        let (choice, penalty) = regularizer.settle(penalty, trace, unit, self.n_features, run)?;
        let moments = self.all_moments(run)?;
        let (mut array, kept) = if consume {
            let mut array = self.sums.take().ok_or(Error::Consumed)?;
            let diagonal = array.back_up(run);
            self.stage.add_gram(array.as_mut(), run);
            (array, Some(diagonal))
        } else {
            (self.lower_copy(run)?, None)
        };
        penalty.add_to(array.as_mut(), choice.regularizer, choice.jitter);
        // checked once more at the end: an interrupted call returns no result, so it must not
        // consume C
        let outcome = match cholesky::factorize(array.as_mut(), run).and_then(|done| run.check().map(|()| done)) {
            Ok(Ok(())) => return Ok(Hessian::new(array, penalty, choice, moments)),
            Ok(Err(pivot)) => Error::NotPositiveDefinite {
                pivot: pivot.index,
                size: self.n_features,
                value: pivot.value,
                regularizer: choice.regularizer,
            },
            Err(error) => error,
        };
        if let Some(diagonal) = kept {
            array.restore(&diagonal, run);
            self.sums = Some(array);
        }
        Err(outcome)
    }
}

/// C += FᵀF and b += FᵀY for the rows of a stage.
fn add_stage(sums: &mut Square, moments: &mut Moments, stage: &Stage, run: &Execution) {
    stage.add_gram(sums.as_mut(), run);
    stage.add_cross(&mut moments.cross, run);
}
