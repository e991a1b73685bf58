//! Child processes, with std's functions: waiting for one, and reading what it says, parks the goroutine.
//!
//! ```
//! use goruntime::process::{Command, Stdio};
//! use std::io::{Read, Write};
//!
//! let mut sort = Command::new("sort").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
//! sort.stdin.take().unwrap().write_all(b"pear\napple\n")?;
//! let mut sorted = String::new();
//! sort.stdout.take().unwrap().read_to_string(&mut sorted)?;
//! assert_eq!(sorted, "apple\npear\n");
//! assert!(sort.wait()?.success());
//! # Ok::<(), std::io::Error>(())
//! ```

mod child;
mod command;

pub use child::{Child, Process};
pub use command::Command;
pub use std::process::{ExitCode, ExitStatus, Output, Stdio, abort, exit, id};
