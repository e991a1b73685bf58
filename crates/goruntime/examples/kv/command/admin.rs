//! The server itself: what it can do, how it is, how it is set up.

use super::{ADMIN, Call, Command, Keys, NO_KEYS, all, find, subcommand};
use crate::error::{Error, Result};
use crate::glob;
use crate::info::{self, DbFigures};
use std::time::Duration;

const GROUP: &str = "server";

/// The commands that are defined here.
#[rustfmt::skip]
pub const COMMANDS: &[Command] = &[
    Command::new("info", -1, &[], NO_KEYS, GROUP, "Describe the server", info_command),
    Command::new("command", -1, &[], NO_KEYS, GROUP, "Commands", command),
    Command::new("config", -2, ADMIN, NO_KEYS, GROUP, "Configuration", config),
    Command::new("debug", -2, ADMIN, NO_KEYS, GROUP, "Tools for tests", debug),
    Command::new("shutdown", -1, ADMIN, NO_KEYS, GROUP, "End the server", shutdown),
];

/// The subcommands of `COMMAND`.
#[rustfmt::skip]
const COMMAND: &[Command] = &[
    Command::new("command|count", 2, &[], NO_KEYS, GROUP, "Count the commands", command_count),
    Command::new("command|docs", -2, &[], NO_KEYS, GROUP, "Explain commands", command_docs),
    Command::new("command|info", -2, &[], NO_KEYS, GROUP, "Describe commands", command_info),
    Command::new("command|list", 2, &[], NO_KEYS, GROUP, "List the names of all commands", command_list),
];

/// The subcommands of `CONFIG`.
#[rustfmt::skip]
const CONFIG: &[Command] = &[
    Command::new("config|get", -3, ADMIN, NO_KEYS, GROUP, "Get the parameters that match patterns", config_get),
    Command::new("config|set", -4, ADMIN, NO_KEYS, GROUP, "Set parameters", config_set),
    Command::new("config|resetstat", 2, ADMIN, NO_KEYS, GROUP, "Count from zero again", config_resetstat),
];

/// The subcommands of `DEBUG`.
#[rustfmt::skip]
const DEBUG: &[Command] = &[
    Command::new("debug|sleep", 3, ADMIN, NO_KEYS, GROUP, "Reply after so many seconds; others are served meanwhile", debug_sleep),
    Command::new("debug|gc", 2, ADMIN, NO_KEYS, GROUP, "Reply after a whole garbage collection", debug_gc),
];

fn info_command(call: &mut Call<'_>) -> Result {
    let wanted: Vec<String> = call
        .args
        .from(1)
        .map(|s| String::from_utf8_lossy(s).to_ascii_lowercase())
        .collect();
    let figures = DbFigures::of(call.keyspace());
    call.release();
    let text = info::text(call.server, &figures, &wanted);
    call.reply.bulk(text.as_bytes());
    Ok(())
}

fn command(call: &mut Call<'_>) -> Result {
    if call.args.len() > 1 {
        return subcommand::dispatch(call, COMMAND);
    }
    call.reply.array(all().count());
    all().for_each(|command| describe(call, command));
    Ok(())
}

fn command_count(call: &mut Call<'_>) -> Result {
    call.reply.count(all().count());
    Ok(())
}

fn command_list(call: &mut Call<'_>) -> Result {
    call.reply.array(all().count());
    all().for_each(|command| call.reply.bulk(command.name.as_bytes()));
    Ok(())
}

fn command_info(call: &mut Call<'_>) -> Result {
    if call.args.len() == 2 {
        call.reply.array(all().count());
        all().for_each(|command| describe(call, command));
        return Ok(());
    }
    call.reply.array(call.args.len() - 2);
    for name in call.args.from(2) {
        match find(name) {
            Some(command) => describe(call, command),
            None => call.reply.null(),
        }
    }
    Ok(())
}

/// Name, arity, flags, place of the keys; and, as Redis 7 has them, categories, tips, key specifications and subcommands, of which there
/// are none to tell.
fn describe(call: &mut Call<'_>, command: &Command) {
    let Keys { first, last, step } = command.keys;
    call.reply.array(10);
    call.reply.bulk(command.name.as_bytes());
    call.reply.integer(command.arity.into());
    call.reply.array(command.flags.len());
    command
        .flags
        .iter()
        .for_each(|flag| call.reply.status(flag));
    [first, last, step]
        .iter()
        .for_each(|&number| call.reply.integer(number.into()));
    (0..4).for_each(|_| call.reply.array(0));
}

fn command_docs(call: &mut Call<'_>) -> Result {
    let commands: Vec<&Command> = match call.args.len() {
        2 => all().collect(),
        _ => call.args.from(2).filter_map(find).collect(),
    };
    call.reply.array(2 * commands.len());
    for command in commands {
        call.reply.bulk(command.name.as_bytes());
        call.reply.array(4);
        for text in ["summary", command.summary, "group", command.group] {
            call.reply.bulk(text.as_bytes());
        }
    }
    Ok(())
}

fn config(call: &mut Call<'_>) -> Result {
    subcommand::dispatch(call, CONFIG)
}

fn config_get(call: &mut Call<'_>) -> Result {
    let patterns: Vec<_> = call.args.from(2).map(<[u8]>::to_ascii_lowercase).collect();
    let matches = |name: &str| patterns.iter().any(|p| glob::matches(p, name.as_bytes()));
    let mut parameters = call.server.config.parameters();
    parameters.retain(|(name, _)| matches(name));
    call.reply.array(2 * parameters.len());
    for (name, value) in parameters {
        call.reply.bulk(name.as_bytes());
        call.reply.bulk(value.as_bytes());
    }
    Ok(())
}

fn config_set(call: &mut Call<'_>) -> Result {
    if call.args.len() % 2 == 1 {
        return Err(call.wrong_arity());
    }
    let text = |i| String::from_utf8_lossy(call.args.at(i)).into_owned();
    let changes = (2..call.args.len()).step_by(2);
    let changes: Vec<_> = changes
        .map(|i| (text(i).to_ascii_lowercase(), text(i + 1)))
        .collect();
    call.server.config.set(&changes)?;
    call.reply.ok();
    Ok(())
}

fn config_resetstat(call: &mut Call<'_>) -> Result {
    call.server.stats.reset();
    for db in &mut call.keyspace().dbs {
        db.counts = Default::default();
    }
    call.reply.ok();
    Ok(())
}

fn debug(call: &mut Call<'_>) -> Result {
    subcommand::dispatch(call, DEBUG)
}

fn debug_sleep(call: &mut Call<'_>) -> Result {
    let seconds = Duration::try_from_secs_f64(call.float(2)?).map_err(|_| Error::NOT_POSITIVE)?;
    call.release();
    goruntime::time::sleep(seconds);
    call.reply.ok();
    Ok(())
}

fn debug_gc(call: &mut Call<'_>) -> Result {
    call.release();
    goruntime::gc::collect();
    call.reply.ok();
    Ok(())
}

/// Nothing is ever written to disk, so however it is asked for, the end is the same.
fn shutdown(call: &mut Call<'_>) -> Result {
    let known = ["nosave", "save", "now", "force"];
    let is_known = |word: &[u8]| {
        known
            .iter()
            .any(|k| word.eq_ignore_ascii_case(k.as_bytes()))
    };
    if !call.args.from(1).all(is_known) {
        return Err(Error::SYNTAX);
    }
    std::process::exit(0)
}
