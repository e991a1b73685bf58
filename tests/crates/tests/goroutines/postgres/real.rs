//! PostgreSQL itself, in a cluster of this test's own, started and stopped by this runtime's `process`.

use goruntime::fs;
use goruntime::net::{TcpListener, UnixStream};
use goruntime::process::{Child, Command, Stdio};
use goruntime::signal::Signal;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub struct Server {
    child: Child,
    folder: PathBuf,
    address: SocketAddr,
}

impl Server {
    /// Makes a cluster and starts it.
    ///
    /// # Errors
    /// When PostgreSQL is not installed.
    pub fn start() -> Result<Server, String> {
        let programs = programs()
            .ok_or("PostgreSQL is missing; Debian's package postgresql has it".to_owned())?;
        let folder = std::env::temp_dir().join(format!("goruntime-pg-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        let user = user();
        if let Some((uid, gid)) = user {
            chown(&folder, Some(uid), Some(gid)).unwrap();
        }
        let command = |name: &str| {
            let mut command = Command::new(programs.join(name));
            command.current_dir(&folder);
            if let Some((uid, gid)) = user {
                command.uid(uid).gid(gid);
            }
            command
        };
        let made = command("initdb")
            .args(["-D", "data", "-U", "postgres", "-A", "trust"])
            .args(["--no-sync", "-E", "UTF8", "--locale=C"])
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        // Given back at once, for the server to take.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let child = command("postgres")
            .args(["-D", "data", "-c", "fsync=off", "-c", "max_connections=250"])
            .args(["-h", "127.0.0.1", "-p", &address.port().to_string()])
            .arg("-k")
            .arg(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut server = Server {
            child,
            folder,
            address,
        };
        server.wait_until_it_answers();
        Ok(server)
    }

    fn wait_until_it_answers(&mut self) {
        for _ in 0..600 {
            if let Ok(stream) = UnixStream::connect(self.path()) {
                if super::Client::connect(stream, "postgres").is_ok() {
                    return;
                }
            }
            let ended = self.child.wait_timeout(Duration::from_millis(50)).unwrap();
            assert!(ended.is_none(), "it ended: {}", self.log());
        }
        panic!("it does not answer: {}", self.log());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its other socket.
    pub fn path(&self) -> PathBuf {
        let name = format!(".s.PGSQL.{}", self.address.port());
        self.folder.join(name)
    }

    /// Ends it, clients or not.
    pub fn stop(mut self) {
        self.child.process().signal(Signal::INTERRUPT).unwrap();
        let status = self.child.wait_timeout(Duration::from_secs(30)).unwrap();
        assert!(status.is_some_and(|s| s.success()), "{}", self.log());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Where Debian puts the programs of the newest one that is installed.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let number =
        |path: &PathBuf| -> Option<u32> { path.parent()?.file_name()?.to_str()?.parse().ok() };
    let has_it = |path: &PathBuf| path.join("postgres").exists() && path.join("initdb").exists();
    versions
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(has_it)
        .max_by_key(number)
}

/// The user and group that it runs as, if this is root, as whom it refuses to run.
fn user() -> Option<(u32, u32)> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let uid = status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:\t"))?;
    if !uid.starts_with("0\t") {
        return None;
    }
    let users = fs::read_to_string(Path::new("/etc/passwd")).ok()?;
    let entry = users.lines().find(|line| line.starts_with("postgres:"))?;
    let mut fields = entry.split(':').skip(2);
    let mut next = || -> io::Result<u32> {
        let field = fields.next().unwrap_or_default();
        field.parse().map_err(io::Error::other)
    };
    Some((next().ok()?, next().ok()?))
}
