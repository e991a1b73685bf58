//! What to start, and how.
//!
//! std makes the child. Two things are added: pipes of this crate, and the limit on open files that this program was started with in place of the one that the
//! runtime raised (`limits.rs`), which is set between `fork` and `exec`. The mask of signals is the caller's, which is the one that the program was started with, unless somebody has changed it: the runtime holds
//! no signals back. Handlers are the program's and end with it; an ignored signal stays ignored.

use super::Child;
use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ExitStatus, Output, Stdio};

/// A program to start, with the methods of [`std::process::Command`]; what is missing here is reached by [`as_std_mut`](Self::as_std_mut).
#[derive(Debug)]
pub struct Command {
    inner: std::process::Command,
    has_stdin: bool,
    has_stdout: bool,
    has_stderr: bool,
    has_file_limit: bool,
}

impl From<std::process::Command> for Command {
    /// What was set on it stays, save that [`output`](Command::output) takes its standard input, output and error for not set.
    fn from(inner: std::process::Command) -> Command {
        Command {
            inner,
            has_stdin: false,
            has_stdout: false,
            has_stderr: false,
            has_file_limit: false,
        }
    }
}

impl Command {
    /// A program, by its path or by a name that is looked for in `PATH`.
    pub fn new(program: impl AsRef<OsStr>) -> Command {
        Command::from(std::process::Command::new(program))
    }

    /// One more argument.
    pub fn arg(&mut self, argument: impl AsRef<OsStr>) -> &mut Command {
        self.inner.arg(argument);
        self
    }

    /// More arguments.
    pub fn args(&mut self, arguments: impl IntoIterator<Item: AsRef<OsStr>>) -> &mut Command {
        self.inner.args(arguments);
        self
    }

    /// Sets a variable of its environment.
    pub fn env(&mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Command {
        self.inner.env(key, value);
        self
    }

    /// Sets several.
    pub fn envs<K: AsRef<OsStr>, V: AsRef<OsStr>>(
        &mut self,
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> &mut Command {
        self.inner.envs(variables);
        self
    }

    /// Takes a variable away that it would inherit.
    pub fn env_remove(&mut self, key: impl AsRef<OsStr>) -> &mut Command {
        self.inner.env_remove(key);
        self
    }

    /// Takes all away.
    pub fn env_clear(&mut self) -> &mut Command {
        self.inner.env_clear();
        self
    }

    /// The folder that it runs in.
    pub fn current_dir(&mut self, folder: impl AsRef<Path>) -> &mut Command {
        self.inner.current_dir(folder);
        self
    }

    /// What it reads.
    pub fn stdin(&mut self, from: impl Into<Stdio>) -> &mut Command {
        self.has_stdin = true;
        self.inner.stdin(from);
        self
    }

    /// What it writes to.
    pub fn stdout(&mut self, to: impl Into<Stdio>) -> &mut Command {
        self.has_stdout = true;
        self.inner.stdout(to);
        self
    }

    /// What it complains to.
    pub fn stderr(&mut self, to: impl Into<Stdio>) -> &mut Command {
        self.has_stderr = true;
        self.inner.stderr(to);
        self
    }

    /// Its name for itself, in place of the program's.
    pub fn arg0(&mut self, name: impl AsRef<OsStr>) -> &mut Command {
        self.inner.arg0(name);
        self
    }

    /// The user that it runs as.
    pub fn uid(&mut self, id: u32) -> &mut Command {
        self.inner.uid(id);
        self
    }

    /// The group that it runs as.
    pub fn gid(&mut self, id: u32) -> &mut Command {
        self.inner.gid(id);
        self
    }

    /// The process group that it belongs to; 0 for one of its own, so that Ctrl-C does not reach it.
    pub fn process_group(&mut self, group: i32) -> &mut Command {
        self.inner.process_group(group);
        self
    }

    /// Has it run with the limit on open files that this program has now, instead of the one that this program was started with.
    pub fn keep_file_limit(&mut self) -> &mut Command {
        self.has_file_limit = true;
        self
    }

    /// The command of std, for what it has methods for and this one has not.
    pub fn as_std_mut(&mut self) -> &mut std::process::Command {
        &mut self.inner
    }

    /// Starts it.
    ///
    /// # Errors
    /// The system's: `ENOENT`, `EACCES`, `EAGAIN` when there are too many processes, `EMFILE`, ...
    pub fn spawn(&mut self) -> io::Result<Child> {
        self.restore_file_limit();
        // Returns only when the new program has been found and read.
        let child = crate::blocking(|| self.inner.spawn())?;
        Child::new(child)
    }

    /// Runs it, and waits until it has ended.
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn).
    pub fn status(&mut self) -> io::Result<ExitStatus> {
        self.spawn()?.wait()
    }

    /// Runs it, and collects what it writes. Standard input is empty, and standard output and error are pipes, if they were not set to something else.
    ///
    /// ```
    /// let output = goruntime::process::Command::new("echo").arg("hello").output()?;
    /// assert_eq!(output.stdout, b"hello\n");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn).
    pub fn output(&mut self) -> io::Result<Output> {
        if !self.has_stdin {
            self.inner.stdin(Stdio::null());
        }
        if !self.has_stdout {
            self.inner.stdout(Stdio::piped());
        }
        if !self.has_stderr {
            self.inner.stderr(Stdio::piped());
        }
        self.spawn()?.wait_with_output()
    }

    /// Becomes that program: this process has no code of its own from then on. Returns only if that fails; what this command was
    /// to have its streams, its folder and its user changed to stays changed then.
    pub fn exec(&mut self) -> io::Error {
        self.restore_file_limit();
        // SAFETY: an all-zero sigaction is valid, and is filled in here.
        let pipe_action = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            libc::sigaction(libc::SIGPIPE, std::ptr::null(), &mut action);
            action
        };
        let error = self.inner.exec();
        // What was done to this process on the way is undone: to the limit by the runtime, to the signal by std.
        crate::limits::raise();
        // SAFETY: the action that was there.
        unsafe { libc::sigaction(libc::SIGPIPE, &pipe_action, std::ptr::null_mut()) };
        error
    }

    fn restore_file_limit(&mut self) {
        // Once: what is done in the child adds up.
        if !std::mem::replace(&mut self.has_file_limit, true) {
            // It was raised when the runtime started, if it was.
            crate::runtime::scheduler();
            crate::restore_file_limit(&mut self.inner);
        }
    }
}
