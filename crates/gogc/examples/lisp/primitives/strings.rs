//! Characters, strings, symbols; and what is read from strings.

use super::Outcome;
use crate::heap::{Kind, LONGEST};
use crate::machine::{Arguments, Machine, Trap};
use crate::reader::Reader;
use crate::runtime::Gc;
use crate::value::{Object, Value};

fn character<G: Gc>(m: &Machine<G>, arguments: Arguments, index: usize) -> Result<char, Trap> {
    let value = m.argument(arguments, index);
    value
        .as_character()
        .ok_or_else(|| m.unfit(value, "a character"))
}

fn string<G: Gc>(m: &mut Machine<G>, text: &str) -> Outcome {
    if text.len() / 8 + 2 > LONGEST {
        return Err(Trap::Error("the string is too long".to_owned()));
    }
    Ok(m.mutator.string(text)?.into())
}

pub fn char_to_integer<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    Ok(Value::small(character(m, arguments, 0)? as usize))
}

pub fn integer_to_char<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    let value = m.argument(arguments, 0);
    let number = value.as_number().and_then(|n| u32::try_from(n).ok());
    let c = number.and_then(char::from_u32);
    c.map(Value::character)
        .ok_or_else(|| m.unfit(value, "the number of a character"))
}

pub fn length<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    Ok(Value::small(m.text(arguments, 0)?.chars().count()))
}

pub fn char_at<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    let text = m.text(arguments, 0)?;
    let index = m.index(arguments, 1, LONGEST)?;
    let c = text.chars().nth(index);
    c.map(Value::character)
        .ok_or_else(|| Trap::Error(format!("a string has no character {index}")))
}

pub fn is_equal<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    Ok(Value::truth(m.text(arguments, 0)? == m.text(arguments, 1)?))
}

pub fn is_less<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    Ok(Value::truth(m.text(arguments, 0)? < m.text(arguments, 1)?))
}

pub fn substring<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    let text = m.text(arguments, 0)?;
    let end = m.index(arguments, 2, text.chars().count())?;
    let begin = m.index(arguments, 1, end)?;
    let part: String = text.chars().take(end).skip(begin).collect();
    string(m, &part)
}

pub fn append<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    let mut text = String::new();
    for index in 0..arguments.count {
        text += &m.text(arguments, index)?;
    }
    string(m, &text)
}

pub fn from_list<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    let mut text = String::new();
    for value in m.items(arguments, 0)? {
        let c = value.as_character();
        text.push(c.ok_or_else(|| m.unfit(value, "a character"))?);
    }
    string(m, &text)
}

pub fn of_symbol<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    let symbol = m.object(arguments, 0, Kind::Symbol)?;
    let name = m.heap().text(Object(m.heap().get(symbol, 0).word()));
    string(m, &name)
}

pub fn to_symbol<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    let name = m.text(arguments, 0)?;
    m.symbol(&name)
}

pub fn of_number<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    let number = m.number(arguments, 0)?;
    string(m, &number.to_string())
}

/// The number that the string is, or `#f`.
pub fn to_number<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    let number = m.text(arguments, 0)?.parse::<i64>().ok();
    Ok(number.and_then(Value::number).unwrap_or(Value::FALSE))
}

/// The datum that the string is; `#f` for one that is empty.
pub fn read<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    let text = m.text(arguments, 0)?;
    match Reader::new(&text).read() {
        Ok(Some(datum)) => m.datum(&datum),
        Ok(None) => Ok(Value::FALSE),
        Err(why) => Err(Trap::Error(why.to_string())),
    }
}
