//! The format of `pprof`: samples of stacks with values, written as a protocol buffer.
//!
//! The heap profile is written with it, and by whoever composes a runtime of this allocator the profiles of other things. What addresses are called is left
//! to the caller: the allocator itself knows only what the dynamic linker does, and must not need more.
//!
//! Invariant: an address stands for itself, as the number of its location, so that samples can be written before it is known what is there. It is one
//! *within* the instruction that calls, or that was interrupted: for a return address one less than that ([`call`]).

use super::proto::Message;
pub use super::symbols::{Object, Objects};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The call that returns to an address: somewhere in its instruction.
pub fn call(return_address: usize) -> usize {
    return_address.wrapping_sub(1)
}

/// A function, and a place in it, that an address belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// Its name for people.
    pub function: String,
    /// The path of its source; empty if that is not known.
    pub file: String,
    /// The line there; 0 if it is not known.
    pub line: u32,
}

/// What a sample is labelled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label<'a> {
    /// A text.
    Text(&'a str),
    /// A number, and its unit.
    Number(i64, &'a str),
}

/// A profile that is being written.
#[derive(Default)]
pub struct Writer {
    message: Message,
    strings: Strings,
    addresses: BTreeSet<usize>,
}

impl Writer {
    /// A profile whose samples have values of these types and units, as `("inuse_space", "bytes")`.
    pub fn new(types: &[(&str, &str)]) -> Writer {
        let mut writer = Writer::default();
        for &kind in types {
            let value = writer.value_type(kind);
            writer.message.message(1, &value);
        }
        writer
    }

    fn value_type(&mut self, (name, unit): (&str, &str)) -> Message {
        let mut message = Message::default();
        message.number(1, self.strings.number(name));
        message.number(2, self.strings.number(unit));
        message
    }

    /// A sample: addresses within its calls, the innermost first, a value of each type, and labels.
    pub fn sample(
        &mut self,
        calls: impl Iterator<Item = usize> + Clone,
        values: &[i64],
        labels: &[(&str, Label<'_>)],
    ) {
        let mut sample = Message::default();
        sample.numbers(1, calls.clone().map(|call| call as u64));
        sample.numbers(2, values.iter().map(|&value| value as u64));
        for &(key, value) in labels {
            let mut label = Message::default();
            label.number(1, self.strings.number(key));
            match value {
                Label::Text(text) => label.number(2, self.strings.number(text)),
                Label::Number(number, unit) => {
                    label.number(3, number as u64);
                    label.number(4, self.strings.number(unit));
                }
            }
            sample.message(3, &label);
        }
        self.message.message(2, &sample);
        self.addresses.extend(calls);
    }

    /// Functions whose names match the regular expression are left out by readers, with all that they call.
    pub fn drop_frames(&mut self, names: &str) {
        let number = self.strings.number(names);
        self.message.number(7, number);
    }

    /// When it was taken, and over which time.
    pub fn taken(&mut self, at: SystemTime, over: Duration) {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let at = at.duration_since(UNIX_EPOCH).map_or(0, nanos);
        self.message.number(9, at);
        self.message.number(10, nanos(over));
    }

    /// One sample is taken for so much of something.
    pub fn period(&mut self, kind: (&str, &str), period: u64) {
        let kind = self.value_type(kind);
        self.message.message(11, &kind);
        self.message.number(12, period);
    }

    /// A remark, for people.
    pub fn comment(&mut self, text: &str) {
        let number = self.strings.number(text);
        self.message.numbers(13, [number]);
    }

    /// The type of value that readers show if they are not asked for another.
    pub fn default_type(&mut self, name: &str) {
        let number = self.strings.number(name);
        self.message.number(14, number);
    }

    /// The whole, uncompressed. `lines` says what an address is of, the innermost inlined call first; nothing if it is not known. `complete` says that nobody
    /// could find out more: then readers do not try.
    pub fn finish(mut self, complete: bool, mut lines: impl FnMut(usize) -> Vec<Line>) -> Vec<u8> {
        let objects = Objects::loaded();
        for (number, object) in (1..).zip(objects.iter()) {
            let mut mapping = Message::default();
            mapping.number(1, number);
            mapping.number(2, object.range.start as u64);
            mapping.number(3, object.range.end as u64);
            mapping.number(4, object.offset);
            mapping.number(5, self.strings.number(&object.path));
            mapping.number(6, self.strings.number(&object.build_id));
            // Has functions, files, lines, inlined calls.
            (7..=10).for_each(|known| mapping.number(known, u64::from(complete)));
            self.message.message(3, &mapping);
        }
        let mut functions = BTreeMap::new();
        for &address in &self.addresses {
            let mut location = Message::default();
            location.number(1, address as u64);
            let object = objects.position(address);
            location.number(2, object.map_or(0, |at| at as u64 + 1));
            location.number(3, address as u64);
            for place in lines(address) {
                let name = self.strings.number(&place.function);
                let function = (name, self.strings.number(&place.file));
                let next = functions.len() as u64 + 1;
                let mut line = Message::default();
                line.number(1, *functions.entry(function).or_insert(next));
                line.number(2, u64::from(place.line));
                location.message(4, &line);
            }
            self.message.message(4, &location);
        }
        for ((name, file), number) in functions {
            let mut function = Message::default();
            function.number(1, number);
            function.number(2, name);
            // A name that is the linker's as well is one that readers take apart.
            function.number(3, if complete { 0 } else { name });
            function.number(4, file);
            self.message.message(5, &function);
        }
        for text in &self.strings.table {
            self.message.bytes(6, text.as_bytes());
        }
        self.message.into_bytes()
    }
}

/// The strings of a profile, each once. The first is the empty one.
struct Strings {
    numbers: BTreeMap<String, u64>,
    table: Vec<String>,
}

impl Default for Strings {
    fn default() -> Strings {
        Strings {
            numbers: BTreeMap::from([(String::new(), 0)]),
            table: vec![String::new()],
        }
    }
}

impl Strings {
    fn number(&mut self, text: &str) -> u64 {
        if let Some(&number) = self.numbers.get(text) {
            return number;
        }
        let number = self.table.len() as u64;
        self.table.push(text.to_owned());
        self.numbers.insert(text.to_owned(), number);
        number
    }
}
