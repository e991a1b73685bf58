//! The programs that every system has, and Python where it is.

use crate::harness;
use std::process::Command;

#[track_caller]
fn run(program: &str, arguments: &[&str]) -> Option<harness::Ran> {
    Some(harness::run(Command::new(program).args(arguments))?.well())
}

#[test]
fn it_is_loaded_and_defines_malloc() {
    let script = "grep -c libgomem /proc/self/maps";
    let output = run("/bin/sh", &["-c", script]).unwrap();
    let lines: u32 = String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .unwrap();
    assert!(lines > 0);
}

#[test]
fn shell_tools_work() {
    let output = run("/bin/ls", &["/"]).unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("proc"));
    let script = "seq 200000 | sort -r | sort -n --parallel=4 -S 10M | tail -1; for i in 1 2 3; do (echo $i | cat); done";
    let output = run("/bin/sh", &["-c", script]).unwrap();
    assert_eq!(output.stdout, b"200000\n1\n2\n3\n");
}

/// Where there is no Python the test passes by saying so.
#[test]
fn python_works() {
    let script = "
import threading, json
def work(n, out):
    for i in range(30):
        text = json.dumps({str(k): list(range(k % 50)) for k in range(n)})
        out.append(len(json.loads(text)))
outs = [[] for _ in range(4)]
threads = [threading.Thread(target=work, args=(300, out)) for out in outs]
[t.start() for t in threads]
[t.join() for t in threads]
print(sum(map(sum, outs)), len(bytearray(50_000_000)), sum(range(10)))";
    match run("python3", &["-c", script]) {
        Some(output) => assert_eq!(output.stdout, b"36000 50000000 45\n"),
        None => println!("no python3 here: nothing is tested"),
    }
}
