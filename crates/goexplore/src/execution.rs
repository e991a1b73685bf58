//! One execution of a model: its threads, of which one runs at a time, and what they share.
//!
//! Threads are threads of the operating system, so that thread-locals, statics and stacks are what they are. The *baton* says which of them runs: a
//! thread that comes to an operation takes the lock of the state, lets the chooser decide who goes on, and if that is another one, hands it the
//! baton and waits for its return.
//!
//! Invariant: between two operations only the thread with the baton runs model code. A thread that ends keeps the baton until the operating system
//! has ended it, destructors of thread-locals included. After a failure nobody gets the baton any more: the threads of the
//! failed execution sleep for good, for to unwind them would run destructors in states that they were not written for. One that panics is unwound
//! until it comes to an operation.

use crate::choice::{Chooser, Kind, Taken};
use crate::memory::Memory;
use crate::plant::{Damage, Plant, PlantKind};
use crate::trace::Trace;
use crate::view::View;
use std::cell::Cell;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Nobody has the baton: the execution is over.
const NOBODY: usize = usize::MAX;

/// What a thread is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Runnable,
    /// Waits for others to do something.
    Yielded,
    /// Waits until [`State::unblock`] is called for this.
    Blocked(On, Limit),
    Finished,
}

/// What a blocked thread waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    Futex(usize),
    Mutex(usize),
    Condvar(usize),
    Unpark,
    End(usize),
}

/// Whether it waits for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    None,
    /// Runs out when nothing else can go on.
    Some,
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    ByOther,
    ByTime,
}

pub(crate) struct Thread {
    pub(crate) status: Status,
    woken: Woken,
    baton: Arc<Condvar>,
    os: Option<std::thread::JoinHandle<()>>,
    /// A wake-up by `unpark` that has not been used.
    pub(crate) token: bool,
    /// It is to be unwound from where it sleeps.
    is_ended: bool,
    at: Option<&'static Location<'static>>,
}

/// Bounds of one execution.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) preemptions: u32,
    pub(crate) stale_reads: u32,
    pub(crate) steps: u32,
}

/// Everything that the threads of an execution share, under one lock.
pub(crate) struct State {
    pub(crate) threads: Vec<Thread>,
    pub(crate) memory: Memory,
    pub(crate) trace: Trace,
    pub(crate) chooser: Chooser,
    /// By address of a mutex: its holder, and what the last one released.
    pub(crate) mutexes: HashMap<usize, (Option<usize>, View)>,
    plants: Vec<Plant>,
    /// How often a plant took effect.
    pub(crate) planted: u32,
    left: Bounds,
    running: usize,
    ending: Option<std::thread::JoinHandle<()>>,
    pub(crate) failure: Option<String>,
}

pub(crate) struct Execution {
    state: Mutex<State>,
    over: Condvar,
}

/// What an execution came to.
pub(crate) struct Ended {
    pub(crate) failure: Option<String>,
    pub(crate) path: Vec<Taken>,
    pub(crate) trace: Trace,
    pub(crate) planted: u32,
}

thread_local! {
    /// The execution that this thread takes part in, and its number there. No destructor, so that it can be asked to the last.
    static PART: Cell<Option<(*const Execution, usize)>> = const { Cell::new(None) };
}

/// The calling thread's part in an exploration.
pub(crate) fn part() -> Option<(&'static Execution, usize)> {
    // SAFETY: an execution is freed only when all its threads have ended, and a failed one never.
    PART.with(Cell::get)
        .map(|(execution, me)| (unsafe { &*execution }, me))
}

/// Makes an operation of the calling thread, after whoever the chooser lets go first. `None` outside of explorations.
pub(crate) fn operate<R>(
    at: &'static Location<'static>,
    operation: impl FnOnce(&mut State, usize) -> R,
) -> Option<R> {
    let (execution, me) = part()?;
    let state = execution.lock();
    if state.failure.is_some() {
        // A destructor, while this thread's panic unwinds it.
        drop(state);
        sleep_for_good();
    }
    let mut state = execution.point(state, me, at);
    Some(operation(&mut state, me))
}

