//! The thread that takes samples out, walks their calls, and counts them.
//!
//! Invariant: while the loader's lock is held nothing is allocated, since whoever allocates may wait for the collector, which takes that lock.

use super::SAMPLES;
use super::ring::Slot;
use super::sample::{Labels, Sample};
use super::timers::Timers;
use crate::atomic::{AtomicU32, Ordering::*};
use crate::goroutines::symbols::within_calls;
use crate::goroutines::unwind::{DEPTH, Start, Unwinder, Words};
use crate::profile::{CPU, Profile, Value};
use crate::world::futex;
use crate::world::memory::Memory;
use crate::world::modules::with_modules;
use std::collections::HashMap;
use std::io;
use std::panic::Location;
use std::time::{Duration, Instant};

/// Processor time between two samples of a thread. Go's, for its reason: kernels do not count finer than some milliseconds.
pub(super) const PERIOD: Duration = Duration::from_millis(10);

/// How long samples may lie.
const PAUSE: Duration = Duration::from_millis(20);

/// Room for samples: those of a pause, of as many processors as there are, and then some.
fn slots() -> usize {
    64 + 16 * std::thread::available_parallelism().map_or(1, usize::from)
}

/// What is the same of samples that are counted together.
#[derive(PartialEq, Eq, Hash)]
struct Same {
    /// As walked: the instruction that was interrupted, then return addresses.
    calls: Vec<usize>,
    site: *const Location<'static>,
    labels: *const Labels,
}

/// A sample whose calls are walked.
struct Walked {
    weight: u64,
    site: *const Location<'static>,
    labels: *const Labels,
    /// Where its calls end, among those of all.
    end: usize,
}

/// Profiles until `stop` is not 0. Called once at a time.
///
/// # Errors
/// If there is no memory, or no timer.
pub(super) fn run(stop: &AtomicU32, started: impl FnOnce(io::Result<()>)) -> Option<Profile> {
    let mut timers = Timers::new(PERIOD);
    let (memory, len) = match begin(&mut timers) {
        Ok(begun) => begun,
        Err(why) => {
            started(Err(why));
            return None;
        }
    };
    started(Ok(()));
    let begin = Instant::now();
    let mut profile = Profile::new(&CPU, PERIOD.as_nanos() as u64);
    let mut counts = HashMap::new();
    let mut batch = Batch::new(len);
    while stop.load(Acquire) == 0 {
        futex::wait(stop, 0, Some(PAUSE));
        batch.take(&mut counts);
        // Threads that it fails for are not seen; those seen before still are.
        let _ = timers.update();
    }
    if timers.are_shared() {
        profile.remarks.push(
            "threads shared one timer, since there was none for each (ulimit -i): who was sampled was up to the kernel".to_owned(),
        );
    }
    drop(timers);
    SAMPLES.close(|| std::thread::sleep(Duration::from_micros(100)));
    batch.take(&mut counts);
    let lost = SAMPLES.lost();
    drop(memory);
    profile.over = begin.elapsed();
    if lost > 0 {
        profile.remarks.push(format!("{lost} samples were lost"));
    }
    for (same, count) in counts {
        add(&mut profile, &same, count);
    }
    Some(profile)
}

/// Lets samples come.
fn begin(timers: &mut Timers) -> io::Result<(Memory, usize)> {
    let len = slots();
    let bytes = len * size_of::<Slot<Sample>>();
    let memory = Memory::new(bytes).ok_or_else(io::Error::last_os_error)?;
    let slots = memory.words().as_ptr().cast_mut().cast();
    // SAFETY: zeroed memory is free slots; the ring is closed before the memory goes, and whoever profiles is alone.
    unsafe { SAMPLES.open(slots, len) };
    timers
        .update()
        .inspect_err(|_| SAMPLES.close(std::thread::yield_now))?;
    Ok((memory, len))
}

/// Room for what is walked while the loader's lock is held.
struct Batch {
    walked: Vec<Walked>,
    calls: Vec<usize>,
}

impl Batch {
    fn new(len: usize) -> Batch {
        Batch {
            walked: Vec::with_capacity(len),
            calls: Vec::with_capacity(len * DEPTH),
        }
    }

    /// Takes out the samples that there are, and counts them.
    fn take(&mut self, counts: &mut HashMap<Same, u64>) {
        self.walked.clear();
        self.calls.clear();
        let Batch { walked, calls } = self;
        with_modules(|modules| {
            // SAFETY: they stay loaded while `with_modules` runs.
            let mut unwinder = unsafe { Unwinder::new(modules) };
            // Each slot is looked at once, so there is room for all.
            let each = |sample: &Sample| {
                let start = Start {
                    ip: sample.ip,
                    sp: sample.sp,
                    fp: sample.fp,
                    others: Some(sample.others),
                };
                let words = Words::copied(sample.sp & !7, &sample.words[..sample.len]);
                // SAFETY: the words are the sample's.
                unsafe { unwinder.walk(start, words, |call| calls.push(call)) };
                walked.push(Walked {
                    weight: sample.weight,
                    site: sample.site,
                    labels: sample.labels,
                    end: calls.len(),
                });
            };
            // SAFETY: opened in `begin`, and its memory is there.
            unsafe { SAMPLES.drain(each) };
        });
        let mut at = 0;
        for sample in &self.walked {
            let same = Same {
                calls: self.calls[at..sample.end].to_vec(),
                site: sample.site,
                labels: sample.labels,
            };
            at = sample.end;
            *counts.entry(same).or_default() += sample.weight;
        }
    }
}

fn add(profile: &mut Profile, same: &Same, count: u64) {
    // SAFETY: null, or what a `&'static` pointed to, and labels are never freed.
    let (site, own) = unsafe { (same.site.as_ref(), same.labels.as_ref()) };
    let mut labels = Vec::new();
    if let Some(site) = site {
        let site = format!("{}:{}", site.file(), site.line());
        labels.push(("created".to_owned(), Value::Text(site)));
    }
    for (key, value) in own.iter().flat_map(|labels| &labels.0) {
        labels.push((key.clone(), Value::Text(value.clone())));
    }
    let time = count * PERIOD.as_nanos() as u64;
    let calls = within_calls(&same.calls).collect();
    profile.add(calls, labels, &[count as i64, time as i64]);
}
