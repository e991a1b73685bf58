//! Live heaps of the shapes in which marking differs: how many pointers are known at a time, and where they lead.

use super::heap::Heap;
use super::{trees, web};

/// Bytes of a node: two links and a word.
const NODE: usize = 3 * size_of::<u64>();
/// Bytes of a node and its place in a table.
const ENTRY: usize = NODE + size_of::<u64>();

/// A shape.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    /// Nodes linked at random, and a table of all.
    Web,
    /// Each node leads to the one that was made before it: never is more than one pointer known.
    List,
    /// A perfect binary tree.
    Tree,
    /// A table of nodes that lead nowhere.
    Array,
}

/// A live heap.
pub(super) struct Live<H: Heap> {
    shape: Shape,
    nodes: usize,
    /// Of all nodes, or of the first.
    table: H::Table,
}

impl Shape {
    pub(super) fn parse(name: &str) -> Result<Shape, String> {
        match name {
            "web" => Ok(Shape::Web),
            "list" => Ok(Shape::List),
            "tree" => Ok(Shape::Tree),
            "array" => Ok(Shape::Array),
            _ => Err(format!("shape={name} is none of web, list, tree, array")),
        }
    }

    /// Makes a heap of about so many nodes.
    pub(super) fn build<H: Heap>(self, heap: &mut H, nodes: usize) -> Live<H> {
        let (nodes, table) = match self {
            Shape::Web => (nodes, web::build(heap, nodes)),
            Shape::List => (nodes, list(heap, nodes)),
            Shape::Tree => {
                let depth = depth(nodes);
                let table = heap.table(1);
                let root = trees::build(heap, depth);
                heap.set_entry(table, 0, Some(root));
                (trees::count(depth) as usize, table)
            }
            Shape::Array => {
                let table = heap.table(nodes);
                for number in 0..nodes {
                    let node = heap.node(None, None, number as u64);
                    heap.set_entry(table, number, Some(node));
                }
                (nodes, table)
            }
        };
        Live {
            shape: self,
            nodes,
            table,
        }
    }
}

/// The depth of the largest tree of at most so many nodes.
fn depth(nodes: usize) -> u32 {
    (nodes + 1).ilog2().saturating_sub(1)
}

fn list<H: Heap>(heap: &mut H, nodes: usize) -> H::Table {
    let table = heap.table(1);
    for number in 0..nodes {
        let node = match heap.entry(table, 0) {
            None => heap.node(None, None, number as u64),
            Some(before) => {
                let before = heap.keep(before);
                let node = heap.node(Some(before), None, number as u64);
                heap.release(1);
                node
            }
        };
        heap.set_entry(table, 0, Some(node));
    }
    table
}

impl<H: Heap> Live<H> {
    /// What it holds: the nodes, and the table if it is one of all.
    pub(super) fn bytes(&self) -> usize {
        match self.shape {
            Shape::Web | Shape::Array => self.nodes * ENTRY,
            Shape::List | Shape::Tree => self.nodes * NODE,
        }
    }

    /// Checks every node.
    pub(super) fn verify(&self, heap: &H) -> Result<(), String> {
        let (table, nodes) = (self.table, self.nodes);
        let first = heap.entry(table, 0);
        let intact = match self.shape {
            Shape::Web => return web::verify(heap, table, nodes),
            Shape::List => {
                let mut node = first;
                let numbers = (0..nodes as u64).rev();
                let in_order = numbers.into_iter().all(|number| {
                    let is_it = node.is_some_and(|n| heap.word(n) == number);
                    node = node.and_then(|n| heap.left(n));
                    is_it
                });
                in_order && node.is_none()
            }
            Shape::Tree => first.is_some_and(|root| trees::walk(heap, root) == nodes as u64),
            Shape::Array => (0..nodes).all(|number| {
                let node = heap.entry(table, number);
                node.is_some_and(|n| heap.word(n) == number as u64 && heap.left(n).is_none())
            }),
        };
        if intact {
            Ok(())
        } else {
            Err("a node is not as it was made".into())
        }
    }
}
