//! Goroutines that borrow: [`scope`].
//!
//! The form is that of [`std::thread::scope`], and so is the argument. Invariant: **[`scope`] does not return, nor unwind, before every goroutine started in it has called
//! and dropped its closure and dropped its hold on its result.** So what they borrow outlives them, although they are started as if they borrowed nothing. Nothing that safe
//! code does changes that: a handle that is leaked leaks the result, and a goroutine's end does not depend on it; the count goes down in the goroutine's own frame, behind
//! everything that is borrowed, also when the closure panics.
//!
//! What runs after the count has gone down is the runtime's and the destructors of thread-locals, which borrow nothing that is not `'static`.

use crate::runtime::Builder;
use gosched::sync::{Mutex, WaitGroup};
use gosched::{JoinHandle, Panic, SpawnError};
use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

/// Where goroutines that borrow are started; see [`scope`].
pub struct Scope<'scope, 'env: 'scope> {
    shared: Arc<Shared>,
    /// Invariant in both, as std's: else a shorter `'scope` could be passed for the true one.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

/// What the scope shares with its goroutines, the last of which may outlive it by a few instructions.
struct Shared {
    running: WaitGroup,
    /// Goroutines that have panicked and were not joined.
    unseen: AtomicUsize,
}

/// Runs `f`, in which goroutines may be started that borrow from outside of it, and waits for all of them.
///
/// From goroutines, which park meanwhile, and from plain threads.
///
/// ```
/// let mut words = ["wait", "for", "me"].map(String::from);
/// let longest = goruntime::scope(|s| {
///     for word in &mut words {
///         s.go(|| word.push('!'));
///     }
///     let thinks = s.go(|| "borrowed".len());
///     thinks.join().unwrap()
/// });
/// assert_eq!((words.concat(), longest), ("wait!for!me!".to_owned(), 8));
/// ```
///
/// What is borrowed must outlive the scope:
///
/// ```compile_fail,E0597
/// goruntime::scope(|s| {
///     let inside = String::from("dropped before the goroutine ends");
///     let borrowed = &inside;
///     s.go(move || println!("{borrowed}"));
/// });
/// ```
///
/// # Panics
/// As `f` does; and if a goroutine has panicked that was not joined. In either case after all have ended.
#[track_caller]
pub fn scope<'env, T>(f: impl for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T) -> T {
    let scope = Scope {
        shared: Arc::new(Shared {
            running: WaitGroup::new(),
            unseen: AtomicUsize::new(0),
        }),
        scope: PhantomData,
        env: PhantomData,
    };
    let result = catch_unwind(AssertUnwindSafe(|| f(&scope)));
    scope.shared.running.wait();
    match result {
        Err(payload) => resume_unwind(payload),
        Ok(_) if scope.shared.unseen.load(Relaxed) > 0 => panic!("a scoped goroutine panicked"),
        Ok(value) => value,
    }
}

impl<'scope> Scope<'scope, '_> {
    /// Starts a goroutine that may borrow what outlives the scope. Dropping the handle lets it run on, until the scope's end.
    ///
    /// # Panics
    /// When there is no memory for its stack; [`Builder::spawn_scoped`] returns that as an error.
    #[track_caller]
    pub fn go<T: Send + 'scope>(
        &'scope self,
        f: impl FnOnce() -> T + Send + 'scope,
    ) -> ScopedJoinHandle<'scope, T> {
        match self.spawn_at(Builder::new(), Location::caller(), f) {
            Ok(handle) => handle,
            Err(error) => panic!("{error}"),
        }
    }

    fn spawn_at<T: Send + 'scope>(
        &'scope self,
        builder: Builder,
        site: &'static Location<'static>,
        f: impl FnOnce() -> T + Send + 'scope,
    ) -> Result<ScopedJoinHandle<'scope, T>, SpawnError> {
        let result = Arc::new(Mutex::new(None));
        let (shared, its_result) = (self.shared.clone(), result.clone());
        let body = move || {
            // Declared first, hence dropped last, also when `f` panics.
            let _ended = Ended(shared);
            let result = its_result;
            let value = f();
            *result.lock() = Some(value);
        };
        let body: Box<dyn FnOnce() + Send + 'scope> = Box::new(body);
        // SAFETY: only the lifetime changes. The scope waits until the body has dropped all that is borrowed: `running` goes up before the body is started,
        // and down behind that. A body that cannot be started is dropped at once.
        let body: Box<dyn FnOnce() + Send + 'static> = unsafe { std::mem::transmute(body) };
        self.shared.running.add(1);
        let inner = builder
            .spawn_at(site, body)
            .inspect_err(|_| self.shared.running.done())?;
        Ok(ScopedJoinHandle {
            inner,
            result,
            shared: self.shared.clone(),
            scope: PhantomData,
        })
    }
}

/// Counts a goroutine of a scope down.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.unseen.fetch_add(1, Relaxed);
        }
        self.0.running.done();
    }
}

/// The right to wait for a goroutine of a scope and take its result.
pub struct ScopedJoinHandle<'scope, T> {
    inner: JoinHandle<()>,
    result: Arc<Mutex<Option<T>>>,
    shared: Arc<Shared>,
    scope: PhantomData<&'scope ()>,
}

impl<T> ScopedJoinHandle<'_, T> {
    /// Whether the goroutine has ended.
    pub fn is_finished(&self) -> bool {
        self.inner.is_finished()
    }

    /// Waits for the goroutine's end.
    ///
    /// # Errors
    /// If the goroutine panicked; then the scope does not panic on its account.
    pub fn join(self) -> Result<T, Panic> {
        match self.inner.join() {
            Ok(()) => Ok(self
                .result
                .lock()
                .take()
                .expect("a goroutine that returned has left its result")),
            Err(panic) => {
                self.shared.unseen.fetch_sub(1, Relaxed);
                Err(panic)
            }
        }
    }

    /// The result, if the goroutine has ended; the handle, if it has not.
    ///
    /// # Errors
    /// With the handle, if the goroutine has not ended. Inside, if it panicked.
    pub fn try_join(self) -> Result<Result<T, Panic>, Self> {
        match self.is_finished() {
            true => Ok(self.join()),
            false => Err(self),
        }
    }
}

impl Builder {
    /// As [`Scope::go`], with a name or what else is asked for here.
    ///
    /// # Errors
    /// When there is no memory for its stack.
    #[track_caller]
    pub fn spawn_scoped<'scope, T: Send + 'scope>(
        self,
        scope: &'scope Scope<'scope, '_>,
        f: impl FnOnce() -> T + Send + 'scope,
    ) -> Result<ScopedJoinHandle<'scope, T>, SpawnError> {
        scope.spawn_at(self, Location::caller(), f)
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("running", &self.shared.running.count())
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for ScopedJoinHandle<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedJoinHandle")
            .field("finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
