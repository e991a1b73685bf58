//! The stacks of goroutines that do not run, as roots.
//!
//! ```text
//!   saved sp                                                                                 top
//!      ├── frames, control area ──┬─ reserve for libraries ─┬─ thread-locals ─┬─ descriptor ──┤
//!      └─────── looked at ────────┘                         └─── looked at ───┘
//! ```
//!
//! The reserve is empty unless a library was opened that has static thread-locals, which are then among those of the modules. The descriptor is the C library's own: what a program
//! has given it by `pthread_setspecific` needs a [`Root`](crate::gc::Root), like all memory that it manages.
//!
//! There may be tens of thousands of them, and none is in the cache. So they are looked at a chunk at a time, by as many markers as there are, and within a chunk the next
//! are asked for while one is looked at.
//!
//! Beside the program a goroutine may run, or end, while its stack is looked at. What is found there means little then, and does no harm; nobody counts on
//! it (see the table at the head of [`roots`](super::roots)).

use super::engine;
use super::env::GoEnv;
use crate::world::modules::Module;
use crate::world::stop::on_stack;
use gogc::{RootKind, RootSink};
use gosched::Roster;
use std::ops::Range;
use std::ptr::with_exposed_provenance;

/// Goroutines in a chunk.
const CHUNK: usize = 256;

/// Stacks that are asked for at once.
const GROUP: usize = 16;

/// What is asked for of each, of its frames: most have no more.
const AHEAD: usize = 1024;

const LINE: usize = 64;
const WORD: usize = size_of::<usize>();

/// Where the modules have their static thread-locals in every context: how far below the thread pointer, and how many bytes.
pub(crate) type Segments = Vec<(usize, usize)>;

/// All goroutines.
#[derive(Default)]
pub(crate) struct Stacks {
    /// One for the program, and one for each simulation that there ever was.
    rosters: Vec<Roster<GoEnv>>,
    segments: Segments,
}

/// How the stacks are to be looked at.
pub(crate) enum Look {
    /// While the world is stopped, and threads have these stack pointers, in order.
    Stopped(Vec<usize>),
    /// While it runs.
    Beside,
}

/// One stack: where its live part begins, and its thread-local block and ends, and its thread pointer.
#[derive(Clone, Copy)]
struct Live {
    sp: usize,
    block: usize,
    tp: usize,
}

impl Live {
    fn new(sp: usize, top: usize) -> Option<Live> {
        let block = engine::block_below(top)?;
        Some(Live {
            sp: sp & !(WORD - 1),
            block: block.start & !(WORD - 1),
            tp: block.thread_pointer,
        })
    }
}

/// Where these modules have their thread-locals in every context, as seen on the calling thread; nothing of those whose thread-locals are elsewhere in each.
pub(crate) fn segments(
    modules: &[Module],
    is_static: impl Fn(usize) -> bool,
    tp: usize,
) -> Segments {
    let locals = modules.iter().filter_map(|module| module.tls);
    locals
        .filter(|locals| is_static(locals.own))
        .map(|locals| (tp - locals.own, locals.size))
        .collect()
}

impl Stacks {
    /// From now on thread-locals are where these say.
    pub(crate) fn set_segments(&mut self, segments: &Segments) {
        self.segments.clone_from(segments);
    }

    /// Takes note of goroutines that are new.
    ///
    /// # Safety
    /// 1. The world is stopped.
    pub(crate) unsafe fn update(&mut self) {
        for scheduler in engine::schedulers() {
            let known = |roster: &Roster<GoEnv>| std::ptr::eq(roster.scheduler(), scheduler);
            if !self.rosters.iter().any(known) {
                self.rosters.push(Roster::new(scheduler));
            }
        }
        for roster in &mut self.rosters {
            // SAFETY: (1).
            unsafe { roster.update() };
        }
    }

    /// How many chunks there are.
    pub(crate) fn chunks(&self) -> usize {
        let chunks = |roster: &Roster<GoEnv>| roster.len().div_ceil(CHUNK);
        self.rosters.iter().map(chunks).sum()
    }

    /// The goroutines of a chunk.
    fn chunk(&self, mut number: usize) -> Option<(&Roster<GoEnv>, Range<usize>)> {
        for roster in &self.rosters {
            let chunks = roster.len().div_ceil(CHUNK);
            if number < chunks {
                return Some((roster, number * CHUNK..(number + 1) * CHUNK));
            }
            number -= chunks;
        }
        None
    }

