//! The layout of objects, and what MMTk asks about it.
//!
//! An object is a header word and then words; a reference is the address of the header. The header is the number of words that
//! follow, above one bit that says whether they are all data. In a node the last of three words is data; in a table all are pointers. While an
//! object is being moved, its old header is the address of the new place.

use super::binding::Binding;
use mmtk::util::copy::{CopySemantics, GCWorkerCopyContext};
use mmtk::util::{Address, ObjectReference};
use mmtk::vm::{
    ObjectModel, VMGlobalLogBitSpec, VMLocalForwardingBitsSpec, VMLocalForwardingPointerSpec,
    VMLocalLOSMarkNurserySpec, VMLocalMarkBitSpec,
};

/// Bytes in a word.
pub const WORD: usize = size_of::<u64>();
/// Words of a node behind the header: two pointers and the word.
pub const NODE_WORDS: usize = 3;

/// The header of an object.
#[derive(Clone, Copy)]
pub struct Header(u64);

impl Header {
    /// Of an object with `words` words behind the header.
    pub fn new(words: usize, data_only: bool) -> Header {
        Header((words as u64) << 1 | u64::from(data_only))
    }

    /// That of the object at `at`.
    ///
    /// # Safety
    /// 1. There is one, which is not being moved.
    pub unsafe fn of(at: Address) -> Header {
        // SAFETY: (1).
        Header(unsafe { at.load() })
    }

    /// Writes it at `at`.
    ///
    /// # Safety
    /// 1. The memory there is the caller's.
    pub unsafe fn write(self, at: Address) {
        // SAFETY: (1).
        unsafe { at.store(self.0) }
    }

    /// The words behind the header.
    pub fn words(self) -> usize {
        (self.0 >> 1) as usize
    }

    /// How many of them, from the first on, are pointers.
    pub fn pointers(self) -> usize {
        match self.words() {
            _ if self.0 & 1 == 1 => 0,
            NODE_WORDS => NODE_WORDS - 1,
            words => words,
        }
    }

    /// The size of the object.
    pub fn bytes(self) -> usize {
        (self.words() + 1) * WORD
    }
}

/// The size of an object, for the collector.
fn bytes_of(object: ObjectReference) -> usize {
    // SAFETY: the collector asks about objects that it has not moved yet.
    unsafe { Header::of(object.to_raw_address()) }.bytes()
}

/// The object model.
pub struct Layout;

impl ObjectModel<Binding> for Layout {
    const GLOBAL_LOG_BIT_SPEC: VMGlobalLogBitSpec = VMGlobalLogBitSpec::side_first();
    const LOCAL_FORWARDING_POINTER_SPEC: VMLocalForwardingPointerSpec =
        VMLocalForwardingPointerSpec::in_header(0);
    const LOCAL_FORWARDING_BITS_SPEC: VMLocalForwardingBitsSpec =
        VMLocalForwardingBitsSpec::side_first();
    const LOCAL_MARK_BIT_SPEC: VMLocalMarkBitSpec =
        VMLocalMarkBitSpec::side_after(Self::LOCAL_FORWARDING_BITS_SPEC.as_spec());
    const LOCAL_LOS_MARK_NURSERY_SPEC: VMLocalLOSMarkNurserySpec =
        VMLocalLOSMarkNurserySpec::side_after(Self::LOCAL_MARK_BIT_SPEC.as_spec());
    const UNIFIED_OBJECT_REFERENCE_ADDRESS: bool = true;
    const OBJECT_REF_OFFSET_LOWER_BOUND: isize = 0;

    fn copy(
        from: ObjectReference,
        semantics: CopySemantics,
        context: &mut GCWorkerCopyContext<Binding>,
    ) -> ObjectReference {
        let bytes = bytes_of(from);
        let to = context.alloc_copy(from, bytes, WORD, 0, semantics);
        // SAFETY: the new place has room for the object, which this worker alone is moving.
        let moved = unsafe {
            let (old, new) = (from.to_raw_address().to_ptr::<u8>(), to.to_mut_ptr::<u8>());
            new.copy_from_nonoverlapping(old, bytes);
            ObjectReference::from_raw_address_unchecked(to)
        };
        context.post_copy(moved, bytes, semantics);
        moved
    }

    fn copy_to(_from: ObjectReference, _to: ObjectReference, _region: Address) -> Address {
        unimplemented!("for plans that compact, of which none is used")
    }

    fn get_reference_when_copied_to(_from: ObjectReference, _to: Address) -> ObjectReference {
        unimplemented!("for plans that compact, of which none is used")
    }

    fn get_current_size(object: ObjectReference) -> usize {
        bytes_of(object)
    }

    fn get_size_when_copied(object: ObjectReference) -> usize {
        bytes_of(object)
    }

    fn get_align_when_copied(_object: ObjectReference) -> usize {
        WORD
    }

    fn get_align_offset_when_copied(_object: ObjectReference) -> usize {
        0
    }

    fn get_type_descriptor(_object: ObjectReference) -> &'static [i8] {
        unimplemented!("for JikesRVM only")
    }

    fn ref_to_object_start(object: ObjectReference) -> Address {
        object.to_raw_address()
    }

    fn ref_to_header(object: ObjectReference) -> Address {
        object.to_raw_address()
    }

    fn dump_object(object: ObjectReference) {
        eprintln!("{object}: {} bytes", bytes_of(object));
    }
}
