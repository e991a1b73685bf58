//! What is going on: plain data for a monitor, for traces, and for dumps.
//!
//! Everything is read without locks from atomics that the scheduler writes anyway, so each number
//! is right and all of them together are only nearly of one moment.

use crate::atomic::Ordering;
use std::ops::Range;

use crate::critical;
use crate::env::{Engine, Env};
use crate::gmp::g::{GRef, Header};
use crate::gmp::p::Owner;
use crate::goroutine::{GoroutineId, GoroutineInfo, StackInfo};
use crate::sched::Scheduler;
use crate::sched::goroutine::Goroutine;
use crate::time::Nanos;

/// One P.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcStatus {
    /// The M that has it; `None` when it is idle.
    pub m: Option<u32>,
    /// The goroutine that runs with it.
    pub current: Option<GoroutineId>,
    /// One up for each goroutine that starts or goes on to run.
    pub tick: u32,
    /// Whether its M is inside `syscall`.
    pub in_syscall: bool,
    /// One up for each `syscall` of its M.
    pub syscall_tick: u32,
    /// Goroutines in its queue.
    pub queued: usize,
    /// Its pending timers.
    pub timers: usize,
    /// Finished goroutines kept for reuse.
    pub free_gs: u32,
}

/// One M.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MachineStatus {
    /// Its number.
    pub id: u32,
    /// The P that it has.
    pub p: Option<u32>,
    /// The goroutine that runs on it.
    pub current: Option<GoroutineId>,
    /// Whether it looks for work.
    pub spinning: bool,
    /// Whether it runs a goroutine's own code without a P.
    pub blocked: bool,
    /// Whether its goroutine is inside `syscall` or `blocking`.
    pub in_syscall: bool,
    /// Changes when the goroutine returns to the scheduler, or another takes its place; and once when its P is taken.
    pub progress: u64,
    /// The goroutine that is locked to it.
    pub locked: Option<GoroutineId>,
}

/// The whole scheduler at (nearly) one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// When it was taken.
    pub now: Nanos,
    /// Since when the scheduler exists, as a span.
    pub uptime: Nanos,
    /// Ms, whatever they do.
    pub machines: u32,
    /// Ms asleep for want of work.
    pub idle_machines: u32,
    /// Ms asleep until the goroutine that is locked to them can run.
    pub idle_locked_machines: u32,
    /// Ms that look for work.
    pub spinning: u32,
    /// Ps without an M.
    pub idle_procs: u32,
    /// Length of the global queue.
    pub global_queue: usize,
    /// Goroutines that exist.
    pub goroutines: usize,
    /// Goroutines that wait for descriptors.
    pub poll_waiters: usize,
    /// Whether an M sleeps in the poller.
    pub polled: bool,
    /// When somebody last looked for ready descriptors.
    pub last_polled: Nanos,
    /// When the earliest timer is due; `NEVER` if there is none.
    pub next_timer: Nanos,
    /// The Ps in use, by index.
    pub procs: Vec<ProcStatus>,
}

fn some_id(id: u64) -> Option<GoroutineId> {
    (id != 0).then_some(GoroutineId(id))
}

impl<V: Env> Scheduler<V> {
    /// How many Ps nobody has: processors that goroutines have no use for.
    pub fn idle_procs(&self) -> u32 {
        self.idle.ps()
    }

    /// Fills `snapshot`, without allocating if it has been filled before.
    pub fn observe(&'static self, snapshot: &mut Snapshot) {
        let now = self.tick_clock();
        snapshot.now = now;
        snapshot.uptime = now - self.started;
        snapshot.machines = self.machine_count.load(Ordering::Relaxed);
        snapshot.idle_machines = self.idle.ms();
        snapshot.idle_locked_machines = self.idle.locked();
        snapshot.spinning = self.idle.spinning();
        snapshot.idle_procs = self.idle.ps();
        snapshot.global_queue = self.global.len();
        snapshot.goroutines = self.goroutines();
        snapshot.poll_waiters = self.network.waiters();
        snapshot.polled = self.network.is_polled();
        snapshot.last_polled = self.network.last_polled();
        snapshot.next_timer = self.earliest_timer();
        snapshot
            .procs
            .resize(self.ps.in_use(), ProcStatus::default());
        for (status, p) in snapshot.procs.iter_mut().zip(self.ps.iter()) {
            let m = p.owner().m();
            *status = ProcStatus {
                m: m.map(|m| m.id),
                current: some_id(p.current.load(Ordering::Relaxed)),
                tick: p.tick.load(Ordering::Relaxed),
                in_syscall: m.is_some_and(|m| m.in_syscall.load(Ordering::Relaxed)),
                syscall_tick: m.map_or(0, |m| m.syscall_tick.load(Ordering::Relaxed)),
                queued: p.queued(),
                timers: p.timers.len(),
                free_gs: p.free_gs(),
            };
        }
    }

