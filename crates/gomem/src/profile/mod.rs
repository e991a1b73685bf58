//! A heap profile: a sample of the blocks that are allocated, with the stacks that allocated them, cheap enough to be left on.
//!
//! ```
//! # #[global_allocator]
//! # static GLOBAL: gomem::GoMalloc = gomem::GoMalloc::new();
//! gomem::profile::start(64 << 10);
//! let blocks: Vec<_> = (0..1000).map(|n| vec![0u8; n]).collect();
//! let mut profile = Vec::new();
//! gomem::profile::write_pprof(&mut profile)?;
//! # assert!(!profile.is_empty());
//! # drop(blocks);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! The file is for `go tool pprof` and other readers of that format, with the sample types of Go's heap profile. Samples are of blocks of the process's
//! heap that threads allocate by `malloc` in any of its forms; a thread that is past the end of its thread-locals takes none. Collected objects are not in it.
//!
//! A small sampled block takes a page of 8 KiB, of which 4 KiB have memory. That is nothing at the usual rates; with a rate of 1, for tests, every
//! block is sampled and takes so much.

mod proto;
mod symbols;

use crate::critical;
use crate::process::heap;
use crate::samples::{self, Site};
use proto::Message;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use symbols::Objects;

/// Begins to sample, one block for `rate` bytes on average; 1 samples every block. Go's default is 512 KiB.
///
/// A thread follows when it next needs blocks from what threads share: at once, if it is not in the middle of an allocation. What was
/// sampled before stays in the profile, at its own rate.
pub fn start(rate: u64) {
    samples::set_rate(rate);
    heap().empty_caches();
}

/// Takes no more samples. Blocks that were sampled are still seen being freed.
pub fn stop() {
    start(0);
}

/// Writes the profile so far as an uncompressed protobuf of `pprof`.
///
/// # Errors
/// Those of `out`.
pub fn write_pprof(out: &mut impl io::Write) -> io::Result<()> {
    // Not the allocations that this makes.
    let profile = samples::capture(|_| encode());
    out.write_all(&profile.unwrap_or_default())
}

/// Regular expression for the functions that allocate: readers leave them out, with all that they call. So none may match that calls the program.
const ALLOCATORS: &str = r"gomem::.*|__rust_(alloc|alloc_zeroed|realloc)|__rustc::__rust_(alloc|alloc_zeroed|realloc)|__libc_.*alloc|malloc|calloc|realloc|reallocarray|memalign|aligned_alloc|posix_memalign|valloc|pvalloc|operator new.*|_Zn[wa].*|alloc::alloc::.*|alloc::raw_vec::.*";

/// The strings of a profile, each once.
struct Strings {
    numbers: BTreeMap<String, i64>,
    table: Vec<String>,
}

impl Strings {
    fn number(&mut self, text: &str) -> i64 {
        if let Some(&number) = self.numbers.get(text) {
            return number;
        }
        let number = self.table.len() as i64;
        self.table.push(text.to_owned());
        self.numbers.insert(text.to_owned(), number);
        number
    }
}

