//! The roots of a stopped process, as a list of memory ranges.
//!
//! | what | where it lies |
//! | --- | --- |
//! | registers | in what the stop handlers published |
//! | stack of a thread, and of the goroutine it runs | from the stack pointer (less the red zone) to the end of the stack |
//! | static thread-locals | between the stack and the thread control block, or in the mapping of the latter |
//! | dynamic thread-locals | found through the control block's vector (dtv) |
//! | stack and thread-locals of a goroutine that does not run | from its saved stack pointer to the end of its stack, see [`stacks`] |
//! | statics | writable segments of every loaded object |
//! | the Rust heap | live blocks of malloc spans |
//!
//! A thread that runs a goroutine has two stacks: the goroutine's, where its stack pointer is, and its own, which is found
//! as the saved context that the M left.
//!
//! What is looked at when, in a cycle that marks beside the program:
//!
//! | | first stop | beside the program | last stop |
//! | --- | --- | --- | --- |
//! | threads: registers, stacks, thread-locals | all | | all |
//! | goroutines that do not run | | all that there were in the first stop | all |
//! | statics | all | | all |
//! | the Rust heap | | all | what may have been written since |
//! | stores that the barrier has recorded | | | all |
//!
//! A stack may change though its goroutine does not run: a value is handed to a receiver where it waits, and a scope's goroutines write to the locals of the
//! one that waits for them. So all of them are looked at again in the last stop; what they lead to is marked by then.
//!
//! Invariant: in a stop nothing here takes a lock that a stopped thread may hold; memory comes from gomem, in whose critical sections nobody
//! is stopped.

use super::rust_heap::{Part, RustHeap};
use super::stacks::{self, Look, Segments, Stacks};
use super::{barrier, engine};
use crate::world::maps::{self, Maps};
use crate::world::modules::Module;
use crate::world::readable;
use crate::world::stop::{StopError, Stopped, StoppedThread, on_stack, thread_pointer};
use crate::world::threads::Tid;
use gogc::{RootKind, RootSink, Roots, Stop};
use gomem::MallocShare;
use gosched::goroutine::{GoroutineInfo, StackInfo, WaitsOn};
use std::cell::Cell;
use std::ops::Range;
use std::ptr::with_exposed_provenance;
use std::sync::Arc;

/// Below the stack pointer, a leaf function may keep this much (System V ABI for x86-64, "red zone").
const RED_ZONE: usize = 128;

/// A range larger than this is split among markers.
const CHUNK: usize = 256 << 10;

/// A range of memory with roots in it.
pub(super) type Area = (RootKind, Range<usize>);

/// What is to be looked through, cut into jobs: one for each share of the Rust heap, for each range, for each chunk of goroutines, and for the barrier's records.
pub(crate) struct GoRoots {
    shares: Vec<MallocShare<'static>>,
    rust_heap: Part,
    ranges: Vec<Area>,
    stacks: Option<(Arc<Stacks>, Look)>,
    recorded: bool,
}

/// A job.
enum Job<'r> {
    Share(&'r MallocShare<'static>),
    Range(&'r Area),
    Stacks(usize),
    Recorded,
}

// SAFETY:
// 1. The table at the head of this file lists every place in which safe code can keep a pointer, and when each is looked at.
// 2. Scanning reads memory, and walks malloc spans, which takes no lock.
unsafe impl Roots for GoRoots {
    fn jobs(&self) -> usize {
        let known = self.shares.len() + self.ranges.len();
        known + self.chunks() + usize::from(self.recorded)
    }

    fn scan(&self, job: usize, sink: &mut impl RootSink) {
        self.look(self.job(job), &self.rust_heap, sink);
    }

    fn scan_all(&self, sink: &mut impl RootSink) {
        for job in 0..self.jobs() {
            self.look(self.job(job), &Part::All, sink);
        }
    }
}

impl GoRoots {
    /// What is looked through beside the program: stacks of goroutines, and a part of the Rust heap.
    pub(crate) fn beside(stacks: Option<Arc<Stacks>>, rust_heap: Part) -> GoRoots {
        GoRoots {
            shares: gomem::heap().malloc_shares().collect(),
            rust_heap,
            ranges: Vec::new(),
            stacks: stacks.map(|stacks| (stacks, Look::Beside)),
            recorded: false,
        }
    }

