//! Stacks for managed frames: for interpreters and compilers that can say where their frames keep addresses.
//!
//! A managed stack starts at two kilobytes and grows when a function that is entered finds too little room. Two kinds have one
//! interface, so that the same program runs on both:
//!
//! - a [`ContiguousStack`] grows by moving into a block of twice the size, and every pointer into it is adjusted;
//! - a [`SegmentedStack`] grows by linking another segment, and nothing moves.
//!
//! Frames are the embedder's but for two words, the record:
//!
//! ```text
//!   higher addresses
//!   │ arguments and results    │  2, 3, ..   written by the caller, at the low end of its frame
//!   ├──────────────────────────┤
//!   │ where the caller goes on │  1
//!   │ the caller's frame       │  0   ◄─ frame pointer
//!   ├──────────────────────────┤
//!   │ locals, operands         │  -1, -2, ..
//!   │ arguments of the callee  │
//!   └──────────────────────────┘
//! ```
//!
//! The outermost function's caller is the embedder, which has a frame of [`ROOT_WORDS`] words at the top.
//!
//! Invariant: following the records from the frame pointer leads through all frames to the embedder's at the top; each
//! frame lies between the stack's guard and its top; and no block belongs to two stacks.

mod contiguous;
mod depot;
mod segmented;

pub use contiguous::ContiguousStack;
pub use depot::{GlobalSpans, SMALLEST, StackCache, StackDepot};
pub use segmented::SegmentedStack;

use core::fmt;

use crate::env::{FrameMap, StackMemory, Word};

/// Words of a frame between its locals and its arguments.
pub const RECORD_WORDS: u32 = 2;
/// Words of the embedder's frame at the top of a stack, for the arguments of the outermost function.
pub const ROOT_WORDS: u32 = 8;

const WORD: usize = size_of::<Word>();

/// The embedder's frame pointer in a block that ends at `top`: below a record that nobody writes, so that the address is inside.
fn root(top: *mut Word) -> *mut Word {
    top.wrapping_sub(RECORD_WORDS as usize)
}

/// A call that is about to be made.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// Words of the caller's frame that are in use, counted from its frame pointer downwards. The lowest of them are the
    /// arguments.
    pub used: u32,
    /// How many arguments there are; results are left in their place.
    pub arguments: u32,
    /// Words that the callee needs below its frame pointer.
    pub frame: u32,
    /// The callee's entry, as the [`FrameMap`] names it.
    pub entry: Word,
    /// Where the caller goes on, as the [`FrameMap`] names it.
    pub return_to: Word,
}

/// Sizes and limits of a managed stack, in bytes. All are powers of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// The first block, or each segment; at least [`SMALLEST`].
    pub first: usize,
    /// The most that the stack may take.
    pub limit: usize,
    /// A contiguous stack is halved at a collection when less than one part in so many is used. Four leaves a half of the
    /// new block free; with two the next call would grow it again.
    pub shrink_below: usize,
}

impl Sizes {
    /// Go's: two kilobytes at first, a gigabyte at most, shrunk when under a quarter is used.
    pub const GO: Self = Self {
        first: SMALLEST,
        limit: 1 << 30,
        shrink_below: 4,
    };

    fn check(self) {
        assert!(
            self.first.is_power_of_two() && self.first >= SMALLEST,
            "the first block must be a power of two, and at least {SMALLEST} bytes"
        );
        assert!(
            self.limit.is_power_of_two() && self.limit >= self.first,
            "the limit must be a power of two, and hold the first block"
        );
        assert!(
            self.shrink_below >= 2,
            "a block that is halved must hold what is used"
        );
    }
}

/// Why a managed stack did not grow. It is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrowError {
    /// The limit is reached: the program's recursion is too deep.
    Overflow {
        /// Bytes that are needed.
        needed: usize,
        /// Bytes that the stack may have.
        limit: usize,
    },
    /// There is no memory.
    OutOfMemory {
        /// Bytes that were asked for.
        bytes: usize,
    },
    /// The frame of a function cannot be described, so the stack cannot move.
    Undescribed {
        /// Where that function goes on.
        at: usize,
    },
}

impl fmt::Display for GrowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overflow { needed, limit } => write!(
                f,
                "stack overflow: {needed} bytes are needed, and the limit is {limit}"
            ),
            Self::OutOfMemory { bytes } => {
                write!(f, "out of memory: no {bytes} bytes for a stack")
            }
            Self::Undescribed { at } => write!(
                f,
                "the stack cannot move: the frame that goes on at {at:#x} is not described"
            ),
        }
    }
}

impl std::error::Error for GrowError {}

/// What both kinds of managed stack do.
///
/// # Safety
///
/// An implementation must keep these promises, on which the code that uses its frames relies:
///
/// 1. After `enter`, the callee's `frame` words below [`frame`](Self::frame) are writable, and the arguments are at slot 2 and above.
/// 2. After `leave`, the frame pointer is the caller's, and the words of its frame are as the callee left them, what it wrote to its
///    arguments included.
/// 3. Between two calls of `enter` or `collect` nothing moves.
pub unsafe trait ManagedStack {
    /// The frame pointer of the function that runs; the embedder's if none does.
    fn frame(&self) -> *mut Word;

    /// The prologue of a function: makes its frame, growing the stack if there is no room. The new frame's words are arbitrary
    /// until they are written.
    ///
    /// # Errors
    ///
    /// When the stack does not grow; the callee is then not entered, and the caller goes on.
    ///
    /// # Safety
    ///
    /// 1. `call.used` is at least `call.arguments` and at most what the caller's own `frame` was ([`ROOT_WORDS`] if it is the
    ///    embedder), and the arguments are written.
    /// 2. Every pointer that the embedder keeps into the stack is known to `frames`, or not used any more.
    unsafe fn enter<M: StackMemory, F: FrameMap>(
        &mut self,
        cache: &mut StackCache<M>,
        frames: &F,
        call: Call,
    ) -> Result<(), GrowError>;

    /// The epilogue: takes the frame of the function that runs away, and says where its caller goes on.
    ///
    /// # Safety
    ///
    /// 1. A function runs, and its record is as `enter` wrote it.
    /// 2. Nobody uses pointers into its frame any more; for a segmented stack, its arguments neither.
    unsafe fn leave<M: StackMemory>(&mut self, cache: &mut StackCache<M>) -> Word;

    /// Gives back what the stack has too much of, if its kind can (nothing, if it does not say how); to be called at a collection. The function that runs stands at
    /// `at` and uses `used` words of its frame. Returns the bytes that were given back.
    ///
    /// # Safety
    ///
    /// As [`enter`](Self::enter).
    unsafe fn collect<M: StackMemory, F: FrameMap>(
        &mut self,
        cache: &mut StackCache<M>,
        frames: &F,
        at: Word,
        used: u32,
    ) -> usize {
        let _ = (cache, frames, at, used);
        0
    }

    /// Bytes of memory that the stack has.
    fn bytes(&self) -> usize;

    /// Ends the stack, whatever frames it has, and gives its memory back.
    fn retire<M: StackMemory>(self, cache: &mut StackCache<M>);
}
