//! Execution traces: which goroutine ran when and on which P, what it waited for and who woke it, collections, and when the world stood still.
//!
//! ```no_run
//! use goruntime::trace::{self, Format};
//! use std::{fs::File, time::Duration};
//!
//! let trace = trace::start(Format::Go, File::create("trace.out")?)?;
//! goruntime::time::sleep(Duration::from_secs(1));
//! let summary = trace.stop()?;
//! println!("{} events, {} lost", summary.events, summary.lost);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! There are two [formats](Format), for two tools. Goroutines go by their names or the places where they were started. To have what came *before* something went wrong there is the
//! [`FlightRecorder`].
//!
//! Off, this costs a load and a branch at each event of the scheduler; on, some fifty nanoseconds, which shows in a program that does little else than switch goroutines.

mod go;
mod perfetto;
mod session;

pub use session::{FlightRecorder, Summary, Trace, start};

/// Who is to read a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `go tool trace`, of Go 1.23 or later: Ps with the goroutines that ran on them, how long goroutines waited and for what, collections and stops of the world.
    Go,
    /// <https://ui.perfetto.dev> (in the browser; the file is not sent anywhere) and its `trace_processor`, which answers SQL: a track for each P, arrows from who woke a goroutine to where it
    /// then ran, and tracks for the collector's phases, stops of the world, and the size of the heap.
    Perfetto,
}
