//! From text to what the machine runs: objects of code, constants and symbols.
//!
//! Nothing here stops the world while it holds values in variables; when memory gives out, all is done again.

use crate::compiler::{self, Constant, Template};
use crate::heap::Kind;
use crate::machine::{Machine, Trap};
use crate::primitives;
use crate::reader::{Datum, Reader};
use crate::runtime::Gc;
use crate::syntax::Expander;
use crate::value::{Object, Value};

impl<G: Gc> Machine<G> {
    /// Runs a program text. Returns the value of the last expression.
    ///
    /// # Errors
    /// If it is malformed or wrong, or ends itself.
    pub fn run_text(&mut self, text: &str) -> Result<Value, Trap> {
        let mut reader = Reader::new(text);
        let mut last = Value::UNSPECIFIED;
        loop {
            match reader.read() {
                Ok(Some(datum)) => last = self.run_datum(&datum)?,
                Ok(None) => return Ok(last),
                Err(why) => return Err(Trap::Error(why.to_string())),
            }
        }
    }

    /// Runs an expression.
    ///
    /// # Errors
    /// As [`run_text`](Self::run_text).
    pub fn run_datum(&mut self, datum: &Datum) -> Result<Value, Trap> {
        let names = primitives::names::<G>();
        let lambda = Expander::new(&names).expand(datum)?;
        let template = compiler::compile(&lambda);
        self.clear_stack();
        let closure = self.with_memory(|this| {
            let code = this.code(&template)?;
            Ok(this
                .mutator
                .values(Kind::Closure, [Value::from(code)].into_iter())?)
        })?;
        self.run(closure.into())
    }

    /// The object of a template.
    fn code(&mut self, template: &Template) -> Result<Object, Trap> {
        let mut constants = Vec::new();
        for constant in &template.constants {
            constants.push(match constant {
                Constant::Datum(datum) => self.datum(datum)?,
                Constant::Symbol(name) => self.symbol(name)?,
                Constant::Template(template) => self.code(template)?.into(),
            });
        }
        let words: Vec<u64> = template.instructions.iter().map(|i| i.0).collect();
        let mutator = &mut self.mutator;
        let values = [
            mutator.string(&template.name)?.into(),
            mutator.words(Kind::Words, words.into_iter())?.into(),
            mutator.values(Kind::Vector, constants.into_iter())?.into(),
            Value::small(template.parameters),
            Value::truth(template.has_rest),
            Value::small(template.depth),
        ];
        Ok(mutator.values(Kind::Code, values.into_iter())?)
    }

    /// A datum as a value. Allocates, without stopping.
    ///
    /// # Errors
    /// If there is no memory.
    pub fn datum(&mut self, datum: &Datum) -> Result<Value, Trap> {
        Ok(match datum {
            Datum::Truth(is) => Value::truth(*is),
            Datum::Number(n) => Value::number(*n).unwrap_or(Value::UNSPECIFIED),
            Datum::Character(c) => Value::character(*c),
            Datum::Text(text) => self.mutator.string(text)?.into(),
            Datum::Symbol(name) => self.symbol(name)?,
            Datum::List(items) => self.list(items, Value::NIL)?,
            Datum::Dotted(items, tail) => {
                let tail = self.datum(tail)?;
                self.list(items, tail)?
            }
            Datum::Vector(items) => {
                let mut values = Vec::new();
                for item in items {
                    values.push(self.datum(item)?);
                }
                self.mutator
                    .values(Kind::Vector, values.into_iter())?
                    .into()
            }
        })
    }

    fn list(&mut self, items: &[Datum], tail: Value) -> Result<Value, Trap> {
        items.iter().rev().try_fold(tail, |tail, item| {
            let first = self.datum(item)?;
            self.cons(first, tail)
        })
    }

    /// A pair. Allocates, without stopping.
    ///
    /// # Errors
    /// If there is no memory.
    pub fn cons(&mut self, first: Value, second: Value) -> Result<Value, Trap> {
        let values = [first, second].into_iter();
        Ok(self.mutator.values(Kind::Pair, values)?.into())
    }

    /// A symbol. Allocates, without stopping.
    ///
    /// # Errors
    /// If there is no memory.
    pub fn symbol(&mut self, name: &str) -> Result<Value, Trap> {
        let runtime = self.mutator.runtime.clone();
        let mutator = &mut self.mutator;
        runtime.symbol(name, || {
            let values = [mutator.string(name)?.into(), Value::UNBOUND];
            Ok(mutator.values(Kind::Symbol, values.into_iter())?.into())
        })
    }
}
