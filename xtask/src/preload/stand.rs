//! Where a program is tried: a folder of its own that goes when the trial is over, the library under everything that is started in it, and services
//! that end with the trial whatever happens.
//!
//! Everyone may read the folder, the copy of the library in it too, because some servers must not run as root.

use crate::interrupt;
use crate::process::{self, Supervised};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// A program that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(20 * 60);

/// How long a service may take to start or to end.
const SERVICE_LIMIT: Duration = Duration::from_secs(90);

/// Lines of a service's log that are shown.
const LAST_WORDS: usize = 40;

/// Whom a service runs as.
#[derive(Clone, Copy)]
struct User {
    uid: u32,
    gid: u32,
}

/// A folder for one trial.
pub struct Stand {
    folder: PathBuf,
    library: PathBuf,
    user: Option<User>,
}

impl Stand {
    /// A new folder, with a copy of the library.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(library: &Path, name: &str) -> Result<Stand, String> {
        let name = format!("gomem-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let told = |why: std::io::Error| format!("{}: {why}", folder.display());
        fs::create_dir(&folder).map_err(told)?;
        let stand = Stand {
            library: folder.join("libgomem.so"),
            folder: folder.clone(),
            user: None,
        };
        fs::set_permissions(&folder, Permissions::from_mode(0o755)).map_err(told)?;
        fs::copy(library, &stand.library).map_err(told)?;
        Ok(stand)
    }

    /// The same, for programs that refuse to run as root: the folder belongs to `name`, who runs what is started, or `nobody` where there is no such user.
    ///
    /// # Errors
    /// When this process is root and the folder cannot be given away.
    pub fn as_user(&self, name: &str) -> Result<Stand, String> {
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let found = [name, "nobody"]
            .iter()
            .find_map(|name| find_user(&passwd, name));
        // SAFETY: getuid has no arguments and cannot fail.
        let is_root = unsafe { libc::getuid() } == 0;
        let user = found.filter(|_| is_root);
        let folder = self.folder.join("own");
        let told = |why: std::io::Error| format!("{}: {why}", folder.display());
        fs::create_dir(&folder).map_err(told)?;
        if let Some(user) = user {
            chown(&folder, Some(user.uid), Some(user.gid)).map_err(told)?;
        }
        Ok(Stand {
            library: self.library.clone(),
            folder,
            user,
        })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A command in the folder, with the library under it.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.folder);
        self.prepare(&mut command);
        command
    }

    /// Puts the library under a command that was made elsewhere.
    pub fn prepare(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library);
        if let Some(user) = self.user {
            command.uid(user.uid).gid(user.gid);
        }
    }

    /// Runs a command to its end. Returns its standard output.
    ///
    /// # Errors
    /// When it fails or hangs, and when the allocator or the dynamic linker complains.
    pub fn run(&self, command: &mut Command) -> Result<String, String> {
        self.prepare(command);
        let name = format!("{command:?}");
        let command = std::mem::replace(command, Command::new(""));
        let ran = process::capture(command, LIMIT, |_| ())?;
        let complaint = complaint(&ran.output);
        match ran.status {
            Some(status) if status.success() && complaint.is_none() => Ok(ran.stdout),
            Some(status) => Err(format!("{name}: {status}\n{}", last_words(&ran.output))),
            None => Err(format!("{name} hangs\n{}", last_words(&ran.output))),
        }
    }

    /// The same, of a command given by its words.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn sh(&self, words: &[&str]) -> Result<String, String> {
        let mut command = self.command(words[0]);
        self.run(command.args(&words[1..]))
    }

    /// Starts a service, whose output goes to a file.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn serve(&self, mut command: Command) -> Result<Service, String> {
        let log = self.folder.join("log");
        let told = |why: std::io::Error| format!("{}: {why}", log.display());
        let file = File::create(&log).map_err(told)?;
        command.stdout(file.try_clone().map_err(told)?).stderr(file);
        Ok(Service {
            child: Supervised::start(command)?,
            log,
        })
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        // Of a folder within another's, the other's drop has nothing left to do.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn find_user(passwd: &str, name: &str) -> Option<User> {
    let line = passwd
        .lines()
        .find(|line| line.split(':').next() == Some(name))?;
    let mut numbers = line
        .split(':')
        .skip(2)
        .map_while(|field| field.parse().ok());
    Some(User {
        uid: numbers.next()?,
        gid: numbers.next()?,
    })
}

