//! [`Trace`]: a type says where it keeps collected pointers, as a constant.
//!
//! The std containers (`Vec`, `Box`, `Arc`, ...) keep their elements in memory of the Rust heap. The
//! collector treats that memory as a root and looks through it word by word, so the container itself, a
//! pointer into the Rust heap, has nothing to map: [`PointerMap::EMPTY`], whatever the elements are. For the
//! same reason an element's destructor finds everything that it points to still alive: the buffer is a root
//! until the destructor has run. The elements must be `Send`, because the destructor of a dead object runs on a thread of
//! the collector's choice; for the same reason there is no `Rc`. What a container keeps *inside itself* (the hasher of a map, the `Owned` of
//! a `Cow`) is mapped.
//!
//! Cells of std (`Cell`, `RefCell`, `Mutex`, ...) change their contents without a write barrier, so they may
//! hold no collected pointer directly. That is checked when the map is computed, at compile time.
//!
//! `Rc` is left out on purpose, and so are raw pointers, of which nobody knows whether they lead to collected objects. So that the compiler can say why, they have a map
//! that is an error.

use std::any::TypeId;
use std::cell::{Cell, LazyCell, OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet, LinkedList, VecDeque};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::num;
use std::ops;
use std::pin::Pin;
use std::rc::{self, Rc};
use std::sync::{self, Arc, LazyLock, Mutex, OnceLock, RwLock, atomic, mpsc};

pub use crate::pointer_map::PointerMap;

/// A type whose values may be kept in the collected heap.
///
/// Implement it with `#[derive(Trace)]`, which meets the obligations by construction.
///
/// # Safety
/// 1. `MAP` covers every word of a value that may, in any state of the value, hold a pointer into the
///    collected heap. Words that are pointers only in some states (an enum's payload) are covered.
/// 2. While a value lies in the collected heap, the covered words change only through cells that run the
///    collector's write barrier.
/// 3. No destructor that runs for a value follows a covered pointer: the object there may have been freed. In
///    particular the type does not implement `Drop` itself.
/// 4. `MAP.extent()` is at most the size of the type.
/// 5. Destructors that run for a value may run on any thread. (A collected pointer has none, so a type that is bound
///    to its thread only by the collected pointers in it qualifies; an `Rc` does not.)
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be kept in the collected heap: it does not implement `Trace`",
    label = "the collector does not know where this type keeps its pointers",
    note = "add `#[derive(Trace)]` to the type; a foreign type without collected pointers can be kept behind a `Box`"
)]
pub unsafe trait Trace: 'static {
    /// The words of a value that may hold pointers into the collected heap.
    const MAP: PointerMap;

    /// What the type's fields are called, as far as that is known. For reports only.
    const FIELDS: &'static [Field] = &[];
}

/// A field of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name, or its number in a tuple.
    pub name: &'static str,
    /// Where it begins, in bytes from the start of the value.
    pub offset: usize,
    /// Its size in bytes.
    pub size: usize,
    /// Its own fields, if it has some with names.
    pub fields: &'static [Field],
}

impl Field {
    /// Writes the name of what lies at `offset` in a value with these fields, as `first.second`; what has no name as `+8`, that many bytes from where the
    /// last one with a name begins.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_path(
        mut fields: &[Field],
        mut offset: usize,
        out: &mut impl std::fmt::Write,
    ) -> std::fmt::Result {
        let mut first = true;
        while let Some(field) = fields
            .iter()
            .find(|field| (field.offset..field.offset + field.size).contains(&offset))
        {
            if !std::mem::take(&mut first) {
                out.write_char('.')?;
            }
            out.write_str(field.name)?;
            offset -= field.offset;
            fields = field.fields;
        }
        if first || offset != 0 {
            write!(out, "+{offset}")?;
        }
        Ok(())
    }
}

/// The map of a value that is of one of several shapes, of which `pointers` may be: every word if any shape
/// has pointers.
///
/// This is what enums get, whose layout is the compiler's own business.
#[must_use]
pub const fn either<T>(pointers: bool) -> PointerMap {
    if pointers {
        PointerMap::conservative(size_of::<T>())
    } else {
        PointerMap::EMPTY
    }
}

/// The map of a std cell: empty, and a compile error if the contents have collected pointers.
const fn unbarriered<T: Trace>() -> PointerMap {
    assert!(
        T::MAP.is_empty(),
        "a std cell or lock changes its contents without a write barrier, so it may not hold collected pointers directly: \
         use GcCell or GcPtr for the pointers, or put the contents in a Box"
    );
    PointerMap::EMPTY
}

