//! Reports on memory: what holds an object, and dumps of the heap.

#![cfg(not(any(feature = "system-allocator", feature = "thread-engine")))]

use goruntime::gc::{self, Array, Gc, GcPtr, HeldBy, Trace};
use goruntime::{chan, go, goroutines};
use goruntime_tests::{apart, eventually};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

#[global_allocator]
static GLOBAL: goruntime::ClearedMalloc = goruntime::ClearedMalloc::new();

#[derive(Trace)]
struct Node {
    number: usize,
    link: Link,
}

#[derive(Trace)]
struct Link {
    next: GcPtr<Node>,
    weight: f64,
}

fn list(len: usize) -> Gc<Node> {
    let mut head = None;
    for number in 0..len {
        let next = GcPtr::new(head);
        let link = Link { next, weight: 0.5 };
        head = Some(Gc::new(Node { number, link }));
    }
    head.unwrap()
}

fn last(mut node: Gc<Node>) -> Gc<Node> {
    while let Some(next) = node.link.next.load() {
        node = next;
    }
    node
}

/// Runs the test of this name in a process in which objects say what they are.
fn named(name: &str) -> bool {
    apart(
        name,
        &[("GODEBUG", "gctypes=1,gccheckmark=1,clobberfree=1")],
    )
}

/// The types and fields of a way.
fn steps(path: &gc::Path) -> Vec<(&str, &str)> {
    let steps = path.steps().iter();
    steps
        .map(|step| (step.what.as_str(), step.field.as_str()))
        .collect()
}

#[test]
fn a_way_through_statics_blocks_and_objects_has_their_names() {
    if !named("a_way_through_statics_blocks_and_objects_has_their_names") {
        return;
    }
    #[derive(Trace)]
    struct Table {
        name: String,
        rows: Gc<Array<(u32, GcPtr<Node>)>>,
    }
    static KEPT: OnceLock<Arc<Mutex<Vec<Gc<Table>>>>> = OnceLock::new();
    let inner = go(|| {
        let rows = Gc::array(10, |_| (0, GcPtr::null()));
        let name = "table".to_owned();
        let table = Gc::new(Table { name, rows });
        KEPT.get_or_init(Arc::default).lock().unwrap().push(table);
        let node = list(3);
        table.rows[7].1.store(Some(node));
        last(node)
    });
    let inner = inner.join().unwrap();
    // Until it is gone, the goroutine has a hold on what it returned in.
    let is_gone = || goroutines::all().unwrap().is_empty();
    eventually("the goroutine's end", Duration::from_secs(30), is_gone);
    let path = gc::why_alive(inner).unwrap();
    println!("{path}");
    let HeldBy::Static { module, address } = path.held_by() else {
        panic!("{path}");
    };
    assert_eq!(module, "");
    let kept = (&raw const KEPT).addr();
    assert!(
        (kept..kept + size_of_val(&KEPT)).contains(address),
        "{path}"
    );
    let steps = steps(&path);
    assert_eq!(steps.len(), 7, "{path}");
    // The `Arc`, and the buffer of the vector.
    assert_eq!([steps[0].0, steps[1].0], ["Rust heap"; 2]);
    assert_eq!(steps[1].1, "+0");
    let table = concat!(
        module_path!(),
        "::a_way_through_statics_blocks_and_objects_has_their_names::Table"
    );
    assert_eq!(steps[2], (table, "rows"));
    let node = concat!(module_path!(), "::Node");
    let rows = format!("[(u32, goruntime::gc::cell::GcPtr<{node}>)]");
    assert_eq!(steps[3].0, rows);
    assert!(steps[3].1.starts_with("[7]."), "{path}");
    assert_eq!(
        steps[4..],
        [(node, "link.next"), (node, "link.next"), (node, "")]
    );
    assert_eq!(inner.number, 0);
}