impl Execution {
    pub(crate) fn new(chooser: Chooser, bounds: Bounds, plants: Vec<Plant>) -> Execution {
        Execution {
            state: Mutex::new(State {
                threads: Vec::new(),
                memory: Memory::default(),
                trace: Trace::default(),
                chooser,
                mutexes: HashMap::new(),
                plants,
                planted: 0,
                left: bounds,
                running: 0,
                ending: None,
                failure: None,
            }),
            over: Condvar::new(),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `model` as thread 0, until all threads have ended or one has failed.
    pub(crate) fn run(self: Box<Self>, model: impl FnOnce() + Send + 'static) -> Ended {
        self.start(None, model);
        let mut state = self.lock();
        while state.running != NOBODY {
            state = self
                .over
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let last = state.ending.take();
        let ended = Ended {
            failure: state.failure.take(),
            path: std::mem::take(&mut state.chooser.path),
            trace: std::mem::take(&mut state.trace),
            planted: state.planted,
        };
        drop(state);
        if let Some(last) = last {
            let _ = last.join();
        }
        if ended.failure.is_some() {
            // Its threads sleep on it for good.
            Box::leak(self);
        }
        ended
    }

    /// Adds a thread, which runs `body` when it first gets the baton.
    pub(crate) fn start(
        &self,
        parent: Option<usize>,
        body: impl FnOnce() + Send + 'static,
    ) -> usize {
        let mut state = self.lock();
        let id = state.threads.len();
        state.memory.add_thread(parent);
        state.threads.push(Thread {
            status: Status::Runnable,
            woken: Woken::ByOther,
            baton: Arc::new(Condvar::new()),
            os: None,
            token: false,
            is_ended: false,
            at: None,
        });
        let shared = Shared(self);
        let os = std::thread::Builder::new()
            .name(format!("explored {id}"))
            .spawn(move || {
                let shared = shared;
                // SAFETY: as in `part`.
                let execution = unsafe { &*shared.0 };
                drop(execution.wait_for_baton(execution.lock(), id));
                PART.with(|part| part.set(Some((shared.0, id))));
                if let Err(payload) = catch_unwind(AssertUnwindSafe(body))
                    && !payload.is::<EndOfThread>()
                {
                    resume_unwind(payload);
                }
                PART.with(|part| part.set(None));
                execution.finish(id);
            })
            .expect("a thread for the exploration");
        state.threads[id].os = Some(os);
        id
    }

    fn wait_for_baton<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        me: usize,
    ) -> MutexGuard<'a, State> {
        while state.running != me {
            let baton = state.threads[me].baton.clone();
            state = baton.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if let Some(ended) = state.ending.take() {
            // Destructors of its thread-locals run outside of the exploration, and take nothing that is held here.
            let _ = ended.join();
        }
        state
    }

    fn hand_to<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        me: usize,
        next: usize,
    ) -> MutexGuard<'a, State> {
        if next == me {
            return state;
        }
        state.running = next;
        state.threads[next].baton.notify_one();
        self.wait_for_baton(state, me)
    }

    /// The moment before an operation: another thread may go first.
    fn point<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        me: usize,
        at: &'static Location<'static>,
    ) -> MutexGuard<'a, State> {
        state.threads[me].at = Some(at);
        if state.left.steps == 0 {
            return self.fail(
                state,
                me,
                "too many steps: a livelock, or a model that is too large",
            );
        }
        state.left.steps -= 1;
        let can_preempt = state.left.preemptions > 0;
        match state.next(me, can_preempt) {
            Ok(next) => {
                if next != me {
                    state.left.preemptions -= 1;
                }
                let mut state = self.hand_to(state, me, next);
                state.rouse(me);
                state
            }
            Err(why) => self.fail(state, me, &why),
        }
    }

    /// Waits until unblocked, or until others have gone on.
    pub(crate) fn wait<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        me: usize,
        status: Status,
    ) -> (MutexGuard<'a, State>, Woken) {
        state.threads[me].status = status;
        state.threads[me].woken = Woken::ByOther;
        match state.next(me, true) {
            Ok(next) => {
                let mut state = self.hand_to(state, me, next);
                let thread = &mut state.threads[me];
                thread.status = Status::Runnable;
                let woken = thread.woken;
                if std::mem::take(&mut thread.is_ended) {
                    drop(state);
                    resume_unwind(Box::new(EndOfThread));
                }
                (state, woken)
            }
            Err(why) => (self.fail(state, me, &why), Woken::ByOther),
        }
    }

    /// Ends every other thread, when none of them can go on by itself.
    pub(crate) fn end_sleepers(&self, me: usize) {
        let mut state = self.lock();
        loop {
            let can_go_on = |(id, thread): (usize, &Thread)| {
                id != me && matches!(thread.status, Status::Runnable | Status::Yielded)
            };
            if !state.threads.iter().enumerate().any(can_go_on) {
                break;
            }
            state = self.wait(state, me, Status::Yielded).0;
        }
        for id in (0..state.threads.len()).filter(|id| *id != me) {
            let thread = &mut state.threads[id];
            if thread.status != Status::Finished {
                thread.is_ended = true;
                thread.status = Status::Runnable;
                state = self
                    .wait(state, me, Status::Blocked(On::End(id), Limit::None))
                    .0;
            }
        }
    }

    fn finish(&self, me: usize) {
        let mut state = self.lock();
        state.threads[me].status = Status::Finished;
        state.unblock(On::End(me), usize::MAX);
        state.rouse(me);
        state.ending = state.threads[me].os.take();
        if state.threads.iter().all(|t| t.status == Status::Finished) {
            state.running = NOBODY;
            self.over.notify_one();
            return;
        }
        match state.next(me, true) {
            Ok(next) => {
                state.running = next;
                state.threads[next].baton.notify_one();
            }
            Err(why) => drop(self.fail(state, me, &why)),
        }
    }

    /// Ends the execution as failed.
    pub(crate) fn record_failure(&self, state: &mut State, me: usize, why: &str) {
        state.failure.get_or_insert(format!("thread {me}: {why}"));
        state.running = NOBODY;
        self.over.notify_one();
    }

    /// Ends the execution as failed. Does not return to a thread that is in the middle of the model.
    fn fail<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        me: usize,
        why: &str,
    ) -> MutexGuard<'a, State> {
        self.record_failure(&mut state, me, why);
        if part().is_none() {
            return state;
        }
        drop(state);
        sleep_for_good();
    }
}