    fn chunks(&self) -> usize {
        self.stacks
            .as_ref()
            .map_or(0, |(stacks, _)| stacks.chunks())
    }

    fn job(&self, mut number: usize) -> Job<'_> {
        if let Some(share) = self.shares.get(number) {
            return Job::Share(share);
        }
        number -= self.shares.len();
        if let Some(range) = self.ranges.get(number) {
            return Job::Range(range);
        }
        number -= self.ranges.len();
        if number < self.chunks() {
            Job::Stacks(number)
        } else {
            Job::Recorded
        }
    }

    fn look(&self, job: Job<'_>, rust_heap: &Part, sink: &mut impl RootSink) {
        match job {
            Job::Share(share) => scan_share(share, rust_heap, sink),
            Job::Range((kind, range)) => {
                let start = with_exposed_provenance(range.start);
                // SAFETY: `gather` put in only ranges that are mapped and readable, on word bounds; they stay so while the world is stopped.
                unsafe { sink.range(*kind, start, range.len() / WORD) };
            }
            Job::Stacks(chunk) => {
                if let Some((stacks, look)) = &self.stacks {
                    // SAFETY: `gather` and `beside` say what is the case.
                    unsafe { stacks.scan(chunk, look, sink) };
                }
            }
            Job::Recorded => {
                barrier::for_each_recorded(|word| sink.word(RootKind::Handle, word));
            }
        }
    }
}

fn scan_share(share: &MallocShare<'static>, part: &Part, sink: &mut impl RootSink) {
    let mut look = |block: Range<usize>| {
        let start = with_exposed_provenance(block.start);
        // SAFETY: a block of the heap, or a part of one, on word bounds; it can be read even if it has been freed, since the heap is being marked.
        unsafe { sink.range(RootKind::RustHeap, start, block.len() / WORD) }
    };
    match part {
        Part::All => share.for_each_block(look),
        Part::Pages(pages) => share.for_each_block_in(
            |span| pages.any(&span),
            |block| pages.parts(block, &mut look),
        ),
    }
}

const WORD: usize = size_of::<usize>();

/// The size of libc's thread control block, which it exports for debuggers; so much that the end of the mapping decides, if it does not.
/// To be called before the world is stopped.
fn control_block_size() -> usize {
    // SAFETY: looks a symbol up; `nptl_db` defines it as a 32-bit number.
    unsafe {
        let size = libc::dlsym(libc::RTLD_DEFAULT, c"_thread_db_sizeof_pthread".as_ptr());
        size.cast::<u32>()
            .as_ref()
            .map_or(1 << 20, |size| *size as usize)
    }
}

/// What is found out once.
pub(crate) struct Sources {
    maps: Maps,
    /// The size of libc's thread control block.
    control_block: usize,
}

impl Sources {
    pub(crate) fn new() -> Sources {
        Sources {
            maps: Maps::open(),
            control_block: control_block_size(),
        }
    }
}

/// Finds the statics: what is mapped of the modules' segments, some of which is made read-only after relocation. Called while the loader's lock is held, which
/// keeps it so, and before the world is stopped.
///
/// # Errors
/// When the list of mappings cannot be read.
pub(super) fn statics(modules: &[Module]) -> Result<Vec<Area>, StopError> {
    let mut maps = Vec::new();
    maps::for_each_writable(|map| maps.push(map)).map_err(unreadable)?;
    let mut found = Vec::new();
    for segment in modules.iter().flat_map(|module| &module.data) {
        let first = maps.partition_point(|m| m.end <= segment.start);
        for map in maps[first..].iter().take_while(|m| m.start < segment.end) {
            let part = map.start.max(segment.start)..map.end.min(segment.end);
            for part in without(part, &tables()) {
                split(RootKind::Global, part, |area| found.push(area));
            }
        }
    }
    Ok(found)
}

