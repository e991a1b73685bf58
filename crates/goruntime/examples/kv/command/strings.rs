//! Strings: `SET` with all its options, `GET` and its relatives, counters.

use super::call::{Options, TimeFormat};
use super::{ALL_KEYS, Call, Command, Keys, ONE_KEY, READ_FAST, WRITE, WRITE_FAST};
use crate::clock::UnixMillis;
use crate::db::KeyEntry;
use crate::error::{Error, Result};
use crate::number::Decimal;
use crate::value::Value;
use std::sync::atomic::Ordering::Relaxed;

const PAIRS: Keys = Keys {
    first: 1,
    last: -1,
    step: 2,
};
const GROUP: &str = "string";

/// The commands that are defined here.
#[rustfmt::skip]
pub const COMMANDS: &[Command] = &[
    Command::new("set", -3, WRITE, ONE_KEY, GROUP, "Set the string value of a key", set),
    Command::new("get", 2, READ_FAST, ONE_KEY, GROUP, "Get the value of a key", get),
    Command::new("getset", 3, WRITE_FAST, ONE_KEY, GROUP, "Set a key and return its old value", getset),
    Command::new("getdel", 2, WRITE_FAST, ONE_KEY, GROUP, "Get the value of a key and delete it", getdel),
    Command::new("getex", -2, WRITE_FAST, ONE_KEY, GROUP, "Get the value of a key and set when it expires", getex),
    Command::new("setnx", 3, WRITE_FAST, ONE_KEY, GROUP, "Set a key if it does not exist", setnx),
    Command::new("setex", 4, WRITE, ONE_KEY, GROUP, "Set a key that expires after seconds", setex),
    Command::new("psetex", 4, WRITE, ONE_KEY, GROUP, "Set a key that expires after milliseconds", psetex),
    Command::new("mset", -3, WRITE, PAIRS, GROUP, "Set several keys", mset),
    Command::new("mget", -2, READ_FAST, ALL_KEYS, GROUP, "Get the values of several keys", mget),
    Command::new("append", 3, WRITE_FAST, ONE_KEY, GROUP, "Append to the string of a key", append),
    Command::new("strlen", 2, READ_FAST, ONE_KEY, GROUP, "Get the length of the string of a key", strlen),
    Command::new("incr", 2, WRITE_FAST, ONE_KEY, GROUP, "Add one to the integer of a key", incr),
    Command::new("decr", 2, WRITE_FAST, ONE_KEY, GROUP, "Take one from the integer of a key", decr),
    Command::new("incrby", 3, WRITE_FAST, ONE_KEY, GROUP, "Add to the integer of a key", incrby),
    Command::new("decrby", 3, WRITE_FAST, ONE_KEY, GROUP, "Take from the integer of a key", decrby),
];

/// What happens to the deadline of a key that is set.
#[derive(Clone, Copy)]
enum Lifetime<'a> {
    /// Nothing was said.
    Unsaid,
    /// It stays.
    Keep,
    /// It goes.
    Persist,
    /// It becomes this one.
    Until(&'a [u8], TimeFormat),
}

/// When a key is set at all.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    Always,
    IfAbsent,
    IfPresent,
}

fn set(call: &mut Call<'_>) -> Result {
    let (mut lifetime, mut condition, mut get) = (Lifetime::Unsaid, Condition::Always, false);
    let mut options = call.options(3);
    while let Some(option) = options.option() {
        match (option.as_bytes(), lifetime, condition) {
            (b"nx", _, Condition::Always | Condition::IfAbsent) => condition = Condition::IfAbsent,
            (b"xx", _, Condition::Always | Condition::IfPresent) => {
                condition = Condition::IfPresent
            }
            (b"get", ..) => get = true,
            (b"keepttl", Lifetime::Unsaid | Lifetime::Keep, _) => lifetime = Lifetime::Keep,
            (other, _, _) => lifetime = until(other, lifetime, &mut options)?,
        }
    }
    let deadline = match lifetime {
        Lifetime::Until(text, format) => Some(call.positive_moment(text, format)?),
        _ => None,
    };
    let (now, key) = (call.now, call.key());
    let old = if get {
        let old = call.db().read(key, now);
        reply_string(call, old)?;
        old
    } else {
        call.db().find(key, now)
    };
    let wanted = match condition {
        Condition::Always => true,
        Condition::IfAbsent => old.is_none(),
        Condition::IfPresent => old.is_some(),
    };
    if wanted {
        let value = call.args.at(2);
        let entry = call.db().set_string(key, value, now);
        if !matches!(lifetime, Lifetime::Keep) {
            call.db().set_deadline(entry, deadline);
        }
    }
    match (get, wanted) {
        (true, _) => {}
        (false, true) => call.reply.ok(),
        (false, false) => call.reply.null(),
    }
    Ok(())
}

/// The lifetime that a time option and its argument say. Of the same option twice, the last counts; others contradict it.
fn until<'a>(option: &[u8], said: Lifetime<'a>, options: &mut Options<'a>) -> Result<Lifetime<'a>> {
    let format = TimeFormat::of_option(option).ok_or(Error::SYNTAX)?;
    match said {
        Lifetime::Unsaid => {}
        Lifetime::Until(_, same) if same == format => {}
        _ => return Err(Error::SYNTAX),
    }
    Ok(Lifetime::Until(options.argument()?, format))
}

/// Replies with the string of an entry, or null if there is none.
fn reply_string(call: &mut Call<'_>, entry: Option<KeyEntry>) -> Result {
    match entry {
        Some(entry) => {
            let text = entry.value.value.as_string().ok_or(Error::WRONG_TYPE)?;
            call.reply.bulk(text.as_bytes());
        }
        None => call.reply.null(),
    }
    Ok(())
}

