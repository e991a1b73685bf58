//! Sockets for goroutines, with std's methods: a call that would block parks the goroutine, not its thread.
//!
//! They implement `std::io::Read` and `Write`, by value and by reference, so that crates written for blocking streams run on them
//! unchanged. All of them work from plain threads too.

mod tcp;

pub use tcp::{Incoming, TcpListener, TcpStream};
