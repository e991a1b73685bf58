//! gdb sees parked goroutines by the script that is shipped. Skipped, with a line that says so, where there is no gdb, or where it may not
//! trace a process.
#![cfg(not(feature = "thread-engine"))]

use goruntime::{chan, go, goroutines, run_main, yield_now};
use goruntime_tests::is_child;
use std::process::Command;

#[inline(never)]
fn a_function_that_waits(receiver: &chan::Receiver<u32>) -> Option<u32> {
    let received = receiver.recv().ok();
    std::hint::black_box(received)
}

#[test]
fn gdb_prints_the_stack_of_a_parked_goroutine() {
    if is_child() {
        run_main(|| {
            let (sender, receiver) = chan::bounded(1);
            let waiting = go(move || a_function_that_waits(&receiver));
            let waits = || {
                goroutines::all()
                    .unwrap()
                    .iter()
                    .any(|g| g.state() == "chan receive")
            };
            while !waits() {
                yield_now();
            }
            // SAFETY: stops in the debugger.
            unsafe { libc::raise(libc::SIGTRAP) };
            sender.send(5).unwrap();
            assert_eq!(waiting.join().unwrap(), Some(5));
        });
        return;
    }
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../crates/goruntime/gdb/goroutines.py"
    );
    let gdb = Command::new("gdb")
        .args(["-batch", "-nx", "-ex", "set debuginfod enabled off", "-ex", "run"])
        .args(["-ex", &format!("source {script}"), "-ex", "goroutines"])
        .args(["-ex", "python [gdb.execute('goroutine %d' % g.number) for g in list(goroutines()) if g.is_off_thread()]"])
        .args(["-ex", "info registers rip", "-ex", "continue", "--args"])
        .arg(std::env::current_exe().unwrap())
        .args(["gdb_prints_the_stack_of_a_parked_goroutine", "--exact", "--nocapture"])
        .env("GORUNTIME_CHILD", "1")
        .output();
    let Ok(output) = gdb else {
        println!("skipped: there is no gdb here");
        return;
    };
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    if !said.contains("SIGTRAP") {
        println!("skipped: gdb cannot run programs here: {errors}");
        return;
    }
    assert!(said.contains("waiting"), "{said}{errors}");
    assert!(said.contains("a_function_that_waits"), "{said}{errors}");
    // The stack ends where the goroutine began.
    assert!(said.contains("trampoline"), "{said}{errors}");
    // And the program goes on as if nothing had been looked at.
    assert!(said.contains("parked_goroutine ... ok"), "{said}{errors}");
}
