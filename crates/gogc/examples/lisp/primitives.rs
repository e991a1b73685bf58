//! Procedures that the interpreter has built in.
//!
//! Each gets its arguments where they are on the stack. None stops the world, but those that wait for another thread; and each that allocates does so before it changes anything,
//! for it is run again if there was no memory ([`mutator`](crate::mutator)).

use std::collections::HashMap;

use crate::heap::Kind;
use crate::machine::{Arguments, Machine, Trap};
use crate::printer;
use crate::runtime::Gc;
use crate::syntax::Primitives;
use crate::value::{Object, Value};

mod data;
mod numbers;
mod outside;
mod strings;
mod tables;

/// What a primitive comes to.
pub type Outcome = Result<Value, Trap>;

/// A primitive.
pub struct Primitive<G: Gc> {
    /// What it is called.
    pub name: &'static str,
    /// How many arguments it takes.
    pub least: usize,
    /// How many it takes at most.
    pub most: usize,
    /// Whether it needs memory.
    pub allocates: bool,
    /// What it does.
    pub run: fn(&mut Machine<G>, Arguments) -> Outcome,
}

/// Any number of arguments.
const MANY: usize = usize::MAX;

/// The number of `apply`, which the machine does itself, since it calls a procedure.
pub const APPLY: u32 = 0;

struct Table<G>(std::marker::PhantomData<G>);

/// One that needs no memory.
const fn plain<G: Gc>(
    name: &'static str,
    least: usize,
    most: usize,
    run: fn(&mut Machine<G>, Arguments) -> Outcome,
) -> Primitive<G> {
    Primitive {
        name,
        least,
        most,
        allocates: false,
        run,
    }
}

/// One that does.
const fn allocating<G: Gc>(
    name: &'static str,
    least: usize,
    most: usize,
    run: fn(&mut Machine<G>, Arguments) -> Outcome,
) -> Primitive<G> {
    Primitive {
        allocates: true,
        ..plain(name, least, most, run)
    }
}

impl<G: Gc> Table<G> {
    const ALL: &'static [Primitive<G>] = &[
        plain("apply", 2, MANY, |_, _| Ok(Value::UNSPECIFIED)),
        plain("+", 0, MANY, numbers::add),
        plain("-", 1, MANY, numbers::subtract),
        plain("*", 0, MANY, numbers::multiply),
        plain("quotient", 2, 2, numbers::quotient),
        plain("remainder", 2, 2, numbers::remainder),
        plain("modulo", 2, 2, numbers::modulo),
        plain("=", 1, MANY, numbers::equal),
        plain("<", 1, MANY, numbers::less),
        plain(">", 1, MANY, numbers::greater),
        plain("<=", 1, MANY, numbers::at_most),
        plain(">=", 1, MANY, numbers::at_least),
        plain("number?", 1, 1, numbers::is_number),
        plain("eq?", 2, 2, data::is_same),
        plain("not", 1, 1, data::not),
        plain("pair?", 1, 1, data::is_pair),
        plain("null?", 1, 1, data::is_null),
        plain("symbol?", 1, 1, data::is_symbol),
        plain("string?", 1, 1, data::is_string),
        plain("vector?", 1, 1, data::is_vector),
        plain("char?", 1, 1, data::is_char),
        plain("boolean?", 1, 1, data::is_boolean),
        plain("procedure?", 1, 1, data::is_procedure),
        allocating("cons", 2, 2, data::cons),
        plain("car", 1, 1, data::car),
        plain("cdr", 1, 1, data::cdr),
        plain("set-car!", 2, 2, data::set_car),
        plain("set-cdr!", 2, 2, data::set_cdr),
        allocating("list", 0, MANY, data::list),
        allocating("vector", 0, MANY, data::vector),
        allocating("make-vector", 1, 2, data::make_vector),
        plain("vector-length", 1, 1, data::vector_length),
        plain("vector-ref", 2, 2, data::vector_ref),
        plain("vector-set!", 3, 3, data::vector_set),
        allocating("box", 1, 1, data::make_box),
        plain("unbox", 1, 1, data::unbox),
        plain("set-box!", 2, 2, data::set_box),
        plain("box-cas!", 3, 3, data::box_cas),
        plain("char->integer", 1, 1, strings::char_to_integer),
        plain("integer->char", 1, 1, strings::integer_to_char),
        plain("string-length", 1, 1, strings::length),
        plain("string-ref", 2, 2, strings::char_at),
        plain("string=?", 2, 2, strings::is_equal),
        plain("string<?", 2, 2, strings::is_less),
        allocating("substring", 3, 3, strings::substring),
        allocating("string-append", 0, MANY, strings::append),
        allocating("list->string", 1, 1, strings::from_list),
        allocating("symbol->string", 1, 1, strings::of_symbol),
        allocating("string->symbol", 1, 1, strings::to_symbol),
        allocating("number->string", 1, 1, strings::of_number),
        plain("string->number", 1, 1, strings::to_number),
        allocating("read-string", 1, 1, strings::read),
        allocating("make-table", 0, 0, tables::make),
        plain("table?", 1, 1, tables::is_table),
        plain("table-count", 1, 1, tables::count),
        plain("table-ref", 2, 3, tables::get),
        allocating("table-set!", 3, 3, tables::set),
        plain("table-delete!", 2, 2, tables::delete),
        allocating("table-keys", 1, 1, tables::keys),
        plain("display", 1, 1, outside::display),
        plain("write", 1, 1, outside::write),
        plain("newline", 0, 0, outside::newline),
        plain("error", 1, MANY, outside::error),
        plain("exit", 0, 1, outside::exit),
        plain("gc", 0, 0, outside::collect),
        plain("milliseconds", 0, 0, outside::milliseconds),
        plain("tick", 0, 0, outside::tick),
        plain("spawn", 1, 1, outside::spawn),
        plain("join", 1, 1, outside::join),
    ];
}

