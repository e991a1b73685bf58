//! One P's contexts: those that have ended and will be used again, without a lock.
//!
//! Invariant: the cache holds at most 64 contexts, all of its pool, all ended. It is filled from and emptied to the pool by halves, so
//! a P that makes and ends contexts in turn takes the pool's lock once in many times.

use core::ops::Deref;

use crate::env::{Os, OsError};
use crate::execution::{ContextPool, ExecutionContext};

/// Contexts that a cache keeps.
const MOST: usize = 64;

/// A private part of a pool. Contexts that end may be retired to any cache of the same pool.
pub struct ContextCache<O: Os, P: Deref<Target = ContextPool<O>>> {
    pool: P,
    idle: Vec<ExecutionContext>,
}

impl<O: Os, P: Deref<Target = ContextPool<O>>> ContextCache<O, P> {
    /// An empty one.
    pub fn new(pool: P) -> Self {
        Self {
            pool,
            idle: Vec::with_capacity(MOST),
        }
    }

    /// The pool behind it.
    pub fn pool(&self) -> &ContextPool<O> {
        &self.pool
    }

    /// As [`ContextPool::take`].
    ///
    /// # Errors
    ///
    /// As [`ContextPool::take`].
    #[inline]
    pub fn take(&mut self) -> Result<ExecutionContext, OsError> {
        if self.idle.is_empty() {
            self.pool.take_idle(MOST / 2, &mut self.idle);
        }
        match self.idle.pop() {
            Some(context) => Ok(context),
            None => self.pool.take(),
        }
    }

    /// As [`ContextPool::retire`].
    ///
    /// # Panics
    ///
    /// If the context is of another pool.
    ///
    /// # Safety
    ///
    /// As [`ContextPool::retire`].
    #[inline]
    pub unsafe fn retire(&mut self, context: ExecutionContext) {
        if context.is_adopted() {
            return;
        }
        self.pool.check(&context);
        if self.idle.len() == MOST {
            // SAFETY: each was retired to this cache.
            unsafe { self.pool.retire_many(self.idle.drain(MOST / 2..)) };
        }
        self.idle.push(context);
    }
}

impl<O: Os, P: Deref<Target = ContextPool<O>>> Drop for ContextCache<O, P> {
    /// Gives the contexts to the pool.
    fn drop(&mut self) {
        // SAFETY: each was retired to this cache.
        unsafe { self.pool.retire_many(self.idle.drain(..)) };
    }
}
