//! The panel, the plain line, and the summary: pure functions from what was seen to rows of text.

use super::course::Course;
use super::options::Options;
use super::units::{bar, bytes, count, known, sparkline, time};
use crate::console::{Row, Style};
use crate::kv::figures::Progress;
use std::net::SocketAddr;
use std::time::Duration;

/// Characters of the bars and the graph.
const BAR: usize = 30;

/// What the demo is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The load generator runs, so long already.
    Loaded(Duration),
    /// Only the server runs.
    Serving,
}

/// The live panel.
pub fn panel(course: &Course, options: &Options, address: SocketAddr, phase: Phase) -> Vec<Row> {
    let runtime = &course.runtime;
    let mut rows = vec![
        Row::new()
            .with(Style::Bold, "  goruntime")
            .with(Style::Plain, format!("  kv on {address}")),
        Row::new().with(Style::Dim, format!("  {}", doing(options, phase))),
        Row::new(),
    ];
    let rate = match phase {
        Phase::Loaded(_) => course
            .progress
            .map(|progress| progress.requests_per_second as u64),
        Phase::Serving => runtime.served_per_second,
    };
    let row = value(label("requests/s"), known(rate, count));
    rows.push(row.with(Style::Graph, sparkline(&course.rates, BAR)));
    if let Phase::Loaded(_) = phase {
        rows.push(latency(course.progress));
    }
    rows.push(Row::new());
    let row = value(label("goroutines"), known(runtime.goroutines, count));
    let row = note(
        row,
        format!("on {} threads (M),  ", known(runtime.ms, count)),
    );
    let (busy, procs) = (runtime.busy_ps.unwrap_or(0), runtime.procs.unwrap_or(0));
    let (full, empty) = bar(busy, procs, procs.clamp(1, 16) as usize);
    let row = row.with(Style::Graph, full).with(Style::Dim, empty);
    let ps = format!(
        " {} of {} P busy",
        known(runtime.busy_ps, count),
        known(runtime.procs, count)
    );
    rows.push(note(row, ps));
    let row = value(label("heap"), known(runtime.heap_live, bytes));
    let (live, goal) = (
        runtime.heap_live.unwrap_or(0),
        runtime.heap_goal.unwrap_or(0),
    );
    let (full, empty) = bar(live, goal, BAR);
    let row = row.with(Style::Graph, full).with(Style::Dim, empty);
    rows.push(note(
        row,
        format!(" goal {}", known(runtime.heap_goal, bytes)),
    ));
    let row = value(label("collections"), known(runtime.gc_cycles, count));
    let pauses = format!(
        "longest pause {},  last {}",
        known(runtime.gc_max_pause, time),
        known(runtime.gc_last_pause, time)
    );
    rows.push(note(row, pauses));
    let row = value(label("resident"), known(runtime.rss, bytes));
    rows.push(note(
        row,
        format!("{} returned to the system", known(runtime.released, bytes)),
    ));
    rows.push(Row::new());
    rows.push(Row::new().with(Style::Dim, "  Ctrl-C ends."));
    rows
}

fn label(text: &str) -> Row {
    Row::new().with(Style::Dim, format!("  {text:<13}"))
}

fn value(row: Row, text: String) -> Row {
    row.with(Style::Bold, format!("{text:<12}"))
}

fn note(row: Row, text: String) -> Row {
    row.with(Style::Plain, text)
}

fn latency(progress: Option<Progress>) -> Row {
    let row = note(label("latency"), "p50 ".to_owned());
    let row = value(row, known(progress, |progress| time(progress.p50)));
    let row = note(row, "p99 ".to_owned());
    let row = value(row, known(progress, |progress| time(progress.p99)));
    match progress.map_or(0, |progress| progress.errors) {
        0 => row.with(Style::Good, "no errors"),
        1 => row.with(Style::Bad, "1 error"),
        errors => row.with(Style::Bad, format!("{} errors", count(errors))),
    }
}

fn doing(options: &Options, phase: Phase) -> String {
    let load = &options.load;
    match phase {
        Phase::Loaded(since) => format!(
            "{} connections, pipeline {}, values of {} bytes; {} of {} s",
            count(load.connections.into()),
            load.pipeline,
            load.value_size,
            since.as_secs().min(load.seconds.into()),
            load.seconds
        ),
        Phase::Serving => "serving".to_owned(),
    }
}

/// The same figures as one line, for where there is no terminal.
pub fn plain(course: &Course, since: Duration) -> String {
    let runtime = &course.runtime;
    let progress = course.progress;
    format!(
        "{:>4} s  {} req/s  p50 {}  p99 {}  errors {}  goroutines {}  P {}/{}  M {}  heap {}/{}  \
         gc {}  longest pause {}  rss {}  returned {}",
        since.as_secs(),
        known(progress, |progress| count(
            progress.requests_per_second as u64
        )),
        known(progress, |progress| time(progress.p50)),
        known(progress, |progress| time(progress.p99)),
        known(progress, |progress| count(progress.errors)),
        known(runtime.goroutines, count),
        known(runtime.busy_ps, count),
        known(runtime.procs, count),
        known(runtime.ms, count),
        known(runtime.heap_live, bytes),
        known(runtime.heap_goal, bytes),
        known(runtime.gc_cycles, count),
        known(runtime.gc_max_pause, time),
        known(runtime.rss, bytes),
        known(runtime.released, bytes)
    )
}

