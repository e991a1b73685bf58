//! Instructions: one word each, an operation and two operands.
//!
//! ```text
//!   63                32 31               8 7        0
//!   ┌───────────────────┬──────────────────┬──────────┐
//!   │ second operand    │ first operand    │ operation│
//!   └───────────────────┴──────────────────┴──────────┘
//! ```
//!
//! The machine has a stack. A procedure finds its arguments, and what it has bound since, from the bottom of its frame upwards; a call's frame begins with three values to
//! return by, which [`Operation::Frame`] makes room for before the arguments are pushed.

/// What to do. In the comments, `a` and `b` are the operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Operation {
    /// Pushes constant `a`.
    Constant,
    /// Pushes the number `b`.
    Number,
    /// Pushes primitive `a`, as a value.
    PrimitiveValue,
    /// Pushes what has no value worth having.
    Unspecified,
    /// Pushes the variable `a` of the frame.
    Local,
    /// Pops a value into the variable `a` of the frame.
    SetLocal,
    /// Pushes the free variable `a` of the closure.
    Free,
    /// Replaces the box on top by its contents.
    Unbox,
    /// Pops a value, then a box, and puts the value into it.
    SetBox,
    /// Replaces the variable `a` of the frame by a box that contains it. Allocates.
    Box,
    /// Pushes the value of the global variable that constant `a` names.
    Global,
    /// Pops a value into the global variable that constant `a` names; defines it if `b` is not 0.
    SetGlobal,
    /// Goes on at `a`.
    Jump,
    /// Pops a value, and goes on at `a` if it is false.
    JumpIfFalse,
    /// Pops `b` values, the free variables of a closure of the code that is constant `a`, and pushes that. Allocates.
    Closure,
    /// Pushes room for what to return by.
    Frame,
    /// Pops a procedure, and calls it with the `a` values below. Allocates, if it takes a rest.
    Call,
    /// The same in place of the procedure that runs.
    TailCall,
    /// Pops a value, and goes on where the procedure was called, with the value on top.
    Return,
    /// Calls primitive `a` with the `b` values on top, and replaces them by the result. May allocate.
    Primitive,
    /// Drops the value on top.
    Pop,
    /// Drops the `a` values below the one on top.
    Slide,
}

/// All operations, by number.
const OPERATIONS: [Operation; 22] = [
    Operation::Constant,
    Operation::Number,
    Operation::PrimitiveValue,
    Operation::Unspecified,
    Operation::Local,
    Operation::SetLocal,
    Operation::Free,
    Operation::Unbox,
    Operation::SetBox,
    Operation::Box,
    Operation::Global,
    Operation::SetGlobal,
    Operation::Jump,
    Operation::JumpIfFalse,
    Operation::Closure,
    Operation::Frame,
    Operation::Call,
    Operation::TailCall,
    Operation::Return,
    Operation::Primitive,
    Operation::Pop,
    Operation::Slide,
];

/// Values that a frame begins with: the closure to return to, where in its code, and the frame to return to.
pub const RETURN_VALUES: usize = 3;

/// An instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction(pub u64);

impl Instruction {
    /// With these operands.
    pub fn new(operation: Operation, a: usize, b: i32) -> Instruction {
        debug_assert!(a < 1 << 24);
        Instruction(operation as u64 | (a as u64) << 8 | u64::from(b as u32) << 32)
    }

    /// What to do.
    #[inline]
    pub fn operation(self) -> Operation {
        OPERATIONS[usize::from(self.0 as u8)]
    }

    /// The first operand.
    #[inline]
    pub fn a(self) -> usize {
        self.0 as u32 as usize >> 8
    }

    /// The second operand.
    #[inline]
    pub fn b(self) -> i32 {
        (self.0 >> 32) as i32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_numbered_in_order_and_operands_come_back() {
        for (number, operation) in OPERATIONS.into_iter().enumerate() {
            assert_eq!(operation as usize, number);
            let instruction = Instruction::new(operation, (1 << 24) - 1, -7);
            assert_eq!(instruction.operation(), operation);
            assert_eq!((instruction.a(), instruction.b()), ((1 << 24) - 1, -7));
        }
    }
}
