//! Starting goroutines.

use crate::atomic::{AtomicUsize, Ordering};
use std::fmt;
use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::ptr;
use std::sync::Arc;

use crate::critical::{self, Section};
use crate::env::{Engine, EngineError, Env, Event, StackSpec};
use crate::gmp::body::Completion;
use crate::gmp::g::{RUNNABLE, current_in};
use crate::gmp::p::{ID_BATCH, P};
use crate::join::{JoinHandle, Packet, Panic};
use crate::sched::Scheduler;
use crate::sched::goroutine::Goroutine;
use crate::sched::locked::lock_os_thread;
use crate::sched::machine::Machine;
use crate::sched::simulate::UnseenPanic;
use crate::simulated;

/// What a goroutine may be started with.
#[derive(Clone, Debug, Default)]
pub struct SpawnOptions {
    /// Shown in dumps and panic messages of the embedder.
    pub name: Option<Arc<str>>,
    /// A stack other than the scheduler's default one. Contexts of such stacks are not kept for
    /// reuse.
    pub stack: Option<StackSpec>,
    /// Whether it is locked to the thread that it first runs on, which ends with it
    /// (see [`lock_os_thread`]).
    pub locked: bool,
}

/// A goroutine could not be started. Its closure has been dropped.
#[derive(Debug)]
pub enum SpawnError {
    /// The engine could not make a context.
    Context(EngineError),
    /// There is no M, and the system refused the thread for the first one.
    Thread(io::Error),
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpawnError::Context(e) => write!(f, "cannot start a goroutine: {e}"),
            SpawnError::Thread(e) => write!(
                f,
                "cannot start a goroutine: the system refused a thread to run it on ({e}); raise the limit on \
                 processes (ulimit -u, or pids.max of the cgroup)"
            ),
        }
    }
}

impl std::error::Error for SpawnError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(match self {
            SpawnError::Context(e) => e,
            SpawnError::Thread(e) => e,
        })
    }
}

/// Why `run_main` has no result.
#[derive(Debug)]
pub enum RunError {
    /// The main goroutine could not be started.
    Spawn(SpawnError),
    /// It panicked.
    Panic(Panic),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Spawn(e) => e.fmt(f),
            RunError::Panic(p) => p.fmt(f),
        }
    }
}

impl std::error::Error for RunError {}

