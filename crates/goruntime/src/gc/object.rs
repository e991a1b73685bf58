//! The layout of a collected object, and how one is made.
//!
//! ```text
//! base ─► ┌───────────────────┐
//!         │ &'static TypeInfo │  absent where there is nothing to say: no pointers, no drop glue
//! Gc<T> ─►├───────────────────┤
//!         │ T                 │  for an array: its length, then the elements
//!         └───────────────────┘
//! ```
//!
//! Invariant: outside a critical section of the allocator, the header word of every allocated object in a span of the kinds
//! `Scan` and `Finalizable` is null or points to the `TypeInfo` of the value that follows, and that value is initialised. The collector
//! looks at objects only when every thread is outside such a section. A null header means: nothing to scan, nothing to drop.

use super::{Array, PointerMap, Trace};
use gomem::CollectedKind;
use std::alloc::Layout;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, AtomicU8, Ordering::*};

/// What the collector knows of a type. One static per type that is ever put into a `Gc`.
pub(crate) struct TypeInfo {
    map: PointerMap,
    /// Size of the value, or of one element of an array.
    size: usize,
    /// From the start of the object to the value.
    offset: usize,
    /// From the value to the first element, for arrays.
    elements: Option<usize>,
    drop: Option<unsafe fn(*mut u8)>,
}

impl TypeInfo {
    /// Is there something to drop?
    pub(crate) fn needs_drop(&self) -> bool {
        self.drop.is_some()
    }

    /// How many bytes of the object at `base`, from its start, may hold pointers.
    ///
    /// # Safety
    /// 1. `base` is the start of an object whose header is this.
    pub(crate) unsafe fn scannable(&self, base: *const u8) -> usize {
        if self.map.is_empty() {
            return 0;
        }
        match self.elements {
            None => self.offset + self.map.extent(),
            // SAFETY: (1): the value of an array begins with its length.
            Some(first) => unsafe {
                let len = base.add(self.offset).cast::<usize>().read();
                self.offset + first + len * self.size
            },
        }
    }

    /// Calls `visit` with every word in `range`, in bytes from `base`, of the object there that may hold a pointer.
    ///
    /// # Safety
    /// 1. `base` is the start of an object whose header is this.
    #[inline]
    pub(crate) unsafe fn scan(
        &self,
        base: *const u8,
        range: Range<usize>,
        mut visit: impl FnMut(usize),
    ) {
        let part = |from: usize| range.start.saturating_sub(from)..range.end.saturating_sub(from);
        let Some(first) = self.elements else {
            let mut part = part(self.offset);
            part.end = part.end.min(self.size);
            // SAFETY: (1): the value lies where this says.
            return unsafe {
                self.map
                    .for_each_word_in(base.add(self.offset), part, &mut visit)
            };
        };
        if self.map.is_empty() {
            return;
        }
        // SAFETY: (1): the value of an array begins with its length, and its elements follow.
        unsafe {
            let len = base.add(self.offset).cast::<usize>().read();
            let mut part = part(self.offset + first);
            part.end = part.end.min(len * self.size);
            self.map.repeat(len, self.size).for_each_word_in(
                base.add(self.offset + first),
                part,
                &mut visit,
            );
        }
    }

    /// Runs the drop glue of the object at `base`.
    ///
    /// # Safety
    /// 1. `base` is the start of an object whose header was this, which nothing reaches any more.
    /// 2. Called once.
    pub(crate) unsafe fn drop_value(&self, base: *mut u8) {
        let Some(drop) = self.drop else { return };
        // SAFETY: (1), (2).
        unsafe {
            let value = base.add(self.offset);
            let Some(elements) = self.elements else {
                return drop(value);
            };
            let len = value.cast::<usize>().read();
            for i in 0..len {
                drop(value.add(elements + i * self.size));
            }
        }
    }
}

/// The header word.
#[repr(transparent)]
pub(crate) struct Header(AtomicPtr<TypeInfo>);

impl Header {
    /// The header of the object at `base`.
    ///
    /// # Safety
    /// 1. `base` is the start of an allocated object in a span of kind `Scan` or `Finalizable`.
    pub(crate) unsafe fn of<'a>(base: *mut u8) -> &'a Header {
        // SAFETY: (1): such an object starts with this word.
        unsafe { &*base.cast::<Header>() }
    }

    /// The type, if the value is initialised and not dropped.
    pub(crate) fn info(&self) -> Option<&'static TypeInfo> {
        // SAFETY: by the invariant at the head of this file it is null or a static.
        unsafe { self.0.load(Acquire).as_ref() }
    }

    /// From now on there is nothing to scan and nothing to drop. Returns what there was.
    pub(crate) fn clear(&self) -> Option<&'static TypeInfo> {
        // SAFETY: as in `info`.
        unsafe { self.0.swap(std::ptr::null_mut(), AcqRel).as_ref() }
    }
}

/// How objects of `T` are laid out.
pub(super) trait Shape {
    const KIND: CollectedKind;
    /// From the start of the object to the value.
    const OFFSET: usize;
    const INFO: &'static TypeInfo;
}

const fn kind(map: &PointerMap, needs_drop: bool) -> CollectedKind {
    if needs_drop {
        CollectedKind::Finalizable
    } else if map.is_empty() {
        CollectedKind::NoScan
    } else {
        CollectedKind::Scan
    }
}

