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

pub mod pprof;
pub mod proto;
mod symbols;

use crate::critical;
use crate::process::heap;
use crate::samples::{self, Site};
use pprof::{Label, Line, Writer, call};
use std::fmt;
use std::io;
use std::time::{Duration, SystemTime};

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

/// The types of value and their units, as in Go.
pub const TYPES: [(&str, &str); 4] = [
    ("alloc_objects", "count"),
    ("alloc_space", "bytes"),
    ("inuse_objects", "count"),
    ("inuse_space", "bytes"),
];

/// Regular expression for the functions that allocate: readers leave them out, with all that they call. So none may match that calls the program.
pub const ALLOCATORS: &str = r"gomem::.*|__rust_(alloc|alloc_zeroed|realloc)|__rustc::__rust_(alloc|alloc_zeroed|realloc)|__libc_.*alloc|malloc|calloc|realloc|reallocarray|memalign|aligned_alloc|posix_memalign|valloc|pvalloc|operator new.*|_Zn[wa].*|alloc::alloc::.*|alloc::raw_vec::.*";

fn encode() -> Vec<u8> {
    let mut writer = Writer::new(&TYPES);
    samples::for_each_site(|site| {
        let (all, live) = estimates(site);
        let values = [all.0, all.1, live.0, live.1].map(|value| value as i64);
        let size = Label::Number(site.size as i64, "bytes");
        let calls = site.stack().iter().map(|&pc| call(pc));
        writer.sample(calls, &values, &[("bytes", size)]);
    });
    writer.drop_frames(ALLOCATORS);
    writer.taken(SystemTime::now(), Duration::ZERO);
    writer.period(("space", "bytes"), samples::rate());
    writer.default_type("inuse_space");
    writer.finish(false, |pc| {
        let line = |function| Line {
            function,
            ..Line::default()
        };
        symbols::name(pc).map(line).into_iter().collect()
    })
}

/// Blocks and bytes that the samples of a site stand for: all that were ever allocated, and those that live.
fn estimates(site: &Site) -> ((u64, u64), (u64, u64)) {
    let (allocs, frees) = site.counts();
    (site.scale(allocs), site.scale(allocs.saturating_sub(frees)))
}

/// A place of allocation, in the profile so far.
#[derive(Clone, Copy, Debug)]
pub struct SiteProfile<'a> {
    /// Return addresses of the calls, the innermost first.
    pub stack: &'a [usize],
    /// Bytes of each block.
    pub block_size: u64,
    /// Estimates of the blocks that were ever allocated there, and of their bytes.
    pub allocated: (u64, u64),
    /// The same of those that have not been freed.
    pub live: (u64, u64),
}

/// Calls `visit` with every place of allocation that there is in the profile so far. What it allocates is not sampled.
pub fn for_each_site(mut visit: impl FnMut(SiteProfile<'_>)) {
    samples::capture(|_| {
        samples::for_each_site(|site| {
            let (allocated, live) = estimates(site);
            visit(SiteProfile {
                stack: site.stack(),
                block_size: site.size,
                allocated,
                live,
            });
        });
    });
}

/// Runs `f` without sampling what it allocates, on this thread.
pub fn unsampled<R>(f: impl FnOnce() -> R) -> R {
    samples::unsampled(f)
}

/// Mean bytes from one sample to the next, as given to [`start`]; 0 if none are taken.
pub fn rate() -> u64 {
    samples::rate()
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
            let (_, (blocks, bytes)) = estimates(site);
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
