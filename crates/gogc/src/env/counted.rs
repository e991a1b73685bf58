//! What reference counting asks of a heap besides: a place for the count, and to free one object.

use super::HeapView;

/// A heap whose objects have room for a count, and are freed one by one.
///
/// Of [`HeapView`] counting uses `bounds`, `resolve`, `start`, `size`, `pointer_free`, `scan`, `scannable` and `usage`; nothing is marked and nothing swept.
///
/// # Safety
/// Besides those of [`HeapView`]:
///
/// 1. `note` answers what `set_note` was told last for the object, and 0 for one that was born since. They are called by one thread at a time.
/// 2. `for_each` visits every object that there is when it begins and that has not been freed meanwhile; the objects that it may free while it is visited include the one
///    being visited.
/// 3. An object is freed by `free` and by nothing else, and its memory is no object's before the world runs.
pub unsafe trait CountedHeap: HeapView {
    /// The collector's word about the object.
    fn note(&self, object: Self::Object) -> u32;

    /// Changes it.
    fn set_note(&self, object: Self::Object, note: u32);

    /// Frees the object. Called with the world stopped.
    ///
    /// It is the place for what a heap has to do when an object dies. What is dead is not revived.
    fn free(&self, object: Self::Object);

    /// Calls `visit` with every object. Called with the world stopped.
    ///
    /// It is the way out when no memory for lists of objects is to be had.
    fn for_each(&self, visit: &mut impl FnMut(Self::Object));
}