/// A line by which the allocator says that it is misused, or the dynamic linker that it could not load the library.
fn complaint(output: &str) -> Option<&str> {
    let is_one =
        |line: &&str| line.starts_with("gomem: ") || line.contains("from LD_PRELOAD cannot be");
    output.lines().find(is_one)
}

fn last_words(output: &str) -> String {
    let lines: Vec<&str> = output.lines().collect();
    lines[lines.len().saturating_sub(LAST_WORDS)..].join("\n")
}

/// A service that ends with this value.
pub struct Service {
    child: Supervised,
    log: PathBuf,
}

impl Service {
    /// Waits until `is_ready`, and makes sure that the library is in the process.
    ///
    /// # Errors
    /// When it ends or takes too long, with the last of what it said; when the library is not in it.
    pub fn ready(&mut self, mut is_ready: impl FnMut() -> bool) -> Result<(), String> {
        let begin = Instant::now();
        while !is_ready() {
            if let Some(signal) = interrupt::pending() {
                return Err(format!("interrupted by signal {signal}"));
            }
            if let Some(status) = self.child.ended()? {
                return Err(format!("it ended: {status}\n{}", self.said()));
            }
            if begin.elapsed() > SERVICE_LIMIT {
                return Err(format!("it does not get ready\n{}", self.said()));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let maps = format!("/proc/{}/maps", self.child.child().id());
        let maps = fs::read_to_string(&maps).map_err(|why| format!("{maps}: {why}"))?;
        match maps.contains("libgomem.so") {
            true => Ok(()),
            false => Err("the library is not in its process".to_owned()),
        }
    }

    /// Its number.
    pub fn pid(&mut self) -> u32 {
        self.child.child().id()
    }

    /// Physical memory that it has, in MB.
    pub fn resident(&mut self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kilobytes.unwrap_or(0) / 1024
    }

    /// Waits for its end, which was asked for.
    ///
    /// # Errors
    /// When it does not end, not well, or the allocator complained.
    pub fn ends_well(&mut self) -> Result<(), String> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.ended()? {
                let said = fs::read_to_string(&self.log).unwrap_or_default();
                return match status.success() && complaint(&said).is_none() {
                    true => Ok(()),
                    false => Err(format!("it ended: {status}\n{}", self.said())),
                };
            }
            if begin.elapsed() > SERVICE_LIMIT {
                return Err(format!("it does not end\n{}", self.said()));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn said(&self) -> String {
        let said = fs::read(&self.log).unwrap_or_default();
        last_words(&String::from_utf8_lossy(&said))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found() {
        let passwd = "root:x:0:0:root:/:/bin/sh\npostgres:x:101:104:,,,:/var/lib:/bin/sh\n";
        let user = find_user(passwd, "postgres").unwrap();
        assert_eq!((user.uid, user.gid), (101, 104));
        assert!(find_user(passwd, "post").is_none());
    }

    #[test]
    fn complaints_are_heard() {
        assert!(complaint("fine\ngomem: free(0x10): is not\n").is_some());
        assert!(complaint("using gomem: fine").is_none());
    }

    #[test]
    fn the_folder_goes_with_the_stand() {
        let stand = Stand::new(Path::new("/bin/true"), "test").unwrap();
        let folder = stand.folder().to_owned();
        assert!(folder.join("libgomem.so").exists());
        drop(stand);
        assert!(!folder.exists());
    }
}
