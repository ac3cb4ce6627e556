//! Where reduced rows wait to be summed.
//!
//! Batches of any size enter; blocks of one size are summed. So the boundaries of batches change no
//! bit of a sum, and single structures cost as little as big batches.

use std::ops::Range;

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

use crate::error::Result;
use crate::execution::Execution;
use crate::pages::{reserve, zeros};
use crate::real::squared_norm;
use crate::rows::{Batch, Element};
use crate::slab::{Slab, SlabRows};
use crate::tiles::{self, Operand, TILE};

/// Target rows that wait before they are summed. 256: C is read and written once for 256 rows (0.06
/// bytes a flop, 5 GB/s at 80 Gflop/s), and what waits costs a factorisation little.
pub(crate) const ROWS: usize = 256;

/// The same in float32, and with it the rows that are summed in float32: 1024 rows (as many bytes
/// as two blocks of float64) in one product, so that adding it in float64 costs little; its
/// rounding grows with no more than their number.
const SINGLE_ROWS: usize = 1024;

/// Blocks that are reduced together, and summed while the next ones are. Two of float64: each tile
/// of C is fetched once for both, and threads wait for one another half as often: 100 and 99
/// Gflop/s at p = 2048 and 4096 on two Zen 4 cores, against 98 and 97 one by one. A block of
/// float32 is as large as two of these.
const BLOCKS_TOGETHER: usize = 2;

/// Precision of the products.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Precision {
    /// Rows rounded to float32, products summed in float32 over runs of rows, the runs in float64.
    Single,
    /// All of them in float64.
    #[default]
    Double,
}

impl Precision {
    /// Rows of a block.
    pub(crate) fn block_rows(self) -> usize {
        match self {
            Self::Double => ROWS,
            Self::Single => SINGLE_ROWS,
        }
    }

    /// Rows that a stage has memory for, a multiple of a block: what waits between two calls is
    /// always less than a block.
    pub(crate) fn capacity(self) -> usize {
        match self {
            Self::Double => BLOCKS_TOGETHER * ROWS,
            Self::Single => SINGLE_ROWS,
        }
    }

    /// Unit roundoff u of a product.
    pub(crate) fn unit_roundoff(self) -> f64 {
        match self {
            Self::Double => f64::EPSILON / 2.0,
            Self::Single => f64::from(f32::EPSILON) / 2.0,
        }
    }
}

/// Memory for rows, made when first needed.
enum Rows {
    None,
    Double(Slab<f64>),
    Single(Slab<f32>),
}

/// Reduced rows and targets, both times √w, that wait to be summed.
pub(crate) struct Stage {
    precision: Precision,
    width: usize,
    rows: Rows,
    /// Row-major.
    pub targets: Vec<f64>,
    pub len: usize,
}

impl Stage {
    pub fn new(width: usize, precision: Precision) -> Self {
        Self { precision, width, rows: Rows::None, targets: vec![], len: 0 }
    }

    /// Rows that there is memory for.
    pub fn capacity(&self) -> usize {
        self.precision.capacity()
    }

    /// Rows that a block still lacks.
    pub fn room(&self) -> usize {
        self.precision.block_rows() - self.len
    }

    /// Reduce `targets` of the batch behind what waits, and return their Σ w‖f‖². On an error
    /// nothing was added.
    pub fn push<T: Element>(&mut self, batch: &Batch<'_, T>, targets: Range<usize>, run: &Execution) -> Result<f64> {
        let span = self.len..self.len + targets.len();
        let factor = |t| batch.factor(t);
        self.make()?;
        let size = match &mut self.rows {
            Rows::Double(slab) => {
                batch.rows.reduce_into(targets.clone(), factor, slab.pieces_mut(span.clone()), run)?
            }
            Rows::Single(slab) => {
                batch.rows.reduce_into(targets.clone(), factor, slab.pieces_mut(span.clone()), run)?
            }
            Rows::None => 0.0,
        };
        batch.push_targets(targets, &mut self.targets)?;
        self.len = span.end;
        Ok(size)
    }

    /// Ask for the memory of the rows, where that was not done yet.
    pub fn make(&mut self) -> Result<()> {
        if matches!(self.rows, Rows::None) {
            let n = self.precision.capacity();
            self.rows = match self.precision {
                Precision::Double => Rows::Double(Slab::unset(n, self.width)?),
                Precision::Single => Rows::Single(Slab::unset(n, self.width)?),
            };
        }
        Ok(())
    }

    pub fn truncate(&mut self, len: usize) {
        let width = self.targets.len().checked_div(self.len).unwrap_or(0);
        self.targets.truncate(width * len);
        self.len = len;
    }

    /// lower(C) += FᵀF for the rows F that wait.
    pub fn add_gram(&self, c: MatMut<'_, f64>, run: &Execution) {
        match &self.rows {
            Rows::Double(slab) => tiles::gram(c, &slab.rows(self.len), 1.0, run),
            Rows::Single(slab) => tiles::gram(c, &slab.rows(self.len), 1.0, run),
            Rows::None => {}
        }
    }

    /// b += Fᵀ Y, in float64, for the rows F and targets Y that wait.
    pub fn add_cross(&self, cross: &mut [f64], run: &Execution) {
        match &self.rows {
            Rows::Double(slab) => add_cross(cross, &slab.rows(self.len), &self.targets, run),
            Rows::Single(slab) => {
                let Some((b, y)) = cross_of(cross, self.len, &self.targets) else { return };
                add_widened(b, &slab.rows(self.len), y);
            }
            Rows::None => {}
        }
    }

