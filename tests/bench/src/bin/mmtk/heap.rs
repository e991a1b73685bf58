//! The workloads' heap on MMTk.
//!
//! Allocation follows MMTk's advice for bindings: the bump of a pointer is inlined here, and only what does not fit calls MMTk. Stores call the
//! plan's write barrier if it has one, and if a look at the object's log bit, inlined too, says that there is something to tell. Tables are large objects, which are not moved.

use super::binding::{self, Binding, mmtk, mutator_thread};
use super::object::{Header, Layout, NODE_WORDS, WORD};
use super::roots::{self, Place};
use bench::workloads::gc::heap::Heap;
use mmtk::plan::BarrierSelector;
use mmtk::util::alloc::{AllocatorInfo, BumpPointer};
use mmtk::util::{Address, ObjectReference};
use mmtk::vm::ObjectModel;
use mmtk::vm::slot::SimpleSlot;
use mmtk::{AllocationSemantics, Mutator, memory_manager};
use std::sync::atomic::Ordering::Relaxed;

/// The mutator.
pub struct Mmtk {
    mutator: *mut Mutator<Binding>,
    /// Inside the mutator, where the memory for the next small object begins and ends.
    bump: *mut BumpPointer,
    has_barrier: bool,
}

impl Mmtk {
    /// Starts the collector with one of its plans.
    pub fn start_collector(plan: &str) -> Result<Mmtk, String> {
        let mutator = binding::start(plan)?;
        let selector = memory_manager::get_allocator_mapping(mmtk(), AllocationSemantics::Default);
        let AllocatorInfo::BumpPointer {
            bump_pointer_offset,
        } = AllocatorInfo::new::<Binding>(selector)
        else {
            return Err(format!(
                "plan={plan} does not allocate by bumping a pointer; try Immix"
            ));
        };
        Ok(Mmtk {
            mutator,
            bump: mutator
                .cast::<u8>()
                .wrapping_add(bump_pointer_offset)
                .cast(),
            has_barrier: mmtk().get_plan().constraints().barrier != BarrierSelector::NoBarrier,
        })
    }

    #[inline]
    fn small(&mut self, header: Header) -> Address {
        let bytes = header.bytes();
        // SAFETY: the mutator is not blocked, so the pointer is its own; memory below the limit is free for the next object.
        let at = unsafe {
            let bump = &mut *self.bump;
            let at = bump.cursor;
            if at + bytes <= bump.limit {
                bump.cursor = at + bytes;
                at
            } else {
                self.slow(bytes, AllocationSemantics::Default)
            }
        };
        // SAFETY: room for the object was just allocated.
        unsafe { header.write(at) };
        at
    }

    #[cold]
    #[inline(never)]
    fn slow(&mut self, bytes: usize, semantics: AllocationSemantics) -> Address {
        // SAFETY: the one mutator, used by its thread.
        let mutator = unsafe { &mut *self.mutator };
        memory_manager::alloc(mutator, bytes, WORD, 0, semantics)
    }

    /// A table that is never moved, kept to the end.
    fn large(&mut self, len: usize) -> ObjectReference {
        let header = Header::new(len.max(NODE_WORDS + 1), false);
        let at = self.slow(header.bytes(), AllocationSemantics::Los);
        // SAFETY: room for the object was just allocated, and is zero; the mutator is used by its thread.
        let object = unsafe {
            header.write(at);
            let object = ObjectReference::from_raw_address_unchecked(at);
            let mutator = &mut *self.mutator;
            memory_manager::post_alloc(mutator, object, header.bytes(), AllocationSemantics::Los);
            object
        };
        roots::push(object);
        object
    }

    #[inline]
    fn load(&self, object: ObjectReference, word: usize) -> Option<ObjectReference> {
        // SAFETY: the workloads use objects that are alive, and words that are theirs.
        let pointer = unsafe { field(object, word).load::<Address>() };
        ObjectReference::from_raw_address(pointer)
    }

    #[inline]
    fn store(&mut self, object: ObjectReference, word: usize, to: Option<ObjectReference>) {
        let at = field(object, word);
        // SAFETY: as in `load`.
        unsafe { at.store(raw(to)) };
        if self.has_barrier && is_unlogged(object) {
            // SAFETY: the one mutator, used by its thread.
            let mutator = unsafe { &mut *self.mutator };
            let slot = SimpleSlot::from_address(at);
            memory_manager::object_reference_write_post(mutator, object, slot, to);
        }
    }
}

