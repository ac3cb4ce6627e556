//! A lock that a signal handler cannot wait on for ever.
//!
//! While a computation runs, the calling thread holds the object's lock and lets Python handle
//! signals. A handler that uses the same object would wait for its own thread; it gets an error
//! instead.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyRuntimeError;

use crate::raised::Outcome;

thread_local! {
    /// Addresses of the locks that this thread holds.
    static HELD: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// A value behind a lock.
pub struct Guarded<T>(Mutex<T>);

impl<T> Guarded<T> {
    pub fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    /// Wait for other threads; refuse where this thread holds the lock already.
    pub fn lock(&self) -> Outcome<Guard<'_, T>> {
        let address = std::ptr::from_ref(self).addr();
        if HELD.with_borrow(|held| held.contains(&address)) {
            let text =
                "a signal handler cannot use the object whose computation it interrupted: set a flag there instead";
            return Err(PyRuntimeError::new_err(text).into());
        }
        let guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        HELD.with_borrow_mut(|held| held.push(address));
        Ok(Guard { guard, address })
    }
}

/// The right to use the value, until dropped.
pub struct Guard<'a, T> {
    guard: MutexGuard<'a, T>,
    address: usize,
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        HELD.with_borrow_mut(|held| held.retain(|address| *address != self.address));
    }
}
