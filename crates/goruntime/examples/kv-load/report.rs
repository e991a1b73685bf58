//! What happened, gathered from all connections, and how it is printed.

use crate::histogram::{Counts, Histogram};
use crate::options::{Limit, Options};
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Connections share this many histograms, so that they do not all write to the same memory.
const SHARDS: usize = 16;

/// Errors printed; the others are only counted.
const PRINTED: u64 = 10;

/// The reporter looks this often whether the load is over.
const TICK: Duration = Duration::from_millis(50);

/// What happened so far. Latencies are in microseconds.
pub struct Tally {
    start: Instant,
    latencies: Vec<Histogram>,
    taken: AtomicU64,
    errors: AtomicU64,
    mismatches: AtomicU64,
    checked: AtomicU64,
    finished: AtomicBool,
    /// How long the load lasted, once there is no more to send; reading back comes after that.
    seconds: OnceLock<f64>,
}

impl Tally {
    /// Nothing has happened; time runs from now.
    pub fn new() -> Tally {
        Tally {
            start: Instant::now(),
            latencies: (0..SHARDS).map(|_| Histogram::new()).collect(),
            taken: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            mismatches: AtomicU64::new(0),
            checked: AtomicU64::new(0),
            finished: AtomicBool::new(false),
            seconds: OnceLock::new(),
        }
    }

    /// Takes a batch of the work that is left. Gives its number of requests, 0 if nothing is left.
    pub fn take(&self, options: &Options) -> u64 {
        let batch = u64::from(options.pipeline);
        let left = match options.limit {
            Limit::Requests(all) => all.saturating_sub(self.taken.fetch_add(batch, Relaxed)),
            Limit::Duration(time) if self.start.elapsed() < time => batch,
            Limit::Duration(_) => 0,
        };
        if left == 0 {
            self.seconds
                .get_or_init(|| self.start.elapsed().as_secs_f64());
        }
        left.min(batch)
    }

    /// A reply came after this time.
    pub fn record(&self, connection: u32, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.latencies[connection as usize % SHARDS].record(micros, 1);
    }

    /// Something went wrong.
    pub fn error(&self, text: &str) {
        if self.errors.fetch_add(1, Relaxed) < PRINTED {
            eprintln!("kv-load: error: {text}");
        }
    }

    /// A reply was not what was written.
    pub fn mismatch(&self, connection: u32, difference: &str) {
        if self.mismatches.fetch_add(1, Relaxed) < PRINTED {
            eprintln!("kv-load: mismatch: connection {connection}: {difference}");
        }
    }

    /// A reply was what was written.
    pub fn checked(&self) {
        self.checked.fetch_add(1, Relaxed);
    }

    /// All connections are done.
    pub fn finish(&self) {
        self.seconds
            .get_or_init(|| self.start.elapsed().as_secs_f64());
        self.finished.store(true, Relaxed);
    }

    /// Has nothing gone wrong?
    pub fn is_clean(&self) -> bool {
        self.errors.load(Relaxed) == 0 && self.mismatches.load(Relaxed) == 0
    }

    fn counts(&self) -> Counts {
        let mut counts = Counts::new();
        self.latencies
            .iter()
            .for_each(|histogram| counts.add(histogram));
        counts
    }
}

/// Prints a line of figures for each interval until the load is over.
pub fn run(options: &Options, tally: &Tally) {
    let mut before = Counts::new();
    let mut then = tally.start;
    while !tally.finished.load(Relaxed) {
        goruntime::time::sleep(TICK.min(options.interval));
        let elapsed = then.elapsed();
        if elapsed < options.interval {
            continue;
        }
        let counts = tally.counts();
        if tally.seconds.get().is_none() {
            print_line(&stats(&counts.since(&before), elapsed, tally));
        } else if options.verify {
            print_line(&format!(
                "verifying checked={}",
                tally.checked.load(Relaxed)
            ));
        }
        then += elapsed;
        before = counts;
    }
}

fn stats(counts: &Counts, elapsed: Duration, tally: &Tally) -> String {
    format!(
        "stats rps={:.0} p50_us={} p99_us={} errors={} mismatches={} t={:.1}",
        counts.total() as f64 / elapsed.as_secs_f64(),
        counts.quantile(0.5),
        counts.quantile(0.99),
        tally.errors.load(Relaxed),
        tally.mismatches.load(Relaxed),
        tally.start.elapsed().as_secs_f64(),
    )
}

/// Whoever reads the figures may have stopped; the load goes on.
fn print_line(line: &str) {
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Prints the figures of the whole run.
pub fn summary(options: &Options, tally: &Tally) {
    let counts = tally.counts();
    let seconds = tally.seconds.get().copied().unwrap_or_default();
    let rate = counts.total() as f64 / seconds.max(1e-9);
    let figures = [
        ("requests", counts.total().to_string()),
        ("seconds", format!("{seconds:.3}")),
        ("rps", format!("{rate:.0}")),
        ("p50_us", counts.quantile(0.5).to_string()),
        ("p99_us", counts.quantile(0.99).to_string()),
        ("p999_us", counts.quantile(0.999).to_string()),
        ("max_us", counts.max.to_string()),
        ("errors", tally.errors.load(Relaxed).to_string()),
        ("mismatches", tally.mismatches.load(Relaxed).to_string()),
        ("verified", tally.checked.load(Relaxed).to_string()),
    ];
    let line = match options.json {
        true => {
            let fields: Vec<_> = figures
                .iter()
                .map(|(name, v)| format!("\"{name}\":{v}"))
                .collect();
            format!("{{{}}}", fields.join(","))
        }
        false => {
            let fields: Vec<_> = figures
                .iter()
                .map(|(name, v)| format!("{name}={v}"))
                .collect();
            format!("summary {}", fields.join(" "))
        }
    };
    print_line(&line);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_taken_to_the_last() {
        let tally = Tally::new();
        let options = Options {
            pipeline: 16,
            limit: Limit::Requests(40),
            ..Options::default()
        };
        let taken: Vec<u64> = (0..5).map(|_| tally.take(&options)).collect();
        assert_eq!(taken, [16, 16, 8, 0, 0]);
    }

    #[test]
    fn a_line_of_figures() {
        let tally = Tally::new();
        for micros in [100, 100, 3000] {
            tally.record(1, Duration::from_micros(micros));
        }
        let line = stats(&tally.counts(), Duration::from_millis(500), &tally);
        assert!(
            line.starts_with("stats rps=6 p50_us=101 p99_us=3000 errors=0 "),
            "{line}"
        );
        assert!(tally.is_clean());
        tally.mismatch(0, "on purpose");
        assert!(!tally.is_clean());
    }
}
