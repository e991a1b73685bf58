//! What the demo has seen so far: the last figures, and what the summary needs of all of them.

use crate::kv::figures::{Progress, Runtime, Total};

/// Samples of the request rate that are kept for the graph.
const KEPT: usize = 512;

/// The course of a demo.
#[derive(Debug, Default)]
pub struct Course {
    /// The server's figures as of the last question.
    pub runtime: Runtime,
    /// The load generator's as of its last line.
    pub progress: Option<Progress>,
    /// The load generator's account of the whole.
    pub total: Option<Total>,
    /// Request rates, the newest last.
    pub rates: Vec<f64>,
    /// Most resident memory, in bytes.
    pub most_rss: Option<u64>,
    /// Most live heap, in bytes.
    pub most_heap: Option<u64>,
    /// Most threads of the scheduler.
    pub most_ms: Option<u64>,
    /// Most goroutines.
    pub most_goroutines: Option<u64>,
}

impl Course {
    /// Takes in figures of the server. What a server that is shutting down no longer reports stays as it was.
    pub fn note_runtime(&mut self, runtime: Runtime) {
        self.most_rss = self.most_rss.max(runtime.rss);
        self.most_heap = self.most_heap.max(runtime.heap_live);
        self.most_ms = self.most_ms.max(runtime.ms);
        self.most_goroutines = self.most_goroutines.max(runtime.goroutines);
        self.runtime = runtime;
    }

    /// Takes in a line of the load generator.
    pub fn note_progress(&mut self, progress: Progress) {
        self.note_rate(progress.requests_per_second);
        self.progress = Some(progress);
    }

    /// Takes in a request rate for the graph alone: the summary is about the load generator's.
    pub fn note_rate(&mut self, rate: f64) {
        if self.rates.len() == KEPT {
            self.rates.remove(0);
        }
        self.rates.push(rate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn progress(rate: f64) -> Progress {
        Progress {
            requests_per_second: rate,
            p50: Duration::from_micros(1),
            p99: Duration::from_micros(2),
            errors: 0,
        }
    }

    #[test]
    fn keeps_the_last_figures_and_the_extremes() {
        let mut course = Course::default();
        for rate in [10.0, 30.0, 20.0] {
            course.note_progress(progress(rate));
        }
        assert_eq!(course.progress, Some(progress(20.0)));
        for rss in [Some(5), Some(9), None] {
            course.note_runtime(Runtime {
                rss,
                ..Runtime::default()
            });
        }
        assert_eq!(course.most_rss, Some(9));
        assert_eq!(course.runtime.rss, None);
    }

    #[test]
    fn the_graph_forgets() {
        let mut course = Course::default();
        (0..1000).for_each(|i| course.note_progress(progress(f64::from(i))));
        assert_eq!(course.rates.len(), KEPT);
        assert_eq!(course.rates.last(), Some(&999.0));
    }
}
