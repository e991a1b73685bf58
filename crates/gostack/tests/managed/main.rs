//! A small stack machine whose frames live on managed stacks: the same programs on contiguous, segmented and heap-allocated ones.

mod compile;
mod heap_stack;
mod machine;
mod programs;
mod random;
