//! Contexts put to use: what a program may do in one, and how many of them.

mod behaviour;
mod libc_state;
mod scale;
mod task;
