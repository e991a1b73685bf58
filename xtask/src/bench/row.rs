//! The lines of the benchmarks' table: what a suite is made of.
//!
//! Rows are data, so that the help, the runs, the table and the page cannot disagree about them. Rows with the same workload, arguments and pin
//! are figures of the same runs.

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

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Unique within its suite.
    pub name: &'static str,
    /// A sentence or two: what is done and what is counted.
    pub help: &'static str,
    /// The contestants' name for it.
    pub workload: &'static str,
    /// `key=value` each.
    pub arguments: &'static [&'static str],
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
    /// Are these rows figures of the same runs?
    pub fn shares_runs_with(&self, other: &Row) -> bool {
        (self.workload, self.arguments, self.pin) == (other.workload, other.arguments, other.pin)
    }
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
