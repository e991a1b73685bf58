//! One call for all who ask the same at the same time: Go's `golang.org/x/sync/singleflight`.
//!
//! ```
//! use goruntime::{scope, sync::singleflight::Group, time::{self, Duration}};
//! use std::sync::atomic::{AtomicU32, Ordering};
//!
//! let group = Group::new();
//! let looked_up = AtomicU32::new(0);
//! let look_up = || {
//!     looked_up.fetch_add(1, Ordering::Relaxed);
//!     time::sleep(Duration::from_millis(20)); // the database
//!     "Gopher"
//! };
//! scope(|s| {
//!     for _ in 0..10 {
//!         s.go(|| assert_eq!(group.call("user:1", look_up).value, "Gopher"));
//!     }
//! });
//! assert!(looked_up.into_inner() < 10);
//! ```

use crate::runtime::Builder;
use gosched::chan::{Receiver, Sender, bounded};
use gosched::sync::{Mutex, WaitGroup};
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::panic::Location;
use std::sync::{Arc, OnceLock};

/// Calls by key, of which one for each key is under way at a time. Clones are the same group.
///
/// The value goes to all who wait for it, so it is one that can be cloned; a fallible call has a `Result` whose error can be, too.
pub struct Group<K, T> {
    calls: Calls<K, T>,
}

/// Those that are under way and have not been forgotten.
type Calls<K, T> = Arc<Mutex<HashMap<K, Arc<Call<T>>>>>;

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome<T> {
    /// What it returned.
    pub value: T,
    /// Whether others got it too.
    pub shared: bool,
}

/// A call that is under way or over.
struct Call<T> {
    over: WaitGroup,
    /// Set before it is over, and not if it panicked.
    value: OnceLock<T>,
    waiting: Mutex<Waiting<T>>,
}

struct Waiting<T> {
    /// How many came to a call that was under way.
    others: usize,
    channels: Vec<Sender<Outcome<T>>>,
}

impl<K: Hash + Eq + Clone, T: Clone + Send + Sync> Group<K, T> {
    /// Without calls.
    pub fn new() -> Group<K, T> {
        Group {
            calls: Arc::default(),
        }
    }

    /// Calls `f`, or waits for a call with this key that is under way. Go's `Do`.
    ///
    /// # Panics
    /// If the call panics: who makes it as `f` does, and all who wait for it, too.
    #[doc(alias = "do")]
    pub fn call(&self, key: K, f: impl FnOnce() -> T) -> Outcome<T> {
        let (call, flight) = self.join(key, None);
        match flight {
            Some(flight) => flight.make(f),
            None => call.over.wait(),
        }
        let Some(value) = call.value.get().cloned() else {
            panic!("the call that this one waited for panicked");
        };
        let shared = call.waiting.lock().others > 0;
        Outcome { value, shared }
    }

    /// As [`call`](Self::call), in a goroutine; what comes of it is received. If the call panics the channel is closed. Go's `DoChan`.
    ///
    /// # Panics
    /// When there is no memory for the goroutine's stack.
    #[doc(alias = "do_chan")]
    #[track_caller]
    pub fn call_chan(&self, key: K, f: impl FnOnce() -> T + Send + 'static) -> Receiver<Outcome<T>>
    where
        K: Send + 'static,
        T: 'static,
    {
        let (sender, receiver) = bounded(1);
        let (_, flight) = self.join(key, Some(sender));
        if let Some(flight) = flight
            && let Err(error) = Builder::new().spawn_at(Location::caller(), || flight.make(f))
        {
            panic!("{error}");
        }
        receiver
    }

    /// Has the next call with this key be made, though one is under way: what that one returns may be too old.
    pub fn forget(&self, key: &K) {
        let forgotten = self.calls.lock().remove_entry(key);
        drop(forgotten);
    }

    /// The call that is under way; or a new one, which whoever asked is to make.
    fn join(
        &self,
        key: K,
        channel: Option<Sender<Outcome<T>>>,
    ) -> (Arc<Call<T>>, Option<Flight<K, T>>) {
        let mut calls = self.calls.lock();
        let (call, flight) = match calls.get(&key) {
            Some(call) => (call.clone(), None),
            None => {
                let call = Arc::new(Call::new());
                calls.insert(key.clone(), call.clone());
                let flight = Flight {
                    calls: self.calls.clone(),
                    key,
                    call: call.clone(),
                };
                (call, Some(flight))
            }
        };
        // While the map is locked, or the call could end in between.
        let mut waiting = call.waiting.lock();
        waiting.others += usize::from(flight.is_none());
        waiting.channels.extend(channel);
        drop(waiting);
        (call, flight)
    }
}

impl<T> Call<T> {
    fn new() -> Call<T> {
        let over = WaitGroup::new();
        over.add(1);
        Call {
            over,
            value: OnceLock::new(),
            waiting: Mutex::new(Waiting {
                others: 0,
                channels: Vec::new(),
            }),
        }
    }
}

/// The duty to make a call. When it is dropped the call is over, whether or not it came to anything.
struct Flight<K: Hash + Eq, T: Clone + Send + Sync> {
    calls: Calls<K, T>,
    key: K,
    call: Arc<Call<T>>,
}

impl<K: Hash + Eq, T: Clone + Send + Sync> Flight<K, T> {
    fn make(self, f: impl FnOnce() -> T) {
        let value = f();
        assert!(self.call.value.set(value).is_ok(), "a call is made once");
    }
}

impl<K: Hash + Eq, T: Clone + Send + Sync> Drop for Flight<K, T> {
    /// Takes the call out of the map, unless it was forgotten, and tells all who wait.
    fn drop(&mut self) {
        let Flight { calls, key, call } = self;
        let (removed, channels, shared) = {
            let mut calls = calls.lock();
            let is_there = calls.get(key).is_some_and(|there| Arc::ptr_eq(there, call));
            let removed = is_there.then(|| calls.remove_entry(key));
            let mut waiting = call.waiting.lock();
            let channels = std::mem::take(&mut waiting.channels);
            (removed, channels, waiting.others > 0)
        };
        drop(removed);
        call.over.done();
        for channel in channels {
            if let Some(value) = call.value.get().cloned() {
                // There is room. Nobody may be left to receive it.
                let _ = channel.try_send(Outcome { value, shared });
            }
        }
    }
}

impl<K, T> Clone for Group<K, T> {
    fn clone(&self) -> Group<K, T> {
        Group {
            calls: self.calls.clone(),
        }
    }
}

impl<K: Hash + Eq + Clone, T: Clone + Send + Sync> Default for Group<K, T> {
    fn default() -> Group<K, T> {
        Group::new()
    }
}

impl<K, T> fmt::Debug for Group<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Group(..)")
    }
}

#[cfg(test)]
mod tests;
