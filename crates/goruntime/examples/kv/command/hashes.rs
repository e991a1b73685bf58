//! Hashes.

use super::{Call, Command, ONE_KEY, READ, READ_FAST, WRITE_FAST, scan};
use crate::dict::Str;
use crate::error::{Error, Result};
use crate::number::{Decimal, integer};
use crate::value::Hash;
use goruntime::gc::{Gc, GcPtr};

const GROUP: &str = "hash";

/// The commands that are defined here.
#[rustfmt::skip]
pub const COMMANDS: &[Command] = &[
    Command::new("hset", -4, WRITE_FAST, ONE_KEY, GROUP, "Set fields of a hash", hset),
    Command::new("hmset", -4, WRITE_FAST, ONE_KEY, GROUP, "Set fields of a hash", hmset),
    Command::new("hsetnx", 4, WRITE_FAST, ONE_KEY, GROUP, "Set a field of a hash if it does not exist", hsetnx),
    Command::new("hget", 3, READ_FAST, ONE_KEY, GROUP, "Get a field of a hash", hget),
    Command::new("hmget", -3, READ_FAST, ONE_KEY, GROUP, "Get fields of a hash", hmget),
    Command::new("hdel", -3, WRITE_FAST, ONE_KEY, GROUP, "Delete fields of a hash", hdel),
    Command::new("hgetall", 2, READ, ONE_KEY, GROUP, "Get all fields of a hash and their values", hgetall),
    Command::new("hkeys", 2, READ, ONE_KEY, GROUP, "Get all fields of a hash", hkeys),
    Command::new("hvals", 2, READ, ONE_KEY, GROUP, "Get all values of a hash", hvals),
    Command::new("hlen", 2, READ_FAST, ONE_KEY, GROUP, "Count the fields of a hash", hlen),
    Command::new("hexists", 3, READ_FAST, ONE_KEY, GROUP, "Tell whether a hash has a field", hexists),
    Command::new("hincrby", 4, WRITE_FAST, ONE_KEY, GROUP, "Add to the integer in a field of a hash", hincrby),
    Command::new("hscan", -3, READ, ONE_KEY, GROUP, "List the fields of a hash piece by piece", scan::hscan),
];

/// Sets a field. True if it is new.
fn put(hash: Gc<Hash>, field: &[u8], value: &[u8]) -> bool {
    let value = Some(Gc::bytes(value));
    let (entry, new) = hash.find_or_insert(field, || (Gc::bytes(field), GcPtr::new(value)));
    if !new {
        entry.value.store(value);
    }
    new
}

fn field(hash: Option<Gc<Hash>>, field: &[u8]) -> Option<Str> {
    hash?.find(field)?.value.load()
}

/// Sets all fields that the request names; gives how many are new.
fn put_all(call: &mut Call<'_>) -> Result<usize> {
    let (args, now) = (call.args, call.now);
    if args.len() % 2 == 1 {
        return Err(call.wrong_arity());
    }
    let hash = call.db().find_or_new(args.at(1), now)?;
    let fields = (2..args.len()).step_by(2);
    Ok(fields
        .filter(|&i| put(hash, args.at(i), args.at(i + 1)))
        .count())
}

fn hset(call: &mut Call<'_>) -> Result {
    let new = put_all(call)?;
    call.reply.count(new);
    Ok(())
}

fn hmset(call: &mut Call<'_>) -> Result {
    put_all(call)?;
    call.reply.ok();
    Ok(())
}

fn hsetnx(call: &mut Call<'_>) -> Result {
    let (args, now) = (call.args, call.now);
    let hash: Gc<Hash> = call.db().find_or_new(args.at(1), now)?;
    let absent = hash.find(args.at(2)).is_none();
    if absent {
        put(hash, args.at(2), args.at(3));
    }
    call.reply.truth(absent);
    Ok(())
}

fn read(call: &mut Call<'_>) -> Result<Option<Gc<Hash>>> {
    let (now, key) = (call.now, call.key());
    call.db().read_as(key, now)
}

fn hget(call: &mut Call<'_>) -> Result {
    let hash = read(call)?;
    reply_field(call, hash, call.args.at(2));
    Ok(())
}

fn hmget(call: &mut Call<'_>) -> Result {
    let hash = read(call)?;
    let fields = call.args.from(2);
    call.reply.array(fields.len());
    for name in fields {
        reply_field(call, hash, name);
    }
    Ok(())
}

fn reply_field(call: &mut Call<'_>, hash: Option<Gc<Hash>>, name: &[u8]) {
    match field(hash, name) {
        Some(value) => call.reply.bulk(value.as_slice()),
        None => call.reply.null(),
    }
}

fn hdel(call: &mut Call<'_>) -> Result {
    let (args, now, key) = (call.args, call.now, call.key());
    let mut removed = 0;
    if let Some(hash) = call.db().find_as::<Hash>(key, now)? {
        removed = args
            .from(2)
            .filter(|field| hash.remove(field).is_some())
            .count();
        call.db().prune(key, hash);
    }
    call.reply.count(removed);
    Ok(())
}

/// Replies with all fields, all values, or both.
fn reply_all(call: &mut Call<'_>, fields: bool, values: bool) -> Result {
    let Some(hash) = read(call)? else {
        call.reply.array(0);
        return Ok(());
    };
    call.reply
        .array(hash.len() * (usize::from(fields) + usize::from(values)));
    for entry in hash.iter() {
        if fields {
            call.reply.bulk(entry.key().as_slice());
        }
        if let Some(value) = entry.value.load().filter(|_| values) {
            call.reply.bulk(value.as_slice());
        }
    }
    Ok(())
}

fn hgetall(call: &mut Call<'_>) -> Result {
    reply_all(call, true, true)
}

fn hkeys(call: &mut Call<'_>) -> Result {
    reply_all(call, true, false)
}

fn hvals(call: &mut Call<'_>) -> Result {
    reply_all(call, false, true)
}

fn hlen(call: &mut Call<'_>) -> Result {
    let hash = read(call)?;
    call.reply.count(hash.map_or(0, |hash| hash.len()));
    Ok(())
}

fn hexists(call: &mut Call<'_>) -> Result {
    let hash = read(call)?;
    call.reply.truth(field(hash, call.args.at(2)).is_some());
    Ok(())
}

fn hincrby(call: &mut Call<'_>) -> Result {
    let (args, now, key) = (call.args, call.now, call.key());
    let amount = call.integer(3)?;
    let old = match field(call.db().find_as(key, now)?, args.at(2)) {
        Some(value) => {
            integer(value.as_slice()).ok_or(Error::fixed("ERR hash value is not an integer"))?
        }
        None => 0,
    };
    let sum = old.checked_add(amount).ok_or(Error::OVERFLOW)?;
    let hash = call.db().find_or_new(key, now)?;
    put(hash, args.at(2), Decimal::new(sum).as_bytes());
    call.reply.integer(sum);
    Ok(())
}
