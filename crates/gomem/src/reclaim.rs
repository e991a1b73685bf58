//! Taking back what nobody uses: the blocks in the caches of idle threads, and those on their way from one cache to another.
//!
//! A thread uses its cache without a lock, and one that sleeps cannot be asked to empty it. So it is taken from it:
//!
//! ```text
//! the thread, for each block              who takes, holding `reclaiming`
//! 1. busy := true                         a. word: its cache -> Taken
//!    (compiler fence)                     b. heavy fence
//! 2. cache := word                        c. busy, or in a critical section?  then e
//! 3. uses cache                           d. empties the cache
//!    (compiler fence)                     e. word := its cache
//! 4. busy := false
//! ```
//!
//! The heavy fence (`membarrier`) makes every thread of the process pass a full fence at some point of its program. If that point is before 1, then 2 finds
//! `Taken`, which is a cache that stands for none: the thread goes the long way, and waits there for `reclaiming`. If it is between 1 and 4, c
//! finds `busy`, and nothing is done. If it is after 4, everything that the thread did with the cache is seen by d. The long ways enter a critical section
//! in the place of 1 and leave it in the place of 4. A thread that is interrupted by a handler between 1 and 4 stays busy, however long the handler waits.
//!
//! `Cache::local` is where the thread's words are, as long as the thread lives: it is set and cleared under `reclaiming`, and cleared in the child of a `fork`. A thread that runs goroutines
//! has none, because its cache is now in the words of one goroutine, now in those of another; nor has a [`Mutator`](crate::Mutator).
//!
//! Where `membarrier` is refused, caches are left to their threads.

use crate::atomic::Ordering::*;
use crate::cache::CachePtr;
use crate::critical;
use crate::env::Os;
use crate::heap::Heap;
use crate::local::{Attachment, Local};
use crate::os::heavy_fence;
use std::ptr::{from_ref, null_mut};

impl<O: Os> Heap<O> {
    /// Puts back into the spans what was not used since the last call: the malloc blocks that lie in the caches of idle threads, and those on their
    /// way between threads. Spans that are whole again become free pages.
    ///
    /// To be called a few times a second, by a thread that has nothing better to do.
    pub fn reclaim_idle(&self) {
        let _section = critical::enter();
        let one_at_a_time = self.reclaiming.lock();
        for cache in self.caches() {
            let activity = cache.activity();
            if cache.seen.swap(activity, Relaxed) == activity && !cache.is_empty() {
                self.empty_idle(cache);
                cache.seen.store(cache.activity(), Relaxed);
            }
        }
        drop(one_at_a_time);
        self.drain_transfers(false);
    }

    /// Empties the cache of a thread that does not use it now. The caller holds `reclaiming`.
    pub(crate) fn empty_idle(&self, cache: CachePtr) {
        let local = cache.local.load(Relaxed).cast::<Local>();
        if Local::with(|mine| local == from_ref(mine).cast_mut()) {
            return self.empty_cache(cache);
        }
        // SAFETY: the words of a thread that has not exited, because it would have to clear `local` under the lock that is held.
        let Some(local) = (unsafe { local.as_ref() }) else {
            return;
        };
        if !local.take(cache) {
            return;
        }
        #[cfg(explore)]
        let fenced = goexplore::planted("a cache is taken without a fence") || heavy_fence();
        #[cfg(not(explore))]
        let fenced = heavy_fence();
        let is_free = fenced && !local.is_using_cache();
        #[cfg(explore)]
        let is_free = is_free || goexplore::planted("a cache is emptied while it is in use");
        if is_free {
            self.empty_cache(cache);
        }
        local.attach(Attachment::Cache(cache));
    }

    /// Says where the thread of a cache keeps its words, or that the cache is not to be taken any more: null.
    pub(crate) fn set_local(&self, cache: CachePtr, local: Option<&Local>) {
        let _lock = self.reclaiming.lock();
        let local = local.map_or(null_mut(), |local| from_ref(local).cast_mut().cast());
        cache.local.store(local, Relaxed);
    }

    /// Nobody but the calling thread is there any more. The caller holds `reclaiming`.
    pub(crate) fn forget_other_threads(&self) {
        let mine = Local::with(|local| from_ref(local).cast_mut().cast::<()>());
        for cache in self.caches() {
            if cache.local.load(Relaxed) != mine {
                cache.local.store(null_mut(), Relaxed);
            }
            cache.thread.store(0, Relaxed);
        }
    }

    /// What the context has, when nobody empties it.
    pub(crate) fn settled(&self, local: &Local) -> Attachment {
        loop {
            match local.attachment() {
                // It is back when the lock is.
                Attachment::Taken => drop(self.reclaiming.lock()),
                attachment => return attachment,
            }
        }
    }
}
