//! Goroutines that nobody can wake any more (Go's `goroutineleak` profile).
//!
//! A goroutine that waits for a channel, a lock, a condition or another goroutine goes on when somebody who can reach that does something. If nobody can, it waits for ever: it has *leaked*,
//! with all that it holds. Who can reach what is found as the collector does it, but that goroutines which wait are no roots at first; each becomes one when what it waits
//! for turns out to be reachable, and the rest, when that has come to an end, can be reached by each other only. (The algorithm is that of Saioc, Lee, Møller and Chabbi, *Dynamic partial deadlock
//! detection and recovery via garbage collection*, ASPLOS 2025, which Go took up.)
//!
//! Memory is searched conservatively, so a leak may be missed because of a word that looks like the address of what is waited for. The other way round there is no error but one:
//! what is known only to memory that the collector does not see, of a C library for instance, is taken for known to nobody.
//!
//! Invariant: a goroutine is reported only if it was found twice. Between the moment at which a waiter is taken from its queue and the one at which it is made runnable nothing in
//! the program may lead to what it waits for; a leaked one is found again at any time.

use super::{GoroutineStack, all, on_thread_of_its_own};
use crate::compose::graph;
use std::collections::HashSet;
use std::io;

/// The number of the main goroutine.
const MAIN: u64 = 1;

/// Every goroutine that waits for what nobody can bring about any more, with its calls; but for those of simulations, and for a main goroutine that waits in a `select!` without cases.
///
/// Those that sleep, that wait for a socket, or whose wait has a deadline are never among them. A receiver on a channel whose senders are all dropped gets an error instead, so the usual leaks are
/// these: both ends of a channel are held by the one who waits; a lock that was never given back; a condition that nobody signals; a wait group, or a goroutine joined, that is not
/// done for one of these reasons.
///
/// The world is stopped twice, each time while all that is reachable is walked, as for [`gc::heap_dump`](crate::gc::heap_dump).
///
/// # Errors
/// If the world cannot be stopped, or there is no thread or no memory to be had for it; if the program does not have goruntime's allocator; where goroutines are threads (`thread-engine`).
///
#[cfg_attr(not(feature = "thread-engine"), doc = "```")]
#[cfg_attr(feature = "thread-engine", doc = "```no_run")]
/// # #[global_allocator] static A: goruntime::GoMalloc = goruntime::GoMalloc::new();
/// use goruntime::{chan, go, goroutines};
///
/// go(|| {
///     let (_sender, receiver) = chan::unbuffered::<()>();
///     receiver.recv() // for ever: this goroutine has the sender
/// });
/// # for _ in 0..1000 { goruntime::yield_now(); }
/// for goroutine in goroutines::leaked()? {
///     println!("{goroutine}");
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn leaked() -> io::Result<Vec<GoroutineStack>> {
    if cfg!(feature = "thread-engine") {
        let why = "goroutines that are threads do not say what they wait on";
        return Err(io::Error::new(io::ErrorKind::Unsupported, why));
    }
    let ids = on_thread_of_its_own(|| {
        let first = graph::unwakeable()?;
        if first.is_empty() {
            return Ok(HashSet::new());
        }
        let again: HashSet<u64> = graph::unwakeable()?.into_iter().collect();
        Ok(first.into_iter().filter(|id| again.contains(id)).collect())
    })?;
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut leaked = all()?;
    leaked.retain(|goroutine| {
        let waits_in_main = goroutine.id() == MAIN && goroutine.state() == "select (no cases)";
        ids.contains(&goroutine.id()) && !waits_in_main
    });
    leaked.sort_by_key(GoroutineStack::id);
    Ok(leaked)
}
