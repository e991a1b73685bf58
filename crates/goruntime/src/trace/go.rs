//! Events as a trace of Go's, for `go tool trace`: version 1.23 of the format, which later releases read too (`internal/trace/tracev2` in Go's source).
//!
//! In that format every thread has a stream of events, and its reader replays them on a model of the scheduler that refuses what cannot be: a goroutine starts on a P that has none, was
//! able to run, and has the next number in a row of its own. Here events belong to Ps, since a goroutine may go on without one; so each P stands for a thread that always has it. What
//! happens outside of all Ps is put on one more, with a goroutine that stands for the runtime.
//!
//! Invariant: what is written is a possible history. Events are replayed on the same model ([`Replay`]), and where one is missing - there was no room for it, or it came before the trace
//! began - what must have happened is put in.

use crate::events::{Event, What};
use gosched::env::Event as E;
use gosched::goroutine::{GoroutineId, GoroutineState};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, Write};
use std::panic::Location;

/// Events, by the numbers of the format.
mod kind {
    pub(super) const EVENT_BATCH: u8 = 1;
    pub(super) const STACKS: u8 = 2;
    pub(super) const STACK: u8 = 3;
    pub(super) const STRINGS: u8 = 4;
    pub(super) const STRING: u8 = 5;
    pub(super) const FREQUENCY: u8 = 8;
    pub(super) const PROCS_CHANGE: u8 = 9;
    pub(super) const PROC_START: u8 = 10;
    pub(super) const PROC_STOP: u8 = 11;
    pub(super) const PROC_STATUS: u8 = 13;
    pub(super) const GO_CREATE: u8 = 14;
    pub(super) const GO_START: u8 = 16;
    pub(super) const GO_DESTROY: u8 = 17;
    pub(super) const GO_STOP: u8 = 19;
    pub(super) const GO_BLOCK: u8 = 20;
    pub(super) const GO_UNBLOCK: u8 = 21;
    pub(super) const STW_BEGIN: u8 = 26;
    pub(super) const STW_END: u8 = 27;
    pub(super) const GC_BEGIN: u8 = 29;
    pub(super) const GC_END: u8 = 30;
    pub(super) const HEAP_ALLOC: u8 = 37;
    pub(super) const HEAP_GOAL: u8 = 38;
    pub(super) const GO_STATUS_STACK: u8 = 48;
}

/// States of goroutines and Ps, likewise.
const RUNNABLE: u64 = 1;
const RUNNING: u64 = 2;
const WAITING: u64 = 4;
const PROC_RUNNING: u64 = 1;

/// There is only one of the pieces that a long trace has.
const GENERATION: u64 = 1;
/// No thread.
const NOBODY: u64 = u64::MAX;
/// A batch is shorter than 64 KiB; an event is shorter than the rest.
const BATCH: usize = 63 << 10;
const STRING: usize = 1 << 10;

/// The P that stands for threads without one, and the goroutine on it.
const RUNTIME: u32 = gosched::MAX_PROCS as u32;
const RUNTIME_G: u64 = 1 << 62;
/// The P on which goroutines that go on without one are when something happens to them.
const ELSEWHERE: u32 = RUNTIME + 1;

/// A P without a goroutine for longer than that is shown as idle.
const IDLE: u64 = 10_000;

/// Writes events, in order of their times, that have happened since `begin`.
pub(super) fn write(out: &mut impl Write, begin: u64, events: &[Event]) -> io::Result<()> {
    let mut replay = Replay::new(begin);
    replay.begin(events);
    for event in events {
        replay.event(event);
    }
    out.write_all(&replay.finish())?;
    out.flush()
}

