//! From text to data.
//!
//! It knows nothing of the heap: what it reads are trees of its own, which the compiler takes as they are, and `read` turns into lists. So nothing here can be in the
//! collector's way, and it can be tested, and fed garbage, alone.
//!
//! Invariant: data is no deeper than [`DEPTH`], so that what comes after may recurse.

use std::fmt;

/// How deep data may be nested.
pub const DEPTH: usize = 500;

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Datum {
    /// `#t` or `#f`.
    Truth(bool),
    /// A number.
    Number(i64),
    /// `#\a`
    Character(char),
    /// `"..."`
    Text(String),
    /// A name.
    Symbol(String),
    /// `(a b c)`, the empty list too.
    List(Vec<Datum>),
    /// `(a b . c)`
    Dotted(Vec<Datum>, Box<Datum>),
    /// `#(a b c)`
    Vector(Vec<Datum>),
}

/// Why the text is not data, and in which line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    line: usize,
    why: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.why)
    }
}

/// A text that is being read.
pub struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Reader<'t> {
    /// From its beginning.
    pub fn new(text: &'t str) -> Reader<'t> {
        Reader { text, at: 0 }
    }

    /// The next datum; `None` at the end of the text.
    ///
    /// # Errors
    /// If there is one and it is malformed.
    pub fn read(&mut self) -> Result<Option<Datum>, Malformed> {
        self.skip_space();
        if self.peek().is_none() {
            return Ok(None);
        }
        self.datum(DEPTH).map(Some)
    }

    /// What has not been read.
    pub fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn malformed(&self, why: &'static str) -> Malformed {
        let line = 1 + self.text[..self.at].matches('\n').count();
        Malformed { line, why }
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn skip_space(&mut self) {
        while let Some(c) = self.peek() {
            if c == ';' {
                self.at += self.rest().find('\n').unwrap_or(self.rest().len());
            } else if c.is_whitespace() {
                self.at += c.len_utf8();
            } else {
                return;
            }
        }
    }

    fn datum(&mut self, depth: usize) -> Result<Datum, Malformed> {
        self.skip_space();
        if depth == 0 {
            return Err(self.malformed("nested too deeply"));
        }
        match self.peek() {
            None => Err(self.malformed("the text ends within a datum")),
            Some('(') => {
                self.at += 1;
                self.list(depth)
            }
            Some(')') => Err(self.malformed("a parenthesis closes nothing")),
            Some('\'') => self.quoted("quote", depth),
            Some('`') => self.quoted("quasiquote", depth),
            Some(',') => self.quoted("unquote", depth),
            Some('"') => self.string(),
            Some('#') => self.hashed(depth),
            Some(_) => self.atom(),
        }
    }

    fn quoted(&mut self, by: &str, depth: usize) -> Result<Datum, Malformed> {
        self.at += 1;
        let datum = self.datum(depth - 1)?;
        Ok(Datum::List(vec![Datum::Symbol(by.to_owned()), datum]))
    }

    /// What follows an open parenthesis.
    fn list(&mut self, depth: usize) -> Result<Datum, Malformed> {
        let mut items = Vec::new();
        loop {
            self.skip_space();
            if self.peek() == Some(')') {
                self.at += 1;
                return Ok(Datum::List(items));
            }
            if self.token() == "." && !items.is_empty() {
                self.at += 1;
                let tail = self.datum(depth - 1)?;
                self.skip_space();
                if self.next() != Some(')') {
                    return Err(self.malformed("more than one datum after a dot"));
                }
                return Ok(match tail {
                    Datum::List(more) => {
                        items.extend(more);
                        Datum::List(items)
                    }
                    Datum::Dotted(more, tail) => {
                        items.extend(more);
                        Datum::Dotted(items, tail)
                    }
                    tail => Datum::Dotted(items, Box::new(tail)),
                });
            }
            items.push(self.datum(depth - 1)?);
        }
    }

    fn string(&mut self) -> Result<Datum, Malformed> {
        self.at += 1;
        let mut text = String::new();
        loop {
            match self.next() {
                None => return Err(self.malformed("the text ends within a string")),
                Some('"') => return Ok(Datum::Text(text)),
                Some('\\') => match self.next() {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some(c @ ('"' | '\\')) => text.push(c),
                    _ => return Err(self.malformed("an escape that is not \\n, \\t, \\\" or \\\\")),
                },
                Some(c) => text.push(c),
            }
        }
    }

    fn hashed(&mut self, depth: usize) -> Result<Datum, Malformed> {
        if self.rest().starts_with("#(") {
            self.at += 2;
            return match self.list(depth)? {
                Datum::List(items) => Ok(Datum::Vector(items)),
                _ => Err(self.malformed("a dot in a vector")),
            };
        }
        if self.rest().starts_with("#\\") {
            return self.character();
        }
        let token = self.token();
        let datum = match token {
            "#t" => Datum::Truth(true),
            "#f" => Datum::Truth(false),
            _ => return Err(self.malformed("# begins neither #t, #f, #( nor #\\")),
        };
        self.at += token.len();
        Ok(datum)
    }

    fn character(&mut self) -> Result<Datum, Malformed> {
        self.at += 2;
        let name = self.token();
        let named = match name {
            "space" => Some(' '),
            "newline" => Some('\n'),
            "tab" => Some('\t'),
            _ => None,
        };
        if let Some(c) = named {
            self.at += name.len();
            return Ok(Datum::Character(c));
        }
        if name.chars().count() > 1 {
            return Err(self.malformed("a character of no known name"));
        }
        let c = self.next();
        c.map(Datum::Character)
            .ok_or(self.malformed("the text ends within a character"))
    }

    /// What comes up to the next delimiter.
    fn token(&self) -> &'t str {
        let is_delimiter =
            |c: char| c.is_whitespace() || matches!(c, '(' | ')' | '"' | ';' | '\'' | '`' | ',');
        let rest = self.rest();
        &rest[..rest.find(is_delimiter).unwrap_or(rest.len())]
    }

    fn atom(&mut self) -> Result<Datum, Malformed> {
        let token = self.token();
        let digits = token.strip_prefix(['-', '+']).unwrap_or(token);
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let datum = match token.parse::<i64>() {
            Ok(number) if is_number && (i64::MIN >> 1..=i64::MAX >> 1).contains(&number) => {
                Datum::Number(number)
            }
            _ if is_number => return Err(self.malformed("a number of more than 63 bits")),
            _ if token == "." => return Err(self.malformed("a dot that is in no list")),
            _ => Datum::Symbol(token.to_owned()),
        };
        self.at += token.len();
        Ok(datum)
    }
}

