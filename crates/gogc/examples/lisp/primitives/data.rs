//! Pairs, vectors, boxes; what is what.

use super::Outcome;
use crate::heap::{Kind, LONGEST};
use crate::machine::{Arguments, Machine, Trap};
use crate::runtime::Gc;
use crate::value::Value;

pub fn is_same<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    Ok(Value::truth(
        m.argument(arguments, 0) == m.argument(arguments, 1),
    ))
}

pub fn not<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    Ok(Value::truth(!m.argument(arguments, 0).is_true()))
}

pub fn is_null<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    Ok(Value::truth(m.argument(arguments, 0) == Value::NIL))
}

fn is_kind<G: Gc>(m: &Machine<G>, arguments: Arguments, kind: Kind) -> Outcome {
    let value = m.argument(arguments, 0);
    Ok(Value::truth(m.as_kind(value, kind).is_some()))
}

pub fn is_pair<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    is_kind(m, arguments, Kind::Pair)
}

pub fn is_symbol<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    is_kind(m, arguments, Kind::Symbol)
}

pub fn is_string<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    is_kind(m, arguments, Kind::String)
}

pub fn is_vector<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    is_kind(m, arguments, Kind::Vector)
}

pub fn is_char<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    Ok(Value::truth(
        m.argument(arguments, 0).as_character().is_some(),
    ))
}

pub fn is_boolean<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    let value = m.argument(arguments, 0);
    Ok(Value::truth(value == Value::TRUE || value == Value::FALSE))
}

pub fn is_procedure<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    let value = m.argument(arguments, 0);
    let is_closure = m.as_kind(value, Kind::Closure).is_some();
    Ok(Value::truth(is_closure || value.as_primitive().is_some()))
}

pub fn cons<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    let [first, second] = [0, 1].map(|index| m.argument(arguments, index));
    m.cons(first, second)
}

fn part<G: Gc>(m: &Machine<G>, arguments: Arguments, index: usize) -> Outcome {
    let pair = m.object(arguments, 0, Kind::Pair)?;
    Ok(m.heap().get(pair, index))
}

pub fn car<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    part(m, arguments, 0)
}

pub fn cdr<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    part(m, arguments, 1)
}

fn set_part<G: Gc>(m: &mut Machine<G>, arguments: Arguments, index: usize) -> Outcome {
    let pair = m.object(arguments, 0, Kind::Pair)?;
    let value = m.argument(arguments, 1);
    m.mutator.set(pair, index, value);
    Ok(Value::UNSPECIFIED)
}

pub fn set_car<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    set_part(m, arguments, 0)
}

pub fn set_cdr<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    set_part(m, arguments, 1)
}

pub fn list<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    (0..arguments.count)
        .rev()
        .try_fold(Value::NIL, |tail, index| {
            let first = m.argument(arguments, index);
            m.cons(first, tail)
        })
}

pub fn vector<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    let items: Vec<Value> = (0..arguments.count)
        .map(|index| m.argument(arguments, index))
        .collect();
    let vector = m.mutator.values(Kind::Vector, items.into_iter())?;
    Ok(vector.into())
}

pub fn make_vector<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    let length = m.index(arguments, 0, LONGEST)?;
    let item = match arguments.count {
        1 => Value::UNSPECIFIED,
        _ => m.argument(arguments, 1),
    };
    let items = std::iter::repeat_n(item, length);
    Ok(m.mutator.values(Kind::Vector, items)?.into())
}

pub fn vector_length<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    let vector = m.object(arguments, 0, Kind::Vector)?;
    Ok(Value::small(m.heap().length(vector)))
}

/// The last index of a vector.
fn last<G: Gc>(m: &Machine<G>, arguments: Arguments) -> Result<usize, Trap> {
    let vector = m.object(arguments, 0, Kind::Vector)?;
    match m.heap().length(vector) {
        0 => Err(Trap::Error("the vector is empty".to_owned())),
        length => Ok(length - 1),
    }
}

pub fn vector_ref<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    let vector = m.object(arguments, 0, Kind::Vector)?;
    let index = m.index(arguments, 1, last(m, arguments)?)?;
    Ok(m.heap().get(vector, index))
}

pub fn vector_set<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    let vector = m.object(arguments, 0, Kind::Vector)?;
    let index = m.index(arguments, 1, last(m, arguments)?)?;
    let value = m.argument(arguments, 2);
    m.mutator.set(vector, index, value);
    Ok(Value::UNSPECIFIED)
}

pub fn make_box<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    let value = m.argument(arguments, 0);
    let boxed = m.mutator.values(Kind::Box, [value].into_iter())?;
    Ok(boxed.into())
}

pub fn unbox<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    let boxed = m.object(arguments, 0, Kind::Box)?;
    Ok(m.heap().get(boxed, 0))
}

pub fn set_box<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    let boxed = m.object(arguments, 0, Kind::Box)?;
    let value = m.argument(arguments, 1);
    m.mutator.set(boxed, 0, value);
    Ok(Value::UNSPECIFIED)
}

/// `(box-cas! box old new)`: puts `new` into the box if `old` is in it, and says whether it was. What threads agree by.
pub fn box_cas<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    let boxed = m.object(arguments, 0, Kind::Box)?;
    let [old, new] = [1, 2].map(|index| m.argument(arguments, index));
    Ok(Value::truth(m.mutator.replace(boxed, 0, old, new)))
}