/// The events of a thread, until they are a batch.
#[derive(Default)]
struct Stream {
    data: Vec<u8>,
    first: u64,
    last: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Status {
    Runnable,
    /// On this P.
    Running(u32),
    Waiting,
}

struct Goroutine {
    status: Status,
    /// The number of its last start or wake-up.
    sequence: u64,
}

#[derive(Default)]
struct Proc {
    current: Option<u64>,
    /// When its last goroutine left it.
    left: u64,
    sequence: u64,
}

/// The model, and what was written.
struct Replay {
    batches: Vec<u8>,
    streams: BTreeMap<u64, Stream>,
    goroutines: HashMap<u64, Goroutine>,
    procs: HashMap<u32, Proc>,
    strings: HashMap<String, u64>,
    /// By the name of the function: the one call that they have.
    stacks: HashMap<String, (u64, String, u32)>,
    /// What is known of goroutines besides: a name, a file and a line.
    known: HashMap<u64, (String, String, u32)>,
    time: u64,
    /// The number of the last beginning or end of a collection.
    collections: u64,
    is_collecting: bool,
    is_stopped: bool,
}

fn varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

impl Replay {
    fn new(begin: u64) -> Replay {
        Replay {
            batches: Vec::new(),
            streams: BTreeMap::new(),
            goroutines: HashMap::new(),
            procs: HashMap::new(),
            strings: HashMap::new(),
            stacks: HashMap::new(),
            known: HashMap::new(),
            time: begin,
            collections: 0,
            is_collecting: false,
            is_stopped: false,
        }
    }

    /// The state at the beginning: what the scheduler says now, corrected by what the events tell.
    fn begin(&mut self, events: &[Event]) {
        let scheduler = crate::runtime::scheduler();
        let mut snapshot = gosched::Snapshot::default();
        scheduler.observe(&mut snapshot);
        let mut untouched: Vec<(u64, GoroutineState)> = Vec::new();
        scheduler.for_each_goroutine(|g| {
            untouched.push((g.id.0, g.state));
            let place = g.site.map(|site| (short(site.file()), site.line()));
            let (file, line) = place.unwrap_or_default();
            let name = g.name.as_deref().map_or_else(|| named(&file, line), short);
            self.known.insert(g.id.0, (name, file, line));
        });
        let procs = snapshot.procs.len() as u32;
        for p in (0..procs).chain([RUNTIME]) {
            self.proc(p);
        }
        self.emit(RUNTIME, kind::PROCS_CHANGE, &[procs.into(), 0]);
        let mut seen = HashSet::new();
        let mut settled = HashSet::new();
        for event in events {
            let What::Scheduler(what) = event.what else {
                continue;
            };
            let (g, stops) = match what {
                E::Created(g, _) | E::Running(g) | E::Readied(g) => (g, false),
                E::Parked(g, _) | E::Yielded(g) | E::Finished(g) | E::Blocking(g) => (g, true),
                E::Retaken(_) | E::ThreadCreated(_) => continue,
            };
            let is_first = seen.insert(g.0);
            let Some(p) = event.p else { continue };
            let is_first_of_p = (stops || matches!(what, E::Running(_))) && settled.insert(p);
            if stops && is_first && is_first_of_p {
                // It ran there when the trace began.
                self.run_from_the_beginning(g.0, p);
            }
        }
        for (p, status) in (0..).zip(&snapshot.procs) {
            let current = status.current.filter(|g| !seen.contains(&g.0));
            if let Some(g) = current
                && !settled.contains(&p)
            {
                self.run_from_the_beginning(g.0, p);
            }
        }
        // Of these nothing was heard, so they were then what they are now.
        untouched.retain(|(g, _)| !seen.contains(g) && !self.goroutines.contains_key(g));
        for (g, state) in untouched {
            match state {
                GoroutineState::Runnable => self.exists(g, Status::Runnable),
                _ => self.exists(g, Status::Waiting),
            }
        }
    }

    fn run_from_the_beginning(&mut self, g: u64, p: u32) {
        self.proc(p);
        self.exists(g, Status::Running(p));
    }

    /// The P's thread.
    fn thread(p: u32) -> u64 {
        u64::from(p) + 1
    }

