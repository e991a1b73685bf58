//! The lines of the benchmarks' table: what a suite is made of.
//!
//! Rows are data, so that the help, the runs, the table and the page cannot disagree about them. Rows with the same workload, arguments and pin
//! are figures of the same runs. A suite with many rows has them in groups, each with a heading and a geometric mean of its own.

/// Which way a figure is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// Times and sizes.
    Lower,
    /// Rates.
    Higher,
}

impl Better {
    /// How many times as good the first figure is as the second.
    pub fn ratio(self, ours: f64, theirs: f64) -> f64 {
        match self {
            Better::Lower => theirs / ours,
            Better::Higher => ours / theirs,
        }
    }
}

/// Where a contestant may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// Wherever this tool may.
    Any,
    /// All of its threads on one processor: for what is meant to be single-threaded.
    One,
}

/// The group of rows that tell the most resident memory of the runs of others. Their names are those of the others with this behind.
const PEAKS: &str = "peak memory";

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Unique within its suite, but for the rows that [`peaks`] makes.
    pub name: &'static str,
    /// The group that it is in; empty where the suite has none.
    pub group: &'static str,
    /// A sentence or two: what is done and what is counted.
    pub help: &'static str,
    /// The contestants' name for it.
    pub workload: &'static str,
    /// `key=value` each.
    pub arguments: &'static [&'static str],
    /// Variables of its environment.
    pub environment: &'static [(&'static str, &'static str)],
    /// Which of the figures that the workload reports.
    pub figure: &'static str,
    /// Which way it is good.
    pub better: Better,
    /// Where it runs.
    pub pin: Pin,
    /// The contestants by id, ours first.
    pub contestants: &'static [&'static str],
}

impl Row {
    /// Unique within its suite.
    pub fn title(&self) -> String {
        match self.is_peak() {
            true => format!("{}, {PEAKS}", self.name),
            false => self.name.to_owned(),
        }
    }

    /// Was it made by [`peaks`]?
    pub fn is_peak(&self) -> bool {
        self.group == PEAKS
    }

    /// Are these rows figures of the same runs?
    pub fn shares_runs_with(&self, other: &Row) -> bool {
        let runs = |row: &Row| (row.workload, row.arguments, row.environment, row.pin);
        runs(self) == runs(other)
    }
}

/// For each of these rows one about the most resident memory of the same runs.
pub const fn peaks<const N: usize>(rows: &[Row; N], help: &'static str) -> [Row; N] {
    let mut peaks = *rows;
    let mut at = 0;
    while at < N {
        peaks[at].group = PEAKS;
        peaks[at].help = help;
        peaks[at].figure = "peak_rss";
        peaks[at].better = Better::Lower;
        at += 1;
    }
    peaks
}

/// Rows that are about one part of the runtime.
#[derive(Clone, Copy, Debug)]
pub struct Suite {
    /// As it is given on the command line.
    pub name: &'static str,
    /// What it is about.
    pub help: &'static str,
    /// Its lines.
    pub rows: &'static [Row],
}
