//! Few features: blocks of rows side by side.
//!
//! C is then too small to be shared out between threads, and copying a row takes as long as
//! multiplying it. So each block of rows is multiplied by one thread into an array of its own, and
//! read where the caller has it if the kernels can read it there; the arrays are then added to C in
//! the order of the blocks. Which thread took a block, and how many are under way at once, changes
//! no bit.

use std::any::TypeId;
use std::ops::Range;

use faer::{ColRef, MatMut, MatRef};
use rayon::prelude::*;

use crate::addition::Backup;
use crate::error::{Error, Result};
use crate::execution::Execution;
use crate::moments::Moments;
use crate::pages::copied;
use crate::panel::{Panel, Strip};
use crate::rows::{Batch, Element};
use crate::slab::{Slab, SlabRows};
use crate::stage::{ROWS, Stage, add_cross};
use crate::tiles::{self, Operand};
use crate::triangle::Square;

/// Features up to which blocks go side by side. 256: a product (0.5 MB) stays in L2 until it is
/// done. Two Zen 4 cores, 128 MB of rows in one call: 52, 61 and 69 Gflop/s at p = 64, 128, 256,
/// where tiles of C made 15, 30 and 49; with 512 features tiles are as fast.
pub(crate) const NARROW: usize = 256;

/// Bytes of products, and of copied rows, that a wave of blocks should stay below: 8 blocks of 256
/// features, 32 of 64. More of them hide that some thread is last; these stay in the caches until
/// they are added.
const WAVE_BYTES: usize = 4 << 20;

/// Rows of a block, where they are.
#[derive(Clone, Copy)]
enum Source<'a> {
    /// Reduced, on our own memory.
    Copied(SlabRows<'a, f64>),
    /// The caller's, as they came and not yet looked at.
    Given(MatRef<'a, f64>),
}

impl Operand<f64> for Source<'_> {
    fn depth(&self) -> usize {
        match self {
            Self::Copied(rows) => rows.depth(),
            Self::Given(rows) => rows.nrows(),
        }
    }

    fn columns(&self, start: usize, n: usize) -> MatRef<'_, f64> {
        match self {
            Self::Copied(rows) => rows.columns(start, n),
            Self::Given(rows) => rows.subcols(start, n),
        }
    }
}

/// Blocks of a batch behind a full stage.
pub(crate) struct Blocks<'b, 'r, T> {
    pub stage: &'b Stage,
    pub batch: &'b Batch<'r, T>,
    /// Targets behind those in the stage: a multiple of a block.
    pub targets: Range<usize>,
}

/// Products of the last blocks, to be added to C; and b with them.
pub(crate) struct Products {
    products: Panel,
    n: usize,
    cross: Vec<f64>,
}

impl Products {
    pub fn add_to(self, sums: &mut Square, moments: &mut Moments, run: &Execution) {
        add_products(sums, &self.products, self.n, run);
        moments.cross = self.cross;
    }
}

impl<T: Element> Blocks<'_, '_, T> {
    /// Number of blocks, the stage being the first.
    fn len(&self) -> usize {
        1 + self.targets.len() / ROWS
    }

    /// Targets of blocks behind the stage.
    fn targets(&self, blocks: Range<usize>) -> Range<usize> {
        let first = |k: usize| self.targets.start + (k.max(1) - 1) * ROWS;
        first(blocks.start)..first(blocks.end)
    }

    /// The rows as one piece of numbers in float64 that need no reduction, if they are that.
    fn given(&self) -> Option<&[f64]> {
        let (rows, doubles) = (&self.batch.rows, TypeId::of::<T>() == TypeId::of::<f64>());
        let as_they_are = doubles && rows.is_ungrouped() && self.batch.weights.is_none();
        rows.values().to_slice().filter(|_| as_they_are).map(bytemuck::cast_slice)
    }

    /// C += FᵀF and b += FᵀY, block after block, but for the last wave of blocks, whose products
    /// are returned. Nothing of a wave is added before all of it is found good; what was added
    /// before is kept in `backup`. Returns also Σ w‖f‖² of the blocks behind the stage.
    pub fn add_to(
        &self,
        sums: &mut Square,
        moments: &mut Moments,
        backup: &mut Option<Backup>,
        run: &Execution,
    ) -> Result<(f64, Products)> {
        let (p, given) = (self.batch.rows.n_features(), self.given());
        let wave = wave(p, run).min(self.len());
        let mut products = Panel::unset(wave * p, p)?;
        let mut slab = Slab::unset(if given.is_some() { 0 } else { wave * ROWS }, p)?;
        let (mut size, mut start) = (0.0, 0);
        loop {
            let blocks = start..self.len().min(start + wave);
            let (reduced, sources) = self.sources(blocks.clone(), given, &mut slab, run)?;
            size += reduced + self.multiply(&blocks, &sources, &mut products, run)?;
            run.check()?;
            let mut cross = copied(&moments.cross)?;
            self.add_cross(&blocks, &sources, &mut cross, run)?;
            run.check()?; // a stop has left products and b unfinished
            if blocks.end == self.len() {
                return Ok((size, Products { products, n: blocks.len(), cross }));
            }
            if backup.is_none() {
                *backup = Some(Backup::of(sums, moments, run)?);
            }
            moments.cross = cross;
            add_products(sums, &products, blocks.len(), run);
            start += wave;
        }
    }

