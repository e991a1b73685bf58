//! Names and places of calls, looked up in the debug information and the symbol tables that the program carries.
//!
//! An address is one *within* the instruction that calls, or that comes next: of a return address one less. Inlined functions are known from debug
//! information only; the name of the function that they are in is taken from the symbol table where debug information has a short one.
//!
//! Invariant: an address is looked up once for a dump, however many goroutines stand there.

use super::symbol_table::SymbolTable;
use gomem::profile::pprof::{Object, Objects};
use std::collections::HashMap;
use std::fmt::{self, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// What has been looked up.
#[derive(Default)]
pub(crate) struct Symbols {
    known: HashMap<usize, Vec<Call>>,
}

/// Symbol tables of loaded objects, kept from one look-up to the next.
#[derive(Default)]
struct Tables {
    /// What is loaded, as of the last time that something was missing.
    objects: Vec<Object>,
    /// By the object's file.
    tables: HashMap<String, SymbolTable>,
}

static TABLES: Mutex<Option<Tables>> = Mutex::new(None);

/// Gives back what was kept for further look-ups: tens of megabytes, most of it debug information.
pub(crate) fn forget() {
    *TABLES.lock().unwrap_or_else(PoisonError::into_inner) = None;
    backtrace::clear_symbol_cache();
}

/// A call: that of a function, or of one that the compiler put into its caller.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) function: String,
    /// File and line.
    pub(crate) place: Option<(String, u32)>,
    /// How far the address is from the function's start, if that is known.
    pub(crate) within: Option<u64>,
}

/// Crates whose calls are left out at the ends of a stack.
const RUNTIME: &[&str] = &[
    "__rustc",
    "gosched",
    "gostack",
    "gosysmon",
    "goruntime",
    "gomem",
    "gogc",
    "std",
    "core",
    "alloc",
];

/// Code of the runtime that a program does not call by its name: the last calls before it comes to stand still.
const HIDDEN: &[&str] = &["__rustc", "std", "core", "alloc"];

impl Symbols {
    /// The calls at an address, the innermost first: more than one where the compiler inlined some. Never none.
    pub(crate) fn at(&mut self, address: usize) -> &[Call] {
        self.known.entry(address).or_insert_with(|| {
            // What it takes to know the program is not the program's.
            gomem::profile::unsampled(|| Symbols::look_up(address))
        })
    }

    fn look_up(address: usize) -> Vec<Call> {
        let mut calls = Vec::new();
        // It looks at the instruction before.
        let after = std::ptr::without_provenance_mut(address.wrapping_add(1));
        backtrace::resolve(after, |symbol| {
            let function = symbol.name().map(|name| format!("{name:#}"));
            let file = symbol.filename().map(|f| f.display().to_string());
            calls.push(Call {
                function: function.unwrap_or_default(),
                place: file.zip(symbol.lineno()),
                within: None,
            });
        });
        calls.retain(|call| !call.function.is_empty());
        let mut tables = TABLES.lock().unwrap_or_else(PoisonError::into_inner);
        let tables = tables.get_or_insert_default();
        if calls.is_empty() {
            calls.push(Call {
                function: tables.unknown(address),
                place: None,
                within: None,
            });
        }
        if let (Some(outermost), Some((name, within))) = (calls.last_mut(), tables.symbol(address))
        {
            outermost.within = Some(within);
            if !outermost.has_path() {
                outermost.function = name;
            }
        }
        calls.iter_mut().for_each(Call::complete);
        calls
    }

    /// The innermost call that the program made, and not the runtime or the standard library for it; a closure without a name of its own goes by that of the function around it.
    pub(crate) fn innermost_own(&mut self, addresses: &[usize]) -> Option<Call> {
        let mut innermost: Option<Call> = None;
        for &address in addresses {
            for call in self.at(address).iter().filter(|call| call.is_own()) {
                let is_nameless = call.function.starts_with("{closure");
                let found = innermost.get_or_insert_with(|| call.clone());
                if !is_nameless {
                    found.function.clone_from(&call.function);
                    return innermost;
                }
            }
        }
        innermost
    }

