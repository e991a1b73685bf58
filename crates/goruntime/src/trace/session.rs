//! Traces that are being taken: who reads the events, and where they go.
//!
//! Events are read every ten milliseconds, from one ring after the other, so an event that is read may be older than one that was read before. Those of the last milliseconds are kept
//! back until the next time, and what is written is in order.

use super::perfetto::Perfetto;
use super::{Format, go};
use crate::atomic::{AtomicU32, Ordering::*};
use crate::events::{EVENTS, Event, Reader};
use crate::runtime::{as_service_thread, scheduler};
use crate::world::futex;
use gosched::Nanos;
use std::io::{self, Write};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// How often events are read.
const PERIOD: Duration = Duration::from_millis(10);

/// What may lie between the time of an event and its being there to be read.
const KEPT_BACK: Nanos = Nanos::from_millis(5);

/// What a trace came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Events that are in it.
    pub events: u64,
    /// Events that are not, since there were too many at once.
    pub lost: u64,
}

/// A trace that is being taken. Dropped, it ends as [`stop`](Self::stop) has it.
#[derive(Debug)]
pub struct Trace {
    stop: Arc<AtomicU32>,
    thread: Option<JoinHandle<io::Result<Summary>>>,
}

/// Begins to write what happens to `out`, which is written to by a thread of the runtime's. Several traces may be taken at the same time. One in Go's format is kept in memory, with 56
/// bytes for each event, and written when it is stopped.
///
/// # Errors
/// If there is no memory or no thread to be had.
pub fn start(format: Format, out: impl Write + Send + 'static) -> io::Result<Trace> {
    let scheduler = scheduler();
    let reader = Reader::new(scheduler.procs(), EVENTS)?;
    let stop = Arc::new(AtomicU32::new(0));
    let asked = stop.clone();
    let serve = move || as_service_thread(|| serve(reader, format, out, &asked));
    let thread = std::thread::Builder::new().name("tracer".to_owned());
    Ok(Trace {
        stop,
        thread: Some(thread.spawn(serve)?),
    })
}

impl Trace {
    /// Ends it: what has happened until now is written.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn stop(mut self) -> io::Result<Summary> {
        self.end().unwrap_or_else(|| Ok(Summary::default()))
    }

    fn end(&mut self) -> Option<io::Result<Summary>> {
        self.stop.store(1, Release);
        futex::wake(self.stop.as_ref(), 1);
        let thread = self.thread.take()?;
        match gosched::blocking(|| thread.join()) {
            Ok(result) => Some(result),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        if self.thread.is_some() && !std::thread::panicking() {
            // Whoever wants to know of errors asks.
            let _ = self.end();
        }
    }
}

/// Where events go.
enum Writer<W> {
    Perfetto(Perfetto<W>),
    /// Those since a time, until the end.
    Go(W, u64, Vec<Event>),
}

impl<W: Write> Writer<W> {
    fn new(format: Format, out: W, begin: u64) -> io::Result<Writer<W>> {
        Ok(match format {
            Format::Perfetto => Writer::Perfetto(Perfetto::new(out, begin)?),
            Format::Go => Writer::Go(out, begin, Vec::new()),
        })
    }

    fn event(&mut self, event: Event) -> io::Result<()> {
        match self {
            Writer::Perfetto(perfetto) => perfetto.event(&event)?,
            Writer::Go(_, _, events) => events.push(event),
        }
        Ok(())
    }

    fn finish(self, lost: u64) -> io::Result<()> {
        match self {
            Writer::Perfetto(perfetto) => perfetto.finish(lost),
            Writer::Go(mut out, begin, events) => go::write(&mut out, begin, &events),
        }
    }
}

fn serve(
    mut reader: Reader,
    format: Format,
    out: impl Write,
    stop: &AtomicU32,
) -> io::Result<Summary> {
    let mut writer = Writer::new(format, out, Nanos::now().0)?;
    let mut summary = Summary::default();
    let mut pending: Vec<Event> = Vec::new();
    loop {
        let is_last = stop.load(Acquire) != 0;
        let settled = match is_last {
            true => u64::MAX,
            false => (Nanos::now() - KEPT_BACK).0,
        };
        summary.lost += reader.read(&mut pending);
        pending.sort_by_key(|event| event.time);
        let ready = pending.partition_point(|event| event.time < settled);
        for event in pending.drain(..ready) {
            writer.event(event)?;
            summary.events += 1;
        }
        if is_last {
            writer.finish(summary.lost)?;
            return Ok(summary);
        }
        futex::wait(stop, 0, Some(PERIOD));
    }
}

/// Keeps the events of the last while, to be written when something has gone wrong: nothing is written until then.
///
/// ```no_run
/// use goruntime::trace::{FlightRecorder, Format};
/// use std::{fs::File, time::Duration};
///
/// let recorder = FlightRecorder::start(Duration::from_secs(10))?;
/// // ... a request that took too long:
/// recorder.write(Format::Go, File::create("slow.trace")?)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct FlightRecorder {
    reader: Reader,
    age: Duration,
}

impl FlightRecorder {
    /// Begins to keep the events of the last `age`, of which there is room for 65,536 on each P (two megabytes). A program that switches goroutines all the time fills that in a tenth of
    /// a second: [`with_room`](Self::with_room).
    ///
    /// # Errors
    /// If there is no memory.
    pub fn start(age: Duration) -> io::Result<FlightRecorder> {
        FlightRecorder::with_room(age, EVENTS)
    }

    /// With room for so many events on each P, of 32 bytes each. Room that was once made stays address space, and has memory while there is a recorder or a trace.
    ///
    /// # Errors
    /// If there is no memory; `ResourceBusy` if there is a trace or a recorder with less room.
    pub fn with_room(age: Duration, events: usize) -> io::Result<FlightRecorder> {
        let reader = Reader::new(scheduler().procs(), events.max(2))?;
        Ok(FlightRecorder { reader, age })
    }

    /// Writes what has happened in the last while, as [traces](super) are; and goes on.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, format: Format, out: impl Write) -> io::Result<Summary> {
        let mut events = self.reader.last();
        let oldest = Nanos::now() - Nanos::from_duration(self.age);
        events.retain(|event| event.time >= oldest.0);
        events.sort_by_key(|event| event.time);
        let summary = Summary {
            events: events.len() as u64,
            lost: 0,
        };
        let begin = events.first().map_or(oldest.0, |event| event.time);
        let mut writer = Writer::new(format, out, begin)?;
        events
            .into_iter()
            .try_for_each(|event| writer.event(event))?;
        writer.finish(0)?;
        Ok(summary)
    }
}
