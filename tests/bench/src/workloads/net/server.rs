//! A server that is a program of its own: started on a free port, and ended when the load is over.

use super::{LOOPBACK, dies_with_us};
use crate::Arguments;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Starts the program that `command` makes for a port, puts the `kv` load on it, and ends it.
///
/// # Errors
/// When it does not start, and when the generator is not content.
pub fn run_kv(command: impl FnOnce(u16) -> Command, arguments: &Arguments) -> Result<(), String> {
    let address = free_address()?;
    let mut command = command(address.port());
    let name = command.get_program().display().to_string();
    // Its own output is of no interest, and would be taken for figures.
    let child = dies_with_us(command.stdin(Stdio::null()).stdout(Stdio::null())).spawn();
    let mut server = Server(child.map_err(|why| format!("cannot start {name}: {why}"))?);
    server.wait_until_it_answers(address)?;
    super::load_process("kv", address, server.0.id(), arguments)
}

/// An address that was free a moment ago. The kernel gives each out in turn, so it will not give this one to another soon.
fn free_address() -> Result<SocketAddr, String> {
    let listener = TcpListener::bind(LOOPBACK).and_then(|listener| listener.local_addr());
    listener.map_err(|why| format!("no free port: {why}"))
}

/// Ended when dropped.
struct Server(Child);

impl Server {
    fn wait_until_it_answers(&mut self, address: SocketAddr) -> Result<(), String> {
        let start = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Ok(Some(status)) = self.0.try_wait() {
                return Err(format!("the server ended at once: {status}"));
            }
            if start.elapsed() > PATIENCE {
                return Err(format!("the server does not answer at {address}"));
            }
            sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