const fn offset(map: &PointerMap, needs_drop: bool, align: usize) -> usize {
    assert!(
        align <= 16,
        "a collected object's alignment is at most 16 bytes; put the over-aligned part in a Box"
    );
    if map.is_empty() && !needs_drop {
        0
    } else if align > size_of::<Header>() {
        align
    } else {
        size_of::<Header>()
    }
}

const fn drop_of<T>() -> Option<unsafe fn(*mut u8)> {
    unsafe fn glue<T>(value: *mut u8) {
        // SAFETY: TypeInfo::drop_value's obligations.
        unsafe { value.cast::<T>().drop_in_place() }
    }
    if std::mem::needs_drop::<T>() {
        Some(glue::<T>)
    } else {
        None
    }
}

/// A single value.
pub(super) struct One<T>(std::marker::PhantomData<T>);

impl<T: Trace> Shape for One<T> {
    const KIND: CollectedKind = kind(&T::MAP, std::mem::needs_drop::<T>());
    const OFFSET: usize = offset(&T::MAP, std::mem::needs_drop::<T>(), align_of::<T>());
    const INFO: &'static TypeInfo = &TypeInfo {
        map: T::MAP,
        size: size_of::<T>(),
        offset: Self::OFFSET,
        elements: None,
        drop: drop_of::<T>(),
    };
}

/// An array whose length is known at run time.
pub(super) struct Many<T>(std::marker::PhantomData<T>);

impl<T: Trace> Shape for Many<T> {
    const KIND: CollectedKind = kind(&T::MAP, std::mem::needs_drop::<T>());
    const OFFSET: usize = offset(&T::MAP, std::mem::needs_drop::<T>(), align_of::<Array<T>>());
    const INFO: &'static TypeInfo = &TypeInfo {
        map: T::MAP,
        size: size_of::<T>(),
        offset: Self::OFFSET,
        elements: Some(size_of::<Array<T>>()),
        drop: drop_of::<T>(),
    };
}

/// Allocates an object of shape `S` whose value takes `bytes`, initialises it with `init`, and publishes it, with no stop of the world
/// in between. `init` must not panic.
#[inline]
pub(super) fn allocate<S: Shape, T>(bytes: usize, init: impl FnOnce(*mut u8)) -> NonNull<T> {
    require_allocator();
    let size = S::OFFSET
        .checked_add(bytes)
        .unwrap_or_else(|| panic!("capacity overflow"));
    let critical = gomem::critical::enter();
    let Some(base) = gomem::heap().alloc_collected(size.max(1), S::KIND) else {
        drop(critical);
        // A collection may find room.
        crate::collector::collect();
        return retry::<S, T>(size, init);
    };
    publish::<S, T>(base, init)
}

#[cold]
fn retry<S: Shape, T>(size: usize, init: impl FnOnce(*mut u8)) -> NonNull<T> {
    let _critical = gomem::critical::enter();
    match gomem::heap().alloc_collected(size.max(1), S::KIND) {
        Some(base) => publish::<S, T>(base, init),
        None => std::alloc::handle_alloc_error(
            Layout::from_size_align(size, 16).unwrap_or(Layout::new::<usize>()),
        ),
    }
}

/// Inside the caller's critical section.
#[inline]
fn publish<S: Shape, T>(base: NonNull<u8>, init: impl FnOnce(*mut u8)) -> NonNull<T> {
    // SAFETY: the object was just allocated for this shape and is nobody else's; S::OFFSET + bytes lie inside it.
    unsafe {
        let value = base.add(S::OFFSET);
        init(value.as_ptr());
        if S::OFFSET != 0 {
            let info: *const TypeInfo = S::INFO;
            Header::of(base.as_ptr()).0.store(info.cast_mut(), Release);
            if crate::collector::barrier_on() {
                report_newborn(base.as_ptr(), S::INFO);
            }
        }
        value.cast()
    }
}

/// Tells the collector, which is marking, what pointers the object at `base` is born with. The object itself is marked.
#[cold]
fn report_newborn(base: *mut u8, info: &TypeInfo) {
    /// A longer one is scanned like one that was found.
    const SHORT: usize = 1 << 10;
    // SAFETY: the header of the object at `base` was just set to `info`, and its value is initialised.
    let scannable = unsafe { info.scannable(base) };
    if scannable > SHORT {
        crate::collector::scan_newborn(base.expose_provenance());
    } else {
        // SAFETY: as above.
        crate::collector::shade_each(|shade| unsafe { info.scan(base, 0..scannable, shade) });
    }
}

/// Is gomem the global allocator? Found out once.
#[inline]
fn require_allocator() {
    static STATE: AtomicU8 = AtomicU8::new(UNKNOWN);
    const UNKNOWN: u8 = 0;
    const YES: u8 = 1;

    #[cold]
    fn find_out() {
        let probe = std::hint::black_box(Box::new(0u64));
        if !gomem::heap().owns((&raw const *probe).cast()) {
            panic!(
                "Gc needs goruntime's allocator as the global one, for it searches the Rust heap for pointers; add\n\
                 \n    #[global_allocator]\n    static GLOBAL: goruntime::GoMalloc = goruntime::GoMalloc::new();\n\n\
                 to the program, or use #[goruntime::main], which does so"
            );
        }
        crate::collector::start();
        STATE.store(YES, Release);
    }

    if STATE.load(Acquire) != YES {
        find_out();
    }
}
