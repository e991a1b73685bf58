//! Events as a trace of Perfetto's: a sequence of packets, each a protocol buffer (`perfetto/protos/trace/trace_packet.proto` and `track_event/track_event.proto`).
//!
//! A P is a track, on which slices follow one another: one begins when a goroutine runs and ends when it does not any more. Strings are written once, and are numbers from then on
//! (interned). Times are as they come: the format's clock is another one, but only differences matter.
//!
//! Invariant: on each track what begins ends, and before the next begins: a beginning that is missing, as at the start of a recording, leaves out its end, and an end that is missing is
//! put in.

use crate::events::{Event, What};
use gogc::Phase;
use gomem::profile::proto::Message;
use gosched::env::Event as E;
use gosched::goroutine::GoroutineId;
use std::collections::HashMap;
use std::io::{self, Write};
use std::panic::Location;

/// Numbers of tracks. That of P 0 is `FIRST_P`.
const PROCESS: u64 = 1;
const COLLECTOR: u64 = 2;
const WORLD: u64 = 3;
const OUTSIDE: u64 = 4;
const HEAP: u64 = 5;
const GOAL: u64 = 6;
const FIRST_P: u64 = 16;

/// Kinds of an event on a track.
const BEGIN: u64 = 1;
const END: u64 = 2;
const INSTANT: u64 = 3;
const COUNTER: u64 = 4;

/// The one sequence of packets that is written.
const SEQUENCE: u64 = 1;

/// What is written to, and what has been.
pub(super) struct Perfetto<W> {
    out: W,
    strings: Strings,
    goroutines: HashMap<GoroutineId, Goroutine>,
    /// Slices that are open, by track.
    open: HashMap<u64, u64>,
    /// Ps that have a track.
    described: Vec<bool>,
    /// Number of the last arrow.
    arrows: u64,
    time: u64,
}

struct Goroutine {
    /// Its name, or where it was started; as a number.
    name: u64,
    /// The arrow that leads to where it runs next.
    arrow: Option<u64>,
}

/// Strings by number: names of events, and of what is noted with them.
#[derive(Default)]
struct Strings {
    numbers: HashMap<String, u64>,
    /// Those that the next packet has to tell.
    new: Vec<(String, u64)>,
}

impl Strings {
    fn number(&mut self, text: &str) -> u64 {
        if let Some(&number) = self.numbers.get(text) {
            return number;
        }
        let number = self.numbers.len() as u64 + 1;
        self.numbers.insert(text.to_owned(), number);
        self.new.push((text.to_owned(), number));
        number
    }
}

impl<W: Write> Perfetto<W> {
    /// Begins a trace, from a time on: writes what there is already.
    pub(super) fn new(out: W, time: u64) -> io::Result<Perfetto<W>> {
        let mut perfetto = Perfetto {
            out,
            strings: Strings::default(),
            goroutines: HashMap::new(),
            open: HashMap::new(),
            described: Vec::new(),
            arrows: 0,
            time,
        };
        perfetto.begin()?;
        Ok(perfetto)
    }

    fn begin(&mut self) -> io::Result<()> {
        /// Strings from before are not known any more.
        const CLEARED: u64 = 1;
        let mut packet = Message::default();
        packet.number(13, CLEARED);
        self.packet(packet)?;
        let mut process = Message::default();
        process.number(1, std::process::id().into());
        let name = std::env::args().next().unwrap_or_default();
        process.bytes(6, name.rsplit('/').next().unwrap_or("").as_bytes());
        let mut track = Message::default();
        track.number(1, PROCESS);
        track.message(3, &process);
        // Its tracks in the order that they say.
        track.number(11, 3);
        self.describe(track)?;
        for (rank, (track, name)) in [
            (WORLD, "the world stopped"),
            (COLLECTOR, "collector"),
            (OUTSIDE, "threads without a P"),
        ]
        .into_iter()
        .enumerate()
        {
            self.track(track, name, rank as u64 + 2000, |_| {})?;
        }
        for (track, name) in [(HEAP, "heap"), (GOAL, "heap goal")] {
            self.track(track, name, 3000, |track| {
                const BYTES: u64 = 3;
                let mut counter = Message::default();
                counter.number(3, BYTES);
                track.message(8, &counter);
            })?;
        }
        let scheduler = crate::runtime::scheduler();
        scheduler.for_each_goroutine(|g| match &g.name {
            Some(name) => self.know(g.id, name),
            None => self.know_by_site(g.id, g.site),
        });
        // Whoever ran before the first event.
        let mut snapshot = gosched::Snapshot::default();
        scheduler.observe(&mut snapshot);
        for (p, status) in snapshot.procs.iter().enumerate() {
            if let Some(g) = status.current {
                self.run(p as u32, g, self.time)?;
            }
        }
        Ok(())
    }