/// Statics of the allocator and of the collector, which are large and hold no pointers of the program's.
fn tables() -> [Range<usize>; 2] {
    let heap = std::ptr::from_ref(gomem::heap()) as usize;
    [heap..heap + size_of_val(gomem::heap()), barrier::buffers()]
}

/// The parts of `range` that lie in none of `holes`.
fn without(range: Range<usize>, holes: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut parts = vec![range];
    for hole in holes {
        parts = parts
            .into_iter()
            .flat_map(|part| {
                let before = part.start..hole.start.clamp(part.start, part.end);
                let after = hole.end.clamp(part.start, part.end)..part.end;
                [before, after]
            })
            .filter(|part| !part.is_empty())
            .collect();
    }
    parts
}

fn unreadable(errno: i32) -> StopError {
    StopError::Unreadable("/proc/self/maps", errno)
}

/// The mappings of the stopped world: asked for one by one, or all of them where the kernel does not answer.
enum MapList<'a> {
    /// And whether it once did not after all.
    Asked(&'a Maps, Cell<bool>),
    /// In order of address.
    Read(Vec<Range<usize>>),
}

impl<'a> MapList<'a> {
    fn new(maps: &'a Maps) -> Result<MapList<'a>, StopError> {
        if maps.answers() {
            return Ok(MapList::Asked(maps, Cell::new(false)));
        }
        let mut all = Vec::new();
        maps::for_each_writable(|map| all.push(map)).map_err(unreadable)?;
        Ok(MapList::Read(all))
    }

    /// Whether a question was not answered: then what was found is not all.
    fn failed(&self) -> bool {
        matches!(self, MapList::Asked(_, failed) if failed.get())
    }

    /// The mapping that the address lies in.
    fn find(&self, address: usize) -> Option<Range<usize>> {
        match self {
            MapList::Asked(maps, failed) => maps.writable(address).unwrap_or_else(|| {
                failed.set(true);
                None
            }),
            MapList::Read(all) => {
                let after = all.partition_point(|m| m.start <= address);
                let map = all.get(after.checked_sub(1)?)?;
                map.contains(&address).then(|| map.clone())
            }
        }
    }
}

/// What is known of the loaded objects.
pub(crate) struct Loaded {
    /// Their statics.
    statics: Vec<Area>,
    /// The loader's numbers for the thread-local storage, and its size, of those that have it elsewhere in each context.
    dynamic: Vec<(usize, usize)>,
    segments: Segments,
}

impl Loaded {
    /// Called on the thread that has listed the modules, while the loader's lock is held, and before the world is stopped.
    ///
    /// # Errors
    /// When the list of mappings cannot be read.
    pub(crate) fn of(modules: &[Module]) -> Result<Loaded, StopError> {
        let tp = thread_pointer();
        let is_static = |own| engine::is_static_local(own, tp);
        let locals = modules.iter().filter_map(|module| module.tls);
        Ok(Loaded {
            statics: statics(modules)?,
            dynamic: locals
                .filter(|locals| !is_static(locals.own))
                .map(|locals| (locals.id, locals.size))
                .collect(),
            segments: stacks::segments(modules, is_static, tp),
        })
    }
}

/// Finds, while the world stands still, what is to be looked at in this stop.
///
/// # Errors
/// When the list of mappings cannot be read: without it neither stacks nor statics have a known extent.
pub(crate) fn gather(
    stop: Stop,
    loaded: &Loaded,
    stopped: &Stopped<'_>,
    sources: &Sources,
    stacks: &mut Arc<Stacks>,
    rust_heap: &mut RustHeap,
) -> Result<GoRoots, StopError> {
    let mut g = Gatherer {
        ranges: loaded.statics.clone(),
        maps: MapList::new(&sources.maps)?,
        dynamic: &loaded.dynamic,
        control_block: sources.control_block,
    };
    let mut running = Vec::new();
    stopped.for_each_thread(|thread| {
        running.push(thread.sp);
        g.thread(&thread);
    });
    running.sort_unstable();
    let known = Arc::get_mut(stacks).expect("nobody looks at stacks between two rounds");
    known.set_segments(&loaded.segments);
    // SAFETY: `stopped` is the evidence.
    unsafe { known.update() };
    if !loaded.dynamic.is_empty() {
        let each = |tp| {
            let none = g.ranges.len();
            g.dynamic_tls(tp, none);
        };
        // SAFETY: as above, and every stopped thread was just listed.
        unsafe { known.for_each_thread_pointer(&running, each) };
    }
    if g.maps.failed() {
        return Err(unreadable(libc::EIO));
    }
    Ok(GoRoots {
        shares: match stop {
            Stop::Begin => Vec::new(),
            Stop::Whole | Stop::End => gomem::heap().malloc_shares().collect(),
        },
        rust_heap: match stop {
            Stop::Begin | Stop::Whole => Part::All,
            Stop::End => rust_heap.end(),
        },
        ranges: g.ranges,
        stacks: (stop != Stop::Begin).then(|| (stacks.clone(), Look::Stopped(running))),
        recorded: stop == Stop::End,
    })
}

/// Who holds something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// The statics of a loaded object, by its place in the list of those.
    Module(usize),
    /// A thread that runs no goroutine.
    Thread(Tid),
    /// A goroutine, by its number; if a thread runs it, with what that thread has of its own.
    Goroutine(u64),
}

