//! The connection itself: greeting, choice of database, names, farewell.

use super::{Call, Command, FAST, NO_KEYS, subcommand};
use crate::error::{Error, Result};
use crate::number::integer;

const GROUP: &str = "connection";

/// The commands that are defined here.
#[rustfmt::skip]
pub const COMMANDS: &[Command] = &[
    Command::new("ping", -1, FAST, NO_KEYS, GROUP, "Reply PONG, or the message", ping),
    Command::new("echo", 2, FAST, NO_KEYS, GROUP, "Reply the message", echo),
    Command::new("select", 2, FAST, NO_KEYS, GROUP, "Select a database by its number", select),
    Command::new("quit", -1, FAST, NO_KEYS, GROUP, "Close the connection", quit),
    Command::new("reset", 1, FAST, NO_KEYS, GROUP, "Make the connection as new", reset),
    Command::new("hello", -1, FAST, NO_KEYS, GROUP, "Agree on a version of the protocol", hello),
    Command::new("auth", -2, FAST, NO_KEYS, GROUP, "Log in; there are no passwords", auth),
    Command::new("client", -2, &[], NO_KEYS, GROUP, "Connections", client),
];

/// The subcommands of `CLIENT`.
#[rustfmt::skip]
const CLIENT: &[Command] = &[
    Command::new("client|id", 2, &[], NO_KEYS, GROUP, "Get the number of this connection", id),
    Command::new("client|getname", 2, &[], NO_KEYS, GROUP, "Get the name of this connection", getname),
    Command::new("client|setname", 3, &[], NO_KEYS, GROUP, "Name this connection", setname),
    Command::new("client|setinfo", 4, &[], NO_KEYS, GROUP, "Say which library this is", setinfo),
    Command::new("client|info", 2, &[], NO_KEYS, GROUP, "Describe this connection", info),
    Command::new("client|list", -2, &[], NO_KEYS, GROUP, "Describe all connections", list),
];

fn ping(call: &mut Call<'_>) -> Result {
    match call.args.len() {
        1 => call.reply.status("PONG"),
        2 => call.reply.bulk(call.args.at(1)),
        _ => return Err(call.wrong_arity()),
    }
    Ok(())
}

fn echo(call: &mut Call<'_>) -> Result {
    call.reply.bulk(call.args.at(1));
    Ok(())
}

fn select(call: &mut Call<'_>) -> Result {
    let number = usize::try_from(call.integer(1)?).ok();
    let number = number.filter(|&number| number < crate::db::DATABASES);
    call.session.db = number.ok_or(Error::fixed("ERR DB index is out of range"))?;
    call.reply.ok();
    Ok(())
}

fn quit(call: &mut Call<'_>) -> Result {
    call.session.close = true;
    call.reply.ok();
    Ok(())
}

fn reset(call: &mut Call<'_>) -> Result {
    call.session.db = 0;
    call.session.client.shown.lock().name.clear();
    call.reply.status("RESET");
    Ok(())
}

fn hello(call: &mut Call<'_>) -> Result {
    let mut name = None;
    let mut options = call.options(1);
    if let Some(version) = options.next() {
        let version = integer(version).ok_or(Error::fixed(
            "ERR Protocol version is not an integer or out of range",
        ))?;
        if version != 2 {
            return Err(Error::fixed("NOPROTO unsupported protocol version"));
        }
    }
    while let Some(option) = options.option() {
        match option.as_bytes() {
            b"auth" if options.left() >= 2 => login(options.argument()?, options.argument()?)?,
            b"setname" if options.left() >= 1 => name = Some(checked_name(options.argument()?)?),
            _ => {
                options.step_back();
                let option = options.argument()?;
                let text = [b"ERR Syntax error in HELLO option '", option, b"'"].concat();
                return Err(Error::text(text));
            }
        }
    }
    if let Some(name) = name {
        call.session.client.shown.lock().name = name;
    }
    call.reply.array(14);
    let id = call.session.client.id;
    for (field, value) in [
        ("server", Some("redis")),
        ("version", Some(crate::info::REDIS_VERSION)),
        ("proto", None),
        ("id", None),
        ("mode", Some("standalone")),
        ("role", Some("master")),
    ] {
        call.reply.bulk(field.as_bytes());
        match (field, value) {
            (_, Some(value)) => call.reply.bulk(value.as_bytes()),
            ("id", None) => call.reply.integer(id),
            (_, None) => call.reply.integer(2),
        }
    }
    call.reply.bulk(b"modules");
    call.reply.array(0);
    Ok(())
}