/// The address of a word of an object, counted from behind the header.
#[inline]
fn field(object: ObjectReference, word: usize) -> Address {
    object.to_raw_address() + (word + 1) * WORD
}

/// Has the barrier still to be told that the object was stored into?
#[inline]
fn is_unlogged(object: ObjectReference) -> bool {
    Layout::GLOBAL_LOG_BIT_SPEC.load_atomic::<Binding, u8>(object, None, Relaxed) != 0
}

#[inline]
fn raw(object: Option<ObjectReference>) -> Address {
    object.map_or(Address::ZERO, |o| o.to_raw_address())
}

impl Heap for Mmtk {
    type Node = ObjectReference;
    type Kept = Place;
    type Table = ObjectReference;
    type Bytes = ObjectReference;
    type BytesTable = ObjectReference;

    #[inline]
    fn node(&mut self, left: Option<Place>, right: Option<Place>, word: u64) -> ObjectReference {
        let at = self.small(Header::new(NODE_WORDS, false));
        // SAFETY: a node's room was just allocated. It is new, so there is nothing for a barrier to tell.
        unsafe {
            let node = ObjectReference::from_raw_address_unchecked(at);
            field(node, 0).store(raw(left.map(roots::get)));
            field(node, 1).store(raw(right.map(roots::get)));
            field(node, 2).store(word);
            node
        }
    }

    #[inline]
    fn left(&self, node: ObjectReference) -> Option<ObjectReference> {
        self.load(node, 0)
    }

    #[inline]
    fn right(&self, node: ObjectReference) -> Option<ObjectReference> {
        self.load(node, 1)
    }

    #[inline]
    fn word(&self, node: ObjectReference) -> u64 {
        // SAFETY: as in `load`.
        unsafe { field(node, 2).load() }
    }

    #[inline]
    fn same(&self, a: ObjectReference, b: ObjectReference) -> bool {
        a == b
    }

    #[inline]
    fn set_left(&mut self, node: ObjectReference, to: Option<ObjectReference>) {
        self.store(node, 0, to);
    }

    #[inline]
    fn set_right(&mut self, node: ObjectReference, to: Option<ObjectReference>) {
        self.store(node, 1, to);
    }

    #[inline]
    fn keep(&mut self, node: ObjectReference) -> Place {
        roots::push(node)
    }

    #[inline]
    fn kept(&self, kept: Place) -> ObjectReference {
        roots::get(kept)
    }

    #[inline]
    fn release(&mut self, count: usize) {
        roots::pop(count);
    }

    fn table(&mut self, len: usize) -> ObjectReference {
        self.large(len)
    }

    #[inline]
    fn entry(&self, table: ObjectReference, place: usize) -> Option<ObjectReference> {
        self.load(table, place)
    }

    #[inline]
    fn set_entry(&mut self, table: ObjectReference, place: usize, to: Option<ObjectReference>) {
        self.store(table, place, to);
    }

    #[inline]
    fn bytes(&mut self, contents: &[u8]) -> ObjectReference {
        let at = self.small(Header::new(1 + contents.len().div_ceil(WORD), true));
        // SAFETY: room for the length and the contents was just allocated.
        unsafe {
            let bytes = ObjectReference::from_raw_address_unchecked(at);
            field(bytes, 0).store(contents.len());
            let first = field(bytes, 1).to_mut_ptr::<u8>();
            first.copy_from_nonoverlapping(contents.as_ptr(), contents.len());
            bytes
        }
    }

    #[inline]
    fn contents<'a>(&'a self, bytes: &'a ObjectReference) -> &'a [u8] {
        // SAFETY: written by `bytes`. Nothing is collected while `self` is borrowed.
        unsafe {
            let len = field(*bytes, 0).load();
            std::slice::from_raw_parts(field(*bytes, 1).to_ptr(), len)
        }
    }

    fn bytes_table(&mut self, len: usize) -> ObjectReference {
        self.large(len)
    }

    #[inline]
    fn bytes_entry(&self, table: ObjectReference, place: usize) -> Option<ObjectReference> {
        self.load(table, place)
    }

    #[inline]
    fn set_bytes_entry(&mut self, table: ObjectReference, place: usize, to: ObjectReference) {
        self.store(table, place, Some(to));
    }

    fn collect(&mut self) {
        let (force, whole_heap) = (true, true);
        mmtk().handle_user_collection_request(mutator_thread(), force, whole_heap);
    }
}
