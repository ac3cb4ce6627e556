//! Two parts of the data become one: prepared, then committed, as a batch is (`addition`).

use crate::addition::{Backup, Undo};
use crate::covariance::{Covariance, add_stage, check_size, check_squares};
use crate::error::{Error, Result};
use crate::execution::Execution;
use crate::moments::Moments;
use crate::row_factor::RowFactor;
use crate::triangle::Square;

/// Sums of another part of the data that were found good.
pub struct Merge<'o> {
    other: &'o Covariance,
    sums: &'o Square,
    /// Rows that wait there.
    rows: Vec<f64>,
    /// The sums of both, but for rows that wait.
    moments: Moments,
    size: f64,
}

impl Covariance {
    /// C += C', b += b', …: the sums of two parts of the data.
    pub fn merge(&mut self, other: &Self, run: &Execution) -> Result<()> {
        let merged = self.prepare_merge(other, run)?;
        self.commit_merge(merged, run);
        Ok(())
    }

    /// Do all of a merge that can fail. Follow with `commit_merge`, or with `settle` to undo it.
    pub fn prepare_merge<'o>(&mut self, other: &'o Self, run: &Execution) -> Result<Merge<'o>> {
        if other.is_factor() != self.is_factor() {
            return Err(Error::MergeAccumulation);
        }
        if other.n_features() != self.n_features() {
            return Err(Error::MergeSize { got: other.n_features(), expected: self.n_features() });
        }
        self.sums()?;
        let (sums, rows) = (other.sums()?, other.stage.to_vec()?);
        let size = check_size(self.size + other.size)?;
        let mut moments = self.moments.try_clone()?;
        if other.decided {
            self.check_outputs(other.n_outputs() > 0, other.n_outputs())?;
            if !self.decided {
                moments = self.prepared_for(other.n_outputs())?.0;
            }
        }
        moments.add(&other.moments);
        check_squares(&moments.squares)?;
        self.stage.make_for(&rows, &other.stage.targets)?;
        let merged = self.take_up(other, run).and_then(|()| run.check());
        if let Err(error) = merged {
            self.roll_back(run);
            return Err(error);
        }
        Ok(Merge { other, sums, rows, moments, size })
    }

    /// Where R is kept: take up the rows of the other R, and keep what it was for `roll_back`.
    fn take_up(&mut self, other: &Self, run: &Execution) -> Result<()> {
        if !(self.is_factor() && other.decided) {
            return Ok(());
        }
        self.undo = Some(Undo { waiting: self.stage.len, was_decided: self.decided, backup: None });
        self.decide(other.n_outputs())?;
        let Self { sums: Some(lower), columns: Some(columns), moments, undo: Some(undo), .. } = self else {
            return Err(Error::Consumed);
        };
        undo.backup = Some(Backup::of(lower, moments, run)?);
        RowFactor { lower, moments, columns }.add_factor(other.sums()?, &other.moments, run);
        Ok(())
    }

    /// Add what `prepare_merge` has found good. Nothing stops it.
    pub fn commit_merge(&mut self, merge: Merge<'_>, run: &Execution) {
        let (Merge { other, sums: theirs, rows, moments, size }, run) = (merge, &run.unstoppable());
        if self.is_factor() {
            self.moments = moments.with_parts_of(std::mem::take(&mut self.moments));
            self.undo = None;
        } else if let Some(sums) = self.sums.as_mut() {
            sums.for_each_lower_column(run, |j, mine| {
                mine.iter_mut().zip(theirs.lower_column(j)).for_each(|(c, o)| *c += o);
            });
            self.moments = moments;
        }
        (self.size, self.decided) = (size, self.decided || other.decided);
        if other.n_rows() > 0 {
            self.least = self.least.min(other.least);
        }
        self.take_waiting(&rows, &other.stage.targets, run);
    }

    /// Put rows that waited elsewhere behind those that wait here, and sum full blocks.
    fn take_waiting(&mut self, mut rows: &[f64], mut targets: &[f64], run: &Execution) {
        let (p, k) = (self.n_features(), self.moments.n_outputs);
        while !rows.is_empty() {
            let n = self.stage.room().min(rows.len() / p);
            let (now, later) = (rows.split_at(n * p), targets.split_at(n * k));
            self.stage.extend(now.0, later.0);
            (rows, targets) = (now.1, later.1);
            if let Some(sums) = self.sums.as_mut().filter(|_| self.stage.room() == 0) {
                add_stage(sums, &mut self.moments, &mut self.columns, &self.stage, run);
                self.stage.truncate(0);
            }
        }
    }
}