/// Implements `Trace` with the empty map, for types given with their generics in front.
macro_rules! without_pointers {
    ($([$($generics:tt)*] $type:ty),* $(,)?) => {$(
        // SAFETY: the type holds no pointer into the collected heap within itself: it is plain data, or its
        // contents lie in the Rust heap, which is a root (see the head of this module).
        unsafe impl<$($generics)*> Trace for $type {
            const MAP: PointerMap = PointerMap::EMPTY;
        }
    )*};
}

/// Implements `Trace` with the empty map for types without generics.
macro_rules! plain {
    ($($type:ty),* $(,)?) => { without_pointers!($([] $type),*); };
}

plain! {
    (), bool, char, u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize, f32, f64,
    num::NonZeroU8, num::NonZeroU16, num::NonZeroU32, num::NonZeroU64, num::NonZeroU128, num::NonZeroUsize,
    num::NonZeroI8, num::NonZeroI16, num::NonZeroI32, num::NonZeroI64, num::NonZeroI128, num::NonZeroIsize,
    atomic::AtomicBool, atomic::AtomicU8, atomic::AtomicU16, atomic::AtomicU32, atomic::AtomicU64,
    atomic::AtomicI8, atomic::AtomicI16, atomic::AtomicI32, atomic::AtomicI64,
    atomic::AtomicUsize, atomic::AtomicIsize,
    std::cmp::Ordering, TypeId, std::alloc::Layout, std::convert::Infallible,
    std::time::Duration, std::time::Instant, std::time::SystemTime, std::thread::ThreadId,
    std::net::IpAddr, std::net::Ipv4Addr, std::net::Ipv6Addr,
    std::net::SocketAddr, std::net::SocketAddrV4, std::net::SocketAddrV6,
    std::hash::RandomState, std::fs::File, std::net::TcpStream, std::net::TcpListener, std::net::UdpSocket,
    std::os::fd::OwnedFd, std::os::unix::net::UnixStream, std::os::unix::net::UnixListener, std::os::unix::net::UnixDatagram,
    std::process::Child, std::process::ExitStatus, std::thread::Thread, std::task::Waker,
    sync::Condvar, sync::Barrier, sync::Once,
    String, std::path::PathBuf, std::ffi::OsString, std::ffi::CString, std::io::Error, std::fmt::Error,
    std::num::ParseIntError, std::num::ParseFloatError, std::str::Utf8Error, std::string::FromUtf8Error,
    std::marker::PhantomPinned, ops::RangeFull,
}

