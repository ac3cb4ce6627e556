//! Sums over the data: C = Σ w f fᵀ, and with targets b = Σ w f yᵀ, Σ w y², n, Σ ln w.
//!
//! Reduced, weighted rows wait in a block of fixed size and are summed when it is full. So the
//! boundaries of batches change no bit of C, and single structures cost as little as big batches.
//! Reading the sums leaves the waiting rows where they are.

use std::ops::RangeInclusive;
use std::sync::Arc;

use faer::MatMut;

use crate::addition::Undo;
use crate::cholesky;
use crate::error::{Error, Result};
use crate::execution::Execution;
use crate::hessian::Hessian;
use crate::moments::Moments;
use crate::pages::copied;
use crate::penalty::Penalty;
use crate::regularizer::{Choice, Regularizer};
use crate::stage::{Precision, Stage};
use crate::tiles::mirror;
use crate::triangle::Square;

/// Traces of C and of H, and Σ w y², at which no intermediate result overflows, and none loses
/// digits to underflow: squares stay within 1e±308, with some decades for sums over p and for the
/// condition of H.
pub const SCALES: RangeInclusive<f64> = 1e-280..=1e300;

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
    /// Σ w‖f‖² of all rows, close to the trace of C: whether a sum would overflow is known before
    /// it is made.
    pub(crate) size: f64,
    /// Whether an update has settled if there are targets.
    pub(crate) decided: bool,
    pub(crate) stage: Stage,
    /// Rows behind a full stage are checked here, and wait while those before them are summed.
    pub(crate) behind: [Stage; 2],
    /// What puts a batch back that was prepared and not committed.
    pub(crate) undo: Option<Undo>,
    /// The array of C while a factor is made of it: C is then in the upper triangle, and its
    /// diagonal here.
    lent: Option<(Arc<Square>, Vec<f64>)>,
}

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
            size: 0.0,
            decided: false,
            stage: Stage::new(n_features, precision),
            behind: [Stage::new(n_features, precision), Stage::new(n_features, precision)],
            undo: None,
            lent: None,
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

    /// Undo what an interrupted call has left: a batch that was not committed, a factor that nobody
    /// has. To be called before anything else after such a call.
    pub fn settle(&mut self, run: &Execution) {
        self.roll_back(run);
        if let Some((array, diagonal)) = self.lent.take() {
            match Arc::try_unwrap(array) {
                Ok(mut array) => {
                    array.restore(&diagonal, run);
                    self.sums = Some(array);
                }
                Err(array) => self.lent = Some((array, diagonal)),
            }
        }
    }

    /// Leave C to the factor that was made in its place.
    pub fn renounce(&mut self) {
        self.lent = None;
    }

    /// Whether C was left to a factor.
    pub fn is_consumed(&self) -> bool {
        self.sums.is_none() && self.lent.is_none()
    }

    pub(crate) fn sums(&self) -> Result<&Square> {
        self.sums.as_ref().ok_or(Error::Consumed)
    }

    /// trace(C)
    pub fn trace(&self) -> Result<f64> {
        let summed: f64 = self.sums()?.diagonal().iter().sum();
        Ok(summed + self.stage.trace())
    }

    /// C += C', b += b', …: the sums of two parts of the data.
    pub fn merge(&mut self, other: &Self, run: &Execution) -> Result<()> {
        let merged = self.prepare_merge(other)?;
        run.check()?;
        self.commit_merge(merged, run);
        Ok(())
    }

    /// Do all of a merge that can fail, and nothing that shows.
    pub fn prepare_merge<'o>(&mut self, other: &'o Self) -> Result<Merge<'o>> {
        if other.n_features != self.n_features {
            return Err(Error::MergeSize { got: other.n_features, expected: self.n_features });
        }
        self.sums()?;
        let (sums, rows) = (other.sums()?, other.stage.to_vec()?);
        let size = check_size(self.size + other.size)?;
        let mut moments = self.moments.try_clone()?;
        if other.decided {
            self.check_outputs(other.n_outputs() > 0, other.n_outputs())?;
            if !self.decided {
                moments = Moments::zeros(self.n_features, other.n_outputs())?;
            }
        }
        moments.add(&other.moments);
        check_squares(&moments.squares)?;
        self.stage.make_for(&rows, &other.stage.targets)?;
        Ok(Merge { other, sums, rows, moments, size })
    }

    /// Add what `prepare_merge` has found good. Nothing stops it.
    pub fn commit_merge(&mut self, merge: Merge<'_>, run: &Execution) {
        let (Merge { other, sums: theirs, rows, moments, size }, run) = (merge, &run.unstoppable());
        if let Some(sums) = self.sums.as_mut() {
            sums.for_each_lower_column(run, |j, mine| {
                mine.iter_mut().zip(theirs.lower_column(j)).for_each(|(c, o)| *c += o);
            });
        }
        (self.moments, self.size, self.decided) = (moments, size, self.decided || other.decided);
        if other.n_rows() > 0 {
            self.least = self.least.min(other.least);
        }
        self.take_waiting(&rows, &other.stage.targets, run);
    }

    /// Put rows that waited elsewhere behind those that wait here, and sum full blocks.
    fn take_waiting(&mut self, mut rows: &[f64], mut targets: &[f64], run: &Execution) {
        let (p, k) = (self.n_features, self.moments.n_outputs);
        while !rows.is_empty() {
            let n = self.stage.room().min(rows.len() / p);
            let (now, later) = (rows.split_at(n * p), targets.split_at(n * k));
            self.stage.extend(now.0, later.0);
            (rows, targets) = (now.1, later.1);
            if let Some(sums) = self.sums.as_mut().filter(|_| self.stage.room() == 0) {
                add_stage(sums, &mut self.moments, &self.stage, run);
                self.stage.truncate(0);
            }
        }
    }

    /// The same data with `weight` times its weight in the loss.
    pub fn scaled(&self, weight: f64, run: &Execution) -> Result<Self> {
        if !(weight.is_finite() && weight >= 0.0) {
            return Err(Error::TermWeight(weight));
        }
        let size = check_size(weight * self.size)?;
        let mut moments = self.moments.try_clone()?;
        moments.scale(weight);
        check_squares(&moments.squares)?;
        let mut scaled = Self::new(self.n_features, self.precision)?;
        scaled.size = size;
        scaled.least = self.least;
        scaled.decided = self.decided;
        scaled.moments = moments;
        let sums = self.sums()?;
        if let Some(copy) = scaled.sums.as_mut().filter(|_| weight > 0.0) {
            copy.for_each_lower_column(run, |j, column| {
                column.iter_mut().zip(sums.lower_column(j)).for_each(|(c, o)| *c = weight * o);
            });
            let factor = if weight == 1.0 { 1.0 } else { weight.sqrt() };
            let (mut rows, mut targets) = (self.stage.to_vec()?, copied(&self.stage.targets)?);
            rows.iter_mut().chain(&mut targets).for_each(|x| *x *= factor);
            scaled.stage.make_for(&rows, &targets)?;
            scaled.stage.extend(&rows, &targets);
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

    /// H = C + λΛ = L Lᵀ. With `consume`, L takes the place of C, which is kept in the other
    /// triangle until `renounce`; without, L gets an array of its own.
    pub fn factorize(
        &mut self,
        regularizer: Regularizer,
        penalty: Penalty,
        consume: bool,
        run: &Execution,
    ) -> Result<Hessian> {
        let trace = check_size(self.trace()?)?;
        penalty.require_features(self.n_features)?;
        let unit = self.least.unit_roundoff();
        let (choice, penalty) = regularizer.settle(penalty, trace, unit, self.n_features, run)?;
        let moments = self.all_moments(run)?;
        if !consume {
            let mut array = self.lower_copy(run)?;
            self.factorize_in(&mut array, &penalty, choice, run)?;
            return Ok(Hessian::new(Arc::new(array), penalty, choice, moments));
        }
        let mut array = self.sums.take().ok_or(Error::Consumed)?;
        let diagonal = array.back_up(run);
        self.stage.add_gram(array.as_mut(), run);
        if let Err(error) = self.factorize_in(&mut array, &penalty, choice, run) {
            array.restore(&diagonal, run);
            self.sums = Some(array);
            return Err(error);
        }
        let array = Arc::new(array);
        self.lent = Some((Arc::clone(&array), diagonal));
        Ok(Hessian::new(array, penalty, choice, moments))
    }

    /// Replace C in the lower triangle of an array by L.
    fn factorize_in(&self, array: &mut Square, penalty: &Penalty, choice: Choice, run: &Execution) -> Result<()> {
        penalty.add_to(array.as_mut(), choice.regularizer, choice.jitter);
        let trace: f64 = array.diagonal().iter().sum();
        if trace != 0.0 && !SCALES.contains(&trace) {
            return Err(Error::Scale(trace));
        }
        let done = cholesky::factorize(array.as_mut(), run)?;
        run.check()?; // once more at the end: an interrupted call returns no result
        done.map_err(|pivot| Error::NotPositiveDefinite {
            pivot: pivot.index,
            size: self.n_features,
            value: pivot.value,
            regularizer: choice.regularizer,
        })
    }
}

/// C += FᵀF and b += FᵀY for the rows of a stage.
pub(crate) fn add_stage(sums: &mut Square, moments: &mut Moments, stage: &Stage, run: &Execution) {
    stage.add_gram(sums.as_mut(), run);
    stage.add_cross(&mut moments.cross, run);
}

/// Refuse Σ w‖f‖² beyond the scales of sums. All entries of C are smaller.
pub(crate) fn check_size(size: f64) -> Result<f64> {
    if fits(size) { Ok(size) } else { Err(Error::SumOverflow(size)) }
}

fn fits(sum: f64) -> bool {
    sum < *SCALES.end() // NaN does not
}

/// Refuse Σ w y² beyond the scales of sums. With both sums in range b is so, too, by the inequality
/// of Cauchy and Schwarz.
pub(crate) fn check_squares(squares: &[f64]) -> Result<()> {
    match squares.iter().position(|sum| !fits(*sum)) {
        Some(output) => Err(Error::TargetOverflow { output, sum: squares[output] }),
        None => Ok(()),
    }
}
