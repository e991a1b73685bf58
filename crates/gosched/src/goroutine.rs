//! What the outside may know of a goroutine: plain data, and Go's way of printing it.

use std::fmt;
use std::ops::Range;
use std::panic::Location;
use std::ptr;
use std::sync::Arc;

use crate::time::Nanos;

/// A goroutine's number. Never reused within a scheduler; the first is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoroutineId(pub u64);

impl fmt::Display for GoroutineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! wait_reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Why a goroutine waits. Printed in Go's words.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum WaitReason { $($(#[$doc])* $name,)* }

        impl WaitReason {
            /// Every reason, by its number (`reason as u8`).
            pub const ALL: &'static [WaitReason] = &[$(WaitReason::$name,)*];

            /// As Go's goroutine dumps print it.
            pub fn as_str(self) -> &'static str {
                match self { $(WaitReason::$name => $text,)* }
            }
        }
    };
}

wait_reasons! {
    /// No reason given.
    None = "",
    /// A descriptor is not ready.
    IoWait = "IO wait",
    /// A receive finds the channel empty.
    ChanReceive = "chan receive",
    /// A send finds the channel full.
    ChanSend = "chan send",
    /// No case of a `select` can proceed.
    Select = "select",
    /// A `select` without cases, which waits for ever.
    SelectNoCases = "select (no cases)",
    /// A semaphore has too few permits; also a join.
    Semacquire = "semacquire",
    /// `sleep`.
    Sleep = "sleep",
    /// A condition variable.
    CondWait = "sync.Cond.Wait",
    /// A mutex is held.
    MutexLock = "sync.Mutex.Lock",
    /// A reader waits for a writer.
    RwLockRead = "sync.RWMutex.RLock",
    /// A writer waits for others.
    RwLockWrite = "sync.RWMutex.Lock",
    /// A wait group is not done.
    WaitGroupWait = "sync.WaitGroup.Wait",
    /// The collector's assist has no credit.
    GcAssistWait = "GC assist wait",
    /// A forced collection is under way.
    GcCycle = "wait for GC cycle",
    /// A collector's worker has no work.
    GcWorkerIdle = "GC worker (idle)",
    /// The finalizer goroutine has no work.
    FinalizerWait = "finalizer wait",
    /// The goroutine that runs alarms has none that is due.
    TimerIdle = "timer goroutine (idle)",
    /// In a simulation: the others are not at rest.
    Synctest = "synctest.Wait",
}

impl fmt::Display for WaitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a goroutine is doing, as far as an observer can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoroutineState {
    /// In a run queue.
    Runnable,
    /// On an M.
    Running,
    /// Inside `syscall` or `blocking`.
    Syscall,
    /// Parked, or about to be.
    Waiting(WaitReason),
}

impl fmt::Display for GoroutineState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            GoroutineState::Runnable => "runnable",
            GoroutineState::Running => "running",
            GoroutineState::Syscall => "syscall",
            GoroutineState::Waiting(WaitReason::None) => "waiting",
            GoroutineState::Waiting(reason) => reason.as_str(),
        })
    }
}

/// One goroutine as an observer sees it.
#[derive(Clone, Debug)]
pub struct GoroutineInfo {
    /// Its number.
    pub id: GoroutineId,
    /// What it does.
    pub state: GoroutineState,
    /// Its name, if it was given one.
    pub name: Option<Arc<str>>,
    /// Where it was started.
    pub site: Option<&'static Location<'static>>,
    /// How long it has waited, to a few milliseconds; zero if it does not wait.
    pub waiting_for: Nanos,
    /// The M that runs it, or did last.
    pub m: Option<u32>,
    /// Whether it is locked to that M's thread.
    pub locked: bool,
    /// Processor time that it has used, up to its last switch and since accounting was switched on
    /// ([`Scheduler::set_cpu_accounting`](crate::Scheduler::set_cpu_accounting)); zero without.
    pub cpu: Nanos,
    /// The goroutine that holds the [`Mutex`](crate::sync::Mutex) which this one waits for, or writes, or waits to, in the [`RwLock`](crate::sync::RwLock). Known
    /// only where goroutines were looked at while the world was stopped.
    pub held_by: Option<GoroutineId>,
}

