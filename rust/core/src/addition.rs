//! A batch on its way into the sums: prepared, then committed.
//!
//! To prepare a batch takes nearly all of the time, may fail and may be stopped, and can be undone
//! to the bit. To commit it cannot fail and is not stopped. So whoever stops an update, or gets an
//! error, finds nothing added; and whoever finds it committed gets no error.

use crate::absorb::Columns;
use crate::covariance::{Covariance, add_stage, check_size, check_squares};
use crate::error::{Error, Result};
use crate::execution::Execution;
use crate::moments::Moments;
use crate::narrow::{Blocks, NARROW, Products};
use crate::pages::copied;
use crate::rows::{Batch, Element};
use crate::stage::{Precision, ROWS, Stage};
use crate::tiles;
use crate::triangle::Square;

/// What an accumulator was before a batch was prepared.
pub(crate) struct Undo {
    /// Rows that waited.
    pub waiting: usize,
    pub was_decided: bool,
    /// C and b, once something was added to them.
    pub backup: Option<Backup>,
}

/// Undoes a sum.
pub(crate) struct Backup {
    /// The diagonal of C (or R), whose lower triangle is kept in the upper one.
    diagonal: Vec<f64>,
    /// b, or z and the squares that it leaves.
    cross: Vec<f64>,
    unexplained: Option<Vec<f64>>,
}

impl Backup {
    pub fn of(sums: &mut Square, moments: &Moments, run: &Execution) -> Result<Self> {
        let cross = copied(&moments.cross)?;
        Ok(Self { cross, unexplained: moments.unexplained.clone(), diagonal: sums.back_up(run) })
    }

    fn restore(self, sums: &mut Square, moments: &mut Moments, run: &Execution) {
        sums.restore(&self.diagonal, run);
        (moments.cross, moments.unexplained) = (self.cross, self.unexplained);
    }
}

/// A batch that was found good.
pub struct Prepared {
    /// n, Σ ln w and Σ w y² with the batch, without b.
    counted: Moments,
    /// Σ w‖f‖² with the batch.
    size: f64,
    rest: Rest,
}

/// What remains to be done.
enum Rest {
    /// Nothing: all rows wait.
    Wait,
    /// Rows left over begin a new stage; all others are in C.
    Begin,
    /// The same, after the full stage is summed.
    SumStage,
    /// The same, after the products of the last blocks are added.
    Add(Products),
}

impl Covariance {
    /// Cost of an update with `n_rows` rows that form `n_targets` targets, in multiplications.
    /// Reading counts too: a number takes about as long to arrive from memory as sixteen
    /// multiplications. (A stream of structures of 64 atoms at p = 1024 was three times slower when
    /// each was handed to the pool.)
    pub fn work(&self, n_rows: usize, n_targets: usize) -> f64 {
        let p = self.n_features() as f64;
        let blocks = self.stage.len.saturating_add(n_targets) / self.precision.block_rows();
        let each = if self.columns.is_some() { 1.0 } else { 0.5 };
        16.0 * n_rows as f64 * p + each * (blocks * self.precision.block_rows()) as f64 * p * p
    }

    /// Add a batch. A batch that is refused leaves the accumulator as it was, to the bit.
    pub fn update<T: Element>(&mut self, batch: &Batch<'_, T>, run: &Execution) -> Result<()> {
        let prepared = self.prepare(batch, run)?;
        self.commit(prepared, run);
        Ok(())
    }

    /// Do all that can fail. Follow with `commit`, or with `settle` to undo it.
    pub fn prepare<T: Element>(&mut self, batch: &Batch<'_, T>, run: &Execution) -> Result<Prepared> {
        self.sums()?;
        batch.rows.require_features(self.n_features())?;
        let n_outputs = batch.targets.as_ref().map_or(0, |y| y.ncols());
        self.check_outputs(batch.targets.is_some(), n_outputs)?;
        self.undo = Some(Undo { waiting: self.stage.len, was_decided: self.decided, backup: None });
        let prepared = self.decide(n_outputs).and_then(|()| self.prepare_rows(batch, run));
        if prepared.is_err() {
            self.roll_back(run);
        }
        prepared
    }

