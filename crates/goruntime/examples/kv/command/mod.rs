//! Commands: what one is, the table of them all, and how a request becomes a call.
//!
//! Each command is a row of a table beside the functions that run it: name, arity as Redis states it, flags, where its keys are, and
//! one line for `COMMAND DOCS`. The index by name is a hash table computed by the compiler.
//!
//! Invariant: a command that fails has replied nothing but its error. The lock of the keyspace is taken by the first command of a batch
//! that touches the keyspace and held to the end of the batch; so every command is atomic, and a batch costs one lock.

mod admin;
mod call;
mod connection;
mod hashes;
mod keys;
mod lists;
mod scan;
mod sets;
mod sorted_sets;
mod strings;
mod subcommand;

pub use call::Call;

use crate::error::{Error, Result};

/// A command that clients can call.
pub struct Command {
    /// In lower case.
    pub name: &'static str,
    /// The number of arguments, the name included; negative for at least that many.
    pub arity: i32,
    /// What to know before calling it.
    pub flags: &'static [&'static str],
    /// Where the keys are.
    pub keys: Keys,
    /// The chapter of Redis's documentation that it belongs to.
    pub group: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    run: fn(&mut Call<'_>) -> Result,
}

/// Which arguments are keys: the first, the last (negative: from the end), and the distance from one to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys {
    /// Index of the first key; 0 if there is none.
    pub first: i32,
    /// Index of the last one.
    pub last: i32,
    /// From one to the next.
    pub step: i32,
}

const NO_KEYS: Keys = Keys {
    first: 0,
    last: 0,
    step: 0,
};
const ONE_KEY: Keys = Keys {
    first: 1,
    last: 1,
    step: 1,
};
const ALL_KEYS: Keys = Keys {
    first: 1,
    last: -1,
    step: 1,
};

const READ: &[&str] = &["readonly"];
const READ_FAST: &[&str] = &["readonly", "fast"];
const WRITE: &[&str] = &["write"];
const WRITE_FAST: &[&str] = &["write", "fast"];
const FAST: &[&str] = &["fast"];
const ADMIN: &[&str] = &["admin"];

impl Command {
    const fn new(
        name: &'static str,
        arity: i32,
        flags: &'static [&'static str],
        keys: Keys,
        group: &'static str,
        summary: &'static str,
        run: fn(&mut Call<'_>) -> Result,
    ) -> Command {
        Command {
            name,
            arity,
            flags,
            keys,
            group,
            summary,
            run,
        }
    }

    /// Does it take `count` arguments, its name included?
    pub fn takes(&self, count: usize) -> bool {
        match usize::try_from(self.arity) {
            Ok(exactly) => count == exactly,
            Err(_) => count >= self.arity.unsigned_abs() as usize,
        }
    }
}

const GROUPS: [&[Command]; 8] = [
    connection::COMMANDS,
    strings::COMMANDS,
    keys::COMMANDS,
    lists::COMMANDS,
    sets::COMMANDS,
    hashes::COMMANDS,
    sorted_sets::COMMANDS,
    admin::COMMANDS,
];

/// Slots of the index: a power of two, several times the number of commands.
const SLOTS: usize = 512;

static INDEX: [Option<&Command>; SLOTS] = index();

const fn index() -> [Option<&'static Command>; SLOTS] {
    let mut slots: [Option<&'static Command>; SLOTS] = [None; SLOTS];
    let mut group = 0;
    while group < GROUPS.len() {
        let mut i = 0;
        while i < GROUPS[group].len() {
            let command = &GROUPS[group][i];
            let mut slot = hash(command.name.as_bytes());
            while slots[slot].is_some() {
                slot = (slot + 1) % SLOTS;
            }
            slots[slot] = Some(command);
            i += 1;
        }
        group += 1;
    }
    slots
}

/// FNV-1a of the name in lower case, reduced to a slot.
const fn hash(name: &[u8]) -> usize {
    let mut hash: u32 = 0x811c_9dc5;
    let mut i = 0;
    while i < name.len() {
        hash = (hash ^ name[i].to_ascii_lowercase() as u32).wrapping_mul(0x0100_0193);
        i += 1;
    }
    (hash >> 16 ^ hash) as usize % SLOTS
}

/// The command of that name, in whatever case.
pub fn find(name: &[u8]) -> Option<&'static Command> {
    let mut slot = hash(name);
    while let Some(command) = INDEX[slot] {
        if command.name.as_bytes().eq_ignore_ascii_case(name) {
            return Some(command);
        }
        slot = (slot + 1) % SLOTS;
    }
    None
}

/// All commands.
pub fn all() -> impl Iterator<Item = &'static Command> {
    INDEX.iter().flatten().copied()
}

/// Runs the request that `call` holds, which is not empty, and replies.
pub fn execute(call: &mut Call<'_>) {
    let before = call.reply.len();
    if let Err(error) = run(call) {
        call.reply.truncate(before);
        call.reply.error(error.as_bytes());
    }
}

fn run(call: &mut Call<'_>) -> Result {
    let name = call.args.at(0);
    let Some(command) = find(name) else {
        // A browser that a page tricks into talking to this port; whatever it sends next is not for us.
        if name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:") {
            call.session.close = true;
            return Ok(());
        }
        return Err(unknown(call));
    };
    if !command.takes(call.args.len()) {
        return Err(Error::arity(command.name));
    }
    call.name = command.name;
    (command.run)(call)
}

/// The most of an unknown name, and of the arguments after it, that is quoted.
const QUOTED: usize = 128;

fn unknown(call: &Call<'_>) -> Error {
    let name = call.args.at(0);
    let mut text = b"ERR unknown command '".to_vec();
    text.extend_from_slice(&name[..name.len().min(QUOTED)]);
    text.extend_from_slice(b"', with args beginning with: ");
    let start = text.len();
    for argument in call.args.from(1) {
        let quoted = text.len() - start;
        if quoted >= QUOTED {
            break;
        }
        text.push(b'\'');
        text.extend_from_slice(&argument[..argument.len().min(QUOTED - quoted)]);
        text.extend_from_slice(b"' ");
    }
    Error::text(text)
}

#[cfg(test)]
mod golden_tests;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_found_under_its_own_name_only() {
        assert_eq!(
            all().count(),
            GROUPS.iter().map(|group| group.len()).sum::<usize>()
        );
        for command in all() {
            assert!(std::ptr::eq(
                find(command.name.as_bytes()).unwrap(),
                command
            ));
            assert!(find(command.name.to_uppercase().as_bytes()).is_some());
            assert!(find(format!("{}x", command.name).as_bytes()).is_none());
        }
        assert!(find(b"").is_none());
    }

    #[test]
    fn arity_counts_the_name() {
        let get = find(b"get").unwrap();
        assert!(get.takes(2) && !get.takes(1) && !get.takes(3));
        let del = find(b"del").unwrap();
        assert!(!del.takes(1) && del.takes(2) && del.takes(9));
    }
}
