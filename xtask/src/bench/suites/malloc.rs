//! The malloc suite: the heap of an ordinary program.
//!
//! All contestants are the same program with another global allocator; tcmalloc is preloaded under the C library's. What is single-threaded is
//! pinned, so that no row measures where the kernel put it. Rows are in three groups: the time of each shape, the most memory that the same runs took, and
//! the memory that is held beside what lives.

use crate::bench::row::{Better, Pin, Row, Suite, peaks};

/// What rows have in common.
const ALONE: Row = Row {
    name: "",
    group: "time",
    help: "",
    workload: "",
    arguments: &[],
    environment: &[],
    figure: "time",
    better: Better::Lower,
    pin: Pin::One,
    contestants: &[
        "gomem",
        "glibc",
        "mimalloc2",
        "mimalloc3",
        "jemalloc",
        "snmalloc",
        "tcmalloc",
    ],
};

/// With threads.
const TOGETHER: Row = Row {
    pin: Pin::Any,
    ..ALONE
};

/// What is held.
const HELD: Row = Row {
    group: "memory held",
    ..ALONE
};

const TIMES: [Row; 25] = [
    Row {
        name: "pairs",
        help: "A block of 16 to 256 bytes is allocated and freed at once; the time for both.",
        workload: "pairs",
        ..ALONE
    },
    Row {
        name: "batch, newest first",
        help: "A thousand blocks of 16 to 256 bytes are allocated, then freed, the newest first; the time for a block.",
        workload: "batch",
        arguments: &["order=lifo"],
        ..ALONE
    },
    Row {
        name: "batch, oldest first",
        help: "The same, the oldest first.",
        workload: "batch",
        arguments: &["order=fifo"],
        ..ALONE
    },
    Row {
        name: "batch, random order",
        help: "The same, in random order.",
        workload: "batch",
        arguments: &["order=random"],
        ..ALONE
    },
    Row {
        name: "one size",
        help: "Of 10,000 blocks of 64 bytes one at random is replaced; the time for each.",
        workload: "churn",
        arguments: &["size=64"],
        ..ALONE
    },
    Row {
        name: "random sizes",
        help: "Of 10,000 blocks of 16 bytes to 32 KiB, each power of two equally often, one at random is replaced; the time for each.",
        workload: "churn",
        arguments: &["replaced=1500000"],
        ..ALONE
    },
    Row {
        name: "replacement",
        help: "Of 20,000 blocks with the sizes of ordinary programs (up to 16 KiB) one at random is replaced; the time for each.",
        workload: "replace",
        ..ALONE
    },
    Row {
        name: "replacement, two threads",
        help: "The same on two threads, each with blocks of its own.",
        workload: "replace",
        arguments: &["threads=2"],
        ..TOGETHER
    },
    Row {
        name: "replacement, four threads",
        help: "The same on four threads.",
        workload: "replace",
        arguments: &["threads=4", "replaced=800000"],
        ..TOGETHER
    },
    Row {
        name: "replacement, eight threads",
        help: "The same on eight threads.",
        workload: "replace",
        arguments: &["threads=8", "replaced=400000"],
        ..TOGETHER
    },
    Row {
        name: "freed by another thread",
        help: "One thread allocates blocks of 16 to 256 bytes, another frees them; the time for each.",
        workload: "remote",
        ..TOGETHER
    },
    Row {
        name: "freed by another thread, four pairs",
        help: "The same with four threads that allocate, each with one that frees.",
        workload: "remote",
        arguments: &["pairs=4", "batches=10000"],
        ..TOGETHER
    },
    Row {
        name: "left to successors",
        help: "Two threads each replace blocks of 10 to 500 bytes among 1,000, and leave these to a new thread, 50 times (Larson's server); the time for each.",
        workload: "larson",
        ..TOGETHER
    },
    Row {
        name: "left to successors, eight threads",
        help: "The same with eight threads at once.",
        workload: "larson",
        arguments: &["threads=8", "replaced=20000"],
        ..TOGETHER
    },
    Row {
        name: "short threads",
        help: "A thread is started, allocates 200 blocks, frees them and ends; the time for all that.",
        workload: "short_threads",
        ..TOGETHER
    },
    Row {
        name: "phases",
        help: "24 MiB of blocks are built up, small ones or those of ordinary programs in turn, and all are freed, 12 times; the time for a block.",
        workload: "phases",
        ..ALONE
    },
    Row {
        name: "map of strings",
        help: "Entries of an ordered map of strings come and go; the time for each.",
        workload: "strings",
        ..ALONE
    },
    Row {
        name: "aligned blocks",
        help: "Of 1,000 blocks of 32 bytes to 2 KiB, aligned to 32 bytes to 4 KiB, one at random is replaced; the time for each.",
        workload: "aligned",
        ..ALONE
    },
    Row {
        name: "zeroed small blocks",
        help: "Of 10,000 zeroed blocks of 16 bytes to 1 KiB one at random is replaced; the time for each.",
        workload: "zeroed_small",
        ..ALONE
    },
    Row {
        name: "zeroed blocks",
        help: "Zeroed blocks of 256 KiB to 4 MiB, of which every 16th page is touched, are allocated and freed; the time for each.",
        workload: "zeroed",
        ..ALONE
    },
    Row {
        name: "blocks of 64 KiB to 1 MiB",
        help: "Of 32 blocks one at random is replaced, and its first and last word written; the time for each.",
        workload: "blocks",
        ..ALONE
    },
    Row {
        name: "growing vectors",
        help: "Vectors grow to 8 MiB by pushing words; the time for each word.",
        workload: "growth",
        ..ALONE
    },
    Row {
        name: "sizes shift",
        help: "64 MiB live while block sizes go from 32 bytes to 4 KiB in 16 steps, in each of which half is replaced; the time for a block.",
        workload: "shift",
        ..ALONE
    },
    Row {
        name: "trace of Redis",
        help: "The calls of a Redis server under its own benchmark, 617,806 of them, ten times on one thread in their order; the time for each.",
        workload: "trace",
        arguments: &["of=redis"],
        ..ALONE
    },
    Row {
        name: "trace of a compiler",
        help: "The same with the 652,775 calls of GCC 12 as it compiles a C file of 1,075 lines and its headers with -O2.",
        workload: "trace",
        arguments: &["of=gcc"],
        ..ALONE
    },
];