/// Registers of code that does not run, from which a walk of its calls begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResumePoint {
    /// The instruction that comes next.
    pub instruction: usize,
    /// The stack pointer there.
    pub stack: usize,
    /// The frame pointer there (`rbp`), whatever the code uses it for.
    pub frame: usize,
}

/// What a parked goroutine waits on, while the world is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitsOn {
    pub(crate) reason: WaitReason,
    pub(crate) on: Hidden,
}

impl WaitsOn {
    /// Whether it goes on only if somebody does something with what it waits on; otherwise a timer, a descriptor or the runtime sees to it.
    pub fn is_up_to_others(&self) -> bool {
        self.on != Hidden::NOTHING
    }
}

/// An address in a form in which it is none: to a collector that looks through what the scheduler knows of a goroutine, it is no way to what lies there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hidden(pub(crate) usize);

impl Hidden {
    pub(crate) const NOTHING: Hidden = Hidden(0);

    /// Of null: [`NOTHING`](Self::NOTHING).
    #[inline]
    pub(crate) fn new<T>(at: *const T) -> Hidden {
        if at.is_null() {
            Hidden::NOTHING
        } else {
            Hidden(!at.expose_provenance())
        }
    }

    pub(crate) fn get<T>(self) -> Option<*const T> {
        (self != Hidden::NOTHING).then(|| ptr::with_exposed_provenance(!self.0))
    }
}

/// A goroutine's stack, while the world is stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackInfo {
    /// All of it, thread-local block included; `None` if the engine does not know.
    pub range: Option<Range<usize>>,
    /// Where the live part begins; `None` if a thread runs the goroutine, or the engine does not know.
    pub saved_sp: Option<usize>,
    /// Where the goroutine goes on; `None` as above.
    pub resume: Option<ResumePoint>,
    /// What it waits on; `None` if it is not parked.
    pub waits_on: Option<WaitsOn>,
}

impl GoroutineInfo {
    /// Writes the goroutine as Go's dumps do: a header, what `calls` writes, and the place of creation.
    ///
    /// # Errors
    /// Those of `f`.
    pub fn write<W: fmt::Write>(
        &self,
        f: &mut W,
        calls: impl FnOnce(&mut W) -> fmt::Result,
    ) -> fmt::Result {
        write!(f, "goroutine {} [{}", self.id, self.state)?;
        let minutes = self.waiting_for.0 / 60_000_000_000;
        if minutes >= 1 {
            write!(f, ", {minutes} minutes")?;
        }
        if let Some(holder) = self.held_by {
            write!(f, ", held by goroutine {holder}")?;
        }
        f.write_str("]")?;
        if let Some(name) = &self.name {
            write!(f, " {{name: {name}}}")?;
        }
        f.write_str(":\n")?;
        calls(f)?;
        if let Some(site) = self.site {
            writeln!(f, "created by gosched\n\t{}:{}", site.file(), site.line())?;
        }
        Ok(())
    }
}

impl fmt::Display for GoroutineInfo {
    /// Without calls.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, |_| Ok(()))
    }
}

/// Every goroutine waits for another.
#[derive(Clone, Debug)]
pub struct Deadlock {
    /// All of them.
    pub goroutines: Vec<GoroutineInfo>,
}

impl fmt::Display for Deadlock {
    /// Go's message and dump.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("fatal error: all goroutines are asleep - deadlock!\n")?;
        for goroutine in &self.goroutines {
            write!(f, "\n{goroutine}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_go_does() {
        let mut info = GoroutineInfo {
            id: GoroutineId(7),
            state: GoroutineState::Waiting(WaitReason::ChanReceive),
            name: None,
            site: None,
            waiting_for: Nanos::from_millis(125_000),
            m: None,
            locked: false,
            cpu: Nanos::ZERO,
            held_by: None,
        };
        assert_eq!(info.to_string(), "goroutine 7 [chan receive, 2 minutes]:\n");
        info.waiting_for = Nanos::ZERO;
        info.state = GoroutineState::Running;
        info.name = Some("reader".into());
        assert_eq!(info.to_string(), "goroutine 7 [running] {name: reader}:\n");
        info.name = None;
        info.state = GoroutineState::Waiting(WaitReason::MutexLock);
        info.held_by = Some(GoroutineId(3));
        assert_eq!(
            info.to_string(),
            "goroutine 7 [sync.Mutex.Lock, held by goroutine 3]:\n"
        );
    }
}
