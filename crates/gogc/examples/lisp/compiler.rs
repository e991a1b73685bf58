//! From expressions to instructions.
//!
//! A procedure becomes a [`Template`]: what its closures share. Where a value is on the stack at each moment is known here, so that variables bound by `let` are places of the
//! frame like parameters. A closure has copies of its free variables; of one that is assigned to, a copy of the box that it is in.
//!
//! Like what comes before, this knows nothing of the heap; the machine makes objects of templates when all is compiled.

use std::rc::Rc;

use super::code::{Instruction, Operation, RETURN_VALUES};
use super::reader::Datum;
use super::syntax::{Lambda, Node, Variable};

/// A constant of a procedure.
#[derive(Debug)]
pub enum Constant {
    /// Data.
    Datum(Datum),
    /// The symbol of a global variable.
    Symbol(String),
    /// The code of a closure.
    Template(Template),
}

/// A procedure, compiled.
#[derive(Debug)]
pub struct Template {
    /// What it is called.
    pub name: String,
    /// How many arguments it takes, the rest not counted.
    pub parameters: usize,
    /// Whether it takes more.
    pub has_rest: bool,
    /// Values that its frame holds at most.
    pub depth: usize,
    /// What to do.
    pub instructions: Vec<Instruction>,
    /// What instructions refer to.
    pub constants: Vec<Constant>,
}

/// Compiles an expression at the top of a program.
pub fn compile(lambda: &Lambda) -> Template {
    procedure(lambda).0
}

/// A procedure that is being compiled.
#[derive(Default)]
struct Compiler {
    instructions: Vec<Instruction>,
    constants: Vec<Constant>,
    /// Variables in the frame, and their places.
    places: Vec<(Rc<Variable>, usize)>,
    free: Vec<Rc<Variable>>,
    /// Values in the frame now, and at most.
    height: usize,
    depth: usize,
}

/// The template, and the variables that its closures have copies of.
fn procedure(lambda: &Lambda) -> (Template, Vec<Rc<Variable>>) {
    let mut compiler = Compiler::default();
    for parameter in &lambda.parameters {
        compiler.push_place(parameter);
    }
    for (place, parameter) in lambda.parameters.iter().enumerate() {
        if parameter.is_boxed() {
            compiler.emit(Operation::Box, place, 0);
        }
    }
    compiler.tail(&lambda.body);
    let rest = usize::from(lambda.has_rest);
    let template = Template {
        name: lambda.name.clone(),
        parameters: lambda.parameters.len() - rest,
        has_rest: lambda.has_rest,
        depth: compiler.depth,
        instructions: compiler.instructions,
        constants: compiler.constants,
    };
    (template, compiler.free)
}

impl Compiler {
    fn emit(&mut self, operation: Operation, a: usize, b: i32) {
        self.instructions.push(Instruction::new(operation, a, b));
    }

    /// Emits what pushes one value.
    fn push(&mut self, operation: Operation, a: usize, b: i32) {
        self.emit(operation, a, b);
        self.grow(1);
    }

    fn grow(&mut self, values: usize) {
        self.height += values;
        self.depth = self.depth.max(self.height);
    }

    /// The next place of the frame is this variable's.
    fn push_place(&mut self, variable: &Rc<Variable>) {
        self.places.push((variable.clone(), self.height));
        self.grow(1);
    }

    fn constant(&mut self, constant: Constant) -> usize {
        let same = |other: &Constant| match (other, &constant) {
            (Constant::Symbol(a), Constant::Symbol(b)) => a == b,
            _ => false,
        };
        self.constants.iter().position(same).unwrap_or_else(|| {
            self.constants.push(constant);
            self.constants.len() - 1
        })
    }

    /// Pushes what is kept of the variable: the value, or the box.
    fn push_kept(&mut self, variable: &Rc<Variable>) {
        let is_it = |other: &Rc<Variable>| Rc::ptr_eq(other, variable);
        if let Some((_, place)) = self.places.iter().rev().find(|(other, _)| is_it(other)) {
            return self.push(Operation::Local, *place, 0);
        }
        let index = self.free.iter().position(is_it).unwrap_or_else(|| {
            self.free.push(variable.clone());
            self.free.len() - 1
        });
        self.push(Operation::Free, index, 0);
    }

    /// Pushes the value of the expression.
    fn value(&mut self, node: &Node) {
        match node {
            Node::Constant(Datum::Number(n)) if i32::try_from(*n).is_ok() => {
                self.push(Operation::Number, 0, *n as i32);
            }
            Node::Constant(datum) => {
                let constant = self.constant(Constant::Datum(datum.clone()));
                self.push(Operation::Constant, constant, 0);
            }
            Node::Unspecified => self.push(Operation::Unspecified, 0, 0),
            Node::Local(variable) => {
                self.push_kept(variable);
                if variable.is_boxed() {
                    self.emit(Operation::Unbox, 0, 0);
                }
            }
            Node::Global(name) => {
                let symbol = self.constant(Constant::Symbol(name.clone()));
                self.push(Operation::Global, symbol, 0);
            }
            Node::Primitive(index) => self.push(Operation::PrimitiveValue, *index as usize, 0),
            Node::SetLocal(variable, value) => {
                self.set(variable, value);
                self.push(Operation::Unspecified, 0, 0);
            }
            Node::SetGlobal(name, value, defines) => {
                self.value(value);
                let symbol = self.constant(Constant::Symbol(name.clone()));
                self.emit(Operation::SetGlobal, symbol, i32::from(*defines));
                self.height -= 1;
                self.push(Operation::Unspecified, 0, 0);
            }
            Node::If(parts) => {
                let to_else = self.condition(&parts[0]);
                self.value(&parts[1]);
                let to_end = self.jump();
                self.height -= 1;
                self.land(to_else);
                self.value(&parts[2]);
                self.land(to_end);
            }
            Node::Lambda(lambda) => self.closure(lambda),
            Node::Sequence(nodes) => {
                let last = self.all_but_last(nodes);
                self.value(last);
            }
            Node::Let(bound, body) => {
                self.bind(bound);
                self.value(body);
                self.unbind(bound.len());
            }
            Node::Letrec(bound, body) => {
                self.bind_recursively(bound);
                self.value(body);
                self.unbind(bound.len());
            }
            Node::Call(procedure, arguments) => {
                self.emit(Operation::Frame, 0, 0);
                self.grow(RETURN_VALUES);
                self.arguments(arguments);
                self.value(procedure);
                self.emit(Operation::Call, arguments.len(), 0);
                self.height -= RETURN_VALUES + arguments.len();
            }
            Node::PrimitiveCall(index, arguments) => self.primitive(*index, arguments),
        }
    }

