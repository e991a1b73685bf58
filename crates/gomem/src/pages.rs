//! The heap proper, under its lock: arenas, pages and the records.
//!
//! Address space is reserved 64 GiB at a time, so that arenas follow one another and free runs join across them; where that much is
//! refused (`ulimit -v`), one arena at a time. It is committed arena by arena. Address space for tables and records comes with it, so all of a reservation can be
//! used when there is no more to be had; a limit that is set later is held against what is committed.
//!
//! Invariant: whatever is refused, the state stays consistent: what was obtained before the refusal is kept for the next attempt.

use crate::atomic::Ordering::*;
use crate::cache::{Cache, CachePtr};
use crate::env::{Os, Refused};
use crate::meta::{Meta, Slab, Zeroed};
use crate::page::{
    ARENA_PAGES, ARENA_SIZE, HUGE_PAGES, MAX_ARENAS, PAGE_SHIFT, PAGE_SIZE, PageCount, PageId,
};
use crate::page_alloc::{ArenaPages, PageAlloc, PageRuns, Tree};
use crate::span::{Guards, ObjectSpan, ObjectSpanPtr, Span, SpanPtr};
use crate::span_map::SpanMap;
use std::ptr::{NonNull, null_mut, with_exposed_provenance_mut};

/// Address space reserved at a time, where allowed.
const RESERVATION: usize = 64 << 30;
/// And with it for the tables and records that so much memory may need: a record for each page would be three quarters of it.
const TABLES: usize = 2 << 30;

// SAFETY: bitmaps and numbers; used under the heap's lock only.
unsafe impl Zeroed for ArenaPages {}

struct Tables {
    tree: Tree,
    /// The address of each arena, by number; 0 for numbers that are left out.
    bases: [usize; MAX_ARENAS],
}
// SAFETY: numbers and optional pointers; used under the heap's lock only.
unsafe impl Zeroed for Tables {}

/// Reserved address space that is not yet committed.
struct Region {
    start: NonNull<u8>,
    arenas: u32,
    /// The number of its first arena.
    number: u32,
}

/// A run of pages just taken.
#[derive(Clone, Copy)]
pub(crate) struct Run {
    pub(crate) page: PageId,
    pub(crate) base: usize,
    /// All of it reads as zero.
    pub(crate) clean: bool,
}

/// What is left of the pages of a span that is freed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Left {
    /// They cannot be used any more.
    Lost,
    /// They have no physical memory.
    Clean,
    /// They hold something.
    Dirty,
}

struct Space {
    pages: PageAlloc,
    bases: NonNull<[usize; MAX_ARENAS]>,
}

/// See the head of the file.
pub(crate) struct Pages {
    meta: Meta,
    space: Option<Space>,
    region: Option<Region>,
    /// The lowest arena number not yet given out.
    next_number: u32,
    /// A large reservation was refused: ask for one arena at a time.
    frugal: bool,
    arenas: usize,
    /// Free pages whose memory is not there.
    clean: usize,
    /// The other free pages.
    dirty: usize,
    /// Large blocks in use whose memory was moved to them, see [`large`](crate::large).
    pub(crate) moved: u32,
    /// Whether arenas are advised to be of huge pages.
    advised: bool,
    spans: Slab<Span>,
    object_spans: Slab<ObjectSpan>,
    idle_spans: *mut Span,
    idle_object_spans: *mut Span,
    idle_caches: *mut Cache,
}

// SAFETY: the pointers are to records and tables of the heap that this value is part of.
unsafe impl Send for Pages {}

impl Pages {
    pub(crate) const fn new() -> Pages {
        Pages {
            meta: Meta::new(),
            space: None,
            region: None,
            next_number: 0,
            frugal: false,
            arenas: 0,
            clean: 0,
            dirty: 0,
            moved: 0,
            advised: false,
            spans: Slab::new(),
            object_spans: Slab::new(),
            idle_spans: null_mut(),
            idle_object_spans: null_mut(),
            idle_caches: null_mut(),
        }
    }

    /// Bytes of arenas obtained.
    pub(crate) fn obtained(&self) -> usize {
        self.arenas * ARENA_SIZE
    }

    /// Bytes of free pages without physical memory.
    pub(crate) fn released(&self) -> usize {
        self.clean << PAGE_SHIFT
    }

    /// Bytes of free pages that have, or may have, physical memory.
    pub(crate) fn surplus(&self) -> usize {
        self.dirty << PAGE_SHIFT
    }

    /// Bytes of tables and records.
    pub(crate) fn meta_bytes(&self) -> usize {
        self.meta.total()
    }

