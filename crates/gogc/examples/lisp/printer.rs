//! From values to text.

use std::fmt::Write;

use crate::heap::{Heap, Kind};
use crate::machine::code;
use crate::reader::{DEPTH, character_name, quoted_text};
use crate::value::{Object, Value};

/// Items of a list or vector that are printed at most: what leads to itself has no end.
const LONGEST: usize = 1000;

/// As it would have to be written for a reader: strings in quotes.
pub fn written(heap: &Heap, value: Value) -> String {
    print(heap, value, true)
}

/// As it is shown to people: strings and characters as they are.
pub fn displayed(heap: &Heap, value: Value) -> String {
    print(heap, value, false)
}

fn print(heap: &Heap, value: Value, quotes: bool) -> String {
    let mut printer = Printer {
        heap,
        quotes,
        text: String::new(),
    };
    printer.value(value, DEPTH);
    printer.text
}

struct Printer<'h> {
    heap: &'h Heap,
    quotes: bool,
    text: String,
}

impl Printer<'_> {
    fn value(&mut self, value: Value, depth: usize) {
        if let Some(number) = value.as_number() {
            let _ = write!(self.text, "{number}");
        } else if let Some(c) = value.as_character() {
            match self.quotes {
                true => self.text.push_str(&character_name(c)),
                false => self.text.push(c),
            }
        } else if let Some(object) = value.as_object() {
            self.object(object, depth);
        } else {
            self.text.push_str(match value {
                Value::NIL => "()",
                Value::TRUE => "#t",
                Value::FALSE => "#f",
                Value::UNSPECIFIED => "#<unspecified>",
                _ if value.as_primitive().is_some() => "#<primitive>",
                _ => "#<nothing>",
            });
        }
    }

    fn object(&mut self, object: Object, depth: usize) {
        let heap = self.heap;
        let kind = heap.kind(object);
        match kind {
            Some(Kind::String) => {
                let text = heap.text(object);
                match self.quotes {
                    true => self.text.push_str(&quoted_text(&text)),
                    false => self.text.push_str(&text),
                }
            }
            Some(Kind::Symbol) => {
                let name = Object(heap.get(object, 0).word());
                self.text.push_str(&heap.text(name));
            }
            _ if depth == 0 => self.text.push_str("..."),
            Some(Kind::Pair) => self.list(object, depth),
            Some(Kind::Vector) => {
                self.text.push_str("#(");
                for index in 0..heap.length(object).min(LONGEST) {
                    self.space(index);
                    self.value(heap.get(object, index), depth - 1);
                }
                self.text.push(')');
            }
            Some(Kind::Box) => {
                self.text.push_str("#<box ");
                self.value(heap.get(object, 0), depth - 1);
                self.text.push('>');
            }
            Some(Kind::Closure) => {
                let code = Object(heap.get(object, 0).word());
                let name = Object(heap.get(code, code::NAME).word());
                let _ = write!(self.text, "#<procedure {}>", heap.text(name));
            }
            Some(Kind::Table) => {
                let _ = write!(self.text, "#<table ");
                self.value(heap.get(object, 0), 1);
                self.text.push('>');
            }
            Some(Kind::Code | Kind::Words) | None => self.text.push_str("#<code>"),
        }
    }

    fn space(&mut self, index: usize) {
        if index > 0 {
            self.text.push(' ');
        }
    }

    fn list(&mut self, first: Object, depth: usize) {
        self.text.push('(');
        let mut rest = Value::from(first);
        for index in 0..=LONGEST {
            match rest.as_object() {
                _ if index == LONGEST => self.text.push_str(" ..."),
                Some(pair) if self.heap.kind(pair) == Some(Kind::Pair) => {
                    self.space(index);
                    self.value(self.heap.get(pair, 0), depth - 1);
                    rest = self.heap.get(pair, 1);
                    continue;
                }
                _ if rest == Value::NIL => {}
                _ => {
                    self.text.push_str(" . ");
                    self.value(rest, depth - 1);
                }
            }
            break;
        }
        self.text.push(')');
    }
}