/// What somebody holds.
pub(super) struct Held {
    pub(super) holder: Holder,
    /// Its thread pointer.
    pub(super) tp: usize,
    pub(super) areas: Vec<Area>,
    /// What the goroutine is parked on.
    pub(super) waits_on: Option<WaitsOn>,
}

/// All that is held outside of the heap, by whom, while the world stands still: registers, stacks and thread-locals of threads and of goroutines. Statics are the caller's to know.
///
/// # Errors
/// As [`gather`].
pub(super) fn held(
    loaded: &Loaded,
    stopped: &Stopped<'_>,
    sources: &Sources,
) -> Result<Vec<Held>, StopError> {
    let mut g = Gatherer {
        ranges: Vec::new(),
        maps: MapList::new(&sources.maps)?,
        dynamic: &loaded.dynamic,
        control_block: sources.control_block,
    };
    let (mut threads, mut held) = (Vec::new(), Vec::new());
    stopped.for_each_thread(|thread| {
        threads.push((thread.sp, held.len()));
        g.thread(&thread);
        held.push(Held {
            holder: Holder::Thread(thread.tid),
            tp: thread.tp,
            areas: std::mem::take(&mut g.ranges),
            waits_on: None,
        });
    });
    threads.sort_unstable();
    let thread_on = |stack: &Range<usize>| on_stack(&threads, |thread| thread.0, stack);
    let mut each = |info: GoroutineInfo, stack: StackInfo| {
        let Some(range) = stack.range else { return };
        let holder = Holder::Goroutine(info.id.0);
        if let Some(&(_, number)) = thread_on(&range) {
            held[number].holder = holder;
        } else if let Some(sp) = stack.saved_sp {
            let tp = engine::block_below(range.end).map_or(0, |block| block.thread_pointer);
            if tp != 0 {
                g.dynamic_tls(tp, 0);
            }
            g.push(RootKind::Stack, sp..range.end);
            held.push(Held {
                holder,
                tp,
                areas: std::mem::take(&mut g.ranges),
                waits_on: stack.waits_on,
            });
        }
    };
    for scheduler in engine::schedulers() {
        let runs = |stack: &Range<usize>| thread_on(stack).is_some();
        // SAFETY: `stopped` is the evidence, and every one of its threads was just listed.
        unsafe { scheduler.for_each_stopped_goroutine(runs, &mut each) };
    }
    if g.maps.failed() {
        return Err(unreadable(libc::EIO));
    }
    Ok(held)
}

/// Cuts a range into pieces on word bounds.
fn split(kind: RootKind, range: Range<usize>, mut each: impl FnMut(Area)) {
    let mut start = range.start.next_multiple_of(WORD);
    let end = range.end & !(WORD - 1);
    while start < end {
        let next = (start + CHUNK).min(end);
        each((kind, start..next));
        start = next;
    }
}