    pub(crate) fn slabs(&self) -> (&Slab<Span>, &Slab<ObjectSpan>) {
        (&self.spans, &self.object_spans)
    }

    /// Takes the lowest run of `n` pages whose address is a multiple of `align`, a power of two, and behind which `room` more pages are free, from
    /// the arenas there are. What of it is not clean is noted in `dirty`, if that is wanted.
    pub(crate) fn take(
        &mut self,
        n: PageCount,
        align: usize,
        room: PageCount,
        dirty: Option<&mut PageRuns>,
    ) -> Option<Run> {
        let space = self.space.as_mut()?;
        let found = space.pages.find(Self::padded(n, align, room)?)?;
        // SAFETY: made with the space.
        let bases = unsafe { space.bases.as_ref() };
        let base = bases[found.arena() as usize] + (found.index_in_arena() << PAGE_SHIFT);
        let aligned = base.next_multiple_of(align);
        let page = found.plus(PageCount(((aligned - base) >> PAGE_SHIFT) as u32));
        if let Some(dirty) = dirty {
            space.pages.note_dirty(page, n, dirty);
        }
        Some(Run {
            page,
            base: aligned,
            clean: self.take_free(page, n),
        })
    }

    /// Takes the lowest `n` free pages whose address is a multiple of `align`, and as many times `n` of those behind them as are free, `times` in all at most. Returns how
    /// many times.
    ///
    /// What is wanted at most does not decide where it is: pages that have been in use come before pages that have not, however scattered they are.
    pub(crate) fn take_some(
        &mut self,
        n: PageCount,
        align: usize,
        times: u32,
    ) -> Option<(Run, u32)> {
        let mut run = self.take(n, align, PageCount(0), None)?;
        let space = self.space.as_ref()?;
        let part = |number: u32| run.page.plus(PageCount(number * n.0));
        let more = (1..times).take_while(|&number| space.pages.is_free(part(number), n));
        let more = more.count() as u32;
        if more != 0 {
            let behind = part(1);
            run.clean &= self.take_free(behind, PageCount(more * n.0));
        }
        Some((run, 1 + more))
    }

    /// Takes the `n` pages from `page`, if all of them are free. The value tells whether they are clean.
    pub(crate) fn take_at(&mut self, page: PageId, n: PageCount) -> Option<bool> {
        let space = self.space.as_ref()?;
        let free = space.pages.is_free(page, n);
        free.then(|| self.take_free(page, n))
    }

    /// Has `n` free pages from `page` count as pages with physical memory, which the caller gives them. False, with nothing done, if they are not all free, or
    /// not all without.
    pub(crate) fn warm(&mut self, page: PageId, n: PageCount) -> bool {
        let Some(space) = self.space.as_ref() else {
            return false;
        };
        if !space.pages.is_free(page, n) {
            return false;
        }
        let mut dirty = PageRuns::default();
        space.pages.note_dirty(page, n, &mut dirty);
        if dirty.iter().next().is_some() {
            return false;
        }
        self.take_free(page, n);
        self.put(page, n, false);
        true
    }

    /// Takes pages that are free. True if they are clean.
    fn take_free(&mut self, page: PageId, n: PageCount) -> bool {
        let clean = self.space.as_mut().map_or(0, |s| s.pages.take(page, n).0);
        self.clean -= clean as usize;
        self.dirty -= (n.0 - clean) as usize;
        clean == n.0
    }

    /// As many pages as contain `n` aligned ones, and `room` more behind them, wherever they start.
    fn padded(n: PageCount, align: usize, room: PageCount) -> Option<PageCount> {
        let slack = align.saturating_sub(PAGE_SIZE);
        let bytes = n.bytes().checked_add(slack)?.checked_add(room.bytes())?;
        PageCount::holding(bytes)
    }

    /// Frees pages that were taken; `clean` if they have no physical memory.
    pub(crate) fn put(&mut self, page: PageId, n: PageCount, clean: bool) {
        if let Some(space) = &mut self.space {
            space.pages.put(page, n, clean);
            if clean {
                self.clean += n.0 as usize;
            } else {
                self.dirty += n.0 as usize;
            }
        }
    }

    /// The same, as the pages were left.
    pub(crate) fn put_left(&mut self, page: PageId, n: PageCount, left: Left) {
        match left {
            Left::Dirty => self.put(page, n, false),
            Left::Clean => self.put(page, n, true),
            // In use for good.
            Left::Lost => {}
        }
    }

