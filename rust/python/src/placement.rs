//! One processor for each thread of the pool, as long as a long computation runs.
//!
//! Linux puts a thread that wakes up on a processor that looks idle. In a virtual machine an idle
//! processor does not look idle: KVM reports one that sleeps as preempted. A thread is then often
//! put on the processor of the thread that woke it, beside it, and stays there until the kernel
//! balances the load, 4 to 8 ms later. After a pause, a factorisation of p = 1024 on two threads
//! thus ran on one core: 12 ms instead of 7 (two AMD cores under KVM, Linux 6.18). So at the start
//! of a long computation the threads are woken together, each says where it runs, and each is kept
//! off the processors of the others until the end. Where there are more processors than threads,
//! the kernel remains free to move them. A system that refuses this loses speed and nothing else.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::yield_now;

use rayon::ThreadPool;
use rustix::thread::{CpuSet, Pid, gettid, sched_getaffinity, sched_getcpu, sched_setaffinity};

/// How often a thread lets others run before it computes: one that waits for the same processor
/// then says so.
const YIELDS: usize = 3;

/// In place of the processor of a thread that has not answered.
const UNSEEN: usize = usize::MAX;

/// A thread, and the processors that it may use.
type Member = (Pid, CpuSet);

/// The threads of a pool.
pub struct Placement {
    members: Vec<OnceLock<Member>>,
    /// Whether a computation has its threads placed: a second one at the same time takes them as
    /// they are.
    busy: AtomicBool,
}

/// The threads are placed until this is dropped.
pub struct Placed(Arc<Call>);

/// A call to the threads of a pool.
struct Call {
    placement: Arc<Placement>,
    /// Processor of each thread that has answered.
    seen: Vec<AtomicUsize>,
    /// Whether a thread has placed all of them.
    placed: AtomicBool,
    /// Whether the computation has ended: nothing may be placed any more.
    ended: Mutex<bool>,
}

impl Placement {
    pub fn new(n_threads: usize) -> Arc<Self> {
        Arc::new(Self { members: (0..n_threads).map(|_| OnceLock::new()).collect(), busy: AtomicBool::new(false) })
    }

    /// To be called by thread `i` when it starts.
    pub fn enlist(&self, i: usize) {
        if let Ok(allowed) = sched_getaffinity(None) {
            let _ = self.members[i].set((gettid(), allowed));
        }
    }

    /// Wake all threads and have them placed. Returns at once.
    pub fn place(self: &Arc<Self>, pool: &ThreadPool) -> Option<Placed> {
        if self.busy.swap(true, Ordering::Acquire) {
            return None;
        }
        let call = Arc::new(Call {
            placement: Arc::clone(self),
            seen: self.members.iter().map(|_| AtomicUsize::new(UNSEEN)).collect(),
            placed: AtomicBool::new(false),
            ended: Mutex::new(false),
        });
        let answered = Arc::clone(&call);
        pool.spawn_broadcast(move |context| answered.answer(context.index()));
        Some(Placed(call))
    }
}

impl Call {
    /// What thread `i` does: it places all threads if it finds another one on its processor, or if
    /// it is the last to answer.
    fn answer(&self, i: usize) {
        let mine = sched_getcpu();
        self.seen[i].store(mine, Ordering::SeqCst);
        let crowded = self.processors().filter(|cpu| *cpu == mine).count() > 1;
        let last = self.processors().all(|cpu| cpu != UNSEEN);
        if !(crowded || last) {
            (0..YIELDS).for_each(|_| yield_now());
        } else if !self.placed.swap(true, Ordering::SeqCst) {
            self.place(i);
        }
    }

    fn processors(&self) -> impl Iterator<Item = usize> {
        self.seen.iter().map(|cpu| cpu.load(Ordering::SeqCst))
    }

    /// Keep every thread off the processors of the others, with the first one where it is.
    fn place(&self, first: usize) {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let members: Option<Vec<&Member>> = self.placement.members.iter().map(OnceLock::get).collect();
        let Some(members) = members.filter(|_| !*ended) else { return };
        let seen: Vec<usize> = self.processors().collect();
        let Some(places) = places(&seen, first, &members[first].1) else { return };
        for (i, (thread, allowed)) in members.into_iter().enumerate() {
            let mut free = *allowed;
            places.iter().enumerate().filter(|(j, _)| *j != i).for_each(|(_, cpu)| free.unset(*cpu));
            let _ = sched_setaffinity(Some(*thread), &free); // refused in a sandbox, or where nothing is left
        }
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        let Call { placement, ended, .. } = &*self.0;
        *ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        for (thread, allowed) in placement.members.iter().filter_map(OnceLock::get) {
            let _ = sched_setaffinity(Some(*thread), allowed);
        }
        placement.busy.store(false, Ordering::Release);
    }
}

/// A processor for each thread: the one it was seen on, unless another thread has that one; nothing
/// where there are too few.
fn places(seen: &[usize], first: usize, allowed: &CpuSet) -> Option<Vec<usize>> {
    let mut taken = vec![false; CpuSet::MAX_CPU];
    let mut places = vec![UNSEEN; seen.len()];
    for i in std::iter::once(first).chain((0..seen.len()).filter(|i| *i != first)) {
        if let Some(taken) = taken.get_mut(seen[i]).filter(|taken| !**taken) {
            (places[i], *taken) = (seen[i], true);
        }
    }
    let mut free = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu) && !taken[*cpu]);
    for place in places.iter_mut().filter(|cpu| **cpu == UNSEEN) {
        *place = free.next()?;
    }
    Some(places)
}