const PEAKS: [Row; TIMES.len()] = peaks(
    &TIMES,
    "The most resident memory that the process had in the runs of the row of that name, program and libraries included.",
);

const HOLDS: [Row; 4] = [
    Row {
        name: "memory at the peak",
        help: "200 MiB of blocks of 16 to 256 bytes live; resident bytes for each byte asked for.",
        workload: "peak",
        figure: "full",
        ..HELD
    },
    Row {
        name: "memory after the peak",
        help: "Nine of ten of them were freed at random, 1.5 s ago; resident bytes for each byte that lives.",
        workload: "peak",
        figure: "tenth",
        ..HELD
    },
    Row {
        name: "memory when all is freed",
        help: "All of them were freed, 1.5 s ago; what is still resident.",
        workload: "peak",
        figure: "empty",
        ..HELD
    },
    Row {
        name: "memory as sizes shift",
        help: "At the end of the row about shifting sizes; resident bytes for each byte that lives.",
        workload: "shift",
        figure: "shifted",
        ..HELD
    },
];

/// All of them, group after group.
const ROWS: [Row; 2 * TIMES.len() + HOLDS.len()] = {
    let mut rows = [ALONE; 2 * TIMES.len() + HOLDS.len()];
    let mut at = 0;
    while at < TIMES.len() {
        rows[at] = TIMES[at];
        rows[TIMES.len() + at] = PEAKS[at];
        at += 1;
    }
    at = 0;
    while at < HOLDS.len() {
        rows[2 * TIMES.len() + at] = HOLDS[at];
        at += 1;
    }
    rows
};

/// The suite.
pub const MALLOC: Suite = Suite {
    name: "malloc",
    help: "the allocator as a program's global allocator: speed and memory",
    rows: &ROWS,
};