    /// Gives back the guards of a span of `pages` pages from `page`, as they were left.
    pub(crate) fn put_guards(
        &mut self,
        page: PageId,
        pages: PageCount,
        guards: Guards,
        left: Left,
    ) {
        if guards.before != PageCount(0) {
            self.put_left(PageId(page.0 - guards.before.0), guards.before, left);
        }
        if guards.behind != PageCount(0) {
            self.put_left(page.plus(pages), guards.behind, left);
        }
    }

    /// Takes the highest free run below `limit` that has physical memory, at most `most` pages of it; or the highest such huge page
    /// (all of which may not have memory).
    pub(crate) fn take_dirty(
        &mut self,
        limit: PageId,
        most: PageCount,
        huge: bool,
    ) -> Option<(Run, PageCount)> {
        let space = self.space.as_mut()?;
        let limit = limit.min(space.pages.end());
        let (page, n) = if huge {
            let page = space.pages.find_dirty_huge(limit)?;
            (page, PageCount(HUGE_PAGES as u32))
        } else {
            space.pages.find_dirty(limit, most)?
        };
        // SAFETY: made with the space.
        let bases = unsafe { space.bases.as_ref() };
        let base = bases[page.arena() as usize] + (page.index_in_arena() << PAGE_SHIFT);
        let clean = self.take_free(page, n);
        Some((Run { page, base, clean }, n))
    }

    /// Obtains arenas enough for a run of `n` pages aligned to `align` with `room` more behind it.
    pub(crate) fn grow(
        &mut self,
        os: &impl Os,
        map: &SpanMap,
        n: PageCount,
        align: usize,
        room: PageCount,
    ) -> Result<(), Refused> {
        if self.space.is_none() {
            let tables = self.meta.carve::<Tables>(os)?.as_ptr();
            // SAFETY: zeroed, ours, and as long-lived as the heap; the two fields are used apart.
            self.space = Some(unsafe {
                Space {
                    pages: PageAlloc::new(NonNull::new_unchecked(&raw mut (*tables).tree)),
                    bases: NonNull::new_unchecked(&raw mut (*tables).bases),
                }
            });
        }
        let wanted = Self::padded(n, align, room).ok_or(Refused)?.arenas();
        // The system holds a limit that came after the reservation against what is reserved, and lets it be used whatever the limit.
        if (self.arenas + wanted as usize) * ARENA_SIZE > os.limit() {
            return Err(Refused);
        }
        let mut region = match self.region.take_if(|region| region.arenas >= wanted) {
            Some(region) => region,
            None => {
                let region = self.reserve(os, wanted)?;
                let base = region.start.as_ptr().addr();
                map.add_classes(
                    base,
                    region.arenas as usize * ARENA_SIZE,
                    &mut self.meta,
                    os,
                );
                region
            }
        };
        // All at once: of a large request that is refused nothing is to be left committed.
        let all = wanted as usize * ARENA_SIZE;
        // SAFETY: the region has so many arenas, reserved from `os`.
        let result = unsafe { os.commit(region.start, all) }
            .and_then(|()| (0..wanted).try_for_each(|_| self.add_arena(os, map, &mut region)));
        // Of two regions the one with more left is kept; of the other, address space is lost.
        if self
            .region
            .as_ref()
            .is_none_or(|kept| kept.arenas < region.arenas)
        {
            self.region = Some(region);
        }
        result
    }

    fn reserve(&mut self, os: &impl Os, arenas: u32) -> Result<Region, Refused> {
        let least = arenas as usize * ARENA_SIZE;
        let most = (RESERVATION / ARENA_SIZE) as u32;
        if !self.frugal && least < RESERVATION && ((self.next_number + most) as usize) < MAX_ARENAS
        {
            match os.reserve(RESERVATION + TABLES, ARENA_SIZE) {
                Ok(start) => {
                    // SAFETY: the end of the range just reserved.
                    unsafe { self.meta.lend(start.add(RESERVATION), TABLES) };
                    return self.number(start, most);
                }
                Err(Refused) => self.frugal = true,
            }
        }
        if self.next_number as usize + arenas as usize >= MAX_ARENAS {
            return Err(Refused);
        }
        let start = os.reserve(least, ARENA_SIZE)?;
        self.number(start, arenas)
    }

    /// Numbers the arenas of a reservation, leaving out one number so that no run of pages reaches beyond it.
    fn number(&mut self, start: NonNull<u8>, arenas: u32) -> Result<Region, Refused> {
        let number = self.next_number;
        let next = number + arenas + 1;
        if next as usize > MAX_ARENAS {
            return Err(Refused);
        }
        self.next_number = next;
        Ok(Region {
            start,
            arenas,
            number,
        })
    }

