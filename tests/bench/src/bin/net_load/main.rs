//! The load on the net suite's servers: a closed loop over many connections, in which every reply is compared with what it must be.
//!
//! It is no contestant; contestants start it, with the address of their server. Plain threads over epoll, so that it is none of the
//! runtimes that it measures.
//!
//! ```text
//!   main
//!   echo  kv  http         what is asked, and what must be answered
//!   reconnect
//!   crowd                  many connections at the same time
//!   connection             one of them
//!   epoll                  the system calls
//! ```

mod connection;
mod crowd;
mod echo;
mod epoll;
mod http;
mod kv;
mod reconnect;

use bench::Arguments;
use std::net::SocketAddr;
use std::process::ExitCode;

fn main() -> ExitCode {
    bench::main_of(&[
        ("echo", echo::run),
        ("reconnect", reconnect::run),
        ("kv", kv::run),
        ("http", http::run),
    ])
}

/// The server that is meant. It also says which process it is, also where nobody counts the time that it takes.
fn server(arguments: &Arguments) -> Result<SocketAddr, String> {
    bench::workloads::net::process(arguments);
    let address = arguments.text("server", "");
    let parsed = address.parse();
    parsed.map_err(|_| format!("server={address:?} is not an address and a port"))
}

/// Numbers that look random, the same in every run.
struct Random(u64);

impl Random {
    /// The next one. (The finaliser of SplitMix64.)
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }
}
