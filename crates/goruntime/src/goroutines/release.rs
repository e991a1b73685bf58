//! Giving back what parked goroutines no longer need: the pages of their stacks under the stack pointer.
//!
//! Such pages were touched by calls that have returned, and would be touched again by calls as deep. Giving them back costs half a microsecond for each goroutine
//! that has none, some microseconds and later the faults for one that has; so it pays for goroutines that wait for seconds, and never for those that
//! are woken often. The book's chapter on gostack has the figures. Nothing calls this on its own.
//!
//! Invariant: as in the module above; and memory is given back only while the world is stopped, so that no goroutine runs on its stack meanwhile.

use super::{Threads, on_thread_of_its_own};
use crate::compose::gates;
use crate::metrics::pauses;
use crate::runtime::scheduler;
use crate::world::stop;
use gosched::goroutine::{GoroutineInfo, GoroutineState, StackInfo};
use std::collections::HashSet;
use std::io;
use std::ops::Range;
use std::time::Duration;

/// Goroutines whose stacks are looked at while the world is stopped once: for half a millisecond, and more where there is much to give back.
const BATCH: usize = 1000;
const PAGE: usize = 4096;

/// Gives the pages back that lie under the stack pointers of goroutines which have waited for `parked_for` or longer. Returns for how many goroutines that
/// was done. The world is stopped meanwhile, for a thousand goroutines at a time. Nothing happens where goroutines are threads (`thread-engine`).
///
/// # Errors
/// If the world cannot be stopped, or there is no thread to be had for it.
///
/// ```
/// // Once a minute, from a goroutine of its own:
/// goruntime::goroutines::release_stacks(std::time::Duration::from_secs(10))?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn release_stacks(parked_for: Duration) -> io::Result<usize> {
    on_thread_of_its_own(move || release(parked_for))
}

fn release(parked_for: Duration) -> io::Result<usize> {
    gates::install()?;
    let mut seen: HashSet<u64> = HashSet::new();
    let mut batch: Vec<u64> = Vec::with_capacity(BATCH);
    let mut threads = Threads::new();
    loop {
        batch.clear();
        let pause = pauses::OTHER.begin();
        stop::with_world_stopped(&[], |stopped| {
            let _until_here = pause.stopped();
            threads.gather(stopped);
            // More threads than there is room for: any stack may be one that runs.
            if threads.is_full() {
                return;
            }
            let runs = |stack: &Range<usize>| threads.may_run_on(stack);
            let each = |info: GoroutineInfo, stack: StackInfo| {
                let waits = matches!(info.state, GoroutineState::Waiting(_))
                    && info.waiting_for.0 >= parked_for.as_nanos() as u64;
                if waits && batch.len() < batch.capacity() && !seen.contains(&info.id.0) {
                    batch.push(info.id.0);
                    give_back(&stack);
                }
            };
            // SAFETY: the world is stopped, and these are the stack pointers of all threads.
            unsafe { scheduler().for_each_stopped_goroutine(runs, each) };
        })
        .map_err(io::Error::other)?;
        if batch.is_empty() {
            return Ok(seen.len());
        }
        seen.extend(&batch);
    }
}

/// Gives back the whole pages of a stack that does not run, below what is live.
fn give_back(stack: &StackInfo) {
    let (Some(range), Some(saved_sp)) = (&stack.range, stack.saved_sp) else {
        return;
    };
    let end = saved_sp & !(PAGE - 1);
    if end > range.start {
        let start = std::ptr::with_exposed_provenance_mut(range.start);
        // SAFETY: the range is the stack's own, above its guard and below the lowest live address, and the goroutine stands still. A refusal leaves the
        // pages where they are.
        unsafe { libc::madvise(start, end - range.start, libc::MADV_DONTNEED) };
    }
}

#[cfg(all(test, not(feature = "thread-engine")))]
mod tests {
    use crate::{chan, go, goroutines, yield_now};
    use std::hint::black_box;
    use std::time::Duration;

    /// Touches so many pages of stack, and says how many of them hold what was written.
    #[inline(never)]
    fn descend(pages: usize) -> usize {
        let mut page = [1u8; 4096];
        let page = black_box(&mut page);
        match pages {
            0 => 0,
            _ => descend(pages - 1) + usize::from(page[77]),
        }
    }

    /// Pages that have memory, of so many below each of these addresses.
    fn resident(below: &[usize], pages: usize) -> usize {
        let count = |&address: &usize| {
            let start = (address & !4095) - pages * 4096;
            let mut found = vec![0u8; pages];
            let start = std::ptr::without_provenance_mut(start);
            // SAFETY: asks about pages of a stack, and writes so many bytes.
            let asked = unsafe { libc::mincore(start, pages * 4096, found.as_mut_ptr()) };
            assert_eq!(asked, 0);
            found.iter().filter(|&&page| page & 1 != 0).count()
        };
        below.iter().map(count).sum()
    }

    #[test]
    fn parked_goroutines_give_back_what_they_touched_and_go_on() {
        const COUNT: usize = 300;
        const PAGES: usize = 30;
        let (ready, is_ready) = chan::bounded(COUNT);
        let parked: Vec<_> = (0..COUNT)
            .map(|id| {
                let (wake, woken) = chan::bounded::<usize>(1);
                let ready = ready.clone();
                let handle = go(move || {
                    let kept = black_box([id; 64]);
                    assert_eq!(descend(PAGES), PAGES);
                    ready.send((&raw const kept).addr()).unwrap();
                    let got = woken.recv().unwrap();
                    assert_eq!(descend(PAGES), PAGES);
                    kept.iter().sum::<usize>() / 64 + got
                });
                (wake, handle)
            })
            .collect();
        let stacks: Vec<usize> = (0..COUNT).map(|_| is_ready.recv().unwrap()).collect();
        (0..1000).for_each(|_| yield_now());
        let before = resident(&stacks, PAGES);
        assert!(before > COUNT * PAGES / 2, "{before}");
        assert_eq!(
            goroutines::release_stacks(Duration::from_secs(3600)).unwrap(),
            0
        );
        let released = goroutines::release_stacks(Duration::ZERO).unwrap();
        assert!(released >= COUNT, "{released}");
        let after = resident(&stacks, PAGES);
        assert!(after < before / 2, "{after} of {before}");
        for (id, (wake, handle)) in parked.into_iter().enumerate() {
            wake.send(1).unwrap();
            assert_eq!(handle.join().unwrap(), id + 1);
        }
    }
}
