//! Records the traces of the malloc suite: `record redis`, or `record gcc FILE` for the compilation of a C file.
//!
//! The recorder (`recorder/recorder.c`) is built and preloaded into the program; what it writes is turned into a trace below `traces`. Of a
//! long run the first calls are kept, as many as [`MOST`].

use bench::workloads::malloc::trace::format::Writer;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

/// Calls in a trace.
const MOST: usize = 700_000;

/// Bytes of the recorder's record.
const RECORD: usize = 32;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let recorded = match words[..] {
        ["redis"] => record("redis", "redis-server", redis),
        ["gcc", file] => record("gcc", "cc1", |recorder| gcc(recorder, file)),
        _ => Err("which program? `redis`, or `gcc FILE`".to_owned()),
    };
    match recorded {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// How the recorded program is started.
struct Recorder {
    library: PathBuf,
    process: &'static str,
    output: PathBuf,
    folder: PathBuf,
}

impl Recorder {
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("LD_PRELOAD", &self.library)
            .env("RECORD_PROGRAM", self.process)
            .env("RECORD_TO", &self.output);
        command
    }
}

fn record(
    name: &str,
    process: &'static str,
    run: impl FnOnce(&Recorder) -> Result<(), String>,
) -> Result<(), String> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = std::env::temp_dir().join(format!("record-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(|why| format!("cannot make a folder: {why}"))?;
    let recorder = Recorder {
        library: folder.join("recorder.so"),
        process,
        output: folder.join("calls"),
        folder: folder.clone(),
    };
    let mut build = Command::new("cc");
    build
        .args(["-O2", "-shared", "-fPIC", "-fno-builtin", "-o"])
        .arg(&recorder.library)
        .arg(home.join("recorder/recorder.c"));
    let made = succeed(build)
        .and_then(|()| run(&recorder))
        .and_then(|()| std::fs::read(&recorder.output).map_err(|why| format!("no calls: {why}")))
        .and_then(|calls| {
            let trace = trace(&calls)?;
            let path = home.join("traces").join(format!("{name}.trace"));
            println!("{}: {} bytes", path.display(), trace.len());
            std::fs::write(&path, trace).map_err(|why| format!("{}: {why}", path.display()))
        });
    // What is left in the folder for temporary files does no harm.
    let _ = std::fs::remove_dir_all(folder);
    made
}

fn succeed(mut command: Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command
        .stdout(Stdio::null())
        .status()
        .map_err(|why| format!("{program}: {why}"))?;
    status
        .success()
        .then_some(())
        .ok_or_else(|| format!("{program}: {status}"))
}

/// A server under the benchmark that comes with it: commands on strings, lists, hashes and sorted sets, with values of three sizes.
fn redis(recorder: &Recorder) -> Result<(), String> {
    let socket = recorder.folder.join("socket");
    let mut server = recorder
        .command("redis-server")
        .args(["--port", "0", "--save", "", "--unixsocket"])
        .arg(&socket)
        .stdout(Stdio::null())
        .spawn()
        .map_err(|why| format!("redis-server: {why}"))?;
    let asked = || {
        for _ in 0..100 {
            if socket.exists() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        for (size, number) in [("20", "2000"), ("200", "1500"), ("3000", "500")] {
            let mut load = Command::new("redis-benchmark");
            load.arg("-s").arg(&socket);
            load.args(["-q", "-c", "20", "-P", "2", "-r", "2000", "-d", size])
                .args(["-n", number])
                .args(["-t", "set,get,incr,lpush,rpop,hset,sadd,zadd,mset"]);
            succeed(load)?;
        }
        let mut stop = Command::new("redis-cli");
        stop.arg("-s").arg(&socket).args(["shutdown", "nosave"]);
        succeed(stop)
    };
    let result = asked();
    if result.is_err() {
        // It may have ended by itself; then there is nothing to kill.
        let _ = server.kill();
    }
    server
        .wait()
        .map_err(|why| format!("redis-server: {why}"))?;
    result
}

/// The compiler proper, on one file.
fn gcc(recorder: &Recorder, file: &str) -> Result<(), String> {
    let mut compiler = recorder.command("gcc");
    compiler.args(["-O2", "-w", "-S", "-o", "/dev/null"]);
    // Headers of a project usually lie beside its sources, or in a folder for them.
    if let Some(folder) = Path::new(file).parent() {
        compiler.arg("-I").arg(folder.join("../include"));
    }
    compiler.arg(file);
    succeed(compiler)
}

/// Turns the recorder's records into a trace.
fn trace(records: &[u8]) -> Result<Vec<u8>, String> {
    let mut writer = Writer::default();
    let mut slots: HashMap<u64, usize> = HashMap::new();
    let (mut thread, mut calls, mut unknown) = (0, 0, 0);
    for record in records.chunks_exact(RECORD).take(MOST) {
        let word = |at: usize| u32::from_le_bytes(record[at..at + 4].try_into().unwrap_or([0; 4]));
        let long = |at: usize| u64::from_le_bytes(record[at..at + 8].try_into().unwrap_or([0; 8]));
        let (what, by, old, new, size) = (word(0), word(4), long(8), long(16), long(24) as usize);
        if by != thread {
            thread = by;
            writer.thread(by as usize);
        }
        calls += 1;
        match what {
            0 => slots.insert(new, writer.alloc(size)),
            1 => slots.insert(new, writer.zeroed(size)),
            2 => slots.insert(new, writer.aligned(size, old as usize)),
            // A block from before the recorder was there.
            3 | 4 if !slots.contains_key(&old) => {
                unknown += 1;
                None
            }
            3 => slots.remove(&old).and_then(|slot| {
                writer.realloc(slot, size);
                slots.insert(new, slot)
            }),
            4 => {
                if let Some(slot) = slots.remove(&old) {
                    writer.free(slot);
                }
                None
            }
            _ => return Err(format!("a record of kind {what}")),
        };
    }
    if calls == 0 {
        return Err("the recorder wrote nothing".to_owned());
    }
    println!(
        "{calls} calls of {} kept, {unknown} of unknown blocks left out",
        records.len() / RECORD
    );
    Ok(writer.finish())
}
