//! Profiles: where memory was allocated, where processor time goes, where goroutines stand and what they wait for; in the format of `pprof`.
//!
//! ```no_run
//! use goruntime::profile;
//! use std::{fs::File, time::Duration};
//!
//! profile::cpu(Duration::from_secs(5))?.write_pprof(&mut File::create("cpu.pb.gz")?)?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! `go tool pprof cpu.pb.gz` opens it, and so does every other reader of that format: names of functions, inlined ones too, files and lines are in it. A
//! program that serves [`debug`](crate::debug) gives them out under `/debug/pprof/`.
//!
//! | profile | what a sample stands for | costs |
//! | --- | --- | --- |
//! | [`cpu`](fn@cpu) | ten milliseconds of a thread's processor time | nothing while off; on, some microseconds for each sample |
//! | [`heap`], [`allocs`] | blocks that were allocated, and those that live | nothing while off; on ([`start_heap`]), a sample for each 512 KiB allocated |
//! | [`goroutines`] | a goroutine | the world is stopped while they are walked |
//! | [`goroutine_leaks`] | a goroutine that nobody can wake any more | the world is stopped while all that is reachable is walked |
//! | [`mutex`], [`block`] | a wait | nothing while off; on ([`set_mutex_fraction`], [`set_block_rate`]), a clock at each wait and a walk for each sample |
//! | [`threads`] | a thread that runs goroutines | nothing |

mod contention;
mod cpu;
mod encode;
mod text;

pub(crate) use contention::Watching;
pub use contention::{set_block_rate, set_mutex_fraction};
pub use cpu::{CpuProfiler, with_labels};

use crate::goroutines as stacks;
use crate::goroutines::symbols::{forget, within_calls};
use gomem::profile::pprof::call;
use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, SystemTime};

/// Bytes allocated for each sample of the heap profile, as in Go.
pub const HEAP_RATE: u64 = 512 << 10;

/// What there are profiles of.
#[derive(Debug)]
pub(crate) struct Kind {
    /// As under `/debug/pprof/`.
    pub(crate) name: &'static str,
    /// Types and units of a sample's values.
    types: &'static [(&'static str, &'static str)],
    /// For what a sample is taken.
    period: (&'static str, &'static str),
    /// The type of value that readers show first; empty for the last one.
    default: &'static str,
    /// Functions that readers leave out, with what they call: a regular expression.
    drop: &'static str,
}

const HEAP: Kind = Kind {
    name: "heap",
    types: &gomem::profile::TYPES,
    period: ("space", "bytes"),
    default: "inuse_space",
    drop: gomem::profile::ALLOCATORS,
};

const ALLOCS: Kind = Kind {
    name: "allocs",
    default: "alloc_space",
    ..HEAP
};

const GOROUTINE: Kind = Kind {
    name: "goroutine",
    types: &[("goroutine", "count")],
    period: ("goroutine", "count"),
    default: "",
    drop: "",
};

const GOROUTINELEAK: Kind = Kind {
    name: "goroutineleak",
    types: &[("goroutineleak", "count")],
    period: ("goroutineleak", "count"),
    ..GOROUTINE
};

const THREADCREATE: Kind = Kind {
    name: "threadcreate",
    types: &[("threadcreate", "count")],
    period: ("threadcreate", "count"),
    ..GOROUTINE
};

const CPU: Kind = Kind {
    name: "profile",
    types: &[("samples", "count"), ("cpu", "nanoseconds")],
    period: ("cpu", "nanoseconds"),
    ..GOROUTINE
};

/// What a sample is of: addresses within its calls, the innermost first, and labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    calls: Vec<usize>,
    labels: Vec<(String, Value)>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    Text(String),
    Bytes(i64),
}

/// A profile, as it was taken. Names are looked up when it is written.
#[derive(Clone, Debug)]
pub struct Profile {
    kind: &'static Kind,
    samples: BTreeMap<Key, Vec<i64>>,
    at: SystemTime,
    /// Over which time; zero for what is of one moment or of all time.
    over: Duration,
    period: u64,
    remarks: Vec<String>,
}

impl Profile {
    fn new(kind: &'static Kind, period: u64) -> Profile {
        Profile {
            kind,
            samples: BTreeMap::new(),
            at: SystemTime::now(),
            over: Duration::ZERO,
            period,
            remarks: Vec::new(),
        }
    }

    /// Adds to the sample of these calls.
    fn add(&mut self, calls: Vec<usize>, labels: Vec<(String, Value)>, values: &[i64]) {
        let key = Key { calls, labels };
        let none = || vec![0; values.len()];
        let sums = self.samples.entry(key).or_insert_with(none);
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum = sum.saturating_add(*value);
        }
    }

    /// The sum of the samples' values, of each type in order.
    ///
    /// ```
    /// assert!(goruntime::profile::threads().total()[0] < 10_000);
    /// ```
    pub fn total(&self) -> Vec<i64> {
        let mut total = vec![0i64; self.kind.types.len()];
        for values in self.samples.values() {
            for (sum, value) in total.iter_mut().zip(values) {
                *sum = sum.saturating_add(*value);
            }
        }
        total
    }

    /// What has come since an earlier profile of the same kind; less than nothing where something has gone.
    #[must_use]
    pub fn since(&self, earlier: &Profile) -> Profile {
        let mut difference = self.clone();
        difference.over = self.at.duration_since(earlier.at).unwrap_or_default();
        for (key, values) in &earlier.samples {
            let negative: Vec<i64> = values.iter().map(|value| -value).collect();
            difference.add(key.calls.clone(), key.labels.clone(), &negative);
        }
        difference
            .samples
            .retain(|_, values| values.iter().any(|&value| value != 0));
        difference
    }

    /// Writes it for `go tool pprof` and its like: a protocol buffer, compressed by gzip.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_pprof(&self, out: &mut impl io::Write) -> io::Result<()> {
        let written = gomem::profile::unsampled(|| encode::write(self, out));
        forget();
        written
    }

    /// Writes it for people, in the form that Go has for `debug=1`, which `go tool pprof` reads as well; of a CPU profile, the functions by their time.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_text(&self, out: &mut impl io::Write) -> io::Result<()> {
        let text = gomem::profile::unsampled(|| text::of(self));
        forget();
        out.write_all(text.as_bytes())
    }
}

