//! How the library is built and put under a program, how a program in C is compiled, and how one that hangs is ended.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A program that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(180);

/// Builds the library: cargo does so for a test only if the test can link to it, which it cannot to a shared library of the C kind.
pub fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let test = std::env::current_exe().unwrap();
        let profile = test.ancestors().nth(2).unwrap();
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "-p", "gomem-c", "--target-dir"]);
        build.arg(profile.parent().unwrap());
        if profile.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success());
        profile.join("libgomem.so")
    })
}

/// How a program ended and what it said.
pub struct Ran {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Ran {
    /// Itself, if all went well.
    ///
    /// # Panics
    /// If it did not.
    #[track_caller]
    pub fn well(self) -> Ran {
        assert!(self.status.success(), "{}: {}", self.status, self.stderr);
        self
    }
}

/// Runs a command with the library under it; none if there is no such program.
///
/// # Panics
/// If it hangs, or the library could not be loaded.
#[track_caller]
pub fn run(command: &mut Command) -> Option<Ran> {
    // Outputs go to files: a full pipe would stop the program.
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let [out, err] = ["out", "err"]
        .map(|what| directory().join(format!("{}-{number}.{what}", std::process::id())));
    let mut child = command
        .env("LD_PRELOAD", library())
        .stdin(Stdio::null())
        .stdout(File::create(&out).unwrap())
        .stderr(File::create(&err).unwrap())
        .spawn()
        .ok()?;
    let begin = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begin.elapsed() > LIMIT {
            child.kill().unwrap();
            child.wait().unwrap();
            let said = std::fs::read_to_string(&err).unwrap_or_default();
            panic!("{command:?} hangs: {said}");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let [stdout, stderr] = [out, err].map(|path| {
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        bytes
    });
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    // The dynamic linker only warns if it cannot load the library.
    assert!(!stderr.contains("LD_PRELOAD"), "{stderr}");
    Some(Ran {
        status,
        stdout,
        stderr,
    })
}

/// Where the compiled programs are put.
fn directory() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

/// Compiles a program of `tests/programs` to a file named `name`; none where there is no compiler, with a line that says so.
///
/// # Panics
/// If it does not compile.
#[track_caller]
pub fn compile(source: &str, name: &str, options: &[&str]) -> Option<PathBuf> {
    let compiler = if source.ends_with(".cpp") {
        "c++"
    } else {
        "cc"
    };
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs");
    let result = directory().join(name);
    // What the compiler knows of malloc it must not use: it would leave out pairs of malloc and free.
    let compiled = Command::new(compiler)
        .args(["-O1", "-g", "-Wall", "-Wextra", "-pthread", "-fno-builtin"])
        .args(if compiler == "c++" {
            &["-std=c++17", "-faligned-new"][..]
        } else {
            &["-std=gnu11"]
        })
        .arg("-I")
        .arg(&programs)
        .arg("-o")
        .arg(&result)
        .arg(programs.join(source))
        .args(options)
        .output();
    let Ok(compiled) = compiled else {
        println!("no {compiler} here: {source} is not tested");
        return None;
    };
    let said = String::from_utf8_lossy(&compiled.stderr);
    assert!(compiled.status.success(), "{source}: {said}");
    Some(result)
}

/// Compiles a program and runs it without arguments; none where there is no compiler.
#[track_caller]
pub fn compile_and_run(source: &str) -> Option<Ran> {
    let name = source.replace('.', "-");
    let program = compile(source, &name, &["-ldl"])?;
    run(&mut Command::new(program))
}
