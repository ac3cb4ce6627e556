//! How a computation runs: side by side or not, and whether somebody wants it stopped.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};

/// Passed to everything that takes long.
#[derive(Clone, Copy)]
pub struct Execution<'a> {
    parallel: bool,
    stop: Option<&'a AtomicBool>,
}

impl<'a> Execution<'a> {
    /// On the threads of the rayon pool that the call runs in (or, if not `parallel`, on the calling one), until `stop` is set.
    pub fn new(parallel: bool, stop: &'a AtomicBool) -> Self {
        Self { parallel, stop: Some(stop) }
    }

    /// On the calling thread, to the end.
    pub fn sequential() -> Self {
        Self { parallel: false, stop: None }
    }

    /// Looked at between blocks: an error once somebody asked to stop.
    pub(crate) fn check(&self) -> Result<()> {
        match self.stop {
            Some(stop) if stop.load(Ordering::Relaxed) => Err(Error::Interrupted),
            _ => Ok(()),
        }
    }

    /// Whether work may be split at all.
    pub(crate) fn is_parallel(&self) -> bool {
        self.parallel
    }
}