without_pointers! {
    [T: ?Sized + 'static] PhantomData<T>,
    [T: ?Sized + 'static] &'static T,
    [T: ?Sized + Send + 'static] Box<T>,
    [T: ?Sized + Send + Sync + 'static] Arc<T>,
    [T: ?Sized + Send + Sync + 'static] sync::Weak<T>,
    [T: Send + 'static] Vec<T>,
    [T: Send + 'static] VecDeque<T>,
    [T: Send + 'static] LinkedList<T>,
    [T: Send + 'static] BinaryHeap<T>,
    [T: Send + 'static] BTreeSet<T>,
    [K: Send + 'static, V: Send + 'static] BTreeMap<K, V>,
    [T: Send + 'static] mpsc::Sender<T>,
    [T: Send + 'static] mpsc::SyncSender<T>,
    [T: Send + 'static] mpsc::Receiver<T>,
    [T: Send + 'static] std::thread::JoinHandle<T>,
}

/// Has the compiler say why a type is left out: its map is an error.
macro_rules! refused {
    ($why:literal: $([$($generics:tt)*] $type:ty),* $(,)?) => {$(
        // SAFETY: without a map no value is put into the collected heap.
        unsafe impl<$($generics)*> Trace for $type {
            const MAP: PointerMap = panic!($why);
        }
    )*};
}

refused! {
    "`Rc` cannot be kept in the collected heap, because dead objects are dropped on another thread: use `Arc`, or a collected pointer":
    [T: ?Sized + 'static] Rc<T>,
    [T: ?Sized + 'static] rc::Weak<T>,
}

refused! {
    "a raw pointer cannot be kept in the collected heap as it is, because the collector does not follow it: use a collected pointer, or, if it never leads \
     to a collected object, say so with `#[trace(unsafe(skip))]` at the field":
    [T: ?Sized + 'static] *const T,
    [T: ?Sized + 'static] *mut T,
    [T: ?Sized + 'static] std::ptr::NonNull<T>,
    [T: 'static] atomic::AtomicPtr<T>,
}

/// Implements `Trace` for function pointers.
macro_rules! functions {
    ($($argument:ident)*) => {
        without_pointers! {
            [R: 'static $(, $argument: 'static)*] fn($($argument),*) -> R,
            [R: 'static $(, $argument: 'static)*] unsafe fn($($argument),*) -> R,
            [R: 'static $(, $argument: 'static)*] extern "C" fn($($argument),*) -> R,
            [R: 'static $(, $argument: 'static)*] unsafe extern "C" fn($($argument),*) -> R,
        }
    };
}

functions!();
functions!(A);
functions!(A B);
functions!(A B C);
functions!(A B C D);

/// Implements `Trace` for types that are one inner value, with its map at offset 0.
macro_rules! transparent {
    ($($type:ty),* $(,)?) => {$(
        // SAFETY: the type is, by its documentation, `repr(transparent)` or laid out as `T`, and gives no
        // access to `T` that `T` does not give.
        unsafe impl<T: Trace> Trace for $type {
            const MAP: PointerMap = T::MAP;
            const FIELDS: &'static [Field] = T::FIELDS;
        }
    )*};
}

transparent!(
    ManuallyDrop<T>,
    Pin<T>,
    num::Wrapping<T>,
    num::Saturating<T>,
    std::cmp::Reverse<T>
);

/// Implements `Trace` for cells, after checking that they hold no collected pointer.
macro_rules! cells {
    ($($type:ty),* $(,)?) => {$(
        // SAFETY: `unbarriered` refuses contents with collected pointers.
        unsafe impl<T: Trace> Trace for $type {
            const MAP: PointerMap = unbarriered::<T>();
        }
    )*};
}

cells!(
    Cell<T>,
    RefCell<T>,
    OnceCell<T>,
    Mutex<T>,
    RwLock<T>,
    OnceLock<T>
);

// SAFETY: `unbarriered` refuses a value with collected pointers. What makes it may be dropped and overwritten without a barrier, and is refused them, too.
unsafe impl<T: Trace, F: Trace> Trace for LazyCell<T, F> {
    const MAP: PointerMap = unbarriered::<(T, F)>();
}

// SAFETY: as above.
unsafe impl<T: Trace, F: Trace> Trace for LazyLock<T, F> {
    const MAP: PointerMap = unbarriered::<(T, F)>();
}

// SAFETY: a set keeps its elements in the Rust heap and its hasher somewhere within itself.
unsafe impl<T: Send + 'static, S: Trace> Trace for HashSet<T, S> {
    const MAP: PointerMap = either::<Self>(!S::MAP.is_empty());
}

// SAFETY: a map keeps its entries in the Rust heap and its hasher somewhere within itself.
unsafe impl<K: Send + 'static, V: Send + 'static, S: Trace> Trace for HashMap<K, V, S> {
    const MAP: PointerMap = either::<Self>(!S::MAP.is_empty());
}

// SAFETY: every word is covered if either payload has any pointer.
unsafe impl<T: Trace, E: Trace> Trace for Result<T, E> {
    const MAP: PointerMap = either::<Self>(!T::MAP.is_empty() || !E::MAP.is_empty());
}

// SAFETY: every word is covered if either payload has any pointer.
unsafe impl<B: Trace, C: Trace> Trace for ops::ControlFlow<B, C> {
    const MAP: PointerMap = either::<Self>(!B::MAP.is_empty() || !C::MAP.is_empty());
}

/// Implements `Trace` for types that hold values of one type and whose layout is their own business.
macro_rules! whole {
    ($($type:ty),* $(,)?) => {$(
        // SAFETY: every word is covered if the payload has any pointer.
        unsafe impl<T: Trace> Trace for $type {
            const MAP: PointerMap = either::<Self>(!T::MAP.is_empty());
        }
    )*};
}

whole!(
    Option<T>,
    std::task::Poll<T>,
    ops::Bound<T>,
    ops::RangeInclusive<T>,
    ops::RangeFrom<T>,
    ops::RangeTo<T>,
    ops::RangeToInclusive<T>
);

// SAFETY: a borrowed value is static and not collected; every word is covered if the owned value has any
// pointer.
unsafe impl<B: ToOwned<Owned: Trace> + ?Sized + 'static> Trace for std::borrow::Cow<'static, B> {
    const MAP: PointerMap = either::<Self>(!<B::Owned as Trace>::MAP.is_empty());
}

// SAFETY: a range is its two ends, which are public fields.
unsafe impl<T: Trace> Trace for ops::Range<T> {
    const MAP: PointerMap = PointerMap::EMPTY
        .with(std::mem::offset_of!(Self, start), T::MAP, size_of::<T>())
        .with(std::mem::offset_of!(Self, end), T::MAP, size_of::<T>());
}

// SAFETY: elements of an array lie `size_of::<T>()` apart.
unsafe impl<T: Trace, const N: usize> Trace for [T; N] {
    const MAP: PointerMap = T::MAP.repeat(N, size_of::<T>());
}

/// Implements `Trace` for tuples.
macro_rules! tuples {
    ($($field:tt $type:ident)*) => {
        // SAFETY: every field is mapped at its offset.
        unsafe impl<$($type: Trace),*> Trace for ($($type,)*) {
            const MAP: PointerMap = PointerMap::EMPTY
                $(.with(std::mem::offset_of!(Self, $field), $type::MAP, size_of::<$type>()))*;
        }
    };
}

tuples!(0 A);
tuples!(0 A 1 B);
tuples!(0 A 1 B 2 C);
tuples!(0 A 1 B 2 C 3 D);
tuples!(0 A 1 B 2 C 3 D 4 E);
tuples!(0 A 1 B 2 C 3 D 4 E 5 F);
tuples!(0 A 1 B 2 C 3 D 4 E 5 F 6 G);
tuples!(0 A 1 B 2 C 3 D 4 E 5 F 6 G 7 H);
tuples!(0 A 1 B 2 C 3 D 4 E 5 F 6 G 7 H 8 I);
tuples!(0 A 1 B 2 C 3 D 4 E 5 F 6 G 7 H 8 I 9 J);
tuples!(0 A 1 B 2 C 3 D 4 E 5 F 6 G 7 H 8 I 9 J 10 K);
tuples!(0 A 1 B 2 C 3 D 4 E 5 F 6 G 7 H 8 I 9 J 10 K 11 L);

#[cfg(test)]
mod tests {
    use super::*;

    /// A stand-in for a collected pointer.
    struct Pointer(#[expect(dead_code, reason = "gives the type its size")] usize);

    // SAFETY: the one word is covered and never changes.
    unsafe impl Trace for Pointer {
        const MAP: PointerMap = PointerMap::WORD;
    }

    fn words<T: Trace>() -> Vec<usize> {
        let mut found = Vec::new();
        T::MAP.for_each_offset(0..size_of::<T>(), |offset| found.push(offset / 8));
        found
    }

    #[test]
    fn containers_have_nothing_within_themselves() {
        assert!(words::<Vec<Pointer>>().is_empty());
        assert!(words::<Box<dyn Fn() + Send>>().is_empty());
        assert!(words::<HashMap<String, Pointer>>().is_empty());
        assert!(words::<Option<Vec<Pointer>>>().is_empty());
        assert!(words::<Mutex<Vec<Pointer>>>().is_empty());
        assert!(words::<std::borrow::Cow<'static, str>>().is_empty());
        assert!(words::<LazyLock<Vec<Pointer>>>().is_empty());
        assert!(words::<std::thread::JoinHandle<Pointer>>().is_empty());
        assert!(words::<unsafe extern "C" fn(u8) -> Pointer>().is_empty());
    }

    #[test]
    fn products_are_precise_and_sums_conservative() {
        assert_eq!(words::<[Pointer; 3]>(), [0, 1, 2]);
        assert_eq!(words::<[(u64, Pointer); 2]>().len(), 2);
        assert_eq!(words::<(Pointer, u8, Pointer)>().len(), 2);
        assert_eq!(words::<Option<Pointer>>(), [0, 1]);
        assert_eq!(words::<Result<u8, Pointer>>(), [0, 1]);
        assert_eq!(words::<ops::Range<Pointer>>(), [0, 1]);
        assert_eq!(words::<ops::RangeInclusive<Pointer>>(), [0, 1, 2]);
        assert_eq!(words::<std::cmp::Reverse<(u8, Pointer)>>().len(), 1);
        assert_eq!(words::<ops::ControlFlow<Pointer, u8>>(), [0, 1]);
    }

    #[test]
    fn a_hasher_with_pointers_is_mapped() {
        assert!(!words::<HashSet<u8, Pointer>>().is_empty());
    }

    #[test]
    fn tuples_map_their_fields_where_the_compiler_put_them() {
        type Mixed = (u8, Pointer, u32, Pointer, u8);
        let mut expected = [
            std::mem::offset_of!(Mixed, 1) / 8,
            std::mem::offset_of!(Mixed, 3) / 8,
        ];
        expected.sort_unstable();
        assert_eq!(words::<Mixed>(), expected);
    }
}

/// Cells with collected pointers do not compile; the same cells without do.
///
/// ```compile_fail
/// use gogc::{PointerMap, Trace};
/// struct Pointer(usize);
/// unsafe impl Trace for Pointer { const MAP: PointerMap = PointerMap::WORD; }
/// let map = <std::cell::RefCell<Pointer> as Trace>::MAP;
/// ```
///
/// ```
/// use gogc::{PointerMap, Trace};
/// struct Plain(usize);
/// unsafe impl Trace for Plain { const MAP: PointerMap = PointerMap::EMPTY; }
/// let map = <std::cell::RefCell<Plain> as Trace>::MAP;
/// assert!(map.is_empty());
/// ```
#[cfg(doctest)]
struct CellsRefusePointers;
