//! Derived pointer maps, checked against the layout that the compiler chose.

use std::mem::offset_of;

use gogc::{PointerMap, Trace};
use goruntime_macros::Trace;

/// A stand-in for a collected pointer.
struct Pointer(usize);

// SAFETY: the one word is covered and never changes.
unsafe impl Trace for Pointer {
    const MAP: PointerMap = PointerMap::WORD;
}

fn offsets<T: Trace>() -> Vec<usize> {
    let mut found = Vec::new();
    T::MAP.for_each_offset(0..size_of::<T>(), |offset| found.push(offset));
    found
}

fn sorted<const N: usize>(mut offsets: [usize; N]) -> [usize; N] {
    offsets.sort_unstable();
    offsets
}

#[derive(Trace)]
#[trace(crate = gogc)]
struct Unit;

#[derive(Trace)]
#[trace(crate = gogc)]
struct Mixed {
    flag: bool,
    first: Pointer,
    name: String,
    count: u32,
    second: Pointer,
}

#[derive(Trace)]
#[trace(crate = gogc)]
struct Tuple(u8, Pointer, Mixed);

#[derive(Trace)]
#[trace(crate = gogc)]
struct Generic<T, const N: usize>
where
    T: Send,
{
    small: u8,
    all: [T; N],
    boxed: Box<T>,
}

#[derive(Trace)]
#[trace(crate = gogc)]
enum Plain {
    Nothing,
    Text(String),
    Number { value: u64 },
}

#[derive(Trace)]
#[trace(crate = gogc)]
enum Tree<T> {
    Leaf,
    Node {
        left: Pointer,
        right: Pointer,
        value: T,
    },
}

#[derive(Trace)]
#[trace(crate = gogc)]
enum Never {}

#[test]
fn structs_are_mapped_field_by_field() {
    assert!(offsets::<Unit>().is_empty());
    let mixed = sorted([offset_of!(Mixed, first), offset_of!(Mixed, second)]);
    assert_eq!(offsets::<Mixed>(), mixed);
    let inner = offset_of!(Tuple, 2);
    let tuple = sorted([offset_of!(Tuple, 1), inner + mixed[0], inner + mixed[1]]);
    assert_eq!(offsets::<Tuple>(), tuple);
}

#[test]
fn each_instance_of_a_generic_type_has_its_own_map() {
    assert!(offsets::<Generic<u64, 3>>().is_empty());
    let all = offset_of!(Generic<Pointer, 3>, all);
    assert_eq!(offsets::<Generic<Pointer, 3>>(), [all, all + 8, all + 16]);
}

/// What only the author knows to hold no collected pointer.
#[derive(Trace)]
#[trace(crate = gogc)]
struct Skips {
    pointer: Pointer,
    #[trace(unsafe(skip))]
    raw: *const u8,
    inner: Mixed,
}

#[test]
fn what_is_skipped_is_not_mapped() {
    let inner = offset_of!(Skips, inner);
    let expected = sorted([
        offset_of!(Skips, pointer),
        inner + offset_of!(Mixed, first),
        inner + offset_of!(Mixed, second),
    ]);
    assert_eq!(offsets::<Skips>(), expected);
    assert!(Skips::FIELDS.iter().all(|field| field.name != "raw"));
    let _ = |skips: &Skips| skips.raw;
}

#[test]
fn fields_have_names() {
    let name = |offset| {
        let mut name = String::new();
        gogc::Field::write_path(Skips::FIELDS, offset, &mut name).unwrap();
        name
    };
    assert_eq!(name(offset_of!(Skips, pointer)), "pointer");
    let inner = offset_of!(Skips, inner);
    assert_eq!(name(inner + offset_of!(Mixed, second)), "inner.second");
    assert_eq!(name(inner + offset_of!(Mixed, name) + 8), "inner.name+8");
    let raw = offset_of!(Skips, raw);
    assert_eq!(name(raw), format!("+{raw}"));
    assert_eq!(Tuple::FIELDS[2].name, "2");
}

#[test]
fn enums_are_all_or_nothing() {
    assert!(offsets::<Plain>().is_empty());
    assert!(offsets::<Never>().is_empty());
    assert_eq!(offsets::<Tree<u8>>().len(), size_of::<Tree<u8>>() / 8);
}

#[test]
fn the_words_of_a_value_are_found() {
    let value = Mixed {
        flag: true,
        first: Pointer(11),
        name: "n".to_owned(),
        count: 3,
        second: Pointer(22),
    };
    let mut found = Vec::new();
    // SAFETY: the value is alive and aligned.
    unsafe {
        Mixed::MAP.for_each_word((&raw const value).cast(), size_of::<Mixed>(), |word| {
            found.push(word)
        });
    }
    found.sort_unstable();
    assert_eq!(found, [value.first.0, value.second.0]);
    assert!(value.flag && value.name == "n" && value.count == 3);
}

/// Uses what is otherwise only mapped.
#[test]
fn derived_types_are_ordinary_types() {
    let _ = (Unit, Tree::Leaf::<u8>, Plain::Nothing);
    let Plain::Text(text) = Plain::Text("text".to_owned()) else {
        panic!("not a text")
    };
    assert_eq!(text, "text");
    let generic = Generic {
        small: 1,
        all: [2u8],
        boxed: Box::new(3),
    };
    assert_eq!((generic.small, generic.all, *generic.boxed), (1, [2], 3));
    let Tree::Node { left, right, value } = (Tree::Node {
        left: Pointer(1),
        right: Pointer(2),
        value: 3,
    }) else {
        panic!("not a node")
    };
    assert_eq!((left.0, right.0, value), (1, 2, 3));
    let Plain::Number { value } = (Plain::Number { value: 4 }) else {
        panic!("not a number")
    };
    let Tuple(small, pointer, _) = Tuple(
        5,
        Pointer(6),
        Mixed {
            flag: false,
            first: Pointer(0),
            name: String::new(),
            count: 0,
            second: Pointer(0),
        },
    );
    assert_eq!((value, small, pointer.0), (4, 5, 6));
}
