//! What this crate's concurrent protocols are made of: the standard primitives, or in a build with `--cfg explore` those of the schedule
//! explorer, which are the same to the code that uses them.

#[cfg(explore)]
pub(crate) use goexplore::{
    atomic::*,
    sync::Mutex,
    thread::{self, spin_loop},
};
#[cfg(not(explore))]
pub(crate) use std::{
    hint::spin_loop,
    sync::{Mutex, atomic::*},
    thread,
};