#[test]
fn a_goroutine_that_holds_is_named_and_the_one_that_asks_counts_last() {
    let (tell, told) = chan::bounded(1);
    let (stop, stopped) = chan::unbuffered::<()>();
    let holds = go(move || {
        let node = list(5);
        tell.send(last(node)).unwrap();
        let _ = stopped.recv();
        assert_eq!(node.number, 4);
    });
    let inner = told.recv().unwrap();
    let holder = goruntime::goroutines::all().unwrap();
    let holder = holder
        .iter()
        .find(|g| g.state() == "chan receive")
        .unwrap()
        .id();
    let path = gc::why_alive(inner).unwrap();
    assert_eq!(*path.held_by(), HeldBy::Goroutine(holder), "{path}");
    drop(stop);
    holds.join().unwrap();
    // Nobody has this one but who asks. (The thread's name is that of its test.)
    let own = list(1);
    let path = gc::why_alive(own).unwrap();
    assert!(matches!(path.held_by(), HeldBy::Thread(_)), "{path}");
    // A stale word may stand for another holder, but not every time.
    let asked = (0..5).map(|_| go(|| gc::why_alive(list(1)).unwrap()).join().unwrap());
    let by_goroutines = asked.filter(|path| matches!(path.held_by(), HeldBy::Goroutine(_)));
    assert!(by_goroutines.count() >= 3);
    assert_eq!((own.number, inner.number), (0, 0));
}

/// Without names there are sizes.
#[test]
fn objects_without_names_are_told_apart_by_their_layout() {
    static KEPT: OnceLock<Gc<Node>> = OnceLock::new();
    go(|| assert!(KEPT.set(list(2)).is_ok())).join().unwrap();
    let inner = last(KEPT.get().copied().unwrap());
    let path = gc::why_alive(inner).unwrap();
    let steps = steps(&path);
    assert!(
        steps[0].0.starts_with("32 bytes, pointers at ")
            || steps[0].0.starts_with("24 bytes, pointers at "),
        "{path}"
    );
    assert!(steps[0].1.starts_with('+'), "{path}");
}

/// A dump, as a viewer reads it.
struct Dump {
    nodes: Vec<[usize; 6]>,
    /// Of each node: type, name or index, target's number.
    edges: Vec<Vec<[usize; 3]>>,
    strings: Vec<String>,
}

const OBJECT: usize = 3;
const NATIVE: usize = 8;
const SYNTHETIC: usize = 9;
const PROPERTY: usize = 2;

impl Dump {
    fn read(path: &str) -> Dump {
        let json: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let numbers = |name: &str| -> Vec<usize> {
            let array = json[name].as_array().unwrap();
            array.iter().map(|n| n.as_u64().unwrap() as usize).collect()
        };
        let meta = &json["snapshot"]["meta"];
        let fields = |name: &str| meta[name].as_array().unwrap().len();
        assert_eq!((fields("node_fields"), fields("edge_fields")), (6, 3));
        assert_eq!(meta["node_types"][0][OBJECT], "object");
        assert_eq!(meta["node_types"][0][NATIVE], "native");
        assert_eq!(meta["node_types"][0][SYNTHETIC], "synthetic");
        assert_eq!(meta["edge_types"][0][PROPERTY], "property");
        let nodes: Vec<[usize; 6]> = numbers("nodes").as_chunks().0.to_vec();
        let flat: Vec<[usize; 3]> = numbers("edges").as_chunks().0.to_vec();
        assert_eq!(json["snapshot"]["node_count"], nodes.len());
        assert_eq!(json["snapshot"]["edge_count"], flat.len());
        let strings = json["strings"].as_array().unwrap();
        let strings: Vec<_> = strings
            .iter()
            .map(|s| s.as_str().unwrap().to_owned())
            .collect();
        let mut rest = flat.into_iter();
        let edges = nodes.iter().map(|node| {
            let each = rest.by_ref().take(node[4]);
            each.map(|[kind, name, to]| {
                assert!(to.is_multiple_of(6) && to / 6 < nodes.len());
                assert!(kind != PROPERTY || name < strings.len());
                [kind, name, to / 6]
            })
            .collect()
        });
        Dump {
            edges: edges.collect(),
            nodes,
            strings,
        }
    }

