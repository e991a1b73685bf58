//! The table of jobs: everything that `cargo xtask test` runs, at one place.
//!
//! Each subsystem crate has a job of its own, built without the others, because that is how its users build it: what
//! compiles only by another crate's features shows here. The umbrella crate runs with each implementation that its
//! composition can take.

use super::server;

/// One job.
pub struct Job {
    /// What it is called on the command line.
    pub name: &'static str,
    /// One line of help.
    pub help: &'static str,
    /// Does it run only with `--long`, or when named?
    pub is_long: bool,
    /// What it does.
    pub work: Work,
}

/// What a job does.
#[derive(Clone, Copy)]
pub enum Work {
    /// `cargo test` with these arguments.
    Cargo(&'static [&'static str]),
    /// The ignored tests of one of the suites that cross crates, optimised, one after the other.
    Ignored(&'static str),
    /// Another command of this tool, which ends with a line `N passed, N failed`.
    Own(&'static [&'static str]),
    /// The key-value server under load from a second process.
    Server(&'static server::Trial),
}

const fn suite(name: &'static str, help: &'static str, arguments: &'static [&'static str]) -> Job {
    Job {
        name,
        help,
        is_long: false,
        work: Work::Cargo(arguments),
    }
}

const fn own(
    name: &'static str,
    help: &'static str,
    is_long: bool,
    arguments: &'static [&'static str],
) -> Job {
    Job {
        name,
        help,
        is_long,
        work: Work::Own(arguments),
    }
}

