//! The machine: a bytecode with calls, pointers to locals, closures, deferred calls and a waiting queue.
//!
//! What a program may do with pointers is what makes stacks hard to move: a frame points into its callers' frames, at its own
//! operands' owner, at a closure's record that lies in a frame and points on; and there are pointers from outside. They never
//! outlive what they point to: they are passed down, never returned or written through a pointer.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ptr::{null_mut, without_provenance_mut};

use gostack::env::{FrameMap, FrameShape, Word};
use gostack::managed::{
    Call, ContiguousStack, GlobalSpans, GrowError, ManagedStack, SegmentedStack, StackCache,
};

/// What a word of a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Int,
    /// The address of an `Int` in a frame.
    Ref,
    /// The address of a closure's record in a frame: the function's number, and below it the captured `Ref`s.
    Closure,
}

#[derive(Debug, Clone, Copy)]
pub enum Arithmetic {
    Add,
    Sub,
    Mul,
    Xor,
}

/// Slots are counted in words from the frame pointer, as `FrameMap` does.
#[derive(Debug, Clone, Copy)]
pub enum Op {
    Push(i64),
    Load(i32),
    Store(i32),
    AddressOf(i32),
    /// Replaces a `Ref` by the number there.
    Read,
    /// Takes a number and the `Ref` below it.
    Write,
    /// Replaces a closure by its n-th captured `Ref`.
    Capture(u32),
    Arithmetic(Arithmetic),
    BranchIfZero(usize),
    Jump(usize),
    /// The arguments are on the operand stack, the first one last.
    Call(usize),
    /// The same; the second argument is the closure.
    CallClosure,
    /// Takes a number and the `Ref` below it: adds the one to the other when the function returns.
    Defer,
    /// Takes a `Ref`, to be written by whoever wakes it.
    Wait,
    /// Takes a number, and writes it where the longest waiting `Ref` points to.
    Wake,
    /// A collection: the stack may shrink.
    Collect,
    Return,
}

#[derive(Debug)]
pub struct Function {
    pub params: Vec<Kind>,
    pub locals: u32,
    /// Locals, and operands at their most.
    pub frame: u32,
    pub code: Vec<Op>,
    /// For each place in the code, the operands there, and the slots that hold addresses.
    pub operands: Vec<u32>,
    pub pointers: Vec<Vec<i32>>,
    /// The arguments that are addresses.
    pub entry_pointers: Vec<i32>,
}

#[derive(Debug)]
pub struct Program {
    pub functions: Vec<Function>,
}

const ENTRY: usize = 1 << 40;

fn entry_of(function: usize) -> Word {
    without_provenance_mut(ENTRY | function << 16)
}

fn place(function: usize, at: usize) -> Word {
    without_provenance_mut(function << 16 | at)
}

/// A pointer kept outside of the stack, and the depth of the frame that made it.
struct Outside {
    depth: usize,
    target: Word,
    add: i64,
}

/// What is known about pointers, and those that lie outside of the stack.
struct Frames<'p> {
    program: &'p Program,
    deferred: RefCell<Vec<Outside>>,
    waiting: RefCell<VecDeque<Outside>>,
    /// A function whose frames are not described.
    undescribed: Option<usize>,
    /// Names no pointers at all: a map that lies.
    forgetful: bool,
}

// SAFETY: the compiler notes every slot that holds an address, and the two lists hold all other pointers into the stack; locals are
// written when a frame is made. (A map that forgets is used by the test that shows that it is noticed.)
unsafe impl FrameMap for Frames<'_> {
    fn frame(&self, at: Word) -> Option<FrameShape<'_>> {
        let number = at.addr() >> 16 & 0xffff;
        if self.undescribed == Some(number) {
            return None;
        }
        let function = &self.program.functions[number];
        let pointers = if self.forgetful {
            &[][..]
        } else if at.addr() & ENTRY != 0 {
            &function.entry_pointers
        } else {
            &function.pointers[at.addr() & 0xffff]
        };
        Some(FrameShape {
            words: function.frame,
            pointers,
        })
    }

    fn outside(&self, adjust: &mut dyn FnMut(Word) -> Word) {
        let (mut deferred, mut waiting) = (self.deferred.borrow_mut(), self.waiting.borrow_mut());
        for entry in deferred.iter_mut().chain(waiting.iter_mut()) {
            entry.target = adjust(entry.target);
        }
    }
}

/// A stack that can be made to grow, shrink or split at any place.
pub trait Disturb: ManagedStack {
    /// Does what `choice` says, the function that runs being at `at` with `used` words in use; nothing, if there is nothing that can be done to it.
    fn disturb<F: FrameMap>(
        &mut self,
        cache: &mut StackCache<GlobalSpans>,
        frames: &F,
        at: Word,
        used: u32,
        choice: u8,
    ) {
        let _ = (cache, frames, at, used, choice);
    }
}

