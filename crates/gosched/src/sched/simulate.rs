//! How a scheduler runs in a simulation: one P, one M, and every choice from one generator.
//!
//! Wherever the scheduler looks for the next goroutine it takes any of those that can run, with equal chances: whatever several
//! Ps, stealing and waking could bring about is some order of the same steps. Goroutines also come to such a place at each
//! operation on a channel or lock ([`crate::simulated::point`]).
//!
//! The clock stands still while any goroutine can run. When none can, it jumps to the earliest timer; before that, one that waits
//! for the others to be at rest goes on. While a goroutine waits for a descriptor the clock runs as the true one does, since the
//! world outside is not simulated. Alarms that are still set when main has ended are forgotten, and the goroutine that runs them is
//! sent home.
//!
//! Everything in [`Course`] is used by the context that runs on the one M, and by the thread that conducts the simulation while
//! that M sleeps; the lock makes it plain.

use std::panic::Location;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;

use crate::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::critical::{self, Section};
use crate::env::{Env, Event};
use crate::gmp::g::{GList, GRef, NOTIFIED, RUNNABLE, current};
use crate::gmp::m::Fate;
use crate::gmp::p::P;
use crate::goroutine::{GoroutineId, WaitReason};
use crate::lock::Lock;
use crate::sched::Scheduler;
use crate::sched::goroutine::Goroutine;
use crate::sched::machine::Machine;
use crate::time::Nanos;

/// What a scheduler in a simulation has besides.
pub(crate) struct Simulation {
    course: Lock<Course>,
    /// The virtual clock; and where it begins in each run, on both clocks.
    clock: AtomicU64,
    origin: (Nanos, Instant),
    /// The run was ended for having taken too many steps.
    is_over: AtomicBool,
    /// Set by the M when nothing can happen any more.
    at_rest: Mutex<bool>,
    came_to_rest: Condvar,
}

/// One run.
struct Course {
    /// Its main goroutine has begun; has ended.
    began: bool,
    main_ended: bool,
    runnable: Vec<GRef>,
    /// Those that wait for the others to be at rest, the last first.
    onlookers: Vec<GRef>,
    steps: u64,
    limit: u64,
    /// Each with a way to tell whether it was joined.
    panics: Vec<(UnseenPanic, IsJoined)>,
}

type IsJoined = Box<dyn Fn() -> bool + Send>;

/// A panic of a goroutine that nobody joined.
#[derive(Clone, Debug)]
pub struct UnseenPanic {
    /// Whose.
    pub id: GoroutineId,
    /// Where it was started.
    pub site: Option<&'static Location<'static>>,
    /// Its message, if it has one.
    pub message: Option<String>,
}

impl Simulation {
    pub(super) fn new() -> Simulation {
        let origin = (Nanos::now(), Instant::now());
        Simulation {
            course: Lock::new(Course {
                began: false,
                main_ended: false,
                runnable: Vec::new(),
                onlookers: Vec::new(),
                steps: 0,
                limit: 0,
                panics: Vec::new(),
            }),
            clock: AtomicU64::new(origin.0.0),
            origin,
            is_over: AtomicBool::new(false),
            at_rest: Mutex::new(false),
            came_to_rest: Condvar::new(),
        }
    }

    pub(crate) fn now(&self) -> Nanos {
        Nanos(self.clock.load(Ordering::Relaxed))
    }

    pub(crate) fn instant(&self) -> Instant {
        self.origin.1 + (self.now() - self.origin.0).to_duration()
    }

    /// No goroutine of this run is to run any more.
    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// The M has nothing to do, and is in the list of idle ones.
    pub(super) fn rest(&self) {
        let began = {
            let inside = critical::enter();
            self.course.lock(&inside).began
        };
        if began {
            *self.at_rest.lock().unwrap_or_else(PoisonError::into_inner) = true;
            self.came_to_rest.notify_one();
        }
    }

    /// The world outside was waited for so long in vain.
    pub(super) fn waited_until(&self, until: Nanos) {
        if until != Nanos::NEVER {
            self.clock.fetch_max(until.0, Ordering::Relaxed);
        }
    }

