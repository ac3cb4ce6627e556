//! Threads: one rayon pool per process, made when first needed, outside the interpreter and open to
//! Ctrl-C.

use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};

use pyo3::exceptions::{PyMemoryError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use rayon::{ThreadBuilder, ThreadPool, ThreadPoolBuilder};
use rigidities_core::{Execution, Result};

use crate::guarded::{Guarded, SIGNAL_INTERVAL, process};
use crate::placement::Placement;
use crate::raised::Outcome;
use crate::room::prepare_thread;

/// Multiplications (about 0.1 ms on one core) below which handing work to the pool costs more than
/// it gains.
const SMALL: f64 = 2e6;

/// Multiplications for each thread (about 0.25 ms) from which each gets a processor of its own. On
/// two AMD cores under KVM, medians after a pause: `factorize` of p = 400 in 2.2 ms (2.8 without),
/// 512 in 3.1 (4.2), 1024 in 8.3 (12.4); `update` with 2048 rows of 256 in 3.2 (4.8). Without a
/// pause: the same within the spread.
const LONG: f64 = 5e6;

/// More threads than any machine of today has cores for; beyond, waiting for one another takes all
/// their time.
pub const MAX_THREADS: usize = 1024;

/// What `set_num_threads` asked for; 0 until then.
static REQUESTED: AtomicUsize = AtomicUsize::new(0);

/// The pool, with the number of the process that made it: its threads do not survive a fork.
static POOL: Guarded<Option<(u32, Arc<Workers>)>> = Guarded::new(None);

/// A pool, and who its threads are.
struct Workers {
    pool: ThreadPool,
    placement: Arc<Placement>,
    /// Held while a pool of one thread computes: who waits for the pool itself cannot be
    /// interrupted.
    turn: Guarded<()>,
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
fn workers() -> Outcome<Arc<Workers>> {
    let (process, n_threads) = (process(), get_num_threads()?);
    if POOL.is_lost() {
        return Ok(Arc::new(Workers::start(n_threads)?)); // forked while a pool was started: each call has its own
    }
    let mut slot = POOL.lock()?;
    if let Some((owner, workers)) = slot.as_ref()
        && *owner == process
        && workers.pool.current_num_threads() == n_threads
    {
        return Ok(Arc::clone(workers));
    }
    let made = Arc::new(Workers::start(n_threads)?);
    if let Some((owner, old)) = slot.replace((process, Arc::clone(&made)))
        && owner != process
    {
        std::mem::forget(old); // a forked child must not wait for threads that only its parent has
    }
    Ok(made)
}

impl Workers {
    /// Start the threads. Each has taken the memory that it needs, its part of the allocator among
    /// it, before the next begins: so none takes what another has found free.
    fn start(n_threads: usize) -> Outcome<Self> {
        let placement = Placement::new(n_threads);
        let mut prepared = Ok(());
        let spawn = |worker: ThreadBuilder| {
            let (enlisted, (ready, started)) = (Arc::clone(&placement), channel());
            let thread = std::thread::Builder::new().name(format!("rigidities-{}", worker.index()));
            thread.spawn(move || {
                enlisted.enlist(worker.index());
                let prepared = prepare_thread();
                let good = prepared.is_ok();
                if ready.send(prepared).is_ok() && good {
                    worker.run();
                }
            })?;
            prepared = started.recv().map_err(std::io::Error::other)?;
            prepared.clone().map_err(std::io::Error::other)
        };
        let built = ThreadPoolBuilder::new().num_threads(n_threads).spawn_handler(spawn).build();
        prepared?;
        let pool = built.map_err(|error| cannot_start(n_threads, &error))?;
        Ok(Self { pool, placement, turn: Guarded::new(()) })
    }
}

fn cannot_start(n_threads: usize, error: &rayon::ThreadPoolBuildError) -> PyErr {
    PyMemoryError::new_err(format!(
        "{n_threads} threads cannot be started ({error}): free memory, raise the limits on memory and processes \
         (ulimit -v, ulimit -u), or ask for fewer with set_num_threads"
    ))
}

/// Whether a computation may still be stopped. Whoever is interrupted must find nothing changed: so
/// no signal is handled once a change is committed, and nothing is committed while one is handled.
#[derive(Default)]
struct Gate {
    state: AtomicU8,
    stop: AtomicBool,
}

const OPEN: u8 = 0;
const LOOKING: u8 = 1;
const COMMITTED: u8 = 2;

impl Gate {
    fn pass(&self, to: u8) -> bool {
        self.state.compare_exchange(OPEN, to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Let Python handle signals, and stop if a handler raises. Python handles those that come
    /// after the commit when the call has returned.
    fn look(&self) -> Option<PyErr> {
        if !self.pass(LOOKING) {
            return None;
        }
        let raised = Python::attach(|py| py.check_signals()).err();
        match raised {
            None => self.state.store(OPEN, Ordering::SeqCst),
            Some(_) => self.stop.store(true, Ordering::SeqCst), // nobody commits any more
        }
        raised
    }
}

/// A change that is made, or one that was prepared while a signal was being handled.
enum Done<P, R, C> {
    Committed(R),
    Prepared(P, C),
}

/// Run `f`, which does about `work` multiplications and changes nothing.
pub fn execute<R: Send>(work: f64, f: impl FnOnce(&Execution) -> Result<R> + Send) -> Outcome<R> {
    change(work, f, |result, _| result)
}

/// Run `prepare`, which does about `work` multiplications, and then `commit`, which is quick and
/// cannot fail: here if that is little, else on the pool while this thread waits for Ctrl-C. Where
/// that comes, nothing is committed.
///
/// To be called detached from the interpreter, and with the locks already taken that both need: a
/// thread of the pool that waited for a lock could be the one that is to release it.
pub fn change<P: Send, R: Send, C: FnOnce(P, &Execution) -> R + Send>(
    work: f64,
    prepare: impl FnOnce(&Execution) -> Result<P> + Send,
    commit: C,
) -> Outcome<R> {
    if work < SMALL {
        prepare_thread()?;
        let run = Execution::sequential();
        return Ok(commit(prepare(&run)?, &run));
    }
    let workers = workers()?;
    let Workers { pool, placement, turn } = &*workers;
    let n_threads = pool.current_num_threads();
    let parallel = n_threads > 1;
    let alone = !parallel && !turn.is_mine(); // a signal handler may compute on the same pool
    let _turn = if alone { Some(turn.lock()?) } else { None };
    rigidities_core::require(0)?;
    let gate = Gate::default();
    let long = parallel && work >= LONG * n_threads as f64;
    let _placed = if long { placement.place(pool) } else { None };
    let (sender, receiver) = channel();
    let (result, signal) = pool.in_place_scope(|scope| {
        let gate = &gate;
        scope.spawn(move |_| {
            let run = Execution::new(parallel, &gate.stop);
            let finish = |prepared| match gate.pass(COMMITTED) {
                true => Done::Committed(commit(prepared, &run)),
                false => Done::Prepared(prepared, commit),
            };
            drop(sender.send(prepare(&run).map(finish)));
        });
        let mut signal = None;
        loop {
            match receiver.recv_timeout(SIGNAL_INTERVAL) {
                Ok(result) => return (Some(result), signal),
                Err(RecvTimeoutError::Disconnected) => return (None, signal),
                Err(RecvTimeoutError::Timeout) => signal = signal.or_else(|| gate.look()),
            }
        }
    });
    match (signal, result) {
        (Some(signal), _) => Err(signal.into()),
        (None, Some(result)) => Ok(match result? {
            Done::Committed(result) => result,
            Done::Prepared(prepared, commit) => {
                pool.install(|| commit(prepared, &Execution::new(parallel, &gate.stop)))
            }
        }),
        (None, None) => Err(PyRuntimeError::new_err("the computation ended without a result").into()),
    }
}
