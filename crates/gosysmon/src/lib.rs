//! A system monitor for schedulers: what Go's `sysmon` does, as a policy over plain data and a thread that
//! drives it.
//!
//! A scheduler that lets each worker run on undisturbed needs somebody who looks after what no worker can:
//! that a processor is taken from a worker that has blocked or will not yield, that the network is polled
//! when all are busy, that memory is collected and given back when nothing happens. That somebody must cost
//! nothing while all is well.
//!
//! - [`Monitor`] decides: [`tick`](Monitor::tick) takes an [`Observation`] and returns [`Actions`] and how
//!   long to [`Sleep`]. It has no clock, no thread and no locks, so hours can be simulated in a moment.
//! - [`Driver`] is the thread that asks a [`Target`] for observations, has it act, and sleeps.
//!
//! Modules, each using only those above it: `units`, `config`, `data` (what goes in and comes out),
//! `stall` (workers that do not get on), `pressure` (memory that runs short), `monitor`, `driver`.

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod atomic;
pub mod config;
pub mod data;
pub mod driver;
pub mod monitor;
pub mod pressure;
pub mod stall;
pub mod units;

pub use config::Config;
pub use data::{Actions, Observation, PIndex, PObservation, PState, Retake, RetakeReason, Sleep};
pub use driver::{Driver, Target, Waker};
pub use monitor::Monitor;
pub use pressure::Memory;
pub use stall::{Stall, Task, Tasks};
pub use units::Nanos;
