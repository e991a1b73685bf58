//! Parts of the runtime put in the place of others, as the chapter *Swapping a part* of the book tells it: another global allocator under the whole runtime, and gogc on a heap that is a table.
//!
//! (Other engines under gosched are in its own tests, which run on two of them.)

mod allocator;
mod heap;

#[global_allocator]
static GLOBAL: allocator::Counting = allocator::Counting::new();
