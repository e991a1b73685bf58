//! The interpreter: a loop over instructions.
//!
//! Length: an instruction set belongs in one place.
//!
//! Invariants:
//! - All values that the program can still reach from here are on the stack below `top`, or are the closure that runs, which is put on top where the world can stop.
//! - Whatever the program does wrong, each access to an object is checked against its kind and length before; a wrong program gets a message.
//!
//! ```text
//!            ┌ frame                            ┌ top
//!   ... c p f a0 a1 .. v0 v1 .. │ c' p' f' b0 b1 │ ...
//!       └─┬─┘ └─ arguments, ──┘   └─┬──┘ └─ arguments that are being evaluated
//!      to return by  variables      room for what to return by
//! ```

use std::sync::Arc;

use crate::code::{Instruction, Operation, RETURN_VALUES};
use crate::heap::{Heap, Kind};
use crate::mutator::{Exhausted, Mutator};
use crate::primitives::{self, Primitive};
use crate::printer;
use crate::runtime::{Gc, Runtime};
use crate::value::{Object, Value};
use crate::world::Stack;

/// Why a program does not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trap {
    /// It is wrong.
    Error(String),
    /// There was no memory. It is tried again when there may be some.
    Exhausted,
    /// It has ended itself.
    Exit(u8),
}

impl From<Exhausted> for Trap {
    fn from(_: Exhausted) -> Trap {
        Trap::Exhausted
    }
}

impl From<String> for Trap {
    fn from(message: String) -> Trap {
        Trap::Error(message)
    }
}

/// Words of an object of code.
pub mod code {
    pub const NAME: usize = 0;
    pub const INSTRUCTIONS: usize = 1;
    pub const CONSTANTS: usize = 2;
    pub const PARAMETERS: usize = 3;
    pub const HAS_REST: usize = 4;
    pub const DEPTH: usize = 5;
}

/// The word of a symbol that has its value; the one before has its name.
pub const SYMBOL_VALUE: usize = 1;

/// Values that must fit on the stack beside a frame: the closure that runs, and a little.
const SLACK: usize = 8;

/// An interpreter.
pub struct Machine<G: Gc> {
    /// Its dealings with the heap.
    pub mutator: Mutator<G>,
    primitives: &'static [Primitive<G>],
    closure: Value,
    constants: Object,
    /// The place in the heap of the first instruction, and which is next.
    first: usize,
    next: usize,
    frame: usize,
    /// Values on the stack.
    top: usize,
}

/// Arguments of a primitive: where on the stack they are.
#[derive(Clone, Copy)]
pub struct Arguments {
    first: usize,
    /// How many.
    pub count: usize,
}

impl<G: Gc> Machine<G> {
    /// An interpreter on this thread, with a stack that is registered with the world.
    pub fn new(runtime: Arc<Runtime<G>>, stack: Arc<Stack>) -> Machine<G> {
        Machine {
            mutator: Mutator::new(runtime, stack),
            primitives: primitives::all(),
            closure: Value::NIL,
            constants: Object(0),
            first: 0,
            next: 0,
            frame: 0,
            top: 0,
        }
    }

    /// The heap.
    pub fn heap(&self) -> &Heap {
        self.mutator.heap()
    }

    /// Ends the interpreter. With a number its result is kept for who asks.
    pub fn end(self, thread: Option<u64>) {
        self.mutator.end(self.top, thread);
    }

    /// The argument with this index, which is below the count.
    pub fn argument(&self, arguments: Arguments, index: usize) -> Value {
        self.mutator.stack.get(arguments.first + index)
    }

    fn push(&mut self, value: Value) {
        self.mutator.stack.set(self.top, value);
        self.top += 1;
    }

    fn pop(&mut self) -> Value {
        self.top -= 1;
        self.mutator.stack.get(self.top)
    }

    fn peek(&self) -> Value {
        self.mutator.stack.get(self.top - 1)
    }

    fn replace_top(&mut self, value: Value) {
        self.mutator.stack.set(self.top - 1, value);
    }

    /// Drops all values, the result of the last run among them.
    pub fn clear_stack(&mut self) {
        self.top = 0;
    }

