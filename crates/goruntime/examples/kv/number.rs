//! Numbers as text, in Redis's spelling: what a client writes must come back byte for byte as Redis would print it.

/// The longest text of a 64-bit integer: a sign and nineteen digits.
const INTEGER_DIGITS: usize = 20;

pub use crate::resp::integer;

/// The decimal text of an integer, without allocating.
#[derive(Clone, Copy, Debug)]
pub struct Decimal {
    text: [u8; INTEGER_DIGITS],
    start: u8,
}

impl Decimal {
    /// The text of `value`.
    #[inline]
    pub fn new(value: i64) -> Decimal {
        let mut text = [0; INTEGER_DIGITS];
        let mut start = text.len();
        let mut rest = value.unsigned_abs();
        loop {
            start -= 1;
            // A digit is below ten.
            text[start] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        if value < 0 {
            start -= 1;
            text[start] = b'-';
        }
        Decimal {
            text,
            start: start as u8,
        }
    }

    /// The text.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.text[usize::from(self.start)..]
    }
}

/// A floating point number: decimal or `inf`, with an optional sign and no spaces. `None` for anything else, not-a-number included.
pub fn float(text: &[u8]) -> Option<f64> {
    let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (!value.is_nan()).then_some(value)
}

/// A floating point number as C's `%.17g` prints it, which tells every value from its neighbours.
pub fn float_text(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_string();
    }
    if value == 0.0 {
        return if value.is_sign_negative() { "-0" } else { "0" }.to_string();
    }
    const DIGITS: i32 = 17;
    let scientific = format!("{value:.16e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(mantissa) => ("-", mantissa),
        None => ("", mantissa),
    };
    let digits: String = mantissa.chars().filter(|c| *c != '.').collect();
    let digits = digits.trim_end_matches('0');
    if !(-4..DIGITS).contains(&exponent) {
        let (first, rest) = digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        let direction = if exponent < 0 { '-' } else { '+' };
        return format!(
            "{sign}{first}{point}{rest}e{direction}{:02}",
            exponent.abs()
        );
    }
    if exponent < 0 {
        let zeros = "0".repeat(exponent.unsigned_abs() as usize - 1);
        return format!("{sign}0.{zeros}{digits}");
    }
    let whole = exponent.unsigned_abs() as usize + 1;
    if digits.len() <= whole {
        return format!("{sign}{digits}{}", "0".repeat(whole - digits.len()));
    }
    let (whole, fraction) = digits.split_at(whole);
    format!("{sign}{whole}.{fraction}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn integers_have_one_spelling() {
        for good in [
            "0",
            "7",
            "-1",
            "9223372036854775807",
            "-9223372036854775808",
        ] {
            assert_eq!(integer(good.as_bytes()), good.parse().ok(), "{good}");
        }
        for bad in [
            "",
            "-",
            "+1",
            "-0",
            "01",
            "1 ",
            " 1",
            "1a",
            "9223372036854775808",
            "-9223372036854775809",
            "99999999999999999999999999",
        ] {
            assert_eq!(integer(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn floats_print_as_in_c() {
        for (value, text) in [
            (0.1, "0.10000000000000001"),
            (3.0, "3"),
            (-2.5, "-2.5"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (123456789012345680.0, "1.2345678901234568e+17"),
            (1e-4, "0.0001"),
            (1e-5, "1.0000000000000001e-05"),
            (5e-324, "4.9406564584124654e-324"),
            (1.7976931348623157e308, "1.7976931348623157e+308"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (0.0, "0"),
            (-0.0, "-0"),
        ] {
            assert_eq!(float_text(value), text);
        }
    }

    #[test]
    fn floats_that_are_none() {
        for bad in ["", "nan", "-nan", " 1", "1 ", "abc", "1e", "0x"] {
            assert_eq!(float(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(float(b"+inf"), Some(f64::INFINITY));
        assert_eq!(float(b"-Infinity"), Some(f64::NEG_INFINITY));
        assert_eq!(float(b"1e3"), Some(1000.0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn integers_survive(value: i64) {
            let text = Decimal::new(value);
            prop_assert_eq!(text.as_bytes().to_vec(), value.to_string().into_bytes());
            prop_assert_eq!(integer(text.as_bytes()), Some(value));
        }

        #[test]
        fn floats_survive(value in prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL) {
            prop_assert_eq!(float(float_text(value).as_bytes()), Some(value));
        }
    }
}
