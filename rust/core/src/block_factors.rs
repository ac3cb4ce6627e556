//! Factors of diagonal blocks of H⁻¹, kept from one batch of rows to the next.

use std::sync::{Arc, Mutex};

use crate::panel::Panel;

/// The factors used last, with their features: rows of the same components mostly come in many
/// batches. Nobody waits for the lock: after a fork another thread may hold it for ever. Whoever
/// does not get it computes the factor again, to the same bits.
#[derive(Default)]
pub(crate) struct BlockFactors(Mutex<Vec<(Vec<usize>, Arc<Panel>)>>);

impl BlockFactors {
    pub fn get(&self, features: &[usize]) -> Option<Arc<Panel>> {
        self.0.try_lock().ok()?.iter().find(|(kept, _)| kept == features).map(|(_, factor)| Arc::clone(factor))
    }

    /// Keep a factor, and drop the oldest while all of them have more than `limit` entries.
    pub fn keep(&self, features: &[usize], factor: &Arc<Panel>, limit: usize) {
        let Ok(mut kept) = self.0.try_lock() else { return };
        kept.push((features.to_vec(), Arc::clone(factor)));
        while kept.iter().map(|(features, _)| features.len().pow(2)).sum::<usize>() > limit {
            kept.remove(0);
        }
    }
}