    /// Writes the calls as Go does: a line for the function, and one for the place.
    pub(super) fn write(&mut self, f: &mut impl Write, addresses: &[usize]) -> fmt::Result {
        let mut calls = Vec::new();
        for address in within_calls(addresses) {
            calls.extend_from_slice(self.at(address));
        }
        write_calls(f, &calls, false)
    }
}

/// Writes calls that were looked up: those that matter, or all.
pub(super) fn write_calls(f: &mut impl Write, calls: &[Call], all: bool) -> fmt::Result {
    let calls = if all { calls } else { essential(calls) };
    for call in calls {
        writeln!(f, "{}(...)", call.function)?;
        match &call.place {
            Some((file, line)) => writeln!(f, "\t{file}:{line}")?,
            None => writeln!(f, "\t?")?,
        }
    }
    Ok(())
}

/// Whether it is code that a program does not call by its name, but by way of something else.
pub(super) fn is_hidden(call: &Call) -> bool {
    HIDDEN.contains(&call.crate_name())
}

impl Tables {
    /// The object that an address lies in.
    fn object(&mut self, address: usize) -> Option<Object> {
        let find =
            |objects: &[Object]| objects.iter().find(|o| o.range.contains(&address)).cloned();
        find(&self.objects).or_else(|| {
            self.objects = Objects::loaded().iter().cloned().collect();
            find(&self.objects)
        })
    }

    /// For what has no name: the file that it is of.
    fn unknown(&mut self, address: usize) -> String {
        let object = self.object(address);
        match object.as_ref().and_then(|o| Path::new(&o.path).file_name()) {
            Some(file) => format!("[{}]", file.display()),
            None => format!("{address:#x}"),
        }
    }

    /// The whole name of a function, and how far the address is from its start.
    fn symbol(&mut self, address: usize) -> Option<(String, u64)> {
        let object = self.object(address)?;
        let table = self.tables.entry(object.path.clone()).or_insert_with(|| {
            // The program's own file may have been replaced.
            let own = Path::new("/proc/self/exe");
            let file = Path::new(&object.path);
            let is_own = std::fs::read_link(own).is_ok_and(|path| path == file);
            SymbolTable::of(if is_own { own } else { file }).unwrap_or_default()
        });
        let offset = (address - object.range.start) as u64 + object.offset;
        let (mangled, within) = table.find(offset)?;
        Some((format!("{:#}", backtrace::SymbolName::new(mangled)), within))
    }
}

/// Addresses within the calls of a walk, which are the instruction that comes next and then return addresses.
pub(crate) fn within_calls(walked: &[usize]) -> impl Iterator<Item = usize> + Clone {
    let within = |(depth, &address): (usize, &usize)| address - usize::from(depth > 0);
    walked.iter().enumerate().map(within)
}

/// The calls that the program made, and the one of the runtime that the innermost of them made; all of them if there are only the runtime's.
fn essential(calls: &[Call]) -> &[Call] {
    let (Some(first), Some(last)) = (
        calls.iter().position(Call::is_own),
        calls.iter().rposition(Call::is_own),
    ) else {
        return calls;
    };
    // What the program called, if it is not one of std's helpers around it.
    let called = calls[..first].iter().rposition(|call| !is_hidden(call));
    &calls[called.unwrap_or(first)..=last]
}

impl Call {
    /// Whether the program made it, and not the runtime. Of a short name without a place nothing is known: it may be the runtime's.
    fn is_own(&self) -> bool {
        let name = self.crate_name();
        let is_known = self.place.is_some() || !name.is_empty();
        // The allocator's symbols, which are said to be where the program declares it.
        is_known && !RUNTIME.contains(&name) && !self.function.starts_with("__rust_")
    }

    /// The name without what it is generic over: up to the first bracket that is not of the path.
    fn path(&self) -> &str {
        let mut path = self.function.as_str();
        for before in ["<", "&", "*", "[", "(", "mut ", "const ", "dyn ", "&"] {
            path = path.trim_start_matches(before);
        }
        path.split(['<', '(']).next().unwrap_or(path)
    }

