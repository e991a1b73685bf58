//! Where processor time goes: each thread of the process is interrupted after every ten milliseconds that it has used, and what it was doing is noted.
//!
//! | file | what |
//! | --- | --- |
//! | `timers` | a timer for each thread, on its processor time |
//! | `sample` | what the handler of the signal writes down |
//! | `ring` | where it is left, and how it is taken |
//! | `collect` | the thread that walks the calls, and counts |
//!
//! The signal is `SIGPROF`. It does not meet the one that stops threads for the collector: the handlers of both run with all signals blocked, one after the other,
//! and neither waits for what the other holds. A program that has a handler of its own for it keeps it, and is told so.

mod collect;
mod ring;
mod sample;
mod timers;

use super::Profile;
use crate::atomic::{AtomicU32, Ordering::*};
use crate::runtime::as_service_thread;
use crate::world::futex;
use crate::world::threads::keeping_errno;
use ring::Ring;
use sample::{LABELS, Labels, Sample};
use std::collections::HashSet;
use std::ffi::{c_int, c_void};
use std::io;
use std::mem::zeroed;
use std::ptr::{null, null_mut};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

static SAMPLES: Ring<Sample> = Ring::new();

/// There is one CPU profile at a time.
static TAKEN: AtomicBool = AtomicBool::new(false);

struct Taken;

impl Taken {
    fn take() -> io::Result<Taken> {
        if TAKEN.swap(true, Acquire) {
            let why = "a CPU profile is being taken already";
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, why));
        }
        Ok(Taken)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        TAKEN.store(false, Release);
    }
}

/// A CPU profile that is being taken. Dropped, it is given up.
///
/// Processor time of all threads is counted, in steps of ten milliseconds: that of goroutines, of plain threads, of the collector; not the time that somebody waits
/// or sleeps. Samples have a label `created`, the place where their goroutine was started, and those of [`with_labels`].
///
/// ```no_run
/// let profiler = goruntime::profile::CpuProfiler::start()?;
/// // ...
/// profiler.stop().write_pprof(&mut std::fs::File::create("cpu.pb.gz")?)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct CpuProfiler {
    stop: Arc<AtomicU32>,
    thread: Option<JoinHandle<Option<Profile>>>,
}

impl CpuProfiler {
    /// Begins.
    ///
    /// # Errors
    /// `ResourceBusy` if a CPU profile is being taken, or the program has its own handler for `SIGPROF`; the system's if there is no thread, no memory or no timer
    /// to be had.
    pub fn start() -> io::Result<CpuProfiler> {
        let taken = Taken::take()?;
        install()?;
        let stop = Arc::new(AtomicU32::new(0));
        let asked = stop.clone();
        let (started, has_started) = mpsc::sync_channel(1);
        let serve = move || {
            let _taken = taken;
            as_service_thread(|| {
                collect::run(&asked, |result| {
                    let _ = started.send(result);
                })
            })
        };
        let thread = std::thread::Builder::new().name("profiler".to_owned());
        let thread = thread.spawn(serve)?;
        let gone = || Err(io::Error::other("the profiler's thread has ended"));
        gosched::blocking(|| has_started.recv()).unwrap_or_else(|_| gone())?;
        Ok(CpuProfiler {
            stop,
            thread: Some(thread),
        })
    }

    /// Ends it.
    pub fn stop(mut self) -> Profile {
        let profile = self.end();
        profile.expect("a profiler that has started has a profile")
    }