impl<V: Env> Scheduler<V> {
    /// Runs `f` as the main goroutine and waits for its end; other goroutines are then simply no
    /// longer waited for.
    ///
    /// The calling thread sleeps meanwhile. It does not become an M: the goroutine that such an M
    /// happened to run when `f` is done could keep the caller from ever returning.
    ///
    /// # Errors
    /// When the goroutine could not be started, or panicked.
    #[track_caller]
    pub fn run_main<T: Send + 'static>(
        &'static self,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, RunError> {
        let site = Location::caller();
        let _service = Counted::new(&self.service_threads);
        let options = SpawnOptions {
            name: Some("main".into()),
            ..SpawnOptions::default()
        };
        let body = move || {
            let _counted = Counted::new(&self.mains);
            f()
        };
        self.spawn_at(options, site, body)
            .map_err(RunError::Spawn)?
            .join()
            .map_err(RunError::Panic)
    }

    /// Starts a goroutine. From any thread.
    ///
    /// Warm, this allocates the packet that holds the result and nothing else. A panic in `f` ends
    /// the goroutine only, and is handed to whoever joins it.
    ///
    /// # Errors
    /// When there is no memory for its stack, or no thread at all.
    #[track_caller]
    pub fn spawn<T: Send + 'static>(
        &'static self,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<T>, SpawnError> {
        self.spawn_at(SpawnOptions::default(), Location::caller(), f)
    }

    /// As [`spawn`](Self::spawn), with a name or a stack size.
    ///
    /// # Errors
    /// As `spawn`.
    #[track_caller]
    pub fn spawn_with<T: Send + 'static>(
        &'static self,
        options: SpawnOptions,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<T>, SpawnError> {
        self.spawn_at(options, Location::caller(), f)
    }

    /// As [`spawn_with`](Self::spawn_with), for an embedder that passes its own caller's place on.
    ///
    /// # Errors
    /// As `spawn`.
    pub fn spawn_at<T: Send + 'static>(
        &'static self,
        options: SpawnOptions,
        site: &'static Location<'static>,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<T>, SpawnError> {
        self.ensure_threads().map_err(SpawnError::Thread)?;
        let spec = options.stack.unwrap_or(self.config.stack);
        let (g, id) = self.take_goroutine(spec)?;
        let header = g.header();
        let packet = Arc::new(Packet::new());
        let handle = JoinHandle::new(packet.clone());
        header.lock_depth.set(0);
        header.cpu.store(0, Ordering::Relaxed);
        header.set_name(options.name);
        header.set_site(site);
        let locked = options.locked;
        let body = move || {
            if locked {
                // Never given up: its end is the thread's.
                mem::forget(lock_os_thread());
            }
            let result = catch_unwind(AssertUnwindSafe(f)).map_err(Panic::new);
            if let (Err(panic), Some(simulation)) = (&result, self.simulation()) {
                let packet = packet.clone();
                let panic = UnseenPanic {
                    id: header.id(),
                    site: header.site(),
                    message: panic.message().map(str::to_owned),
                };
                simulation.saw_panic(panic, Box::new(move || packet.is_joined()));
            }
            // SAFETY: this is the one place that writes the result, before it is announced.
            unsafe { packet.put(result) };
            let packet = Arc::into_raw(packet).cast::<()>();
            // SAFETY: `announce` takes the reference that `into_raw` left.
            unsafe { Completion::new(packet, Packet::<T>::announce) }
        };
        // SAFETY: the G is ours until it is queued.
        unsafe { (*header.body.get()).set(body) };
        self.live.fetch_add(1, Ordering::Relaxed);
        let inside = critical::enter();
        header.id.store(id, Ordering::Relaxed);
        header.status.store(RUNNABLE, Ordering::Relaxed);
        self.submit(header, || Event::Created(header.id(), site), &inside);
        drop(inside);
        simulated::point();
        Ok(handle)
    }

    /// A G with a fresh context, in the caller's hands, and a number for it.
    fn take_goroutine(
        &'static self,
        spec: StackSpec,
    ) -> Result<(&'static Goroutine<V>, u64), SpawnError> {
        let (pooled, id) = {
            let inside = critical::enter();
            let (pooled, id) = self.with_own_p(&inside, |p| match p {
                // SAFETY: `with_own_p` passes the P of the M that runs this.
                Some(p) => unsafe { (p.take_free(), self.new_id_of(p)) },
                None => (None, self.next_id.fetch_add(1, Ordering::Relaxed)),
            });
            (pooled.or_else(|| self.pool.lock(&inside).pop()), id)
        };
        let g = match pooled {
            // SAFETY: the pools hold goroutines of this scheduler.
            Some(header) => unsafe { Goroutine::<V>::of(header) },
            None => self.new_goroutine(),
        };
        let arg = ptr::from_ref(g.header()).cast_mut().cast::<()>();
        // SAFETY: the G is pooled and out of the pool, so its context is ours and finished.
        let context = unsafe { &mut *g.context.get() };
        let made = match context {
            // SAFETY: pooling was the after-switch action of its successor, so that runs.
            Some(context) if spec == self.config.stack => unsafe {
                self.engine.rearm(context, Self::entry, arg)
            },
            _ => {
                if let Some(old) = context.take() {
                    // SAFETY: as above.
                    unsafe { self.engine.retire(old) };
                }
                self.engine
                    .create(spec, Self::entry, arg)
                    .map(|new| *context = Some(new))
            }
        };
        g.spec.set(spec);
        match made {
            Ok(()) => Ok((g, id)),
            Err(error) => {
                g.spec.set(self.config.stack);
                let inside = critical::enter();
                self.pool.lock(&inside).push(g.header());
                Err(SpawnError::Context(error))
            }
        }
    }

    fn new_goroutine(&'static self) -> &'static Goroutine<V> {
        let g: &'static Goroutine<V> = Box::leak(Box::new(Goroutine::new(self)));
        let header = g.header();
        let mut first = self.all.load(Ordering::Acquire);
        loop {
            header.all_next.store(first, Ordering::Relaxed);
            let new = ptr::from_ref(header).cast_mut();
            match self
                .all
                .compare_exchange(first, new, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return g,
                Err(now) => first = now,
            }
        }
    }

    /// A number for a goroutine, from the batch of a P.
    ///
    /// # Safety
    /// 1. The caller owns the P and is in the runtime.
    #[inline]
    unsafe fn new_id_of(&self, p: &P) -> u64 {
        let (mut next, mut left) = p.ids.get();
        if left == 0 {
            next = self.next_id.fetch_add(ID_BATCH, Ordering::Relaxed);
            left = ID_BATCH;
        }
        p.ids.set((next + 1, left - 1));
        next
    }

    /// Calls `f` with the P that the caller runs with, if it runs with one.
    #[inline]
    pub(super) fn with_own_p<R>(
        &'static self,
        inside: &Section,
        f: impl FnOnce(Option<&'static P>) -> R,
    ) -> R {
        match current_in(inside).filter(|me| ptr::eq(me.scheduler, ptr::from_ref(self).cast())) {
            None => f(None),
            // SAFETY: the calling goroutine runs on its M.
            Some(me) => unsafe {
                let machine = Machine::<V>::of(me.own_m());
                let result = f(machine.m.enter(self.fence));
                machine.m.leave();
                result
            },
        }
    }
}

/// One more in a count, until drop.
struct Counted(&'static AtomicUsize);

impl Counted {
    fn new(count: &'static AtomicUsize) -> Counted {
        count.fetch_add(1, Ordering::SeqCst);
        Counted(count)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
