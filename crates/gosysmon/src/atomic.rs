//! What this crate's concurrent protocols are made of: the standard primitives, or in a build with `--cfg explore` those of the schedule
//! explorer, which are the same to the code that uses them.

#[cfg(explore)]
pub(crate) use goexplore::{atomic::*, thread};
#[cfg(not(explore))]
pub(crate) use std::{sync::atomic::*, thread};
