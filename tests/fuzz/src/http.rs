//! The head of an HTTP request: what is whole stays so whatever follows, what is not whole is so at every cut, and what is refused stays refused.

use crate::bytes::Bytes;
use goruntime::fuzzing::{Parsed, is_own_name, parse_head};

pub fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    let Some(cut) = bytes.byte() else { return };
    let text = bytes.0;
    match parse_head(text) {
        Parsed::Whole(head, len) => {
            is_own_name(head.host.as_deref());
            assert!(len <= text.len());
            assert_eq!(
                parse_head(&text[..len]),
                Parsed::Whole(head, len),
                "what follows is none of it"
            );
            let cut = usize::from(cut) * len / 256;
            assert_eq!(parse_head(&text[..cut]), Parsed::Partial);
        }
        Parsed::Partial => {
            let cut = usize::from(cut) * text.len() / 256;
            assert_eq!(parse_head(&text[..cut]), Parsed::Partial);
        }
        Parsed::Refused(status) => {
            assert!((400..600).contains(&status));
            let longer = [text, b"\r\n\r\n"].concat();
            assert!(matches!(parse_head(&longer), Parsed::Refused(_)));
        }
    }
}
