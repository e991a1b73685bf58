//! The malloc suite: the heap of an ordinary program.
//!
//! All contestants are the same program with another global allocator; tcmalloc is preloaded under the C library's. What is single-threaded is
//! pinned, so that no row measures where the kernel put it.

use crate::bench::row::{Better, Pin, Row, Suite};

/// What rows have in common.
const ALONE: Row = Row {
    name: "",
    help: "",
    workload: "",
    arguments: &[],
    figure: "time",
    better: Better::Lower,
    pin: Pin::One,
    contestants: &[
        "gomem", "glibc", "mimalloc", "jemalloc", "snmalloc", "tcmalloc",
    ],
};

/// With threads.
const TOGETHER: Row = Row {
    pin: Pin::Any,
    ..ALONE
};

/// The suite.
pub const MALLOC: Suite = Suite {
    name: "malloc",
    help: "the allocator as a program's global allocator: speed and memory",
    rows: &[
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
            name: "freed by another thread",
            help: "One thread allocates blocks of 16 to 256 bytes, another frees them; the time for each.",
            workload: "remote",
            ..TOGETHER
        },
        Row {
            name: "short threads",
            help: "A thread is started, allocates 200 blocks, frees them and ends; the time for all that.",
            workload: "short_threads",
            ..TOGETHER
        },
        Row {
            name: "map of strings",
            help: "Entries of an ordered map of strings come and go; the time for each.",
            workload: "strings",
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
            name: "zeroed blocks",
            help: "Zeroed blocks of 256 KiB to 4 MiB, of which every 16th page is touched, are allocated and freed; the time for each.",
            workload: "zeroed",
            ..ALONE
        },
        Row {
            name: "memory at the peak",
            help: "300 MiB of blocks of 16 to 256 bytes live; resident bytes for each byte asked for.",
            workload: "peak",
            figure: "full",
            ..ALONE
        },
        Row {
            name: "memory after the peak",
            help: "Nine of ten of them were freed at random, 1.5 s ago; resident bytes for each byte that lives.",
            workload: "peak",
            figure: "tenth",
            ..ALONE
        },
        Row {
            name: "memory when all is freed",
            help: "All of them were freed, 1.5 s ago; what is still resident.",
            workload: "peak",
            figure: "empty",
            ..ALONE
        },
        Row {
            name: "memory as sizes shift",
            help: "100 MiB live while block sizes go from 32 bytes to 4 KiB in 16 steps; resident bytes for each byte that lives.",
            workload: "shift",
            figure: "shifted",
            ..ALONE
        },
    ],
};
