//! Why an object is alive: a shortest way from a root to it.

use super::Gc;
use crate::compose::graph::{self, Graph, Holder, Holders, Node, What};
use crate::goroutines::on_thread_of_its_own;
use crate::world::{stop, threads};
use std::fmt::{self, Write};
use std::io;

/// A way from a root to an object. Displayed as one line for each step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    held_by: HeldBy,
    steps: Vec<Step>,
}

/// Where a way begins.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeldBy {
    /// A static at this address, in a loaded object: its file, empty for the program itself.
    Static {
        /// The file.
        module: String,
        /// The address.
        address: usize,
    },
    /// The stack, a register or a thread-local of a goroutine, by its number.
    Goroutine(u64),
    /// The same of a thread that runs no goroutine, by its name.
    Thread(String),
}

/// Something on the way, and where it leads on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The type of a collected object, its size and where its pointers are if nothing else is known, or `Rust heap`.
    pub what: String,
    /// Bytes that it takes.
    pub size: usize,
    /// The field that leads to the next step, or `+8`, that many bytes from its start; empty for the object itself.
    pub field: String,
}

impl Path {
    /// Where it begins.
    pub fn held_by(&self) -> &HeldBy {
        &self.held_by
    }

    /// What is on the way, the object itself last.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }
}

impl fmt::Display for HeldBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeldBy::Static { module, address } if module.is_empty() => {
                write!(f, "static at {address:#x}")
            }
            HeldBy::Static { module, address } => write!(f, "static at {address:#x} of {module}"),
            HeldBy::Goroutine(id) => write!(f, "goroutine {id}"),
            HeldBy::Thread(name) => write!(f, "thread {name}"),
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.held_by.fmt(f)?;
        for step in &self.steps {
            write!(f, "\n  -> {}, {} bytes", step.what, step.size)?;
            if !step.field.is_empty() {
                write!(f, ", {}", step.field)?;
            }
        }
        Ok(())
    }
}

/// What keeps an object alive: a shortest way to it from a static, a goroutine or a thread. What the calling goroutine or thread holds counts only if there is no other, since it holds
/// `object` at least.
///
/// Unlike the collector, which takes all of the Rust heap for alive, this tells through which of its blocks the way leads. As the collector does, it takes any word outside of
/// collected objects for a pointer that looks like one, so a way may begin with a word that means something else, or is stale.
///
/// The world is stopped while all that is reachable is walked: for a second and more if that is gigabytes. Small objects do not say what type they are, unless the program runs under
/// `GODEBUG=gctypes=1`.
///
/// ```
/// # #[global_allocator] static A: goruntime::GoMalloc = goruntime::GoMalloc::new();
/// use goruntime::gc::{self, Gc};
/// use std::sync::Mutex;
///
/// static CACHE: Mutex<Vec<Gc<String>>> = Mutex::new(Vec::new());
///
/// let object = Gc::new(String::from("kept"));
/// CACHE.lock().unwrap().push(object);
/// println!("{}", gc::why_alive(object)?);
/// // static at 0x5618d2a5b0e0
/// //   -> Rust heap, 32 bytes, +0
/// //   -> alloc::string::String, 32 bytes
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// If the world cannot be stopped, or there is no thread or no memory to be had for it.
pub fn why_alive<T: ?Sized + 'static>(object: Gc<T>) -> io::Result<Path> {
    let hidden = !object.as_ptr().addr();
    let asks = stop::thread_pointer();
    let found = on_thread_of_its_own(move || {
        let (graph, holders, found) = graph::way_to(hidden, asks)?;
        Ok(found.map(|node| describe(&graph, &holders, node)))
    });
    super::keep_alive(object);
    // What this goroutine holds is looked through at the end, the object among it.
    found?.ok_or_else(|| io::Error::other("the object is not where its pointer leads"))
}

fn describe(graph: &Graph, holders: &Holders, target: usize) -> Path {
    let mut steps = Vec::new();
    let mut at = None;
    let mut node = &graph.nodes()[target];
    loop {
        if let What::Holder(number) = node.what {
            steps.reverse();
            let held_by = held_by(holders, number, at.unwrap_or(0));
            return Path { held_by, steps };
        }
        steps.push(Step {
            what: name(node),
            size: node.size,
            field: at.map_or_else(String::new, |at| field(node, at)),
        });
        at = Some(node.at);
        node = &graph.nodes()[node.from as usize];
    }
}

pub(super) fn held_by(holders: &Holders, number: u32, address: usize) -> HeldBy {
    match holders.get(number) {
        Holder::Module(module) => HeldBy::Static {
            module: holders.module(module).to_owned(),
            address,
        },
        Holder::Goroutine(id) => HeldBy::Goroutine(id),
        Holder::Thread(tid) => {
            let mut name = [0; 32];
            HeldBy::Thread(threads::name_of(tid, &mut name).to_owned())
        }
    }
}

/// What a node is called.
pub(super) fn name(node: &Node) -> String {
    let mut name = String::new();
    let written = match node.what {
        What::Holder(_) => Ok(()),
        What::Block => name.write_str("Rust heap"),
        What::Typed(info) => info.write_name(&mut name),
        What::Object(kind, tag) => super::object::write_layout(kind, tag, node.size, &mut name),
    };
    debug_assert!(written.is_ok(), "a string takes everything");
    name
}

/// The name of what lies so many bytes from the start of a node.
pub(super) fn field(node: &Node, at: usize) -> String {
    let mut name = String::new();
    let written = match node.what {
        What::Typed(info) => info.write_field(at, &mut name),
        What::Object(kind, tag) => super::object::write_field(kind, tag, node.size, at, &mut name),
        What::Block | What::Holder(_) => write!(name, "+{at}"),
    };
    debug_assert!(written.is_ok(), "a string takes everything");
    name
}
