//! Commands that are families of commands: `CLIENT LIST`, `CONFIG GET`.
//!
//! A family is a table like that of all commands; names have the family before a bar, and arities count both words.

use super::{Call, Command};
use crate::error::{Error, Result};

/// The longest unknown name that is quoted in full.
const QUOTED: usize = 128;

/// Runs the subcommand that the second word of the request names.
pub fn dispatch(call: &mut Call<'_>, family: &'static [Command]) -> Result {
    let name = call.args.at(1);
    if name.eq_ignore_ascii_case(b"help") {
        help(call, family);
        return Ok(());
    }
    let is = |command: &&Command| own_name(command).as_bytes().eq_ignore_ascii_case(name);
    let Some(command) = family.iter().find(is) else {
        let mut text = b"ERR unknown subcommand '".to_vec();
        text.extend_from_slice(&name[..name.len().min(QUOTED)]);
        text.extend_from_slice(format!("'. Try {} HELP.", call.name.to_uppercase()).as_bytes());
        return Err(Error::text(text));
    };
    if !command.takes(call.args.len()) {
        return Err(Error::arity(command.name));
    }
    call.name = command.name;
    (command.run)(call)
}

fn own_name(command: &Command) -> &'static str {
    command
        .name
        .split_once('|')
        .map_or(command.name, |(_, name)| name)
}

fn help(call: &mut Call<'_>, family: &[Command]) {
    call.reply.array(2 * family.len() + 3);
    let name = call.name.to_uppercase();
    call.reply.status(&format!(
        "{name} <subcommand> [<arg> ...]. Subcommands are:"
    ));
    for command in family {
        call.reply.status(&own_name(command).to_uppercase());
        call.reply.status(&format!("    {}.", command.summary));
    }
    call.reply.status("HELP");
    call.reply.status("    Print this help.");
}
