//! Few features: blocks of rows side by side.
//!
//! C is then too small to be shared out between threads, and copying a row takes as long as
//! multiplying it. So each block of rows is multiplied by one thread into an array of its own, and
//! read where the caller has it if the kernels can read it there; the arrays are then added to C in
//! the order of the blocks. Which thread took a block, and how many are under way at once, changes
//! no bit.

use std::any::TypeId;
use std::ops::Range;

use faer::{MatMut, MatRef};
use rayon::prelude::*;

use crate::error::Result;
use crate::execution::Execution;
use crate::moments::Moments;
use crate::panel::{Panel, Strip};
use crate::rows::{Batch, Element};
use crate::slab::{Slab, SlabRows};
use crate::stage::{ROWS, Stage, add_cross};
use crate::tiles::{self, Operand};
use crate::triangle::Square;

/// Features up to which blocks go side by side. At p = 64, 128 and 256 (two AVX-512 cores, 128 MB
/// of rows in batches of 2,048) `update` runs at 34, 51 and 68 Gflop/s, against 21, 30 and 67 where
/// C is shared out between the threads.
pub(crate) const NARROW: usize = 256;

/// Bytes of products, and of copied rows, that a wave of blocks should stay below: 8 blocks of 256
/// features, 128 of 64. More of them hide that some thread is last; these stay in the caches until
/// they are added.
const WAVE_BYTES: usize = 4 << 20;

/// Undoes a sum: the diagonal of C, whose lower triangle is kept in the upper one, and b.
pub(crate) type Backup = (Vec<f64>, Vec<f64>);

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
pub(crate) struct Blocks<'b, 'r, 'a, T> {
    pub stage: &'b Stage,
    pub batch: &'b Batch<'r, 'a, T>,
    /// Targets behind those in the stage: a multiple of a block.
    pub targets: Range<usize>,
}

impl<T: Element> Blocks<'_, '_, '_, T> {
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

    /// C += FᵀF and b += FᵀY, block after block. Nothing of a wave is added before all of it is
    /// found good, and `outcome` (of rows behind the blocks) as well before the last; what was
    /// added before is kept in `backup`.
    pub fn add_to(
        &self,
        sums: &mut Square,
        moments: &mut Moments,
        outcome: Result<()>,
        backup: &mut Option<Backup>,
        run: &Execution,
    ) -> Result<()> {
        let (p, given) = (self.batch.rows.n_features(), self.given());
        let wave = wave(p, run).min(self.len());
        let mut products = Panel::unset(wave * p, p)?;
        let mut slab = Slab::unset(if given.is_some() { 0 } else { wave * ROWS }, p)?;
        let mut outcome = Some(outcome);
        for start in (0..self.len()).step_by(wave) {
            let blocks = start..self.len().min(start + wave);
            let sources = self.sources(blocks.clone(), given, &mut slab, run)?;
            self.multiply(&blocks, &sources, &mut products, run)?;
            run.check()?;
            if blocks.end == self.len() {
                outcome.take().unwrap_or(Ok(()))?;
            } else if backup.is_none() {
                *backup = Some((sums.back_up(run), moments.cross.clone()));
            }
            add_products(sums, &products, blocks.len(), run);
            self.add_cross(&blocks, &sources, moments, run);
        }
        Ok(())
    }

    /// Where the rows of some blocks are, after copying those that have to be reduced.
    fn sources<'s>(
        &'s self,
        blocks: Range<usize>,
        given: Option<&'s [f64]>,
        slab: &'s mut Slab,
        run: &Execution,
    ) -> Result<Vec<Source<'s>>> {
        let (p, targets) = (self.batch.rows.n_features(), self.targets(blocks.clone()));
        if given.is_none() {
            let pieces = slab.pieces_mut(0..targets.len());
            self.batch.rows.reduce_into(targets.clone(), |t| self.batch.factor(t), pieces, run)?;
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
        Ok(blocks.filter_map(source).collect())
    }

    /// The lower triangles of FᵀF, one after the other. Rows that were not looked at before are
    /// found good by their trace: where Σ‖f‖² is finite each ‖f‖² is. Only where it is not they are
    /// looked at one by one.
    fn multiply(
        &self,
        blocks: &Range<usize>,
        sources: &[Source<'_>],
        products: &mut Panel,
        run: &Execution,
    ) -> Result<()> {
        let p = self.batch.rows.n_features();
        let strips = products.strip_mut(0..sources.len() * p).strips(p);
        let traces: Vec<f64> = if run.is_parallel() && sources.len() > 1 {
            let pairs: Vec<_> = strips.zip(sources).collect();
            pairs.into_par_iter().map(|(out, source)| multiply(out, source, &run.alone())).collect()
        } else {
            strips.zip(sources).map(|(out, source)| multiply(out, source, run)).collect()
        };
        for ((k, source), trace) in blocks.clone().zip(sources).zip(traces) {
            if matches!(source, Source::Given(_)) && !trace.is_finite() {
                let mut slab = Slab::<f64>::unset(ROWS, p)?;
                self.batch.rows.reduce_into(self.targets(k..k + 1), |_| 1.0, slab.pieces_mut(0..ROWS), run)?;
            }
        }
        Ok(())
    }

    fn add_cross(&self, blocks: &Range<usize>, sources: &[Source<'_>], moments: &mut Moments, run: &Execution) {
        for (k, source) in blocks.clone().zip(sources) {
            if k == 0 {
                self.stage.add_cross(&mut moments.cross, run);
            } else {
                add_cross(&mut moments.cross, source, &self.batch.weighted_targets(self.targets(k..k + 1)), run);
            }
        }
    }
}

/// Blocks of a wave: as many as memory allows, but two for each thread.
fn wave(p: usize, run: &Execution) -> usize {
    let threads = if run.is_parallel() { rayon::current_num_threads() } else { 1 };
    let (product, rows) = (p * p * size_of::<f64>(), ROWS * p * size_of::<f64>());
    (WAVE_BYTES / product.max(rows)).max(2 * threads)
}

/// lower(FᵀF), and its trace.
fn multiply(out: Strip<'_>, source: &Source<'_>, run: &Execution) -> f64 {
    let mut c: MatMut<'_, f64> = out.into_columns();
    tiles::gram_anew(c.as_mut(), source, run);
    (0..c.ncols()).map(|j| c[(j, j)]).sum()
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
