//! Where the instructions of a hot path are: by function, inlined ones apart, and the source lines of its indirect calls.
//!
//! Addresses are named by `addr2line`, from the line tables that the release profile has. What is in no file with such tables is shown
//! under the file's name.

use super::trace::Repetition;
use crate::console::{Row, Style};
use crate::{process, workspace};
use std::collections::HashMap;
use std::io;
use std::process::Command;
use std::time::Duration;

/// Naming a few thousand addresses takes a second or two.
const LIMIT: Duration = Duration::from_secs(120);

/// Functions that are named; the rest is short.
const SHOWN: usize = 40;

/// A place in the sources.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    function: String,
    line: String,
}

/// Prints the path that `repetition` took.
///
/// # Errors
/// When the addresses cannot be named, or the output not written.
pub fn show(repetition: &Repetition, maps: &str) -> Result<(), String> {
    let places = places(repetition, &files(maps))?;
    let unknown = Place {
        function: "?".to_owned(),
        line: "?".to_owned(),
    };
    let place_of = |address: &u64| places.get(address).unwrap_or(&unknown);
    let mut counts: HashMap<&str, u64> = HashMap::new();
    for (address, _) in &repetition.path {
        *counts.entry(&place_of(address).function).or_default() += 1;
    }
    let mut counts: Vec<(&str, u64)> = counts.into_iter().collect();
    counts.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), *name));
    let left_out = counts.len().saturating_sub(SHOWN);
    let print = || -> io::Result<()> {
        for (name, count) in counts.iter().take(SHOWN) {
            let text = format!("{count:>8}  {name}");
            Row::new().with(Style::Plain, text).print()?;
        }
        if left_out > 0 {
            let text = format!("          and {left_out} more functions");
            Row::new().with(Style::Dim, text).print()?;
        }
        for (address, is_indirect) in &repetition.path {
            if *is_indirect {
                let Place { function, line } = place_of(address);
                let text = format!("indirect  {function}");
                let row = Row::new().with(Style::Plain, text);
                row.with(Style::Dim, format!("  {line}")).print()?;
            }
        }
        Ok(())
    };
    print().map_err(|why| why.to_string())
}

/// A file that is mapped: its name, where its first byte would be, and the addresses of it that are mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mapped {
    file: String,
    base: u64,
    end: u64,
}

/// The files of a `/proc/<pid>/maps`, by their first mapping to their last.
fn files(maps: &str) -> Vec<Mapped> {
    let mut files: Vec<Mapped> = Vec::new();
    for line in maps.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [range, _, offset, _, _, file] = words[..] else {
            continue;
        };
        let number = |text| u64::from_str_radix(text, 16).ok();
        let Some((from, to)) = range.split_once('-') else {
            continue;
        };
        let (Some(from), Some(to), Some(offset)) = (number(from), number(to), number(offset))
        else {
            continue;
        };
        match files.iter_mut().find(|known| known.file == file) {
            Some(known) => known.end = to,
            None => files.push(Mapped {
                file: file.to_owned(),
                base: from.wrapping_sub(offset),
                end: to,
            }),
        }
    }
    files
}

/// The place of every address of the path.
fn places(repetition: &Repetition, files: &[Mapped]) -> Result<HashMap<u64, Place>, String> {
    let mut places = HashMap::new();
    for file in files {
        let mut addresses: Vec<u64> = repetition
            .path
            .iter()
            .map(|(address, _)| *address)
            .filter(|address| (file.base..file.end).contains(address))
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        if addresses.is_empty() {
            continue;
        }
        let mut command = Command::new("addr2line");
        command.args(["--functions", "--demangle", "--exe", &file.file]);
        command.args(
            addresses
                .iter()
                .map(|address| format!("{:x}", address - file.base)),
        );
        // The kernel's own page is no file.
        let said = match file.file.starts_with('/') {
            true => process::capture(command, LIMIT, |_| ())?.stdout,
            false => String::new(),
        };
        let mut lines = said.lines();
        for address in addresses {
            let (function, line) = (lines.next().unwrap_or("??"), lines.next().unwrap_or("??"));
            places.insert(address, place(function, line, &file.file));
        }
    }
    Ok(places)
}

/// What `addr2line` says, for people: without the root, and by the file where it knows nothing.
fn place(function: &str, line: &str, file: &str) -> Place {
    let root = format!("{}/", workspace::root().display());
    let function = match function {
        "??" => format!("in {}", file.rsplit('/').next().unwrap_or(file)),
        known => known.to_owned(),
    };
    let line = line.split(" (discriminator").next().unwrap_or(line);
    Place {
        function,
        line: line.replace(&root, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
555500000000-555500003000 r--p 00000000 fe:00 1    /bin/x
555500003000-555500009000 r-xp 00003000 fe:00 1    /bin/x
555500009000-55550000a000 rw-p 00000000 00:00 0
7ffff0001000-7ffff0002000 r-xp 00001000 fe:00 2    /lib/y.so
7ffff7fc0000-7ffff7fc2000 r-xp 00000000 00:00 0    [vdso]
";

    #[test]
    fn files_are_found_in_maps() {
        let found = files(MAPS);
        let names: Vec<&str> = found.iter().map(|file| file.file.as_str()).collect();
        assert_eq!(names, ["/bin/x", "/lib/y.so", "[vdso]"]);
        assert_eq!(
            (found[0].base, found[0].end),
            (0x5555_0000_0000, 0x5555_0000_9000)
        );
        assert_eq!(found[1].base, 0x7fff_f000_0000);
    }

    #[test]
    fn places_are_short() {
        let root = workspace::root();
        let line = format!("{}/crates/a.rs:7 (discriminator 2)", root.display());
        let known = place("a::f", &line, "/bin/x");
        assert_eq!(
            (known.function.as_str(), known.line.as_str()),
            ("a::f", "crates/a.rs:7")
        );
        assert_eq!(place("??", "??:0", "/lib/y.so").function, "in y.so");
    }
}
