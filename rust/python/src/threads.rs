//! Threads: one rayon pool per process, made when first needed, outside the interpreter and open to
//! Ctrl-C.

use std::env;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use rigidities_core::{Execution, Result};

use crate::placement::Placement;
use crate::raised::Outcome;

/// Multiplications (about 0.1 ms on one core) below which handing work to the pool costs more than
/// it gains.
const SMALL: f64 = 2e6;

/// Multiplications for each thread (about 0.25 ms) from which each gets a processor of its own. On
/// two AMD cores under KVM, medians after a pause: `factorize` of p = 400 in 2.2 ms (2.8 without),
/// 512 in 3.1 (4.2), 1024 in 8.3 (12.4); `update` with 2048 rows of 256 in 3.2 (4.8). Without a
/// pause: the same within the spread.
const LONG: f64 = 5e6;

/// How often the calling thread looks for Ctrl-C while the pool works.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(50);

/// More threads than any machine of today has cores for; beyond, waiting for one another takes all
/// their time.
const MAX_THREADS: usize = 1024;

/// What `set_num_threads` asked for; 0 until then.
static REQUESTED: AtomicUsize = AtomicUsize::new(0);

/// The pool, with the process that made it: its threads do not survive a fork.
static POOL: Mutex<Option<(u32, Arc<Workers>)>> = Mutex::new(None);

/// A pool, and who its threads are.
struct Workers {
    pool: ThreadPool,
    placement: Arc<Placement>,
}

/// Number of threads that computations use.
///
/// In this order: `set_num_threads`, the variable `RIGIDITIES_NUM_THREADS`, the processors this
/// process may run on.
#[pyfunction]
pub fn get_num_threads() -> PyResult<usize> {
    match REQUESTED.load(Ordering::Relaxed) {
        0 => {}
        requested => return Ok(requested),
    }
    match env::var("RIGIDITIES_NUM_THREADS") {
        Ok(text) if !text.trim().is_empty() => match text.trim().parse() {
            Ok(n) if (1..=MAX_THREADS).contains(&n) => Ok(n),
            _ => {
                let text =
                    format!("RIGIDITIES_NUM_THREADS is {text:?}: expected a positive integer, at most {MAX_THREADS}");
                Err(PyValueError::new_err(text))
            }
        },
        _ => Ok(std::thread::available_parallelism().map_or(1, usize::from)),
    }
}

/// Set the number of threads that computations use.
#[pyfunction]
pub fn set_num_threads(n_threads: usize) -> PyResult<()> {
    if !(1..=MAX_THREADS).contains(&n_threads) {
        let text = format!("n_threads is {n_threads}: at least one thread is needed, and at most {MAX_THREADS}");
        return Err(PyValueError::new_err(text));
    }
    REQUESTED.store(n_threads, Ordering::Relaxed);
    Ok(())
}

/// The pool of this process, with as many threads as are wanted now.
fn workers() -> PyResult<Arc<Workers>> {
    let (pid, n_threads) = (std::process::id(), get_num_threads()?);
    let mut slot = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((owner, workers)) = slot.as_ref()
        && *owner == pid
        && workers.pool.current_num_threads() == n_threads
    {
        return Ok(Arc::clone(workers));
    }
    let placement = Placement::new(n_threads);
    let enlisted = Arc::clone(&placement);
    let named = ThreadPoolBuilder::new().num_threads(n_threads).thread_name(|i| format!("rigidities-{i}"));
    let pool = named.start_handler(move |i| enlisted.enlist(i)).build();
    let pool = pool.map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
    let made = Arc::new(Workers { pool, placement });
    if let Some((owner, old)) = slot.replace((pid, Arc::clone(&made)))
        && owner != pid
    {
        std::mem::forget(old); // a forked child must not wait for threads that only its parent has
    }
    Ok(made)
}

/// Run `f`, which does about `work` multiplications: here if that is little, else on the pool while
/// this thread waits for Ctrl-C.
///
/// To be called detached from the interpreter, and with the locks already taken that `f` needs: a
/// thread of the pool that waited for a lock could be the one that is to release it.
pub fn execute<R: Send>(work: f64, f: impl FnOnce(&Execution) -> Result<R> + Send) -> Outcome<R> {
    if work < SMALL {
        return Ok(f(&Execution::sequential())?);
    }
    let workers = workers()?;
    let Workers { pool, placement } = &*workers;
    let stop = AtomicBool::new(false);
    let n_threads = pool.current_num_threads();
    let parallel = n_threads > 1;
    let long = parallel && work >= LONG * n_threads as f64;
    let _placed = if long { placement.place(pool) } else { None };
    let (sender, receiver) = channel();
    let (result, signal) = pool.in_place_scope(|scope| {
        let stop = &stop;
        scope.spawn(move |_| drop(sender.send(f(&Execution::new(parallel, stop)))));
        let mut signal = None;
        loop {
            match receiver.recv_timeout(SIGNAL_INTERVAL) {
                Ok(result) => return (Some(result), signal),
                Err(RecvTimeoutError::Disconnected) => return (None, signal),
                Err(RecvTimeoutError::Timeout) if signal.is_none() => {
                    signal = Python::attach(|py| py.check_signals()).err();
                    stop.store(signal.is_some(), Ordering::Relaxed);
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    });
    match (signal, result) {
        (Some(signal), _) => Err(signal.into()),
        (None, Some(result)) => Ok(result?),
        (None, None) => Err(PyRuntimeError::new_err("the computation ended without a result").into()),
    }
}