    fn know(&mut self, id: GoroutineId, name: &str) {
        let name = self.strings.number(name);
        self.goroutines.insert(id, Goroutine { name, arrow: None });
    }

    fn know_by_site(&mut self, id: GoroutineId, site: Option<&Location<'_>>) {
        match site {
            // The last part of the path is enough to tell them apart.
            Some(site) => {
                let file = site.file().rsplit('/').next().unwrap_or("");
                self.know(id, &format!("{file}:{}", site.line()));
            }
            None => self.know(id, "goroutine"),
        }
    }

    fn packet(&mut self, mut packet: Message) -> io::Result<()> {
        packet.number(10, SEQUENCE);
        let mut whole = Message::default();
        whole.message(1, &packet);
        self.out.write_all(&whole.into_bytes())
    }

    fn describe(&mut self, track: Message) -> io::Result<()> {
        let mut packet = Message::default();
        packet.message(60, &track);
        self.packet(packet)
    }

    fn track(
        &mut self,
        number: u64,
        name: &str,
        rank: u64,
        more: impl FnOnce(&mut Message),
    ) -> io::Result<()> {
        let mut track = Message::default();
        track.number(1, number);
        track.bytes(2, name.as_bytes());
        track.number(5, PROCESS);
        track.number(12, rank);
        more(&mut track);
        self.describe(track)
    }

    /// An event on a track; `fill` says more of it.
    fn on(
        &mut self,
        track: u64,
        time: u64,
        kind: u64,
        fill: impl FnOnce(&mut Message, &mut Strings),
    ) -> io::Result<()> {
        /// It uses strings by number.
        const NEEDS_STATE: u64 = 2;
        let mut event = Message::default();
        event.number(9, kind);
        event.number(11, track);
        fill(&mut event, &mut self.strings);
        let mut packet = Message::default();
        packet.number(8, time);
        packet.number(13, NEEDS_STATE);
        if !self.strings.new.is_empty() {
            let mut interned = Message::default();
            for (text, number) in self.strings.new.drain(..) {
                let mut entry = Message::default();
                entry.number(1, number);
                entry.bytes(2, text.as_bytes());
                // As the name of an event, and of what is noted with one.
                interned.message(2, &entry);
                interned.message(3, &entry);
            }
            packet.message(12, &interned);
        }
        packet.message(11, &event);
        self.packet(packet)
    }

    fn begin_slice(&mut self, track: u64, time: u64, name: &str) -> io::Result<()> {
        *self.open.entry(track).or_default() += 1;
        self.on(track, time, BEGIN, |event, strings| {
            event.number(10, strings.number(name));
        })
    }

    /// Ends the innermost slice that is open, if one is; with what is noted of it.
    fn end_slice(&mut self, track: u64, time: u64, note: Option<(&str, &str)>) -> io::Result<()> {
        let open = self.open.entry(track).or_default();
        let Some(left) = open.checked_sub(1) else {
            return Ok(());
        };
        *open = left;
        self.on(track, time, END, |event, strings| {
            if let Some((name, value)) = note {
                noted(event, strings, name, |note| note.bytes(6, value.as_bytes()));
            }
        })
    }

    fn end_all(&mut self, track: u64, time: u64) -> io::Result<()> {
        while self.open.get(&track).is_some_and(|&open| open > 0) {
            self.end_slice(track, time, None)?;
        }
        Ok(())
    }

    fn count(&mut self, track: u64, time: u64, value: u64) -> io::Result<()> {
        self.on(track, time, COUNTER, |event, _| event.set(30, value))
    }

    /// The track of a P, described when it is first used.
    fn p(&mut self, p: u32) -> io::Result<u64> {
        let (index, track) = (p as usize, FIRST_P + u64::from(p));
        if self.described.len() <= index {
            self.described.resize(index + 1, false);
        }
        if !std::mem::replace(&mut self.described[index], true) {
            self.track(track, &format!("P{p}"), p.into(), |_| {})?;
        }
        Ok(track)
    }

    /// The track of whoever did something.
    fn place(&mut self, p: Option<u32>) -> io::Result<u64> {
        p.map_or(Ok(OUTSIDE), |p| self.p(p))
    }

    fn run(&mut self, p: u32, g: GoroutineId, time: u64) -> io::Result<()> {
        let track = self.p(p)?;
        self.end_all(track, time)?;
        if !self.goroutines.contains_key(&g) {
            self.know(g, "goroutine");
        }
        let known = self.goroutines.get_mut(&g);
        let (name, arrow) = known.map_or((0, None), |known| (known.name, known.arrow.take()));
        self.open.insert(track, 1);
        self.on(track, time, BEGIN, |event, strings| {
            event.number(10, name);
            noted(event, strings, "goroutine", |note| note.number(3, g.0));
            if let Some(arrow) = arrow {
                event.fixed(48, arrow);
            }
        })
    }