/// What there is to say at the end.
pub fn summary(course: &Course) -> Vec<Row> {
    let runtime = &course.runtime;
    let line = |name: &str, text: String| {
        Row::new()
            .with(Style::Dim, format!("  {name:<13}"))
            .with(Style::Plain, text)
    };
    let mut rows = vec![Row::new().with(Style::Bold, "Summary")];
    if let Some(total) = course.total {
        let mean = count((total.requests as f64 / total.seconds.max(0.001)) as u64);
        let requests = count(total.requests);
        rows.push(line(
            "requests",
            format!("{requests} in {:.1} s: {mean}/s", total.seconds),
        ));
        let [p50, p99, p999, max] = [total.p50, total.p99, total.p999, total.max].map(time);
        rows.push(line(
            "latency",
            format!("p50 {p50}  p99 {p99}  p99.9 {p999}  longest {max}"),
        ));
        rows.push(line("errors", count(total.errors)));
    }
    let goroutines = known(course.most_goroutines, count);
    let threads = known(course.most_ms, count);
    rows.push(line(
        "goroutines",
        format!("at most {goroutines}, on at most {threads} threads"),
    ));
    rows.push(line(
        "heap",
        format!("at most {} live", known(course.most_heap, bytes)),
    ));
    let pause = known(runtime.gc_max_pause, time);
    let cycles = known(runtime.gc_cycles, count);
    rows.push(line(
        "collections",
        format!("{cycles}, the longest pause {pause}"),
    ));
    let (rss, released) = (
        known(course.most_rss, bytes),
        known(runtime.released, bytes),
    );
    rows.push(line(
        "resident",
        format!("at most {rss}; {released} returned to the system"),
    ));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::figures::{Runtime, Total};

    fn sample() -> Course {
        let mut course = Course::default();
        let info = "goroutines:53\nprocs:2\nbusy_ps:1\nms:6\nheap_live:1048576\nheap_goal:2097152\n\
                    gc_cycles:1234\ngc_last_pause_us:120\ngc_max_pause_us:4500\nrss:9437184\nreleased:0\n";
        course.note_runtime(Runtime::parse(info));
        for rate in ["100000", "200000"] {
            let line = format!("stats rps={rate} p50_us=80 p99_us=2500 errors=0");
            course.note_progress(Progress::parse(&line).unwrap());
        }
        course
    }

    fn rendered(rows: &[Row]) -> String {
        rows.iter()
            .map(|row| row.paint(usize::MAX, false) + "\n")
            .collect()
    }

    fn address() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 4321))
    }

    #[test]
    fn the_panel_shows_every_figure() {
        let phase = Phase::Loaded(Duration::from_secs(3));
        let rows = panel(&sample(), &Options::default(), address(), phase);
        let text = rendered(&rows);
        for figure in [
            "127.0.0.1:4321",
            "3 of 20 s",
            "200,000",
            "▅█",
            "80 µs",
            "2.50 ms",
            "no errors",
            "53",
            "on 6 threads",
            "█░ 1 of 2 P busy",
            "1.0 MiB",
            "goal 2.0 MiB",
            "1,234",
            "longest pause 4.50 ms",
            "last 120 µs",
            "9.0 MiB",
            "0 B returned",
        ] {
            assert!(text.contains(figure), "{figure} is not in\n{text}");
        }
        let half = format!("{}{}", "█".repeat(BAR / 2), "░".repeat(BAR / 2));
        assert!(text.contains(&half), "{text}");
    }

    #[test]
    fn rows_fit_the_usual_terminal() {
        let rows = panel(&sample(), &Options::default(), address(), Phase::Serving);
        for row in rows {
            let text = row.paint(usize::MAX, false);
            assert!(text.chars().count() < 80, "{text}");
        }
    }

    #[test]
    fn a_server_without_load_shows_its_own_rate() {
        let mut course = sample();
        course.note_runtime(Runtime::parse("instantaneous_ops_per_sec:4321"));
        let text = rendered(&panel(
            &course,
            &Options::default(),
            address(),
            Phase::Serving,
        ));
        assert!(
            text.contains("4,321") && !text.contains("latency"),
            "{text}"
        );
    }

    #[test]
    fn the_panel_keeps_its_height_when_nothing_is_known() {
        let phase = Phase::Loaded(Duration::ZERO);
        let empty = panel(&Course::default(), &Options::default(), address(), phase);
        let full = panel(&sample(), &Options::default(), address(), phase);
        assert_eq!(empty.len(), full.len());
        assert!(rendered(&empty).contains('?'));
    }

    #[test]
    fn the_plain_line_is_one_line_with_the_same_figures() {
        let line = plain(&sample(), Duration::from_secs(7));
        assert_eq!(
            line,
            "   7 s  200,000 req/s  p50 80 µs  p99 2.50 ms  errors 0  goroutines 53  P 1/2  M 6  \
             heap 1.0 MiB/2.0 MiB  gc 1,234  longest pause 4.50 ms  rss 9.0 MiB  returned 0 B"
        );
    }

    #[test]
    fn the_summary_tells_of_the_whole_course() {
        let mut course = sample();
        let total = "summary requests=1500000 seconds=10.0 p50_us=80 p99_us=2500 p999_us=9000 max_us=70000 errors=0";
        course.total = Total::parse(total);
        let text = rendered(&summary(&course));
        for figure in [
            "1,500,000 in 10.0 s: 150,000/s",
            "p50 80 µs  p99 2.50 ms  p99.9 9.00 ms  longest 70.00 ms",
            "1,234",
            "at most 53",
            "9.0 MiB",
        ] {
            assert!(text.contains(figure), "{figure} is not in\n{text}");
        }
        assert!(!rendered(&summary(&sample())).contains("requests"));
    }
}