    /// Makes the P known.
    fn proc(&mut self, p: u32) -> &mut Proc {
        if !self.procs.contains_key(&p) {
            self.emit(p, kind::PROC_STATUS, &[p.into(), PROC_RUNNING]);
            let left = self.time;
            let proc = Proc {
                left,
                ..Proc::default()
            };
            self.procs.insert(p, proc);
            if p == RUNTIME {
                let known = ("runtime".to_owned(), String::new(), 0);
                self.known.insert(RUNTIME_G, known);
                self.exists(RUNTIME_G, Status::Running(RUNTIME));
            }
        }
        self.procs.entry(p).or_default()
    }

    /// Makes a goroutine known that there was before.
    fn exists(&mut self, g: u64, status: Status) {
        let stack = self.stack_of(g);
        let (p, thread, state) = match status {
            Status::Runnable => (RUNTIME, NOBODY, RUNNABLE),
            Status::Waiting => (RUNTIME, NOBODY, WAITING),
            Status::Running(p) => (p, Replay::thread(p), RUNNING),
        };
        self.proc(p);
        self.emit(p, kind::GO_STATUS_STACK, &[g, thread, state, stack]);
        if let Status::Running(p) = status {
            self.proc(p).current = Some(g);
        }
        let goroutine = Goroutine {
            status,
            sequence: 0,
        };
        self.goroutines.insert(g, goroutine);
    }

    /// An event on a P's thread, now.
    fn emit(&mut self, p: u32, kind: u8, arguments: &[u64]) {
        let thread = Replay::thread(p);
        let stream = self.streams.entry(thread).or_default();
        if stream.data.len() > BATCH {
            batch(&mut self.batches, thread, stream.first, &stream.data);
            stream.data.clear();
        }
        if stream.data.is_empty() {
            (stream.first, stream.last) = (self.time, self.time);
        }
        stream.data.push(kind);
        varint(&mut stream.data, self.time - stream.last);
        for &argument in arguments {
            varint(&mut stream.data, argument);
        }
        stream.last = self.time;
    }

    fn string(&mut self, text: &str) -> u64 {
        let next = self.strings.len() as u64 + 1;
        *self.strings.entry(text.to_owned()).or_insert(next)
    }

    /// The stack that tells what a goroutine is: its name, and where it was started. 0 if nothing is known.
    fn stack_of(&mut self, g: u64) -> u64 {
        let Some((name, file, line)) = self.known.get(&g).cloned() else {
            return 0;
        };
        let next = self.stacks.len() as u64 + 1;
        self.string(&name);
        self.string(&file);
        self.stacks.entry(name).or_insert((next, file, line)).0
    }

    /// The goroutine on this P does not run any more.
    fn leave(&mut self, p: u32) {
        let time = self.time;
        let proc = self.proc(p);
        (proc.current, proc.left) = (None, time);
    }

    /// A goroutine runs on this P, whatever it did before.
    fn run(&mut self, g: u64, p: u32) {
        if self.proc(p).current == Some(g) {
            return;
        }
        if self.proc(p).current.is_some() {
            self.stop(p, "gave way");
        }
        match self.goroutines.get(&g).map(|g| g.status) {
            None => self.exists(g, Status::Runnable),
            Some(Status::Waiting) => self.unblock(g, p),
            Some(Status::Running(other)) => self.stop(other, "went on elsewhere"),
            Some(Status::Runnable) => {}
        }
        let (left, now) = (self.proc(p).left, self.time);
        if now - left > IDLE && p < RUNTIME {
            self.be_idle(p, left);
        }
        let sequence = self.next_number(g);
        self.emit(p, kind::GO_START, &[g, sequence]);
        self.proc(p).current = Some(g);
        self.set(g, Status::Running(p));
    }

    /// A P had nothing to do from then until now.
    fn be_idle(&mut self, p: u32, since: u64) {
        // It may have made others able to run since then.
        let last = self.streams.get(&Replay::thread(p)).map_or(0, |s| s.last);
        let now = std::mem::replace(&mut self.time, since.max(last));
        self.emit(p, kind::PROC_STOP, &[]);
        self.time = now;
        let proc = self.proc(p);
        proc.sequence += 1;
        let sequence = proc.sequence;
        self.emit(p, kind::PROC_START, &[p.into(), sequence]);
    }