    /// Where the rows of some blocks are, after copying those that have to be reduced; and Σ w‖f‖²
    /// of these.
    fn sources<'s>(
        &'s self,
        blocks: Range<usize>,
        given: Option<&'s [f64]>,
        slab: &'s mut Slab,
        run: &Execution,
    ) -> Result<(f64, Vec<Source<'s>>)> {
        let (p, targets) = (self.batch.rows.n_features(), self.targets(blocks.clone()));
        let mut size = 0.0;
        if given.is_none() {
            let pieces = slab.pieces_mut(0..targets.len());
            size = self.batch.rows.reduce_into(targets.clone(), |t| self.batch.factor(t), pieces, run)?;
        }
        let source = |k: usize| {
            let rows = self.targets(k..k + 1);
            match given {
                _ if k == 0 => self.stage.doubles().map(Source::Copied),
                Some(values) => {
                    let values = &values[rows.start * p..rows.end * p];
                    Some(Source::Given(MatRef::from_row_major_slice(values, rows.len(), p)))
                }
                None => Some(Source::Copied(slab.part(rows.start - targets.start..rows.end - targets.start))),
            }
        };
        Ok((size, blocks.filter_map(source).collect()))
    }

    /// The lower triangles of FᵀF, one after the other. Rows that were not looked at before are
    /// found good by their products, whose Σ‖f‖² is returned: where that is finite each ‖f‖² is.
    fn multiply(
        &self,
        blocks: &Range<usize>,
        sources: &[Source<'_>],
        products: &mut Panel,
        run: &Execution,
    ) -> Result<f64> {
        let p = self.batch.rows.n_features();
        let strips = products.strip_mut(0..sources.len() * p).strips(p);
        let traces: Vec<f64> = if run.is_parallel() && sources.len() > 1 {
            let pairs: Vec<_> = strips.zip(sources).collect();
            pairs.into_par_iter().map(|(out, source)| multiply(out, source, &run.alone())).collect()
        } else {
            strips.zip(sources).map(|(out, source)| multiply(out, source, run)).collect()
        };
        run.check()?; // or the products are unfinished
        let mut size = 0.0;
        for ((k, source), trace) in blocks.clone().zip(sources).zip(traces) {
            if matches!(source, Source::Given(_)) {
                size += if trace.is_finite() { trace } else { self.look_at(k, trace, run)? };
            }
        }
        Ok(size)
    }

    /// What is wrong with the rows of a block, one after the other. Where it is only that the sum
    /// of all of them overflows, that sum.
    fn look_at(&self, block: usize, trace: f64, run: &Execution) -> Result<f64> {
        let mut slab = Slab::<f64>::unset(ROWS, self.batch.rows.n_features())?;
        self.batch.rows.reduce_into(self.targets(block..block + 1), |_| 1.0, slab.pieces_mut(0..ROWS), run)?;
        if trace.is_nan() { Err(Error::Changed) } else { Ok(trace) }
    }

    fn add_cross(
        &self,
        blocks: &Range<usize>,
        sources: &[Source<'_>],
        cross: &mut [f64],
        run: &Execution,
    ) -> Result<()> {
        for (k, source) in blocks.clone().zip(sources) {
            if k == 0 {
                self.stage.add_cross(cross, run);
            } else {
                let mut targets = vec![];
                self.batch.push_targets(self.targets(k..k + 1), &mut targets)?;
                add_cross(cross, source, &targets, run);
            }
        }
        Ok(())
    }
}

/// Blocks of a wave: as many as memory allows, but two for each thread.
fn wave(p: usize, run: &Execution) -> usize {
    let threads = if run.is_parallel() { rayon::current_num_threads() } else { 1 };
    let (product, rows) = (p * p * size_of::<f64>(), ROWS * p * size_of::<f64>());
    (WAVE_BYTES / product.max(rows)).max(2 * threads)
}

/// lower(FᵀF), and its trace; NaN where an entry is not finite (the trace does not show that if
/// another thread writes to the rows meanwhile).
fn multiply(out: Strip<'_>, source: &Source<'_>, run: &Execution) -> f64 {
    let mut c: MatMut<'_, f64> = out.into_columns();
    tiles::gram_anew(c.as_mut(), source, run);
    let trace: f64 = (0..c.ncols()).map(|j| c[(j, j)]).sum();
    let finite = match source {
        Source::Copied(_) => true,
        Source::Given(_) => (0..c.ncols()).all(|j| is_finite(c.as_ref().col(j).subrows(j, c.nrows() - j))),
    };
    if finite || !trace.is_finite() { trace } else { f64::NAN }
}

/// Whether all entries of a column are finite.
fn is_finite(column: ColRef<'_, f64>) -> bool {
    let all = |entries: &[f64]| entries.iter().fold(true, |finite, x| finite & x.is_finite()); // without a branch
    column.try_as_col_major().is_none_or(|column| all(column.as_slice()))
}

/// Add the first `n` products to C, one after the other.
fn add_products(sums: &mut Square, products: &Panel, n: usize, run: &Execution) {
    let p = sums.n();
    sums.on_all_threads(run, |j, column| {
        for k in 0..n {
            column.iter_mut().zip(&products.row(k * p + j)[j..]).for_each(|(c, x)| *c += x);
        }
    });
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use ndarray::{Array2, ArrayView2, s};

    use crate::{Batch, Covariance, Error, Execution, Precision, Reduction, Result, RowBlock};

    static NEVER: AtomicBool = AtomicBool::new(false);

    fn update(covariance: &mut Covariance, x: ArrayView2<'_, f64>, y: bool, run: &Execution) -> Result<()> {
        let rows = RowBlock::new(x, None, Reduction::Mean)?;
        covariance.update(&Batch::new(rows, None, y.then(|| x.slice(s![.., ..1])))?, run)
    }

    fn features(n: usize, p: usize) -> Array2<f64> {
        Array2::from_shape_fn((n, p), |(i, j)| ((i * 7919 + j * 104_729 + i * j * 31) % 1009) as f64 / 504.5 - 1.0)
    }

    #[test]
    fn where_rows_are_read_and_how_many_come_at_once_changes_no_bit() -> Result<()> {
        for (p, y) in [(1, false), (64, true), (97, false), (256, true)] {
            let x = features(5000, p);
            let mut fortran = Array2::zeros((p, 5000)).reversed_axes();
            fortran.assign(&x);
            let mut snapshots = vec![];
            for run in [Execution::sequential(), Execution::new(true, &NEVER)] {
                for (rows, batches) in [(&x, vec![5000]), (&fortran, vec![5000]), (&x, vec![100, 2500, 1, 156, 2243])] {
                    let mut covariance = Covariance::new(p, Precision::Double)?;
                    let mut start = 0;
                    for n in batches {
                        update(&mut covariance, rows.slice(s![start..start + n, ..]), y, &run)?;
                        start += n;
                    }
                    snapshots.push(covariance.snapshot()?);
                }
            }
            assert!(snapshots.iter().all(|snapshot| *snapshot == snapshots[0]));
        }
        Ok(())
    }

    #[test]
    fn a_bad_row_is_named_and_leaves_no_trace() -> Result<()> {
        let (p, run) = (256, Execution::new(true, &NEVER));
        let mut covariance = Covariance::new(p, Precision::Double)?;
        update(&mut covariance, features(300, p).view(), true, &run)?;
        let before = covariance.snapshot()?;
        for row in [3, 300, 5000, 9990] {
            let mut x = features(10_000, p); // more blocks than a wave, and rows that are left over
            x[(row, 7)] = f64::NAN;
            x[(9999, 1)] = f64::NAN;
            let error = update(&mut covariance, x.view(), true, &run).err();
            assert!(matches!(error, Some(Error::NonFinite { row: found, column: 7, .. }) if found == row));
            assert!(covariance.snapshot()? == before);
        }
        Ok(())
    }

    #[test]
    fn sums_that_overflow_are_refused_wherever_the_rows_are() -> Result<()> {
        let run = Execution::sequential();
        for p in [2, 300] {
            let x = Array2::from_elem((600, p), 9e153 / (p as f64).sqrt()); // each ‖f‖² is finite, their sum is not
            let mut fortran = Array2::zeros((p, 600)).reversed_axes();
            fortran.assign(&x);
            for rows in [x.view(), fortran.view(), x.slice(s![..3, ..])] {
                let mut covariance = Covariance::new(p, Precision::Double)?;
                update(&mut covariance, features(700, p).view(), false, &run)?;
                let before = covariance.snapshot()?;
                assert!(matches!(update(&mut covariance, rows, false, &run), Err(Error::SumOverflow(_))));
                assert!(covariance.snapshot()? == before);
            }
        }
        Ok(())
    }
}
