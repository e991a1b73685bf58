//! Keys of any kind: deleting, expiring, renaming, listing.

use super::call::TimeFormat;
use super::{
    ALL_KEYS, Call, Command, Keys, NO_KEYS, ONE_KEY, READ, READ_FAST, WRITE, WRITE_FAST, scan,
};
use crate::error::{Error, Result};
use crate::glob;
use goruntime::gc::Gc;

const TWO_KEYS: Keys = Keys {
    first: 1,
    last: 2,
    step: 1,
};
const GROUP: &str = "generic";

/// The commands that are defined here.
#[rustfmt::skip]
pub const COMMANDS: &[Command] = &[
    Command::new("del", -2, WRITE, ALL_KEYS, GROUP, "Delete keys", del),
    Command::new("unlink", -2, WRITE_FAST, ALL_KEYS, GROUP, "Delete keys", del),
    Command::new("exists", -2, READ_FAST, ALL_KEYS, GROUP, "Count the keys that exist", exists),
    Command::new("touch", -2, READ_FAST, ALL_KEYS, GROUP, "Count the keys that exist", exists),
    Command::new("expire", -3, WRITE_FAST, ONE_KEY, GROUP, "Expire a key after seconds", expire),
    Command::new("pexpire", -3, WRITE_FAST, ONE_KEY, GROUP, "Expire a key after milliseconds", pexpire),
    Command::new("expireat", -3, WRITE_FAST, ONE_KEY, GROUP, "Expire a key at a second since the epoch", expireat),
    Command::new("pexpireat", -3, WRITE_FAST, ONE_KEY, GROUP, "Expire a key at a millisecond since the epoch", pexpireat),
    Command::new("ttl", 2, READ_FAST, ONE_KEY, GROUP, "Get the seconds until a key expires", ttl),
    Command::new("pttl", 2, READ_FAST, ONE_KEY, GROUP, "Get the milliseconds until a key expires", pttl),
    Command::new("expiretime", 2, READ_FAST, ONE_KEY, GROUP, "Get the second since the epoch at which a key expires", expiretime),
    Command::new("pexpiretime", 2, READ_FAST, ONE_KEY, GROUP, "Get the millisecond since the epoch at which a key expires", pexpiretime),
    Command::new("persist", 2, WRITE_FAST, ONE_KEY, GROUP, "Let a key never expire", persist),
    Command::new("type", 2, READ_FAST, ONE_KEY, GROUP, "Get the kind of value of a key", kind),
    Command::new("keys", 2, READ, NO_KEYS, GROUP, "List the keys that match a pattern", keys),
    Command::new("scan", -2, READ, NO_KEYS, GROUP, "List the keys piece by piece", scan::scan),
    Command::new("randomkey", 1, READ, NO_KEYS, GROUP, "Get a random key", randomkey),
    Command::new("rename", 3, WRITE, TWO_KEYS, GROUP, "Rename a key, replacing any other", rename),
    Command::new("renamenx", 3, WRITE_FAST, TWO_KEYS, GROUP, "Rename a key if no other has the name", renamenx),
    Command::new("dbsize", 1, READ_FAST, NO_KEYS, "server", "Count the keys", dbsize),
    Command::new("flushdb", -1, WRITE, NO_KEYS, "server", "Delete all keys of the selected database", flushdb),
    Command::new("flushall", -1, WRITE, NO_KEYS, "server", "Delete all keys of all databases", flushall),
];

fn del(call: &mut Call<'_>) -> Result {
    let (args, now) = (call.args, call.now);
    let db = call.db();
    let there = |key: &&[u8]| db.find(key, now).is_some() && db.remove(key).is_some();
    let count = args.from(1).filter(there).count();
    call.reply.count(count);
    Ok(())
}

fn exists(call: &mut Call<'_>) -> Result {
    let (args, now) = (call.args, call.now);
    let db = call.db();
    let count = args
        .from(1)
        .filter(|key| db.read(key, now).is_some())
        .count();
    call.reply.count(count);
    Ok(())
}

/// In which cases a deadline is replaced. No deadline counts as one at the end of time.
#[derive(Default)]
struct When {
    if_none: bool,
    if_some: bool,
    if_later: bool,
    if_sooner: bool,
}

impl When {
    fn parse(call: &Call<'_>) -> Result<When> {
        let mut when = When::default();
        for option in call.args.from(3) {
            match option.to_ascii_lowercase().as_slice() {
                b"nx" => when.if_none = true,
                b"xx" => when.if_some = true,
                b"gt" => when.if_later = true,
                b"lt" => when.if_sooner = true,
                _ => {
                    let option = String::from_utf8_lossy(option);
                    return Err(Error::text(format!("ERR Unsupported option {option}")));
                }
            }
        }
        if when.if_none && (when.if_some || when.if_later || when.if_sooner) {
            let text = "ERR NX and XX, GT or LT options at the same time are not compatible";
            return Err(Error::fixed(text));
        }
        if when.if_later && when.if_sooner {
            let text = "ERR GT and LT options at the same time are not compatible";
            return Err(Error::fixed(text));
        }
        Ok(when)
    }
}

