//! The two example programs that show the runtime at work: `kv`, a server that speaks the Redis protocol, and
//! `kv-load`, which drives it. What this tool relies on of them is gathered here: how they are built and started,
//! their first line, and in the submodules what they answer.
//!
//! Nothing that is started here outlives the value that stands for it.

pub mod figures;
pub mod resp;

use crate::interrupt;
use crate::process::{self, Supervised};
use crate::workspace::{self, text_at};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};
use tinyjson::JsonValue;

/// How long a build may take.
const BUILD_LIMIT: Duration = Duration::from_secs(30 * 60);

/// How long the server may take to say where it listens.
const START_LIMIT: Duration = Duration::from_secs(20);

/// How the first line of the server begins.
const LISTENING: &str = "listening on ";

/// Lines of the server's diagnostics that are kept for an error message.
const LAST_WORDS: usize = 40;

/// The two programs, built.
pub struct Programs {
    /// The server.
    pub kv: PathBuf,
    /// The load generator.
    pub kv_load: PathBuf,
}

const BUILD: &[&str] = &[
    "build",
    "--release",
    "-p",
    "goruntime",
    "--example",
    "kv",
    "--example",
    "kv-load",
    "--message-format=json-render-diagnostics",
];

/// Builds both in release, with cargo's progress on standard error.
///
/// # Errors
/// When the build fails; cargo has said why by then.
pub fn build() -> Result<Programs, String> {
    let output = workspace::cargo(BUILD.iter().copied())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|why| format!("cannot start cargo: {why}"))?;
    match output.status.success() {
        true => find(&String::from_utf8_lossy(&output.stdout)),
        false => Err("kv and kv-load could not be built".to_owned()),
    }
}

/// Builds both in release without a sound.
///
/// # Errors
/// When the build fails, with what cargo said.
pub fn build_quietly(watch: impl FnMut(Duration)) -> Result<Programs, String> {
    let command = workspace::cargo(BUILD.iter().copied());
    let ran = process::capture(command, BUILD_LIMIT, watch)?;
    match ran.success() {
        true => find(&ran.stdout),
        false => {
            let said = ran.output.lines().filter(|line| !line.starts_with('{'));
            let said: Vec<_> = said.collect();
            Err(format!(
                "kv and kv-load could not be built:\n{}",
                said.join("\n")
            ))
        }
    }
}

/// Where cargo put the programs, by its own account: so any target directory will do.
fn find(messages: &str) -> Result<Programs, String> {
    let artifacts: Vec<JsonValue> = messages
        .lines()
        .filter_map(|line| line.parse().ok())
        .collect();
    let executable = |name: &str| {
        artifacts
            .iter()
            .filter(|artifact| text_at(artifact, &["target", "name"]) == Some(name))
            .find_map(|artifact| text_at(artifact, &["executable"]))
            .map(PathBuf::from)
            .ok_or_else(|| format!("cargo built no program named {name}"))
    };
    Ok(Programs {
        kv: executable("kv")?,
        kv_load: executable("kv-load")?,
    })
}

/// A running server.
pub struct Server {
    process: Supervised,
    address: SocketAddr,
    diagnostics: Arc<Mutex<VecDeque<String>>>,
}

impl Server {
    /// Starts a server on a port of the loopback interface (0 for any free one) with more `variables` in its
    /// environment, and waits until it listens. `watch` gets every line of its diagnostics.
    ///
    /// # Errors
    /// When it cannot be started, ends, or does not say within 20 seconds where it listens.
    pub fn start(
        programs: &Programs,
        port: u16,
        variables: &[(&str, String)],
        mut watch: impl FnMut(&str) + Send + 'static,
    ) -> Result<Server, String> {
        let mut command = Command::new(&programs.kv);
        command
            .args(["--port", &port.to_string()])
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = Supervised::start(command)?;
        let diagnostics = Arc::new(Mutex::new(VecDeque::new()));
        if let Some(err) = process.child().stderr.take() {
            let diagnostics = diagnostics.clone();
            process::for_each_line(err, move |line| {
                watch(&line);
                let mut kept = diagnostics.lock().unwrap_or_else(PoisonError::into_inner);
                kept.truncate(LAST_WORDS - 1);
                kept.push_front(line);
                true
            });
        }
        let (send, lines) = mpsc::channel();
        if let Some(out) = process.child().stdout.take() {
            // Lines after the first are read as well, so that the server never blocks on its output.
            process::for_each_line(out, move |line| {
                let _ = send.send(line);
                true
            });
        }
        let mut server = Server {
            process,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            diagnostics,
        };
        server.address = server.await_address(&lines)?;
        Ok(server)
    }

    fn await_address(&mut self, lines: &mpsc::Receiver<String>) -> Result<SocketAddr, String> {
        let deadline = Instant::now() + START_LIMIT;
        while Instant::now() < deadline {
            if let Some(signal) = interrupt::pending() {
                return Err(format!("interrupted by signal {signal}"));
            }
            if let Ok(line) = lines.recv_timeout(Duration::from_millis(100)) {
                let address = line.strip_prefix(LISTENING).map(str::trim);
                return address
                    .and_then(|address| address.parse().ok())
                    .ok_or_else(|| format!("kv said `{line}` and not where it listens"));
            }
            self.check()?;
        }
        Err(self.complaint("kv does not say where it listens"))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Is it still running?
    ///
    /// # Errors
    /// When it has ended, with its last words.
    pub fn check(&mut self) -> Result<(), String> {
        match self.process.ended()? {
            None => Ok(()),
            Some(status) => {
                // Its diagnostics arrive through another thread.
                std::thread::sleep(Duration::from_millis(100));
                Err(self.complaint(&format!("kv ended by itself ({status})")))
            }
        }
    }

    fn complaint(&self, what: &str) -> String {
        let kept = self
            .diagnostics
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let lines: Vec<&str> = kept.iter().rev().map(String::as_str).collect();
        match lines.is_empty() {
            true => what.to_owned(),
            false => format!("{what}; it said:\n{}", lines.join("\n")),
        }
    }
}

/// What the load generator is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// Connections, each served by its own goroutine.
    pub connections: u32,
    /// Requests that are sent before the first reply is awaited.
    pub pipeline: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Keys of each type, over all connections; `None` leaves it to the generator.
    pub keys: Option<u32>,
    /// How long.
    pub seconds: u32,
    /// Does each connection check that it reads what it wrote?
    pub verify: bool,
}

