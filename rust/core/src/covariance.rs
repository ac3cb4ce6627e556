//! Sums over the data: C = Σ w f fᵀ, and with targets b = Σ w f yᵀ, Σ w y², n, Σ ln w.
//!
//! Reduced, weighted rows wait in a block of fixed size and are summed when it is full. So the
//! boundaries of batches change no bit of C, and single structures cost as little as big batches.
//! Reading the sums leaves the waiting rows where they are.

use std::ops::RangeInclusive;
use std::sync::Arc;

use faer::MatMut;

use crate::absorb::Columns;
use crate::addition::Undo;
use crate::cholesky;
use crate::error::{Error, Result};
use crate::execution::Execution;
use crate::hessian::Hessian;
use crate::moments::Moments;
use crate::pages::{copied, zero_matrix};
use crate::penalty::Penalty;
use crate::regularizer::{Choice, Regularizer};
use crate::row_factor::{self, RowFactor};
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
    /// C in the lower triangle, or Rᵀ (`row_factor`), without the rows that wait; `None` once
    /// consumed.
    pub(crate) sums: Option<Square>,
    /// Memory to take up rows into R; `None` where C is summed.
    pub(crate) columns: Option<Columns>,
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
            columns: None,
            moments: Moments::default(),
            size: 0.0,
            decided: false,
            stage: Stage::new(n_features, precision),
            behind: [Stage::new(n_features, precision), Stage::new(n_features, precision)],
            undo: None,
            lent: None,
        })
    }

    /// The same, for the triangular factor R of the rows in place of their sums.
    pub fn of_factor(n_features: usize) -> Result<Self> {
        let mut empty = Self::new(n_features, Precision::Double)?;
        empty.columns = Some(Columns::new(n_features, 0)?);
        empty.moments.unexplained = Some(vec![]);
        Ok(empty)
    }

    /// An empty accumulator of the same kind.
    fn empty_like(&self) -> Result<Self> {
        if self.columns.is_some() {
            Self::of_factor(self.n_features)
        } else {
            Self::new(self.n_features, self.precision)
        }
    }

    /// Whether R is kept, and not C.
    pub fn is_factor(&self) -> bool {
        self.columns.is_some()
    }

    /// u of C, relative to its trace: where R is kept, its square.
    fn unit_roundoff(&self) -> f64 {
        if self.is_factor() { row_factor::UNIT_SQUARED } else { self.least.unit_roundoff() }
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
        let sums = self.sums()?;
        let summed =
            if self.is_factor() { row_factor::squared_norm_of(sums) } else { sums.diagonal().iter().sum::<f64>() };
        Ok(summed + self.stage.trace())
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
        let mut scaled = self.empty_like()?;
        if self.decided {
            scaled.columns = self.prepared_for(self.n_outputs())?.1;
        }
        scaled.size = size;
        scaled.least = self.least;
        scaled.decided = self.decided;
        scaled.moments = moments;
        let sums = self.sums()?;
        let factor = if weight == 1.0 { 1.0 } else { weight.sqrt() };
        let of_sums = if self.is_factor() { factor } else { weight };
        if let Some(copy) = scaled.sums.as_mut().filter(|_| weight > 0.0) {
            copy.for_each_lower_column(run, |j, column| {
                column.iter_mut().zip(sums.lower_column(j)).for_each(|(c, o)| *c = of_sums * o);
            });
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
        for (j, column) in out.chunks_mut(p).enumerate().filter(|_| !self.is_factor()) {
            column[j..].copy_from_slice(sums.lower_column(j));
        }
        let mut c = MatMut::from_column_major_slice_mut(out, p, p);
        if self.is_factor() {
            c.fill(0.0);
            row_factor::add_product(sums, c.as_mut(), run)?;
        }
        self.stage.add_gram(c.as_mut(), run);
        mirror(c, run);
        run.check()
    }

    /// Rᵀ, z and Σwy² − ‖z‖², waiting rows included.
    pub fn row_factor(&self, run: &Execution) -> Result<(Vec<f64>, Moments)> {
        let mut lower = self.sums()?.lower_copy(run)?;
        let moments = self.with_waiting_rows(&mut lower, run)?.1;
        run.check()?;
        let p = self.n_features;
        let mut out = zero_matrix(p, p)?;
        out.chunks_mut(p).enumerate().for_each(|(j, out)| out[j..].copy_from_slice(lower.lower_column(j)));
        Ok((out, moments))
    }

    /// Take up the rows that wait into a copy of Rᵀ, or in its place.
    fn with_waiting_rows(&self, lower: &mut Square, run: &Execution) -> Result<(Columns, Moments)> {
        let mut moments = self.moments.try_clone()?;
        let mut columns = Columns::new(self.n_features, self.n_outputs())?;
        RowFactor { lower, moments: &mut moments, columns: &mut columns }.add_stage(&self.stage, run);
        Ok((columns, moments))
    }

    /// b, Σ w y², n, Σ ln w, waiting rows included.
    pub fn all_moments(&self, run: &Execution) -> Result<Moments> {
        let mut moments = self.moments.try_clone()?;
        if self.is_factor() {
            moments.cross = row_factor::cross(self.sums()?, &moments)?;
            moments.unexplained = None;
        }
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
        let unit = self.unit_roundoff();
        let (choice, penalty) = regularizer.settle(penalty, trace, unit, self.n_features, run)?;
        if !consume {
            let mut array = self.sums()?.lower_copy(run)?;
            let moments = self.factorize_in(&mut array, &penalty, choice, run)?;
            return Ok(Hessian::new(Arc::new(array), penalty, choice, moments));
        }
        let mut array = self.sums.take().ok_or(Error::Consumed)?;
        let diagonal = array.back_up(run);
        let moments = match self.factorize_in(&mut array, &penalty, choice, run) {
            Ok(moments) => moments,
            Err(error) => {
                array.restore(&diagonal, run);
                self.sums = Some(array);
                return Err(error);
            }
        };
        let array = Arc::new(array);
        self.lent = Some((Arc::clone(&array), diagonal));
        Ok(Hessian::new(array, penalty, choice, moments))
    }

    /// C, in the lower triangle of its array, and the sums beside it, rows that wait included.
    pub(crate) fn into_sums(mut self, run: &Execution) -> Result<(Square, Moments)> {
        let moments = self.all_moments(run)?;
        let mut sums = self.sums.take().ok_or(Error::Consumed)?;
        self.stage.add_gram(sums.as_mut(), run);
        run.check()?;
        Ok((sums, moments))
    }

    /// Replace C (or Rᵀ) without waiting rows, in the lower triangle of an array, by L; return what
    /// H keeps of the targets.
    fn factorize_in(&self, array: &mut Square, penalty: &Penalty, choice: Choice, run: &Execution) -> Result<Moments> {
        if self.is_factor() {
            return self.reflect_in(array, penalty, choice, run);
        }
        let moments = self.all_moments(run)?;
        self.stage.add_gram(array.as_mut(), run);
        run.check()?;
        penalty.add_to(array.as_mut(), choice.regularizer, choice.jitter);
        check_scale(array.diagonal().iter().sum())?;
        let done = cholesky::factorize(array.as_mut(), run)?;
        run.check()?; // once more at the end: an interrupted call returns no result
        done.map_err(|pivot| Error::NotPositiveDefinite {
            pivot: pivot.index,
            size: self.n_features,
            value: pivot.value,
            regularizer: choice.regularizer,
        })?;
        Ok(moments)
    }

    fn reflect_in(&self, lower: &mut Square, penalty: &Penalty, choice: Choice, run: &Execution) -> Result<Moments> {
        let (mut columns, mut moments) = self.with_waiting_rows(lower, run)?;
        run.check()?;
        let mut factor = RowFactor { lower, moments: &mut moments, columns: &mut columns };
        factor.add_penalty(penalty, choice, run)?;
        check_scale(row_factor::squared_norm_of(factor.lower))?;
        factor.finish(choice.regularizer)?;
        Ok(moments)
    }
}

/// C += FᵀF and b += FᵀY for the rows of a stage; or take them up into R and z.
pub(crate) fn add_stage(
    sums: &mut Square,
    moments: &mut Moments,
    columns: &mut Option<Columns>,
    stage: &Stage,
    run: &Execution,
) {
    if let Some(columns) = columns {
        return RowFactor { lower: sums, moments, columns }.add_stage(stage, run);
    }
    stage.add_gram(sums.as_mut(), run);
    stage.add_cross(&mut moments.cross, run);
}

/// Refuse a trace of H at which digits are lost.
fn check_scale(trace: f64) -> Result<()> {
    if trace == 0.0 || SCALES.contains(&trace) { Ok(()) } else { Err(Error::Scale(trace)) }
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
