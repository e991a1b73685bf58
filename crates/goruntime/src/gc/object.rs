//! The layout of a collected object, and how one is made.
//!
//! ```text
//!  of a sort (small, nothing to drop)       of a kind
//!
//!                                           base ─► ┌───────────────────┐
//!                                                   │ &'static TypeInfo │  absent where there is nothing to say: no pointers, no drop glue
//! Gc<T> ─► ┌─────────────────────┐          Gc<T> ─►├───────────────────┤
//!          │ T                   │                  │ T                 │  for an array: its length, then the elements
//!          └─────────────────────┘                  └───────────────────┘
//!   span's tag: which words are pointers
//! ```
//!
//! Small objects with the same pointers share spans, whatever their types, and have no header: [`Tag`]. The others are alone or few in their spans, or need
//! to be told apart when they die. (Under `GODEBUG=gctypes=1` all are of a kind and have a header, so that a report can name their types.)
//!
//! Invariant: outside a critical section of the allocator, the header word of every allocated object in a span of the kinds
//! `Scan` and `Finalizable` is null or points to the `TypeInfo` of the value that follows, and that value is initialised. A null header means: nothing to scan,
//! nothing to drop. An object of a sort has none; the collector may look at one before it is initialised, when a stale word leads there, and finds words that it checks
//! like any other.

use super::{Array, Field, PointerMap, Trace};
use gogc::WordSink;
use gomem::{CollectedKind, Sort};
use std::alloc::Layout;
use std::fmt;
use std::ops::Range;
use std::ptr::{NonNull, with_exposed_provenance};
use std::sync::atomic::{AtomicPtr, AtomicU8, Ordering::*};

const WORD: usize = size_of::<usize>();

/// What the collector knows of a type. One static per type that is ever put into a `Gc`.
pub(crate) struct TypeInfo {
    /// The type's name, for reports.
    name: fn() -> &'static str,
    /// The names of its fields, likewise.
    fields: &'static [Field],
    map: PointerMap,
    /// Size of the value, or of one element of an array.
    size: usize,
    /// From the start of an object with a header to the value.
    offset: usize,
    /// From the value to the first element, for arrays.
    elements: Option<usize>,
    drop: Option<unsafe fn(*mut u8)>,
}

impl TypeInfo {
    /// Of `T`, or of an array of such whose elements begin so many bytes from its start. With a header if the objects have something to be told, or if they are
    /// to be `named`.
    const fn of<T: Trace>(elements: Option<usize>, align: usize, named: bool) -> TypeInfo {
        assert!(
            align <= 16,
            "a collected object's alignment is at most 16 bytes; put the over-aligned part in a Box"
        );
        let offset = if T::MAP.is_empty() && !std::mem::needs_drop::<T>() && !named {
            0
        } else if align > size_of::<Header>() {
            align
        } else {
            size_of::<Header>()
        };
        TypeInfo {
            name: std::any::type_name::<T>,
            fields: T::FIELDS,
            map: T::MAP,
            size: size_of::<T>(),
            offset,
            elements,
            drop: drop_of::<T>(),
        }
    }

    /// The type's name; an array's is that of its elements, in brackets.
    pub(crate) fn write_name(&self, out: &mut impl fmt::Write) -> fmt::Result {
        match self.elements {
            None => out.write_str((self.name)()),
            Some(_) => write!(out, "[{}]", (self.name)()),
        }
    }

    /// The name of what lies so many bytes from the start of an object, as `[3].next`.
    pub(crate) fn write_field(&self, at: usize, out: &mut impl fmt::Write) -> fmt::Result {
        let at = at.saturating_sub(self.offset);
        let Some(first) = self.elements else {
            return Field::write_path(self.fields, at, out);
        };
        let at = at.saturating_sub(first);
        let size = self.size.max(1);
        write!(out, "[{}]", at / size)?;
        if self.size > WORD || !self.fields.is_empty() {
            out.write_char('.')?;
            Field::write_path(self.fields, at % size, out)?;
        }
        Ok(())
    }

