//! Stopping every thread of the process, and finding what they hold.
//!
//! `kept` has the files that are needed even without descriptors. `threads` lists the threads, `stop` brings them to a halt and publishes their registers, `maps` knows which memory
//! their stacks lie in, `modules` knows the statics and thread-locals of every loaded object,
//! `readable` how much of a mapping has no guards in it, `dirty` which pages were written; `cgroup` and `cpus` know what the system leaves the process of memory and processors; `workers` and `calls` are how the collector's own threads go to work and sleep. None of it knows the
//! collector: the composition turns what is found here into roots.

pub mod calls;
pub mod cgroup;
pub mod cpus;
pub mod dirty;
#[cfg(not(explore))]
pub(crate) mod futex;
mod kept;
pub mod maps;
pub mod memory;
pub mod modules;
pub mod readable;
mod rendezvous;
mod rest;
mod slots;
pub mod stop;
pub mod threads;
pub mod workers;

#[cfg(explore)]
pub(crate) use goexplore::futex;

/// Keeps open what collections read, for when there are no descriptors.
pub(crate) fn keep_files() {
    threads::LIST.keep();
    maps::TEXT.keep();
}