fn expire_as(call: &mut Call<'_>, format: TimeFormat) -> Result {
    let when = When::parse(call)?;
    let (now, key) = (call.now, call.key());
    let deadline = call.moment(call.args.at(2), format)?;
    let db = call.db();
    let changed = match db.find(key, now) {
        None => false,
        Some(entry) => {
            let old = entry.value.deadline();
            let wanted = (!when.if_none || old.is_none())
                && (!when.if_some || old.is_some())
                && (!when.if_later || old.is_some_and(|old| deadline > old))
                && (!when.if_sooner || old.is_none_or(|old| deadline < old));
            if wanted && deadline <= now {
                db.remove(key);
            } else if wanted {
                db.set_deadline(entry, Some(deadline));
            }
            wanted
        }
    };
    call.reply.truth(changed);
    Ok(())
}

fn expire(call: &mut Call<'_>) -> Result {
    expire_as(call, TimeFormat::EX)
}

fn pexpire(call: &mut Call<'_>) -> Result {
    expire_as(call, TimeFormat::PX)
}

fn expireat(call: &mut Call<'_>) -> Result {
    expire_as(call, TimeFormat::EXAT)
}

fn pexpireat(call: &mut Call<'_>) -> Result {
    expire_as(call, TimeFormat::PXAT)
}

/// Replies with what `show` makes of the deadline, in milliseconds from now and since the epoch; -1 for a key that never expires and
/// -2 for no key.
fn deadline(call: &mut Call<'_>, show: fn(i64, i64) -> i64) -> Result {
    let (now, key) = (call.now, call.key());
    let entry = call.db().read(key, now);
    let shown = match entry.map(|entry| entry.value.deadline()) {
        None => -2,
        Some(None) => -1,
        Some(Some(deadline)) => show(now.until(deadline).max(0), deadline.0),
    };
    call.reply.integer(shown);
    Ok(())
}

fn ttl(call: &mut Call<'_>) -> Result {
    deadline(call, |left, _| left.saturating_add(500) / 1000)
}

fn pttl(call: &mut Call<'_>) -> Result {
    deadline(call, |left, _| left)
}

fn expiretime(call: &mut Call<'_>) -> Result {
    deadline(call, |_, at| at.saturating_add(500) / 1000)
}

fn pexpiretime(call: &mut Call<'_>) -> Result {
    deadline(call, |_, at| at)
}

fn persist(call: &mut Call<'_>) -> Result {
    let (now, key) = (call.now, call.key());
    let db = call.db();
    let entry = db
        .find(key, now)
        .filter(|entry| entry.value.deadline().is_some());
    if let Some(entry) = entry {
        db.set_deadline(entry, None);
    }
    call.reply.truth(entry.is_some());
    Ok(())
}

fn kind(call: &mut Call<'_>) -> Result {
    let (now, key) = (call.now, call.key());
    let entry = call.db().read(key, now);
    call.reply
        .status(entry.map_or("none", |entry| entry.value.value.type_name()));
    Ok(())
}

fn keys(call: &mut Call<'_>) -> Result {
    let (now, pattern) = (call.now, call.key());
    let found: Vec<_> = call
        .db()
        .iter(now)
        .map(|entry| entry.key())
        .filter(|key| glob::matches(pattern, key.as_slice()))
        .collect();
    call.reply.array(found.len());
    for key in found {
        call.reply.bulk(key.as_slice());
    }
    Ok(())
}

fn randomkey(call: &mut Call<'_>) -> Result {
    let now = call.now;
    match call.db().random(now) {
        Some(entry) => call.reply.bulk(entry.key().as_slice()),
        None => call.reply.null(),
    }
    Ok(())
}

/// Gives the key of the call its new name. False if another has that name and is to keep it.
fn rename_to(call: &mut Call<'_>, replace: bool) -> Result<bool> {
    let (now, old, new) = (call.now, call.key(), call.args.at(2));
    let db = call.db();
    let entry = db.find(old, now).ok_or(Error::NO_KEY)?;
    if old == new {
        return Ok(replace);
    }
    if db.find(new, now).is_some() {
        if !replace {
            return Ok(false);
        }
        db.remove(new);
    }
    db.remove(old);
    let renamed = db.insert(Gc::bytes(new), entry.value.value.share());
    db.set_deadline(renamed, entry.value.deadline());
    Ok(true)
}

fn rename(call: &mut Call<'_>) -> Result {
    rename_to(call, true)?;
    call.reply.ok();
    Ok(())
}

fn renamenx(call: &mut Call<'_>) -> Result {
    let renamed = rename_to(call, false)?;
    call.reply.truth(renamed);
    Ok(())
}

fn dbsize(call: &mut Call<'_>) -> Result {
    let count = call.db().len();
    call.reply.count(count);
    Ok(())
}

/// Clearing takes no time, so that asking for it to be done at once or later makes no difference.
fn check_flush_mode(call: &Call<'_>) -> Result {
    match call.args.len() {
        1 => Ok(()),
        2 if ["async", "sync"]
            .iter()
            .any(|mode| call.key().eq_ignore_ascii_case(mode.as_bytes())) =>
        {
            Ok(())
        }
        _ => Err(Error::SYNTAX),
    }
}

fn flushdb(call: &mut Call<'_>) -> Result {
    check_flush_mode(call)?;
    call.db().clear();
    call.reply.ok();
    Ok(())
}

fn flushall(call: &mut Call<'_>) -> Result {
    check_flush_mode(call)?;
    call.keyspace()
        .dbs
        .iter_mut()
        .for_each(crate::db::Db::clear);
    call.reply.ok();
    Ok(())
}
