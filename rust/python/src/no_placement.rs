//! In place of `placement.rs` on systems other than Linux: their kernels place the threads.

use std::sync::Arc;

use rayon::ThreadPool;

pub struct Placement;

pub struct Placed;

impl Placement {
    pub fn new(_n_threads: usize) -> Arc<Self> {
        Arc::new(Self)
    }

    pub fn enlist(&self, _i: usize) {}

    pub fn place(&self, _pool: &ThreadPool) -> Option<Placed> {
        None
    }
}