    fn end(&mut self) -> Option<Profile> {
        self.stop.store(1, Release);
        futex::wake(self.stop.as_ref(), 1);
        let thread = self.thread.take()?;
        match gosched::blocking(|| thread.join()) {
            Ok(profile) => profile,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

impl Drop for CpuProfiler {
    fn drop(&mut self) {
        if self.thread.is_some() && !std::thread::panicking() {
            self.end();
        }
    }
}

/// Installs the handler, for good: a signal may be on its way when a profile has ended, and would end the process without one.
fn install() -> io::Result<()> {
    // SAFETY: an all-zero sigaction is valid; the handler is async-signal-safe.
    unsafe {
        let mut now: libc::sigaction = zeroed();
        if libc::sigaction(timers::SIGNAL, null(), &mut now) != 0 {
            return Err(io::Error::last_os_error());
        }
        let ours = on_signal as *const () as usize;
        if now.sa_sigaction == ours {
            return Ok(());
        }
        if now.sa_sigaction != libc::SIG_DFL && now.sa_sigaction != libc::SIG_IGN {
            let why = "the program handles SIGPROF itself, with which threads are sampled";
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, why));
        }
        let mut action: libc::sigaction = zeroed();
        action.sa_sigaction = ours;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
        libc::sigfillset(&mut action.sa_mask);
        match libc::sigaction(timers::SIGNAL, &action, null_mut()) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

unsafe extern "C" fn on_signal(_: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    keeping_errno(|| {
        // SAFETY: what the kernel passed.
        let weight = unsafe { timers::periods(info) };
        // SAFETY: likewise, and a slot is handed out to be written.
        SAMPLES.put(weight, |at| unsafe {
            sample::take(at, weight, context.cast());
        });
    });
}

/// Runs `f` with its samples in CPU profiles labelled, as Go's `pprof.Do` does: `go tool pprof -tagfocus` and `-tagroot` go by that. Labels of an outer call stay, but for
/// those of the same key. They are the goroutine's own; one that `f` starts has none.
///
/// Costs a look-up in a table, in which each different set of labels stays for good: take few values, as the names of routes.
///
/// ```
/// let sum = goruntime::profile::with_labels(&[("route", "/sum")], || (0..100).sum::<u64>());
/// assert_eq!(sum, 4950);
/// ```
pub fn with_labels<R>(labels: &[(&str, &str)], f: impl FnOnce() -> R) -> R {
    struct Restore(*const Labels);
    impl Drop for Restore {
        fn drop(&mut self) {
            LABELS.set(self.0);
        }
    }
    let outer = LABELS.get();
    // SAFETY: null, or labels, which are never freed.
    let kept = unsafe { outer.as_ref() }.map_or(&[][..], |labels| &labels.0);
    let own = labels.iter().map(|&(k, v)| (k.to_owned(), v.to_owned()));
    let is_kept = |(key, _): &&(String, String)| labels.iter().all(|(own, _)| own != key);
    let mut all: Vec<_> = kept.iter().filter(is_kept).cloned().chain(own).collect();
    all.sort();
    LABELS.set(interned(Labels(all)));
    let _restore = Restore(outer);
    f()
}

/// The one set of these labels.
fn interned(labels: Labels) -> &'static Labels {
    static KNOWN: Mutex<Option<HashSet<&'static Labels>>> = Mutex::new(None);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = known.get_or_insert_default();
    if let Some(same) = known.get(&labels) {
        return same;
    }
    let labels: &'static Labels = Box::leak(Box::new(labels));
    known.insert(labels);
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    fn current() -> Vec<(String, String)> {
        // SAFETY: null, or labels, which are never freed.
        unsafe { LABELS.get().as_ref() }.map_or(Vec::new(), |labels| labels.0.clone())
    }

    fn pairs(labels: &[(&str, &str)]) -> Vec<(String, String)> {
        let own = |&(k, v): &(&str, &str)| (k.to_owned(), v.to_owned());
        labels.iter().map(own).collect()
    }

    #[test]
    fn labels_nest_and_the_same_ones_are_kept_once() {
        with_labels(&[("a", "1"), ("b", "2")], || {
            let outer = LABELS.get();
            with_labels(&[("b", "3"), ("c", "4")], || {
                assert_eq!(current(), pairs(&[("a", "1"), ("b", "3"), ("c", "4")]));
            });
            assert_eq!(current(), pairs(&[("a", "1"), ("b", "2")]));
            with_labels(&[("b", "2"), ("a", "1")], || {
                assert_eq!(LABELS.get(), outer)
            });
        });
        assert_eq!(current(), []);
    }
}