    fn set(&mut self, g: u64, status: Status) {
        if let Some(goroutine) = self.goroutines.get_mut(&g) {
            goroutine.status = status;
        }
    }

    fn next_number(&mut self, g: u64) -> u64 {
        let goroutine = self.goroutines.get_mut(&g);
        goroutine.map_or(0, |goroutine| {
            goroutine.sequence += 1;
            goroutine.sequence
        })
    }

    /// The goroutine on this P goes back into a queue.
    fn stop(&mut self, p: u32, why: &str) {
        if let Some(g) = self.proc(p).current {
            let why = self.string(why);
            self.emit(p, kind::GO_STOP, &[why, 0]);
            self.leave(p);
            self.set(g, Status::Runnable);
        }
    }

    /// Somebody on this P makes a goroutine able to run that waits.
    fn unblock(&mut self, g: u64, p: u32) {
        self.proc(p);
        let sequence = self.next_number(g);
        self.emit(p, kind::GO_UNBLOCK, &[g, sequence, 0]);
        self.set(g, Status::Runnable);
    }

    /// The P that a goroutine is on when something happens to it, with it on it.
    fn at(&mut self, g: GoroutineId, p: Option<u32>) -> u32 {
        let p = p.unwrap_or(ELSEWHERE);
        if !self.goroutines.contains_key(&g.0) && self.proc(p).current.is_none() {
            self.exists(g.0, Status::Running(p));
        }
        self.run(g.0, p);
        p
    }

    fn block(&mut self, g: GoroutineId, p: Option<u32>, why: &str) {
        let p = self.at(g, p);
        let why = self.string(why);
        self.emit(p, kind::GO_BLOCK, &[why, 0]);
        self.leave(p);
        self.set(g.0, Status::Waiting);
    }

    fn event(&mut self, event: &Event) {
        self.time = self.time.max(event.time);
        let p = event.p;
        match event.what {
            What::Scheduler(what) => self.scheduler(what, p),
            What::CycleBegins { heap, goal } => {
                self.proc(RUNTIME);
                self.emit(RUNTIME, kind::HEAP_ALLOC, &[heap]);
                self.emit(RUNTIME, kind::HEAP_GOAL, &[goal]);
                if !std::mem::replace(&mut self.is_collecting, true) {
                    self.collections += 1;
                    self.emit(RUNTIME, kind::GC_BEGIN, &[self.collections, 0]);
                }
            }
            What::Phase(_) => {}
            What::CycleEnds { live, .. } => {
                if std::mem::take(&mut self.is_collecting) {
                    self.collections += 1;
                    self.emit(RUNTIME, kind::GC_END, &[self.collections]);
                    self.emit(RUNTIME, kind::HEAP_ALLOC, &[live]);
                }
            }
            What::Stopping { by_collector } => {
                self.proc(RUNTIME);
                if !std::mem::replace(&mut self.is_stopped, true) {
                    let why = match by_collector {
                        true => "collection",
                        false => "goroutine stacks",
                    };
                    let why = self.string(why);
                    self.emit(RUNTIME, kind::STW_BEGIN, &[why, 0]);
                }
            }
            What::Stopped => {}
            What::Started => {
                if std::mem::take(&mut self.is_stopped) {
                    self.emit(RUNTIME, kind::STW_END, &[]);
                }
            }
        }
    }

