//! What the two programs report: the server's `INFO stats goruntime`, and the progress lines of the load generator.
//!
//! A figure that is missing stays unknown and is shown so; it is never taken for zero. Unknown keys are ignored, so
//! both programs can report more than is understood here.

use std::time::Duration;

/// The figures of the runtime inside the server, each `None` where the server does not report it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runtime {
    /// Goroutines alive.
    pub goroutines: Option<u64>,
    /// Ps.
    pub procs: Option<u64>,
    /// Ps that run a goroutine now.
    pub busy_ps: Option<u64>,
    /// Ms: operating-system threads of the scheduler.
    pub ms: Option<u64>,
    /// Bytes found alive by the last collection or allocated since.
    pub heap_live: Option<u64>,
    /// Bytes at which the next collection should be done.
    pub heap_goal: Option<u64>,
    /// Collections done.
    pub gc_cycles: Option<u64>,
    /// The stop of the last collection.
    pub gc_last_pause: Option<Duration>,
    /// The longest stop of any collection.
    pub gc_max_pause: Option<Duration>,
    /// Bytes of physical memory that the process has.
    pub rss: Option<u64>,
    /// Bytes given back to the operating system.
    pub released: Option<u64>,
    /// Requests that the server answered in the last second, by its own count.
    pub served_per_second: Option<u64>,
}

impl Runtime {
    /// Reads the text of `INFO stats goruntime`: lines `key:value`.
    pub fn parse(info: &str) -> Runtime {
        let mut figures = Runtime::default();
        for line in info.lines() {
            let Some((key, value)) = line.split_once(':') else {
                continue;
            };
            let number = value.trim().parse::<u64>().ok();
            let pause = number.map(Duration::from_micros);
            match key {
                "goroutines" => figures.goroutines = number,
                "procs" => figures.procs = number,
                "busy_ps" => figures.busy_ps = number,
                "ms" => figures.ms = number,
                "heap_live" => figures.heap_live = number,
                "heap_goal" => figures.heap_goal = number,
                "gc_cycles" => figures.gc_cycles = number,
                "gc_last_pause_us" => figures.gc_last_pause = pause,
                "gc_max_pause_us" => figures.gc_max_pause = pause,
                "rss" => figures.rss = number,
                "released" => figures.released = number,
                "instantaneous_ops_per_sec" => figures.served_per_second = number,
                _ => {}
            }
        }
        figures
    }
}

/// One progress line of the load generator.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Requests answered per second since the line before.
    pub requests_per_second: f64,
    /// Median of their latencies.
    pub p50: Duration,
    /// 99th percentile of their latencies.
    pub p99: Duration,
    /// Errors since the start.
    pub errors: u64,
}

impl Progress {
    /// Reads `stats rps=... p50_us=... p99_us=... errors=...`; `None` for any other line.
    pub fn parse(line: &str) -> Option<Progress> {
        let fields = Fields(line.strip_prefix("stats ")?);
        Some(Progress {
            requests_per_second: fields.number("rps")?,
            p50: fields.latency("p50_us")?,
            p99: fields.latency("p99_us")?,
            errors: fields.number("errors")? as u64,
        })
    }
}

/// The last line of the load generator: the whole of its work.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Total {
    /// Requests answered.
    pub requests: u64,
    /// How long it took.
    pub seconds: f64,
    /// Median latency.
    pub p50: Duration,
    /// 99th percentile.
    pub p99: Duration,
    /// 99.9th percentile.
    pub p999: Duration,
    /// The longest.
    pub max: Duration,
    /// Replies that were errors.
    pub errors: u64,
}

impl Total {
    /// Reads `summary requests=... seconds=... p50_us=... p99_us=... p999_us=... max_us=... errors=...`; `None` for any
    /// other line.
    pub fn parse(line: &str) -> Option<Total> {
        let fields = Fields(line.strip_prefix("summary ")?);
        Some(Total {
            requests: fields.number("requests")? as u64,
            seconds: fields.number("seconds")?,
            p50: fields.latency("p50_us")?,
            p99: fields.latency("p99_us")?,
            p999: fields.latency("p999_us")?,
            max: fields.latency("max_us")?,
            errors: fields.number("errors")? as u64,
        })
    }
}

/// Words of the form `key=value`.
struct Fields<'a>(&'a str);

impl Fields<'_> {
    fn number(&self, name: &str) -> Option<f64> {
        let mut fields = self.0.split_whitespace().filter_map(|f| f.split_once('='));
        let (_, value) = fields.find(|(key, _)| *key == name)?;
        value
            .parse()
            .ok()
            .filter(|value: &f64| value.is_finite() && *value >= 0.0)
    }

    fn latency(&self, name: &str) -> Option<Duration> {
        // Bounded, because a `Duration` is: no latency takes eleven days.
        Some(Duration::from_secs_f64((self.number(name)? / 1e6).min(1e6)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_runtimes_figures() {
        let info = "# Goruntime\r\ngoroutines:53\r\nprocs:2\r\nbusy_ps:1\r\nms:6\r\nheap_live:1000\r\n\
                    heap_goal:2000\r\ngc_cycles:9\r\ngc_last_pause_us:120\r\ngc_max_pause_us:450\r\n\
                    rss:123456\r\nreleased:0\r\nnew_figure:1\r\ninstantaneous_ops_per_sec:7\r\n";
        let figures = Runtime::parse(info);
        let expected = Runtime {
            goroutines: Some(53),
            procs: Some(2),
            busy_ps: Some(1),
            ms: Some(6),
            heap_live: Some(1000),
            heap_goal: Some(2000),
            gc_cycles: Some(9),
            gc_last_pause: Some(Duration::from_micros(120)),
            gc_max_pause: Some(Duration::from_micros(450)),
            rss: Some(123_456),
            released: Some(0),
            served_per_second: Some(7),
        };
        assert_eq!(figures, expected);
    }

    #[test]
    fn what_is_missing_or_no_number_is_unknown() {
        let figures = Runtime::parse("goroutines:many\nprocs:2\n");
        assert_eq!(
            (figures.goroutines, figures.procs, figures.rss),
            (None, Some(2), None)
        );
    }

    #[test]
    fn reads_progress() {
        let line = "stats rps=1234.5 p50_us=80 p99_us=410.5 errors=2 more=x";
        let progress = Progress::parse(line).unwrap();
        assert_eq!(progress.requests_per_second, 1234.5);
        assert_eq!(progress.p50, Duration::from_micros(80));
        assert_eq!(progress.p99, Duration::from_nanos(410_500));
        assert_eq!(progress.errors, 2);
        for other in [
            "done 5",
            "stats rps=1",
            "stats rps=x p50_us=1 p99_us=1 errors=0",
            "",
        ] {
            assert_eq!(Progress::parse(other), None, "{other}");
        }
    }

    #[test]
    fn reads_the_total() {
        let line = "summary requests=1182960 seconds=5.000 rps=236589 p50_us=1151 p99_us=4607 p999_us=22015 \
                    max_us=83221 errors=0 mismatches=0 verified=0";
        let total = Total::parse(line).unwrap();
        assert_eq!((total.requests, total.seconds), (1_182_960, 5.0));
        assert_eq!(total.p999, Duration::from_micros(22015));
        assert_eq!(Total::parse("summary requests=1"), None);
        assert_eq!(Total::parse("stats requests=1"), None);
    }
}
