//! How a computation runs: on how many threads, and until when.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};

/// Passed to every computation that takes long.
#[derive(Clone, Copy)]
pub struct Execution<'a> {
    parallel: bool,
    stop: Option<&'a AtomicBool>,
}

impl<'a> Execution<'a> {
    /// On the threads of the rayon pool in which the call runs (if not `parallel`: on the calling
    /// thread), until `stop` is set.
    pub fn new(parallel: bool, stop: &'a AtomicBool) -> Self {
        Self { parallel, stop: Some(stop) }
    }

    /// On the calling thread, to the end.
    pub fn sequential() -> Self {
        Self { parallel: false, stop: None }
    }

    /// The same on one thread.
    pub(crate) fn alone(&self) -> Self {
        Self { parallel: false, ..*self }
    }

    /// The same without a stop: for work that could not be undone.
    pub(crate) fn unstoppable(&self) -> Self {
        Self { stop: None, ..*self }
    }

    /// Whether somebody asked to stop. The result is then thrown away.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.is_some_and(|stop| stop.load(Ordering::Relaxed))
    }

    /// An error once somebody asked to stop. Called between blocks.
    pub(crate) fn check(&self) -> Result<()> {
        if self.is_stopped() { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// Whether work may be split.
    pub(crate) fn is_parallel(&self) -> bool {
        self.parallel
    }
}