    /// The rows that wait, where they are of float64.
    pub fn doubles(&self) -> Option<SlabRows<'_, f64>> {
        match &self.rows {
            Rows::Double(slab) => Some(slab.rows(self.len)),
            _ => None,
        }
    }

    /// Copy some of the rows that wait, and their targets: (rows, p) and (rows, k). Only rows of
    /// float64 are.
    pub fn copy_rows(&self, rows: Range<usize>, mut features: MatMut<'_, f64>, mut targets: MatMut<'_, f64>) {
        if let Rows::Double(slab) = &self.rows {
            let part = slab.part(rows.clone());
            for start in (0..self.width).step_by(TILE) {
                let width = TILE.min(self.width - start);
                features.as_mut().subcols_mut(start, width).copy_from(part.columns(start, width));
            }
        }
        let k = targets.ncols();
        targets.copy_from(MatRef::from_row_major_slice(&self.targets, self.len, k).subrows(rows.start, rows.len()));
    }

    /// The rows that wait, row-major.
    pub fn to_vec(&self) -> Result<Vec<f64>> {
        let mut rows = zeros(self.len * self.width)?;
        for (i, out) in rows.chunks_mut(self.width).enumerate() {
            match &self.rows {
                Rows::Double(slab) => out.iter_mut().zip(slab.row(i).flatten()).for_each(|(out, &x)| *out = x),
                Rows::Single(slab) => out.iter_mut().zip(slab.row(i).flatten()).for_each(|(out, &x)| *out = x.into()),
                Rows::None => {}
            }
        }
        Ok(rows)
    }

    /// Σ ‖f‖² of the rows that wait.
    pub fn trace(&self) -> f64 {
        let norm = |i: usize| match &self.rows {
            Rows::Double(slab) => slab.row(i).map(squared_norm).sum::<f64>(),
            Rows::Single(slab) => slab.row(i).map(squared_norm).sum(),
            Rows::None => 0.0,
        };
        (0..self.len).map(norm).sum()
    }

    /// Ask for the memory of rows and targets that are to be put behind what waits.
    pub fn make_for(&mut self, rows: &[f64], targets: &[f64]) -> Result<()> {
        if rows.is_empty() { Ok(()) } else { self.make().and_then(|()| reserve(&mut self.targets, targets.len())) }
    }

    /// Put rows and targets of another stage, or of a snapshot, behind what waits; there must be
    /// room, and memory (`make_for`).
    pub fn extend(&mut self, rows: &[f64], targets: &[f64]) {
        for row in rows.chunks(self.width) {
            let span = self.len..self.len + 1;
            match &mut self.rows {
                Rows::Double(slab) => slab.pieces_mut(span).into_iter().for_each(|(start, mut out)| {
                    out.row_mut(0).iter_mut().zip(&row[start..]).for_each(|(out, &x)| *out = x);
                }),
                Rows::Single(slab) => slab.pieces_mut(span).into_iter().for_each(|(start, mut out)| {
                    out.row_mut(0).iter_mut().zip(&row[start..]).for_each(|(out, &x)| *out = x as f32);
                }),
                Rows::None => {}
            }
            self.len += 1;
        }
        self.targets.extend_from_slice(targets);
    }
}

/// b += FᵀY for rows F and targets Y, row-major (or none).
pub(crate) fn add_cross(cross: &mut [f64], f: &impl Operand<f64>, targets: &[f64], run: &Execution) {
    if let Some((b, y)) = cross_of(cross, f.depth(), targets) {
        tiles::product(b, f, &y, 1.0, run);
    }
}

/// b and Y as matrices, where there are targets of `n_rows` rows.
fn cross_of<'a>(cross: &'a mut [f64], n_rows: usize, targets: &'a [f64]) -> Option<(MatMut<'a, f64>, MatRef<'a, f64>)> {
    let n_outputs = targets.len().checked_div(n_rows).filter(|k| *k > 0)?;
    let width = cross.len() / n_outputs;
    let b = MatMut::from_column_major_slice_mut(cross, width, n_outputs);
    Some((b, MatRef::from_row_major_slice(targets, n_rows, n_outputs)))
}

/// B += FᵀY for rows in float32, in float64: a few of them at a time are widened on the stack. B is
/// short beside C.
fn add_widened(mut b: MatMut<'_, f64>, f: &SlabRows<'_, f32>, y: MatRef<'_, f64>) {
    /// Rows that are widened together: with a strip's columns, 48 kB.
    const ROWS: usize = 32;
    let mut memory = [0.0; ROWS * TILE];
    for column in (0..b.nrows()).step_by(TILE) {
        let width = TILE.min(b.nrows() - column);
        let strip = f.columns(column, width);
        for row in (0..f.depth()).step_by(ROWS) {
            let n = ROWS.min(f.depth() - row);
            let mut wide = MatMut::from_row_major_slice_mut(&mut memory[..n * width], n, width);
            for (i, j) in (0..n).flat_map(|i| (0..width).map(move |j| (i, j))) {
                wide[(i, j)] = f64::from(strip[(row + i, j)]);
            }
            let sums = b.as_mut().subrows_mut(column, width);
            matmul(sums, Accum::Add, wide.as_ref().transpose(), y.subrows(row, n), 1.0, Par::Seq);
        }
    }
}
