//! A lock that nobody waits on for ever, and that does not keep a thread from Ctrl-C.
//!
//! While a computation runs, the calling thread holds the object's lock and lets Python handle
//! signals. A handler that uses the same object would wait for its own thread. A process that was
//! forked meanwhile would wait for a thread that only its parent has. Both get an error instead.
//! Locks of the standard library can neither be waited for in steps nor say whose they are.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::IntoPyDict;

use crate::raised::{Outcome, Raised};

/// How often a thread that waits looks for Ctrl-C.
pub const SIGNAL_INTERVAL: Duration = Duration::from_millis(50);

/// The pause between two looks at a lock is an eighth of the time waited so far, so that little of
/// it is lost; but no less and no more than this.
const PAUSES: (Duration, Duration) = (Duration::from_micros(20), Duration::from_millis(5));

/// In place of the process that holds a lock.
const NOBODY: u32 = 0;

/// Number of this process: how many forks have led to it, and one. Its id would cost a system call
/// with each lock.
static PROCESS: AtomicU32 = AtomicU32::new(1);

/// Number of this process among those that it was forked from.
pub fn process() -> u32 {
    PROCESS.load(Ordering::Relaxed)
}

#[pyfunction]
fn count_fork() {
    PROCESS.fetch_add(1, Ordering::Relaxed);
}

/// Have Python count forks. (A child in which Python runs on has called its hooks.)
pub fn count_forks(py: Python<'_>) -> PyResult<()> {
    let os = py.import("os")?;
    if os.hasattr("register_at_fork")? {
        let hook = wrap_pyfunction!(count_fork, py)?;
        os.call_method("register_at_fork", (), Some(&[("after_in_child", hook)].into_py_dict(py)?))?;
    }
    Ok(())
}

thread_local! {
    /// Addresses of the locks that this thread holds.
    static HELD: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// A value behind a lock.
pub struct Guarded<T> {
    /// The process of which a thread holds the lock.
    owner: AtomicU32,
    /// The process of which a thread waits.
    waiting: AtomicU32,
    /// Taken by the owner alone, and so at once.
    value: Mutex<T>,
}

impl<T> Guarded<T> {
    pub const fn new(value: T) -> Self {
        Self { owner: AtomicU32::new(NOBODY), waiting: AtomicU32::new(NOBODY), value: Mutex::new(value) }
    }

    /// Wait for other threads, but not for one that this process does not have.
    pub fn lock(&self) -> Outcome<Guard<'_, T>> {
        if self.is_mine() {
            let text =
                "a signal handler cannot use the object whose computation it interrupted: set a flag there instead";
            return Err(PyRuntimeError::new_err(text).into());
        }
        if !self.acquire()? {
            self.wait()?;
        }
        let address = self.address();
        HELD.with_borrow_mut(|held| held.push(address));
        let owned = Owned { owner: &self.owner, address };
        match self.value.try_lock() {
            Ok(guard) => Ok(Guard { guard, _owned: owned }),
            Err(TryLockError::Poisoned(poisoned)) => Ok(Guard { guard: poisoned.into_inner(), _owned: owned }),
            Err(TryLockError::WouldBlock) => Err(forked()),
        }
    }

    /// The same, but first let another thread have its turn that waits already: who takes the lock again
    /// and again would keep it waiting for ever.
    pub fn lock_last(&self) -> Outcome<Guard<'_, T>> {
        if self.waiting.load(Ordering::Relaxed) == process() {
            sleep(PAUSES.1); // it looks at least once meanwhile
        }
        self.lock()
    }

    /// Wait for another thread, and meanwhile for Ctrl-C.
    fn wait(&self) -> Outcome<()> {
        let outcome = self.wait_for_turn();
        self.waiting.store(NOBODY, Ordering::Relaxed); // others who wait say so again
        outcome
    }

    fn wait_for_turn(&self) -> Outcome<()> {
        let start = Instant::now();
        let mut looked = start;
        while !self.acquire()? {
            self.waiting.store(process(), Ordering::Relaxed);
            sleep((start.elapsed() / 8).clamp(PAUSES.0, PAUSES.1));
            if looked.elapsed() > SIGNAL_INTERVAL {
                Python::attach(|py| py.check_signals())?;
                looked = Instant::now();
            }
        }
        Ok(())
    }

    /// Whether this thread holds the lock.
    pub fn is_mine(&self) -> bool {
        HELD.with_borrow(|held| held.contains(&self.address()))
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Whether the lock belongs to another process, and so for ever.
    pub fn is_lost(&self) -> bool {
        ![NOBODY, process()].contains(&self.owner.load(Ordering::Relaxed))
    }

    /// Whether this call became the owner.
    fn acquire(&self) -> Outcome<bool> {
        match self.owner.compare_exchange(NOBODY, process(), Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => Ok(true),
            Err(_) if self.is_lost() => Err(forked()),
            Err(_) => Ok(false),
        }
    }
}

fn forked() -> Raised {
    let text = "this object was in use by another thread when this process forked, and what that thread left is \
                unfinished: make a new object, or read it from a file";
    PyRuntimeError::new_err(text).into()
}

/// The right to use the value, until dropped.
pub struct Guard<'a, T> {
    guard: MutexGuard<'a, T>, // dropped before the ownership that follows
    _owned: Owned<'a>,
}

/// Ownership of a lock, until dropped.
struct Owned<'a> {
    owner: &'a AtomicU32,
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

impl Drop for Owned<'_> {
    fn drop(&mut self) {
        HELD.with_borrow_mut(|held| held.retain(|address| *address != self.address));
        self.owner.store(NOBODY, Ordering::Release);
    }
}
