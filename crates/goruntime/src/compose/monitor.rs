//! The system monitor: what it sees of this process, and what it does.

use super::env::GoEnv;
use crate::world::cgroup::MemoryGroup;
use crate::world::cpus::Cpus;
use crate::world::stop;
use gosched::{Scheduler, Snapshot};
use gosysmon::{
    Actions, Config, Driver, Memory, Nanos, Observation, PObservation, PState, Stall, Target, Task,
    Tasks, Waker,
};
use std::cell::{Cell, RefCell};
use std::sync::OnceLock;
use std::time::Duration;

static DRIVER: OnceLock<(Driver, Waker)> = OnceLock::new();

/// Ends the monitor's deep sleep: there is something to watch again.
#[inline]
pub(crate) fn wake() {
    if let Some((_, waker)) = DRIVER.get() {
        waker.wake();
    }
}

/// Starts the monitor's thread. Without it goroutines that block their thread keep their P; that is said, and no reason not to run.
pub(crate) fn start(scheduler: &'static Scheduler<GoEnv>) {
    let settings = crate::settings::get();
    let nanos = |d: Duration| Nanos(d.as_nanos() as u64);
    let stall = settings.stall_trace.map(nanos);
    let config = Config {
        trace_period: settings.sched_trace.map(nanos),
        stall,
        lock_period: stall.map(|after| Nanos(after.0 / 2)),
        ..Config::default()
    };
    let group = MemoryGroup::find();
    if let Some(group) = &group {
        // Not left to the monitor's first look, which comes when its thread does.
        crate::collector::follow_group_limit(group.look().limit);
    }
    let target = Process {
        scheduler,
        snapshot: RefCell::default(),
        surplus: Cell::default(),
        group,
        memory: Cell::default(),
        pressed: Cell::default(),
        cpus: Cpus::find(),
        followed: Cell::new(Nanos(gosched::Nanos::now().0)),
    };
    match Driver::start(config, gosched::MAX_PROCS, target) {
        Ok(driver) => {
            scheduler.add_service_thread();
            // From now on the monitor gives memory back.
            gomem::background::disable();
            let waker = driver.waker();
            let _ = DRIVER.set((driver, waker));
        }
        Err(error) => eprintln!("goruntime: {error}"),
    }
}

/// The process as the monitor's target.
struct Process {
    scheduler: &'static Scheduler<GoEnv>,
    snapshot: RefCell<Snapshot>,
    /// Free memory more than is worth keeping, and when that was found out.
    surplus: Cell<(Nanos, usize)>,
    /// Whose memory limit holds for the process, and what was seen of it when.
    group: Option<MemoryGroup>,
    memory: Cell<(Nanos, Option<Memory>)>,
    /// Until when all free memory is given back, for it runs short.
    pressed: Cell<Nanos>,
    /// How many Ps the system allows, and when that was last asked.
    cpus: Cpus,
    followed: Cell<Nanos>,
}

impl Target for Process {
    fn observe(&self, into: &mut Observation) {
        let s = &mut *self.snapshot.borrow_mut();
        self.scheduler.observe(s);
        into.now = Nanos(s.now.0);
        into.stopping = false;
        into.spinning = s.spinning;
        into.last_poll = (s.poll_waiters > 0 && !s.polled).then_some(Nanos(s.last_polled.0));
        let (last_gc, running) = crate::collector::last_end(s.now.0);
        into.last_gc = Nanos(last_gc);
        into.gc_possible =
            !running && crate::settings::get().collector.percent != gogc::GcPercent::Off;
        into.next_timer = (s.next_timer != gosched::Nanos::NEVER).then_some(Nanos(s.next_timer.0));
        into.scavenge = self.surplus(into.now) > 0;
        into.memory = self.memory(into.now);
        // A P on its way from the idle list to an M is nobody's yet, but not idle either.
        let nobodys = s.procs.iter().filter(|p| p.m.is_none()).count();
        let mut on_the_way = nobodys.saturating_sub(s.idle_procs as usize);
        into.set_ps(s.procs.iter().map(|p| PObservation {
            state: match (p.m, p.in_syscall) {
                (None, _) if on_the_way > 0 => {
                    on_the_way -= 1;
                    PState::Running
                }
                (None, _) => PState::Idle,
                (Some(_), true) => PState::Syscall,
                (Some(_), false) => PState::Running,
            },
            tick: p.tick,
            syscall_tick: p.syscall_tick,
            has_work: p.queued > 0,
        }));
    }

    fn rest(&self, sleep: impl FnOnce()) {
        stop::at_rest(sleep);
    }

