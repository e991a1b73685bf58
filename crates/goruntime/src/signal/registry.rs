//! Who asked for which signals, and the goroutine that tells them.
//!
//! Everything is under one lock: who asks, what is ignored, the system's actions that follow from both, and whether the goroutine runs. It is started by the first who asks, and ends
//! when it finds under the lock that nobody asks any more; so at any time at most one runs, and there is one whenever somebody asks.
//!
//! Whatever was noted is delivered before anything of this changes, so it goes to those who asked when it arrived, and never to one who came later.

use super::Signal;
use super::actions::{self, Action, LAST};
use super::handler;
use crate::chan::{self, Receiver, Sender};
use crate::runtime::scheduler;
use crate::watched::Watched;
use gosched::SpawnOptions;
use std::io;
use std::os::fd::BorrowedFd;
use std::panic::Location;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Signals that a channel holds.
const ROOM: usize = 16;

/// A set of signals: bit n - 1 for signal n.
type Set = u64;

struct Registry {
    listeners: Vec<Listener>,
    ignored: Set,
    /// The goroutine runs, or is about to.
    is_telling: bool,
    next_id: u64,
}

struct Listener {
    id: u64,
    wants: Set,
    sender: Sender<Signal>,
}

static REGISTRY: Mutex<Registry> = Mutex::new(Registry {
    listeners: Vec::new(),
    ignored: 0,
    is_telling: false,
    next_id: 0,
});

fn registry() -> MutexGuard<'static, Registry> {
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

fn bit(signal: Signal) -> Set {
    1 << (signal.0 - 1)
}

fn signals(set: Set) -> impl Iterator<Item = Signal> {
    (1..=LAST)
        .map(Signal)
        .filter(move |signal| set & bit(*signal) != 0)
}

/// The set of those signals.
///
/// # Errors
/// When one cannot be had.
fn collect(asked: impl IntoIterator<Item = Signal>) -> io::Result<Set> {
    let mut set = 0;
    for signal in asked {
        let why = match signal.0 {
            libc::SIGKILL | libc::SIGSTOP => "the system lets nobody change what it does",
            libc::SIGSEGV | libc::SIGBUS | libc::SIGFPE | libc::SIGILL => {
                "it tells a thread of its own mistake, which cannot go on"
            }
            libc::SIGURG => "the collector stops threads by it",
            _ => {
                set |= bit(signal);
                continue;
            }
        };
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{signal} cannot be had: {why}"),
        ));
    }
    Ok(set)
}

/// Adds somebody who asks for signals.
pub(super) fn add(asked: impl IntoIterator<Item = Signal>) -> io::Result<(Receiver<Signal>, u64)> {
    let wants = collect(asked)?;
    let (sender, receiver) = chan::bounded(ROOM);
    let mut registry = registry();
    registry.deliver(handler::take());
    registry.start()?;
    let id = registry.next_id;
    registry.next_id += 1;
    registry.ignored &= !wants;
    registry.listeners.push(Listener { id, wants, sender });
    if let Err(error) = registry.apply(wants) {
        registry.remove(id);
        return Err(error);
    }
    Ok((receiver, id))
}

/// Removes him.
pub(super) fn forget(id: u64) {
    registry().remove(id);
}

/// Has signals ignored, or do what they did at first; whoever asked for them does so no longer.
pub(super) fn change(asked: impl IntoIterator<Item = Signal>, ignore: bool) -> io::Result<()> {
    let set = collect(asked)?;
    let mut registry = registry();
    registry.deliver(handler::take());
    for listener in &mut registry.listeners {
        listener.wants &= !set;
    }
    if ignore {
        registry.ignored |= set;
    } else {
        registry.ignored &= !set;
    }
    registry.apply(set)
}

impl Registry {
    fn action(&self, signal: Signal) -> Action {
        let set = bit(signal);
        if self.listeners.iter().any(|l| l.wants & set != 0) {
            Action::Note
        } else if self.ignored & set != 0 {
            Action::Ignore
        } else {
            Action::First
        }
    }

    /// Has the system do with these signals what is to be done with them.
    fn apply(&self, set: Set) -> io::Result<()> {
        signals(set).try_for_each(|signal| actions::set(signal, self.action(signal)))
    }

    fn remove(&mut self, id: u64) {
        let Some(at) = self.listeners.iter().position(|l| l.id == id) else {
            return;
        };
        self.deliver(handler::take());
        let gone = self.listeners.swap_remove(at);
        // What could be set can be set back.
        let _ = self.apply(gone.wants);
        if self.listeners.is_empty() {
            handler::ring();
        }
    }

    /// Starts the goroutine if it does not run.
    fn start(&mut self) -> io::Result<()> {
        if self.is_telling {
            return Ok(());
        }
        // The process's scheduler, also for who asks from a simulation: signals are the process's.
        let scheduler = scheduler();
        let bell = Watched::offer_to(scheduler, handler::bell()?).map_err(|(_, error)| error)?;
        let options = SpawnOptions {
            name: Some("signals".into()),
            ..SpawnOptions::default()
        };
        scheduler
            .spawn_at(options, Location::caller(), move || tell(bell))
            .map_err(io::Error::other)?;
        self.is_telling = true;
        Ok(())
    }

    /// Tells those who asked for these signals.
    fn deliver(&self, noted: Set) {
        for signal in signals(noted) {
            let asks = |l: &&Listener| l.wants & bit(signal) != 0;
            for listener in self.listeners.iter().filter(asks) {
                // One that is full has enough to do.
                let _ = listener.sender.try_send(signal);
            }
        }
    }
}

/// The goroutine.
fn tell(bell: Watched<BorrowedFd<'static>>) {
    loop {
        let mut count = [0; 8];
        // What else can fail is not known to: then look, and wait again.
        let _ = bell.read(|fd| Ok(rustix::io::read(fd, &mut count)?));
        let mut registry = registry();
        registry.deliver(handler::take());
        if registry.listeners.is_empty() {
            // Before another goroutine watches it.
            drop(bell);
            registry.is_telling = false;
            return;
        }
    }
}
