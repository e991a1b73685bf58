//! Sets.

use super::{Call, Command, ONE_KEY, READ, READ_FAST, WRITE_FAST, scan};
use crate::error::{Error, Result};
use crate::value::Set;
use goruntime::gc::Gc;

const GROUP: &str = "set";

/// The commands that are defined here.
#[rustfmt::skip]
pub const COMMANDS: &[Command] = &[
    Command::new("sadd", -3, WRITE_FAST, ONE_KEY, GROUP, "Add members to a set", sadd),
    Command::new("srem", -3, WRITE_FAST, ONE_KEY, GROUP, "Remove members from a set", srem),
    Command::new("smembers", 2, READ, ONE_KEY, GROUP, "Get all members of a set", smembers),
    Command::new("sismember", 3, READ_FAST, ONE_KEY, GROUP, "Tell whether a set has a member", sismember),
    Command::new("scard", 2, READ_FAST, ONE_KEY, GROUP, "Count the members of a set", scard),
    Command::new("spop", -2, WRITE_FAST, ONE_KEY, GROUP, "Take random members from a set", spop),
    Command::new("sscan", -3, READ, ONE_KEY, GROUP, "List the members of a set piece by piece", scan::sscan),
];

fn sadd(call: &mut Call<'_>) -> Result {
    let (args, now) = (call.args, call.now);
    let set: Gc<Set> = call.db().find_or_new(args.at(1), now)?;
    let added = args
        .from(2)
        .filter(|m| set.find_or_insert(m, || (Gc::bytes(m), ())).1)
        .count();
    call.reply.count(added);
    Ok(())
}

fn srem(call: &mut Call<'_>) -> Result {
    let (args, now, key) = (call.args, call.now, call.key());
    let mut removed = 0;
    if let Some(set) = call.db().find_as::<Set>(key, now)? {
        removed = args
            .from(2)
            .filter(|member| set.remove(member).is_some())
            .count();
        call.db().prune(key, set);
    }
    call.reply.count(removed);
    Ok(())
}

fn smembers(call: &mut Call<'_>) -> Result {
    let (now, key) = (call.now, call.key());
    let Some(set) = call.db().read_as::<Set>(key, now)? else {
        call.reply.array(0);
        return Ok(());
    };
    call.reply.array(set.len());
    for entry in set.iter() {
        call.reply.bulk(entry.key().as_slice());
    }
    Ok(())
}

fn sismember(call: &mut Call<'_>) -> Result {
    let (now, key, member) = (call.now, call.key(), call.args.at(2));
    let set = call.db().read_as::<Set>(key, now)?;
    call.reply
        .truth(set.is_some_and(|set| set.find(member).is_some()));
    Ok(())
}

fn scard(call: &mut Call<'_>) -> Result {
    let (now, key) = (call.now, call.key());
    let set = call.db().read_as::<Set>(key, now)?;
    call.reply.count(set.map_or(0, |set| set.len()));
    Ok(())
}

fn spop(call: &mut Call<'_>) -> Result {
    let count = match call.args.len() {
        2 => None,
        3 => Some(call.count(2)?),
        _ => return Err(Error::SYNTAX),
    };
    let (now, key) = (call.now, call.key());
    let Some(set) = call.db().find_as::<Set>(key, now)? else {
        match count {
            Some(_) => call.reply.array(0),
            None => call.reply.null(),
        }
        return Ok(());
    };
    if let Some(count) = count {
        call.reply.array(count.min(set.len()));
    }
    for _ in 0..count.unwrap_or(1).min(set.len()) {
        if let Some(entry) = set.random() {
            set.remove(entry.key().as_slice());
            call.reply.bulk(entry.key().as_slice());
        }
    }
    call.db().prune(key, set);
    Ok(())
}
