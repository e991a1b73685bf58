//! What `GOGC` trades: processor time against memory.
//!
//! A program with a live heap of a fixed size makes garbage for a while, once for each setting. It is started again each time, since settings are read once.

use crate::{child, point};
use goruntime::gc::{Array, Gc, GcPtr, Trace};
use std::hint::black_box;

/// An object of 64 bytes with a pointer in it.
#[derive(Trace)]
pub struct Node {
    pub next: GcPtr<Node>,
    pub data: [u64; 7],
}

pub fn node() -> Gc<Node> {
    Gc::new(Node {
        next: GcPtr::null(),
        data: [1; 7],
    })
}

/// So many nodes in an array.
pub fn live(count: usize) -> Gc<Array<GcPtr<Node>>> {
    Gc::array(count, |_| GcPtr::new(Some(node())))
}

pub fn run(tiny: bool) {
    let settings: &[u32] = match tiny {
        true => &[100],
        false => &[25, 50, 100, 200, 400, 800],
    };
    for &gogc in settings {
        let printed = child::run("pacing-child", tiny, &[("GOGC", &gogc.to_string())]).out;
        let figures: Vec<f64> = printed
            .split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect();
        let [time, memory, live] = figures[..] else {
            panic!("not three figures: {printed}");
        };
        point("pacing-time", "processor-time", gogc, time);
        point("pacing-memory", "the-most-at-any-time", gogc, memory);
        point("pacing-memory", "alive", gogc, live);
    }
}

/// Prints the processor time of the whole in milliseconds for a mebibyte allocated, the most memory in MiB, and the live heap in MiB.
pub fn run_child(tiny: bool) {
    let (alive, allocated) = if tiny {
        (1 << 10, 1 << 14)
    } else {
        (1 << 20, 1 << 24)
    };
    let table = live(alive);
    let before = processor_time();
    for _ in 0..allocated {
        black_box(node());
    }
    let time = processor_time() - before;
    let mib = f64::from(1 << 20);
    let bytes = f64::from(64);
    assert_eq!(table.len(), alive);
    println!(
        "{} {} {}",
        time * 1e3 / (f64::from(allocated) * bytes / mib),
        peak() / mib,
        alive as f64 * bytes / mib
    );
}

/// Seconds of processor time that the process has used.
pub fn processor_time() -> f64 {
    // SAFETY: the structure is plain numbers, and is filled in.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::getrusage(libc::RUSAGE_SELF, &mut usage), 0);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// The most physical memory that the process had at any time, in bytes.
fn peak() -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("/proc is there");
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    kib.expect("the kernel tells it") * 1024.0
}
