//! A program as its collector sees it: it allocates and stores, and tells the collector of both.

use gogc::barrier::Recorded;
use gogc::testing::{Shape, SimHeap};
use gogc::{BarrierBuffer, Collector, ObjectAddr};

/// The program, on the heap of its collector.
pub struct Mutator<'a, C: Collector> {
    gc: &'a C,
    heap: &'a SimHeap,
    buffer: BarrierBuffer,
}

impl<'a, C: Collector> Mutator<'a, C> {
    pub fn new(gc: &'a C, heap: &'a SimHeap) -> Self {
        let buffer = BarrierBuffer::new();
        Mutator { gc, heap, buffer }
    }

    /// A new object with so many pointers, all null.
    pub fn allocate(&mut self, pointers: usize) -> usize {
        let object = self.heap.allocate(Shape::pointers(pointers));
        let object = object.expect("the heap is large enough");
        let buffer = &mut self.buffer;
        let recorded = self.gc.barrier().born(ObjectAddr(object), || buffer);
        self.hand_over_if(recorded);
        object
    }

    /// Stores a pointer to an object.
    pub fn store(&mut self, object: usize, field: usize, value: usize) {
        let old = self.heap.load(object, field);
        let buffer = &mut self.buffer;
        let barrier = self.gc.barrier();
        let recorded = barrier.write(ObjectAddr(object), old, value, || buffer);
        self.heap.store(object, field, value);
        self.hand_over_if(recorded);
    }

    fn hand_over_if(&mut self, recorded: Recorded) {
        if recorded == Recorded::Full {
            self.hand_over();
        }
    }

    /// Hands over what the barrier has recorded, as a mutator has to before it stops.
    pub fn hand_over(&mut self) {
        self.gc.flush_barrier(&mut self.buffer);
    }
}
