//! Planted bugs: an operation of the code under exploration made weaker, or left out, without touching that code.
//!
//! An exploration that finds nothing shows something only if it would have found a bug. So each is run again with bugs planted, and
//! must fail. A site is named by a piece of the source text that occurs once in its file; so it moves with the code, and a text that
//! has gone fails the test that names it.

use std::ops::RangeInclusive;
use std::panic::Location;
use std::path::Path;

/// A place in the source, from its text.
#[derive(Clone, Debug)]
pub struct Site {
    file: String,
    lines: RangeInclusive<u32>,
    text: String,
}

impl Site {
    /// The lines of `snippet`, which occurs exactly once in `file`, a path from the folder of the crate's manifest (`manifest_dir` is
    /// `env!("CARGO_MANIFEST_DIR")`). The operation meant is the one, or are those, whose method name stands on these lines.
    ///
    /// # Panics
    /// If the file cannot be read, or the snippet is not in it exactly once.
    pub fn find(manifest_dir: &str, file: &str, snippet: &str) -> Site {
        let path = Path::new(manifest_dir).join(file);
        let source = std::fs::read_to_string(&path)
            .unwrap_or_else(|why| panic!("a planted bug names {}: {why}", path.display()));
        let mut places = source.match_indices(snippet);
        let (Some((at, _)), None) = (places.next(), places.next()) else {
            panic!("a planted bug names a text that is not exactly once in {file}: {snippet}");
        };
        let line = |upto: usize| source[..upto].matches('\n').count() as u32 + 1;
        Site {
            file: file.into(),
            lines: line(at)..=line(at + snippet.len()),
            text: snippet.into(),
        }
    }

    pub(crate) fn is_at(&self, location: &Location<'_>) -> bool {
        location.file().ends_with(&self.file) && self.lines.contains(&location.line())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    Weaken,
    Remove,
}

/// A bug to be planted.
#[derive(Clone, Debug)]
pub struct Plant {
    pub(crate) kind: PlantKind,
}

#[derive(Clone, Debug)]
pub(crate) enum PlantKind {
    At(Damage, Site),
    Named(&'static str),
}

impl Plant {
    /// The operation is relaxed. A fence does nothing.
    pub fn weaken(site: Site) -> Plant {
        Plant {
            kind: PlantKind::At(Damage::Weaken, site),
        }
    }

    /// The operation is left out: a fence, a store, the waking of a futex or a thread. (A read-modify-write only reads.)
    pub fn remove(site: Site) -> Plant {
        Plant {
            kind: PlantKind::At(Damage::Remove, site),
        }
    }

    /// [`planted`](crate::planted) with this name says yes.
    pub fn named(name: &'static str) -> Plant {
        Plant {
            kind: PlantKind::Named(name),
        }
    }

    /// What it is, for a report.
    pub(crate) fn describe(&self) -> String {
        match &self.kind {
            PlantKind::Named(name) => (*name).into(),
            PlantKind::At(damage, site) => {
                let verb = match damage {
                    Damage::Weaken => "weakened",
                    Damage::Remove => "removed",
                };
                let text: Vec<_> = site.text.split_whitespace().collect();
                format!(
                    "{verb}: {} ({}:{})",
                    text.join(" "),
                    site.file,
                    site.lines.start()
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: &str = env!("CARGO_MANIFEST_DIR");

    #[track_caller]
    fn location() -> &'static Location<'static> {
        Location::caller()
    }

    #[test]
    fn a_site_is_where_its_text_is() {
        let at = location();
        let site = Site::find(HERE, "src/plant.rs", concat!("let at = ", "location();"));
        assert!(site.is_at(at));
        assert!(!site.is_at(location()));
    }

    #[test]
    #[should_panic(expected = "not exactly once")]
    fn a_text_that_has_gone_is_an_error() {
        Site::find(HERE, "src/plant.rs", concat!("no such ", "text"));
    }

    #[test]
    #[should_panic(expected = "not exactly once")]
    fn a_text_that_is_ambiguous_is_an_error() {
        Site::find(HERE, "src/plant.rs", "assert!");
    }
}