    /// Puts what runs on the stack, where the world may stop. Returns the number of values there.
    pub fn everything_on_stack(&mut self) -> usize {
        self.mutator.stack.set(self.top, self.closure);
        self.top + 1
    }

    /// Runs `f`, and if it finds no memory, collects and runs it once more. `f` changes nothing before it has all memory that it needs.
    pub fn with_memory<R>(
        &mut self,
        mut f: impl FnMut(&mut Self) -> Result<R, Trap>,
    ) -> Result<R, Trap> {
        let top = self.everything_on_stack();
        self.mutator.before_allocation(top);
        match f(self) {
            Err(Trap::Exhausted) => {}
            result => return result,
        }
        self.mutator.away(top, |runtime| runtime.collect_now());
        match f(self) {
            Err(Trap::Exhausted) => Err(Trap::Error("the heap is full".to_owned())),
            result => result,
        }
    }

    /// Calls a procedure without arguments. Returns its value, which is on top of the stack then and stays there until the next call.
    ///
    /// # Errors
    /// As [`run_text`](Self::run_text).
    pub fn run(&mut self, procedure: Value) -> Result<Value, Trap> {
        self.clear_stack();
        self.frame = 0;
        self.closure = Value::UNBOUND;
        for _ in 0..RETURN_VALUES {
            self.push(Value::small(0));
        }
        self.push(procedure);
        let result = self.go_on();
        if let Err(Trap::Error(why)) = result {
            return Err(Trap::Error(format!(
                "{why}\n  in {}",
                self.procedure_name()
            )));
        }
        result
    }

    fn procedure_name(&self) -> String {
        let code = match self.closure.as_object() {
            Some(closure) => self.heap().get(closure, 0).as_object(),
            None => None,
        };
        let name = code.and_then(|code| self.heap().get(code, code::NAME).as_object());
        name.map_or("no procedure".to_owned(), |name| self.heap().text(name))
    }

    fn go_on(&mut self) -> Result<Value, Trap> {
        if let Some(value) = self.call(0, false)? {
            return Ok(value);
        }
        loop {
            let instruction = Instruction(self.heap().instruction(self.first + self.next));
            self.next += 1;
            if let Some(value) = self.step(instruction)? {
                return Ok(value);
            }
        }
    }

    /// One instruction. Returns the value that the program has in the end.
    #[inline]
    fn step(&mut self, instruction: Instruction) -> Result<Option<Value>, Trap> {
        let (a, b) = (instruction.a(), instruction.b());
        match instruction.operation() {
            Operation::Constant => {
                let value = self.heap().get(self.constants, a);
                self.push(value);
            }
            Operation::Number => self.push(Value::number(b.into()).unwrap_or(Value::NIL)),
            Operation::PrimitiveValue => self.push(Value::primitive(a as u32)),
            Operation::Unspecified => self.push(Value::UNSPECIFIED),
            Operation::Local => {
                let value = self.mutator.stack.get(self.frame + a);
                self.push(value);
            }
            Operation::SetLocal => {
                let value = self.pop();
                self.mutator.stack.set(self.frame + a, value);
            }
            Operation::Free => {
                let value = self.heap().get(Object(self.closure.word()), 1 + a);
                self.push(value);
            }
            Operation::Unbox => {
                let value = self.heap().get(Object(self.peek().word()), 0);
                self.replace_top(value);
            }
            Operation::SetBox => {
                let value = self.pop();
                let boxed = self.pop();
                self.mutator.set(Object(boxed.word()), 0, value);
            }
            Operation::Box => {
                let place = self.frame + a;
                let value = self.mutator.stack.get(place);
                let boxed = self.with_memory(|this| {
                    Ok(this.mutator.values(Kind::Box, [value].into_iter())?)
                })?;
                self.mutator.stack.set(place, boxed.into());
            }
            Operation::Global => {
                let symbol = Object(self.heap().get(self.constants, a).word());
                let value = self.heap().get(symbol, SYMBOL_VALUE);
                if value == Value::UNBOUND {
                    return Err(self.undefined(symbol));
                }
                self.push(value);
            }
            Operation::SetGlobal => {
                let symbol = Object(self.heap().get(self.constants, a).word());
                if b == 0 && self.heap().get(symbol, SYMBOL_VALUE) == Value::UNBOUND {
                    return Err(self.undefined(symbol));
                }
                let value = self.pop();
                self.mutator.set(symbol, SYMBOL_VALUE, value);
            }
            Operation::Jump => self.next = a,
            Operation::JumpIfFalse => {
                if !self.pop().is_true() {
                    self.next = a;
                }
            }
            Operation::Closure => self.make_closure(a, b as usize)?,
            Operation::Frame => {
                for _ in 0..RETURN_VALUES {
                    self.push(Value::UNSPECIFIED);
                }
            }
            Operation::Call => return self.call(a, false),
            Operation::TailCall => return self.call(a, true),
            Operation::Return => {
                let value = self.pop();
                return Ok(self.return_value(value));
            }
            Operation::Primitive => {
                let arguments = Arguments {
                    first: self.top - b as usize,
                    count: b as usize,
                };
                let value = self.run_primitive(a, arguments)?;
                self.top = arguments.first;
                self.push(value);
            }
            Operation::Pop => self.top -= 1,
            Operation::Slide => {
                let value = self.pop();
                self.top -= a;
                self.push(value);
            }
        }
        Ok(None)
    }

