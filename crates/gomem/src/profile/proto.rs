//! Protocol buffers, as far as profiles and traces need them: a message is a sequence of fields, each a number or a length and bytes.

/// A message that is being written.
#[derive(Clone, Debug, Default)]
pub struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// A field that holds a number. Zero is not written, since it is what a reader takes a missing field for.
    pub fn number(&mut self, field: u64, value: u64) {
        if value != 0 {
            self.set(field, value);
        }
    }

    /// A field that holds a number, and of which it matters that it is there.
    pub fn set(&mut self, field: u64, value: u64) {
        self.varint(field << 3);
        self.varint(value);
    }

    /// A field that holds a number in eight bytes, as it is.
    pub fn fixed(&mut self, field: u64, value: u64) {
        self.varint(field << 3 | 1);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// A field that holds several.
    pub fn numbers(&mut self, field: u64, values: impl IntoIterator<Item = u64>) {
        let mut packed = Message::default();
        values.into_iter().for_each(|value| packed.varint(value));
        self.message(field, &packed);
    }

    /// A field that holds a string or bytes.
    pub fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// A field that holds another message.
    pub fn message(&mut self, field: u64, message: &Message) {
        self.bytes(field, &message.0);
    }

    /// What was written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of the format's documentation.
    #[test]
    fn numbers_and_strings() {
        let mut message = Message::default();
        message.number(1, 150);
        message.bytes(2, b"testing");
        message.number(3, 0);
        message.numbers(6, [3, 270, 86942]);
        message.fixed(7, 258);
        let bytes = message.into_bytes();
        assert_eq!(bytes[..3], [0x08, 0x96, 0x01]);
        assert_eq!(bytes[3..12], *b"\x12\x07testing");
        assert_eq!(bytes[12..20], [0x32, 6, 3, 0x8e, 2, 0x9e, 0xa7, 5]);
        assert_eq!(bytes[20..], [0x39, 2, 1, 0, 0, 0, 0, 0, 0]);
    }
}