impl Disturb for ContiguousStack {
    fn disturb<F: FrameMap>(
        &mut self,
        cache: &mut StackCache<GlobalSpans>,
        frames: &F,
        at: Word,
        used: u32,
        choice: u8,
    ) {
        let bytes = self.bytes();
        let bytes = match choice % 4 {
            0 => (bytes * 2).min(1 << 20),
            1 => bytes,
            _ => (bytes / 2).max(2 << 10),
        };
        // Refused where too much is in use.
        // SAFETY: the machine stands at `at`, and its map is complete.
        let _ = unsafe { self.move_to(cache, frames, at, used, bytes) };
    }
}

impl Disturb for SegmentedStack {
    fn disturb<F: FrameMap>(
        &mut self,
        _: &mut StackCache<GlobalSpans>,
        _: &F,
        _: Word,
        _: u32,
        _: u8,
    ) {
        self.split_next();
    }
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub result: Result<i64, GrowError>,
    /// A hash of everything that was written, in order.
    pub trace: u64,
    pub steps: usize,
    pub deepest: usize,
}

pub struct Limits {
    pub steps: usize,
    pub depth: usize,
}

/// What happens to the stack on the way.
#[derive(Default)]
pub struct Plan<'a> {
    /// Before the n-th call the n-th choice, from the start again when they end; none if the slice is empty.
    pub disturb: &'a [Option<u8>],
    pub undescribed: Option<usize>,
    pub forgetful: bool,
}

struct Machine<'p, S> {
    stack: S,
    cache: StackCache<GlobalSpans>,
    frames: Frames<'p>,
    limits: &'p Limits,
    outcome: Outcome,
    depth: usize,
    calls: usize,
}

/// Runs the program's first function on `stack` with one argument.
pub fn run<S: Disturb>(
    program: &Program,
    stack: impl FnOnce(&mut StackCache<GlobalSpans>) -> S,
    mut cache: StackCache<GlobalSpans>,
    limits: &Limits,
    plan: &Plan<'_>,
    argument: i64,
) -> (Outcome, S, StackCache<GlobalSpans>) {
    let stack = stack(&mut cache);
    let mut machine = Machine {
        stack,
        cache,
        frames: Frames {
            program,
            deferred: RefCell::default(),
            waiting: RefCell::default(),
            undescribed: plan.undescribed,
            forgetful: plan.forgetful,
        },
        limits,
        outcome: Outcome {
            result: Ok(0),
            trace: 0xcbf2_9ce4_8422_2325,
            steps: 0,
            deepest: 0,
        },
        depth: 0,
        calls: 0,
    };
    machine.outcome.result = machine.start(plan, argument);
    (machine.outcome, machine.stack, machine.cache)
}