    /// Calls `each` with every M whose thread runs.
    pub fn for_each_machine(&'static self, mut each: impl FnMut(MachineStatus)) {
        let mut at = self.machines.load(Ordering::Acquire);
        // SAFETY: null or a machine, which is never freed.
        while let Some(machine) = unsafe { at.as_ref() } {
            at = machine.all_next.load(Ordering::Acquire);
            let m = &machine.m;
            let p = m.last_p().filter(|p| p.owner() == Owner::owned(m));
            let current = some_id(m.current.load(Ordering::Relaxed));
            each(MachineStatus {
                id: m.id,
                p: p.map(|p| p.index),
                current,
                spinning: m.spinning.load(Ordering::Relaxed),
                blocked: current.is_some() && p.is_none(),
                in_syscall: m.in_syscall.load(Ordering::Relaxed),
                progress: u64::from(m.acquired.load(Ordering::Relaxed)) << 32
                    | u64::from(p.map_or(0, |p| p.tick.load(Ordering::Relaxed))),
                locked: m.locked_g().map(Header::id),
            });
        }
    }

    /// Calls `each` with every goroutine that exists. Those that start or end meanwhile may or may
    /// not be among them.
    pub fn for_each_goroutine(&'static self, mut each: impl FnMut(GoroutineInfo)) {
        self.for_each_header(|_, info| each(info));
    }

    /// As [`for_each_goroutine`](Self::for_each_goroutine), with their stacks.
    ///
    /// Takes only locks that no stopped thread holds, and does not allocate. Other methods that make
    /// goroutines runnable had better wait until the world runs again: they may start a thread, and
    /// what that takes in the C library a stopped thread may hold.
    ///
    /// `running` is asked of the stack of each goroutine whether a thread runs on it. That is not to be learned from [`GoroutineInfo::state`], which
    /// changes a little before and after the switch, but from the stopped threads: a goroutine whose stack holds the stack pointer of no
    /// thread is not running.
    ///
    /// # Safety
    /// 1. Every thread that runs goroutines of this scheduler, or starts them, is stopped outside
    ///    critical sections.
    /// 2. `running` says the truth.
    pub unsafe fn for_each_stopped_goroutine(
        &'static self,
        running: impl Fn(&Range<usize>) -> bool,
        mut each: impl FnMut(GoroutineInfo, StackInfo),
    ) {
        self.for_each_header(|header, mut info| {
            // SAFETY: obligation 1: whoever runs goroutines is stopped.
            info.held_by = unsafe { header.lock_holder() };
            // SAFETY: the list holds goroutines of this scheduler. Contexts are changed only by
            // threads that obligation 1 has stopped, and of a goroutine that is not pooled only by
            // its own.
            let context = unsafe { (*Goroutine::<V>::of(header).context.get()).as_ref() };
            let range = context.and_then(|c| self.engine.stack_range(c));
            let saved = context.filter(|_| !range.as_ref().is_some_and(&running));
            let stack = StackInfo {
                saved_sp: saved.and_then(|c| self.engine.saved_sp(c)),
                // SAFETY: by obligation 2 no thread runs it, and none can resume it by obligation 1; it is listed, so its entry has not returned.
                resume: saved.and_then(|c| unsafe { self.engine.resume_point(c) }),
                range,
            };
            each(info, stack);
        });
    }

    fn for_each_header(&'static self, mut each: impl FnMut(GRef, GoroutineInfo)) {
        let now = self.clock.load(Ordering::Relaxed);
        let mut at: *const Header = self.all.load(Ordering::Acquire);
        // SAFETY: null or a G, which is never freed.
        while let Some(header) = unsafe { at.as_ref() } {
            at = header.all_next.load(Ordering::Acquire);
            let Some(state) = header.state() else {
                continue;
            };
            let since = header.waiting_since.load(Ordering::Relaxed);
            let name = {
                let inside = critical::enter();
                header.name(&inside)
            };
            let info = GoroutineInfo {
                id: header.id(),
                state,
                name,
                site: header.site(),
                waiting_for: Nanos(if since == 0 {
                    0
                } else {
                    now.saturating_sub(since)
                }),
                m: header.m().map(|m| m.id),
                locked: header.thread().is_some(),
                cpu: Nanos(header.cpu.load(Ordering::Relaxed)),
                held_by: None,
            };
            each(header, info);
        }
    }
}
