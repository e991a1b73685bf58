//! The net suite: servers under the load of one generator, `net_load`, over loopback.
//!
//! The server is the contestant. It listens on a free port and starts the generator, which is found beside it, or where the
//! environment variable `NET_LOAD` says; the generator prints the figures.

pub mod server;

use crate::Arguments;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

/// Where servers listen: a port that is free.
pub const LOOPBACK: &str = "127.0.0.1:0";

/// What the HTTP servers answer.
pub const HELLO: &[u8] = b"Hello, World!";

/// The number of the server's process, as the generator is told it.
pub fn process(arguments: &Arguments) -> u32 {
    arguments.number("process", 0) as u32
}

/// Bytes of the buffer that an echo server reads into: the message, if it is not small.
pub fn buffer_size(arguments: &Arguments) -> usize {
    arguments.number("size", 0).max(4096) as usize
}

/// Runs the generator against a server in this process, with the workload's own arguments, and waits for it.
///
/// # Errors
/// When it cannot be started, and when it is not content.
pub fn load(workload: &str, server: SocketAddr, arguments: &Arguments) -> Result<(), String> {
    load_process(workload, server, std::process::id(), arguments)
}

/// The same against a server in that process.
fn load_process(
    workload: &str,
    server: SocketAddr,
    process: u32,
    arguments: &Arguments,
) -> Result<(), String> {
    let program = match std::env::var_os("NET_LOAD") {
        Some(path) => PathBuf::from(path),
        None => beside("net_load")?,
    };
    let mut command = Command::new(&program);
    command.arg(workload).arg(format!("server={server}"));
    command.arg(format!("process={process}"));
    command.args(
        arguments
            .iter()
            .map(|(name, value)| format!("{name}={value}")),
    );
    let status = dies_with_us(&mut command).status();
    let status = status.map_err(|why| format!("cannot start {}: {why}", program.display()))?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("the load generator failed: {status}")),
    }
}

/// The program of that name beside this one.
///
/// # Errors
/// When it was not built.
pub fn beside(name: &str) -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|why| format!("no path of this program: {why}"))?;
    let path = own.with_file_name(name);
    match path.exists() {
        true => Ok(path),
        false => Err(format!("{} is not there; build it", path.display())),
    }
}

/// Has the kernel end a child when the thread that starts it ends. Only the main thread should start it, which ends with the process.
fn dies_with_us(command: &mut Command) -> &mut Command {
    let arrange = || {
        // SAFETY: a system call that looks at its arguments only.
        match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    // SAFETY: the closure makes one system call, and takes no lock and no memory.
    unsafe { command.pre_exec(arrange) }
}