    /// Is there something to drop?
    pub(crate) fn needs_drop(&self) -> bool {
        self.drop.is_some()
    }

    /// From the start of an object with a header to the value.
    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    /// The elements of the array at `value` that lie within `room` bytes: how many, and where they begin.
    ///
    /// # Safety
    /// 1. `value` is aligned to a word, and a word from there is readable.
    unsafe fn elements(&self, value: *const u8, room: usize) -> Option<(usize, usize)> {
        let first = self.elements?;
        // SAFETY: (1): an array begins with its length. Where there is no array yet it may be anything.
        let len = unsafe { gogc::word::load(value.cast()) };
        let most = room.saturating_sub(first).checked_div(self.size);
        Some((first, len.min(most.unwrap_or(0))))
    }

    /// How many bytes of the value, which has `room`, may hold pointers, counted from its start.
    ///
    /// # Safety
    /// 1. `value` is the value of an object of this type, or the place for one.
    pub(crate) unsafe fn scannable(&self, value: *const u8, room: usize) -> usize {
        if self.map.is_empty() {
            return 0;
        }
        // SAFETY: (1).
        match unsafe { self.elements(value, room) } {
            None => self.map.extent().min(room),
            Some((first, len)) => first + len * self.size,
        }
    }

    /// Gives `sink` every word in `range`, in bytes from `value`, that may hold a pointer. The value has `room` bytes.
    ///
    /// # Safety
    /// 1. `value` is the value of an object of this type, or the place for one; `room` bytes from there are readable.
    #[inline]
    pub(crate) unsafe fn scan(
        &self,
        value: *const u8,
        room: usize,
        range: Range<usize>,
        sink: &mut impl WordSink,
    ) {
        // SAFETY: (1).
        let (first, map, size) = match unsafe { self.elements(value, room) } {
            None => (0, self.map, self.size.min(room)),
            Some((first, len)) => (first, self.map.repeat(len, self.size), len * self.size),
        };
        let from = value.wrapping_add(first);
        let part = range.start.saturating_sub(first)..range.end.saturating_sub(first).min(size);
        map.for_each_mask(part, |offset, mask| {
            // SAFETY: whole words within the value (1), at multiples of a word from its start.
            unsafe { sink.masked(from.wrapping_add(offset).cast(), mask) }
        });
    }

    /// Runs the drop glue of the object at `base`. That of an element of an array which panics does not keep the others from being dropped.
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
                gosched::Panic::contain(|| drop(value.add(elements + i * self.size)));
            }
        }
    }
}

/// What is known of all objects of a span: the tag of their sort.
#[derive(Clone, Copy)]
pub(crate) enum Tag {
    /// Which words may hold pointers, in bits; of objects of up to [`Tag::WORDS_MAX`] words.
    Words(u64),
    /// Their type, of larger ones up to [`Tag::MAX`].
    Type(&'static TypeInfo),
    /// Any word may hold a pointer.
    Unknown,
}

impl Tag {
    /// A tag has 56 bits.
    const WORDS_MAX: usize = 56;
    /// The size of the largest objects that are allocated by sort. Of larger ones a span has so few that sharing it only with their like would waste too much of it.
    const MAX: usize = 2048;

    /// What the tag of an object says that has `size` bytes.
    #[inline]
    pub(crate) fn of(tag: u64, size: usize) -> Tag {
        if tag == 0 {
            Tag::Unknown
        } else if size <= Tag::WORDS_MAX * WORD {
            Tag::Words(tag)
        } else {
            let info = with_exposed_provenance::<TypeInfo>(tag as usize);
            // SAFETY: the tags of such objects are made by `sort_of_type` only.
            unsafe { info.as_ref() }.map_or(Tag::Unknown, Tag::Type)
        }
    }

