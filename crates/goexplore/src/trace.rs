//! The last operations of an execution, for whoever has to understand how it failed.

use std::collections::VecDeque;
use std::fmt;
use std::panic::Location;

/// How many operations are kept.
const KEPT: usize = 80;

struct Entry {
    thread: usize,
    at: &'static Location<'static>,
    what: What,
}

/// An operation, as far as a reader wants to know.
#[derive(Clone, Copy)]
pub(crate) enum What {
    Load { value: u64, age: u32 },
    Store(u64),
    Modify { from: u64, to: u64 },
    Failed(u64),
    Fence(&'static str),
    Wait(&'static str),
    Wake(usize),
    Start(usize),
}

#[derive(Default)]
pub(crate) struct Trace {
    entries: VecDeque<Entry>,
    dropped: usize,
}

impl Trace {
    pub(crate) fn note(&mut self, thread: usize, at: &'static Location<'static>, what: What) {
        if self.entries.len() == KEPT {
            self.entries.pop_front();
            self.dropped += 1;
        }
        self.entries.push_back(Entry { thread, at, what });
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            What::Load { value, age: 0 } => write!(f, "reads {value:#x}"),
            What::Load { value, age } => write!(f, "reads {value:#x}, {age} behind the newest"),
            What::Store(value) => write!(f, "stores {value:#x}"),
            What::Modify { from, to } => write!(f, "changes {from:#x} to {to:#x}"),
            What::Failed(value) => write!(f, "finds {value:#x}, changes nothing"),
            What::Fence(kind) => write!(f, "{kind} fence"),
            What::Wait(what) => write!(f, "{what}"),
            What::Wake(n) => write!(f, "wakes {n}"),
            What::Start(id) => write!(f, "starts thread {id}"),
        }
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.dropped > 0 {
            writeln!(f, "  ... {} earlier operations", self.dropped)?;
        }
        for Entry { thread, at, what } in &self.entries {
            writeln!(
                f,
                "  {:indent$}{thread}: {what}  ({}:{})",
                "",
                at.file(),
                at.line(),
                indent = thread * 4
            )?;
        }
        Ok(())
    }
}