    fn undefined(&self, symbol: Object) -> Trap {
        let name = printer::written(self.heap(), symbol.into());
        Trap::Error(format!("the variable {name} is not defined"))
    }

    fn make_closure(&mut self, constant: usize, free: usize) -> Result<(), Trap> {
        let code = self.heap().get(self.constants, constant);
        let first = self.top - free;
        let closure = self.with_memory(|this| {
            let stack = this.mutator.stack.clone();
            let values = (0..1 + free).map(|i| match i {
                0 => code,
                _ => stack.get(first + i - 1),
            });
            Ok(this.mutator.values(Kind::Closure, values)?)
        })?;
        self.top = first;
        self.push(closure.into());
        Ok(())
    }

    fn run_primitive(&mut self, index: usize, arguments: Arguments) -> Result<Value, Trap> {
        let primitive = &self.primitives[index];
        primitive.check_count(arguments.count)?;
        if primitive.allocates {
            self.with_memory(|this| (primitive.run)(this, arguments))
        } else {
            (primitive.run)(self, arguments)
        }
    }

    /// Calls the procedure on top with the values below it.
    fn call(&mut self, count: usize, is_tail: bool) -> Result<Option<Value>, Trap> {
        let mut count = count;
        let top = self.everything_on_stack();
        self.mutator.poll(top);
        loop {
            let procedure = self.peek();
            if let Some(index) = procedure.as_primitive() {
                if index == primitives::APPLY {
                    count = self.spread(count)?;
                    continue;
                }
                let arguments = Arguments {
                    first: self.top - 1 - count,
                    count,
                };
                let value = self.run_primitive(index as usize, arguments)?;
                if is_tail {
                    return Ok(self.return_value(value));
                }
                self.top = arguments.first - RETURN_VALUES;
                // The program itself may be a primitive.
                if self.closure == Value::UNBOUND {
                    self.push(value);
                    return Ok(Some(value));
                }
                self.push(value);
                return Ok(None);
            }
            let closure = match procedure.as_object() {
                Some(object) if self.heap().kind(object) == Some(Kind::Closure) => object,
                _ => {
                    let text = printer::written(self.heap(), procedure);
                    return Err(Trap::Error(format!("{text} is no procedure")));
                }
            };
            self.enter(closure, count, is_tail)?;
            return Ok(None);
        }
    }