struct Gatherer<'a> {
    ranges: Vec<Area>,
    maps: MapList<'a>,
    /// Thread-local storage that lies elsewhere in each context.
    dynamic: &'a [(usize, usize)],
    /// The size of libc's thread control block.
    control_block: usize,
}

impl Gatherer<'_> {
    fn push(&mut self, kind: RootKind, range: Range<usize>) {
        split(kind, range, |area| self.ranges.push(area));
    }

    /// Registers, stacks and thread-locals of a thread.
    fn thread(&mut self, thread: &StoppedThread) {
        for registers in &thread.registers {
            self.push(RootKind::Stack, registers.clone());
        }
        let first = self.ranges.len();
        self.stack(thread.sp - RED_ZONE, thread.tp, &thread.signal_stack);
        self.dynamic_tls(thread.tp, first);
    }

    fn map_of(&self, address: usize) -> Option<Range<usize>> {
        self.maps.find(address)
    }

    /// The stack that is live from `sp` up, and the static thread-locals below and the control block above `tp`; and the signal stack, if it is on one.
    fn stack(&mut self, sp: usize, tp: usize, signal_stack: &Range<usize>) {
        let control_block_end = tp + self.control_block;
        let Some(mut stack) = self.map_of(sp + RED_ZONE) else {
            return;
        };
        if !signal_stack.is_empty() {
            stack = stack.start.max(signal_stack.start)..stack.end.min(signal_stack.end);
        }
        let sp = sp.max(stack.start);
        if stack.contains(&tp) && tp > sp {
            // The usual case: libc, and our own engine, put thread-locals and control block on top of the stack.
            return self.push(RootKind::Stack, sp..control_block_end.min(stack.end));
        }
        self.push(RootKind::Stack, readable::upwards(sp..stack.end));
        if let Some(goroutine) = super::engine::stack_of(tp) {
            // A goroutine that was interrupted by a handler on a signal stack: how much of its own stack is live is not known.
            return self.push(RootKind::Stack, goroutine);
        }
        // The main thread keeps its thread-locals elsewhere; and so does a thread that is on a stack of its own making, in
        // which case all of its regular stack may be live.
        if let Some(locals) = self.map_of(tp) {
            let end = control_block_end.min(locals.end);
            self.push(RootKind::Stack, readable::downwards(locals.start..end));
        }
    }

    /// Thread-locals of modules loaded at run time, which libc keeps outside of the stack; unless they lie in one of the ranges from index `first` on.
    fn dynamic_tls(&mut self, tp: usize, first: usize) {
        /// A slot whose block has not been allocated.
        const UNALLOCATED: usize = usize::MAX;
        if self.dynamic.is_empty() {
            return;
        }
        // SAFETY: `tp` is the thread pointer of a live context that stands still: its second word is the dtv, an array of pairs whose
        // element -1 holds its length (glibc's `dtv_t`; psABI, "Thread-Local Storage", for the rest).
        let (dtv, len) = unsafe {
            let dtv = *(tp as *const *const [usize; 2]).add(1);
            if dtv.is_null() {
                return;
            }
            (dtv, (*dtv.sub(1))[0])
        };
        for &(id, size) in self.dynamic {
            if id == 0 || id > len {
                continue;
            }
            // SAFETY: `id` is at most the length of the vector.
            let block = unsafe { (*dtv.add(id))[0] };
            let seen = |(_, range): &Area| range.contains(&block);
            if block != UNALLOCATED
                && block != 0
                && !self.ranges[first..].iter().any(seen)
                && self.map_of(block).is_some()
            {
                self.push(RootKind::Stack, block..block + size);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_left_out() {
        let bounds = |holes: &[Range<usize>]| -> Vec<(usize, usize)> {
            let parts = without(10..20, holes);
            parts
                .into_iter()
                .map(|part| (part.start, part.end))
                .collect()
        };
        assert_eq!(bounds(&[0..5, 20..30]), [(10, 20)]);
        assert_eq!(bounds(&[12..14, 16..18]), [(10, 12), (14, 16), (18, 20)]);
        assert_eq!(bounds(&[5..12, 18..25]), [(12, 18)]);
        assert_eq!(bounds(&[0..10, 9..100]), []);
    }
}
