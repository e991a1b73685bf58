//! The heap profile: estimates that are right, blocks that are seen being freed, and reports at exit.
//!
//! Each scenario is a process of its own, which runs this program again.

// Miri has no stacks to walk.
#![cfg(not(miri))]

use std::alloc::{Layout, alloc, dealloc, realloc};
use std::collections::BTreeMap;
use std::process::{Command, Output};

#[global_allocator]
static GLOBAL: gomem::GoMalloc = gomem::GoMalloc::new();

/// The numbers and parts of a message.
#[derive(Default)]
struct Fields {
    numbers: BTreeMap<u64, u64>,
    parts: Vec<(u64, Vec<u8>)>,
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        value |= u64::from(byte & 127) << shift;
        shift += 7;
        if byte < 128 {
            return value;
        }
    }
}

fn decode(mut bytes: &[u8]) -> Fields {
    let mut fields = Fields::default();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let value = varint(&mut bytes);
        if key & 7 == 0 {
            fields.numbers.insert(key >> 3, value);
        } else {
            let (part, rest) = bytes.split_at(value as usize);
            fields.parts.push((key >> 3, part.to_vec()));
            bytes = rest;
        }
    }
    fields
}

fn numbers(mut bytes: &[u8]) -> Vec<u64> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        found.push(varint(&mut bytes));
    }
    found
}

/// Allocated blocks and bytes, and those in use, by block size.
fn profile() -> BTreeMap<u64, [u64; 4]> {
    let mut bytes = Vec::new();
    gomem::profile::write_pprof(&mut bytes).unwrap();
    let mut sums = BTreeMap::new();
    for (field, part) in decode(&bytes).parts {
        if field != 2 {
            continue;
        }
        let sample = decode(&part);
        let part = |wanted| {
            &sample
                .parts
                .iter()
                .find(|(field, _)| *field == wanted)
                .unwrap()
                .1
        };
        let size = decode(part(3)).numbers[&3];
        let sum: &mut [u64; 4] = sums.entry(size).or_default();
        for (sum, value) in sum.iter_mut().zip(numbers(part(2))) {
            *sum += value;
        }
    }
    sums
}

#[inline(never)]
fn blocks(n: usize, size: usize) -> Vec<*mut u8> {
    let layout = Layout::from_size_align(size, 8).unwrap();
    // SAFETY: not of size zero.
    (0..n).map(|_| unsafe { alloc(layout) }).collect()
}

fn free(blocks: Vec<*mut u8>, size: usize) {
    let layout = Layout::from_size_align(size, 8).unwrap();
    for block in blocks {
        // SAFETY: from `blocks`.
        unsafe { dealloc(block, layout) };
    }
}

#[track_caller]
fn near(value: u64, wanted: u64) {
    let off = value.abs_diff(wanted) as f64 / wanted as f64;
    assert!(off < 0.1, "{value} is not near {wanted}");
}

/// Two places, two sizes, several threads; half of one is freed.
fn estimates() {
    gomem::profile::start(16 << 10);
    let work = || {
        let small = blocks(200_000, 64);
        let mut medium = blocks(40_000, 1024);
        let rest = medium.split_off(20_000);
        free(medium, 1024);
        (small.len(), rest.len())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), (200_000, 20_000));
        }
    });
    let found = profile();
    near(found[&64][0], 800_000);
    near(found[&64][2], 800_000);
    near(found[&64][3], 64 * 800_000);
    near(found[&1024][0], 160_000);
    near(found[&1024][1], 160_000 * 1024);
    near(found[&1024][2], 80_000);
    // Balanced allocation, which never empties a cache's list, counts as well.
    for _ in 0..400_000 {
        free(blocks(1, 320), 320);
    }
    let found = profile();
    near(found[&320][0], 400_000);
    assert_eq!(found[&320][2], 0);
}

/// With a rate of 1 every block is known, of every size, and in whatever way it is resized and freed.
fn every_block() {
    gomem::profile::start(1);
    let before = gomem::heap().stats();
    for size in [8, 24, 64, 2048, 8192, 16384, 32768] {
        let layout = Layout::from_size_align(size, 8).unwrap();
        let made = blocks(50, size);
        assert_eq!(profile()[&(size as u64)][2], 50);
        for &block in &made {
            let block = std::ptr::NonNull::new(block).unwrap();
            assert_eq!(gomem::heap().usable_size(block), size);
        }
        let mut moved = Vec::new();
        for block in made {
            // SAFETY: a block of this layout, written and read within its size.
            unsafe {
                block.write_bytes(7, size);
                let longer = realloc(block, layout, 3 * size + 1);
                assert!((0..size).all(|at| longer.add(at).read() == 7));
                let long = Layout::from_size_align(3 * size + 1, 8).unwrap();
                let back = realloc(longer, long, size);
                assert!((0..size).all(|at| back.add(at).read() == 7));
                moved.push(back);
            }
        }
        assert_eq!(profile()[&(size as u64)][2], 50);
        free(moved, size);
        assert_eq!(profile()[&(size as u64)][2], 0);
    }
    let mut large = blocks(1, 100_000);
    let layout = |size| Layout::from_size_align(size, 8).unwrap();
    let mut size = 100_000;
    for next in [101_000, 300_000, 9_000_000, 40_000_000, 50_000, 64] {
        // SAFETY: a block of this layout.
        large[0] = unsafe { realloc(large[0], layout(size), next) };
        size = next;
    }
    free(large, size);
    for (size, found) in profile().iter().filter(|(size, _)| **size > 32768) {
        assert_eq!(found[2], 0, "{size}");
    }
    gomem::profile::stop();
    drop(blocks(1, 64));
    let after = gomem::heap().stats();
    assert!(after.mallocs > before.mallocs && after.mallocs - after.frees == after.heap_objects);
}