    fn has_path(&self) -> bool {
        self.path().contains("::")
    }

    /// Where the debug information has line tables only, names are short (`recv<u32>`); then the place tells the module.
    fn complete(&mut self) {
        if !self.has_path()
            && let Some((file, _)) = &self.place
            && let Some(module) = module_of(file)
        {
            self.function.insert_str(0, &module);
        }
    }

    /// The crate that the function is of: of a trait's method, that of the type, or of the trait if the type is of none. C has no crates; its functions are
    /// the program's.
    fn crate_name(&self) -> &str {
        let name = self.path().split_once("::").map_or("", |(name, _)| name);
        name.rsplit_once(" as ")
            .map_or(name, |(_, of_trait)| of_trait)
    }
}

/// The path of the module that a file holds, with colons behind: of `.../gosched/src/chan/ends.rs`, or `.../gosched-0.1.0/src/...` if it was not built from
/// its own tree. `None` if the file is not in a crate's sources by its path.
fn module_of(file: &str) -> Option<String> {
    let (folders, rest) = file.rsplit_once("/src/")?;
    let folder = folders.rsplit('/').next()?;
    let name = match folder.rsplit_once('-') {
        Some((name, version)) if version.starts_with(|c: char| c.is_ascii_digit()) => name,
        _ => folder,
    };
    let mut module = name.replace('-', "_");
    for part in rest.strip_suffix(".rs")?.split('/') {
        if !matches!(part, "lib" | "main" | "mod") {
            module = module + "::" + part;
        }
    }
    Some(module + "::")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(names: &[&str]) -> Vec<Call> {
        let call = |name: &&str| Call {
            function: (*name).to_owned(),
            place: None,
            within: None,
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
    fn short_names_get_the_module_that_their_place_is_in() {
        for (function, file, expected, of) in [
            (
                "recv<app::Item>",
                "/w/crates/gosched/src/chan/ends.rs",
                "gosched::chan::ends::recv<app::Item>",
                "gosched",
            ),
            (
                "recv",
                "/h/registry/src/index-1/tiny-http-0.1.0/src/lib.rs",
                "tiny_http::recv",
                "tiny_http",
            ),
            (
                "{closure#0}<u64>",
                "/rustc/59807616/library/core/src/iter/mod.rs",
                "core::iter::{closure#0}<u64>",
                "core",
            ),
            (
                "<u64 as core::fmt::Display>::fmt",
                "/rustc/59807616/library/core/src/fmt/num.rs",
                "<u64 as core::fmt::Display>::fmt",
                "core",
            ),
            (
                "<&mut alloc::string::String as core::fmt::Write>::write_str",
                "/rustc/59807616/library/core/src/fmt/mod.rs",
                "<&mut alloc::string::String as core::fmt::Write>::write_str",
                "alloc",
            ),
            (
                "<app::Item as core::fmt::Display>::fmt",
                "src/main.rs",
                "<app::Item as core::fmt::Display>::fmt",
                "app",
            ),
            ("nanosleep", "./time/nanosleep.c", "nanosleep", ""),
            ("main", "src/main.rs", "main", ""),
        ] {
            let mut call = Call {
                function: function.to_owned(),
                place: Some((file.to_owned(), 1)),
                within: None,
            };
            call.complete();
            assert_eq!((call.function.as_str(), call.crate_name()), (expected, of));
        }
    }

    #[inline(never)]
    fn known_function(x: u64) -> u64 {
        std::hint::black_box(x) + 1
    }

    #[test]
    fn names_a_function_and_its_place() {
        let entry = known_function as *const () as usize;
        let mut symbols = Symbols::default();
        let full = concat!(module_path!(), "::known_function");
        let outermost = symbols.at(entry + 1).last().unwrap();
        assert_eq!(
            (outermost.function.as_str(), outermost.within),
            (full, Some(1))
        );
        let mut text = String::new();
        symbols.write(&mut text, &[entry, entry + 1]).unwrap();
        assert_eq!(text.matches("known_function(...)\n\t").count(), 2, "{text}");
        assert_eq!(text.matches("symbols.rs:").count(), 2, "{text}");
    }
}