/// What a thread is unwound with that [`Execution::end_sleepers`] ends.
struct EndOfThread;

fn sleep_for_good() -> ! {
    loop {
        std::thread::park();
    }
}

/// A pointer for another thread.
struct Shared(*const Execution);

// SAFETY: an execution is shared by its threads, and outlives them.
unsafe impl Send for Shared {}

impl State {
    /// Who runs next: the current thread if it can and nobody preempts it, else one of those that can. The error says why nobody can.
    fn next(&mut self, me: usize, can_preempt: bool) -> Result<usize, String> {
        let all = |state: &State, status: Status| -> Vec<usize> {
            let others = (0..state.threads.len()).filter(|id| *id != me);
            others
                .filter(|id| state.threads[*id].status == status)
                .collect()
        };
        let can_stay = self.threads[me].status == Status::Runnable;
        if can_stay && !can_preempt {
            return Ok(me);
        }
        let mut options = all(self, Status::Runnable);
        if can_stay {
            options.insert(0, me);
        }
        if options.is_empty() {
            // All who could go on wait for each other to do so.
            options = all(self, Status::Yielded);
            let after_me = options.iter().position(|id| *id > me).unwrap_or(0);
            options = options.get(after_me).copied().into_iter().collect();
            if options.is_empty() && self.threads[me].status == Status::Yielded {
                options.push(me);
            }
        }
        if options.is_empty() {
            let limited = |t: &Thread| matches!(t.status, Status::Blocked(_, Limit::Some));
            options = (0..self.threads.len())
                .filter(|id| limited(&self.threads[*id]))
                .collect();
            for &id in &options {
                self.threads[id].woken = Woken::ByTime;
            }
        }
        if options.is_empty() {
            return Err(self.deadlock());
        }
        let option = self
            .chooser
            .choose(options.len() as u32, Kind::Thread { can_stay })
            .ok_or("the model is not deterministic: it did something else when run again")?;
        let next = options[option as usize];
        self.threads[next].status = Status::Runnable;
        Ok(next)
    }

    fn deadlock(&self) -> String {
        let mut text = String::from("deadlock:");
        for (id, thread) in self.threads.iter().enumerate() {
            if let Status::Blocked(on, _) = thread.status {
                let what = match on {
                    On::Futex(_) => "sleeps on a futex".into(),
                    On::Mutex(_) => "waits for a mutex".into(),
                    On::Condvar(_) => "waits on a condition variable".into(),
                    On::Unpark => "is parked".into(),
                    On::End(other) => format!("waits for the end of thread {other}"),
                };
                let at = thread
                    .at
                    .map(|at| format!(" at {}:{}", at.file(), at.line()));
                text.push_str(&format!("\n  thread {id} {what}{}", at.unwrap_or_default()));
            }
        }
        text
    }

    /// The current thread has done something: those who wait for that may look again.
    fn rouse(&mut self, me: usize) {
        for (id, thread) in self.threads.iter_mut().enumerate() {
            if id != me && thread.status == Status::Yielded {
                thread.status = Status::Runnable;
            }
        }
    }

    /// Makes up to `n` threads that wait for `on` runnable, in the order of their numbers; how many.
    pub(crate) fn unblock(&mut self, on: On, n: usize) -> usize {
        let waits = |t: &&mut Thread| matches!(t.status, Status::Blocked(what, _) if what == on);
        let mut woken = 0;
        for thread in self.threads.iter_mut().filter(waits).take(n) {
            thread.status = Status::Runnable;
            thread.woken = Woken::ByOther;
            woken += 1;
        }
        woken
    }

    /// The thread's wait was ended by another one.
    pub(crate) fn wake_by_other(&mut self, id: usize) {
        self.threads[id].woken = Woken::ByOther;
    }

    /// Which store a load reads: 0 for the newest.
    pub(crate) fn choose_age(&mut self, choices: u32) -> u32 {
        if choices < 2 || self.left.stale_reads == 0 {
            return 0;
        }
        let age = self.chooser.choose(choices, Kind::Store).unwrap_or(0);
        self.left.stale_reads -= u32::from(age > 0);
        age
    }

    /// What is planted at this place.
    pub(crate) fn damage(&mut self, at: &Location<'_>) -> Option<Damage> {
        let found = self.plants.iter().find_map(|plant| match &plant.kind {
            PlantKind::At(damage, site) if site.is_at(at) => Some(*damage),
            _ => None,
        })?;
        self.planted += 1;
        Some(found)
    }

    pub(crate) fn is_planted(&mut self, name: &str) -> bool {
        let named = |plant: &Plant| matches!(plant.kind, PlantKind::Named(n) if n == name);
        let found = self.plants.iter().any(named);
        self.planted += u32::from(found);
        found
    }
}
