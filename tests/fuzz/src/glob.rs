//! Patterns of keys against a matcher that tries every way for every star.

use crate::bytes::Bytes;
use crate::foreign::glob::matches;

/// Longer patterns and texts would take the plain matcher too long.
const LONGEST: usize = 14;

pub fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    let Some(split) = bytes.below(LONGEST + 1) else {
        return;
    };
    let (pattern, text) = bytes.0.split_at(split.min(bytes.0.len()));
    let text = &text[..text.len().min(LONGEST)];
    assert_eq!(matches(pattern, text), plainly(pattern, text));
}

fn plainly(pattern: &[u8], text: &[u8]) -> bool {
    let Some((&first, rest)) = pattern.split_first() else {
        return text.is_empty();
    };
    if first == b'*' {
        return (0..=text.len()).any(|taken| plainly(rest, &text[taken..]));
    }
    let Some((&byte, tail)) = text.split_first() else {
        return false;
    };
    let (fits, rest) = match (first, rest) {
        (b'?', _) => (true, rest),
        (b'[', _) => class(rest, byte),
        (b'\\', [literal, rest @ ..]) => (*literal == byte, rest),
        _ => (first == byte, rest),
    };
    fits && plainly(rest, tail)
}

/// The members of a class one by one, and what follows it.
fn class(class: &[u8], byte: u8) -> (bool, &[u8]) {
    let negated = class.first() == Some(&b'^');
    let mut at = usize::from(negated);
    let mut members = Vec::new();
    while at < class.len() && class[at] != b']' {
        let rest = &class[at..];
        if rest[0] == b'\\' && rest.len() > 1 {
            members.push(rest[1]);
            at += 2;
        } else if rest.len() > 2 && rest[1] == b'-' {
            members.extend(rest[0].min(rest[2])..=rest[0].max(rest[2]));
            at += 3;
        } else {
            members.push(rest[0]);
            at += 1;
        }
    }
    let after = class.get(at + 1..).unwrap_or_default();
    (members.contains(&byte) != negated, after)
}
