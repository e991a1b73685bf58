//! Names and places of calls, looked up in the debug information that the program carries.
//!
//! Invariant: an address is looked up once for a dump, however many goroutines stand there.

use std::collections::HashMap;
use std::fmt::{self, Write};

/// What has been looked up.
#[derive(Default)]
pub(super) struct Symbols {
    known: HashMap<usize, Vec<Call>>,
}

/// A call: that of a function, or of one that the compiler put into its caller.
#[derive(Clone)]
struct Call {
    function: String,
    place: Option<(String, u32)>,
}

/// Crates whose calls are left out at the ends of a stack.
const RUNTIME: &[&str] = &[
    "gosched",
    "gostack",
    "goruntime",
    "gomem",
    "gogc",
    "std",
    "core",
    "alloc",
];

/// Code of the runtime that a program does not call by its name: the last calls before it comes to stand still.
const HIDDEN: &[&str] = &["std", "core", "alloc"];

impl Symbols {
    /// The calls at the instruction before an address, the innermost first: more than one where the compiler inlined some.
    fn at(&mut self, address: usize) -> &[Call] {
        self.known.entry(address).or_insert_with(|| {
            let mut calls = Vec::new();
            let at = std::ptr::without_provenance_mut(address);
            backtrace::resolve(at, |symbol| {
                let function = symbol.name().map(|name| format!("{name:#}"));
                let file = symbol.filename().map(|f| f.display().to_string());
                calls.push(Call {
                    function: function.unwrap_or_else(|| format!("{address:#x}")),
                    place: file.zip(symbol.lineno()),
                });
            });
            if calls.is_empty() {
                calls.push(Call {
                    function: format!("{address:#x}"),
                    place: None,
                });
            }
            calls
        })
    }

    /// Writes the calls as Go does: a line for the function, and one for the place.
    pub(super) fn write(&mut self, f: &mut impl Write, addresses: &[usize]) -> fmt::Result {
        let mut calls = Vec::new();
        for (depth, &address) in addresses.iter().enumerate() {
            // A return address is that of the instruction after the call; the innermost is that of the one that comes next.
            let after = address + usize::from(depth == 0);
            calls.extend_from_slice(self.at(after));
        }
        for call in essential(&calls) {
            writeln!(f, "{}(...)", call.function)?;
            match &call.place {
                Some((file, line)) => writeln!(f, "\t{file}:{line}")?,
                None => writeln!(f, "\t?")?,
            }
        }
        Ok(())
    }
}

/// The calls that the program made, and the one of the runtime that the innermost of them made; all of them if there are only the runtime's.
fn essential(calls: &[Call]) -> &[Call] {
    // Of a short name without a place nothing is known: it may be the runtime's.
    let known = |call: &Call| call.place.is_some() || !call.crate_name().is_empty();
    let own = |call: &Call| known(call) && !RUNTIME.contains(&call.crate_name());
    let (Some(first), Some(last)) = (calls.iter().position(own), calls.iter().rposition(own))
    else {
        return calls;
    };
    // What the program called, if it is not one of std's helpers around it.
    let called = calls[..first]
        .iter()
        .rposition(|call| !HIDDEN.contains(&call.crate_name()));
    &calls[called.unwrap_or(first)..=last]
}

impl Call {
    /// The crate that the function is of: of a trait's method, that of the type.
    ///
    /// Where the debug information has line tables only, names are short (`recv<u32>`); then the place tells: `.../gosched/src/chan/ends.rs`, or
    /// `.../gosched-0.1.0/src/...` if it was not built from its own tree. C has no crates; its functions are the program's.
    fn crate_name(&self) -> &str {
        let path = self
            .function
            .trim_start_matches(['<', '&', '*', '[', '(', ' ']);
        let before = path.split(['<', '(']).next().unwrap_or(path);
        if let Some((name, _)) = before.split_once("::") {
            return name;
        }
        let place = self.place.as_ref();
        let Some((folders, _)) = place.and_then(|(file, _)| file.rsplit_once("/src/")) else {
            return "";
        };
        let folder = folders.rsplit('/').next().unwrap_or("");
        match folder.rsplit_once('-') {
            Some((name, version)) if version.starts_with(|c: char| c.is_ascii_digit()) => name,
            _ => folder,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(names: &[&str]) -> Vec<Call> {
        let call = |name: &&str| Call {
            function: (*name).to_owned(),
            place: None,
        };
        names.iter().map(call).collect()
    }

    fn kept(names: &[&str]) -> Vec<String> {
        let calls = calls(names);
        essential(&calls)
            .iter()
            .map(|c| c.function.clone())
            .collect()
    }

    #[test]
    fn keeps_what_the_program_called() {
        let stack = [
            "gostack::switch::switch_by_instruction",
            "gosched::sched::park",
            "<gosched::chan::ends::Receiver<T>>::recv",
            "core::option::Option<T>::map",
            "app::worker",
            "alloc::vec::Vec<T>::retain",
            "app::main::{{closure}}",
            "core::ops::function::FnOnce::call_once",
            "gosched::gmp::body::run",
        ];
        let expected = [&stack[2..7]].concat();
        assert_eq!(kept(&stack), expected);
    }

    #[test]
    fn what_is_not_known_is_not_the_programs() {
        let stack = [
            "switch_away<goruntime::Env>",
            "gosched::recv",
            "app::main",
            "_start",
        ];
        assert_eq!(kept(&stack), ["gosched::recv", "app::main"]);
        let in_c = ["nanosleep", "std::thread::sleep", "app::main"];
        assert_eq!(kept(&in_c), in_c);
    }

    #[test]
    fn keeps_all_of_the_runtimes_own() {
        let stack = ["gosched::sched::park", "goruntime::finalizer::run"];
        assert_eq!(kept(&stack), stack);
    }

    #[test]
    fn short_names_are_of_the_crate_that_their_place_is_in() {
        let call = |function: &str, file: &str| Call {
            function: function.to_owned(),
            place: Some((file.to_owned(), 1)),
        };
        for (function, file, expected) in [
            ("recv<u32>", "/w/crates/gosched/src/chan/ends.rs", "gosched"),
            (
                "recv",
                "/h/registry/src/index-1/gosched-0.1.0/src/chan/ends.rs",
                "gosched",
            ),
            (
                "black_box<u64>",
                "/rustc/59807616/library/core/src/hint.rs",
                "core",
            ),
            (
                "{closure#0}<goruntime::Env, ()>",
                "/w/crates/gosched/src/sched/spawn.rs",
                "gosched",
            ),
            (
                "app::run",
                "/rustc/59807616/library/core/src/hint.rs",
                "app",
            ),
            ("nanosleep", "./time/nanosleep.c", ""),
            ("main", "src/main.rs", ""),
        ] {
            assert_eq!(
                call(function, file).crate_name(),
                expected,
                "{function} in {file}"
            );
        }
    }

    #[inline(never)]
    fn known_function(x: u64) -> u64 {
        std::hint::black_box(x) + 1
    }

    #[test]
    fn names_a_function_and_its_place() {
        let entry = known_function as *const () as usize;
        let mut text = String::new();
        Symbols::default()
            .write(&mut text, &[entry, entry + 1])
            .unwrap();
        assert_eq!(text.matches("known_function(...)\n\t").count(), 2, "{text}");
        assert_eq!(text.matches("symbols.rs:").count(), 2, "{text}");
    }
}
