//! The macros of goruntime: `#[derive(Trace)]` and `#[goruntime::main]`.
//!
//! Both only write out what could be written by hand; neither knows more than the tokens it is given. Errors
//! are reported at the code that causes them.

use proc_macro::TokenStream;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod entry;
mod trace;

/// Implements `Trace` for a struct or an enum, so that its values may be kept in the collected heap.
///
/// - The pointer map of a **struct** is precise: each field's own map, at the field's offset.
/// - That of an **enum** is empty if none of its fields holds collected pointers; otherwise each of its words
///   is taken for a possible pointer.
/// - Type parameters get the bound `Trace`.
/// - The type may not implement `Drop`: its destructor could follow a pointer to an object that has been
///   freed. (An error about conflicting implementations of `TraceMustNotImplementDrop` says this.) Clean up by a cleanup of the runtime's, or move what needs dropping into a
///   type of its own behind a `Box`.
/// - Unions, `#[repr(packed)]` and lifetime parameters are refused.
///
/// `#[trace(crate = some::path)]` names the module where `Trace`, `PointerMap` and `Field` are found; `::goruntime::gc` if not given.
///
/// `#[trace(unsafe(skip))]` at a field leaves it out, whatever its type is: a raw pointer, or a foreign type without `Trace`. The author promises what the derive
/// cannot check: that the field holds no collected pointer at any time, that its destructor, if it has one, reaches no collected object, and that it may run on any thread. What
/// is `Send` can be kept behind a `Box` instead, without a promise.
///
/// ```
/// use goruntime_macros::Trace;
///
/// #[derive(Trace)]
/// #[trace(crate = gogc)]
/// struct Named<T> {
///     name: String,
///     value: T,
/// }
///
/// use gogc::Trace as _;
/// assert!(Named::<u8>::MAP.is_empty());
/// ```
///
/// A destructor of one's own is refused:
///
/// ```compile_fail,E0119
/// #[derive(goruntime_macros::Trace)]
/// #[trace(crate = gogc)]
/// struct Named {
///     name: String,
/// }
///
/// impl Drop for Named {
///     fn drop(&mut self) {}
/// }
/// ```
///
/// So is a field of which the collector knows nothing, even in an enum:
///
/// ```compile_fail,E0277
/// struct Unknown;
///
/// #[derive(goruntime_macros::Trace)]
/// #[trace(crate = gogc)]
/// enum Maybe {
///     Known(u8),
///     Unknown(Unknown),
/// }
/// ```
///
/// A field that the author answers for:
///
/// ```
/// #[derive(goruntime_macros::Trace)]
/// #[trace(crate = gogc)]
/// struct Window {
///     title: String,
///     // SAFETY: it is from a C library, and freed by nobody here.
///     #[trace(unsafe(skip))]
///     handle: *mut std::ffi::c_void,
/// }
/// ```
///
/// And a cell that would change collected pointers behind the collector's back, at the derive already:
///
/// ```compile_fail,E0080
/// struct Pointer(usize);
/// unsafe impl gogc::Trace for Pointer {
///     const MAP: gogc::PointerMap = gogc::PointerMap::WORD;
/// }
///
/// #[derive(goruntime_macros::Trace)]
/// #[trace(crate = gogc)]
/// struct Bad {
///     cell: std::cell::Cell<Pointer>,
/// }
/// ```
#[proc_macro_derive(Trace, attributes(trace))]
pub fn derive_trace(input: TokenStream) -> TokenStream {
    trace::expand(input.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// Makes `main` the first goroutine, and the runtime's allocator the program's.
///
/// The function may return anything that a Rust `main` may. It takes no arguments and is not `async`:
/// goroutines block.
///
/// - `#[goruntime::main(allocator = none)]` leaves the choice of the global allocator to the program.
///   Collected pointers need the runtime's.
/// - `#[goruntime::main(crate = some::path)]` names the crate if it is not called `goruntime`.
///
/// ```ignore
/// #[goruntime::main]
/// fn main() {
///     goruntime::go(|| println!("hello")).join();
/// }
/// ```
#[proc_macro_attribute]
pub fn main(arguments: TokenStream, function: TokenStream) -> TokenStream {
    entry::expand(arguments.into(), function.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
