//! What the page allocator knows of a stretch of pages: the free runs at its start and end, and the longest within.
//!
//! Summaries of neighbours add up to the summary of both, which makes the radix tree of `mpagealloc.go`. All zero means: nothing is free.

/// Lengths in pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub(super) struct Summary {
    /// Free pages at the start.
    pub(super) start: u32,
    /// The longest run of free pages.
    pub(super) longest: u32,
    /// Free pages at the end.
    pub(super) end: u32,
}

impl Summary {
    /// Of `pages` pages, all free.
    pub(super) const fn all_free(pages: u32) -> Summary {
        Summary {
            start: pages,
            longest: pages,
            end: pages,
        }
    }

    /// Becomes `new`; true if that is another one.
    pub(super) fn set(&mut self, new: Summary) -> bool {
        let changed = *self != new;
        *self = new;
        changed
    }

    /// Of the stretch that consists of `parts`, each `pages` pages long.
    pub(super) fn of_parts(parts: &[Summary], pages: u32) -> Summary {
        let mut whole = Summary::default();
        let mut all_free = true;
        for part in parts {
            if all_free {
                whole.start += part.start;
            }
            whole.longest = whole.longest.max(whole.end + part.start).max(part.longest);
            if part.start == pages {
                whole.end += pages;
            } else {
                whole.end = part.end;
                all_free = false;
            }
        }
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_join_across_parts() {
        let part = |start, longest, end| Summary {
            start,
            longest,
            end,
        };
        let whole = Summary::of_parts(&[part(1, 3, 2), part(8, 8, 8), part(3, 3, 0)], 8);
        assert_eq!(whole, part(1, 13, 0));
        let whole = Summary::of_parts(&[Summary::all_free(8); 4], 8);
        assert_eq!(whole, Summary::all_free(32));
        assert_eq!(
            Summary::of_parts(&[Summary::default(); 4], 8),
            Summary::default()
        );
    }
}
