//! What generations ask of a heap besides: that it keeps marks, and knows ages.

use super::HeapView;

/// How old an object is: how many collections that looked for it it has survived, the last two being one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Age {
    /// Born since the last collection.
    Young,
    /// Survived a collection of the young.
    Middle,
    /// Survived one of the middle, too.
    Old,
}

impl Age {
    /// The age that the survivors of a collection of this age and all younger ones have afterwards.
    #[must_use]
    pub const fn survived(self) -> Age {
        match self {
            Age::Young => Age::Middle,
            Age::Middle | Age::Old => Age::Old,
        }
    }
}

/// A heap whose objects have ages, and whose marks can be kept from one collection to the next.
///
/// # Safety
/// Besides those of [`HeapView`]:
///
/// 1. An object is born [`Young`](Age::Young), not marked, and not remembered. (None is born between `start_mark_of` and `start_sweep`, since the world is stopped.)
/// 2. A mark stays, from when it is set until `start_mark_of` with the object's age or an older one, which clears it. [`start_mark`](HeapView::start_mark) is
///    not called.
/// 3. From `start_sweep` on every object that is marked, and that was no older than the `oldest` of the last `start_mark_of`, has the age
///    [`oldest.survived()`](Age::survived). No other ages change.
/// 4. `remember` returns true to exactly one of any number of concurrent callers from one `forget` of the object to the next, and not for a young object.
/// 5. The `marked` that `start_sweep` is told are the survivors among those of the `oldest` age and below; [`usage`](HeapView::usage) is to report these and
///    all that are older.
pub unsafe trait AgedHeap: HeapView {
    /// Clears the marks of all objects of the age `oldest` and below. Called with the world stopped and sweeping done, in place of
    /// [`start_mark`](HeapView::start_mark).
    fn start_mark_of(&self, oldest: Age);

    /// How old the object is.
    fn age(&self, object: Self::Object) -> Age;

    /// Notes that the object is remembered, if it is older than young; true if it is and was not.
    fn remember(&self, object: Self::Object) -> bool;

    /// Notes that the object is not remembered any more.
    fn forget(&self, object: Self::Object);
}