    fn name(&self, node: usize) -> &str {
        &self.strings[self.nodes[node][1]]
    }

    /// Which nodes can be reached from the first, not by way of this one.
    fn reachable(&self, without: Option<usize>) -> Vec<bool> {
        let mut reached = vec![false; self.nodes.len()];
        let mut todo = vec![0];
        while let Some(node) = todo.pop() {
            if Some(node) != without && !std::mem::replace(&mut reached[node], true) {
                todo.extend(self.edges[node].iter().map(|edge| edge[2]));
            }
        }
        reached
    }

    /// How much goes when this one goes.
    fn retained(&self, node: usize) -> usize {
        let reached = self.reachable(Some(node));
        let lost = (0..self.nodes.len()).filter(|&n| !reached[n]);
        lost.map(|n| self.nodes[n][3]).sum()
    }
}

#[test]
fn a_dump_has_everything_with_its_names_and_ways() {
    const NAME: &str = "a_dump_has_everything_with_its_names_and_ways";
    const LEN: usize = 1000;
    if !named(NAME) {
        return;
    }
    static KEPT: Mutex<Vec<Gc<Node>>> = Mutex::new(Vec::new());
    // A goroutine, so that no stale word leads into the middle of the list.
    go(|| KEPT.lock().unwrap().push(list(LEN))).join().unwrap();
    let file = format!("{}/{NAME}.heapsnapshot", env!("CARGO_TARGET_TMPDIR"));
    gc::heap_dump(&file).unwrap();
    let dump = Dump::read(&file);
    assert_eq!((dump.name(0), dump.name(1)), ("", "(GC roots)"));
    assert!(dump.reachable(None).iter().all(|reached| *reached));
    let mut by_name: HashMap<&str, Vec<usize>> = HashMap::new();
    for node in 0..dump.nodes.len() {
        by_name.entry(dump.name(node)).or_default().push(node);
    }
    let ids: std::collections::HashSet<_> = dump.nodes.iter().map(|node| node[2]).collect();
    assert_eq!(ids.len(), dump.nodes.len(), "numbers are given once");
    let nodes = &by_name[concat!(module_path!(), "::Node")];
    assert_eq!(nodes.len(), LEN);
    assert!(
        nodes
            .iter()
            .all(|&n| dump.nodes[n][0] == OBJECT && dump.nodes[n][3] == 32)
    );
    assert!(
        by_name["Rust heap"]
            .iter()
            .all(|&n| dump.nodes[n][0] == NATIVE)
    );
    assert!(
        by_name["statics"]
            .iter()
            .all(|&n| dump.nodes[n][0] == SYNTHETIC)
    );
    // The list is a chain of its fields, from a block that a static leads to.
    let targets: Vec<usize> = nodes
        .iter()
        .flat_map(|&n| &dump.edges[n])
        .map(|edge| {
            assert_eq!(
                (edge[0], dump.strings[edge[1]].as_str()),
                (PROPERTY, "link.next")
            );
            edge[2]
        })
        .collect();
    let heads: Vec<_> = nodes.iter().filter(|n| !targets.contains(n)).collect();
    let [&head] = heads[..] else {
        panic!("{heads:?}")
    };
    let holds =
        |to: usize| (0..dump.nodes.len()).find(|&n| dump.edges[n].iter().any(|e| e[2] == to));
    let block = holds(head).unwrap();
    assert_eq!(
        (dump.name(block), dump.name(holds(block).unwrap())),
        ("Rust heap", "statics")
    );
    assert_eq!(dump.retained(head), LEN * 32);
}