/// What a character is called when it is written.
pub fn character_name(c: char) -> String {
    match c {
        ' ' => "#\\space".to_owned(),
        '\n' => "#\\newline".to_owned(),
        '\t' => "#\\tab".to_owned(),
        c => format!("#\\{c}"),
    }
}

/// How a string is written.
pub fn quoted_text(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '"' | '\\' => quoted.extend(['\\', c]),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

impl fmt::Display for Datum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let items = |f: &mut fmt::Formatter<'_>, items: &[Datum]| {
            for (i, item) in items.iter().enumerate() {
                write!(f, "{}{item}", if i > 0 { " " } else { "" })?;
            }
            Ok(())
        };
        match self {
            Datum::Truth(is) => f.write_str(if *is { "#t" } else { "#f" }),
            Datum::Number(n) => write!(f, "{n}"),
            Datum::Character(c) => f.write_str(&character_name(*c)),
            Datum::Text(text) => f.write_str(&quoted_text(text)),
            Datum::Symbol(name) => f.write_str(name),
            Datum::List(list) => {
                f.write_str("(")?;
                items(f, list)?;
                f.write_str(")")
            }
            Datum::Dotted(list, tail) => {
                f.write_str("(")?;
                items(f, list)?;
                write!(f, " . {tail})")
            }
            Datum::Vector(vector) => {
                f.write_str("#(")?;
                items(f, vector)?;
                f.write_str(")")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(text: &str) -> Result<Vec<Datum>, Malformed> {
        let mut reader = Reader::new(text);
        std::iter::from_fn(|| reader.read().transpose()).collect()
    }

    #[test]
    fn what_is_written_in_many_ways_is_the_same() {
        let written = "(a 'b -12 \"x\\\"\\n\" #\\space #(1 #t) (1 . (2 3)) (1 2 . 3)) ; end\n";
        let read = all(written).unwrap();
        assert_eq!(
            read[0].to_string(),
            "(a (quote b) -12 \"x\\\"\\n\" #\\space #(1 #t) (1 2 3) (1 2 . 3))"
        );
    }

    #[test]
    fn what_is_malformed_is_said_with_its_line() {
        let cases = [
            ("\n(a", "line 2: the text ends within a datum"),
            ("a\n)", "line 2: a parenthesis closes nothing"),
            ("\"a", "line 1: the text ends within a string"),
            (
                "9223372036854775807",
                "line 1: a number of more than 63 bits",
            ),
            ("(a . b c)", "line 1: more than one datum after a dot"),
            ("#\\spice", "line 1: a character of no known name"),
            ("#x", "line 1: # begins neither #t, #f, #( nor #\\"),
            ("(. a)", "line 1: a dot that is in no list"),
        ];
        for (text, why) in cases {
            assert_eq!(all(text).unwrap_err().to_string(), why);
        }
        let deep = "(".repeat(DEPTH + 1);
        assert!(
            all(&deep)
                .unwrap_err()
                .to_string()
                .ends_with("nested too deeply")
        );
        assert!(all(&"'".repeat(100_000)).is_err());
    }

    fn datum() -> impl Strategy<Value = Datum> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Datum::Truth),
            (i64::MIN >> 1..=i64::MAX >> 1).prop_map(Datum::Number),
            any::<char>().prop_map(Datum::Character),
            any::<String>().prop_map(Datum::Text),
            "[a-z!?*<=>/][a-z0-9!?]{1,8}".prop_map(Datum::Symbol),
        ];
        leaf.prop_recursive(5, 60, 6, |inner| {
            let list = prop::collection::vec(inner.clone(), 0..6);
            let atom = prop_oneof![any::<bool>().prop_map(Datum::Truth), Just(Datum::Number(7))];
            prop_oneof![
                list.clone().prop_map(Datum::List),
                list.clone().prop_map(Datum::Vector),
                (prop::collection::vec(inner, 1..6), atom)
                    .prop_map(|(list, tail)| Datum::Dotted(list, Box::new(tail))),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 256 }))]

        #[test]
        fn what_was_written_is_read_as_it_was(data in prop::collection::vec(datum(), 0..4)) {
            let written: Vec<String> = data.iter().map(Datum::to_string).collect();
            prop_assert_eq!(all(&written.join(" ")), Ok(data));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[()'`,.#\\\\\";a-f0-9 \n-]{0,60}") {
            if let Ok(data) = all(&text) {
                let written: Vec<String> = data.iter().map(Datum::to_string).collect();
                prop_assert_eq!(all(&written.join(" ")), Ok(data));
            }
        }
    }
}