/// Begins to sample allocations, at Go's rate, unless that was begun before. Go has it always on; here the program decides, or the first who asks for
/// `/debug/pprof/heap`.
pub fn start_heap() {
    if gomem::profile::rate() == 0 {
        gomem::profile::start(HEAP_RATE);
    }
}

/// What lives on the heap, by where it was allocated, as far as allocations were sampled ([`start_heap`]). Blocks of the Rust heap; of collected objects
/// there is none.
pub fn heap() -> Profile {
    of_heap(&HEAP)
}

/// The same profile, with what was ever allocated shown first.
pub fn allocs() -> Profile {
    of_heap(&ALLOCS)
}

fn of_heap(kind: &'static Kind) -> Profile {
    let mut profile = Profile::new(kind, gomem::profile::rate());
    gomem::profile::for_each_site(|site| {
        let (all, live) = (site.allocated, site.live);
        let values = [all.0, all.1, live.0, live.1].map(|value| value as i64);
        let calls = site.stack.iter().map(|&pc| call(pc)).collect();
        let size = ("bytes".to_owned(), Value::Bytes(site.block_size as i64));
        profile.add(calls, vec![size], &values);
    });
    profile
}

/// Where every goroutine stands. Stops the world, as [`goroutines::all`](crate::goroutines::all) does.
///
/// # Errors
/// As [`goroutines::all`](crate::goroutines::all).
pub fn goroutines() -> io::Result<Profile> {
    Ok(of_goroutines(&GOROUTINE, &stacks::all()?))
}

/// Where the goroutines stand that nobody can wake any more ([`goroutines::leaked`](crate::goroutines::leaked)): Go's `goroutineleak` profile.
///
/// # Errors
/// As [`goroutines::leaked`](crate::goroutines::leaked).
pub fn goroutine_leaks() -> io::Result<Profile> {
    Ok(of_goroutines(&GOROUTINELEAK, &stacks::leaked()?))
}

fn of_goroutines(kind: &'static Kind, all: &[stacks::GoroutineStack]) -> Profile {
    let mut profile = Profile::new(kind, 1);
    for goroutine in all {
        let mut labels = vec![("state".to_owned(), Value::Text(goroutine.state()))];
        if let Some(name) = goroutine.name() {
            labels.push(("name".to_owned(), Value::Text(name.to_owned())));
        }
        profile.add(within_calls(goroutine.calls()).collect(), labels, &[1]);
    }
    profile
}

/// The threads that run goroutines. It is not known from where they were made, as in Go, so it is only their number.
pub fn threads() -> Profile {
    let mut profile = Profile::new(&THREADCREATE, 1);
    let threads = crate::metrics::snapshot().threads;
    profile.add(Vec::new(), Vec::new(), &[i64::from(threads)]);
    profile
}

/// Where processor time goes from now on for `duration`: of all threads of the process, those of the runtime among them.
///
/// # Errors
/// As [`CpuProfiler::start`].
pub fn cpu(duration: Duration) -> io::Result<Profile> {
    let profiler = CpuProfiler::start()?;
    gosched::sleep(duration);
    Ok(profiler.stop())
}

/// Which goroutines made others wait for a lock, at the places where they let go of it. Waits are seen from [`set_mutex_fraction`] on.
pub fn mutex() -> Profile {
    contention::mutex()
}

/// For how long goroutines waited for locks, channels and each other, at the places where they waited. Waits are seen from [`set_block_rate`] on.
pub fn block() -> Profile {
    contention::block()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(samples: &[(&[usize], i64)]) -> Profile {
        let mut profile = Profile::new(&GOROUTINE, 1);
        for (calls, value) in samples {
            profile.add(calls.to_vec(), Vec::new(), &[*value]);
        }
        profile
    }

    #[test]
    fn equal_stacks_are_one_sample() {
        let profile = profile(&[(&[1, 2], 3), (&[1], 1), (&[1, 2], 4)]);
        assert_eq!(profile.samples.len(), 2);
        assert_eq!(profile.total(), [8]);
    }

    #[test]
    fn a_difference_has_what_came_and_what_went() {
        let before = profile(&[(&[1], 5), (&[2], 1), (&[3], 2)]);
        let after = profile(&[(&[1], 7), (&[3], 2), (&[4], 1)]);
        let difference = after.since(&before);
        let values: Vec<_> = difference
            .samples
            .iter()
            .map(|(key, values)| (key.calls[0], values[0]))
            .collect();
        assert_eq!(values, [(1, 2), (2, -1), (4, 1)]);
    }
}
