//! The workloads on a heap that watches how it is used, and on one that spoils an object.
//!
//! The watchful heap counts allocations: a node used after an allocation that it was not kept across is a panic, as it would be a dangling pointer
//! where objects move. The spoiled object stands for one that was freed while it was alive: each workload has to notice.

use super::heap::Heap;
use super::{ALONE, run};
use crate::Arguments;

/// A node as of the time when it was looked up.
#[derive(Clone, Copy)]
struct Node {
    number: usize,
    time: usize,
}

/// The watchful heap.
#[derive(Default)]
struct Watchful {
    nodes: Vec<([Option<usize>; 2], u64)>,
    tables: Vec<Vec<Option<usize>>>,
    strings: Vec<Vec<u8>>,
    kept: Vec<usize>,
    /// Of the nodes, and of the byte strings, the one with this number is spoiled.
    spoiled: Option<usize>,
}

impl Watchful {
    fn time(&self) -> usize {
        self.nodes.len() + self.tables.len() + self.strings.len()
    }

    fn now(&self, number: usize) -> Node {
        let time = self.time();
        Node { number, time }
    }

    fn number(&self, node: Node) -> usize {
        assert_eq!(node.time, self.time(), "a node used after an allocation");
        node.number
    }

    fn add_table(&mut self, len: usize) -> usize {
        self.tables.push(vec![None; len]);
        self.tables.len() - 1
    }
}

impl Heap for Watchful {
    type Node = Node;
    /// A place in `kept`.
    type Kept = usize;
    type Table = usize;
    type Bytes = usize;
    type BytesTable = usize;

    fn node(&mut self, left: Option<usize>, right: Option<usize>, word: u64) -> Node {
        let links = [left, right].map(|place| place.map(|place| self.kept[place]));
        let spoiled = self.spoiled == Some(self.nodes.len());
        self.nodes.push((links, word ^ u64::from(spoiled)));
        self.now(self.nodes.len() - 1)
    }

    fn left(&self, node: Node) -> Option<Node> {
        self.nodes[self.number(node)].0[0].map(|n| self.now(n))
    }

    fn right(&self, node: Node) -> Option<Node> {
        self.nodes[self.number(node)].0[1].map(|n| self.now(n))
    }

    fn word(&self, node: Node) -> u64 {
        self.nodes[self.number(node)].1
    }

    fn same(&self, a: Node, b: Node) -> bool {
        self.number(a) == self.number(b)
    }

    fn set_left(&mut self, node: Node, to: Option<Node>) {
        let number = self.number(node);
        self.nodes[number].0[0] = to.map(|n| self.number(n));
    }

    fn set_right(&mut self, node: Node, to: Option<Node>) {
        let number = self.number(node);
        self.nodes[number].0[1] = to.map(|n| self.number(n));
    }

    fn keep(&mut self, node: Node) -> usize {
        let number = self.number(node);
        self.kept.push(number);
        self.kept.len() - 1
    }

    fn kept(&self, kept: usize) -> Node {
        self.now(self.kept[kept])
    }

    fn release(&mut self, count: usize) {
        self.kept.truncate(self.kept.len() - count);
    }

    fn table(&mut self, len: usize) -> usize {
        self.add_table(len)
    }

    fn entry(&self, table: usize, place: usize) -> Option<Node> {
        self.tables[table][place].map(|n| self.now(n))
    }

    fn set_entry(&mut self, table: usize, place: usize, to: Option<Node>) {
        self.tables[table][place] = to.map(|n| self.number(n));
    }

    fn bytes(&mut self, contents: &[u8]) -> usize {
        let mut string = contents.to_vec();
        if let Some(last) = string.last_mut()
            && self.spoiled == Some(self.strings.len())
        {
            *last = !*last;
        }
        self.strings.push(string);
        self.strings.len() - 1
    }

    fn contents<'a>(&'a self, bytes: &'a usize) -> &'a [u8] {
        &self.strings[*bytes]
    }

    fn bytes_table(&mut self, len: usize) -> usize {
        self.add_table(len)
    }

    fn bytes_entry(&self, table: usize, place: usize) -> Option<usize> {
        self.tables[table][place]
    }

    fn set_bytes_entry(&mut self, table: usize, place: usize, to: usize) {
        self.tables[table][place] = Some(to);
    }

    fn collect(&mut self) {}
}

fn small(workload: &str) -> Arguments {
    let text: &[&str] = match workload {
        "barrier" => &["places=1000", "stores=5000"],
        "binary_trees" => &["depth=6"],
        "buffers" => &["ring=20", "writes=5"],
        "churn" => &["ring=20", "objects=500"],
        "cycles" => &["rings=5", "nodes=10"],
        "map" => &["keys=100"],
        "mark" => &["nodes=100"],
        other => panic!("no small {other}"),
    };
    Arguments::parse(text).unwrap()
}

/// Marking takes heaps of several shapes.
#[test]
fn each_shape_is_built_and_checked() {
    for shape in ["web", "list", "tree", "array"] {
        let arguments = Arguments::parse(["nodes=100", &format!("shape={shape}")]).unwrap();
        let mut heap = Watchful::default();
        run(&mut heap, "mark", &arguments).unwrap();
        assert!(heap.kept.is_empty(), "{shape}");
        let mut heap = Watchful {
            spoiled: Some(7),
            ..Watchful::default()
        };
        assert!(run(&mut heap, "mark", &arguments).is_err(), "{shape}");
    }
}

#[test]
fn each_keeps_what_it_uses_and_releases_what_it_kept() {
    for workload in ALONE {
        let mut heap = Watchful::default();
        run(&mut heap, workload, &small(workload)).unwrap();
        assert!(heap.kept.is_empty(), "{workload}");
    }
}

#[test]
fn each_notices_a_spoiled_object() {
    for workload in ALONE {
        let mut heap = Watchful {
            spoiled: Some(7),
            ..Watchful::default()
        };
        let result = run(&mut heap, workload, &small(workload));
        assert!(result.is_err(), "{workload}");
    }
}
