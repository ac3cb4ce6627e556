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

    /// A part of the work that one thread does.
    pub(crate) fn alone(&self) -> Self {
        Self { parallel: false, ..*self }
    }

    /// A part of the work that cannot be taken back.
    pub(crate) fn unstoppable(&self) -> Self {
        Self { stop: None, ..*self }
    }

    /// Whether somebody asked to stop: what was being computed is then of no use.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.is_some_and(|stop| stop.load(Ordering::Relaxed))
    }

    /// Looked at between blocks: an error once somebody asked to stop.
    pub(crate) fn check(&self) -> Result<()> {
        if self.is_stopped() { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// Whether work may be split at all.
    pub(crate) fn is_parallel(&self) -> bool {
        self.parallel
    }
}
