//! How a computation runs: on how many threads, and whether somebody wants it stopped.

use std::sync::atomic::{AtomicBool, Ordering};

use faer::Par;

use crate::error::{Error, Result};

/// Passed to everything that takes long.
#[derive(Clone, Copy)]
pub struct Execution<'a> {
    /// Sequential, or the threads of the rayon pool that the call runs in.
    pub par: Par,
    stop: Option<&'a AtomicBool>,
}

impl<'a> Execution<'a> {
    /// On `par`, until `stop` is set.
    pub fn new(par: Par, stop: &'a AtomicBool) -> Self {
        Self { par, stop: Some(stop) }
    }

    /// On the calling thread, to the end.
    pub fn sequential() -> Self {
        Self { par: Par::Seq, stop: None }
    }

    /// Looked at between blocks: an error once somebody asked to stop.
    pub(crate) fn check(&self) -> Result<()> {
        match self.stop {
            Some(stop) if stop.load(Ordering::Relaxed) => Err(Error::Interrupted),
            _ => Ok(()),
        }
    }

    /// Threads for a product or solve whose narrowest side is `columns` wide: with a single column the kernels would split the
    /// sum among the threads, and its bits would depend on their number.
    pub(crate) fn par_for(&self, columns: usize) -> Par {
        if columns == 1 { Par::Seq } else { self.par }
    }

    /// Whether work may be split at all.
    pub(crate) fn is_parallel(&self) -> bool {
        self.par.degree() > 1
    }
}