    /// Of values of so many bytes with these words at least as pointers.
    const fn sort_of_words(bytes: usize, words: u64) -> Sort {
        assert!(bytes <= Tag::WORDS_MAX * WORD);
        // Of what is read from beyond a short array nothing is a pointer: it is cleared.
        let words_in_object = Sort::new(bytes, 0).size() / WORD;
        let seen = if words_in_object < Tag::WORDS_MAX {
            words_in_object
        } else {
            Tag::WORDS_MAX
        };
        Sort::new(bytes, words & (u64::MAX >> (64 - seen)))
    }

    fn sort_of_type(size: usize, info: &'static TypeInfo) -> Sort {
        assert!(size > Tag::WORDS_MAX * WORD);
        Sort::new(size, (&raw const *info).expose_provenance() as u64)
    }
}

/// Describes an object without a header, for reports: its type if its tag says that, otherwise where its pointers are.
pub(super) fn write_layout(
    kind: CollectedKind,
    tag: u64,
    size: usize,
    out: &mut impl fmt::Write,
) -> fmt::Result {
    if kind == CollectedKind::NoScan {
        return write!(out, "{size} bytes without pointers");
    }
    match (kind, Tag::of(tag, size)) {
        (CollectedKind::Tagged, Tag::Type(info)) => info.write_name(out),
        (CollectedKind::Tagged, Tag::Words(words)) => {
            write!(out, "{size} bytes, pointers at")?;
            let mut at = (0..64)
                .filter(|word| words >> word & 1 == 1)
                .map(|word| word * WORD);
            at.try_for_each(|at| write!(out, " {at}"))
        }
        _ => write!(out, "{size} bytes"),
    }
}

/// The name of what lies so many bytes from the start of such an object.
pub(super) fn write_field(
    kind: CollectedKind,
    tag: u64,
    size: usize,
    at: usize,
    out: &mut impl fmt::Write,
) -> fmt::Result {
    match Tag::of(tag, size) {
        // It has no header.
        Tag::Type(info) if kind == CollectedKind::Tagged => info.write_field(at + info.offset, out),
        _ => write!(out, "+{at}"),
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

/// How an object is allocated.
#[derive(Clone, Copy)]
pub(super) enum Place {
    Sort(Sort),
    Kind(CollectedKind),
}

/// How objects of `T` are laid out.
pub(super) trait Shape {
    const INFO: &'static TypeInfo;
    /// The same with a header in any case.
    const NAMED: &'static TypeInfo;
    /// The pointers of the value at least, if there are few words and nothing to drop; of an array as long as one with a sort can be.
    const WORDS: Option<u64>;
    /// The bytes that follow the value are to be cleared.
    const CLEAR: bool;
    /// The sort, where it is known when the program is compiled: then no allocation looks for it.
    const SORT: Option<Sort>;

    /// How an object is allocated whose value takes `bytes`.
    #[inline(always)]
    fn place(bytes: usize) -> Place {
        if let Some(sort) = Self::SORT {
            return Place::Sort(sort);
        }
        let info = Self::INFO;
        if info.drop.is_none() && !info.map.is_empty() {
            if let Some(words) = Self::WORDS
                && bytes <= Tag::WORDS_MAX * WORD
            {
                return Place::Sort(Tag::sort_of_words(bytes, words));
            }
            if bytes > Tag::WORDS_MAX * WORD && bytes <= Tag::MAX {
                return Place::Sort(Tag::sort_of_type(bytes, info));
            }
        }
        Place::Kind(kind(info))
    }
}

const fn kind(info: &TypeInfo) -> CollectedKind {
    if info.drop.is_some() {
        CollectedKind::Finalizable
    } else if info.map.is_empty() {
        CollectedKind::NoScan
    } else {
        CollectedKind::Scan
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
    const INFO: &'static TypeInfo = &TypeInfo::of::<T>(None, align_of::<T>(), false);
    const NAMED: &'static TypeInfo = &TypeInfo::of::<T>(None, align_of::<T>(), true);
    const WORDS: Option<u64> = T::MAP.bits();
    const CLEAR: bool = false;
    const SORT: Option<Sort> = match T::MAP.bits() {
        Some(words)
            if !std::mem::needs_drop::<T>()
                && !T::MAP.is_empty()
                && size_of::<T>() <= Tag::WORDS_MAX * WORD =>
        {
            Some(Tag::sort_of_words(size_of::<T>(), words))
        }
        _ => None,
    };
}

/// An array whose length is known at run time.
pub(super) struct Many<T>(std::marker::PhantomData<T>);

impl<T: Trace> Shape for Many<T> {
    const INFO: &'static TypeInfo =
        &TypeInfo::of::<T>(Some(size_of::<Array<T>>()), align_of::<Array<T>>(), false);
    const NAMED: &'static TypeInfo =
        &TypeInfo::of::<T>(Some(size_of::<Array<T>>()), align_of::<Array<T>>(), true);
    const WORDS: Option<u64> = {
        let head = size_of::<Array<T>>();
        let room = (Tag::WORDS_MAX * WORD).saturating_sub(head);
        let most = if T::MAP.is_empty() {
            0
        } else {
            room / size_of::<T>()
        };
        let elements = T::MAP.repeat(most, size_of::<T>());
        PointerMap::EMPTY
            .with(head, elements, elements.extent())
            .bits()
    };
    const CLEAR: bool = true;
    const SORT: Option<Sort> = None;
}

/// Allocates an object of shape `S` whose value takes `bytes`, initialises it with `init`, and publishes it, with no stop of the world
/// in between. `init` is called once; it must not panic.
#[inline(always)]
pub(super) fn allocate<S: Shape, T>(bytes: usize, init: impl Fn(*mut u8)) -> NonNull<T> {
    match S::place(bytes) {
        Place::Sort(sort) => allocate_sorted::<S, T>(sort, bytes, init),
        Place::Kind(kind) => allocate_kind::<S, T>(kind, bytes, init),
    }
}

#[inline(always)]
fn allocate_sorted<S: Shape, T>(
    sort: Sort,
    bytes: usize,
    init_value: impl Fn(*mut u8),
) -> NonNull<T> {
    let init = |to: NonNull<u8>| {
        init_value(to.as_ptr());
        if S::CLEAR {
            // SAFETY: an object of the sort has so many bytes, of which the first `bytes` are the value.
            unsafe { to.add(bytes).write_bytes(0, sort.size() - bytes) };
        }
        if crate::collector::barrier_on() {
            // SAFETY: the value was just initialised.
            unsafe { report_value::<S>(to.as_ptr(), bytes) };
        }
    };
    // What is at hand is there because it was asked for in the longer way before.
    if let Some(value) = gomem::heap().make_sorted(sort, init) {
        return value.cast();
    }
    if are_named() {
        return allocate_kind::<S, T>(CollectedKind::Scan, bytes, init_value);
    }
    let (section, value) = sorted_slow(sort);
    init(value);
    drop(section);
    value.cast()
}

/// An object of a sort, and the critical section in which to initialise it.
#[cold]
#[inline(never)]
fn sorted_slow(sort: Sort) -> (gomem::critical::Critical, NonNull<u8>) {
    let get = || {
        let section = gomem::critical::enter();
        let object = gomem::heap().make_sorted_slow(&section, sort)?;
        Some((section, object))
    };
    get().unwrap_or_else(|| {
        // A collection may find room.
        crate::collector::collect();
        get().unwrap_or_else(|| refused(sort.size()))
    })
}

#[cold]
fn refused(size: usize) -> ! {
    std::alloc::handle_alloc_error(
        Layout::from_size_align(size, 16).unwrap_or(Layout::new::<usize>()),
    )
}

#[inline]
fn allocate_kind<S: Shape, T>(
    kind: CollectedKind,
    bytes: usize,
    init: impl Fn(*mut u8),
) -> NonNull<T> {
    let (info, kind) = match require_allocator() {
        Headers::Needed => (S::INFO, kind),
        // What has nothing to drop is as good as any other that the collector looks at.
        Headers::All if kind == CollectedKind::NoScan => (S::NAMED, CollectedKind::Scan),
        Headers::All => (S::NAMED, kind),
    };
    let offset = info.offset;
    // A value of no size gets some bytes, so that its address is within the object: as many as align it, for an object is aligned by its size.
    let size = offset
        .checked_add(bytes.max(align_of::<T>()))
        .unwrap_or_else(|| panic!("capacity overflow"));
    let get = || {
        let (section, object) = gomem::heap().alloc_collected_to_fill(size, kind)?;
        if kind == CollectedKind::Finalizable {
            // It may own more of the Rust heap than it takes itself.
            gomem::heap().check_trigger();
        }
        Some((section, object))
    };
    let (_section, object) = get().unwrap_or_else(|| {
        // A collection may find room.
        crate::collector::collect();
        get().unwrap_or_else(|| refused(size))
    });
    // SAFETY: the object was just allocated for this shape and is nobody else's; offset + bytes lie inside it.
    unsafe {
        let value = object.add(offset);
        init(value.as_ptr());
        if offset != 0 {
            let info: *const TypeInfo = info;
            Header::of(object.as_ptr())
                .0
                .store(info.cast_mut(), Release);
            if crate::collector::barrier_on() {
                report_newborn::<S>(object, offset, bytes);
            }
        }
        value.cast()
    }
}

/// Tells the collector, which is marking, what pointers an object is born with. The object itself is marked.
///
/// # Safety
/// 1. At `value` is an initialised value of the shape that takes `bytes`.
#[cold]
unsafe fn report_value<S: Shape>(value: *const u8, bytes: usize) {
    crate::collector::shade_each(|sink| {
        // SAFETY: (1).
        unsafe {
            let scannable = S::INFO.scannable(value, bytes);
            S::INFO.scan(value, bytes, 0..scannable, sink);
        }
    });
}

/// The same for an object with a header, which is complete.
///
/// # Safety
/// 1. At `object` is a header, and at `offset` from there an initialised value of the shape that takes `bytes`.
#[cold]
unsafe fn report_newborn<S: Shape>(object: NonNull<u8>, offset: usize, bytes: usize) {
    /// A longer one is scanned like one that was found.
    const SHORT: usize = 1 << 10;
    if bytes > SHORT {
        crate::collector::scan_newborn(object.as_ptr().expose_provenance());
    } else {
        // SAFETY: (1).
        unsafe { report_value::<S>(object.as_ptr().add(offset), bytes) };
    }
}

/// Which objects have a header.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Headers {
    /// Those that need one.
    Needed,
    /// All, so that reports can name their types.
    All,
}

/// Is gomem the global allocator?
pub(crate) fn has_allocator() -> bool {
    let probe = std::hint::black_box(Box::new(0u64));
    gomem::heap().owns((&raw const *probe).cast())
}

/// Makes sure that gomem is the global allocator, and that there is a collector; once.
#[inline]
fn require_allocator() -> Headers {
    static STATE: AtomicU8 = AtomicU8::new(UNKNOWN);
    const UNKNOWN: u8 = 0;
    /// And only objects that need one have a header.
    const USUAL: u8 = 1;

    #[cold]
    fn find_out() -> Headers {
        if !has_allocator() {
            panic!(
                "Gc needs goruntime's allocator as the global one, for it searches the Rust heap for pointers; add\n\
                 \n    #[global_allocator]\n    static GLOBAL: goruntime::GoMalloc = goruntime::GoMalloc::new();\n\n\
                 to the program, or use #[goruntime::main], which does so"
            );
        }
        crate::collector::start();
        if crate::settings::get().type_names {
            return Headers::All;
        }
        STATE.store(USUAL, Release);
        Headers::Needed
    }

    if STATE.load(Acquire) == USUAL {
        Headers::Needed
    } else {
        find_out()
    }
}

/// Do all objects get a header?
#[cold]
#[inline(never)]
fn are_named() -> bool {
    require_allocator() == Headers::All
}