    pub(super) fn saw_panic(&self, panic: UnseenPanic, is_joined: IsJoined) {
        let inside = critical::enter();
        self.course.lock(&inside).panics.push((panic, is_joined));
    }

    /// Prepares a run, before its main goroutine is started. For the conducting thread, when all is at rest.
    pub(crate) fn prepare(&self, limit: u64) {
        *self.at_rest.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.clock.store(self.origin.0.0, Ordering::Relaxed);
        let inside = critical::enter();
        let mut course = self.course.lock(&inside);
        course.began = false;
        course.main_ended = false;
        course.steps = 0;
        course.limit = limit;
    }

    /// Waits until nothing can happen any more.
    pub(crate) fn wait_for_rest(&self) {
        let at_rest = self.at_rest.lock().unwrap_or_else(PoisonError::into_inner);
        drop(
            self.came_to_rest
                .wait_while(at_rest, |at_rest| !*at_rest)
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    /// How many steps the run took, and the panics that nobody joined.
    pub(crate) fn outcome(&self) -> (u64, Vec<UnseenPanic>) {
        let (steps, panics) = {
            let inside = critical::enter();
            let mut course = self.course.lock(&inside);
            (course.steps, std::mem::take(&mut course.panics))
        };
        let unseen = panics.into_iter().filter(|(_, is_joined)| !is_joined());
        (steps, unseen.map(|(panic, _)| panic).collect())
    }
}

impl Course {
    /// One more step. Returns false if that is too many.
    fn step(&mut self) -> bool {
        self.steps += 1;
        self.steps <= self.limit
    }

    /// Any of those that can run, or of those and the caller: then `None` may be chosen.
    fn choose(&mut self, machine: &crate::gmp::m::M, or_caller: bool) -> Option<GRef> {
        let n = self.runnable.len();
        let choices = n + usize::from(or_caller);
        let chosen = if choices > 1 {
            machine.rng.below(choices as u32) as usize
        } else {
            0
        };
        (chosen < n).then(|| self.runnable.swap_remove(chosen))
    }
}

impl<V: Env> Scheduler<V> {
    /// The simulation that this scheduler runs in.
    pub(crate) fn simulation(&self) -> Option<&Simulation> {
        self.simulation.as_deref()
    }

    /// Moves what can run into the course's list, in an order that depends on nothing but the run so far.
    ///
    /// # Safety
    /// 1. The caller runs on the M of `p`, in the runtime.
    unsafe fn gather(
        &'static self,
        simulation: &Simulation,
        p: &'static P,
        course: &mut Course,
        inside: &Section,
    ) {
        let mut ready = GList::new();
        p.timers.fire(simulation.now(), &mut ready, inside);
        while let Some(g) = ready.pop() {
            g.status.store(RUNNABLE, Ordering::Relaxed);
            course.runnable.push(g);
        }
        course.runnable.extend(p.take_next());
        // SAFETY: obligation 1.
        while let Some(g) = unsafe { p.ring.pop() } {
            course.runnable.push(g);
        }
        while let Some(g) = self.global.pop(|_| 0, &mut GList::new(), inside) {
            course.runnable.push(g);
        }
    }

    /// [`find_next`](Self::find_next) in a simulation: `None` also when the parking goroutine that calls may go on itself.
    ///
    /// # Safety
    /// 1. The caller runs on `machine`, in the runtime.
    pub(super) unsafe fn simulate_next(
        &'static self,
        simulation: &Simulation,
        machine: &'static Machine<V>,
        inside: &Section,
    ) -> Option<GRef> {
        let p = machine.m.p()?;
        let mut course = simulation.course.lock(inside);
        if simulation.is_over() {
            return None;
        }
        loop {
            // SAFETY: obligation 1.
            unsafe { self.gather(simulation, p, &mut course, inside) };
            let caller_goes_on =
                current().is_some_and(|g| g.status.load(Ordering::Relaxed) & NOTIFIED != 0);
            if caller_goes_on || !course.runnable.is_empty() {
                if !course.step() {
                    simulation.is_over.store(true, Ordering::Relaxed);
                    return None;
                }
                return course.choose(&machine.m, caller_goes_on);
            }
            // All are at rest.
            if let Some(onlooker) = course.onlookers.pop() {
                if onlooker.notify() {
                    onlooker.status.store(RUNNABLE, Ordering::Relaxed);
                    course.runnable.push(onlooker);
                }
                continue;
            }
            if course.main_ended
                && let Some(runner) = self.alarms.dismiss(inside)
            {
                runner.status.store(RUNNABLE, Ordering::Relaxed);
                course.runnable.push(runner);
                continue;
            }
            if self.network.has_waiters() || course.main_ended || !self.jump(simulation, p) {
                return None;
            }
        }
    }

    /// Moves the clock to the earliest timer. Returns false if there is none.
    fn jump(&self, simulation: &Simulation, p: &'static P) -> bool {
        let next = p.timers.next();
        if next == Nanos::NEVER {
            return false;
        }
        simulation.clock.fetch_max(next.0, Ordering::Relaxed);
        true
    }

    /// Gives way to any that can run: with `or_not`, or to none, as chance has it; otherwise, if none can, time passes.
    ///
    /// # Safety
    /// 1. `g` is the caller, outside of critical sections.
    pub(super) unsafe fn simulate_yield(
        &'static self,
        simulation: &Simulation,
        g: &'static Goroutine<V>,
        or_not: bool,
    ) {
        // SAFETY: obligation 1.
        unsafe {
            let machine = self.enter(g);
            let inside = critical::assume_inside(machine.m.left.get());
            let Some(p) = machine.m.p() else {
                return self.leave(machine);
            };
            let next = {
                let mut course = simulation.course.lock(&inside);
                self.gather(simulation, p, &mut course, &inside);
                if course.step() {
                    if course.runnable.is_empty() && !or_not && !course.main_ended {
                        self.jump(simulation, p);
                        self.gather(simulation, p, &mut course, &inside);
                    }
                    course.choose(&machine.m, or_not)
                } else {
                    simulation.is_over.store(true, Ordering::Relaxed);
                    None
                }
            };
            if next.is_none() && !simulation.is_over() {
                return self.leave(machine);
            }
            self.tell(Some(machine), || Event::Yielded(g.header().id()));
            self.switch_away(g, machine, Fate::Yielded.of(g.header()), next);
        }
    }

    /// Waits until every other goroutine waits, before the clock moves on.
    ///
    /// # Safety
    /// 1. `g` is the caller, outside of critical sections.
    pub(super) unsafe fn simulate_wait(&'static self, simulation: &Simulation, g: GRef) {
        g.prepare_park(WaitReason::Synctest);
        {
            let inside = critical::enter();
            simulation.course.lock(&inside).onlookers.push(g);
        }
        // SAFETY: obligation 1, and it has prepared.
        unsafe { (g.ops.park)(g) }
    }

    /// The main goroutine of a run begins, with this seed.
    ///
    /// # Safety
    /// 1. The caller is that goroutine, outside of critical sections.
    pub(crate) unsafe fn begin_course(&'static self, simulation: &Simulation, seed: u64) {
        let inside = critical::enter();
        simulation.course.lock(&inside).began = true;
        self.next_id.store(2, Ordering::Relaxed);
        self.with_own_p(&inside, |p| {
            if let Some(p) = p {
                p.ids.set((0, 0));
            }
        });
        if let Some(g) = current() {
            g.own_m().rng.reseed(seed);
        }
    }

    /// It has ended.
    pub(crate) fn end_main(&'static self, simulation: &Simulation) {
        let inside = critical::enter();
        simulation.course.lock(&inside).main_ended = true;
    }

    /// Numbers begin anew. For the conducting thread, when all is at rest.
    pub(crate) fn reset_ids(&'static self) {
        self.next_id.store(1, Ordering::Relaxed);
    }
}
