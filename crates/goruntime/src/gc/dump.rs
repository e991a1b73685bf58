//! A dump of the heap, in a form that existing tools read.
//!
//! The form is V8's heap snapshot (`.heapsnapshot`), because everybody has a viewer for it: the developer tools of any Chromium, whose *Memory* tab loads it, and which
//! computes retained sizes and dominators itself. It is JSON: nodes and edges as flat arrays of numbers, whose meaning the file itself
//! says in its `meta` part, and a table of strings. (HPROF, the other candidate, describes instances of Java classes; what has no class, as a block of the Rust heap, or
//! a pointer without a field, would have to pretend.)
//!
//! ```text
//!  node 0 ─► (GC roots) ─► goroutine 7 ─► objects, blocks of the Rust heap ─► ..
//!                      └─► statics of .. ─► ..
//! ```

use super::path::{HeldBy, field, held_by, name};
use crate::compose::graph::{self, Graph, Holders, Node, What};
use crate::goroutines::on_thread_of_its_own;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// What the numbers of the file mean: V8's own list, of which a part is used.
const META: &str = r#"{"node_fields":["type","name","id","self_size","edge_count","trace_node_id"],"node_types":[["hidden","array","string","object","code","closure","regexp","number","native","synthetic","concatenated string","sliced string","symbol","bigint"],"string","number","number","number","number"],"edge_fields":["type","name_or_index","to_node"],"edge_types":[["context","element","property","internal","hidden","shortcut","weak"],"string_or_number","node"],"trace_function_info_fields":[],"trace_node_fields":[],"sample_fields":[],"location_fields":[]}"#;

/// Numbers for a node.
const FIELDS: usize = 6;

// Places in `node_types` and `edge_types`.
const OBJECT: u32 = 3;
const NATIVE: u32 = 8;
const SYNTHETIC: u32 = 9;
const ELEMENT: u32 = 1;
const PROPERTY: u32 = 2;

/// Nodes before those of the graph: the root of all, and the one that the viewer takes for the collector's roots.
const FIRST: usize = 2;

/// Writes everything that is reachable, and what leads to what, to the file at `path`, whose name should end in `.heapsnapshot`: the *Memory* tab of Chromium's developer tools opens it, shows what is held by what, and
/// computes how much goes when something does (its *retained size*).
///
/// In the dump are collected objects, blocks of the Rust heap as far as something leads to them, and what holds them: goroutines, threads, statics. It goes by the same rules as [`why_alive`](super::why_alive).
/// Small objects do not say what type they are, unless the program runs under `GODEBUG=gctypes=1`; without it they are told apart by their size and by where their pointers are.
///
/// The world is stopped while all that is reachable is walked, for a second and more if that is gigabytes, and runs again while the file is written. The walk takes some hundred
/// bytes of memory for an object.
///
/// ```no_run
/// goruntime::gc::heap_dump("now.heapsnapshot")?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// If the world cannot be stopped, or there is no thread or no memory to be had for it; those of writing the file.
pub fn heap_dump(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref().to_owned();
    on_thread_of_its_own(move || {
        // Opened first: no stop for nothing.
        let mut out = BufWriter::new(File::create(path)?);
        let (graph, holders) = graph::everything()?;
        write(&graph, &holders, &mut out)?;
        out.into_inner()?.sync_data()
    })
}

/// Strings, each once.
#[derive(Default)]
struct Strings {
    all: Vec<String>,
    numbers: HashMap<String, usize>,
}

impl Strings {
    fn number(&mut self, text: String) -> usize {
        if let Some(number) = self.numbers.get(&text) {
            return *number;
        }
        let number = self.all.len();
        self.all.push(text.clone());
        self.numbers.insert(text, number);
        number
    }
}

/// Nodes that are called alike.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Alike {
    /// By the address of their type.
    Typed(usize),
    Object(gomem::CollectedKind, u64, usize),
    Block,
}

impl Alike {
    fn of(node: &Node) -> Option<Alike> {
        match node.what {
            What::Holder(_) => None,
            What::Typed(info) => Some(Alike::Typed(std::ptr::from_ref(info).addr())),
            What::Object(kind, tag) => Some(Alike::Object(kind, tag, node.size)),
            What::Block => Some(Alike::Block),
        }
    }
}

struct Names<'g> {
    holders: &'g Holders,
    strings: Strings,
    nodes: HashMap<Alike, usize>,
    fields: HashMap<(Alike, u32), usize>,
}