/// Every job, in the order in which they run: what is small and deep first.
pub const JOBS: &[Job] = &[
    suite("gomem", "the allocator alone", &["-p", "gomem"]),
    suite(
        "gogc",
        "the collector alone",
        &["-p", "gogc", "--features", "testing"],
    ),
    suite("gostack", "the stacks alone", &["-p", "gostack"]),
    suite("gosched", "the scheduler alone", &["-p", "gosched"]),
    suite("gosysmon", "the monitor alone", &["-p", "gosysmon"]),
    suite("goexplore", "the schedule explorer", &["-p", "goexplore"]),
    suite("gomem-c", "the C malloc interface", &["-p", "gomem-c"]),
    suite("macros", "the macros", &["-p", "goruntime-macros"]),
    suite(
        "goruntime",
        "the runtime, README included",
        &["-p", "goruntime"],
    ),
    suite(
        "thread-engine",
        "the runtime, each goroutine on a thread",
        &["-p", "goruntime", "--features", "thread-engine"],
    ),
    suite(
        "examples",
        "the examples' own tests",
        &["-p", "goruntime", "--examples"],
    ),
    suite(
        "soundness",
        "the suites that cross crates",
        &["-p", "goruntime-tests"],
    ),
    suite(
        "soundness-release",
        "the same, optimised: what a compiler may keep in registers shows here",
        &["-p", "goruntime-tests", "--release"],
    ),
    suite(
        "soundness-threads",
        "the same, each goroutine on a thread",
        &["-p", "goruntime-tests", "--features", "thread-engine"],
    ),
    suite(
        "system-allocator",
        "the suites on the system's allocator",
        &["-p", "goruntime-tests", "--features", "system-allocator"],
    ),
    suite("xtask", "this tool", &["-p", "xtask"]),
    own(
        "lessons",
        "the course's experiments, each at its smallest",
        false,
        &["lesson", "--all", "--tiny"],
    ),
    own(
        "layers",
        "the modules of each crate use each other in one direction",
        false,
        &["layers"],
    ),
    own(
        "fuzz-corpus",
        "the inputs that are kept for the fuzz targets",
        false,
        &["fuzz", "--corpus"],
    ),
    own(
        "crates",
        "other people's blocking crates on goroutines",
        false,
        &["crates"],
    ),
    own(
        "crates-threads",
        "the same, each goroutine on a thread",
        true,
        &["crates", "--threads"],
    ),
    own(
        "fastpath",
        "instructions of the hot paths against the golden figures",
        false,
        &["fastpath"],
    ),
    own(
        "preload",
        "programs that are there, on libgomem.so",
        false,
        &["preload", "--check"],
    ),
    own(
        "explore",
        "the concurrent protocols under the schedule explorer",
        false,
        &["explore"],
    ),
    own(
        "explore-long",
        "the same with more executions and wider bounds",
        true,
        &["explore", "--long"],
    ),
    own(
        "miri",
        "the suites without assembly, interpreted",
        true,
        &["miri"],
    ),
    own(
        "sanitize",
        "the suites under AddressSanitizer",
        true,
        &["sanitize", "address"],
    ),
    own("fuzz", "each fuzz target for ten seconds", true, &["fuzz"]),
    own(
        "soak",
        "everything at once for three minutes: nothing may grow",
        true,
        &["soak"],
    ),
    own(
        "faults",
        "a server under load whose surroundings fail, for twenty seconds",
        false,
        &["soak", "faults", "20"],
    ),
    own(
        "faults-long",
        "the same for an hour: memory must not grow",
        true,
        &["soak", "faults"],
    ),
    Job {
        name: "stress",
        help: "goroutines in a random mixture of everything, for an hour",
        is_long: true,
        work: Work::Ignored("stress"),
    },
    Job {
        name: "idle-gomem",
        help: "two gigabytes go back while all threads sleep, in Rust and in C",
        is_long: true,
        work: Work::Cargo(&[
            "--release",
            "-p",
            "gomem",
            "-p",
            "gomem-c",
            "--test",
            "background",
            "--test",
            "preload",
            "--",
            "--ignored",
            "two_gigabytes",
            "--test-threads=1",
        ]),
    },
    own(
        "soak-gomem",
        "the allocator under everything for half an hour: contents stay, memory falls",
        true,
        &["soak", "gomem"],
    ),
    Job {
        name: "gc-torture",
        help: "the only references move about on a thousand goroutines, by every collector",
        is_long: true,
        work: Work::Ignored("gc_torture"),
    },
    Job {
        name: "gc-pacing",
        help: "the heap keeps to its goal, and the process to its memory limit, for long",
        is_long: true,
        work: Work::Ignored("gc_pacing"),
    },
    Job {
        name: "monitor",
        help: "a program with which nothing happens is collected after two minutes",
        is_long: true,
        work: Work::Ignored("monitor"),
    },
    own(
        "preload-long",
        "servers, databases, test suites and builds on libgomem.so, installed where need be",
        true,
        &["preload", "--check", "--long"],
    ),
    Job {
        name: "kv",
        help: "the server under verified load for some seconds",
        is_long: false,
        work: Work::Server(&server::SMOKE),
    },
    Job {
        name: "kv-soak",
        help: "the same for three minutes: memory must stay flat",
        is_long: true,
        work: Work::Server(&server::SOAK),
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::{self, list_at, text_at};

    #[test]
    fn names_are_unique() {
        for (i, job) in JOBS.iter().enumerate() {
            assert!(
                JOBS[..i].iter().all(|other| other.name != job.name),
                "{}",
                job.name
            );
        }
    }

    #[test]
    fn every_crate_of_the_workspace_that_has_tests_has_a_job() {
        let metadata = workspace::metadata().unwrap();
        let members = list_at(&metadata, &["workspace_members"]);
        let is_member = |id: &str| {
            let same = |member: &_| matches!(member, tinyjson::JsonValue::String(m) if m == id);
            members.iter().any(same)
        };
        let mut seen = 0;
        for package in list_at(&metadata, &["packages"]) {
            let name = text_at(package, &["name"]).unwrap();
            if !is_member(text_at(package, &["id"]).unwrap()) {
                continue;
            }
            let folder = std::path::Path::new(text_at(package, &["manifest_path"]).unwrap());
            let sources = workspace::texts(folder.parent().unwrap(), &["rs"]).unwrap();
            if !sources.iter().any(|source| source.text.contains("#[test]")) {
                continue;
            }
            seen += 1;
            let names_it = |job: &Job| match job.work {
                Work::Cargo(arguments) => arguments.starts_with(&["-p", name]),
                Work::Ignored(_) | Work::Own(_) | Work::Server(_) => false,
            };
            assert!(JOBS.iter().any(names_it), "no job runs the tests of {name}");
        }
        assert!(seen > 0);
    }
}