/// A running load generator.
pub struct Generator {
    process: Supervised,
    /// Its lines on either output; the channel closes when it has said all.
    pub lines: mpsc::Receiver<String>,
}

impl Generator {
    /// Starts driving the server at `address`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(
        programs: &Programs,
        address: SocketAddr,
        load: &Load,
    ) -> Result<Generator, String> {
        let mut command = Command::new(&programs.kv_load);
        command
            .args(load.arguments(address))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = Supervised::start(command)?;
        let (send, lines) = mpsc::channel();
        if let Some(out) = process.child().stdout.take() {
            let send = send.clone();
            process::for_each_line(out, move |line| send.send(line).is_ok());
        }
        if let Some(err) = process.child().stderr.take() {
            process::for_each_line(err, move |line| send.send(line).is_ok());
        }
        Ok(Generator { process, lines })
    }

    /// Whether it succeeded, once it has ended.
    ///
    /// # Errors
    /// When the kernel refuses to wait for it.
    pub fn ended(&mut self) -> Result<Option<bool>, String> {
        Ok(self.process.ended()?.map(|status| status.success()))
    }
}

impl Load {
    fn arguments(&self, address: SocketAddr) -> Vec<String> {
        let mut arguments = Vec::new();
        let mut option = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
        option("--addr", address.to_string());
        option("--connections", self.connections.to_string());
        option("--pipeline", self.pipeline.to_string());
        option("--value-size", self.value_size.to_string());
        option("--duration", self.seconds.to_string());
        option("--interval", "1".to_owned());
        if let Some(keys) = self.keys {
            option("--keys", keys.to_string());
        }
        if self.verify {
            arguments.push("--verify".to_owned());
        }
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shell script in the place of both programs, removed when this value is dropped.
    struct Script(PathBuf);

    impl Script {
        fn new(name: &str, text: &str) -> Script {
            let file = format!("xtask-{}-{name}", std::process::id());
            let path = std::env::temp_dir().join(file);
            // Written by another process: a file that this one has open for writing while another test forks cannot
            // be executed for a moment.
            let write = r#"printf '#!/bin/sh\n%s\n' "$2" > "$1" && chmod 755 "$1""#;
            let written = Command::new("sh")
                .args(["-c", write, "sh"])
                .arg(&path)
                .arg(text)
                .status();
            assert!(written.unwrap().success());
            Script(path)
        }

        fn programs(&self) -> Programs {
            Programs {
                kv: self.0.clone(),
                kv_load: self.0.clone(),
            }
        }
    }

    impl Drop for Script {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn a_server_says_where_it_listens() {
        let kv = Script::new("listens", "echo listening on 127.0.0.1:4321; sleep 100");
        let mut server = Server::start(&kv.programs(), 0, &[], |_| ()).unwrap();
        assert_eq!(server.address(), "127.0.0.1:4321".parse().unwrap());
        server.check().unwrap();
    }

    #[test]
    fn a_server_that_dies_is_reported_with_its_last_words() {
        let kv = Script::new("dies", "echo no memory left >&2; exit 7");
        let why = Server::start(&kv.programs(), 0, &[], |_| ()).err().unwrap();
        assert!(why.contains("no memory left") && why.contains('7'), "{why}");
    }

    #[test]
    fn another_first_line_is_reported() {
        let kv = Script::new("babbles", "echo hello; sleep 100");
        let why = Server::start(&kv.programs(), 0, &[], |_| ()).err().unwrap();
        assert!(why.contains("`hello`"), "{why}");
    }

    #[test]
    fn the_generator_gets_the_load_and_its_lines_arrive() {
        let kv = Script::new("load", "echo \"$@\"; echo problem >&2; exit 1");
        let load = Load {
            connections: 7,
            pipeline: 3,
            value_size: 99,
            keys: None,
            seconds: 2,
            verify: true,
        };
        let address = "127.0.0.1:1".parse().unwrap();
        let mut generator = Generator::start(&kv.programs(), address, &load).unwrap();
        let mut lines: Vec<String> = generator.lines.iter().collect();
        lines.sort();
        assert!(lines[0].starts_with("--addr 127.0.0.1:1 --connections 7 --pipeline 3"));
        assert!(lines[0].ends_with("--verify"));
        assert_eq!(lines[1], "problem");
        while generator.ended().unwrap().is_none() {
            std::thread::yield_now();
        }
        assert_eq!(generator.ended().unwrap(), Some(false));
    }

    #[test]
    fn programs_are_found_in_cargos_account() {
        let kv = r#"{"reason":"compiler-artifact","target":{"name":"kv"},"executable":"/t/kv"}"#;
        let load =
            r#"{"reason":"compiler-artifact","target":{"name":"kv-load"},"executable":"/t/l"}"#;
        let found = find(&format!("{kv}\n{load}\n")).unwrap();
        assert_eq!((found.kv, found.kv_load), ("/t/kv".into(), "/t/l".into()));
        assert!(find(kv).is_err_and(|why| why.contains("kv-load")));
    }
}
