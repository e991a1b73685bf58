//! Execution traces: which goroutine ran when and on which P, what it waited for and who woke it, collections, and when the world stood still.
//!
//! ```no_run
//! use goruntime::trace;
//! use std::{fs::File, time::Duration};
//!
//! let trace = trace::start(File::create("trace.pftrace")?)?;
//! goruntime::time::sleep(Duration::from_secs(1));
//! let summary = trace.stop()?;
//! println!("{} events, {} lost", summary.events, summary.lost);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! The file is Perfetto's: <https://ui.perfetto.dev> opens it (in the browser; it is not sent anywhere), and so does its `trace_processor`, which answers SQL. Each P is a track, with a slice for
//! each time that a goroutine ran on it, named by the goroutine's name or the place where it was started; arrows lead from who woke a goroutine to where it then ran. The
//! collector's phases, stops of the world, and the size of the heap have tracks of their own.
//!
//! To have what came *before* something went wrong there is the [`FlightRecorder`].
//!
//! Off, this costs two instructions at each event of the scheduler; on, some fifty nanoseconds, which shows in a program that does little else than switch goroutines.

mod perfetto;
mod session;

pub use session::{FlightRecorder, Summary, Trace, start};