    /// A goroutine stops to run on this P.
    fn rest(&mut self, p: Option<u32>, why: &str, time: u64) -> io::Result<()> {
        let Some(p) = p else { return Ok(()) };
        let track = self.p(p)?;
        self.end_slice(track, time, Some(("then", why)))
    }

    /// Somebody made a goroutine able to run: an arrow begins.
    fn ready(&mut self, p: Option<u32>, what: &str, g: GoroutineId, time: u64) -> io::Result<()> {
        let track = self.place(p)?;
        self.arrows += 1;
        let arrow = self.arrows;
        if let Some(known) = self.goroutines.get_mut(&g) {
            known.arrow = Some(arrow);
        }
        self.on(track, time, INSTANT, |event, strings| {
            event.number(10, strings.number(what));
            noted(event, strings, "goroutine", |note| note.number(3, g.0));
            event.fixed(47, arrow);
        })
    }

    /// Writes an event. In order of their times; one that is late is taken for as old as the last.
    pub(super) fn event(&mut self, event: &Event) -> io::Result<()> {
        let (time, p) = (event.time.max(self.time), event.p);
        self.time = time;
        match event.what {
            What::Scheduler(event) => match event {
                E::Created(g, site) => {
                    self.know_by_site(g, Some(site));
                    self.ready(p, "go", g, time)
                }
                E::Readied(g) => self.ready(p, "ready", g, time),
                E::Running(g) => match p {
                    Some(p) => self.run(p, g, time),
                    None => Ok(()),
                },
                E::Parked(_, reason) => self.rest(p, reason.as_str(), time),
                E::Yielded(_) => self.rest(p, "yields", time),
                E::Blocking(_) => self.rest(p, "blocks its thread", time),
                E::Finished(g) => {
                    self.goroutines.remove(&g);
                    self.rest(p, "ends", time)
                }
                E::Retaken(p) => self.rest(Some(p), "runs on without the P", time),
                E::ThreadCreated(_) => self.on(OUTSIDE, time, INSTANT, |event, strings| {
                    event.number(10, strings.number("new thread"));
                }),
            },
            What::CycleBegins { heap, goal } => {
                self.end_all(COLLECTOR, time)?;
                self.count(HEAP, time, heap)?;
                self.count(GOAL, time, goal)?;
                self.begin_slice(COLLECTOR, time, "collection")
            }
            What::Phase(phase) => {
                if self.open.get(&COLLECTOR).is_some_and(|&open| open > 1) {
                    self.end_slice(COLLECTOR, time, None)?;
                }
                match phase {
                    Phase::Off => self.end_all(COLLECTOR, time),
                    Phase::SweepTermination => {
                        self.begin_slice(COLLECTOR, time, "sweep termination")
                    }
                    Phase::Mark => self.begin_slice(COLLECTOR, time, "mark"),
                    Phase::MarkTermination => self.begin_slice(COLLECTOR, time, "mark termination"),
                    Phase::Sweep => self.begin_slice(COLLECTOR, time, "sweep"),
                }
            }
            What::CycleEnds { live, .. } => {
                self.count(HEAP, time, live)?;
                self.end_all(COLLECTOR, time)
            }
            What::Stopping { by_collector } => {
                self.end_all(WORLD, time)?;
                let name = match by_collector {
                    true => "stopped by the collector",
                    false => "stopped to look at goroutines",
                };
                self.begin_slice(WORLD, time, name)?;
                self.begin_slice(WORLD, time, "stopping")
            }
            What::Stopped => {
                self.end_slice(WORLD, time, None)?;
                self.begin_slice(WORLD, time, "stopped")
            }
            What::Started => self.end_all(WORLD, time),
        }
    }

    /// Ends what is open, and says what was lost.
    pub(super) fn finish(mut self, lost: u64) -> io::Result<()> {
        let mut open: Vec<u64> = self.open.keys().copied().collect();
        open.sort_unstable();
        for track in open {
            self.end_all(track, self.time)?;
        }
        if lost > 0 {
            let text = format!("{lost} events were lost");
            self.on(OUTSIDE, self.time, INSTANT, |event, strings| {
                event.number(10, strings.number(&text));
            })?;
        }
        self.out.flush()
    }
}

/// Notes something with an event.
fn noted(event: &mut Message, strings: &mut Strings, name: &str, fill: impl FnOnce(&mut Message)) {
    let mut note = Message::default();
    note.number(1, strings.number(name));
    fill(&mut note);
    event.message(4, &note);
}
