//! Patterns of file names, as `KEYS` and `SCAN` have them: `*`, `?`, `[a-z]`, `[^x]`, `\x`.
//!
//! Invariant: time is at most the product of the two lengths. A star that was passed is never gone back to once a later star
//! has been reached, because whatever the earlier one could take, the later one can; so no pattern makes
//! the server hang while everyone waits for the keyspace.
//!
//! Odd patterns mean what they mean to Redis (`util.c`): an unclosed class extends to the end of the pattern, a range may be backwards, and
//! a backslash at the end is itself.

/// Does all of `text` match `pattern`?
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut pattern, mut text) = (pattern, text);
    // The last star: the pattern after it, and the text that it has not taken.
    let mut star: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', rest @ ..] = pattern {
            star = Some((rest, text));
            pattern = rest;
            continue;
        }
        match (pattern, text) {
            ([], []) => return true,
            ([_, ..], [byte, tail @ ..]) => {
                let (matched, rest) = one(pattern, *byte);
                if matched {
                    (pattern, text) = (rest, tail);
                    continue;
                }
            }
            _ => {}
        }
        let Some((rest, [_, tail @ ..])) = star else {
            return false;
        };
        (pattern, text) = (rest, tail);
        star = Some((rest, tail));
    }
}

/// Does `byte` match the first element of a pattern that is not empty and starts with no star? And the pattern after that element.
fn one(pattern: &[u8], byte: u8) -> (bool, &[u8]) {
    match pattern {
        [b'?', rest @ ..] => (true, rest),
        [b'[', class @ ..] => in_class(class, byte),
        [b'\\', literal, rest @ ..] | [literal, rest @ ..] => (*literal == byte, rest),
        [] => (false, pattern),
    }
}

/// Is `byte` in the class, whose opening bracket has been taken off? And the pattern after the class.
fn in_class(class: &[u8], byte: u8) -> (bool, &[u8]) {
    let (negated, mut rest) = match class {
        [b'^', rest @ ..] => (true, rest),
        _ => (false, class),
    };
    let mut found = false;
    loop {
        rest = match rest {
            [] => break,
            [b']', tail @ ..] => {
                rest = tail;
                break;
            }
            [b'\\', literal, tail @ ..] => {
                found |= *literal == byte;
                tail
            }
            [from, b'-', to, tail @ ..] => {
                found |= (*from.min(to)..=*from.max(to)).contains(&byte);
                tail
            }
            [literal, tail @ ..] => {
                found |= *literal == byte;
                tail
            }
        };
    }
    (found != negated, rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(pattern: &str, yes: &[&str], no: &[&str]) {
        for text in yes {
            assert!(
                matches(pattern.as_bytes(), text.as_bytes()),
                "{pattern} should match {text}"
            );
        }
        for text in no {
            assert!(
                !matches(pattern.as_bytes(), text.as_bytes()),
                "{pattern} should not match {text}"
            );
        }
    }

    #[test]
    fn each_element() {
        check("", &[""], &["a"]);
        check("h?llo", &["hello", "hxllo"], &["hllo", "heello"]);
        check("h*llo", &["hllo", "heeello"], &["hell", "xhllo"]);
        check("h[ae]llo", &["hello", "hallo"], &["hillo", "h[llo"]);
        check("h[^e]llo", &["hallo"], &["hello"]);
        check("h[a-b]llo", &["hallo", "hbllo"], &["hcllo"]);
        check("h[b-a]llo", &["hallo", "hbllo"], &["hcllo"]);
        check(r"h\?llo", &["h?llo"], &["hello"]);
        check(r"[\]]", &["]"], &["\\"]);
        check("*", &["", "abc"], &[]);
        check("**a**b*", &["ab", "xaxbx", "aab"], &["ba", ""]);
        check("a*b*c", &["abc", "axbxbxc"], &["abcd", "acb"]);
    }

    #[test]
    fn odd_patterns() {
        check("[abc", &["a", "c"], &["d", "[abc"]);
        check("[]a", &[], &["]a", "a"]);
        check("[^]a", &["xa"], &["a"]);
        check("\\", &["\\"], &[""]);
        check("a[", &[], &["a", "a["]);
        check("[a-]", &["a", "]", "^"], &["-", "b"]); // a range from a to the bracket
    }

    #[test]
    fn many_stars_take_no_time() {
        let pattern = "a*".repeat(200) + "b";
        assert!(!matches(pattern.as_bytes(), &[b'a'; 5000]));
    }

    /// The definition, which takes exponential time.
    fn by_definition(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], _) => text.is_empty(),
            ([b'*', rest @ ..], _) => (0..=text.len()).any(|n| by_definition(rest, &text[n..])),
            (_, []) => false,
            (_, [byte, tail @ ..]) => {
                let (matched, rest) = one(pattern, *byte);
                matched && by_definition(rest, tail)
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn as_defined(pattern in r"[ab*?\[\]\\^-]{0,8}", text in "[ab-]{0,8}") {
            let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
            prop_assert_eq!(matches(pattern, text), by_definition(pattern, text));
        }
    }
}