impl Names<'_> {
    fn node(&mut self, node: &Node) -> usize {
        match Alike::of(node) {
            Some(alike) => match self.nodes.get(&alike) {
                Some(name) => *name,
                None => {
                    let number = self.strings.number(name(node));
                    self.nodes.insert(alike, number);
                    number
                }
            },
            None => {
                let text = self.holder(node);
                self.strings.number(text)
            }
        }
    }

    fn holder(&self, node: &Node) -> String {
        let What::Holder(number) = node.what else {
            return String::new();
        };
        match held_by(self.holders, number, 0) {
            HeldBy::Static { module, .. } if module.is_empty() => "statics".to_owned(),
            HeldBy::Static { module, .. } => format!("statics of {module}"),
            other => other.to_string(),
        }
    }

    /// The type and the name of an edge: a field by its name, a word of a block by its number.
    fn edge(&mut self, node: &Node, nth: usize, at: u32) -> (u32, usize) {
        let Some(alike) = Alike::of(node) else {
            return (ELEMENT, nth);
        };
        if alike == Alike::Block {
            return (ELEMENT, at as usize / size_of::<usize>());
        }
        let strings = &mut self.strings;
        let number = self
            .fields
            .entry((alike, at))
            .or_insert_with(|| strings.number(field(node, at as usize)));
        (PROPERTY, *number)
    }
}

fn write(graph: &Graph, holders: &Holders, out: &mut impl Write) -> io::Result<()> {
    let nodes = graph.nodes();
    let mut names = Names {
        holders,
        strings: Strings::default(),
        nodes: HashMap::new(),
        fields: HashMap::new(),
    };
    let of_holders: Vec<usize> = (0..nodes.len())
        .filter(|&n| matches!(nodes[n].what, What::Holder(_)))
        .collect();
    let edges: usize = nodes.iter().map(|node| graph.edges(node).len()).sum();
    let (root, roots) = (
        names.strings.number(String::new()),
        names.strings.number("(GC roots)".to_owned()),
    );
    write!(
        out,
        "{{\"snapshot\":{{\"meta\":{META},\"node_count\":{},\"edge_count\":{},\"trace_function_count\":0}},\n\"nodes\":[",
        nodes.len() + FIRST,
        edges + of_holders.len() + 1,
    )?;
    write!(
        out,
        "{SYNTHETIC},{root},1,0,1,0\n,{SYNTHETIC},{roots},3,0,{},0",
        of_holders.len()
    )?;
    for (number, node) in nodes.iter().enumerate() {
        let kind = match node.what {
            What::Holder(_) => SYNTHETIC,
            What::Block => NATIVE,
            What::Typed(_) | What::Object(..) => OBJECT,
        };
        let (name, id) = (names.node(node), 2 * (number + FIRST) + 1);
        writeln!(out)?;
        write!(
            out,
            ",{kind},{name},{id},{},{},0",
            node.size,
            graph.edges(node).len()
        )?;
    }
    let place = |node: usize| (node + FIRST) * FIELDS;
    write!(out, "],\n\"edges\":[{ELEMENT},0,{FIELDS}")?;
    for (nth, holder) in of_holders.iter().enumerate() {
        write!(out, "\n,{ELEMENT},{nth},{}", place(*holder))?;
    }
    for node in nodes {
        for (nth, edge) in graph.edges(node).iter().enumerate() {
            let (kind, name) = names.edge(node, nth, edge.at);
            write!(out, "\n,{kind},{name},{}", place(edge.to as usize))?;
        }
    }
    write!(
        out,
        "],\n\"trace_function_infos\":[],\"trace_tree\":[],\"samples\":[],\"locations\":[],\n\"strings\":["
    )?;
    for (number, text) in names.strings.all.iter().enumerate() {
        if number != 0 {
            writeln!(out, ",")?;
        }
        write_string(text, out)?;
    }
    out.write_all(b"]}\n")
}

/// Writes a JSON string.
fn write_string(text: &str, out: &mut impl Write) -> io::Result<()> {
    out.write_all(b"\"")?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(out, "\\{c}")?,
            c if c < ' ' => write!(out, "\\u{:04x}", c as u32)?,
            c => write!(out, "{c}")?,
        }
    }
    out.write_all(b"\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped() {
        let mut out = Vec::new();
        write_string("a \"b\" \\ \n ü", &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), r#""a \"b\" \\ \u000a ü""#);
    }
}