    fn scheduler(&mut self, what: E, p: Option<u32>) {
        match what {
            E::Created(g, site) => self.create(g.0, site, p.unwrap_or(RUNTIME)),
            E::Running(g) => {
                if let Some(p) = p {
                    self.run(g.0, p);
                }
            }
            E::Parked(g, reason) => self.block(g, p, reason.as_str()),
            E::Blocking(g) => self.block(g, p, "blocks its thread"),
            E::Readied(g) => {
                let status = self.goroutines.get(&g.0).map(|g| g.status);
                if status.is_none() {
                    self.exists(g.0, Status::Waiting);
                }
                if matches!(status, None | Some(Status::Waiting)) {
                    self.unblock(g.0, p.unwrap_or(RUNTIME));
                }
            }
            E::Yielded(g) => {
                let p = self.at(g, p);
                self.stop(p, "yields");
            }
            E::Finished(g) => {
                let p = self.at(g, p);
                self.emit(p, kind::GO_DESTROY, &[]);
                self.leave(p);
                self.goroutines.remove(&g.0);
            }
            E::Retaken(p) => self.stop(p, "goes on without the P"),
            E::ThreadCreated(_) => {}
        }
    }

    fn create(&mut self, g: u64, site: &'static Location<'static>, p: u32) {
        if self.goroutines.contains_key(&g) {
            return;
        }
        self.known.entry(g).or_insert_with(|| {
            let (file, line) = (short(site.file()), site.line());
            (named(&file, line), file, line)
        });
        self.proc(p);
        let stack = self.stack_of(g);
        self.emit(p, kind::GO_CREATE, &[g, stack, 0]);
        let goroutine = Goroutine {
            status: Status::Runnable,
            sequence: 0,
        };
        self.goroutines.insert(g, goroutine);
    }

    /// The whole file.
    fn finish(mut self) -> Vec<u8> {
        let mut file = b"go 1.23 trace\0\0\0".to_vec();
        for (&thread, stream) in &self.streams {
            batch(&mut self.batches, thread, stream.first, &stream.data);
        }
        file.append(&mut self.batches);
        let mut frequency = vec![kind::FREQUENCY];
        varint(&mut frequency, 1_000_000_000);
        batch(&mut file, NOBODY, self.time, &frequency);
        let mut stacks: Vec<_> = self.stacks.iter().collect();
        stacks.sort_by_key(|(_, (number, ..))| *number);
        let entries = stacks.into_iter().map(|(name, (number, file, line))| {
            let mut entry = vec![kind::STACK];
            // The address is any that is not another's.
            for value in [
                *number,
                1,
                *number,
                self.strings[name.as_str()],
                self.strings[file.as_str()],
                u64::from(*line),
            ] {
                varint(&mut entry, value);
            }
            entry
        });
        table(&mut file, self.time, kind::STACKS, entries);
        let mut strings: Vec<_> = self.strings.iter().collect();
        strings.sort_by_key(|(_, number)| **number);
        let entries = strings.into_iter().map(|(text, number)| {
            let mut entry = vec![kind::STRING];
            varint(&mut entry, *number);
            varint(&mut entry, text.len() as u64);
            entry.extend_from_slice(text.as_bytes());
            entry
        });
        table(&mut file, self.time, kind::STRINGS, entries);
        file
    }
}

/// What a goroutine without a name is called.
fn named(file: &str, line: u32) -> String {
    match file.rsplit('/').next() {
        Some("") | None => "goroutine".to_owned(),
        Some(file) => short(&format!("{file}:{line}")),
    }
}

/// As much of a text as the format lets a string be.
fn short(text: &str) -> String {
    let mut end = text.len().min(STRING);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

fn batch(file: &mut Vec<u8>, thread: u64, time: u64, data: &[u8]) {
    file.push(kind::EVENT_BATCH);
    for value in [GENERATION, thread, time, data.len() as u64] {
        varint(file, value);
    }
    file.extend_from_slice(data);
}

/// Entries of a table, in as many batches as it takes.
fn table(file: &mut Vec<u8>, time: u64, kind: u8, entries: impl Iterator<Item = Vec<u8>>) {
    let mut data = vec![kind];
    for entry in entries {
        if data.len() + entry.len() > BATCH {
            batch(file, NOBODY, time, &data);
            data.truncate(1);
        }
        data.extend(entry);
    }
    batch(file, NOBODY, time, &data);
}
