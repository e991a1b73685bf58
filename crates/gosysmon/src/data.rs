//! What goes into a tick and what comes out of it. Plain data, reused from tick to tick so that nothing is
//! allocated.

use crate::pressure::Memory;
use crate::units::Nanos;

/// The number of a P, counting from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PIndex(pub usize);

/// What a P is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PState {
    /// Nobody holds it.
    #[default]
    Idle,
    /// It is held by a thread that runs a goroutine (or looks for one).
    Running,
    /// It is held by a thread that is in a system call and would rather not lose it if the call is short.
    Syscall,
}

/// One P at the moment of the observation. A racy reading will do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PObservation {
    /// What it is doing.
    pub state: PState,
    /// Changes whenever the P begins to run a goroutine or passes to another holder. Wrapping.
    pub tick: u32,
    /// Changes whenever a system call begins or ends on the P. Wrapping.
    pub syscall_tick: u32,
    /// Whether goroutines wait in its own queue.
    pub has_work: bool,
}

/// The scheduler at one moment.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// When it was made. Never earlier than in the observation before.
    pub now: Nanos,
    /// The world is stopped, or somebody is about to stop it.
    pub stopping: bool,
    /// Threads that look for work.
    pub spinning: u32,
    /// When the network was last polled; `None` if nobody waits for it, or if somebody is blocked in the
    /// poll.
    pub last_poll: Option<Nanos>,
    /// When the last collection ended; at first, when the program began.
    pub last_gc: Nanos,
    /// A collection may be asked for: collection is not switched off, and none is running.
    pub gc_possible: bool,
    /// When the next timer is due, if there is one.
    pub next_timer: Option<Nanos>,
    /// Memory could be given back to the system, and whoever does that sleeps.
    pub scavenge: bool,
    /// What the process and its group may use of memory, and use; `None` where that cannot be found out. A reading some 100 ms old will do.
    pub memory: Option<Memory>,
    ps: Vec<PObservation>,
}

impl Observation {
    /// An observation with room for `capacity` Ps.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Observation {
        Observation {
            ps: Vec::with_capacity(capacity),
            ..Observation::default()
        }
    }

    /// The Ps, in the order of their numbers.
    #[must_use]
    pub fn ps(&self) -> &[PObservation] {
        &self.ps
    }

    /// Replaces the Ps.
    ///
    /// # Panics
    /// If there are more than the capacity: the monitor does not allocate.
    pub fn set_ps(&mut self, ps: impl IntoIterator<Item = PObservation>) {
        self.ps.clear();
        for p in ps {
            assert!(
                self.ps.len() < self.ps.capacity(),
                "more Ps than the monitor was made for ({}): give `Driver::start` the largest number there may be",
                self.ps.capacity()
            );
            self.ps.push(p);
        }
    }

    /// Whether nobody holds a P.
    #[must_use]
    pub fn all_idle(&self) -> bool {
        self.ps.iter().all(|p| p.state == PState::Idle)
    }
}

/// Why a P is to be taken from its holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetakeReason {
    /// It has been in one system call for too long.
    Syscall,
    /// It has run one goroutine for too long.
    Slice,
}

/// A P to be taken from its holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retake {
    /// Which.
    pub p: PIndex,
    /// Its tick when it was observed: if it has changed, the P is not to be taken any more.
    pub tick: u32,
    /// Why.
    pub reason: RetakeReason,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actions {
    /// Poll the network without blocking and make ready whom it concerns.
    pub poll_network: bool,
    /// Wake whoever gives memory back.
    pub wake_scavenger: bool,
    /// Ps to be taken from their holders and handed to others. An attempt may fail; it will be asked for
    /// again.
    pub retake: Vec<Retake>,
    /// Start a collection, without waiting for it.
    pub force_gc: bool,
    /// Give back all memory that is free, and start a collection to free more, without waiting for it: memory runs short.
    pub relieve_memory: bool,
    /// Print the scheduler's state.
    pub trace: bool,
    /// Look at what the workers are at, for [`Monitor::look`](crate::Monitor::look).
    pub look_at_tasks: bool,
    /// Look for those that have waited for a lock for too long.
    pub look_at_locks: bool,
}

impl Actions {
    /// No actions, with room for `capacity` Ps.
    pub(crate) fn with_capacity(capacity: usize) -> Actions {
        Actions {
            retake: Vec::with_capacity(capacity),
            ..Actions::default()
        }
    }

    /// Takes all actions back, keeping the room.
    pub(crate) fn clear(&mut self) {
        self.retake.clear();
        *self = Actions {
            retake: std::mem::take(&mut self.retake),
            ..Actions::default()
        };
    }
}

/// How long to sleep until the next tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sleep {
    /// So long; there is something to watch.
    For(Nanos),
    /// Until woken because a P is held again, but no longer than this: there is nothing to watch.
    Deep(Nanos),
}
