//! Lists.

use super::call::index_range;
use super::{Call, Command, ONE_KEY, READ, READ_FAST, WRITE_FAST};
use crate::error::Result;
use crate::list::{End, List};
use goruntime::gc::Gc;

const GROUP: &str = "list";

/// The commands that are defined here.
#[rustfmt::skip]
pub const COMMANDS: &[Command] = &[
    Command::new("lpush", -3, WRITE_FAST, ONE_KEY, GROUP, "Add items at the front of a list", lpush),
    Command::new("rpush", -3, WRITE_FAST, ONE_KEY, GROUP, "Add items at the back of a list", rpush),
    Command::new("lpop", -2, WRITE_FAST, ONE_KEY, GROUP, "Take items from the front of a list", lpop),
    Command::new("rpop", -2, WRITE_FAST, ONE_KEY, GROUP, "Take items from the back of a list", rpop),
    Command::new("llen", 2, READ_FAST, ONE_KEY, GROUP, "Count the items of a list", llen),
    Command::new("lrange", 4, READ, ONE_KEY, GROUP, "Get the items of a range of a list", lrange),
    Command::new("lindex", 3, READ, ONE_KEY, GROUP, "Get an item of a list by its index", lindex),
];

fn push(call: &mut Call<'_>, end: End) -> Result {
    let (args, now) = (call.args, call.now);
    let list: Gc<List> = call.db().find_or_new(args.at(1), now)?;
    for item in args.from(2) {
        list.push(end, Gc::bytes(item));
    }
    call.reply.count(list.len());
    Ok(())
}

fn lpush(call: &mut Call<'_>) -> Result {
    push(call, End::Front)
}

fn rpush(call: &mut Call<'_>) -> Result {
    push(call, End::Back)
}

fn pop(call: &mut Call<'_>, end: End) -> Result {
    if call.args.len() > 3 {
        return Err(call.wrong_arity());
    }
    let count = if call.args.len() == 3 {
        Some(call.count(2)?)
    } else {
        None
    };
    let (now, key) = (call.now, call.key());
    let Some(list) = call.db().find_as::<List>(key, now)? else {
        match count {
            Some(_) => call.reply.null_array(),
            None => call.reply.null(),
        }
        return Ok(());
    };
    if let Some(count) = count {
        call.reply.array(count.min(list.len()));
    }
    for _ in 0..count.unwrap_or(1).min(list.len()) {
        if let Some(item) = list.pop(end) {
            call.reply.bulk(item.as_slice());
        }
    }
    call.db().prune(key, list);
    Ok(())
}

fn lpop(call: &mut Call<'_>) -> Result {
    pop(call, End::Front)
}

fn rpop(call: &mut Call<'_>) -> Result {
    pop(call, End::Back)
}

fn llen(call: &mut Call<'_>) -> Result {
    let (now, key) = (call.now, call.key());
    let list = call.db().read_as::<List>(key, now)?;
    call.reply.count(list.map_or(0, |list| list.len()));
    Ok(())
}

fn lrange(call: &mut Call<'_>) -> Result {
    let (now, key) = (call.now, call.key());
    let (first, last) = (call.integer(2)?, call.integer(3)?);
    let Some(list) = call.db().read_as::<List>(key, now)? else {
        call.reply.array(0);
        return Ok(());
    };
    let range = index_range(first, last, list.len());
    call.reply.array(range.len());
    for item in list.from(range.start).take(range.len()) {
        call.reply.bulk(item.as_slice());
    }
    Ok(())
}

fn lindex(call: &mut Call<'_>) -> Result {
    let (now, key) = (call.now, call.key());
    let list = call.db().read_as::<List>(key, now)?;
    let Some(list) = list else {
        call.reply.null();
        return Ok(());
    };
    let index = call.integer(2)?;
    let index = if index < 0 {
        index.saturating_add_unsigned(list.len() as u64)
    } else {
        index
    };
    match usize::try_from(index)
        .ok()
        .and_then(|index| list.get(index))
    {
        Some(item) => call.reply.bulk(item.as_slice()),
        None => call.reply.null(),
    }
    Ok(())
}
