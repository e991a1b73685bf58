//! Programs of `gogc`'s example, from text to instructions: what is read can be written and read again, and whatever compiles leaves the stack at each instruction as high as
//! every way there leaves it, within the depth that the procedure declares.

use crate::foreign::lisp::code::{Operation, RETURN_VALUES};
use crate::foreign::lisp::compiler::{self, Constant, Template};
use crate::foreign::lisp::reader::{Datum, Reader};
use crate::foreign::lisp::syntax::{Expander, Primitives};

/// Longer texts make nothing new.
const LONGEST: usize = 400;

pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(&data[..data.len().min(LONGEST)]);
    let mut reader = Reader::new(&text);
    while let Ok(Some(datum)) = reader.read() {
        let written = datum.to_string();
        assert_eq!(Reader::new(&written).read(), Ok(Some(datum.clone())), "{written}");
        compile(&datum);
    }
}

fn compile(datum: &Datum) {
    let primitives = [("apply", 0, false), ("+", 1, true), ("car", 2, true)];
    let primitives: Primitives = primitives
        .into_iter()
        .map(|(name, number, direct)| (name, (number, direct)))
        .collect();
    if let Ok(lambda) = Expander::new(&primitives).expand(datum) {
        verify(&compiler::compile(&lambda), 0);
    }
}

/// Follows every way through a procedure whose closures have so many free variables.
fn verify(template: &Template, free: usize) {
    let held = template.parameters + usize::from(template.has_rest);
    let mut heights = vec![None; template.instructions.len()];
    let mut open = vec![(0, held)];
    while let Some((at, height)) = open.pop() {
        assert!(at < heights.len(), "the procedure has no end");
        match heights[at] {
            Some(known) => {
                assert_eq!(known, height, "two ways to {at} leave the stack differently");
                continue;
            }
            None => heights[at] = Some(height),
        }
        assert!(height <= template.depth, "deeper than declared, at {at}");
        let instruction = template.instructions[at];
        let (a, b) = (instruction.a(), instruction.b() as usize);
        let constant = |index: usize| &template.constants[index];
        // What is taken from the stack, and what is put there.
        let (taken, put) = match instruction.operation() {
            Operation::Constant => {
                assert!(matches!(constant(a), Constant::Datum(_)));
                (0, 1)
            }
            Operation::Global => {
                assert!(matches!(constant(a), Constant::Symbol(_)));
                (0, 1)
            }
            Operation::SetGlobal => {
                assert!(matches!(constant(a), Constant::Symbol(_)));
                (1, 0)
            }
            Operation::Number | Operation::PrimitiveValue | Operation::Unspecified => (0, 1),
            Operation::Local => {
                assert!(a < height);
                (0, 1)
            }
            Operation::SetLocal => {
                assert!(a + 1 < height);
                (1, 0)
            }
            Operation::Free => {
                assert!(a < free);
                (0, 1)
            }
            Operation::Box => {
                assert!(a < height);
                (0, 0)
            }
            Operation::Unbox => (1, 1),
            Operation::SetBox => (2, 0),
            Operation::Closure => {
                let Constant::Template(inner) = constant(a) else {
                    panic!("a closure of what is no code, at {at}");
                };
                verify(inner, b);
                (b, 1)
            }
            Operation::Frame => (0, RETURN_VALUES),
            Operation::Call => (RETURN_VALUES + a + 1, 1),
            Operation::Primitive => (b, 1),
            Operation::Pop => (1, 0),
            Operation::Slide => (a + 1, 1),
            Operation::Jump => {
                open.push((a, height));
                continue;
            }
            Operation::JumpIfFalse => {
                assert!(height > 0);
                open.push((a, height - 1));
                (1, 0)
            }
            Operation::Return => {
                assert!(height > 0);
                continue;
            }
            Operation::TailCall => {
                assert!(height > a);
                continue;
            }
        };
        assert!(height >= taken, "nothing to take, at {at}");
        open.push((at + 1, height - taken + put));
    }
}