/// What the heap counts is exact, sampled or not.
fn counts() {
    let size = 208;
    let class = |all: gomem::BySize| *all.iter().find(|class| class.size == size).unwrap();
    for rate in [0, 4096, 1, 0, 1 << 20] {
        gomem::profile::start(rate);
        let before = class(gomem::heap().stats_by_size());
        let made = blocks(10_000, size);
        let middle = class(gomem::heap().stats_by_size());
        assert_eq!(middle.mallocs - before.mallocs, 10_000);
        assert_eq!(middle.live - before.live, 10_000);
        free(made, size);
        let after = class(gomem::heap().stats_by_size());
        assert_eq!((after.mallocs, after.live), (middle.mallocs, before.live));
        assert_eq!(after.frees - before.frees, 10_000);
    }
}

/// Leaves blocks behind, for reports.
fn leaves_some() {
    std::mem::forget(blocks(1000, 112));
    // SAFETY: a child that only exits.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::exit(0);
        }
        libc::waitpid(child, std::ptr::null_mut(), 0);
    }
}

type Scenario = (&'static str, fn());
const SCENARIOS: [Scenario; 4] = [
    ("estimates", estimates),
    ("every block", every_block),
    ("counts", counts),
    ("leaves some", leaves_some),
];

fn scenario(name: &str, options: &str) -> Option<Output> {
    if let Ok(wanted) = std::env::var("SCENARIO") {
        let found = SCENARIOS.iter().find(|scenario| scenario.0 == wanted);
        found.unwrap().1();
        return None;
    }
    let thread = std::thread::current();
    let output = Command::new(std::env::current_exe().unwrap())
        .args([thread.name().unwrap(), "--exact", "--nocapture"])
        .env("SCENARIO", name)
        .env("GOMEM_OPTIONS", options)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {}\n{said}", output.status);
    Some(output)
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn estimates_are_near_the_truth() {
    scenario("estimates", "");
}

#[test]
fn every_block_is_known_with_a_rate_of_one() {
    scenario("every block", "");
}

#[test]
fn blocks_are_counted_exactly() {
    scenario("counts", "");
}

#[test]
fn what_is_wrong_in_the_environment_is_named() {
    let Some(output) = scenario(
        "leaves some",
        "stats_at_exit=yes,backgrund=1,leaks_at_exit=1",
    ) else {
        return;
    };
    let said = stderr(&output);
    assert!(
        said.contains("GOMEM_OPTIONS: stats_at_exit: the value is 0 or 1, or none, which is 1\n"),
        "{said}"
    );
    assert!(
        said.contains("GOMEM_OPTIONS: backgrund: keys are background"),
        "{said}"
    );
    // The child says nothing.
    assert_eq!(said.matches("still allocated at exit").count(), 1, "{said}");
    assert!(said.contains("blocks of 112"), "{said}");
}

#[test]
fn a_table_at_exit() {
    let Some(output) = scenario("leaves some", "stats_at_exit=1") else {
        return;
    };
    let said = stderr(&output);
    let row = said
        .lines()
        .find(|line| line.trim_start().starts_with("112 "))
        .unwrap();
    let live: usize = row.split_whitespace().nth(3).unwrap().parse().unwrap();
    assert!((1000..1200).contains(&live), "{said}");
    assert!(said.contains("helper thread"), "{said}");
}

#[test]
fn files_at_exit() {
    let directory = std::env::temp_dir().join(format!("gomem-profile-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let [report, pprof] = ["report", "pprof"].map(|name| directory.join(name));
    let options = format!(
        "profile=1,leaks_at_exit=1,report={},profile_at_exit={}",
        report.display(),
        pprof.display()
    );
    let Some(output) = scenario("leaves some", &options) else {
        return;
    };
    assert!(!stderr(&output).contains("gomem"), "{}", stderr(&output));
    let report = std::fs::read_to_string(report).unwrap();
    assert!(
        report.contains("bytes in      1000 blocks of 112"),
        "{report}"
    );
    let bytes = std::fs::read(&pprof).unwrap();
    assert!(decode(&bytes).parts.iter().any(|(field, _)| *field == 3));
    opens_in_pprof(&pprof);
    std::fs::remove_dir_all(directory).unwrap();
}

/// Go's tool reads it.
fn opens_in_pprof(file: &std::path::Path) {
    let go = std::env::var("GO").unwrap_or_else(|_| "go".to_owned());
    let ran = Command::new(go)
        .args(["tool", "pprof", "-top", "-sample_index=inuse_objects"])
        .arg(file)
        .output();
    match ran {
        Err(_) => println!("no Go here: `go tool pprof` is not tried"),
        Ok(ran) => {
            let said = String::from_utf8_lossy(&ran.stdout).into_owned();
            assert!(
                ran.status.success(),
                "{}",
                String::from_utf8_lossy(&ran.stderr)
            );
            println!("{said}");
            assert!(said.contains("Type: inuse_objects"), "{said}");
            assert!(said.lines().any(|line| line.ends_with(" blocks")), "{said}");
        }
    }
}
