//! Redis under the net suite's load, in memory only, as it is installed.

use bench::workloads::net::server;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    bench::main_of(&[("kv", |arguments| {
        let command = |port: u16| {
            let mut command = Command::new("redis-server");
            command.args(["--port", &port.to_string(), "--bind", "127.0.0.1"]);
            // Nothing is kept on disk.
            command.args(["--save", "", "--appendonly", "no"]);
            command
        };
        server::run_kv(command, arguments)
    })])
}
