//! Where reduced rows wait to be summed.
//!
//! Batches of any size enter; blocks of one size are summed. So the boundaries of batches change no bit of a sum, and single
//! structures cost as little as big batches.

use std::ops::Range;

use faer::MatRef;

use crate::error::Result;
use crate::execution::Execution;
use crate::panel::Panel;
use crate::rows::{Batch, Element};

/// Target rows that wait before they are summed. 256: deep enough for the kernels' peak (37 to 40 Gmultiplications/s on one AVX2
/// core at depths of 128 to 384, 31 to 35 at 512, p = 512 to 2048), and what waits costs a factorisation little.
pub(crate) const STAGE_ROWS: usize = 256;

/// Reduced rows and targets, both times √w, that wait to be summed.
#[derive(Default)]
pub(crate) struct Stage {
    /// Made when first needed.
    rows: Option<Panel>,
    /// Row-major.
    pub targets: Vec<f64>,
    pub len: usize,
}

impl Stage {
    /// Reduce `targets` of the batch behind what waits. On an error nothing was added.
    pub fn push<T: Element>(&mut self, batch: &Batch<'_, '_, T>, targets: Range<usize>, run: &Execution) -> Result<()> {
        let span = self.len..self.len + targets.len();
        let factor = |t| if batch.weights.is_some() { batch.weight(t).sqrt() } else { 1.0 };
        let strip = self.panel(batch.rows.n_features())?.strip_mut(span.clone());
        batch.rows.reduce_into(targets.clone(), factor, strip, run)?;
        if let Some(y) = batch.targets {
            let weighted = targets.flat_map(|t| y.row(t).into_iter().map(move |y| factor(t) * y));
            self.targets.extend(weighted);
        }
        self.len = span.end;
        Ok(())
    }

    fn panel(&mut self, n_features: usize) -> Result<&mut Panel> {
        let panel = match self.rows.take() {
            Some(panel) => panel,
            None => Panel::zeros(STAGE_ROWS, n_features)?,
        };
        Ok(self.rows.insert(panel))
    }

    pub fn truncate(&mut self, len: usize) {
        let width = self.targets.len().checked_div(self.len).unwrap_or(0);
        self.targets.truncate(width * len);
        self.len = len;
    }

    /// The rows that wait, as a matrix of `n_features` columns.
    pub fn matrix(&self, n_features: usize) -> MatRef<'_, f64> {
        match &self.rows {
            Some(panel) => panel.matrix(0..self.len),
            None => MatRef::from_row_major_slice(&[], 0, n_features),
        }
    }

    pub fn rows(&self) -> impl Iterator<Item = &[f64]> {
        self.rows.iter().flat_map(|panel| panel.rows(0..self.len))
    }

    /// Put rows of another stage, or of a snapshot, behind what waits; there must be room.
    pub fn extend<'a>(&mut self, rows: impl Iterator<Item = &'a [f64]>, targets: &[f64]) -> Result<()> {
        for row in rows {
            let len = self.len;
            self.panel(row.len())?.row_mut(len).copy_from_slice(row);
            self.len += 1;
        }
        self.targets.extend_from_slice(targets);
        Ok(())
    }

    /// A copy, times `factor`.
    pub fn scaled(&self, factor: f64) -> Result<Self> {
        let rows = self.rows.as_ref().map(Panel::try_clone).transpose()?;
        let mut scaled = Self { rows, targets: self.targets.clone(), len: self.len };
        if factor != 1.0 {
            let rows = scaled.rows.iter_mut().flat_map(|panel| panel.rows_mut(0..self.len));
            rows.flatten().chain(&mut scaled.targets).for_each(|x| *x *= factor);
        }
        Ok(scaled)
    }
}