    /// The same at the end of the procedure, which returns the value.
    fn tail(&mut self, node: &Node) {
        match node {
            Node::If(parts) => {
                let to_else = self.condition(&parts[0]);
                self.tail(&parts[1]);
                self.land(to_else);
                self.tail(&parts[2]);
            }
            Node::Sequence(nodes) => {
                let last = self.all_but_last(nodes);
                self.tail(last);
            }
            Node::Let(bound, body) => {
                self.bind(bound);
                self.tail(body);
                self.forget(bound.len());
            }
            Node::Letrec(bound, body) => {
                self.bind_recursively(bound);
                self.tail(body);
                self.forget(bound.len());
            }
            Node::Call(procedure, arguments) => {
                self.arguments(arguments);
                self.value(procedure);
                self.emit(Operation::TailCall, arguments.len(), 0);
                self.height -= arguments.len() + 1;
            }
            _ => {
                self.value(node);
                self.emit(Operation::Return, 0, 0);
                self.height -= 1;
            }
        }
    }

    fn arguments(&mut self, arguments: &[Node]) {
        for argument in arguments {
            self.value(argument);
        }
    }

    fn primitive(&mut self, index: u32, arguments: &[Node]) {
        self.arguments(arguments);
        self.emit(Operation::Primitive, index as usize, arguments.len() as i32);
        self.height -= arguments.len();
        self.grow(1);
    }

    /// Evaluates all but the last for their effects; returns the last.
    fn all_but_last<'n>(&mut self, nodes: &'n [Node]) -> &'n Node {
        let (last, others) = match nodes.split_last() {
            Some(split) => split,
            None => (&Node::Unspecified, nodes),
        };
        for node in others {
            self.value(node);
            self.emit(Operation::Pop, 0, 0);
            self.height -= 1;
        }
        last
    }

    fn closure(&mut self, lambda: &Lambda) {
        let (template, free) = procedure(lambda);
        for variable in &free {
            self.push_kept(variable);
        }
        let constant = self.constant(Constant::Template(template));
        self.emit(Operation::Closure, constant, free.len() as i32);
        self.height -= free.len();
        self.grow(1);
    }

    fn set(&mut self, variable: &Rc<Variable>, value: &Node) {
        if variable.is_boxed() {
            self.push_kept(variable);
            self.value(value);
            self.emit(Operation::SetBox, 0, 0);
            self.height -= 2;
            return;
        }
        self.value(value);
        // Not captured, so it is in this frame.
        let place = self
            .places
            .iter()
            .rev()
            .find(|(other, _)| Rc::ptr_eq(other, variable));
        let place = place.map_or(0, |(_, place)| *place);
        self.emit(Operation::SetLocal, place, 0);
        self.height -= 1;
    }

    fn bind(&mut self, bound: &[(Rc<Variable>, Node)]) {
        let first = self.height;
        for (_, value) in bound {
            self.value(value);
        }
        for (at, (variable, _)) in bound.iter().enumerate() {
            self.places.push((variable.clone(), first + at));
            if variable.is_boxed() {
                self.emit(Operation::Box, first + at, 0);
            }
        }
    }

    fn bind_recursively(&mut self, bound: &[(Rc<Variable>, Node)]) {
        for (variable, _) in bound {
            self.emit(Operation::Unspecified, 0, 0);
            self.push_place(variable);
            if variable.is_boxed() {
                self.emit(Operation::Box, self.height - 1, 0);
            }
        }
        for (variable, value) in bound {
            self.set(variable, value);
        }
    }

    /// The variables bound last are not there any more; neither are their values, below the one on top.
    fn unbind(&mut self, count: usize) {
        self.emit(Operation::Slide, count, 0);
        self.forget(count);
    }

    fn forget(&mut self, count: usize) {
        self.places.truncate(self.places.len() - count);
        self.height -= count;
    }

    /// Jumps, to where the result lands, if the condition is false.
    fn condition(&mut self, node: &Node) -> usize {
        self.value(node);
        self.height -= 1;
        self.emit(Operation::JumpIfFalse, 0, 0);
        self.instructions.len() - 1
    }

    fn jump(&mut self) -> usize {
        self.emit(Operation::Jump, 0, 0);
        self.instructions.len() - 1
    }

    /// The jump goes here.
    fn land(&mut self, jump: usize) {
        let operation = self.instructions[jump].operation();
        self.instructions[jump] = Instruction::new(operation, self.instructions.len(), 0);
    }
}