impl<S: Disturb> Machine<'_, S> {
    fn word(&self, slot: i32) -> *mut Word {
        self.stack.frame().wrapping_offset(slot as isize)
    }

    fn get(&self, slot: i32) -> Word {
        // SAFETY: compiled code names slots of the frame that runs, which are written before they are read.
        unsafe { self.word(slot).read() }
    }

    fn set(&self, slot: i32, word: Word) {
        // SAFETY: compiled code names slots of the frame that runs.
        unsafe { self.word(slot).write(word) };
    }

    fn note(&mut self, value: i64) {
        self.outcome.trace = (self.outcome.trace ^ value as u64).wrapping_mul(0x100_0000_01b3);
    }

    fn start(&mut self, plan: &Plan<'_>, argument: i64) -> Result<i64, GrowError> {
        self.set(-1, int(argument));
        self.enter(0, 1, place(0xffff, 0))?;
        let program = self.frames.program;
        let (mut number, mut at) = (0, 0);
        loop {
            let function = &program.functions[number];
            let used = function.locals + function.operands[at];
            // The lowest operand.
            let top = -(used as i32);
            let op = function.code[at];
            self.outcome.steps += 1;
            at += 1;
            match op {
                Op::Push(value) => self.set(top - 1, int(value)),
                Op::Load(slot) => self.set(top - 1, self.get(slot)),
                Op::Store(slot) => {
                    let word = self.get(top);
                    self.set(slot, word);
                    if !function.pointers[at - 1].contains(&top) {
                        self.note(word.addr() as i64);
                    }
                }
                Op::AddressOf(slot) => self.set(top - 1, self.word(slot).cast()),
                Op::Read => {
                    let target: *mut Word = self.get(top).cast();
                    // SAFETY: a `Ref` points to a number in a frame that lives.
                    self.set(top, unsafe { target.read() });
                }
                Op::Write => self.write(self.get(top + 1), number_in(self.get(top))),
                Op::Capture(index) => {
                    let record: *mut Word = self.get(top).cast();
                    // SAFETY: a closure points to its record, which has its captures below.
                    self.set(top, unsafe { record.sub(1 + index as usize).read() });
                }
                Op::Arithmetic(which) => {
                    let (a, b) = (number_in(self.get(top + 1)), number_in(self.get(top)));
                    let result = match which {
                        Arithmetic::Add => a.wrapping_add(b),
                        Arithmetic::Sub => a.wrapping_sub(b),
                        Arithmetic::Mul => a.wrapping_mul(b),
                        Arithmetic::Xor => a ^ b,
                    };
                    self.set(top + 1, int(result));
                }
                Op::BranchIfZero(target) => {
                    if number_in(self.get(top)) == 0 {
                        at = target;
                    }
                }
                Op::Jump(target) => at = target,
                Op::Call(_) | Op::CallClosure => {
                    let callee = match op {
                        Op::Call(callee) => callee,
                        _ => {
                            let record: *mut Word = self.get(top + 1).cast();
                            // SAFETY: a closure points to its record, which begins with the function's number.
                            unsafe { record.read() }.addr()
                        }
                    };
                    self.disturb(plan, place(number, at - 1), used);
                    let count = program.functions[callee].params.len() as i32;
                    if self.depth == self.limits.depth || self.outcome.steps >= self.limits.steps {
                        self.set(top + count - 1, int(0));
                    } else {
                        self.enter(callee, used, place(number, at))?;
                        (number, at) = (callee, 0);
                    }
                }
                Op::Defer => self.frames.deferred.borrow_mut().push(Outside {
                    depth: self.depth,
                    target: self.get(top + 1),
                    add: number_in(self.get(top)),
                }),
                Op::Wait => self.frames.waiting.borrow_mut().push_back(Outside {
                    depth: self.depth,
                    target: self.get(top),
                    add: 0,
                }),
                Op::Wake => {
                    let value = number_in(self.get(top));
                    if let Some(entry) = self.frames.waiting.get_mut().pop_front() {
                        self.write(entry.target, value);
                    }
                }
                Op::Collect => {
                    let here = place(number, at - 1);
                    // SAFETY: the machine stands here, and its map is complete.
                    unsafe {
                        self.stack
                            .collect(&mut self.cache, &self.frames, here, used)
                    };
                }
                Op::Return => {
                    let result = self.get(top);
                    self.run_deferred();
                    self.note(result.addr() as i64);
                    self.set(2, result);
                    self.depth -= 1;
                    // SAFETY: a function runs, and nobody keeps pointers into its frame.
                    let back = unsafe { self.stack.leave(&mut self.cache) }.addr();
                    if self.depth == 0 {
                        return Ok(number_in(self.get(-1)));
                    }
                    let count = function.params.len() as i32;
                    (number, at) = (back >> 16, back & 0xffff);
                    let caller = &program.functions[number];
                    // The caller's operands below the arguments, as they are after the call but for the result.
                    let below = (caller.locals + caller.operands[at] - 1) as i32;
                    // The first argument, and the place of the last, where the result belongs.
                    let word = self.get(-below - count);
                    self.set(-below - 1, word);
                }
            }
        }
    }

    fn disturb(&mut self, plan: &Plan<'_>, at: Word, used: u32) {
        self.calls += 1;
        if plan.disturb.is_empty() {
            return;
        }
        if let Some(choice) = plan.disturb[self.calls % plan.disturb.len()] {
            self.stack
                .disturb(&mut self.cache, &self.frames, at, used, choice);
        }
    }

    fn enter(&mut self, callee: usize, used: u32, return_to: Word) -> Result<(), GrowError> {
        let function = &self.frames.program.functions[callee];
        let call = Call {
            used,
            arguments: function.params.len() as u32,
            frame: function.frame,
            entry: entry_of(callee),
            return_to,
        };
        // SAFETY: the compiler counted the frame and the operands; pointers are in the map.
        unsafe { self.stack.enter(&mut self.cache, &self.frames, call)? };
        for local in 1..=function.locals as i32 {
            self.set(-local, null_mut());
        }
        self.depth += 1;
        self.outcome.deepest = self.outcome.deepest.max(self.depth);
        Ok(())
    }

    fn write(&mut self, target: Word, value: i64) {
        self.note(value);
        // SAFETY: a `Ref` points to a number in a frame that lives.
        unsafe { target.cast::<Word>().write(int(value)) };
    }

    /// What the function that returns has put off; and it no longer waits for anything.
    fn run_deferred(&mut self) {
        let depth = self.depth;
        while let Some(entry) = self.frames.deferred.get_mut().pop_if(|e| e.depth == depth) {
            // SAFETY: a `Ref` points to a number in a frame that lives.
            let before = unsafe { entry.target.cast::<Word>().read() };
            self.write(entry.target, number_in(before).wrapping_add(entry.add));
        }
        self.frames.waiting.get_mut().retain(|e| e.depth != depth);
    }
}

fn int(value: i64) -> Word {
    without_provenance_mut(value as usize)
}

fn number_in(word: Word) -> i64 {
    word.addr() as i64
}