/// There is one user, who needs no password.
fn login(user: &[u8], _password: &[u8]) -> Result {
    if user == b"default" {
        return Ok(());
    }
    Err(Error::fixed(
        "WRONGPASS invalid username-password pair or user is disabled.",
    ))
}

fn auth(call: &mut Call<'_>) -> Result {
    match call.args.len() {
        2 => Err(Error::fixed(
            "ERR AUTH <password> called without any password configured for the default user. \
             Are you sure your configuration is correct?",
        )),
        3 => {
            login(call.args.at(1), call.args.at(2))?;
            call.reply.ok();
            Ok(())
        }
        _ => Err(Error::SYNTAX),
    }
}

fn client(call: &mut Call<'_>) -> Result {
    subcommand::dispatch(call, CLIENT)
}

fn id(call: &mut Call<'_>) -> Result {
    call.reply.integer(call.session.client.id);
    Ok(())
}

fn getname(call: &mut Call<'_>) -> Result {
    let shown = call.session.client.shown.lock();
    match shown.name.as_str() {
        "" => call.reply.null(),
        name => call.reply.bulk(name.as_bytes()),
    }
    Ok(())
}

/// Names appear in lists of words, so they are printable and have no spaces.
fn is_name(name: &[u8]) -> bool {
    name.iter().all(u8::is_ascii_graphic)
}

fn checked_name(name: &[u8]) -> Result<String> {
    if !is_name(name) {
        let text = "ERR Client names cannot contain spaces, newlines or special characters.";
        return Err(Error::fixed(text));
    }
    Ok(String::from_utf8_lossy(name).into_owned())
}

fn setname(call: &mut Call<'_>) -> Result {
    let name = checked_name(call.args.at(2))?;
    call.session.client.shown.lock().name = name;
    call.reply.ok();
    Ok(())
}

fn setinfo(call: &mut Call<'_>) -> Result {
    let (attribute, value) = (call.args.at(2), call.args.at(3));
    let mut shown = call.session.client.shown.lock();
    let (field, shown_as) = match attribute.to_ascii_lowercase().as_slice() {
        b"lib-name" => (&mut shown.library, "lib-name"),
        b"lib-ver" => (&mut shown.library_version, "lib-ver"),
        _ => {
            let text = [b"ERR Unrecognized option '", attribute, b"'"].concat();
            return Err(Error::text(text));
        }
    };
    if !is_name(value) {
        return Err(Error::text(format!(
            "ERR {shown_as} cannot contain spaces, newlines or special characters."
        )));
    }
    *field = String::from_utf8_lossy(value).into_owned();
    call.reply.ok();
    Ok(())
}

fn info(call: &mut Call<'_>) -> Result {
    call.session.show(call.name, call.now);
    let line = call.session.client.to_string() + "\n";
    call.reply.bulk(line.as_bytes());
    Ok(())
}

fn list(call: &mut Call<'_>) -> Result {
    call.session.show(call.name, call.now);
    let clients = call.server.clients.list();
    let mut wanted: Vec<i64> = Vec::new();
    match (call.args.len(), call.args.from(2).next()) {
        (2, _) => wanted.extend(clients.iter().map(|client| client.id)),
        (4.., Some(option)) if option.eq_ignore_ascii_case(b"id") => {
            let ids = call.args.from(3).map(integer).collect::<Option<Vec<i64>>>();
            wanted = ids.ok_or(Error::fixed("ERR Invalid client ID"))?;
        }
        _ => return Err(Error::SYNTAX),
    }
    let lines: String = clients
        .iter()
        .filter(|client| wanted.contains(&client.id))
        .map(|client| format!("{client}\n"))
        .collect();
    call.reply.bulk(lines.as_bytes());
    Ok(())
}