    fn act(&self, actions: &Actions) {
        self.follow_system();
        if actions.poll_network {
            self.scheduler.poll_network_if_due(gosched::Nanos::ZERO);
        }
        if actions.wake_scavenger {
            self.scavenge();
        }
        for retake in &actions.retake {
            // The tick is the monitor's evidence that the P is still where it was seen.
            let s = self.snapshot.borrow();
            if s.procs
                .get(retake.p.0)
                .is_some_and(|p| p.tick == retake.tick)
            {
                self.scheduler.retake(retake.p.0);
            }
        }
        if actions.force_gc {
            crate::collector::collect_periodic();
        }
        if actions.relieve_memory {
            self.relieve();
        }
        if actions.look_at_locks {
            crate::goroutines::look_at_locks();
        }
        if actions.trace {
            self.trace();
        }
    }

    fn tasks(&self, into: &mut Tasks) {
        self.scheduler.for_each_machine(|m| {
            // A call that was declared may take as long as it likes.
            if let Some(goroutine) = m.current.filter(|_| !m.in_syscall) {
                into.push(Task {
                    worker: m.id,
                    task: goroutine.0,
                    stamp: m.progress,
                });
            }
        });
    }

    fn stalled(&self, stalls: &[Stall]) {
        for stall in stalls {
            crate::goroutines::found_stall(stall.task.task, stall.lasted.0);
        }
    }
}

impl Process {
    /// What is known of the memory limit, looked up at most every hundred milliseconds.
    fn memory(&self, now: Nanos) -> Option<Memory> {
        const PERIOD: Nanos = Nanos::millis(100);
        let group = self.group.as_ref()?;
        let (then, memory) = self.memory.get();
        if memory.is_some() && now.saturating_sub(then) < PERIOD {
            return memory;
        }
        let seen = group.look();
        let memory = Some(Memory {
            used: seen.used,
            limit: seen.limit,
            stalled: Nanos(seen.stalled),
        });
        self.memory.set((now, memory));
        crate::collector::follow_group_limit(seen.limit);
        memory
    }

    /// Memory runs short: collects, and for a while gives back whatever becomes free.
    fn relieve(&self) {
        const WHILE: Nanos = Nanos::secs(5);
        let now = Nanos(self.snapshot.borrow().now.0);
        self.pressed.set(now + WHILE);
        self.surplus.set((Nanos(0), 0));
        crate::collector::collect_periodic();
    }

    /// Every second, as Go does.
    fn follow_system(&self) {
        const PERIOD: Nanos = Nanos::millis(1000);
        let now = Nanos(self.snapshot.borrow().now.0);
        if now.saturating_sub(self.followed.get()) >= PERIOD {
            self.followed.set(now);
            crate::runtime::follow_system(self.scheduler, &self.cpus);
        }
    }

    /// Free memory that the process holds beyond a tenth of what it uses (Go's `retainExtraPercent`). Looked up at most every ten
    /// milliseconds, because it costs the heap's lock.
    fn surplus(&self, now: Nanos) -> usize {
        const PERIOD: Nanos = Nanos::millis(10);
        /// Not worth a system call.
        const LEAST: usize = 1 << 20;
        let (then, surplus) = self.surplus.get();
        if now.saturating_sub(then) < PERIOD {
            return surplus;
        }
        let usage = gomem::heap().usage();
        let kept = if now < self.pressed.get() {
            0
        } else {
            usage.mapped.saturating_sub(usage.idle) / 10 + LEAST
        };
        let surplus = usage.idle.saturating_sub(kept);
        self.surplus.set((now, surplus));
        surplus
    }

    /// Gives some of the surplus back. In small steps, since the monitor has others to look after.
    fn scavenge(&self) {
        /// Released in one step: less than a millisecond's worth of system calls. An idle process has a step each ten milliseconds, so a
        /// gigabyte in five seconds.
        const STEP: usize = 2 << 20;
        /// The same when memory runs short: some milliseconds' worth.
        const LARGE_STEP: usize = 16 << 20;
        let (then, surplus) = self.surplus.get();
        let step = if then < self.pressed.get() {
            LARGE_STEP
        } else {
            STEP
        };
        let released = gomem::heap().scavenge(surplus.min(step));
        self.surplus
            .set((then, surplus.saturating_sub(released.max(1))));
    }

    /// Go's `schedtrace` line, and with `scheddetail` the lines below it.
    fn trace(&self) {
        let mut text = String::new();
        let s = self.snapshot.borrow();
        let written = if crate::settings::get().sched_detail {
            gosched::schedtrace::write_detail(&mut text, &s, self.scheduler)
        } else {
            gosched::schedtrace::write_line(&mut text, &s)
        };
        if written.is_ok() {
            eprint!("{text}");
        }
    }
}