    /// `(apply f a b list)`, with `apply` on top of the stack, becomes a call of `f`. Returns the number of its arguments.
    fn spread(&mut self, count: usize) -> Result<usize, Trap> {
        if count < 2 {
            return Err(Trap::Error("apply needs a procedure and a list".to_owned()));
        }
        let first = self.top - 1 - count;
        let procedure = self.mutator.stack.get(first);
        let mut list = self.mutator.stack.get(first + count - 1);
        for at in first..first + count - 2 {
            let value = self.mutator.stack.get(at + 1);
            self.mutator.stack.set(at, value);
        }
        self.top = first + count - 2;
        while list != Value::NIL {
            let pair = match list.as_object() {
                Some(object) if self.heap().kind(object) == Some(Kind::Pair) => object,
                _ => return Err(Trap::Error("apply needs a list".to_owned())),
            };
            self.need_room(1)?;
            let value = self.heap().get(pair, 0);
            self.push(value);
            list = self.heap().get(pair, 1);
        }
        self.push(procedure);
        Ok(self.top - 1 - first)
    }

    fn need_room(&self, values: usize) -> Result<(), Trap> {
        if self.top + values + SLACK > self.mutator.stack.room() {
            return Err(Trap::Error(
                "the stack is full: recursion is too deep".to_owned(),
            ));
        }
        Ok(())
    }

    /// Goes on at the beginning of a closure, which is on top of the stack with its arguments below.
    fn enter(&mut self, closure: Object, count: usize, is_tail: bool) -> Result<(), Trap> {
        let code = Object(self.heap().get(closure, 0).word());
        let number = |index| self.heap().get(code, index).as_index().unwrap_or(0);
        let (parameters, depth) = (number(code::PARAMETERS), number(code::DEPTH));
        let has_rest = self.heap().get(code, code::HAS_REST).is_true();
        if count < parameters || count > parameters && !has_rest {
            let name = Object(self.heap().get(code, code::NAME).word());
            let (name, more) = (
                self.heap().text(name),
                if has_rest { " or more" } else { "" },
            );
            return Err(Trap::Error(format!(
                "{name} takes {parameters}{more} arguments and is given {count}"
            )));
        }
        self.need_room(depth + RETURN_VALUES)?;
        if has_rest {
            self.collect_rest(count - parameters)?;
        }
        let held = parameters + usize::from(has_rest);
        let first = self.top - 1 - held;
        if is_tail {
            for at in 0..held {
                let value = self.mutator.stack.get(first + at);
                self.mutator.stack.set(self.frame + at, value);
            }
        } else {
            let to_return_by = [
                self.closure,
                Value::small(self.next),
                Value::small(self.frame),
            ];
            for (at, value) in to_return_by.into_iter().enumerate() {
                self.mutator.stack.set(first - RETURN_VALUES + at, value);
            }
            self.frame = first;
        }
        self.top = self.frame + held;
        self.go_to(closure.into(), 0);
        Ok(())
    }

    /// Replaces so many arguments, which are below the procedure on top, by a list of them.
    fn collect_rest(&mut self, count: usize) -> Result<(), Trap> {
        let first = self.top - 1 - count;
        let list = self.with_memory(|this| {
            (first..first + count)
                .rev()
                .try_fold(Value::NIL, |tail, at| {
                    let value = this.mutator.stack.get(at);
                    this.cons(value, tail)
                })
        })?;
        let procedure = self.peek();
        self.top = first;
        self.push(list);
        self.push(procedure);
        Ok(())
    }

    /// Goes on in a closure's code.
    fn go_to(&mut self, closure: Value, next: usize) {
        let heap = self.mutator.heap();
        let code = Object(heap.get(Object(closure.word()), 0).word());
        let instructions = Object(heap.get(code, code::INSTRUCTIONS).word());
        self.first = heap.first_word(instructions);
        self.constants = Object(heap.get(code, code::CONSTANTS).word());
        self.closure = closure;
        self.next = next;
    }

    /// Goes on after the call of the procedure that runs. Returns the value if nobody has called it.
    fn return_value(&mut self, value: Value) -> Option<Value> {
        let from = self.frame - RETURN_VALUES;
        let [closure, next, frame] = [0, 1, 2].map(|at| self.mutator.stack.get(from + at));
        self.top = from;
        self.push(value);
        if closure == Value::UNBOUND {
            self.closure = closure;
            return Some(value);
        }
        self.frame = frame.as_index().unwrap_or(0);
        self.go_to(closure, next.as_index().unwrap_or(0));
        None
    }
}
