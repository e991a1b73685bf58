//! JSON, as far as it is written here (RFC 8259).

use std::fmt::{Display, Write};

/// A value that is being written: objects and lists are opened and closed by calls that nest.
#[derive(Default)]
pub(super) struct Json {
    text: String,
    /// Something stands before, in the same object or list.
    comma: bool,
}

impl Json {
    fn item(&mut self) {
        if std::mem::replace(&mut self.comma, true) {
            self.text.push(',');
        }
    }

    fn nested(&mut self, open: char, close: char, inside: impl FnOnce(&mut Json)) {
        self.item();
        self.text.push(open);
        self.comma = false;
        inside(self);
        self.text.push(close);
        self.comma = true;
    }

    pub(super) fn object(&mut self, inside: impl FnOnce(&mut Json)) {
        self.nested('{', '}', inside);
    }

    pub(super) fn list<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        mut each: impl FnMut(&mut Json, T),
    ) {
        self.nested('[', ']', |json| {
            items.into_iter().for_each(|item| each(json, item))
        });
    }

    /// The name of what is written next.
    pub(super) fn key(&mut self, name: &str) -> &mut Json {
        self.string(name);
        self.text.push(':');
        self.comma = false;
        self
    }

    pub(super) fn number(&mut self, value: impl Display) {
        self.item();
        // A string takes everything.
        let _ = write!(self.text, "{value}");
    }

    pub(super) fn bool(&mut self, value: bool) {
        self.number(value);
    }

    pub(super) fn null(&mut self) {
        self.number("null");
    }

    pub(super) fn string(&mut self, text: &str) {
        self.item();
        self.text.push('"');
        for letter in text.chars() {
            match letter {
                '"' | '\\' => self.text.extend(['\\', letter]),
                '\n' => self.text.push_str("\\n"),
                c if c < ' ' => {
                    let _ = write!(self.text, "\\u{:04x}", u32::from(c));
                }
                c => self.text.push(c),
            }
        }
        self.text.push('"');
    }

    pub(super) fn into_string(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_nest() {
        let mut json = Json::default();
        json.object(|json| {
            json.key("a\"\\\n\u{1}ü").number(1.5);
            json.key("list").list([1, 2], |json, n| json.number(n));
            json.key("empty").list([0; 0], |json, n| json.number(n));
            json.key("object").object(|json| json.key("yes").bool(true));
            json.key("none").null();
            json.key("s").string("x");
        });
        assert_eq!(
            json.into_string(),
            r#"{"a\"\\\n\u0001ü":1.5,"list":[1,2],"empty":[],"object":{"yes":true},"none":null,"s":"x"}"#
        );
    }
}
