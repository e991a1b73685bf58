//! The golden file: what each hot path is allowed to cost.
//!
//! One line says with what the figures were made, then there is one line for each probe: its name, instructions, indirect calls and jumps.
//! Another compiler or libc makes other code of the same sources, so with another one the figures are only compared for information.

use std::fmt;

/// How much a figure may grow, in percent of what it was: with the same compiler a path is as long as before to the
/// instruction, unless the code in front of it changed which registers are free, or the libc chose another `memcpy` for the processor.
const PERCENT: u64 = 2;

/// The same for short paths, in instructions.
const LEAST: u64 = 1;

/// What one pass over a hot path costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Figure {
    /// Instructions executed.
    pub instructions: u64,
    /// Of these, calls and jumps to a computed address.
    pub indirect: u64,
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} and {}", self.instructions, self.indirect)
    }
}

/// The golden file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Golden {
    /// Compiler, libc and flags.
    pub made_with: String,
    /// By probe.
    pub figures: Vec<(String, Figure)>,
}

/// How a figure compares with the golden one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the same.
    Same,
    /// It is more, by no more than the tolerance.
    Near(Figure),
    /// It is less in one respect at least, and in none too much.
    Less(Figure),
    /// It is too much.
    Grown(Figure),
    /// There is no golden figure.
    New,
}

impl Verdict {
    /// The golden figure, if this one differs from it.
    pub fn before(self) -> Option<Figure> {
        match self {
            Verdict::Near(before) | Verdict::Less(before) | Verdict::Grown(before) => Some(before),
            Verdict::Same | Verdict::New => None,
        }
    }
}

const HEAD: &str = "\
# Hot paths: probe, instructions, indirect calls and jumps. `cargo xtask fastpath --bless` writes this file.
";

const WITH: &str = "with ";

impl Golden {
    /// Reads the file's text.
    ///
    /// # Errors
    /// When a line is not of the format; the text names it.
    pub fn parse(text: &str) -> Result<Golden, String> {
        let mut golden = Golden::default();
        for (number, line) in (1..).zip(text.lines()) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(with) = line.strip_prefix(WITH) {
                golden.made_with = with.to_owned();
                continue;
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            let figure = match words[..] {
                [_, instructions, indirect] => instructions.parse().ok().zip(indirect.parse().ok()),
                _ => None,
            };
            let Some((instructions, indirect)) = figure else {
                return Err(format!("line {number} is no figure: {line}"));
            };
            let figure = Figure {
                instructions,
                indirect,
            };
            golden.figures.push((words[0].to_owned(), figure));
        }
        Ok(golden)
    }

    /// The file's text.
    pub fn render(&self) -> String {
        let mut text = format!("{HEAD}{WITH}{}\n\n", self.made_with);
        for (name, figure) in &self.figures {
            let Figure {
                instructions,
                indirect,
            } = figure;
            text.push_str(&format!("{name:<20}{instructions:>6}{indirect:>4}\n"));
        }
        text
    }

    /// Compares what was measured with what stands here.
    pub fn judge(&self, name: &str, now: Figure) -> Verdict {
        let Some((_, before)) = self.figures.iter().find(|(known, _)| known == name) else {
            return Verdict::New;
        };
        let has_less = now.instructions < before.instructions || now.indirect < before.indirect;
        if now.instructions > allowed(before.instructions) || now.indirect > before.indirect {
            Verdict::Grown(*before)
        } else if has_less {
            Verdict::Less(*before)
        } else if now == *before {
            Verdict::Same
        } else {
            Verdict::Near(*before)
        }
    }

    /// Probes that stand here and are not in `known`.
    pub fn strangers<'a>(&'a self, known: &'a [String]) -> impl Iterator<Item = &'a str> {
        let names = self.figures.iter().map(|(name, _)| name.as_str());
        names.filter(|name| !known.iter().any(|one| one == name))
    }
}

/// The most that a path of so many instructions may grow to.
pub fn allowed(before: u64) -> u64 {
    before + (before * PERCENT / 100).max(LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(instructions: u64, indirect: u64) -> Figure {
        Figure {
            instructions,
            indirect,
        }
    }

    fn golden() -> Golden {
        Golden {
            made_with: "rustc 1.88.0 (x), glibc 2.36".to_owned(),
            figures: vec![
                ("malloc".to_owned(), figure(20, 0)),
                ("spawn".to_owned(), figure(1000, 3)),
            ],
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let golden = golden();
        assert_eq!(Golden::parse(&golden.render()), Ok(golden));
        assert_eq!(Golden::parse("# nothing\n\n"), Ok(Golden::default()));
    }

    #[test]
    fn nonsense_is_named() {
        for line in [
            "malloc 20",
            "malloc twenty 0",
            "malloc 20 0 0",
            "malloc 20 -1",
        ] {
            let why = Golden::parse(&format!("# head\n{line}\n")).unwrap_err();
            assert!(why.contains("line 2") && why.contains(line), "{why}");
        }
    }

    #[test]
    fn figures_may_grow_by_the_tolerance_only() {
        let golden = golden();
        let judge =
            |name, instructions, indirect| golden.judge(name, figure(instructions, indirect));
        let (malloc, spawn) = (figure(20, 0), figure(1000, 3));
        assert_eq!(judge("malloc", 20, 0), Verdict::Same);
        assert_eq!(judge("malloc", 21, 0), Verdict::Near(malloc));
        assert_eq!(judge("malloc", 22, 0), Verdict::Grown(malloc));
        assert_eq!(judge("malloc", 19, 0), Verdict::Less(malloc));
        assert_eq!(judge("spawn", 1020, 3), Verdict::Near(spawn));
        assert_eq!(judge("spawn", 1021, 3), Verdict::Grown(spawn));
        assert_eq!(judge("free", 1, 0), Verdict::New);
    }

    #[test]
    fn an_indirect_call_more_is_too_much() {
        let golden = golden();
        let before = figure(1000, 3);
        assert_eq!(
            golden.judge("spawn", figure(900, 4)),
            Verdict::Grown(before)
        );
        assert_eq!(
            golden.judge("spawn", figure(1010, 2)),
            Verdict::Less(before)
        );
    }

    #[test]
    fn figures_without_a_probe_are_found() {
        let golden = golden();
        let known = ["spawn".to_owned()];
        assert_eq!(golden.strangers(&known).collect::<Vec<_>>(), ["malloc"]);
    }
}
