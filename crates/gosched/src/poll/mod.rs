//! Waiting for descriptors: the pollers, and the slots in which goroutines wait.

pub mod epoll;
pub mod scripted;

pub(crate) mod desc;
mod registration;

pub use desc::Direction;
pub(crate) use registration::Registrar;
pub use registration::Registration;
