//! A program's run in figures: how long it was stopped, what memory it had, what it got done.
//!
//! Work is what the program says by `(tick)`. Memory is what the heap has taken from the system, and what the collector believes to be in it. Both are looked at by a thread of their own
//! every few milliseconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use gogc::{HeapView, Nanos, Stop};

use crate::methods::Task;
use crate::runtime::{Gc, Runtime};
use crate::world::Pause;

/// Time between two looks.
const EVERY: Duration = Duration::from_millis(20);

/// A task that is watched.
pub struct Measured<T> {
    /// What to do.
    pub task: T,
    /// What to call it.
    pub name: &'static str,
    /// Points to be plotted, instead of a summary.
    pub points: bool,
}

/// One look.
struct Look {
    at: Duration,
    ticks: u64,
    /// Bytes that the heap has taken.
    mapped: u64,
}

impl<T: Task> Task for Measured<T> {
    type Output = T::Output;

    fn run<G: Gc>(self, runtime: &Arc<Runtime<G>>) -> T::Output {
        let begin = Instant::now();
        let is_over = AtomicBool::new(false);
        let (result, looks) = std::thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                let mut looks = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    looks.push(Look {
                        at: begin.elapsed(),
                        ticks: runtime.ticks(),
                        mapped: runtime.heap.usage().mapped.0,
                    });
                    std::thread::sleep(EVERY);
                }
                looks
            });
            let result = self.task.run(runtime);
            is_over.store(true, Ordering::Relaxed);
            (result, watcher.join().unwrap_or_default())
        });
        let run = Run {
            name: self.name,
            took: begin.elapsed(),
            pauses: runtime.world.pauses(),
            looks,
            ticks: runtime.ticks(),
        };
        match self.points {
            true => run.print_points(),
            false => run.print_summary(),
        }
        result
    }
}

/// What was seen of a run.
struct Run {
    name: &'static str,
    took: Duration,
    pauses: Vec<Pause>,
    looks: Vec<Look>,
    ticks: u64,
}

/// The time than which so many percent are no longer. The times are sorted.
fn percentile(sorted: &[Nanos], percent: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    let at = (last as f64 * percent / 100.0).round() as usize;
    sorted.get(at).map_or(0.0, |time| time.0 as f64 / 1e3)
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

impl Run {
    fn sorted(&self, which: impl Fn(&Pause) -> bool, what: fn(&Pause) -> Nanos) -> Vec<Nanos> {
        let pauses = self.pauses.iter().filter(|pause| which(pause));
        let mut times: Vec<Nanos> = pauses.map(what).collect();
        times.sort_unstable();
        times
    }

    fn memory(&self) -> f64 {
        mib(self.looks.iter().map(|look| look.mapped).max().unwrap_or(0))
    }

    fn stopped(&self) -> f64 {
        let all: u64 = self.pauses.iter().map(|pause| pause.length.0).sum();
        all as f64 / 1e9
    }

    /// Lines of a plot, a series, and two numbers; and the sums in a line that begins with `# total`.
    fn print_points(&self) {
        let (name, pauses) = (self.name, self.sorted(|_| true, |pause| pause.length));
        for percent in [0, 10, 25, 50, 75, 90, 95, 99, 100] {
            let pause = percentile(&pauses, percent.into());
            println!("pauses {name} {percent} {pause:.1}");
        }
        for look in &self.looks {
            let at = look.at.as_secs_f64();
            println!("memory {name} {at:.2} {:.1}", mib(look.mapped));
            println!("work {name} {at:.2} {}", look.ticks);
        }
        let (took, stops) = (self.took.as_secs_f64(), pauses.len());
        let [half, most, longest] = [50.0, 99.0, 100.0].map(|p| percentile(&pauses, p));
        println!(
            "# total {name} {took:.2} {} {stops} {:.3} {half:.1} {most:.1} {longest:.1} {:.1}",
            self.ticks,
            self.stopped(),
            self.memory()
        );
    }

    fn print_summary(&self) {
        println!(
            "{}: {:.2} s, of which {:.4} s stopped; at most {:.1} MiB",
            self.name,
            self.took.as_secs_f64(),
            self.stopped(),
            self.memory()
        );
        println!(
            "  stops, in us     number   half below   99 % below      longest   until stopped"
        );
        for stop in [Stop::Begin, Stop::End, Stop::Whole] {
            let lengths = self.sorted(|pause| pause.stop == stop, |pause| pause.length);
            let until = self.sorted(|pause| pause.stop == stop, |pause| pause.until_stopped);
            if !lengths.is_empty() {
                let [half, most, longest] = [50.0, 99.0, 100.0].map(|p| percentile(&lengths, p));
                println!(
                    "  {:<15} {:>7} {half:>12.1} {most:>12.1} {longest:>12.1} {:>15.1}",
                    format!("{stop:?}").to_lowercase(),
                    lengths.len(),
                    percentile(&until, 50.0)
                );
            }
        }
    }
}