fn encode() -> Vec<u8> {
    let mut profile = Message::default();
    let mut strings = Strings {
        numbers: BTreeMap::new(),
        table: Vec::new(),
    };
    strings.number("");
    let value_type = |strings: &mut Strings, name: &str, unit: &str| {
        let mut message = Message::default();
        message.number(1, strings.number(name) as u64);
        message.number(2, strings.number(unit) as u64);
        message
    };
    for (name, unit) in [
        ("alloc_objects", "count"),
        ("alloc_space", "bytes"),
        ("inuse_objects", "count"),
        ("inuse_space", "bytes"),
    ] {
        profile.message(1, &value_type(&mut strings, name, unit));
    }
    let objects = Objects::loaded();
    // Addresses stand for themselves: the number of a location may be any that is not zero.
    let mut places = BTreeMap::new();
    let (key, unit) = (strings.number("bytes"), strings.number("bytes"));
    samples::for_each_site(|site| {
        let (allocs, frees) = site.counts();
        let (all, live) = (site.scale(allocs), site.scale(allocs.saturating_sub(frees)));
        let mut sample = Message::default();
        let calls = site.stack().iter().map(|&pc| call(pc));
        sample.numbers(1, calls.clone().map(|pc| pc as u64));
        sample.numbers(2, [all.0, all.1, live.0, live.1]);
        let mut label = Message::default();
        label.number(1, key as u64);
        label.number(3, site.size);
        label.number(4, unit as u64);
        sample.message(3, &label);
        profile.message(2, &sample);
        places.extend(calls.map(|pc| (pc, objects.position(pc))));
    });
    for (number, object) in (1..).zip(objects.iter()) {
        let mut mapping = Message::default();
        mapping.number(1, number);
        mapping.number(2, object.range.start as u64);
        mapping.number(3, object.range.end as u64);
        mapping.number(4, object.offset);
        mapping.number(5, strings.number(&object.path) as u64);
        mapping.number(6, strings.number(&object.build_id) as u64);
        profile.message(3, &mapping);
    }
    let mut functions = BTreeMap::new();
    for (&pc, position) in &places {
        let mut location = Message::default();
        location.number(1, pc as u64);
        location.number(2, position.map_or(0, |at| at as u64 + 1));
        location.number(3, pc as u64);
        if let Some(name) = symbols::name(pc) {
            let name = strings.number(&name);
            let next = functions.len() as u64 + 1;
            let mut line = Message::default();
            line.number(1, *functions.entry(name).or_insert(next));
            location.message(4, &line);
        }
        profile.message(4, &location);
    }
    for (name, number) in functions {
        let mut function = Message::default();
        function.number(1, number);
        function.number(2, name as u64);
        function.number(3, name as u64);
        profile.message(5, &function);
    }
    profile.number(7, strings.number(ALLOCATORS) as u64);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    profile.number(9, now.map_or(0, |time| time.as_nanos() as u64));
    profile.message(11, &value_type(&mut strings, "space", "bytes"));
    profile.number(12, samples::rate());
    profile.number(14, strings.number("inuse_space") as u64);
    for text in &strings.table {
        profile.bytes(6, text.as_bytes());
    }
    profile.into_bytes()
}

/// The call that returns to an address: somewhere in its instruction.
fn call(pc: usize) -> usize {
    pc - 1
}

/// Sites that are listed.
const LISTED: usize = 100;

/// Writes what is live by the place of its allocation, as far as that is known; else by size.
pub(crate) fn write_live(out: &mut dyn fmt::Write) -> fmt::Result {
    let mut sites: Vec<(u64, u64, &Site)> = Vec::new();
    let mut exact = true;
    let mut any = false;
    samples::capture(|_| {
        samples::for_each_site(|site| {
            any = true;
            exact &= site.rate <= 1;
            let (allocs, frees) = site.counts();
            let (blocks, bytes) = site.scale(allocs.saturating_sub(frees));
            if blocks != 0 {
                sites.push((bytes, blocks, site));
            }
        });
    });
    if !any {
        return heap().write_live(out);
    }
    sites.sort_unstable_by_key(|&(bytes, _, _)| std::cmp::Reverse(bytes));
    if !exact {
        writeln!(out, "(estimated from samples; profile=1 has every block)")?;
    }
    if samples::lost() != 0 {
        writeln!(out, "({} samples were lost)", samples::lost())?;
    }
    for (bytes, blocks, site) in sites.iter().take(LISTED) {
        writeln!(
            out,
            "{bytes:>13} bytes in {blocks:>9} blocks of {}",
            site.size
        )?;
        for &pc in site.stack() {
            symbols::write(out, call(pc))?;
        }
    }
    if sites.len() > LISTED {
        writeln!(out, "and {} places more", sites.len() - LISTED)?;
    }
    Ok(())
}

impl crate::process::ProcessHeap {
    /// Has every thread look anew how often to sample, as far as threads can be reached.
    fn empty_caches(&self) {
        let _section = critical::enter();
        let _one_at_a_time = self.reclaiming.lock();
        for cache in self.caches() {
            self.empty_idle(cache);
        }
    }
}
