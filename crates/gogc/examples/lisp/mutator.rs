//! One interpreter's dealings with heap and collector: allocation, stores, and stopping.
//!
//! **When the world can stop.** In [`poll`](Mutator::poll), [`before_allocation`](Mutator::before_allocation) and [`away`](Mutator::away), and nowhere else. So *a value in a
//! variable of Rust's needs no root while none of these is called*, and all values that are needed after one of them are on the interpreter's stack. Primitives, which
//! do not call them, may do with values as they like.
//!
//! **When memory gives out**, allocation fails with [`Exhausted`]; it does not collect, for that would be a stop. The machine collects then and runs the instruction again. So an
//! instruction allocates all it needs before it changes anything.

use std::sync::Arc;

use gogc::barrier::Recorded;
use gogc::{Barrier, BarrierBuffer, Bytes, ObjectAddr};

use crate::heap::{Allocator, Heap, Kind};
use crate::runtime::{Collecting, Gc, Runtime};
use crate::value::{Object, Value};
use crate::world::Stack;

/// With more pointers than that a newborn object is scanned, instead of having them recorded.
const MANY: usize = 32;

/// There is no memory for an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted;

/// The part of an interpreter that the heap and the collector know.
pub struct Mutator<G: Gc> {
    /// What it shares with others.
    pub runtime: Arc<Runtime<G>>,
    /// Its values.
    pub stack: Arc<Stack>,
    allocator: Allocator,
    buffer: BarrierBuffer,
    /// A collection is due: to be seen to when the world can stop.
    is_due: bool,
}

impl<G: Gc> Mutator<G> {
    /// A mutator with this stack, which is registered and away: it runs from now on.
    pub fn new(runtime: Arc<Runtime<G>>, stack: Arc<Stack>) -> Mutator<G> {
        runtime.world.enter();
        Mutator {
            allocator: Allocator::new(&runtime.heap),
            runtime,
            stack,
            buffer: BarrierBuffer::new(),
            is_due: false,
        }
    }

    /// The heap.
    pub fn heap(&self) -> &Heap {
        &self.runtime.heap
    }

    /// An object with these values.
    ///
    /// # Errors
    /// If there is no memory.
    pub fn values(
        &mut self,
        kind: Kind,
        values: impl ExactSizeIterator<Item = Value>,
    ) -> Result<Object, Exhausted> {
        let object = self.allocator.values(&self.runtime.heap, kind, values);
        let object = object.ok_or(Exhausted)?;
        self.account();
        if self.runtime.gc.barrier().is_on() {
            self.born_with_values(object);
        }
        Ok(object)
    }

    /// An object without values.
    ///
    /// # Errors
    /// If there is no memory.
    pub fn words(
        &mut self,
        kind: Kind,
        words: impl ExactSizeIterator<Item = u64>,
    ) -> Result<Object, Exhausted> {
        let object = self.allocator.object(&self.runtime.heap, kind, words);
        let object = object.ok_or(Exhausted)?;
        self.account();
        self.born(object);
        Ok(object)
    }

    /// A string.
    ///
    /// # Errors
    /// If there is no memory.
    pub fn string(&mut self, text: &str) -> Result<Object, Exhausted> {
        let word = |bytes: &[u8]| {
            let mut word = [0; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            u64::from_le_bytes(word)
        };
        let mut words = vec![text.len() as u64];
        words.extend(text.as_bytes().chunks(8).map(word));
        self.words(Kind::String, words.into_iter())
    }

    /// Memory was handed out: pays for it, and looks whether it is time to collect.
    fn account(&mut self) {
        let bytes = self.allocator.take_obtained();
        if bytes > 0 {
            let gc = &self.runtime.gc;
            gc.assist(Bytes(bytes as u64));
            let usage = gogc::HeapView::usage(&self.runtime.heap);
            self.is_due |= usage.collected >= gc.trigger();
        }
    }

    #[cold]
    fn born_with_values(&mut self, object: Object) {
        let length = self.heap().length(object);
        if length > MANY {
            self.runtime.gc.scan_newborn(ObjectAddr(object.0));
        } else {
            for index in 0..length {
                let value = self.heap().get(object, index);
                self.record(|barrier, buffer| barrier.born_with(value.pointer(), || buffer));
            }
        }
        self.born(object);
    }

    fn born(&mut self, object: Object) {
        self.record(|barrier, buffer| barrier.born(ObjectAddr(object.0), || buffer));
    }

    fn record(&mut self, f: impl FnOnce(&Barrier, &mut BarrierBuffer) -> Recorded) {
        if f(self.runtime.gc.barrier(), &mut self.buffer) == Recorded::Full {
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.runtime.gc.flush_barrier(&mut self.buffer);
    }

    /// Puts a value into an object. The write barrier.
    ///
    /// With the barrier on the value is exchanged, so that each that is overwritten is known to one mutator. The barrier comes after, with no stop in between.
    #[inline]
    pub fn set(&mut self, object: Object, index: usize, value: Value) {
        if !self.runtime.gc.barrier().is_on() {
            return self.heap().put(object, index, value);
        }
        let old = self.heap().exchange(object, index, value);
        self.written(object, old, value);
    }

    /// Puts a value into an object if it replaces `old`.
    pub fn replace(&mut self, object: Object, index: usize, old: Value, new: Value) -> bool {
        let is_replaced = self.heap().replace(object, index, old, new);
        if is_replaced && self.runtime.gc.barrier().is_on() {
            self.written(object, old, new);
        }
        is_replaced
    }

    #[cold]
    fn written(&mut self, object: Object, old: Value, new: Value) {
        let at = ObjectAddr(object.0);
        let (old, new) = (old.pointer(), new.pointer());
        self.record(|barrier, buffer| barrier.write(at, old, new, || buffer));
    }

    /// A place where the world can stop. `top` is how many values of the stack are in use.
    #[inline]
    pub fn poll(&mut self, top: usize) {
        if self.is_due || self.runtime.world.wants_to_stop() {
            self.see_to_it(top);
        }
    }

    /// The same, before an instruction that may allocate.
    #[inline]
    pub fn before_allocation(&mut self, top: usize) {
        self.poll(top);
        if let Collecting::AtEachAllocation(collect) = self.runtime.collecting {
            self.away(top, |runtime| collect(&runtime.gc));
        }
    }

    #[cold]
    fn see_to_it(&mut self, top: usize) {
        if std::mem::take(&mut self.is_due) {
            match self.runtime.collecting {
                Collecting::InBackground => self.runtime.request_collection(),
                _ => self.away(top, |runtime| {
                    let Ok(_) = runtime.gc.collect_if_due();
                }),
            }
        }
        if self.runtime.world.wants_to_stop() {
            self.away(top, |_| ());
        }
    }

    /// Does what may take long, with the world free to stop meanwhile. `f` touches no object.
    pub fn away<R>(&mut self, top: usize, f: impl FnOnce(&Runtime<G>) -> R) -> R {
        self.leave(top);
        let result = f(&self.runtime);
        self.runtime.world.enter();
        self.allocator.resume(&self.runtime.heap);
        result
    }

    fn leave(&mut self, top: usize) {
        self.stack.publish(top);
        self.flush();
        self.runtime.world.leave();
    }

    /// The mutator ends. If its result, which is the value on top of its stack, can be asked for, it has this number.
    pub fn end(mut self, top: usize, thread: Option<u64>) {
        let result = thread.map(|number| (number, self.stack.get(top - 1)));
        self.allocator.end(&self.runtime.heap);
        self.leave(top);
        self.runtime.world.unregister(&self.stack, result);
    }
}
