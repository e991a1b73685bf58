//! A timer for each thread, on the processor time that it uses.
//!
//! The process has a timer for that too (`setitimer`), but its signals go to one thread whoever used the time, and with many cores it ticks too seldom. A
//! thread's own clock can be had by any other thread of the process (its number in the kernel is made from the thread's), so threads need not help: those
//! of C libraries are seen as well. A thread is found when the list of threads is next read; one that lives for less than that may not be seen.
//!
//! Each timer takes one of the signals that the user may have queued (`ulimit -i`). Where there are none to be had, for some threads or for all, the
//! process's timer serves for all.

use crate::world::threads::{self, Tid};
use std::collections::HashMap;
use std::io;
use std::ptr::null_mut;
use std::time::{Duration, Instant};

/// The signal that samples a thread.
pub(super) const SIGNAL: i32 = libc::SIGPROF;

/// The kernel's number of a timer.
#[derive(Clone, Copy, Debug)]
struct TimerId(i32);

impl TimerId {
    /// A timer on the processor time of a thread of this process, which signals that thread.
    fn on(tid: Tid, period: Duration, first: Duration) -> io::Result<TimerId> {
        // What the kernel calls MAKE_THREAD_CPUCLOCK with CPUCLOCK_SCHED.
        const PER_THREAD_SCHED: i32 = 4 | 2;
        let clock = (!tid.0) << 3 | PER_THREAD_SCHED;
        // SAFETY: plain data, for which zero is valid.
        let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = SIGNAL;
        event.sigev_notify_thread_id = tid.0;
        let mut timer = TimerId(0);
        let spec = libc::itimerspec {
            it_interval: timespec(period),
            it_value: timespec(first),
        };
        // SAFETY: the kernel reads the event and the times, and writes the number.
        unsafe {
            succeeded(libc::syscall(
                libc::SYS_timer_create,
                clock,
                &event,
                &mut timer.0,
            ))?;
            let null = null_mut::<libc::itimerspec>();
            let set = libc::syscall(libc::SYS_timer_settime, timer.0, 0, &spec, null);
            succeeded(set).inspect_err(|_| timer.delete())?;
        }
        Ok(timer)
    }

    fn delete(self) {
        // SAFETY: a timer of ours; if its thread is gone it still is.
        unsafe { libc::syscall(libc::SYS_timer_delete, self.0) };
    }
}

fn succeeded(result: i64) -> io::Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn timespec(time: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: time.as_secs() as i64,
        tv_nsec: time.subsec_nanos().into(),
    }
}

/// The timers of all threads, or that of the process. Dropped, they are no more; signals that they have sent may still come.
pub(super) struct Timers {
    period: Duration,
    of_threads: HashMap<Tid, TimerId>,
    of_process: bool,
    /// Not timed: the one that takes the samples.
    except: Tid,
    /// When the threads are to be listed again.
    due: Instant,
    /// Makes first periods differ, so that threads which work in step are not sampled in step.
    random: u64,
}

impl Timers {
    /// None yet.
    pub(super) fn new(period: Duration) -> Timers {
        let now = Instant::now();
        Timers {
            period,
            of_threads: HashMap::new(),
            of_process: false,
            except: Tid::current(),
            due: now,
            random: gosched::Nanos::now().0 | 1,
        }
    }

    /// Makes timers for threads that are new, and forgets those of threads that are gone, if that has not been done of late.
    ///
    /// # Errors
    /// If there is no timer to be had.
    pub(super) fn update(&mut self) -> io::Result<()> {
        /// To list threads may take that part of the time.
        const SHARE: u32 = 50;
        const LEAST: Duration = Duration::from_millis(20);
        let begin = Instant::now();
        if self.of_process || begin < self.due {
            return Ok(());
        }
        let mut gone = std::mem::take(&mut self.of_threads);
        let mut refused = None;
        let listed = threads::for_each(|tid| {
            if tid == self.except {
                return;
            }
            if let Some(timer) = gone.remove(&tid) {
                self.of_threads.insert(tid, timer);
                return;
            }
            match TimerId::on(tid, self.period, self.first()) {
                Ok(timer) => drop(self.of_threads.insert(tid, timer)),
                // It has ended meanwhile.
                Err(why) if matches!(why.raw_os_error(), Some(libc::EINVAL | libc::ESRCH)) => {}
                Err(why) => refused = Some(why),
            }
        });
        gone.into_values().for_each(TimerId::delete);
        let end = Instant::now();
        self.due = end + LEAST.max((end - begin) * SHARE);
        listed.map_err(io::Error::from_raw_os_error)?;
        match refused {
            None => Ok(()),
            Some(why) => self.fall_back().map_err(|_| why),
        }
    }

    /// A time until the first sample: up to a period, and not none.
    fn first(&mut self) -> Duration {
        // Knuth's generator; any will do.
        const FACTOR: u64 = 6_364_136_223_846_793_005;
        self.random = self.random.wrapping_mul(FACTOR).wrapping_add(1);
        let nanos = self.period.as_nanos() as u64;
        Duration::from_nanos(1 + (self.random >> 32) % nanos)
    }

    /// The process's timer for all.
    fn fall_back(&mut self) -> io::Result<()> {
        self.delete();
        set_process_timer(self.period)?;
        self.of_process = true;
        Ok(())
    }

    /// Whether threads share a timer, so that who is sampled is up to the kernel.
    pub(super) fn are_shared(&self) -> bool {
        self.of_process
    }

    fn delete(&mut self) {
        self.of_threads
            .drain()
            .for_each(|(_, timer)| timer.delete());
        if std::mem::take(&mut self.of_process) {
            // It could be set, so it can be cleared.
            let _ = set_process_timer(Duration::ZERO);
        }
    }
}

impl Drop for Timers {
    fn drop(&mut self) {
        self.delete();
    }
}

/// Zero clears it.
fn set_process_timer(period: Duration) -> io::Result<()> {
    let time = libc::timeval {
        tv_sec: period.as_secs() as i64,
        tv_usec: period.subsec_micros().into(),
    };
    let timer = libc::itimerval {
        it_interval: time,
        it_value: time,
    };
    // SAFETY: the kernel reads the times.
    match unsafe { libc::setitimer(libc::ITIMER_PROF, &timer, null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// How many periods a signal stands for: those that passed before it was delivered, too.
///
/// # Safety
/// 1. `info` is what the kernel passed to a handler.
pub(super) unsafe fn periods(info: *const libc::siginfo_t) -> u64 {
    /// What the kernel tells of a timer: three words, then the timer's number and its overruns.
    #[repr(C)]
    struct OfTimer {
        signal: i32,
        errno: i32,
        code: i32,
        padding: i32,
        timer: i32,
        overruns: i32,
    }
    // SAFETY: (1); the kernel's structure is larger than this.
    let info = unsafe { &*info.cast::<OfTimer>() };
    if info.code == libc::SI_TIMER {
        1 + u64::try_from(info.overruns).unwrap_or(0)
    } else {
        1
    }
}