    fn add_arena(
        &mut self,
        os: &impl Os,
        map: &SpanMap,
        region: &mut Region,
    ) -> Result<(), Refused> {
        let Some(space) = &mut self.space else {
            return Err(Refused);
        };
        if self.advised {
            // SAFETY: just committed. A system that does not take advice is none the worse.
            let _ = unsafe { os.advise_huge(region.start, ARENA_SIZE) };
        }
        let base = region.start.as_ptr().expose_provenance();
        map.add_arena(base, &mut self.meta, os)?;
        let leaf = self.meta.carve::<ArenaPages>(os)?;
        // SAFETY: made with the space; used under the lock only.
        unsafe { space.bases.as_mut()[region.number as usize] = base };
        // SAFETY: zeroed, ours, and as long-lived as the heap.
        unsafe { space.pages.add_arena(region.number, leaf) };
        self.arenas += 1;
        self.clean += ARENA_PAGES;
        // SAFETY: within the reservation, or one past its end.
        region.start = unsafe { region.start.add(ARENA_SIZE) };
        region.arenas -= 1;
        region.number += 1;
        Ok(())
    }

    /// Has all arenas, those to come among them, be of huge pages where the system can. Returns whether it would for those there are.
    pub(crate) fn advise_huge(&mut self, os: &impl Os) -> bool {
        self.advised = true;
        let Some(space) = &self.space else {
            return true;
        };
        // SAFETY: made with the space.
        let bases = unsafe { space.bases.as_ref() };
        let arenas = bases[..space.pages.end().arena() as usize].iter();
        arenas.filter(|&&base| base != 0).all(|&base| {
            let start = NonNull::new(with_exposed_provenance_mut(base));
            // SAFETY: an arena, committed.
            start.is_some_and(|start| unsafe { os.advise_huge(start, ARENA_SIZE) }.is_ok())
        })
    }

    /// Whether [`advise_huge`](Self::advise_huge) was called.
    pub(crate) fn is_advised(&self) -> bool {
        self.advised
    }

    /// A record for a malloc or manual span.
    pub(crate) fn span_record(&mut self, os: &impl Os) -> Result<SpanPtr, Refused> {
        // SAFETY: a record or null.
        if let Some(span) = unsafe { SpanPtr::from_raw(self.idle_spans) } {
            self.idle_spans = span.next_idle(null_mut());
            return Ok(span);
        }
        let span = self.spans.carve(&mut self.meta, os)?;
        // SAFETY: a record.
        Ok(unsafe { SpanPtr::new(span) })
    }

    /// A record for a span of objects.
    pub(crate) fn object_span_record(&mut self, os: &impl Os) -> Result<ObjectSpanPtr, Refused> {
        // SAFETY: a record or null; only object spans are in this list.
        if let Some(span) = unsafe { SpanPtr::from_raw(self.idle_object_spans) } {
            self.idle_object_spans = span.next_idle(null_mut());
            // SAFETY: as above.
            return Ok(unsafe { ObjectSpanPtr::new(NonNull::new_unchecked(span.as_ptr().cast())) });
        }
        let span = self.object_spans.carve(&mut self.meta, os)?;
        // SAFETY: a record.
        Ok(unsafe { ObjectSpanPtr::new(span) })
    }

    /// Takes back the record of a span that is not in use any more.
    pub(crate) fn put_record(&mut self, span: SpanPtr, of_objects: bool) {
        let list = if of_objects {
            &mut self.idle_object_spans
        } else {
            &mut self.idle_spans
        };
        span.next_idle(*list);
        *list = span.as_ptr();
    }

    /// `n` places for blocks, or for what is known of blocks.
    pub(crate) fn places<T: Zeroed>(
        &mut self,
        os: &impl Os,
        n: usize,
    ) -> Result<NonNull<[T]>, Refused> {
        self.meta.carve_slice(n, os)
    }

    /// A cache that is attached to no thread; the second value is true if it is new.
    pub(crate) fn cache_record(&mut self, os: &impl Os) -> Result<(CachePtr, bool), Refused> {
        // SAFETY: a record or null.
        if let Some(cache) = unsafe { CachePtr::from_raw(self.idle_caches) } {
            self.idle_caches = cache.next_idle.load(Relaxed);
            return Ok((cache, false));
        }
        let cache = self.meta.carve(os)?;
        // SAFETY: a record, never unmapped.
        let cache = unsafe { CachePtr::new(cache) };
        cache.open();
        Ok((cache, true))
    }

    /// Takes back a cache that holds nothing.
    pub(crate) fn put_cache(&mut self, cache: CachePtr) {
        cache.next_idle.store(self.idle_caches, Relaxed);
        self.idle_caches = cache.as_ptr();
    }
}
