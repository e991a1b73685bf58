//! The heap as a table for people.
//!
//! Invariant: nothing here allocates, so the table does not change what it shows.

use crate::env::Os;
use crate::heap::Heap;
use crate::stats::ClassStats;
use std::fmt::{self, Write};

impl<O: Os> Heap<O> {
    /// Writes what there is by size class, and totals. Does not allocate, unless `out` does.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_table(&self, out: &mut dyn Write) -> fmt::Result {
        let (stats, by_size) = (self.stats(), self.stats_by_size());
        writeln!(
            out,
            "{:>7} {:>11} {:>11} {:>9} {:>9} {:>9} {:>13} {:>13} {:>6}",
            "size",
            "mallocs",
            "frees",
            "live",
            "cached",
            "free",
            "live bytes",
            "span bytes",
            "unused"
        )?;
        for class in by_size[1..]
            .iter()
            .filter(|class| class.mallocs != 0 || class.inuse != 0)
        {
            write_class(out, class)?;
        }
        write_class(out, &by_size[0])?;
        let rows = [
            ("from the system", stats.heap_sys),
            ("  in use", stats.heap_inuse),
            ("    malloc", stats.malloc_inuse),
            ("    collected", stats.collected_inuse),
            ("    other", stats.manual_inuse),
            (
                "  free, with memory",
                stats.heap_idle.saturating_sub(stats.heap_released),
            ),
            ("  free, given back", stats.heap_released),
            ("tables, reserved", stats.other_sys),
            ("live blocks", stats.malloc_alloc),
            ("allocated in all", stats.total_alloc as usize),
        ];
        for (what, bytes) in rows {
            writeln!(out, "{what:<20} {bytes:>15} bytes")?;
        }
        let unused = stats.malloc_inuse.saturating_sub(stats.malloc_alloc);
        let percent = (100 * unused).checked_div(stats.malloc_inuse).unwrap_or(0);
        writeln!(
            out,
            "{:<20} {unused:>15} bytes, {percent}%",
            "unused in spans"
        )
    }

    /// Writes the live blocks by size class, those with most bytes first. Does not allocate, unless `out` does.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_live(&self, out: &mut dyn Write) -> fmt::Result {
        let mut by_size = self.stats_by_size();
        by_size.sort_unstable_by_key(|class| std::cmp::Reverse(class.live_bytes));
        for class in by_size.iter().filter(|class| class.live != 0) {
            write!(
                out,
                "{:>13} bytes in {:>9} blocks",
                class.live_bytes, class.live
            )?;
            match class.size {
                0 => writeln!(out, ", large")?,
                size => writeln!(out, " of {size}")?,
            }
        }
        Ok(())
    }
}

fn write_class(out: &mut dyn Write, class: &ClassStats) -> fmt::Result {
    match class.size {
        0 => write!(out, "{:>7}", "large")?,
        size => write!(out, "{size:>7}")?,
    }
    writeln!(
        out,
        " {:>11} {:>11} {:>9} {:>9} {:>9} {:>13} {:>13} {:>5}%",
        class.mallocs,
        class.frees,
        class.live,
        class.cached,
        class.free,
        class.live_bytes,
        class.inuse,
        class.fragmentation()
    )
}