    /// Gives `sink` the stacks of a chunk.
    ///
    /// # Safety
    /// 1. What `look` says is the case.
    pub(crate) unsafe fn scan(&self, chunk: usize, look: &Look, sink: &mut impl RootSink) {
        let Some((roster, numbers)) = self.chunk(chunk) else {
            return;
        };
        let mut group: [Option<Live>; GROUP] = [None; GROUP];
        let mut len = 0;
        let mut each = |sp, top| {
            group[len] = Live::new(sp, top);
            len += usize::from(group[len].is_some());
            if len == GROUP {
                self.scan_group(&group, sink);
                len = 0;
            }
        };
        match look {
            Look::Stopped(running) => {
                let runs = |stack: &Range<usize>| on_stack(running, |&sp| sp, stack).is_some();
                // SAFETY: (1), and `update` was called.
                unsafe {
                    roster.for_each_stopped_stack(numbers, runs, |stack, sp| each(sp, stack.end));
                }
            }
            Look::Beside => roster.for_each_context(numbers, |context| {
                // SAFETY: a place for a context, in a G, which is never freed.
                let sp = unsafe { engine::saved_sp_at(context) };
                if let Some(stack) = engine::stack_of(sp) {
                    each(sp, stack.end);
                }
            }),
        }
        self.scan_group(&group[..len], sink);
    }

    fn scan_group(&self, group: &[Option<Live>], sink: &mut impl RootSink) {
        let stacks = || group.iter().flatten();
        for live in stacks() {
            let frames = live.sp..live.block.min(live.sp + AHEAD);
            frames.step_by(LINE).for_each(gogc::word::prefetch);
            for segment in self.locals(live) {
                segment.step_by(LINE).for_each(gogc::word::prefetch);
            }
        }
        for live in stacks() {
            for part in std::iter::once(live.sp..live.block).chain(self.locals(live)) {
                let start = with_exposed_provenance(part.start);
                // SAFETY: a part of a stack above its guard, on word bounds. Stacks are never unmapped.
                unsafe { sink.range(RootKind::Stack, start, part.len() / WORD) };
            }
        }
    }

    /// The thread-locals in the block of a stack.
    fn locals<'a>(&'a self, live: &'a Live) -> impl Iterator<Item = Range<usize>> + 'a {
        let parts = self.segments.iter();
        parts.map(|&(below, size)| {
            let start = (live.tp - below).next_multiple_of(WORD);
            start..((live.tp - below + size) & !(WORD - 1)).max(start)
        })
    }

    /// Calls `each` with the thread pointer of every goroutine that does not run.
    ///
    /// # Safety
    /// 1. The world is stopped, `update` was called, and threads have these stack pointers, in order.
    pub(crate) unsafe fn for_each_thread_pointer(
        &self,
        running: &[usize],
        mut each: impl FnMut(usize),
    ) {
        let runs = |stack: &Range<usize>| on_stack(running, |&sp| sp, stack).is_some();
        for roster in &self.rosters {
            let each = |stack: Range<usize>, _| {
                if let Some(block) = engine::block_below(stack.end) {
                    each(block.thread_pointer);
                }
            };
            // SAFETY: (1).
            unsafe { roster.for_each_stopped_stack(0..roster.len(), runs, each) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::modules::ThreadLocals;

    #[test]
    fn static_thread_locals_are_found_by_their_distance() {
        let module = |own, size| Module {
            tls: Some(ThreadLocals { id: 1, size, own }),
            ..Module::default()
        };
        let modules = [
            module(900, 50),
            module(0, 8),
            module(5000, 8),
            Module::default(),
        ];
        let found = segments(&modules, |own| (500..1000).contains(&own), 1000);
        assert_eq!(found, [(100, 50)]);
        let stacks = Stacks {
            segments: vec![(100, 50), (33, 20)],
            ..Stacks::default()
        };
        let live = Live {
            sp: 0,
            block: 0,
            tp: 4096,
        };
        let locals: Vec<_> = stacks.locals(&live).collect();
        assert_eq!(locals, [4000..4040, 4064..4080]);
    }
}