    fn prepare_rows<T: Element>(&mut self, batch: &Batch<'_, T>, run: &Execution) -> Result<Prepared> {
        let counted = self.counted(batch)?;
        let (added, rest) = self.take(batch, run)?;
        let size = check_size(self.size + added)?;
        run.check()?;
        Ok(Prepared { counted, size, rest })
    }

    /// Add a batch that was prepared.
    pub fn commit(&mut self, prepared: Prepared, run: &Execution) {
        let Prepared { counted, size, rest } = prepared;
        let Self { sums, moments, columns, stage, behind: [left, _], .. } = self;
        let waits = matches!(rest, Rest::Wait);
        match (rest, sums) {
            (Rest::SumStage, Some(sums)) => add_stage(sums, moments, columns, stage, &run.unstoppable()),
            (Rest::Add(products), Some(sums)) => products.add_to(sums, moments, run),
            _ => {}
        }
        if !waits {
            std::mem::swap(stage, left);
            left.truncate(0);
        }
        *moments = counted.with_parts_of(std::mem::take(moments));
        self.size = size;
        self.undo = None;
    }

    /// Put back what a batch has changed that was not committed.
    pub(crate) fn roll_back(&mut self, run: &Execution) {
        let Some(Undo { waiting, was_decided, backup }) = self.undo.take() else { return };
        if let (Some(backup), Some(sums)) = (backup, self.sums.as_mut()) {
            backup.restore(sums, &mut self.moments, run);
        }
        self.stage.truncate(waiting);
        self.behind.iter_mut().for_each(|stage| stage.truncate(0));
        if !was_decided {
            self.decided = false;
            self.moments = Moments { unexplained: self.columns.as_ref().map(|_| vec![]), ..Moments::default() };
        }
    }

    /// Targets come with every update or with none, always as many outputs.
    pub(crate) fn check_outputs(&self, with_targets: bool, n_outputs: usize) -> Result<()> {
        let expected = self.moments.n_outputs;
        match (self.decided, with_targets, expected) {
            (false, true, _) if n_outputs == 0 => Err(Error::OutputCount { got: 0, expected: 1 }),
            (true, true, 0) => Err(Error::TargetsMixed("they came now but not before")),
            (true, false, 1..) => Err(Error::TargetsMixed("they came before but not now")),
            (true, true, _) if n_outputs != expected => Err(Error::OutputCount { got: n_outputs, expected }),
            _ => Ok(()),
        }
    }

    pub(crate) fn decide(&mut self, n_outputs: usize) -> Result<()> {
        if !self.decided {
            (self.moments, self.columns) = self.prepared_for(n_outputs)?;
            self.decided = true;
        }
        Ok(())
    }

    /// Empty sums for targets of `n_outputs` outputs, and the memory to take up rows.
    pub(crate) fn prepared_for(&self, n_outputs: usize) -> Result<(Moments, Option<Columns>)> {
        let p = self.n_features();
        Ok(match self.columns {
            None => (Moments::zeros(p, n_outputs)?, None),
            Some(_) => (Moments::of_factor(p, n_outputs)?, Some(Columns::new(p, n_outputs)?)),
        })
    }

    /// n, Σ ln w and Σ w y² with the batch, one row after the other: so they do not depend on the
    /// boundaries of batches.
    fn counted<T: Element>(&self, batch: &Batch<'_, T>) -> Result<Moments> {
        let squares = self.moments.squares.clone();
        let mut counted = Moments { cross: vec![], squares, unexplained: None, ..self.moments };
        match &batch.weights {
            None => counted.n_rows = counted.n_rows.saturating_add(batch.rows.n_targets()),
            Some(weights) => weights.iter().for_each(|w| counted.count(*w)),
        }
        for (t, y) in batch.targets.iter().flat_map(|y| y.rows()).enumerate() {
            let w = batch.weight(t);
            counted.squares.iter_mut().zip(y).for_each(|(sum, y)| *sum += w * y * y);
        }
        check_squares(&counted.squares)?;
        Ok(counted)
    }

