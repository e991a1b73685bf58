//! Reading protocol buffers, whatever they say: a message's numbers and parts, by field.

use std::collections::BTreeMap;

/// A message that was read.
#[derive(Debug, Default)]
pub struct Message {
    numbers: BTreeMap<u64, Vec<u64>>,
    parts: BTreeMap<u64, Vec<Vec<u8>>>,
}

/// A number of variable length, taken from the front.
///
/// # Panics
/// When there is none.
pub fn varint(bytes: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        value |= u64::from(byte & 127) << shift;
        shift += 7;
        if byte < 128 {
            return value;
        }
    }
}

impl Message {
    /// Reads a message.
    ///
    /// # Panics
    /// When it is none.
    pub fn read(mut bytes: &[u8]) -> Message {
        let mut message = Message::default();
        while !bytes.is_empty() {
            let key = varint(&mut bytes);
            let field = key >> 3;
            let mut number = |value| message.numbers.entry(field).or_default().push(value);
            match key & 7 {
                0 => number(varint(&mut bytes)),
                1 => {
                    let (word, rest) = bytes.split_at(8);
                    number(u64::from_le_bytes(word.try_into().expect("eight bytes")));
                    bytes = rest;
                }
                2 => {
                    let len = varint(&mut bytes) as usize;
                    let (part, rest) = bytes.split_at(len);
                    message.parts.entry(field).or_default().push(part.to_vec());
                    bytes = rest;
                }
                other => panic!("wire type {other}"),
            }
        }
        message
    }

    /// A field's number, if it is there.
    pub fn number(&self, field: u64) -> Option<u64> {
        self.numbers.get(&field).map(|numbers| numbers[0])
    }

    /// A field's strings of bytes.
    pub fn bytes(&self, field: u64) -> &[Vec<u8>] {
        self.parts.get(&field).map_or(&[], Vec::as_slice)
    }

    /// A field's messages.
    pub fn parts(&self, field: u64) -> impl Iterator<Item = Message> {
        self.bytes(field).iter().map(|part| Message::read(part))
    }

    /// A field's text, if it is there.
    ///
    /// # Panics
    /// When it is no text.
    pub fn text(&self, field: u64) -> Option<String> {
        let text = self.bytes(field).first()?.clone();
        Some(String::from_utf8(text).expect("text"))
    }
}