/// All of them, by number.
pub fn all<G: Gc>() -> &'static [Primitive<G>] {
    Table::<G>::ALL
}

/// Their numbers by name.
pub fn names<G: Gc>() -> Primitives {
    let numbered = (0..).zip(all::<G>());
    let entry =
        |(number, primitive): (u32, &Primitive<G>)| (primitive.name, (number, number != APPLY));
    numbered.map(entry).collect::<HashMap<_, _>>()
}

impl<G: Gc> Primitive<G> {
    /// Whether it may be called with so many arguments.
    ///
    /// # Errors
    /// If not.
    pub fn check_count(&self, count: usize) -> Result<(), Trap> {
        if (self.least..=self.most).contains(&count) {
            return Ok(());
        }
        let (name, least) = (self.name, self.least);
        let more = match self.most {
            most if most == least => String::new(),
            MANY => " or more".to_owned(),
            most => format!(" to {most}"),
        };
        Err(Trap::Error(format!(
            "{name} takes {least}{more} arguments and is given {count}"
        )))
    }
}

/// What primitives have in common.
impl<G: Gc> Machine<G> {
    /// The argument, which must be an object of this kind.
    fn object(&self, arguments: Arguments, index: usize, kind: Kind) -> Result<Object, Trap> {
        let value = self.argument(arguments, index);
        self.as_kind(value, kind)
            .ok_or_else(|| self.unfit(value, &format!("a {kind:?}").to_lowercase()))
    }

    /// The value as an object of this kind.
    fn as_kind(&self, value: Value, kind: Kind) -> Option<Object> {
        value
            .as_object()
            .filter(|object| self.heap().kind(*object) == Some(kind))
    }

    /// The argument, which must be a number.
    fn number(&self, arguments: Arguments, index: usize) -> Result<i64, Trap> {
        let value = self.argument(arguments, index);
        value
            .as_number()
            .ok_or_else(|| self.unfit(value, "a number"))
    }

    /// The argument, which must be a number from 0 to `most`.
    fn index(&self, arguments: Arguments, index: usize, most: usize) -> Result<usize, Trap> {
        let value = self.argument(arguments, index);
        value
            .as_index()
            .filter(|index| *index <= most)
            .ok_or_else(|| self.unfit(value, &format!("a number from 0 to {most}")))
    }

    /// The argument, which must be a string.
    fn text(&self, arguments: Arguments, index: usize) -> Result<String, Trap> {
        let string = self.object(arguments, index, Kind::String)?;
        Ok(self.heap().text(string))
    }

    /// The items of the argument, which must be a list.
    fn items(&self, arguments: Arguments, index: usize) -> Result<Vec<Value>, Trap> {
        let (mut items, mut rest) = (Vec::new(), self.argument(arguments, index));
        while rest != Value::NIL {
            let pair = self
                .as_kind(rest, Kind::Pair)
                .ok_or_else(|| self.unfit(rest, "a list"))?;
            items.push(self.heap().get(pair, 0));
            rest = self.heap().get(pair, 1);
        }
        Ok(items)
    }

    fn unfit(&self, value: Value, what: &str) -> Trap {
        let value = printer::written(self.heap(), value);
        Trap::Error(format!("{value} is not {what}"))
    }
}