fn get(call: &mut Call<'_>) -> Result {
    let (now, key) = (call.now, call.key());
    let entry = call.db().read(key, now);
    reply_string(call, entry)
}

fn getset(call: &mut Call<'_>) -> Result {
    get(call)?;
    let value = call.args.at(2);
    store(call, value, None);
    Ok(())
}

fn getdel(call: &mut Call<'_>) -> Result {
    get(call)?;
    let key = call.key();
    call.db().remove(key);
    Ok(())
}

fn getex(call: &mut Call<'_>) -> Result {
    let mut lifetime = Lifetime::Unsaid;
    let mut options = call.options(2);
    while let Some(option) = options.option() {
        lifetime = match (option.as_bytes(), lifetime) {
            (b"persist", Lifetime::Unsaid | Lifetime::Persist) => Lifetime::Persist,
            (other, _) => until(other, lifetime, &mut options)?,
        };
    }
    let (now, key) = (call.now, call.key());
    let entry = call.db().read(key, now);
    reply_string(call, entry)?;
    let Some(entry) = entry else {
        return Ok(());
    };
    match lifetime {
        Lifetime::Until(text, format) => {
            let deadline = call.positive_moment(text, format)?;
            if deadline <= now {
                call.db().remove(key);
            } else {
                call.db().set_deadline(entry, Some(deadline));
            }
        }
        Lifetime::Persist => call.db().set_deadline(entry, None),
        Lifetime::Unsaid | Lifetime::Keep => {}
    }
    Ok(())
}

/// Sets the key of the call.
fn store(call: &mut Call<'_>, value: &[u8], deadline: Option<UnixMillis>) {
    let (now, key) = (call.now, call.key());
    let db = call.db();
    let entry = db.set_string(key, value, now);
    db.set_deadline(entry, deadline);
}

fn setnx(call: &mut Call<'_>) -> Result {
    let (now, key, value) = (call.now, call.key(), call.args.at(2));
    let absent = call.db().find(key, now).is_none();
    if absent {
        store(call, value, None);
    }
    call.reply.truth(absent);
    Ok(())
}

fn set_until(call: &mut Call<'_>, format: TimeFormat) -> Result {
    let deadline = call.positive_moment(call.args.at(2), format)?;
    let value = call.args.at(3);
    store(call, value, Some(deadline));
    call.reply.ok();
    Ok(())
}

fn setex(call: &mut Call<'_>) -> Result {
    set_until(call, TimeFormat::EX)
}

fn psetex(call: &mut Call<'_>) -> Result {
    set_until(call, TimeFormat::PX)
}

fn mset(call: &mut Call<'_>) -> Result {
    if call.args.len().is_multiple_of(2) {
        return Err(call.wrong_arity());
    }
    let (args, now) = (call.args, call.now);
    let db = call.db();
    for i in (1..args.len()).step_by(2) {
        let entry = db.set_string(args.at(i), args.at(i + 1), now);
        db.set_deadline(entry, None);
    }
    call.reply.ok();
    Ok(())
}

fn mget(call: &mut Call<'_>) -> Result {
    let (args, now) = (call.args, call.now);
    call.reply.array(args.len() - 1);
    for key in args.from(1) {
        let entry = call.db().read(key, now);
        match entry.and_then(|entry| entry.value.value.as_string()) {
            Some(text) => call.reply.bulk(text.as_bytes()),
            None => call.reply.null(),
        }
    }
    Ok(())
}

fn append(call: &mut Call<'_>) -> Result {
    let (now, key, tail) = (call.now, call.key(), call.args.at(2));
    let limit = call.server.config.bulk_limit();
    let db = call.db();
    let length = match db.find(key, now) {
        Some(entry) => {
            let text = entry.value.value.as_string().ok_or(Error::WRONG_TYPE)?;
            if text.as_bytes().len() + tail.len() > limit {
                return Err(Error::TOO_LONG);
            }
            let text = [text.as_bytes(), tail].concat();
            db.set_string(key, &text, now);
            text.len()
        }
        None => {
            db.set_string(key, tail, now);
            tail.len()
        }
    };
    call.reply.count(length);
    Ok(())
}

fn strlen(call: &mut Call<'_>) -> Result {
    let (now, key) = (call.now, call.key());
    let text = call.db().read_string(key, now)?;
    call.reply
        .count(text.map_or(0, |text| text.as_bytes().len()));
    Ok(())
}

fn incr(call: &mut Call<'_>) -> Result {
    add(call, 1)
}

fn decr(call: &mut Call<'_>) -> Result {
    add(call, -1)
}

fn incrby(call: &mut Call<'_>) -> Result {
    let amount = call.integer(2)?;
    add(call, amount)
}

fn decrby(call: &mut Call<'_>) -> Result {
    let amount = call.integer(2)?;
    let amount = amount.checked_neg();
    add(
        call,
        amount.ok_or(Error::fixed("ERR decrement would overflow"))?,
    )
}

/// Adds to the integer of the call's key.
fn add(call: &mut Call<'_>, amount: i64) -> Result {
    let (now, key) = (call.now, call.key());
    let db = call.db();
    let sum = match db.find(key, now) {
        Some(entry) => match &entry.value.value {
            Value::Integer(old) => {
                let sum = old
                    .load(Relaxed)
                    .checked_add(amount)
                    .ok_or(Error::OVERFLOW)?;
                old.store(sum, Relaxed);
                sum
            }
            Value::Text(_) => return Err(Error::NOT_INTEGER),
            _ => return Err(Error::WRONG_TYPE),
        },
        None => {
            let text = Decimal::new(amount);
            db.set_string(key, text.as_bytes(), now);
            amount
        }
    };
    call.reply.integer(sum);
    Ok(())
}
