//! Numbers, of 63 bits. What would need more is an error.

use super::Outcome;
use crate::machine::{Arguments, Machine, Trap};
use crate::runtime::Gc;
use crate::value::Value;

fn too_large() -> Trap {
    Trap::Error("the result is too large for a number".to_owned())
}

fn fold<G: Gc>(
    m: &Machine<G>,
    arguments: Arguments,
    first: i64,
    from: usize,
    f: fn(i64, i64) -> Option<i64>,
) -> Outcome {
    let mut result = first;
    for index in from..arguments.count {
        result = f(result, m.number(arguments, index)?).ok_or_else(too_large)?;
    }
    Value::number(result).ok_or_else(too_large)
}

pub fn add<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    fold(m, arguments, 0, 0, i64::checked_add)
}

pub fn subtract<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    let first = m.number(arguments, 0)?;
    match arguments.count {
        1 => Value::number(-first).ok_or_else(too_large),
        _ => fold(m, arguments, first, 1, i64::checked_sub),
    }
}

pub fn multiply<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    fold(m, arguments, 1, 0, i64::checked_mul)
}

fn divide<G: Gc>(m: &Machine<G>, arguments: Arguments, f: fn(i64, i64) -> Option<i64>) -> Outcome {
    let (a, b) = (m.number(arguments, 0)?, m.number(arguments, 1)?);
    if b == 0 {
        return Err(Trap::Error(format!("{a} is divided by 0")));
    }
    f(a, b).and_then(Value::number).ok_or_else(too_large)
}

pub fn quotient<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    divide(m, arguments, i64::checked_div)
}

pub fn remainder<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    divide(m, arguments, i64::checked_rem)
}

/// The remainder that has the sign of the divisor.
pub fn modulo<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    divide(m, arguments, |a, b| {
        let remainder = a.checked_rem(b)?;
        let is_off = remainder != 0 && (remainder < 0) != (b < 0);
        Some(remainder + if is_off { b } else { 0 })
    })
}

fn compare<G: Gc>(m: &Machine<G>, arguments: Arguments, f: fn(&i64, &i64) -> bool) -> Outcome {
    let mut is_so = true;
    let mut last = m.number(arguments, 0)?;
    for index in 1..arguments.count {
        let next = m.number(arguments, index)?;
        is_so &= f(&last, &next);
        last = next;
    }
    Ok(Value::truth(is_so))
}

pub fn equal<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    compare(m, arguments, i64::eq)
}

pub fn less<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    compare(m, arguments, i64::lt)
}

pub fn greater<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    compare(m, arguments, i64::gt)
}

pub fn at_most<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    compare(m, arguments, i64::le)
}

pub fn at_least<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    compare(m, arguments, i64::ge)
}

pub fn is_number<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    Ok(Value::truth(m.argument(arguments, 0).as_number().is_some()))
}