    /// Stage the rows, and sum what is full: a stage is never full between two calls. Returns their
    /// Σ w‖f‖².
    fn take<T: Element>(&mut self, batch: &Batch<'_, T>, run: &Execution) -> Result<(f64, Rest)> {
        let n = batch.rows.n_targets();
        if n < self.stage.room() {
            return Ok((self.stage.push(batch, 0..n, run)?, Rest::Wait));
        }
        if self.n_features() <= NARROW && self.precision == Precision::Double && self.columns.is_none() {
            self.take_narrow(batch, run)
        } else {
            self.take_blocks(batch, run)
        }
    }

    /// Fill the stage and multiply it and all whole blocks behind it, side by side; what is left
    /// over ends in the first of `behind`.
    fn take_narrow<T: Element>(&mut self, batch: &Batch<'_, T>, run: &Execution) -> Result<(f64, Rest)> {
        let Self { sums, moments, stage, behind: [left, _], undo, .. } = self;
        let (sums, undo) = (sums.as_mut().ok_or(Error::Consumed)?, undo.as_mut().ok_or(Error::Interrupted)?);
        let (n, start) = (batch.rows.n_targets(), stage.room());
        let end = n - (n - start) % ROWS;
        let filled = stage.push(batch, 0..start, run)?;
        let over = left.push(batch, end..n, run); // held back: what is wrong before it is named first
        let blocks = Blocks { stage, batch, targets: start..end };
        let (summed, products) = blocks.add_to(sums, moments, &mut undo.backup, run)?;
        Ok((filled + summed + over?, Rest::Add(products)))
    }

    /// Fill the stage and sum it, then block after block of what is behind it; what is left over
    /// ends in the first of `behind`.
    ///
    /// A block is read and checked while the one before it is summed. So that a bad row leaves no
    /// trace, C is first kept in its upper triangle. Where little is behind the stage that costs
    /// more than it gains: that little is then found good, and the stage is summed at the commit.
    fn take_blocks<T: Element>(&mut self, batch: &Batch<'_, T>, run: &Execution) -> Result<(f64, Rest)> {
        let Self { sums, moments, columns, stage, behind: [now, next], undo, .. } = self;
        let (sums, undo) = (sums.as_mut().ok_or(Error::Consumed)?, undo.as_mut().ok_or(Error::Interrupted)?);
        let (n, block, most) = (batch.rows.n_targets(), now.room(), stage.capacity());
        let mut start = stage.room();
        let few = n - start <= block / 2;
        let mut pushed = Ok(0.0);
        let mut kept = Ok(None);
        let keep = || kept = (!few).then(|| Backup::of(sums, moments, run)).transpose();
        tiles::join(run, || pushed = stage.push(batch, 0..start, run), keep);
        undo.backup = kept?;
        let mut size = pushed?;
        run.check()?;
        if few {
            return Ok((size + now.push(batch, start..n, run)?, Rest::SumStage));
        }
        let mut advance = |summed: &Stage, into: &mut Stage| {
            let left = n - start;
            let end = start + if left < block { left } else { most.min(left / block * block) };
            let mut pushed = Ok(0.0);
            let push = || pushed = into.push(batch, start..end, run);
            tiles::join(run, push, || add_stage(sums, moments, columns, summed, run));
            start = end;
            size += pushed?;
            run.check()
        };
        advance(stage, now)?;
        while now.len >= block {
            advance(now, next)?;
            now.truncate(0);
            std::mem::swap(now, next);
        }
        Ok((size, Rest::Begin))
    }
}
